//! nginx in front of a program that speaks plain WebSocket, as V2Ray's documents have it.

use std::path::Path;

use super::{NAME, PATH, Shape};
use crate::{Error, Result};

/// The whole file; `dir` is for what nginx writes.
pub(crate) fn front(
    shape: &Shape,
    port: u16,
    inner: u16,
    dir: &Path,
    tickets: bool,
) -> Result<String> {
    let tls = shape.tls.as_ref();
    let tls = tls.ok_or_else(|| Error::from("nginx stands here for its TLS"))?;
    let (certificate, key) = (tls.certificate.display(), tls.key.display());
    let (dir, tickets) = (dir.display(), if tickets { "on" } else { "off" });
    Ok(format!(
        "daemon off; pid {dir}/pid; error_log stderr crit; worker_processes 2; worker_rlimit_nofile 50000;
events {{ worker_connections 24000; }}
http {{
    access_log off;
    client_body_temp_path {dir}/tmp; proxy_temp_path {dir}/tmp; fastcgi_temp_path {dir}/tmp;
    uwsgi_temp_path {dir}/tmp; scgi_temp_path {dir}/tmp;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name {NAME};
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache off;
        ssl_session_tickets {tickets};
        location {PATH} {{
            proxy_pass http://127.0.0.1:{inner};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_read_timeout 300s;
        }}
    }}
}}
"
    ))
}
