//! The files of the web servers in front.

use std::fs;

use super::args::{Behind, Tls};
use super::plan::Plan;
use crate::address::Host;

/// The file of the web server in front, by its name; `certificate` is the chain and the key in one, where that is
/// wanted.
pub(super) fn file(plan: &Plan) -> Option<(&'static str, String)> {
    match plan.behind {
        Behind::Nginx => Some(("nginx.conf", nginx(plan))),
        Behind::Caddy => Some(("Caddyfile", caddy(plan))),
        Behind::Haproxy => Some(("haproxy.cfg", haproxy(plan))),
        Behind::None => None,
    }
}

/// The name of the file with chain and key, which HAProxy reads.
pub(super) const HAPROXY_PEM: &str = "haproxy.pem";

fn nginx(plan: &Plan) -> String {
    let name = host(plan);
    let (port, path, to) = (plan.port, &plan.path, plan.listen);
    // A machine without IPv6 refuses to listen on `[::]`.
    let v6 = fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| !text.trim().is_empty());
    let listen = |rest: &str| {
        let mut lines = format!("        listen {rest};\n");
        if v6 {
            lines += &format!("        listen [::]:{rest};\n");
        }
        lines
    };
    let mut plain = String::new();
    let shown = match port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    // For browsers, and for certbot, which is asked at port 80 whatever the tunnel's port is.
    let is_asked = port == 443 || plan.tls == Tls::Acme && port != 80;
    if plan.files.is_some() && is_asked {
        plain = format!(
            "    server {{\n{}        server_name {name};\n        root /var/www/html;\n        \
             # Where certbot proves that the name is yours.\n        location /.well-known/acme-challenge/ {{ }}\n        \
             location / {{ return 301 https://$host{shown}$request_uri; }}\n    }}\n\n",
            listen("80")
        );
    }
    let (flag, certificate) = match &plan.files {
        Some(files) => (
            " ssl",
            format!(
                "        ssl_certificate {};\n        ssl_certificate_key {};\n        ssl_protocols TLSv1.2 TLSv1.3;\n",
                files.cert.display(),
                files.key.display()
            ),
        ),
        None => ("", String::new()),
    };
    format!(
        "# A whole nginx.conf. Where other sites are served as well, the `server` blocks go beside theirs.\n\
         events {{\n    worker_connections 4096;\n}}\n\nhttp {{\n    server_tokens off;\n\n{plain}    server {{\n{listen}        \
         server_name {name};\n{certificate}        root /var/www/html;\n\n        location {path} {{\n            \
         proxy_pass http://{to};\n            proxy_http_version 1.1;\n            \
         proxy_set_header Upgrade $http_upgrade;\n            proxy_set_header Connection \"upgrade\";\n            \
         proxy_set_header Host $host;\n            proxy_set_header X-Real-IP $remote_addr;\n            \
         proxy_set_header X-Forwarded-For $remote_addr;\n        }}\n    }}\n}}\n",
        listen = listen(&format!("{port}{flag}")),
    )
}

fn caddy(plan: &Plan) -> String {
    let (port, path, to) = (plan.port, &plan.path, plan.listen);
    let scheme = if plan.tls == Tls::None { "http://" } else { "" };
    let usual = if plan.tls == Tls::None { 80 } else { 443 };
    let port = match port {
        port if port == usual => String::new(),
        port => format!(":{port}"),
    };
    let tls = match &plan.files {
        Some(files) => format!("    tls {} {}\n", files.cert.display(), files.key.display()),
        None => String::new(),
    };
    format!(
        "{scheme}{name}{port} {{\n{tls}    reverse_proxy {path}* {to}\n    root * /var/www/html\n    file_server\n}}\n",
        name = host(plan),
    )
}

fn haproxy(plan: &Plan) -> String {
    let (port, path, to) = (plan.port, &plan.path, plan.listen);
    let ssl = match plan.files {
        Some(_) => format!(" ssl crt {} alpn http/1.1", plan.at(HAPROXY_PEM)),
        None => String::new(),
    };
    format!(
        "defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n    \
         timeout http-request 10s\n    timeout tunnel 1h\n\nfrontend web\n    bind :{port}{ssl}\n    \
         use_backend tunnel if {{ path_beg {path} }}\n    default_backend site\n\nbackend tunnel\n    \
         http-request del-header X-Forwarded-For\n    option forwardfor\n    server mobula {to}\n\n\
         # Everybody else: put your web server here.\nbackend site\n    http-request return status 404\n"
    )
}

/// As URLs have it.
pub(super) fn host(plan: &Plan) -> String {
    match &plan.domain {
        Host::Domain(name) => name.clone(),
        Host::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        Host::Ip(ip) => ip.to_string(),
    }
}
