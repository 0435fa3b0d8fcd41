//! The configs that people begin with, run: the six examples of the WebSocket reference, which are
//! `testdata/configs/good/reference-*.json`, and README's two.
//!
//! A test puts in what an example leaves to its reader (addresses, ports, certificates) and the inbound
//! or outbound it leaves out; the rest stays as it stands there. Examples 2 and 4 are clients of a
//! server at `/ws`, which is example 6 behind a proxy that says who connected.

use serde_json::{Value, json};

use crate::configs::{self, Certificate};
use crate::peers::Peer::{self, Mobula, V2ray434, V2ray445};
use crate::peers::{Stage, free_port, root, system};
use crate::scenario_documents::blocks;
use crate::traffic::{self, To};

fn example(name: &str) -> Value {
    let file = root().join(format!("testdata/configs/good/reference-{name}.json"));
    let text = std::fs::read_to_string(file).expect("the example is there");
    serde_json::from_str(&text).expect("an example has no comments")
}

/// A client, with a SOCKS inbound on `socks` and its server on `server`.
fn client(mut config: Value, socks: u16, server: u16, tls: Option<&Certificate>) -> Value {
    config["log"] = json!({"loglevel": "debug"});
    if config.get("inbounds").is_none() {
        config["inbounds"] = json!([{"listen": "127.0.0.1", "protocol": "socks"}]);
    }
    config["inbounds"][0]["port"] = json!(socks);
    config["inbounds"][0]["settings"] = json!({"udp": true, "ip": "127.0.0.1"});
    let outbound = &mut config["outbounds"][0];
    let place = match outbound["settings"].get_mut("vnext") {
        Some(vnext) => &mut vnext[0],
        None => &mut outbound["settings"],
    };
    // A name, as in the examples: who names no `serverName` expects a certificate for it.
    place["address"] = json!("localhost");
    place["port"] = json!(server);
    if let Some(files) = tls {
        let tls = &mut outbound["streamSettings"]["tlsSettings"];
        if tls.is_null() {
            *tls = json!({});
        }
        tls["disableSystemRoot"] = json!(true);
        tls["certificates"] = json!([{"usage": "verify", "certificateFile": files.authority}]);
    }
    config
}

/// A server on `port`.
fn server(mut config: Value, port: u16) -> Value {
    config["log"] = json!({"loglevel": "debug"});
    config["inbounds"][0]["port"] = json!(port);
    config["inbounds"][0]["listen"] = json!("127.0.0.1");
    config["outbounds"] = json!([{"protocol": "freedom"}]);
    config
}

/// Starts the client and tries it.
async fn carries(stage: &mut Stage, peer: Peer, config: &Value) {
    let socks = config["inbounds"][0]["port"].as_u64().expect("a port");
    let socks = u16::try_from(socks).expect("a port");
    let name = format!("client-{peer:?}");
    stage.run(peer, &name, config, &[socks]).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    traffic::server_speaks_first(socks).await;
    traffic::both_ways(socks, 1024 * 1024).await;
    traffic::datagrams(socks, &[60, 1200]).await;
}

/// The certificate's paths are relative, as V2Ray reads them: to where the program was started.
#[tokio::test]
async fn example_1_is_a_client_of_example_3() {
    for peer in [Mobula, V2ray434, V2ray445] {
        let mut stage = Stage::new();
        let certificate = Certificate::with_names(&stage, &["server.example.com"]);
        let (port, socks) = (free_port(), free_port());
        let mut config = server(example("3"), port);
        config["inbounds"][0]["streamSettings"]["tlsSettings"]["certificates"] =
            json!([{"certificateFile": "cert.pem", "keyFile": "./key.pem"}]);
        stage.run(peer, "server", &config, &[port]).await;
        let config = client(example("1"), socks, port, Some(&certificate));
        carries(&mut stage, Mobula, &config).await;
    }
}

