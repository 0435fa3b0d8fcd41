//! The unit of systemd, and the commands that remain.

use super::args::{Behind, Tls};
use super::fronts::{HAPROXY_PEM, host};
use super::plan::Plan;

/// The unit of the documents, for this set.
pub(super) fn unit(plan: &Plan) -> String {
    let run = format!(
        "ExecStart={} run -c {}",
        Plan::program(),
        plan.at("server.json")
    );
    let mut lines: Vec<String> = Vec::new();
    for line in UNIT.lines() {
        let line = match line {
            line if line.starts_with("ExecStart=") => run.clone(),
            // Else the config could not be read.
            "ProtectHome=yes"
                if ["/home", "/root"]
                    .iter()
                    .any(|home| plan.out.starts_with(home)) =>
            {
                "ProtectHome=read-only".to_owned()
            }
            "PrivateTmp=yes" if plan.out.starts_with("/tmp") => "PrivateTmp=no".to_owned(),
            line => line.to_owned(),
        };
        lines.push(line);
    }
    if plan.ends_tls() && plan.tls == Tls::Acme {
        // What is issued is kept beside the config.
        let at = lines
            .iter()
            .position(|line| line.starts_with("StateDirectoryMode="));
        let line = format!("ReadWritePaths={}", plan.at("acme"));
        lines.insert(at.map_or(lines.len(), |at| at + 1), line);
    }
    lines.join("\n") + "\n"
}

const UNIT: &str = include_str!("../../../docs/mobula.service");

/// What the owner has yet to do, as commands; `#` begins what is said about the next ones.
pub(super) fn commands(plan: &Plan) -> Vec<String> {
    let name = plan.domain.to_string();
    let out = plan.out.display();
    let mut all = vec![
        "# as root: the service".to_owned(),
        format!(
            "install -m 0755 \"$(command -v mobula)\" {}",
            Plan::program()
        ),
        "useradd --system --home-dir /var/lib/mobula --shell /usr/sbin/nologin mobula".to_owned(),
        format!("chown -R mobula: {out}"),
        format!(
            "install -m 0644 {} /etc/systemd/system/mobula.service",
            plan.at("mobula.service")
        ),
        "systemctl daemon-reload && systemctl enable --now mobula".to_owned(),
    ];
    let certbot = |by: &str, hook: &str| {
        vec![
            format!(
                "# the certificate: one of our making stands in until this has been run; {name} must lead here"
            ),
            format!("certbot certonly {by} -d {name} --deploy-hook '{hook}'"),
        ]
    };
    let copy = |reload: &str| {
        format!("cp $RENEWED_LINEAGE/fullchain.pem $RENEWED_LINEAGE/privkey.pem {out} && {reload}")
    };
    match plan.behind {
        Behind::Nginx => {
            all.extend([
                "# Nginx; with other sites, the server blocks go into sites-available".to_owned(),
                format!("nginx -t -c {}", plan.at("nginx.conf")),
                format!(
                    "install -m 0644 {} /etc/nginx/nginx.conf",
                    plan.at("nginx.conf")
                ),
                "systemctl reload-or-restart nginx".to_owned(),
            ]);
            if plan.tls == Tls::Acme {
                let by = "--webroot -w /var/www/html";
                all.extend(certbot(by, &copy("systemctl reload nginx")));
            }
        }
        Behind::Caddy => all.extend([
            "# Caddy".to_owned(),
            match &plan.files {
                Some(files) if files.made => format!("chown caddy: {}", files.key.display()),
                _ => "# (Debian's runs as the user `caddy`)".to_owned(),
            },
            format!(
                "caddy validate --adapter caddyfile --config {}",
                plan.at("Caddyfile")
            ),
            format!(
                "install -m 0644 {} /etc/caddy/Caddyfile",
                plan.at("Caddyfile")
            ),
            "systemctl reload-or-restart caddy".to_owned(),
        ]),
        Behind::Haproxy => {
            all.extend([
                "# HAProxy".to_owned(),
                format!("haproxy -c -f {}", plan.at("haproxy.cfg")),
                format!(
                    "install -m 0644 {} /etc/haproxy/haproxy.cfg",
                    plan.at("haproxy.cfg")
                ),
                "systemctl reload-or-restart haproxy".to_owned(),
            ]);
            if plan.tls == Tls::Acme {
                let pem = plan.at(HAPROXY_PEM);
                let hook = format!(
                    "cat $RENEWED_LINEAGE/fullchain.pem $RENEWED_LINEAGE/privkey.pem > {pem} && systemctl reload haproxy"
                );
                all.extend(certbot("--standalone", &hook));
            }
            if let (Tls::Files, Some(files)) = (plan.tls, &plan.files) {
                all.extend([
                    "# whenever the certificate is renewed".to_owned(),
                    format!(
                        "cat {} {} > {} && systemctl reload haproxy",
                        files.cert.display(),
                        files.key.display(),
                        plan.at(HAPROXY_PEM)
                    ),
                ]);
            }
        }
        Behind::None => {
            if let (Tls::Files, Some(files)) = (plan.tls, &plan.files) {
                all.extend([
                    "# the service runs as the user `mobula`, who must be able to read the key"
                        .to_owned(),
                    format!(
                        "sudo -u mobula test -r {} || echo 'it cannot'",
                        files.key.display()
                    ),
                ]);
            }
        }
    }
    let scheme = if plan.tls == Tls::None {
        "http"
    } else {
        "https"
    };
    let url = format!("{scheme}://{}:{}{}", host(plan), plan.port, plan.path);
    all.extend([
        "# is it well? here, and at a client".to_owned(),
        format!(
            "mobula doctor -c {} --server --url {url}",
            plan.at("server.json")
        ),
        "mobula doctor -c client.json".to_owned(),
    ]);
    all
}
