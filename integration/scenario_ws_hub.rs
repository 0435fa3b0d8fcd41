//! `mobula ws --hub`: rooms where pages and programs find each other, and calls by HTTP.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::chromium::Page;
use crate::configs::{self};
use crate::peers::{Stage, free_port, python, system};
use crate::ws_ends::{curl, fed, ours, peer, ws};

#[tokio::test]
async fn a_call_of_a_room_has_the_first_message_that_comes_back() {
    let mut stage = Stage::new();
    let (port, _) = ours(
        &mut stage,
        &[
            "--hub",
            "--path",
            "/rooms",
            "--origin",
            "https://a.example/",
        ],
    )
    .await;
    let (room, program) = (
        format!("http://127.0.0.1:{port}/rooms/x"),
        format!("ws://127.0.0.1:{port}/rooms/x"),
    );
    let (status, body) = curl(&["-d", "question", &room]).await;
    assert_eq!(
        (&*status, &*body),
        ("503 text/plain; charset=utf-8", "nobody is in this room\n")
    );
    stage
        .start("program", &mut peer(&["answering", &program]), &[])
        .await;
    stage.until_file_has("program.log", "in").await;
    let (status, body) = curl(&["-d", "一 question", &room]).await;
    assert_eq!(
        (&*status, &*body),
        ("200 text/plain; charset=utf-8", "answer to 一 question")
    );
    let bytes = [
        "-H",
        "Content-Type: Application/Octet-Stream; x=y",
        "-d",
        "abc",
        &room,
    ];
    assert_eq!(
        curl(&bytes).await,
        ("200 application/octet-stream".to_owned(), "cba".to_owned())
    );
    // Each of those who call at once has its own answer.
    let calls = (0..8).map(|n| {
        let room = room.clone();
        tokio::spawn(async move { curl(&["-d", &format!("question {n}"), &room]).await.1 })
    });
    for (n, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), format!("answer to question {n}"));
    }
    for (arguments, told) in [
        (
            &["-d", "x", &*format!("http://127.0.0.1:{port}/elsewhere")][..],
            "404",
        ),
        (
            &["-d", "x", &*format!("http://127.0.0.1:{port}/roomsx")],
            "404",
        ),
        (
            &["-d", "x", "-H", "Origin: https://b.example", &room],
            "403",
        ),
        (&[&*room], "400"),
        (&["-X", "PUT", &room], "405"),
        (
            &["-X", "OPTIONS", "-H", "Origin: https://a.example", &room],
            "204",
        ),
        (
            &[
                "-H",
                "Connection: Upgrade",
                "-H",
                "Upgrade: websocket",
                "-H",
                "Sec-WebSocket-Version: 8",
                "-H",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                &room,
            ],
            "426",
        ),
    ] {
        assert!(curl(arguments).await.0.starts_with(told), "{arguments:?}");
    }
    let big = stage.write("big", vec![b'x'; (16 << 20) + 1]);
    let big = format!("@{}", big.display());
    assert!(
        curl(&["--data-binary", &big, "-H", "Expect:", &room])
            .await
            .0
            .starts_with("413")
    );
    // curl's own look at an upgrade.
    let upgrade = [
        "-i",
        "-N",
        "--http1.1",
        "--max-time",
        "1",
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: websocket",
        "-H",
        "Sec-WebSocket-Version: 13",
        "-H",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "-H",
        "Origin: https://a.example",
        &room,
    ];
    let (_, head) = curl(&upgrade).await;
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{head}"
    );
    // One that says nothing.
    let quiet = format!("ws://127.0.0.1:{port}/rooms/quiet");
    stage
        .start("quiet", &mut peer(&["member", &quiet, "", "9"]), &[])
        .await;
    stage.until_file_has("quiet.log", "in").await;
    let began = Instant::now();
    let (status, _) = curl(&["-d", "x", &quiet.replace("ws://", "http://")]).await;
    assert!(
        status.starts_with("504") && (10..15).contains(&began.elapsed().as_secs()),
        "{status}"
    );
}

