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
