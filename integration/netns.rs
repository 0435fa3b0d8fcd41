//! Machines of a test's own: network namespaces, and the cables between them.
//!
//! A [`Machine`] has its own interfaces, addresses, routes, ports and packet filter, and nothing of it can be
//! seen from outside. It needs root; `ip` is Debian's iproute2. All is gone when the machine is dropped.
//!
//! ```text
//! let (client, router) = (Machine::new("client"), Machine::new("router"));
//! cable((&client, &["10.1.0.2/24", "fd01::2/64"]), (&router, &["10.1.0.1/24", "fd01::1/64"]));
//! client.ip("route add default via 10.1.0.1");
//! stage.run_on(&router, Peer::Mobula, "router", &config, &[12345]).await;
//! let socket = client.within(|| std::net::UdpSocket::bind("10.1.0.2:0"));
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use crate::peers::{Peer, Stage, system};

/// A network namespace.
pub struct Machine {
    name: String,
}

impl Machine {
    /// A machine with nothing but loopback; `role` is for messages.
    pub fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mobula-{}-{count}-{role}", std::process::id());
        assert!(
            fs::metadata("/proc/self")
                .is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0),
            "network namespaces need root: run the tests as root, or under `sudo -E`"
        );
        remove_what_was_left();
        done(system("ip").args(["netns", "add", &name]), "");
        let machine = Self { name };
        machine.ip("link set lo up");
        // Nobody else is there to have the same address, and asking takes more than a second.
        machine.sysctl("net/ipv6/conf/all/accept_dad", "0");
        machine.sysctl("net/ipv6/conf/default/accept_dad", "0");
        machine
    }

    /// `ip`, inside: `machine.ip("route add default via 10.1.0.1")`.
    pub fn ip(&self, words: &str) {
        let mut command = system("ip");
        command.arg("-n").arg(&self.name);
        done(command.args(words.split_whitespace()), "");
    }

    /// Loads rules as a file of `nft -f` has them.
    pub fn nft(&self, rules: &str) {
        let mut command = self.dress(system("nft"));
        done(command.args(["-f", "-"]), rules);
    }

    /// `machine.sysctl("net/ipv4/ip_forward", "1")`.
    pub fn sysctl(&self, key: &str, value: &str) {
        self.within(|| fs::write(format!("/proc/sys/{key}"), value))
            .unwrap_or_else(|error| panic!("{}: {key}: {error}", self.name));
    }

    /// Passes packets on between its cables.
    pub fn forwards(&self) {
        self.sysctl("net/ipv4/ip_forward", "1");
        self.sysctl("net/ipv6/conf/all/forwarding", "1");
    }

    /// The same command, to be run inside.
    pub fn dress(&self, command: Command) -> Command {
        let mut inside = system("ip");
        inside.args(["netns", "exec", &self.name]);
        inside.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        inside
    }

    /// Runs a closure inside. What it opens stays inside, whoever uses it afterwards.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("it was made");
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter");
                act()
            });
            inside.join().expect("nothing panics inside")
        })
    }

    /// A TCP socket that has yet to connect; its local port is the system's choice.
    pub fn tcp_socket(&self, family: IpAddr) -> TcpSocket {
        self.within(|| match family {
            IpAddr::V4(_) => TcpSocket::new_v4(),
            IpAddr::V6(_) => TcpSocket::new_v6(),
        })
        .expect("a socket")
    }

    /// Listens for TCP.
    pub fn tcp_listen(&self, at: SocketAddr) -> TcpListener {
        let listener = self.within(|| std::net::TcpListener::bind(at));
        let listener = listener.unwrap_or_else(|error| panic!("{}: {at}: {error}", self.name));
        listener.set_nonblocking(true).expect("a socket of ours");
        TcpListener::from_std(listener).expect("a runtime")
    }

    /// A UDP socket.
    pub fn udp(&self, at: SocketAddr) -> UdpSocket {
        let socket = self.within(|| std::net::UdpSocket::bind(at));
        let socket = socket.unwrap_or_else(|error| panic!("{}: {at}: {error}", self.name));
        socket.set_nonblocking(true).expect("a socket of ours");
        UdpSocket::from_std(socket).expect("a runtime")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let mut command = system("ip");
        let _ = command.args(["netns", "del", &self.name]).output();
    }
}

