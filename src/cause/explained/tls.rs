//! TLS, and how a server gets its certificate.

use super::{CLIENT, EITHER, Explained, SERVER, row};

pub(super) const ALL: &[Explained] = &[
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
        &["tls-no-suite"],
        SERVER,
        "the client offers no cipher suite with AEAD (GCM, ChaCha20-Poly1305), which are the only ones here",
        "set the client's `fingerprint` to `chrome` (`360` has old suites alone); a very old client has to be renewed",
    ),
    row(
        &["tls-closed", "tls-broken", "tls-handshake", "tls-timeout"],
        EITHER,
        "the handshake of TLS did not come to its end",
        "is it the TLS port? Else something in between cuts TLS to this name: try another name or a CDN",
    ),
];
