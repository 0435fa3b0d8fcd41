//! A config of V2Ray's in YAML or TOML.

use crate::configs::ID;
use crate::peers::{Stage, free_port, mobula, system};
use crate::traffic::{self, To};

#[tokio::test]
async fn a_config_may_be_written_in_yaml_or_toml() {
    let (server, socks, echo) = (free_port(), free_port(), traffic::echo().await);
    let yaml = format!(
        "# A server.\n\
         log: {{loglevel: warning, access: access.log}}\n\
         inbounds:\n\
         - listen: 127.0.0.1\n\
         \x20 port: {server}\n\
         \x20 protocol: vmess\n\
         \x20 settings:\n\
         \x20   clients: [{{id: {ID}, email: 'ann'}}]\n\
         \x20 streamSettings: &ws {{network: ws, wsSettings: {{path: /ray}}}}\n\
         outbounds:\n\
         - protocol: freedom\n"
    );
    let toml = format!(
        "[[inbounds]]\nlisten = \"127.0.0.1\"\nport = {socks}\nprotocol = 'socks'\n\
         [[outbounds]]\nprotocol = 'vmess'\n\
         streamSettings = {{network = 'ws', wsSettings = {{path = '/ray'}}}}\n\
         [[outbounds.settings.vnext]]\naddress = '127.0.0.1'\nport = {server}\n\
         users = [{{id = '{ID}'}}]\n"
    );
    let mut stage = Stage::new();
    for (name, text, port) in [("server.yaml", yaml, server), ("client.toml", toml, socks)] {
        let file = stage.write(name, text);
        let mut command = mobula();
        command.args(["run", "-c"]).arg(file);
        stage.start(name, &mut command, &[port]).await;
    }
    traffic::word(socks, &To::Ip(echo)).await;
    stage
        .until_line_has("access.log", &["accepted", "ann"])
        .await;
}

#[test]
fn one_is_converted_as_well() {
    let stage = Stage::new();
    stage.write(
        "a.toml",
        "[[outbounds]]\nprotocol = 'freedom'\ntag = 'out'\n",
    );
    stage.write("a.yml", "outbounds:\n- protocol: freedom\n  tag: out\n");
    for (file, target) in [("a.toml", "config"), ("a.yml", "config"), ("a.yml", "v5")] {
        let mut convert = mobula();
        convert.args(["convert", file, "--to", target]);
        let output = convert.current_dir(stage.path("")).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{file}: {output:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(json["outbounds"][0]["tag"], "out");
    }
}

/// What is wrong with one is told with the line of the file.
#[test]
fn a_mistake_in_yaml_has_its_line() {
    let stage = Stage::new();
    stage.write(
        "config.yml",
        "log:\n  loglevel: warning\ninbounds:\n- protocol: socks\n  port: many\n",
    );
    stage.write("stdin", "[[inbounds]]\nport = 'many'\nprotocol = 'socks'\n");
    let run = |args: &str| {
        let mut shell = system("sh");
        let program = mobula();
        let program = program.get_program().to_string_lossy().into_owned();
        shell.args(["-c", &format!("'{program}' {args}")]);
        let output = shell.current_dir(stage.path("")).output();
        let output = output.expect("it runs");
        assert_eq!(output.status.code(), Some(23));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let said = run("test");
    assert!(
        said.contains("inbounds[0].port") && said.contains("config.yml:5:"),
        "{said}"
    );
    let said = run("test -format toml -c stdin: < stdin");
    assert!(
        said.contains("inbounds[0].port") && said.contains("stdin:2:"),
        "{said}"
    );
}
