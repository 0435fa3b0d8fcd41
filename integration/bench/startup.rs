//! How soon a program accepts, and how large it is.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::configs::Shape;
use super::figures::{Figures, Role, Row, Setting, What};
use super::network::free_port;
use super::program::{Kind, Peer, Program};
use super::{Result, Run};

pub(crate) async fn measure(run: &Run, program: &Program, figures: &mut Figures) -> Result<()> {
    let mut add = |what, value| {
        let row = Row(Setting::Plain, Role::Server, what);
        figures.add(row, program.name(), value);
    };
    let trivial = match program.kind {
        Kind::Floor => Some(Trivial::build()?),
        _ => None,
    };
    for _ in 0..run.options.starts {
        let port = free_port()?;
        let config = Shape::default().server(program.kind, port);
        let begin = Instant::now();
        let peer = match &trivial {
            Some(trivial) => trivial.start(port)?,
            None => program.spawn(&config)?,
        };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begin.elapsed() > Duration::from_secs(10) {
                return Err(format!("{} does not listen", program.name()).into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        add(What::Start, begin.elapsed().as_secs_f64() * 1e3);
        drop(peer);
    }
    if trivial.is_none() {
        add(
            What::Size,
            stripped(&program.path)? as f64 / f64::from(1 << 20),
        );
    }
    Ok(())
}

/// Between two tries to connect; a busier loop would take a core from the program.
const PAUSE: Duration = Duration::from_micros(200);

/// A program that accepts and does nothing else.
struct Trivial(tempfile::TempDir);

impl Trivial {
    fn build() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("trivial.c"), SOURCE)?;
        let status = Command::new("cc")
            .args(["-O2", "-o", "trivial", "trivial.c"])
            .current_dir(dir.path())
            .status()?;
        status
            .success()
            .then_some(Self(dir))
            .ok_or("cc fails".into())
    }

    fn start(&self, port: u16) -> Result<Peer> {
        // As the others, it finds its port in a file.
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("config.json");
        fs::write(&config, Value::from(port).to_string())?;
        let mut command = Command::new(self.0.path().join("trivial"));
        Peer::spawn(command.arg(config), dir)
    }
}

const SOURCE: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <unistd.h>

int main(int count, char **args) {
    int port = 0, one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    FILE *config = count > 1 ? fopen(args[1], "r") : NULL;
    if (!config || fscanf(config, "%d", &port) != 1) return 1;
    struct sockaddr_in here = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 128)) return 1;
    for (;;) close(accept(listener, NULL, NULL));
}
"#;

/// Bytes of the program without symbols.
fn stripped(program: &Path) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let copy = dir.path().join("stripped");
    fs::copy(program, &copy)?;
    let status = Command::new("strip").arg(&copy).status()?;
    if !status.success() {
        return Err("strip fails".into());
    }
    Ok(fs::metadata(&copy)?.len())
}
