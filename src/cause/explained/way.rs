//! The way to a server: its name and the connection.

use super::{CLIENT, EITHER, Explained, more, row};

pub(super) const ALL: &[Explained] = &[
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
];