/// HAProxy on a port, with TLS where it has a certificate, in front of example 6.
async fn in_front_of_example_6(stage: &mut Stage, certificate: Option<&Certificate>) -> u16 {
    let (front, port) = (free_port(), free_port());
    stage
        .run(Mobula, "server", &server(example("6"), port), &[port])
        .await;
    let tls = certificate.map(|files| {
        let read = |path| std::fs::read_to_string(path).expect("it was written");
        let both = read(&files.chain) + &read(&files.key);
        format!("ssl crt {}", stage.write("both.pem", both).display())
    });
    let tls = tls.unwrap_or_default();
    let text = format!(
        "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         listen ray\n  bind 127.0.0.1:{front} {tls}\n  server one 127.0.0.1:{port} send-proxy-v2\n"
    );
    let file = stage.write("haproxy.cfg", text);
    let mut command = system("haproxy");
    command.arg("-db").arg("-f").arg(file);
    stage.start("haproxy", &mut command, &[front]).await;
    front
}

#[tokio::test]
async fn example_2_is_a_client_of_example_6_behind_tls() {
    let mut stage = Stage::new();
    let certificate = Certificate::with_names(&stage, &["localhost"]);
    let front = in_front_of_example_6(&mut stage, Some(&certificate)).await;
    for peer in [Mobula, V2ray434, V2ray445] {
        let config = client(example("2"), free_port(), front, Some(&certificate));
        carries(&mut stage, peer, &config).await;
    }
}

/// Its server says nothing of early data, and takes it all the same.
#[tokio::test]
async fn example_4_is_a_client_of_example_6() {
    let mut stage = Stage::new();
    let front = in_front_of_example_6(&mut stage, None).await;
    for peer in [Mobula, V2ray445] {
        let config = client(example("4"), free_port(), front, None);
        carries(&mut stage, peer, &config).await;
    }
}

/// Whose client meets whose server.
const PAIRS: [(Peer, Peer); 5] = [
    (Mobula, Mobula),
    (V2ray434, Mobula),
    (V2ray445, Mobula),
    (Mobula, V2ray434),
    (Mobula, V2ray445),
];

#[tokio::test]
async fn example_5_meets_itself_through_nginx() {
    for pair in PAIRS {
        meet_through_nginx(pair, example("5-client"), example("5-server")).await;
    }
}

/// mobula reads the flat form of the client; V2Ray 4 does not.
#[tokio::test]
async fn the_client_of_the_readme_meets_its_server_through_nginx() {
    let blocks = blocks("json").into_iter();
    let of_readme = blocks.filter(|(place, _)| place.starts_with("README.md:"));
    let configs: Vec<Value> = of_readme
        .map(|(place, text)| serde_json::from_str(&text).expect(&place))
        .collect();
    let [server, client] = &configs[..] else {
        panic!("README shows a server and a client, not {configs:#?}");
    };
    for far in [Mobula, V2ray434, V2ray445] {
        meet_through_nginx((Mobula, far), client.clone(), server.clone()).await;
    }
}

/// nginx has the documented location block, which is the reference's word for word.
async fn meet_through_nginx((near, far): (Peer, Peer), near_config: Value, far_config: Value) {
    println!("{near:?} to {far:?}");
    let mut stage = Stage::new();
    let certificate = Certificate::with_names(&stage, &["localhost"]);
    let (front, port) = (free_port(), free_port());
    stage
        .run(far, "server", &server(far_config, port), &[port])
        .await;
    let block = format!(
        "listen 127.0.0.1:{front} ssl;\nserver_name example.com;\n\
         ssl_certificate {};\nssl_certificate_key {};\n{}",
        certificate.chain.display(),
        certificate.key.display(),
        configs::documented_location(port),
    );
    let file = configs::nginx(&stage, &block);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start("nginx", &mut nginx, &[front]).await;
    let config = client(near_config, free_port(), front, Some(&certificate));
    carries(&mut stage, near, &config).await;
}
