//! What each code means, and what to do about it: for `mobula explain`, and for the table in `docs/troubleshooting.md`,
//! which a test writes from here.

/// What is behind some codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Most stand alone. `ws-NNN` stands for every status that has no line of its own.
    pub codes: &'static [&'static str],
    /// In whose log it stands.
    pub at: &'static str,
    /// What has happened.
    pub what: &'static str,
    /// What to do.
    pub cure: &'static str,
    /// Where there is more about it, below `docs`.
    pub more: Option<&'static str>,
}

/// Finds what is behind a code, with its brackets or without.
pub fn explain(code: &str) -> Option<&'static Explained> {
    let code = code.trim().trim_matches(['[', ']']).to_ascii_lowercase();
    let find = |code: &str| {
        let has = |one: &&Explained| {
            one.codes
                .iter()
                .any(|known| known.eq_ignore_ascii_case(code))
        };
        ALL.iter().find(has)
    };
    find(&code).or_else(|| find(family(&code)?))
}

/// `ws-NNN` for `ws-418`.
fn family(code: &str) -> Option<&'static str> {
    let (name, number) = code.rsplit_once('-')?;
    let number: u16 = number.parse().ok()?;
    Some(match name {
        "ws" if (100..1000).contains(&number) => "ws-NNN",
        "h2" if (100..1000).contains(&number) => "h2-NNN",
        "grpc" if number < 100 => "grpc-NN",
        _ => return None,
    })
}

const fn row(
    codes: &'static [&'static str],
    at: &'static str,
    what: &'static str,
    cure: &'static str,
) -> Explained {
    Explained {
        codes,
        at,
        what,
        cure,
        more: None,
    }
}

const fn more(row: Explained, more: &'static str) -> Explained {
    Explained {
        more: Some(more),
        ..row
    }
}

const CLIENT: &str = "client";
const SERVER: &str = "server";
const EITHER: &str = "either";
const DOCTOR: &str = "`mobula doctor`";

