//! What keeps a script from harm, each fence by itself: the clock, the kernel's limits, the engine's memory.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::peers::{Stage, free_port, mobula};
use crate::probing::{Front, backend, slots};
use crate::scenario_scripts::{request, said, script, until};

/// One call of the engine's own: nothing in it asks for the time, so that only the end of its process is its end.
const SEARCHES: &str = "function handler() { const a = 'a'.repeat(1 << 23); return a.indexOf(a.slice(1 << 22) + 'b') + '' }";

/// The kernel would end this one when it has had 3 s of a processor. The back end does so after one second.
#[tokio::test]
async fn the_clock_ends_a_script_before_the_kernel_does() {
    let mut stage = Stage::new();
    let port = backend(&mut stage, &[]).await;
    let node = json!({"name": "a", "type": "socks5", "server": "127.0.0.1", "port": free_port()});
    let mut socket = Front::connect(port).await;
    let scripts = [script("searches", 1000, SEARCHES)];
    socket.say(request(&[node], &scripts, &["searches"])).await;
    let slot = &slots(&socket.hear_all().await)[0];
    assert_eq!(said(slot)[0].1["Text"], "");
    until(|| stage.child(0).children() == 0).await;
    let used = stage.child(0).cpu_of_children();
    let seconds = used.as_secs_f64();
    assert!(
        (0.05..2.5).contains(&seconds),
        "it ran for {used:?} of a processor"
    );
}

/// Nobody is there who looks at a clock.
#[tokio::test]
async fn the_kernel_ends_a_script_that_nobody_ends() {
    let began = Instant::now();
    let status = spawn_blocking(move || {
        let mut process = Process::start(SEARCHES, 1000);
        process.ended(Duration::from_secs(30))
    });
    let status = status.await.expect("it ends");
    assert_eq!(status, Some(9), "the signal that ended it");
    assert!(
        began.elapsed() > Duration::from_millis(2500),
        "it had its 3 s"
    );
}

/// It asks for a page when it has taken all that it gets, and is looked at while it waits.
#[tokio::test]
async fn a_script_that_eats_memory_gets_no_more_than_its_part() {
    let eats = "function handler() {
        const kept = [];
        try { for (;;) kept.push('x'.repeat(1000) + kept.length) } catch {}
        kept.length -= 100;
        fetch('http://192.0.2.1/');
        return kept.length + ''
    }";
    let peak = spawn_blocking(move || {
        let mut process = Process::start(eats, 60_000);
        let asked = process.hear();
        assert_eq!(asked["fetch"]["url"], "http://192.0.2.1/");
        let peak = process.of_status("VmHWM:");
        process.tell(b"");
        let kept: Value =
            serde_json::from_str(process.hear()["done"].as_str().expect("a text")).expect("JSON");
        let kept: u64 = kept["text"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("a number");
        assert!(kept > 20_000, "it has had {kept} times a thousand bytes");
        peak
    });
    let peak = peak.await.expect("it does as it is told");
    assert!(peak < 96 << 10, "{peak} KiB");
}

/// Should an engine be led astray, it finds itself in a process that may do nothing.
#[tokio::test]
async fn a_scripts_process_has_given_up_what_a_script_does_not_need() {
    let waits = "function handler() { fetch('http://192.0.2.1/') }";
    let limits = spawn_blocking(move || {
        let mut process = Process::start(waits, 5000);
        process.hear();
        let environ = process.of_proc("environ");
        assert_eq!(environ, "");
        process.of_proc("limits")
    });
    let limits = limits.await.expect("it does as it is told");
    for (what, most) in [
        ("Max open files", "0"),
        ("Max file size", "0"),
        ("Max core file size", "0"),
        ("Max processes", "0"),
        ("Max address space", "536870912"),
        ("Max cpu time", "7"),
    ] {
        let line = limits.lines().find_map(|line| line.strip_prefix(what));
        let line: Vec<&str> = line.expect(what).split_whitespace().collect();
        assert_eq!(line[..2], [most, most], "{what}");
    }
}

/// A process as the back end has one for each script, and nobody behind its pipes but us.
struct Process(Child);

impl Process {
    fn start(content: &str, millis: u64) -> Self {
        let mut command = mobula();
        command
            .arg("run-a-script")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = Self(command.spawn().expect("it starts"));
        let order = json!({"content": content, "question": "node", "millis": millis,
                           "proxy": {"Name": "a", "Address": "b:1", "Type": "Vmess"}});
        process.tell(order.to_string().as_bytes());
        process
    }

    fn tell(&mut self, bytes: &[u8]) {
        let pipe = self.0.stdin.as_mut().expect("a pipe");
        let number = u32::try_from(bytes.len())
            .expect("it is short")
            .to_be_bytes();
        pipe.write_all(&[&number[..], bytes].concat())
            .expect("it listens");
    }

    fn hear(&mut self) -> Value {
        let pipe = self.0.stdout.as_mut().expect("a pipe");
        let mut number = [0; 4];
        pipe.read_exact(&mut number).expect("it speaks");
        let mut bytes = vec![0; u32::from_be_bytes(number) as usize];
        pipe.read_exact(&mut bytes).expect("it speaks");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// The signal that ended it, if it has ended.
    fn ended(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.0.try_wait().expect("it is ours") {
                return status.signal();
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    }

    fn of_proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).expect("it runs")
    }

    /// In KiB.
    fn of_status(&self, name: &str) -> u64 {
        let status = self.of_proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.expect(name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
