//! A server with an API, and its clients: Python's `grpcio` with messages made from `proto`, Debian's `v2ctl`, `mobula api`.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::configs::Vmess;
use crate::peers::Peer::{self, V2ray445};
use crate::peers::{Stage, free_port, mobula, python, root, system};
use crate::traffic::{self, To};

pub const ANN: &str = "b831381d-6324-4d53-ad4f-8cda48b30811";
pub const BOB: &str = "27848739-7e62-4138-9fd3-098a63964b6b";
pub const ALTER: &str = "app.proxyman.command.HandlerService/AlterInbound";

/// A server with an API, and what is asked of it.
pub struct Panel {
    pub stage: Stage,
    pub api: u16,
    pub vmess: u16,
}

impl Panel {
    pub async fn start(peer: Peer) -> Self {
        let (api, vmess) = (free_port(), free_port());
        let config = json!({
            "log": {"loglevel": "debug", "access": "access.log"},
            "stats": {},
            "policy": {"system": {"statsInboundUplink": true, "statsInboundDownlink": true}},
            "api": {
                "tag": "api",
                "services": ["HandlerService", "LoggerService", "RoutingService", "StatsService"],
            },
            "inbounds": [
                {
                    "tag": "panel", "listen": "127.0.0.1", "port": api, "protocol": "dokodemo-door",
                    "settings": {"address": "127.0.0.1"},
                },
                {
                    "tag": "vmess", "listen": "127.0.0.1", "port": vmess, "protocol": "vmess",
                    "settings": {"clients": [{"id": ANN, "email": "ann@example.com"}]},
                },
            ],
            "outbounds": [{"tag": "direct", "protocol": "freedom"}],
            "routing": {"rules": [
                {"type": "field", "inboundTag": ["panel"], "outboundTag": "api"},
                {"type": "field", "domain": ["full:rule.test"], "outboundTag": "direct"},
            ]},
        });
        let mut stage = Stage::new();
        stage.run(peer, "server", &config, &[api, vmess]).await;
        Self { stage, api, vmess }
    }

    /// What Python's client got, a line for each answer.
    pub fn ask(&self, options: &[&str], calls: &[(&str, Value)]) -> Vec<Value> {
        let mut command = self.python(options);
        for (method, request) in calls {
            command.arg(method).arg(request.to_string());
        }
        let output = command.output().expect("python runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let text = String::from_utf8(output.stdout).expect("JSON");
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON")
    }

    pub fn python(&self, options: &[&str]) -> Command {
        let mut command = python();
        command
            .arg(root().join("integration/peers/grpc_call.py"))
            .arg(root().join("proto"))
            .arg(format!("127.0.0.1:{}", self.api))
            .args(options);
        command
    }

    pub fn call(&self, method: &str, request: Value) -> Value {
        self.ask(&[], &[(method, request)]).remove(0)
    }

    /// `mobula api` with `args`: whether it worked, and what it printed.
    pub fn mobula(&self, args: &[&str]) -> (bool, String) {
        let output = mobula()
            .args(["api", "-s", &format!("127.0.0.1:{}", self.api)])
            .args(args)
            .output()
            .expect("mobula runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("text");
        (output.status.success(), text.trim().to_owned())
    }

    pub fn v2ctl(&self, method: &str, request: &str) -> String {
        let output = system("v2ctl")
            .args(["api", &format!("--server=127.0.0.1:{}", self.api)])
            .args([method, request])
            .output()
            .expect("v2ctl runs");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// A client of the user with this id; gives its SOCKS port.
    pub async fn client(&mut self, id: &str) -> u16 {
        let socks = free_port();
        let mut config = Vmess::tcp().client(V2ray445, socks, self.vmess);
        let vnext = &mut config["outbounds"][0]["settings"]["vnext"][0];
        vnext["users"][0]["id"] = id.into();
        let name = format!("client-{socks}");
        self.stage.run(V2ray445, &name, &config, &[socks]).await;
        socks
    }
}

pub fn add_user(id: &str, email: &str) -> Value {
    let account = json!({"@type": "proxy.vmess.Account", "id": id, "alterId": 0});
    let user = json!({"level": 0, "email": email, "account": account});
    json!({"tag": "vmess", "operation": {"@type": "app.proxyman.command.AddUserOperation", "user": user}})
}

pub fn remove_user(email: &str) -> Value {
    let operation = json!({"@type": "app.proxyman.command.RemoveUserOperation", "email": email});
    json!({"tag": "vmess", "operation": operation})
}

/// Whether a session of the client at `socks` reaches its target.
pub async fn gets_through(socks: u16) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let to = To::Ip(traffic::echo().await);
    let Ok(mut stream) = traffic::connect(socks, &to).await else {
        return false;
    };
    let talk = async {
        stream.write_all(b"word").await?;
        stream.read_exact(&mut [0; 4]).await
    };
    let talked = tokio::time::timeout(Duration::from_secs(2), talk).await;
    talked.is_ok_and(|word| word.is_ok())
}