/// A page with the four callbacks of the tutorial, in a real browser.
#[tokio::test]
async fn a_page_and_a_program_find_each_other_in_a_room() {
    let mut stage = Stage::new();
    let site = free_port();
    let mut server = python();
    server.args([
        "-m",
        "http.server",
        "--bind",
        "127.0.0.1",
        &site.to_string(),
    ]);
    stage.start("site", &mut server, &[site]).await;
    let (port, index) = ours(
        &mut stage,
        &["--hub", "--origin", &format!("http://127.0.0.1:{site}")],
    )
    .await;
    let page = PAGE.replace("PORT", &port.to_string());
    stage.write("page.html", page);
    let url = format!("http://127.0.0.1:{site}/page.html");
    // The same page by another name is a page of somebody else.
    let foreign = format!("http://localhost:{site}/page.html");
    let mut other = Page::open(&mut stage, "other", &foreign).await;
    other
        .until_shown("message", &["WebSocket连接发生错误", "WebSocket连接关闭"])
        .await;
    let log = stage.until_file_has("ws.log", "was refused").await;
    let cure = format!(
        "a page of http://localhost:{site} was refused; if it is to come in, add: --origin 'http://localhost:{site}'"
    );
    assert!(log.contains(&cure), "{log}");
    assert_eq!(stage.log(index).matches("was refused").count(), 1);
    let mut page = Page::open(&mut stage, "page", &url).await;
    page.until_shown("message", &["WebSocket连接成功"]).await;
    // A program says something to the page, and is answered.
    let room = format!("ws://127.0.0.1:{port}/room");
    let run = ws(&[&room, "-w", "1"], "from a program\n").await;
    assert_eq!(
        run.text(),
        "the page has heard from a program\n",
        "{}",
        run.errors
    );
    page.until_shown("message", &["from a program"]).await;
    // And so is curl, by what the page works out.
    let (_, answer) = curl(&["-d", "sign this", &room.replace("ws://", "http://")]).await;
    assert_eq!(answer, "the page has heard sign this");
    stage.child(index).signal("TERM");
    page.until_shown("message", &["WebSocket连接关闭"]).await;
    assert!(
        stage
            .child(index)
            .ended(Duration::from_secs(2))
            .await
            .success()
    );
    assert_eq!(page.value("ended.code").await, json!(1001));
}

const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><div id="message"></div>
<script>
var ended = null;
function setMessageInnerHTML(text) {
    document.getElementById('message').innerHTML += text + '<br/>';
}
var websocket = new WebSocket("ws://127.0.0.1:PORT/room");
//连接发生错误的回调方法
websocket.onerror = function () {
    setMessageInnerHTML("WebSocket连接发生错误");
};

//连接成功建立的回调方法
websocket.onopen = function () {
    setMessageInnerHTML("WebSocket连接成功");
}

//接收到消息的回调方法  接服务器信息的方法
websocket.onmessage = function (event) {
    setMessageInnerHTML(event.data);
    websocket.send("the page has heard " + event.data);
}

//连接关闭的回调方法
websocket.onclose = function (event) {
    ended = event;
    setMessageInnerHTML("WebSocket连接关闭");
}
</script>
"#;

#[tokio::test]
async fn a_hub_stands_behind_nginx() {
    let mut stage = Stage::new();
    let (port, _) = ours(&mut stage, &["--hub"]).await;
    let front = free_port();
    let location = configs::documented_location(port).replace("location /ray", "location /");
    let file = configs::nginx(&stage, &format!("listen 127.0.0.1:{front};\n{location}"));
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[front]).await;
    let room = format!("ws://127.0.0.1:{front}/room");
    stage
        .start("program", &mut peer(&["answering", &room]), &[])
        .await;
    stage.until_file_has("program.log", "in").await;
    let run = ws(&[&room, "-w", "1"], "x\n").await;
    assert_eq!(run.text(), "answer to x\n", "{}", run.errors);
    let (_, answer) = curl(&["-d", "y", &room.replace("ws://", "http://")]).await;
    assert_eq!(answer, "answer to y");
    // nginx that does not hand on the upgrade.
    let file = configs::nginx(
        &stage,
        &format!("listen 127.0.0.1:{front};\nlocation / {{ proxy_pass http://127.0.0.1:{port}; }}"),
    );
    let mut reload = system("nginx");
    reload
        .arg("-p")
        .arg(stage.path(""))
        .arg("-c")
        .arg(file)
        .args(["-s", "reload"]);
    assert!(fed(reload, Vec::new()).await.code == Some(0));
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let run = ws(&[&room], "").await;
        if run.errors.contains("[ws-400]") {
            assert!(
                run.errors.contains("`proxy_set_header Upgrade`"),
                "{}",
                run.errors
            );
            break;
        }
        assert!(Instant::now() < deadline, "{}", run.errors);
    }
}

#[tokio::test]
async fn a_thousand_are_in_a_room_and_nobody_waits_for_the_slow_one() {
    let mut stage = Stage::new();
    let (port, index) = ours(&mut stage, &["--hub"]).await;
    let before = stage.child(index).resident_kib();
    let room = format!("ws://127.0.0.1:{port}/room");
    stage
        .start("crowd", &mut peer(&["crowd", &room, "1000"]), &[])
        .await;
    stage.until_file_has("crowd.log", "all have heard").await;
    let after = stage.child(index).resident_kib();
    assert!(after - before < 64 * 1024, "{before} KiB, {after} KiB");
    let log = stage.until_file_has("crowd.log", "ok").await;
    assert!(log.contains("the few were not kept waiting"), "{log}");
    stage
        .until_file_has("ws.log", "has taken nothing for too long, and was dropped")
        .await;
    let after = stage.child(index).resident_kib();
    assert!(after - before < 128 * 1024, "{before} KiB, {after} KiB");
}
