//! What a peer may have before anybody has logged in.

use super::*;

/// An opening is eight bytes, and a stream takes kilobytes.
#[tokio::test(start_paused = true)]
async fn few_streams_of_strangers_are_served_until_one_of_them_is_known() {
    const OPENED: usize = 20_000;
    let (mut near, far) = duplex(1024 * 1024);
    let (door, mut visitors) = mpsc::unbounded_channel();
    let take = move |link| door.send(link).is_ok();
    let (carried, know) = server_of_strangers(Link::other(far), Settings::default(), take);
    crate::io::spawn(carried);
    for n in 0..OPENED {
        let open = frame(Version::One, Command::Open, 2 * n as u32 + 1);
        near.write_all(&open).await.unwrap();
    }
    let mut come = async |there: &mut Vec<Link>| {
        sleep(Duration::from_secs(1)).await;
        let before = there.len();
        while let Ok(link) = visitors.try_recv() {
            there.push(link);
        }
        there.len() - before
    };
    let mut there = Vec::new();
    assert_eq!(come(&mut there).await, 128);
    // Who goes makes room for others.
    there.truncate(64);
    assert_eq!(come(&mut there).await, 64);
    know();
    assert_eq!(come(&mut there).await, OPENED - 192);
}

/// A client that is known may begin with a crowd, and each of it may have to be asked before it has logged in.
#[tokio::test(start_paused = true)]
async fn the_first_of_a_crowd_are_read_behind_all_others() {
    let (mut near, far) = duplex(1024 * 1024);
    let (door, mut visitors) = mpsc::unbounded_channel();
    let take = move |link| door.send(link).is_ok();
    let (carried, _know) = server_of_strangers(Link::other(far), Settings::default(), take);
    crate::io::spawn(carried);
    let data = |id: u32, word: &[u8]| {
        let len = word.len() as u16;
        [&frame(Version::One, Command::Data(len), id)[..], word].concat()
    };
    for n in 0..1000 {
        let id = 2 * n + 1;
        let open = frame(Version::One, Command::Open, id);
        near.write_all(&open).await.unwrap();
        near.write_all(&data(id, b"hello")).await.unwrap();
    }
    let mut first = visitors.recv().await.unwrap();
    let mut heard = [0; 5];
    first.read_exact(&mut heard).await.unwrap();
    first.write_all(b"who?").await.unwrap();
    near.write_all(&data(1, b"ann")).await.unwrap();
    let mut heard = [0; 3];
    let hearing = timeout(Duration::from_secs(5), first.read_exact(&mut heard)).await;
    hearing.expect("in time").unwrap();
    assert_eq!(&heard, b"ann");
    // What strangers may have unread is little: 256 KiB, and what one read brings.
    let word = [7; 1000];
    let mut sent = 0;
    let flood = async {
        loop {
            near.write_all(&data(3, &word)).await.unwrap();
            sent += word.len();
        }
    };
    let _: Result<(), _> = timeout(Duration::from_secs(5), flood).await;
    // The pipe itself has room for a mebibyte.
    assert!(sent > 1024 * 1024 && sent < (1024 + 320) * 1024, "{sent}");
}

#[tokio::test(start_paused = true)]
async fn a_session_in_which_nobody_logs_in_ends() {
    for is_known in [false, true] {
        let (mut near, far) = duplex(1024);
        let (carried, know) = server_of_strangers(Link::other(far), Settings::default(), |_| false);
        if is_known {
            know();
        }
        let began = Instant::now();
        crate::io::spawn(carried);
        let alive = frame(Version::One, Command::KeepAlive, 0);
        while began.elapsed() < Duration::from_secs(90) && near.write_all(&alive).await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        let lasted = began.elapsed().as_secs();
        assert_eq!(lasted >= 90, is_known, "{lasted}");
        assert!(lasted >= 60, "{lasted}");
    }
}
