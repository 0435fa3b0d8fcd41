//! `mobula tunnel` over a wire that falls silent: what was published is back as soon as the wire is.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::netns::Machine;
use crate::peers::mobula;
use crate::traffic::{self, LIMIT};
use crate::wire_with_faults::{self, FAR};

/// As the manual has it.
const BACK_WITHIN: Duration = Duration::from_secs(5);

const SERVER: u16 = 8443;
const PUBLISHED: u16 = 9000;

/// How long the wire is cut: past every keep-alive. A minute by `MOBULA_WIRE_SECONDS=60`.
fn cut() -> Duration {
    let seconds = std::env::var("MOBULA_WIRE_SECONDS").ok();
    Duration::from_secs(seconds.map_or(25, |text| text.parse().expect("seconds")))
}

/// Whether a visitor of the far machine reaches the service of the near one.
async fn visit(machine: &Machine) -> bool {
    let at: SocketAddr = (FAR.parse::<Ipv4Addr>().expect("it is one"), PUBLISHED).into();
    let socket = machine.tcp_socket(at.ip());
    let talk = async {
        let mut visitor = socket.connect(at).await.ok()?;
        visitor.write_all(b"a word").await.ok()?;
        let mut back = [0; 6];
        visitor.read_exact(&mut back).await.ok()?;
        Some(back == *b"a word")
    };
    timeout(Duration::from_secs(1), talk).await.ok().flatten() == Some(true)
}

async fn until_back(machine: &Machine) -> Duration {
    let began = Instant::now();
    while !visit(machine).await {
        assert!(began.elapsed() < LIMIT, "the service is not back");
        sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

#[test]
fn a_published_port_is_back_when_the_wire_is() {
    wire_with_faults::run(|mut far| async move {
        let local = traffic::echo().await.port();
        let server = format!(
            "[server]\nbind_addr = \"{FAR}\"\nbind_port = {SERVER}\ntransport = \"wss\"\nauth_key = \"k\"\n"
        );
        let file = far.stage.write("server.toml", server);
        let mut command = mobula();
        command.arg("tunnel").arg("server").arg(file);
        let mut command = far.machine.dress(command);
        far.stage.start("server", &mut command, &[]).await;
        let client = format!(
            "[client]\nserver_addr = \"{FAR}\"\nserver_port = {SERVER}\ntransport = \"wss\"\nauth_key = \"k\"\nskip_verify = true\n\
                 [[proxies]]\nname = \"echo\"\nproxy_type = \"tcp\"\npublish_addr = \"{FAR}\"\npublish_port = {PUBLISHED}\nlocal_port = {local}\n"
        );
        let file = far.stage.write("client.toml", client);
        let mut command = mobula();
        command.arg("tunnel").arg("client").arg(file);
        let client = far.stage.start("client", &mut command, &[]).await;
        until_back(&far.machine).await;
        far.wire.is_cut();
        sleep(cut()).await;
        assert!(!visit(&far.machine).await, "the wire is cut");
        far.wire.is_mended();
        let took = until_back(&far.machine).await;
        assert!(took < BACK_WITHIN, "{took:?}\n{}", far.stage.log(client));
    });
}
