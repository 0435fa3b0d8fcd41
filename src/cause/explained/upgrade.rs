//! What opens a tunnel inside a connection: the answers of servers and of what stands in front of them.

use super::{CLIENT, EITHER, Explained, SERVER, more, row};

pub(super) const ALL: &[Explained] = &[
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
        "what answers does not know the path, or not for the host that it is asked for",
        "compare `path` and `host` of both ends and of the web server in front, to the letter; a `/` at the end of nginx' `proxy_pass` rewrites it",
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
        "start mobula there, and compare the port of `proxy_pass` with the `port` that it listens on; it is `http://` there where the inbound has no TLS; a unix socket has to be writable for the web server (`,0666`)",
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
        &["h2-not-http2"],
        CLIENT,
        "gRPC and `http` go over HTTP/2, and what answers at this port speaks something else",
        "compare `network` and the port at both ends: `ws` and `httpupgrade` are HTTP/1.1; nginx needs `http2 on`",
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
];