/// Joins two machines; each end gets its addresses, with the length of the network behind them.
pub fn cable(one: (&Machine, &[&str]), two: (&Machine, &[&str])) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let (near, far) = (format!("a{count}"), format!("b{count}"));
    let other = &two.0.name;
    one.0.ip(&format!(
        "link add {near} type veth peer name {far} netns {other}"
    ));
    for ((machine, addresses), interface) in [(one, near), (two, far)] {
        for address in addresses {
            machine.ip(&format!("address add {address} dev {interface}"));
        }
        machine.ip(&format!("link set {interface} up"));
    }
}

/// Any port of any address of the family of `like`.
pub fn any(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Runs a command to its end; it must succeed.
fn done(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it was piped");
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("a child can be waited for");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}\n{input}");
    output
}

/// A test that was killed could not clean up; its process is gone, and its number is in the name.
fn remove_what_was_left() {
    let Ok(entries) = fs::read_dir("/run/netns") else {
        return;
    };
    for name in entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
    {
        let process = name
            .strip_prefix("mobula-")
            .and_then(|n| n.split('-').next());
        if let Some(process) = process
            && !fs::exists(format!("/proc/{process}")).unwrap_or(true)
        {
            let _ = system("ip").args(["netns", "del", &name]).output();
        }
    }
}

#[tokio::test]
async fn two_machines_with_a_third_between_them_hear_each_other() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let (near, middle, far) = (
        Machine::new("near"),
        Machine::new("middle"),
        Machine::new("far"),
    );
    cable(
        (&near, &["10.1.0.2/24", "fd01::2/64"]),
        (&middle, &["10.1.0.1/24", "fd01::1/64"]),
    );
    cable(
        (&far, &["10.2.0.2/24", "fd02::2/64"]),
        (&middle, &["10.2.0.1/24", "fd02::1/64"]),
    );
    middle.forwards();
    for (machine, gateways) in [
        (&near, ["10.1.0.1", "fd01::1"]),
        (&far, ["10.2.0.1", "fd02::1"]),
    ] {
        for gateway in gateways {
            machine.ip(&format!("route add default via {gateway}"));
        }
    }
    for to in ["10.2.0.2:80", "[fd02::2]:80"] {
        let to: SocketAddr = to.parse().unwrap();
        let listener = far.tcp_listen(to);
        let mut here = near.tcp_socket(to.ip()).connect(to).await.unwrap();
        let (mut there, source) = listener.accept().await.unwrap();
        assert_eq!(source, here.local_addr().unwrap());
        here.write_all(b"word").await.unwrap();
        let mut word = [0; 4];
        there.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"word");

        let socket = near.udp(any(to));
        let service = far.udp(to);
        socket.send_to(b"ping", to).await.unwrap();
        let (n, from) = service.recv_from(&mut word).await.unwrap();
        assert_eq!((n, from.port()), (4, socket.local_addr().unwrap().port()));
    } // The packet filter is the machine's own, too.
    middle.nft("table inet t { chain c { type filter hook forward priority 0; tcp dport 80 reject with tcp reset; }; }");
    let to: SocketAddr = "10.2.0.2:80".parse().unwrap();
    let refused = near.tcp_socket(to.ip()).connect(to).await;
    assert!(refused.is_err(), "{refused:?}");
}

/// A port that is taken here is free there.
#[tokio::test]
async fn a_program_runs_on_a_machine() {
    let here = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = here.local_addr().unwrap();
    let machine = Machine::new("alone");
    let mut stage = Stage::new();
    let config = serde_json::json!({
        "inbounds": [{"listen": "127.0.0.1", "port": at.port(), "protocol": "socks"}],
        "outbounds": [{"protocol": "freedom"}],
    });
    stage
        .run_on(&machine, Peer::Mobula, "mobula", &config, &[at.port()])
        .await;
    machine.tcp_socket(at.ip()).connect(at).await.unwrap();
}
