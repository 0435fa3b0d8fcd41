//! Conditions that Xray alone has: the program that a session comes from, the port that it came to, and the route that a
//! VLESS client names in its id.

use std::net::Ipv4Addr;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::configs::saying;
use crate::peers::{Peer, Stage, free_port, system};
use crate::traffic::{self, To};

/// Who asks decides, by name, path and folder of the program; and else the port that was asked.
#[tokio::test]
async fn a_session_goes_by_the_program_that_it_comes_from() {
    let mut stage = Stage::new();
    let [first, second] = [free_port(), free_port()];
    let to = async |tag: &str| {
        let redirect = traffic::answers(tag).await.to_string();
        json!({"tag": tag, "protocol": "freedom", "settings": {"redirect": redirect}})
    };
    let here = std::env::current_exe().expect("a test is a program");
    let folder = here.parent().expect("it is in a folder").display();
    let inbound = |port: u16| json!({"listen": "127.0.0.1", "port": port, "protocol": "http"});
    let config = json!({
        "inbounds": [inbound(first), inbound(second)],
        "outbounds": [to("anybody").await, to("curl").await, to("folder").await, to("port").await],
        "dns": {"hosts": {"a.test": "192.0.2.1"}},
        "routing": {"domainStrategy": "IPOnDemand", "rules": [
            {"ip": ["198.51.100.1"], "outboundTag": "anybody"},
            {"localPort": second, "outboundTag": "port"},
            {"process": ["wget", "/usr/bin/nowhere", "curl"], "localIP": "127.0.0.1", "outboundTag": "curl"},
            {"process": format!("{folder}/"), "outboundTag": "folder"},
            {"process": "self/", "outboundTag": "anybody"}
        ]}
    });
    stage
        .run(Peer::Mobula, "mobula", &config, &[first, second])
        .await;
    let by_curl = async |port: u16, url: &str| {
        let mut curl = system("curl");
        let proxy = format!("http://127.0.0.1:{port}");
        curl.args(["-sS", "-m", "10", "-x", &proxy, url]);
        let told = tokio::process::Command::from(curl).output().await;
        String::from_utf8(told.expect("curl runs").stdout).expect("a text")
    };
    assert_eq!(by_curl(first, "http://192.0.2.1/").await, "curl");
    assert_eq!(by_curl(second, "http://192.0.2.1/").await, "port");
    // A rule in front wants the addresses of the name.
    assert_eq!(by_curl(first, "http://a.test/").await, "curl");
    assert_eq!(by_this_test(first).await, "folder");
}

async fn by_this_test(proxy: u16) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy))
        .await
        .expect("it listens");
    let request = b"GET http://192.0.2.1/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("it is heard");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it is answered");
    let body = answer.rsplit("\r\n").next();
    body.unwrap_or_default().to_owned()
}

/// The same user, whatever route the id has: Xray's server takes them so, and its clients are given such ids.
#[tokio::test]
async fn a_vless_client_names_its_route_in_the_id() {
    let mut stage = Stage::new();
    let server = free_port();
    let routes = ["0000", "0001", "00ff", "4a4b"];
    let config = json!({
        "inbounds": [{
            "listen": "127.0.0.1", "port": server, "protocol": "vless", "streamSettings": {"network": "ws"},
            "settings": {"decryption": "none", "clients": [{"id": "b831381d-6324-4d53-ad4f-8cda48b30811", "email": "ann"}]}
        }],
        "outbounds": [saying("none").await, saying("one").await, saying("more").await],
        "routing": {"rules": [
            {"vlessRoute": "1", "outboundTag": "one"},
            {"vlessRoute": "2-300", "user": ["ann"], "outboundTag": "more"}
        ]}
    });
    stage.run(Peer::Mobula, "server", &config, &[server]).await;
    let tag = |i: usize| format!("way-{i}");
    for peer in [Peer::V2ray445, Peer::Mobula] {
        let mut stage = Stage::new();
        let ports: Vec<u16> = routes.iter().map(|_| free_port()).collect();
        let client = json!({
            "inbounds": ports.iter().enumerate().map(|(i, port)| json!({
                "tag": tag(i), "listen": "127.0.0.1", "port": port, "protocol": "socks"
            })).collect::<Vec<_>>(),
            "outbounds": routes.iter().enumerate().map(|(i, route)| json!({
                "tag": tag(i), "protocol": "vless", "streamSettings": {"network": "ws"},
                "settings": {"vnext": [{"address": "127.0.0.1", "port": server, "users": [
                    {"id": format!("b831381d-6324-{route}-ad4f-8cda48b30811"), "encryption": "none"}
                ]}]}
            })).collect::<Vec<_>>(),
            "routing": {"rules": routes.iter().enumerate().map(|(i, _)| json!({
                "type": "field", "inboundTag": [tag(i)], "outboundTag": tag(i)
            })).collect::<Vec<_>>()}
        });
        stage.run(peer, "client", &client, &ports).await;
        let to = To::Name("a.test", 80);
        let mut said = Vec::new();
        for port in &ports {
            said.push(traffic::line(*port, &to).await);
        }
        assert_eq!(said, ["none", "one", "more", "none"], "{peer:?}");
    }
}
