//! What the documents tell people to copy does what they say: web servers in front, sing-box at the other end.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::configs::{Certificate, ID, SERVER_NAME, Vmess};
use crate::peers::Peer::{Mobula, SingBox, V2ray445};
use crate::peers::{Stage, free_port, mobula, system};
use crate::scenario_documents::blocks;
use crate::traffic::{self, To};

const PAGE: &str = "an ordinary page";

/// The blocks of one document, in their order.
pub fn shown(document: &str, language: &str) -> Vec<String> {
    let all = blocks(language).into_iter();
    let place = format!("{document}:");
    all.filter(|(at, _)| at.starts_with(&place))
        .map(|(_, text)| text)
        .collect()
}

/// `text` with other words in it; each stands there.
pub fn with(text: &str, words: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (word, other) in words {
        assert!(text.contains(word), "`{word}` is not in\n{text}");
        text = text.replace(word, other);
    }
    text
}

/// Lets other users look into a folder.
pub fn open(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// A folder that other users may look into, with a page.
fn site(stage: &Stage) -> String {
    open(&stage.path(""));
    let site = stage.path("site");
    fs::create_dir(&site).expect("the test's folder is ours");
    open(&site);
    let page = site.join("index.html");
    fs::write(&page, PAGE).expect("the test's folder is ours");
    fs::set_permissions(&page, fs::Permissions::from_mode(0o644)).expect("it is ours");
    site.display().to_string()
}

/// nginx with all that stands in its `http`, and the workers that Debian gives it.
async fn nginx(stage: &mut Stage, name: &str, servers: &str, ports: &[u16]) {
    let at = |file: &str| stage.path(file).display().to_string();
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let user = if is_root { "user www-data;" } else { "" };
    let tmp = at(&format!("{name}-tmp"));
    let text = format!(
        "daemon off; pid {}; error_log stderr info; worker_processes 1; {user}\n\
         events {{ worker_connections 512; }}\nhttp {{\n access_log off;\n client_body_temp_path {tmp};\n\
         proxy_temp_path {tmp};\n fastcgi_temp_path {tmp};\n uwsgi_temp_path {tmp};\n scgi_temp_path {tmp};\n\
         {servers}\n}}\n",
        at(&format!("{name}.pid")),
    );
    let file = stage.write(&format!("{name}.conf"), text);
    let mut nginx = system("nginx");
    nginx.arg("-p").arg(stage.path("")).arg("-c").arg(file);
    stage.start(name, &mut nginx, ports).await;
}

/// The whole answer to a plain request.
async fn get(port: u16, path: &str) -> String {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let mut stream = stream.expect("somebody listens");
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {SERVER_NAME}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

/// The page that a visitor sees; whether its certificate is believed is not the matter here.
fn page(port: u16) -> String {
    let output = system("curl")
        .args(["-s", "-k", "--resolve"])
        .arg(format!("{SERVER_NAME}:{port}:127.0.0.1"))
        .arg(format!("https://{SERVER_NAME}:{port}/"))
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Clients of all kinds get through the web server on `front`.
async fn carries(stage: &mut Stage, vmess: &Vmess, front: u16) {
    let to = To::Ip(traffic::echo().await);
    for client in [V2ray445, SingBox, Mobula] {
        let socks = free_port();
        let config = vmess.client(client, socks, front);
        let name = format!("client-{client:?}-{front}");
        stage.run(client, &name, &config, &[socks]).await;
        traffic::word(socks, &to).await;
        traffic::both_ways(socks, 256 * 1024).await;
    }
}

/// A server without TLS, and clients that speak it to the web server in front.
fn behind_tls(stage: &Stage) -> (Vmess, Vmess, Certificate) {
    let certificate = Certificate::new(stage);
    let client = Vmess {
        tls: Some(certificate.clone()),
        ..Vmess::ws()
    };
    (Vmess::ws(), client, certificate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_site_of_nginx_has_pages_and_a_tunnel() {
    let mut stage = Stage::new();
    let site = site(&stage);
    let (server, client, certificate) = behind_tls(&stage);
    let [port, plain, front] = [free_port(), free_port(), free_port()];
    stage
        .run(Mobula, "server", &server.server(Mobula, port), &[port])
        .await;
    let all = shown("nginx.md", "nginx");
    let whole = all.iter().find(|block| block.starts_with("server {"));
    let live = "/etc/letsencrypt/live/example.com";
    let servers = with(
        whole.expect("a whole site"),
        &[
            ("    listen [::]:80;\n", ""),
            ("    listen [::]:443 ssl;\n", ""),
            ("listen 80;", &format!("listen 127.0.0.1:{plain};")),
            ("listen 443 ssl;", &format!("listen 127.0.0.1:{front} ssl;")),
            (
                &format!("{live}/fullchain.pem"),
                &certificate.chain.display().to_string(),
            ),
            (
                &format!("{live}/privkey.pem"),
                &certificate.key.display().to_string(),
            ),
            ("example.com", SERVER_NAME),
            ("/var/www/html", &site),
            ("127.0.0.1:10000", &format!("127.0.0.1:{port}")),
        ],
    );
    nginx(&mut stage, "nginx", &servers, &[plain, front]).await;
    assert_eq!(page(front), PAGE);
    let moved = get(plain, "/x").await;
    assert!(moved.starts_with("HTTP/1.1 301 "), "{moved}");
    assert!(
        moved.contains(&format!("Location: https://{SERVER_NAME}/x\r\n")),
        "{moved}"
    );
    let proof = get(plain, "/.well-known/acme-challenge/x").await;
    assert!(proof.starts_with("HTTP/1.1 404 "), "{proof}");
    carries(&mut stage, &client, front).await;
}

/// Nginx's workers are another user than mobula, which is what `,0666` is for, or a folder of their group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_connects_to_the_socket_as_documented_and_not_without_its_mode() {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    assert!(is_root, "only root has users to spare: `sudo -E`");
    let written = shown("nginx.md", "json");
    let written = written.iter().find(|block| block.contains(",0666"));
    let written = written.expect("a config with a socket");
    let location = shown("nginx.md", "nginx");
    let location = location.iter().find(|block| block.contains("http://unix:"));
    let location = location.expect("a location with a socket");
    let cases = [
        (",0666", "0755", true),
        ("", "0755", false),
        (",0660", "2750", true),
        (",0660", "0755", false),
    ];
    for (n, (mode, folder_mode, opens)) in cases.into_iter().enumerate() {
        let mut stage = Stage::new();
        site(&stage);
        let run = stage.path("run");
        let made = system("install")
            .args([
                "-d",
                "-m",
                folder_mode,
                "-g",
                if folder_mode == "2750" {
                    "www-data"
                } else {
                    "root"
                },
            ])
            .arg(&run)
            .status();
        assert!(made.is_ok_and(|status| status.success()), "install works");
        let socket = run.join("ray.sock").display().to_string();
        let socket_and_mode = format!("{socket}{mode}");
        let config = with(written, &[("/run/mobula/ray.sock,0666", &socket_and_mode)]);
        let config: Value = serde_json::from_str(&config).expect("JSON");
        let index = stage.run(Mobula, "server", &config, &[]).await;
        while !stage.log_so_far(index).contains("listens on") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let front = free_port();
        let location = with(location, &[("/run/mobula/ray.sock", &socket)]);
        let server = format!("server {{ listen 127.0.0.1:{front}; {location} }}");
        nginx(&mut stage, "nginx", &server, &[front]).await;
        if opens {
            carries(&mut stage, &Vmess::ws(), front).await;
        } else {
            let answer = get(front, "/ray").await;
            assert!(answer.starts_with("HTTP/1.1 502 "), "case {n}: {answer}");
            let denied = "(13: Permission denied)";
            stage.until_file_has("nginx.log", denied).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_has_pages_and_a_tunnel() {
    let mut stage = Stage::new();
    let site = site(&stage);
    let (server, client, certificate) = behind_tls(&stage);
    let [port, front] = [free_port(), free_port()];
    stage
        .run(Mobula, "server", &server.server(Mobula, port), &[port])
        .await;
    let all = shown("nginx.md", "caddyfile");
    let [block] = &all[..] else {
        panic!("one Caddyfile, not {all:?}");
    };
    let caddy = |stage: &Stage, arguments: &[&str]| {
        let mut caddy = system("caddy");
        caddy
            .args(arguments)
            .env("HOME", stage.path(""))
            .env("XDG_DATA_HOME", stage.path("data"));
        caddy
            .env("XDG_CONFIG_HOME", stage.path("config"))
            .current_dir(stage.path(""));
        caddy
    };
    stage.write("Caddyfile", block);
    let adapted = caddy(&stage, &["adapt", "--config", "Caddyfile"])
        .output()
        .expect("caddy runs");
    let said = String::from_utf8_lossy(&adapted.stderr);
    assert!(adapted.status.success(), "{said}");
    // It asks nobody for a certificate here.
    let certificates = format!(
        ":{front} {{\n    tls {} {}\n",
        certificate.chain.display(),
        certificate.key.display()
    );
    let text = with(
        block,
        &[
            ("example.com {\n", &certificates),
            ("127.0.0.1:10000", &format!("127.0.0.1:{port}")),
            ("/var/www/html", &site),
        ],
    );
    stage.write(
        "Caddyfile",
        format!("{{\n    admin off\n    auto_https disable_redirects\n}}\n{text}"),
    );
    let mut command = caddy(&stage, &["run", "--config", "Caddyfile"]);
    stage.start("caddy", &mut command, &[front]).await;
    assert_eq!(page(front), PAGE);
    carries(&mut stage, &client, front).await;
}

/// What HAProxy says to a config; nothing, when there is nothing to say.
fn checked(stage: &Stage, name: &str, text: &str) -> Command {
    let file = stage.write(name, format!("{text}\n"));
    let output = system("haproxy").arg("-c").arg("-f").arg(&file).output();
    let output = output.expect("haproxy runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{text}");
    assert_eq!(said.trim(), "Configuration file is valid", "{text}");
    let mut haproxy = system("haproxy");
    haproxy.arg("-db").arg("-f").arg(file);
    haproxy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_takes_both_configs_without_a_warning_and_tunnels_pass() {
    let mut stage = Stage::new();
    let (server, client, certificate) = behind_tls(&stage);
    let files = [&certificate.chain, &certificate.key]
        .map(|file| fs::read_to_string(file).expect("it is there"));
    let pem = stage
        .write("haproxy.pem", files.concat())
        .display()
        .to_string();
    let all = shown("nginx.md", "haproxy");
    let [http, tcp] = &all[..] else {
        panic!("two configs of HAProxy, not {all:?}");
    };
    let [port, front, web] = [free_port(), free_port(), free_port()];
    stage
        .run(Mobula, "server", &server.server(Mobula, port), &[port])
        .await;
    let page =
        format!("server {{ listen 127.0.0.1:{web}; location / {{ return 200 '{PAGE}'; }} }}");
    nginx(&mut stage, "nginx", &page, &[web]).await;
    let text = with(
        http,
        &[
            ("bind :443", &format!("bind 127.0.0.1:{front}")),
            ("/etc/haproxy/example.com.pem", &pem),
            ("127.0.0.1:10000", &format!("127.0.0.1:{port}")),
            ("127.0.0.1:8080", &format!("127.0.0.1:{web}")),
        ],
    );
    let mut command = checked(&stage, "http.cfg", &text);
    stage.start("haproxy-http", &mut command, &[front]).await;
    assert_eq!(self::page(front), PAGE);
    carries(&mut stage, &client, front).await;

    // The stream settings are those of the documents, too.
    let fragments = shown("nginx.md", "json");
    let fragment = fragments
        .iter()
        .find(|block| block.contains("acceptProxyProtocol"));
    let fragment = with(
        fragment.expect("stream settings"),
        &[
            (
                "/etc/mobula/fullchain.pem",
                &certificate.chain.display().to_string(),
            ),
            (
                "/etc/mobula/privkey.pem",
                &certificate.key.display().to_string(),
            ),
        ],
    );
    let fragment: Value = serde_json::from_str(&format!("{{{fragment}}}")).expect("JSON");
    let ports = [free_port(), free_port()];
    for (n, port) in ports.into_iter().enumerate() {
        let mut config = server.server(Mobula, port);
        config["inbounds"][0]["streamSettings"] = fragment["streamSettings"].clone();
        let name = format!("proxied-{n}");
        stage.run(Mobula, &name, &config, &[port]).await;
    }
    let front = free_port();
    let text = with(
        tcp,
        &[
            ("bind :443", &format!("bind 127.0.0.1:{front}")),
            ("127.0.0.1:10000", &format!("127.0.0.1:{}", ports[0])),
            ("127.0.0.1:10001", &format!("127.0.0.1:{}", ports[1])),
        ],
    );
    let mut command = checked(&stage, "tcp.cfg", &text);
    stage.start("haproxy-tcp", &mut command, &[front]).await;
    carries(&mut stage, &client, front).await;
}

/// sing-box's configs as they are shown, but for addresses and the certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sing_box_is_at_either_end_as_documented() {
    let all = shown("sing-box.md", "jsonc");
    let [client, server] = &all[..] else {
        panic!("a client and a server of sing-box, not {all:?}");
    };
    // Its client; TLS is ended by a web server in front.
    let mut stage = Stage::new();
    let (behind, _, certificate) = behind_tls(&stage);
    let [port, front, socks] = [free_port(), free_port(), free_port()];
    stage
        .run(Mobula, "server", &behind.server(Mobula, port), &[port])
        .await;
    let location = crate::configs::documented_location(port);
    let block = format!(
        "server {{ listen 127.0.0.1:{front} ssl; ssl_certificate {}; ssl_certificate_key {};\n{location} }}",
        certificate.chain.display(),
        certificate.key.display()
    );
    site(&stage);
    nginx(&mut stage, "nginx", &block, &[front]).await;
    let text = with(
        client,
        &[
            ("\"server\": \"example.com\"", "\"server\": \"127.0.0.1\""),
            ("\"server_port\": 443", &format!("\"server_port\": {front}")),
            (
                "\"listen_port\": 1080",
                &format!("\"listen_port\": {socks}"),
            ),
            (
                "\"server_name\": \"example.com\"",
                &format!("\"server_name\": \"{SERVER_NAME}\""),
            ),
        ],
    );
    let file = stage.write("sing-box.json", text);
    let mut command = SingBox.command(&file);
    command.env("SSL_CERT_FILE", &certificate.authority);
    stage.start("sing-box", &mut command, &[socks]).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;
    traffic::both_ways(socks, 256 * 1024).await;
    traffic::datagrams(socks, &[60, 1200]).await;

    // Its server, and mobula's client of nginx.md.
    let mut stage = Stage::new();
    let [port, socks] = [free_port(), free_port()];
    let text = with(
        server,
        &[(
            "\"listen_port\": 10000",
            &format!("\"listen_port\": {port}"),
        )],
    );
    let file = stage.write("sing-box.json", text);
    let mut command = SingBox.command(&file);
    stage.start("sing-box", &mut command, &[port]).await;
    let written = shown("nginx.md", "json");
    let written = written.iter().find(|block| block.contains("vnext"));
    let mut config: Value = serde_json::from_str(written.expect("a client")).expect("JSON");
    assert!(config.to_string().contains(ID));
    config["inbounds"][0]["port"] = json!(socks);
    config["outbounds"][0]["settings"]["vnext"][0]["address"] = json!("127.0.0.1");
    config["outbounds"][0]["settings"]["vnext"][0]["port"] = json!(port);
    config["outbounds"][0]["streamSettings"]["security"] = json!("none");
    stage.run(Mobula, "client", &config, &[socks]).await;
    traffic::word(socks, &To::Ip(traffic::echo().await)).await;

    // And what mobula says to a config of sing-box's.
    let file = stage.write("other.json", client);
    let output = mobula()
        .args(["test", "-c"])
        .arg(file)
        .output()
        .expect("mobula runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("a config of sing-box"),
        "{said}"
    );
}
