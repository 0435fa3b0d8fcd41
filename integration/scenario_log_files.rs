//! What is written beside the service is its own: log files and sockets are for its user alone.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use serde_json::json;

use crate::peers::Peer::Mobula;
use crate::peers::{Stage, free_port};

fn mode(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

#[tokio::test]
async fn log_files_and_sockets_are_for_their_user_alone_whatever_the_umask() {
    for umask in ["0000", "0022", "0077"] {
        let mut stage = Stage::new();
        let port = free_port();
        let (own, shared) = (stage.path("own.sock"), stage.path("shared.sock"));
        fs::write(stage.path("kept.log"), "").expect("the test's folder is ours");
        fs::set_permissions(stage.path("kept.log"), fs::Permissions::from_mode(0o640))
            .expect("ours");
        let vmess = json!({"clients": [{"id": crate::configs::ID}]});
        let config = json!({
            "log": {"access": "access.log", "error": "kept.log", "loglevel": "info"},
            "inbounds": [
                {"listen": "127.0.0.1", "port": port, "protocol": "vmess", "settings": vmess},
                {"listen": own, "protocol": "vmess", "settings": vmess},
                {"listen": format!("{},0666", shared.display()), "protocol": "vmess", "settings": vmess},
            ],
        });
        let file = stage.write("config.json", config.to_string());
        let mobula = Mobula.command(&file);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("umask {umask} && exec \"$0\" \"$@\"")]);
        shell.arg(mobula.get_program()).args(mobula.get_args());
        let index = stage.start("mobula", &mut shell, &[port]).await;
        stage.until_file_has("kept.log", "started").await;
        assert_eq!(mode(&stage.path("access.log")), 0o600, "umask {umask}");
        assert_eq!(mode(&stage.path("kept.log")), 0o640, "umask {umask}");
        assert_eq!(mode(&own), 0o600, "umask {umask}");
        assert_eq!(mode(&shared), 0o666, "umask {umask}");
        assert!(
            fs::metadata(&own)
                .expect("it is there")
                .file_type()
                .is_socket()
        );
        // A log that is begun anew is no wider.
        fs::rename(stage.path("access.log"), stage.path("access.log.1")).expect("one folder");
        stage.child(index).signal("USR1");
        for _ in 0..100 {
            if stage.path("access.log").exists() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(mode(&stage.path("access.log")), 0o600, "umask {umask}");
    }
}

/// What `mobula test` warns of, the start does too.
#[tokio::test]
async fn the_start_tells_what_is_open_to_everybody() {
    let mut stage = Stage::new();
    let port = free_port();
    let user = json!({"id": crate::configs::ID, "security": "none"});
    let config = json!({
        "log": {"error": "error.log"},
        "inbounds": [{"listen": "0.0.0.0", "port": port, "protocol": "socks"}],
        "outbounds": [{
            "protocol": "vmess",
            "settings": {"vnext": [{"address": "203.0.113.1", "port": 80, "users": [user]}]},
        }],
    });
    stage.run(Mobula, "mobula", &config, &[port]).await;
    let log = stage.until_file_has("error.log", "started").await;
    for told in [
        "[Warning] inbounds[0]: whoever reaches 0.0.0.0 may use this proxy",
        "[Warning] outbounds[0].settings.vnext[0].users[0].security: `none` without TLS",
    ] {
        assert!(log.contains(told), "{log}");
    }
}