/// All of them, from the name to the target.
pub const ALL: &[Explained] = &[
    row(
        &["dns-none"],
        CLIENT,
        "the server's name has no address",
        "compare `address` with the name that was registered; a new name takes a while to be known everywhere",
    ),
    row(
        &["dns-timeout", "dns-failed"],
        CLIENT,
        "the resolver does not answer, or cannot say",
        "look at /etc/resolv.conf and `dns` of the config, or write the server's IP address into `address` and its name into `serverName`",
    ),
    more(
        row(
            &["fakedns-forgotten"],
            CLIENT,
            "the connection goes to a made-up address whose name is not known: mobula was started anew, or `poolSize` is too small",
            "have the application ask for the name again; `fakedns+others` finds many names in the first bytes",
        ),
        "config.md#fakedns",
    ),
    row(
        &["tcp-refused"],
        CLIENT,
        "the machine is there, and nothing listens on that port",
        "start the server, compare the ports, and look whether a firewall refuses",
    ),
    row(
        &["tcp-timeout"],
        CLIENT,
        "nobody answers at that address and port",
        "a firewall (of the server's provider, too) swallows the packets, the address is wrong, or the machine is off",
    ),
    row(
        &["tcp-reset"],
        CLIENT,
        "the connection was reset before it was used",
        "something in between cuts it: try another port, or a CDN in front",
    ),
    row(
        &["tcp-unreachable", "tcp-failed"],
        CLIENT,
        "this machine has no way to that address",
        "look at its network; an IPv6 address needs IPv6 here",
    ),
    row(
        &["tcp-family"],
        CLIENT,
        "`sendThrough` is of the family that the server has no address of",
        "give `sendThrough` an address of the other family, or take it out",
    ),
    more(
        row(
            &["tcp-own-listener"],
            EITHER,
            "the connection would come back to this process: to its API, or round in a circle",
            "compare the server's address with where this process listens; the API is asked directly",
        ),
        "api.md#who-gets-there",
    ),
    more(
        row(
            &["final-rules"],
            EITHER,
            "`finalRules` of `freedom` hold the address back, which the line names: users of tunnels come to no private address by themselves",
            "if they are to, write a rule with `allow` for that network",
        ),
        "config.md#freedom-outbound",
    ),
    row(
        &["tls-name"],
        CLIENT,
        "the certificate is for another name",
        "set `tlsSettings.serverName` to a name of the certificate; the line has them",
    ),
    row(
        &["tls-expired"],
        CLIENT,
        "the server's certificate has expired, or this machine's clock is wrong",
        "renew it at the server, and have the server take it; compare `date -u` here",
    ),
    row(
        &["tls-not-yet-valid"],
        CLIENT,
        "the server's certificate is not valid yet: as a rule this machine's clock is late",
        "set this machine's clock (`timedatectl set-ntp true`)",
    ),
    row(
        &["tls-issuer"],
        CLIENT,
        "nobody whom we believe has issued the server's certificate",
        "give a self-signed one in `tlsSettings.certificates` with `usage: verify`, or pin it; a server that sends only its leaf needs the full chain file",
    ),
    row(
        &["tls-key"],
        CLIENT,
        "the server has not the key of its certificate",
        "its two files do not belong together, or somebody sits in between",
    ),
    row(
        &["tls-pin"],
        CLIENT,
        "the server's certificate is none of those that are pinned",
        "it was renewed, and the pin has to follow; or somebody sits in between",
    ),
    row(
        &["tls-certificate"],
        CLIENT,
        "the server's certificate cannot be used",
        "make another one (`openssl req -x509`), or pin it: a pin takes any",
    ),
    row(
        &["tls-server-name"],
        CLIENT,
        "the settings name nothing that a certificate could be checked for",
        "set `tlsSettings.serverName`",
    ),
    row(
        &["tls-authorities"],
        CLIENT,
        "there is nobody to believe",
        "install `ca-certificates`, or give an authority in `certificates`",
    ),
    row(
        &["tls-not-tls"],
        EITHER,
        "the other end does not speak TLS on this port",
        "is it the TLS port? Both ends have `security: tls`, or neither; behind a web server that ends TLS the client alone has it",
    ),
    row(
        &["tls-alert"],
        EITHER,
        "the other end broke the handshake off with an alert, which the line names",
        "at the client: does the server know this name (`serverName`)? At the server: does the client believe the certificate?",
    ),
    row(
        &["tls-no-certificate"],
        SERVER,
        "the client asks for a name that there is no certificate for",
        "add one for that name, or take `rejectUnknownSni` out",
    ),
    row(
        &["tls-no-certificate-yet"],
        SERVER,
        "there is no certificate at all yet: an authority is asked for it (`acme`)",
        "a line with one of the next codes says what is in its way",
    ),
    row(
        &["tls-proved"],
        SERVER,
        "no refusal, and told at `debug` only: an authority has looked for a name and found this server",
        "nothing",
    ),
    row(
        &["acme-unreachable", "acme-timeout"],
        SERVER,
        "the authority that issues the certificate does not answer, or not in time",
        "look at the way out to it (DNS, a firewall), and whether its own certificate is believed (`ca`); it is asked again by itself",
    ),
    row(
        &["acme-directory"],
        SERVER,
        "what answers at `directory` is no ACME server",
        "compare the URL with the authority's documents",
    ),
    row(
        &["acme-validation"],
        SERVER,
        "the authority did not find this server at a name of the certificate",
        "the name has to lead here, by IPv6 too if it has such an address, and port 443 (or 80, for HTTP-01) to the inbound, with nothing in front that ends TLS",
    ),
    row(
        &["acme-no-challenge"],
        SERVER,
        "the authority offers none of the proofs that are possible here",
        "let an inbound without TLS listen on port 80, for HTTP-01",
    ),
    row(
        &["acme-refused"],
        SERVER,
        "the authority says no, in its own words",
        "it does not issue for the name, a `CAA` record forbids it, or it does not take the address of mail",
    ),
    row(
        &["acme-rate-limit"],
        SERVER,
        "the authority has been asked too often",
        "wait, and try with its staging `directory` meanwhile",
    ),
    row(
        &["acme-folder"],
        SERVER,
        "the account or the certificate cannot be kept in `folder`",
        "give the user that mobula runs as a folder of its own",
    ),
    row(
        &["acme-certificate"],
        SERVER,
        "the certificate that came is of no use",
        "as a rule this machine's clock is wrong",
    ),
    row(
        &["tls-closed", "tls-broken", "tls-handshake", "tls-timeout"],
        EITHER,
        "the handshake of TLS did not come to its end",
        "is it the TLS port? Else something in between cuts TLS to this name: try another name or a CDN",
    ),
    row(
        &["ws-200"],
        CLIENT,
        "a web page is at this path, and no tunnel: the web server in front answered itself",
        "its `location` for the path is missing, or another one comes first; with early data in the path a `location =` does not match",
    ),
    row(
        &["ws-301", "ws-302", "ws-303", "ws-307", "ws-308"],
        CLIENT,
        "the server sends us elsewhere",
        "to `https:`: set `security` to `tls` and the port to 443; to another path or name: use that one",
    ),
    more(
        row(
            &["ws-400"],
            CLIENT,
            "a proxy in between did not forward `Upgrade`, or this is an HTTPS port that was spoken to in the clear",
            "nginx needs `proxy_http_version 1.1`, `proxy_set_header Upgrade $http_upgrade` and `proxy_set_header Connection \"upgrade\"`; without `security: tls` here, a port of HTTPS answers so, too",
        ),
        "nginx.md",
    ),
    row(
        &["ws-401", "ws-407"],
        CLIENT,
        "the web server in front wants a password",
        "take `auth_basic` or the like out for the tunnel's path",
    ),
    row(
        &["ws-403"],
        CLIENT,
        "the web server, or a CDN in front of it, forbids the request",
        "switch WebSocket on in the CDN's settings, and look at its firewall rules and at `deny` of the web server",
    ),
    row(
        &["ws-404"],
        CLIENT,
        "what answers does not know the path",
        "compare `path` of both ends and of the web server in front, to the letter; a `/` at the end of nginx' `proxy_pass` rewrites it",
    ),
    row(
        &["ws-405"],
        CLIENT,
        "there is something else at this path",
        "compare `path` of both ends and of the web server in front",
    ),
    row(
        &["ws-413", "ws-414", "ws-431"],
        CLIENT,
        "the request is too large for the server",
        "make `maxEarlyData` smaller: 2048 fits everywhere",
    ),
    more(
        row(
            &["ws-426"],
            CLIENT,
            "what answers saw no upgrade: a proxy in between did not forward it, or it speaks another version of WebSocket or HTTP",
            "nginx needs `proxy_http_version 1.1`, `proxy_set_header Upgrade $http_upgrade` and `proxy_set_header Connection \"upgrade\"`",
        ),
        "nginx.md",
    ),
    row(
        &["ws-502", "ws-503", "ws-504"],
        CLIENT,
        "the web server in front is up, and nothing answers behind it",
        "start mobula there, and compare the port of `proxy_pass` with the `port` that it listens on; a unix socket has to be writable for the web server (`,0666`)",
    ),
    row(
        &["ws-520"],
        CLIENT,
        "the server behind the CDN answers with something that is no HTTP, or nothing",
        "compare the CDN's port and TLS mode with what the server listens for",
    ),
    row(
        &["ws-521"],
        CLIENT,
        "the server behind the CDN refuses its connections",
        "start the web server there, and let the CDN's addresses through its firewall",
    ),
    row(
        &["ws-522", "ws-523", "ws-524"],
        CLIENT,
        "the CDN cannot reach the server behind it, or hears nothing from it",
        "compare the server's address in the CDN's DNS settings, and let the CDN's addresses through the firewall",
    ),
    row(
        &["ws-525", "ws-526"],
        CLIENT,
        "the CDN does not come to terms with the server's TLS",
        "give the server a certificate that the CDN believes, or lower the CDN's TLS mode (Cloudflare: Full rather than Full (strict))",
    ),
    row(
        &["ws-527", "ws-530"],
        CLIENT,
        "the CDN cannot find the server behind it",
        "look at the server's name and address in the CDN's settings",
    ),
    row(
        &["ws-NNN"],
        CLIENT,
        "the status that the server, or the CDN or web server in front, answered the upgrade with; expected 101",
        "look for this status in the log of what answered; the line has its name",
    ),
    row(
        &["grpc-12"],
        CLIENT,
        "the server knows no such service",
        "compare `serviceName` of both ends; nginx' `location` has to be `/NAME/`",
    ),
    row(
        &["grpc-14"],
        CLIENT,
        "what is behind the server in front does not answer",
        "start mobula there, and compare the ports",
    ),
    row(
        &["grpc-NN"],
        CLIENT,
        "the status of gRPC that the server ended the call with",
        "its log has the reason",
    ),
    row(
        &["h2-404"],
        CLIENT,
        "the server knows no such path or host",
        "compare `serviceName` or `path`, and `host`, of both ends and of the web server in front",
    ),
    row(
        &["h2-413"],
        CLIENT,
        "the server in front limits the length of requests",
        "`client_max_body_size 0;` in nginx' location",
    ),
    row(
        &["h2-502", "h2-503", "h2-504"],
        CLIENT,
        "the web server in front is up, and nothing answers behind it",
        "start mobula there, and compare the ports",
    ),
    row(
        &["h2-NNN"],
        CLIENT,
        "the status that the server, or the web server in front, answered the request of HTTP/2 with",
        "look for this status in the log of what answered",
    ),
    row(
        &["h2-reset"],
        CLIENT,
        "a server or proxy in between gave the request up",
        "its log has the reason",
    ),
    row(
        &["grpc-malformed", "grpc-not-grpc"],
        CLIENT,
        "what came is no gRPC",
        "something else answers at this path; Cloudflare has a switch for gRPC",
    ),
    row(
        &["grpc-request"],
        SERVER,
        "the request is no call of gRPC",
        "a scanner or a browser, or a client without `network: grpc`",
    ),
    row(
        &["ws-path"],
        SERVER,
        "the request was for another path",
        "compare `path` of both ends; else a scanner or a browser",
    ),
    row(
        &["ws-host"],
        SERVER,
        "the request was for another host than `host` says",
        "give the client the same `host`, or take it out here; a proxy in front must pass it on (nginx: `proxy_set_header Host $host`)",
    ),
    more(
        row(
            &["ws-upgrade"],
            EITHER,
            "there is no `Upgrade: websocket`: a proxy in between does not forward it, or this is no tunnel client",
            "nginx needs `proxy_http_version 1.1` and the headers `Upgrade` and `Connection`",
        ),
        "nginx.md",
    ),
    row(
        &["ws-version", "ws-request"],
        EITHER,
        "this is not a proper upgrade",
        "the line says which part; at the server: no tunnel client",
    ),
    row(
        &["ws-not-offered"],
        CLIENT,
        "the server chose what was not offered",
        "a proxy in between adds headers, or the server wants a subprotocol: write it into `wsSettings.headers`",
    ),
    row(
        &["ws-not-http"],
        CLIENT,
        "what answers is no web server",
        "is it a TLS port? Then set `security: tls`; else the port is wrong, or the server has no `network: ws`",
    ),
    row(
        &["link-timeout", "link-broken"],
        CLIENT,
        "the connection to the server was open, and was lost: the wire was cut, or a machine on the way has forgotten it",
        "new sessions get new connections by themselves; if it comes again after so much silence, set a `heartbeatPeriod` below that",
    ),
    row(
        &["ws-closed", "ws-broken", "ws-timeout"],
        CLIENT,
        "there is no answer to the upgrade",
        "is it a TLS port? Then set `security: tls`; else the server has no `network: ws`, or is overloaded",
    ),
    more(
        row(
            &["browser-none", "browser-gone", "browser-timeout"],
            CLIENT,
            "no page for the browser is open, it was closed, or it does not answer",
            "open the page that the line names in a browser of this machine, and leave it open",
        ),
        "browser.md",
    ),
    more(
        row(
            &["browser-failed", "browser-name"],
            CLIENT,
            "the browser opened no WebSocket to the server, or would check another name",
            "the browser's console (F12) has the reason",
        ),
        "browser.md",
    ),
    more(
        row(
            &["browser-stranger"],
            CLIENT,
            "another site than our page came to where the page is served",
            "nothing, it got nothing; if it was you, use the address that the log says",
        ),
        "browser.md",
    ),
    more(
        row(
            &["http-visitor"],
            SERVER,
            "no fault: all requests of a connection were for the site on the same port",
            "nothing",
        ),
        "site.md",
    ),
    row(
        &["http-closed", "http-broken", "http-timeout"],
        SERVER,
        "no whole request came, and none that became a tunnel",
        "a scanner, or a health check: point those at the web server",
    ),
    row(
        &["http-malformed"],
        SERVER,
        "not a proper request; the line says which part",
        "TLS on a plain port: the web server in front must end TLS (`proxy_pass http://`), or `security: tls` is missing here",
    ),
    row(
        &["http-target", "http-socks"],
        SERVER,
        "an HTTP proxy was asked for no target, or for SOCKS",
        "set the application to the kind of proxy that the port is",
    ),
    more(
        row(
            &[
                "proxy-header-missing",
                "proxy-header-malformed",
                "proxy-header-broken",
                "proxy-header-timeout",
            ],
            SERVER,
            "`acceptProxyProtocol` asks for a PROXY header, and there is no proper one",
            "`send-proxy` (HAProxy) or `proxy_protocol on` (nginx) in front, or take `acceptProxyProtocol` out",
        ),
        "nginx.md#who-the-client-is",
    ),
    row(
        &["proxy-auth"],
        EITHER,
        "a `socks` or `http` proxy was given no or a wrong user and password",
        "compare the client's with `accounts` of the server",
    ),
    more(
        row(
            &["limit-connections", "limit-source", "limit-handshakes"],
            SERVER,
            "so many connections are open, come from there, or have yet to say who they are: the line names the key of `limits`",
            "raise it; for `limit-source` with the address of a proxy of yours, have that say for whom it comes",
        ),
        "config.md#limits",
    ),
    row(
        &["limit-user"],
        SERVER,
        "the user has as many connections as `connections` of the level allows",
        "raise it, or look who else has the account",
    ),
    row(
        &[
            "socks-version",
            "socks-command",
            "socks-udp",
            "socks-request",
        ],
        SERVER,
        "a `socks` inbound was asked for something that it does not do",
        "set the application to SOCKS 5; UDP wants `\"udp\": true`",
    ),
    row(
        &["user-unknown"],
        SERVER,
        "the id, the password or the key is nobody's",
        "compare it with the client's; else a scanner, or a client of another protocol",
    ),
    row(
        &["clock-skew"],
        EITHER,
        "the clocks of client and server are too far apart",
        "set the one that is wrong (`timedatectl set-ntp true`); the zone does not matter",
    ),
    row(
        &["silent"],
        CLIENT,
        "a server that has never answered says nothing",
        "compare the id or password of both ends, and `date -u` on both machines; a slow target looks the same",
    ),
    row(
        &["no-answer"],
        CLIENT,
        "the server closed without an answer",
        "compare the id or password of both ends, and `date -u` on both machines; its log has the reason",
    ),
    row(
        &["no-answer-target"],
        CLIENT,
        "the server closed without an answer, and has answered other requests",
        "it has probably no way to this target: its log has the reason",
    ),
    row(
        &[
            "far-refused",
            "far-host",
            "far-timeout",
            "far-network",
            "far-forbidden",
            "far-broken",
        ],
        CLIENT,
        "a mobula at the other end knows us and says why it has no way to the target",
        "its log names the address",
    ),
    row(
        &["rules", "not-carried"],
        "local programs",
        "the routing leads the request to `blackhole` or nowhere; or a server on the way took it and said no",
        "look at `routing.rules`, and at that server's log",
    ),
    row(
        &["fallback-down"],
        SERVER,
        "nobody answers where `fallbacks`, or `fallback` of `streamSettings`, lead",
        "start what is to stand there, or compare the ports",
    ),
    row(
        &["replay"],
        SERVER,
        "what came had come before",
        "somebody replays what was recorded, or a middlebox sends twice; after the clock has jumped back also an honest client",
    ),
    row(
        &["request-broken", "request-timeout", "request-malformed"],
        SERVER,
        "no whole request of a proxy protocol came",
        "a scanner, or a client of another protocol",
    ),
    row(
        &["request-other"],
        SERVER,
        "a stranger speaks another protocol, which the line names",
        "if it is a client of yours: `network` and `security` have to be the same at both ends",
    ),
    row(
        &["mux-other"],
        SERVER,
        "another program's multiplexing, or its UDP over TCP",
        "switch it off in the client: `multiplex` of sing-box, `smux` of mihomo",
    ),
    row(
        &["relay-bind"],
        "server",
        "a client of relay wants a port opened, and `bind` or `allowPorts` does not let it",
        "set `bind: true` and let `allowPorts` (`allow_ports` of a tunnel) have the port, if it is to be had",
    ),
    row(
        &["relay-connect"],
        "server",
        "a client of relay wants a way to a target, and `connect` is off",
        "set `connect: true` if clients may go where they want; the server of a tunnel never lets them",
    ),
    row(
        &["relay-request"],
        "server",
        "a request of relay names no address",
        "the client has no target for this service: give it one, or have `forward` here",
    ),
    row(
        &["relay-user"],
        "client",
        "the relay server does not know this user and password",
        "compare both with `users` of the server",
    ),
    row(
        &["relay-forbidden"],
        "client",
        "the relay server forbids it: its rules, or it opens no ports for clients",
        "look at `bind` and `allowPorts` there; a gost needs `bind=true`",
    ),
    row(
        &["relay-target"],
        "client",
        "the relay server cannot reach the target",
        "its log names the address",
    ),
    row(
        &["relay-unavailable"],
        "either",
        "a port cannot be opened for a client: another client or program has it, or it is no port of this machine",
        "end the other one, or publish another port; it is tried again by itself",
    ),
    row(
        &["relay-status"],
        "client",
        "the relay server says that something is out of order",
        "its log has the reason",
    ),
    row(
        &["publish-outbound"],
        "client",
        "`publish` names an outbound that is not there any more",
        "give `outboundTag` the tag of a `relay` outbound",
    ),
    row(
        &["publish-timeout", "publish-lost"],
        "client",
        "a published port is not there: the server does not answer, or its connection has ended",
        "nothing: it is tried again at once; the log of the server has the reason",
    ),
    row(
        &["no-bridge"],
        "portal",
        "a session for a portal, and no bridge is connected",
        "look at the bridge's log",
    ),
    row(
        &["bridge-astray"],
        "bridge",
        "its rules lead its own connection to an outbound that would dial `domain` itself, or nowhere",
        "write a rule with the bridge's `inboundTag` and `full:` of the domain that leads to the portal's server",
    ),
    row(
        &["portal-unanswered"],
        "bridge",
        "the server took the connection and no portal spoke",
        "compare `domain`; a rule at the server has to lead it to the portal's tag",
    ),
    row(
        &["portal-silent"],
        "bridge",
        "the portal, or the way to it, is gone without a word",
        "nothing: the bridge connects anew",
    ),
    more(
        row(
            &["redirect-nowhere"],
            SERVER,
            "nothing was redirected to a transparent inbound",
            "look at the rules of nftables or iptables",
        ),
        "transparent-proxy.md",
    ),
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
        "compare protocol, port, path and id of both ends",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_alone_in_brackets_and_by_its_number() {
        let of = |code| explain(code).map(|one| one.codes[0]);
        assert_eq!(of("ws-404"), Some("ws-404"));
        assert_eq!(of("[Clock-Skew]"), Some("clock-skew"));
        assert_eq!(of("ws-303"), Some("ws-301"));
        assert_eq!(of("ws-418"), Some("ws-NNN"));
        assert_eq!(of("grpc-7"), Some("grpc-NN"));
        assert_eq!(of("h2-500"), Some("h2-NNN"));
        for unknown in ["ws-4", "ws-4044", "404", "", "grpc-", "tcp-404"] {
            assert_eq!(of(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn no_code_is_explained_twice() {
        let mut codes: Vec<_> = ALL.iter().flat_map(|one| one.codes).collect();
        let len = codes.len();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), len);
    }
}
