//! The options that there are, by their names in `SS_PLUGIN_OPTIONS` and on the command line.

/// One option.
pub(super) struct Known {
    /// In `SS_PLUGIN_OPTIONS`.
    pub(super) name: &'static str,
    /// On the command line.
    pub(super) flag: &'static str,
    /// What its value is; a switch has none, it is on when it is there.
    pub(super) value: Option<&'static str>,
    about: &'static str,
}

/// What a bare name means where an option has a value: v2ray-plugin's `mux` is `mux=1`.
pub(super) const BARE: &str = "1";

const KNOWN: [Known; 18] = [
    switch("server", "server", "Be the server: in front of ss-server"),
    valued("mode", "NAME", "websocket (default) or grpc"),
    switch("tls", "tls", "TLS below it"),
    valued(
        "host",
        "NAME",
        "Host of the request and name in TLS (default cloudfront.com)",
    ),
    valued("path", "PATH", "Path of the WebSocket (default /)"),
    valued(
        "mux",
        "N",
        "Connections that share one (default 1); 0: each has its own, at both ends",
    ),
    valued(
        "cert",
        "FILE",
        "Server: certificate (default ~/.acme.sh/HOST/fullchain.cer); client: authority to believe as well",
    ),
    valued("certRaw", "BASE64", "The same, without the lines around it"),
    valued(
        "key",
        "FILE",
        "Server: key of the certificate (default ~/.acme.sh/HOST/HOST.key)",
    ),
    valued(
        "loglevel",
        "LEVEL",
        "debug, info, warning (default), error, none",
    ),
    switch("fastOpen", "fast-open", "TCP Fast Open"),
    valued("fwmark", "N", "SO_MARK of connections to the server"),
    valued(
        "serviceName",
        "NAME",
        "Service of gRPC (default GunService)",
    ),
    valued("localAddr", "IP", "Listen there (default 127.0.0.1)"),
    valued("localPort", "PORT", "Listen there (default 1984)"),
    valued("remoteAddr", "HOST", "Lead there (default 127.0.0.1)"),
    valued("remotePort", "PORT", "Lead there (default 1080)"),
    switch(
        "__android_vpn",
        "V",
        "Android's VPN mode, elsewhere without effect",
    ),
];

const fn switch(name: &'static str, flag: &'static str, about: &'static str) -> Known {
    Known {
        name,
        flag,
        value: None,
        about,
    }
}

const fn valued(name: &'static str, value: &'static str, about: &'static str) -> Known {
    Known {
        name,
        flag: name,
        value: Some(value),
        about,
    }
}

/// By either name, as v2ray-plugin does to the letter.
pub(super) fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| {
        let of_older_ones = known.name == "__android_vpn" && name == "vpn";
        known.name == name || known.flag == name || of_older_ones
    })
}

/// All names of options.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.name)
}

/// Whether an argument is one of a plugin's flags.
pub fn is_flag(arg: &str) -> bool {
    let bare = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'));
    let name = bare.map(|bare| bare.split('=').next().unwrap_or_default());
    name.is_some_and(|name| find(name).is_some())
}

/// A line for each flag.
pub fn usage() -> String {
    let mut text = String::from(
        "Options, as flags (`-host a.example -tls`) or in SS_PLUGIN_OPTIONS (`host=a.example;tls`):\n",
    );
    for known in &KNOWN {
        let flag = match known.value {
            Some(value) => format!("-{} {value}", known.flag),
            None => format!("-{}", known.flag),
        };
        text += &format!("  {flag:<19} {}\n", known.about);
    }
    text + "SS_REMOTE_HOST, SS_REMOTE_PORT, SS_LOCAL_HOST and SS_LOCAL_PORT take the place of the addresses."
}
