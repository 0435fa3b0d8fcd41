//! What `mobula doctor` alone finds.

use super::{DOCTOR, Explained, row};

pub(super) const ALL: &[Explained] = &[
    row(
        &["config-mistakes"],
        DOCTOR,
        "the config has mistakes, so nothing runs by it",
        "`mobula test -c FILE` shows each with its line",
    ),
    row(
        &["config-no-server"],
        DOCTOR,
        "no outbound of the config leads to a server, or none has the tag that was asked for",
        "give a client's config, or with `--server` a server's; `--outbound` takes the tag of an outbound",
    ),
    row(
        &["tls-alpn"],
        DOCTOR,
        "the other end agrees to another protocol in TLS than the carrier speaks (`h2` for gRPC and `http`)",
        "have the web server in front offer it (nginx: `http2 on`), or use `network: ws`",
    ),
    row(
        &["other-carrier"],
        DOCTOR,
        "the server takes another carrier at this path: WebSocket in the place of httpupgrade, or the reverse",
        "set `network` in `streamSettings` of both ends alike: `ws`, or `httpupgrade`",
    ),
    row(
        &["early-data-lost"],
        DOCTOR,
        "the tunnel works without early data, and with it nothing arrives: something in between takes it out",
        "have the proxy pass the header of `earlyDataHeaderName` on, give both ends the same one, or take `maxEarlyData` out",
    ),
    row(
        &["fallback-answers"],
        DOCTOR,
        "a web server answers in the place of the tunnel: the server takes us for a visitor",
        "compare the password or id of both ends",
    ),
    row(
        &["other-server"],
        DOCTOR,
        "what answers is not this outbound's server, or does not mean us",
        "compare `protocol`, `network`, port, path and id of both ends",
    ),
    row(
        &["target-tls"],
        DOCTOR,
        "the tunnel carries, and the target's own TLS is not believed",
        "take another `--url`, or look at the target's certificate",
    ),
    row(
        &["target-not-http"],
        DOCTOR,
        "the tunnel carries, and the target answers with something that is no HTTP",
        "take another `--url`",
    ),
    row(
        &["idle-cut"],
        DOCTOR,
        "a tunnel in which nothing passes is cut before a heartbeat comes",
        "set `heartbeatPeriod` of `wsSettings` to half of that time, or raise the limit of what cuts (nginx: `proxy_read_timeout`, HAProxy: `timeout tunnel`)",
    ),
    row(
        &["port-taken"],
        DOCTOR,
        "another program listens where an inbound is to listen",
        "end it, or take another `port`",
    ),
    row(
        &["port-forbidden"],
        DOCTOR,
        "this user may not listen there: ports below 1024 are root's",
        "`AmbientCapabilities=CAP_NET_BIND_SERVICE` in the unit, or `setcap cap_net_bind_service=+ep` on the program",
    ),
    row(
        &["port-nowhere"],
        DOCTOR,
        "`listen` is no address of this machine, or no place for a socket",
        "take an address of `ip address`, or a folder that is there",
    ),
    row(
        &["certificate-unreadable"],
        DOCTOR,
        "a certificate or its key cannot be read by this user, or is none",
        "compare the paths, and let the service's user read them",
    ),
    row(
        &["certificate-key"],
        DOCTOR,
        "the key does not belong to the certificate",
        "name the two files that were made together",
    ),
    row(
        &["certificate-invalid"],
        DOCTOR,
        "the certificate has expired, or is not valid yet",
        "renew it (`certbot renew`), and look at `date`",
    ),
    row(
        &["certificate-expiring"],
        DOCTOR,
        "the certificate runs out within two weeks",
        "renew it; what does so by itself has probably stopped (`systemctl list-timers`)",
    ),
    row(
        &["paths-collide"],
        DOCTOR,
        "two inbounds on one port, or an inbound and a page of the site, want the same path",
        "give one of them another path",
    ),
    row(
        &["clock-unsynchronised"],
        DOCTOR,
        "nothing sets this machine's clock, and VMess lets clocks differ by 120 s",
        "`timedatectl set-ntp true`, or install chrony",
    ),
    row(
        &["files-few"],
        DOCTOR,
        "few files may be open, and a tunnel takes two",
        "`LimitNOFILE=1048576` in the unit; in a container `--ulimit nofile=1048576`",
    ),
    row(
        &["name-elsewhere"],
        DOCTOR,
        "the public name leads to another machine, and what answers there does not lead here",
        "set its A and AAAA records to this machine's addresses, and remove those that are of no machine of yours",
    ),
    row(
        &["url-elsewhere"],
        DOCTOR,
        "what answers at the public URL knows no user of this config: it leads to another server",
        "compare the port of `proxy_pass` with `port`, and the config that runs with this one",
    ),
];
