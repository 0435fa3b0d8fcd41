//! The client side.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::codec::{
    CONNECT, Greeting, Login, NO_AUTH, NO_METHOD, PASSWORD, Reply, Request, UDP_ASSOCIATE,
    UDP_TUNNEL, decode_pair, decode_reply_4,
};
use super::messages::Messages;
use super::packets::{Association, Remote};
use super::{OutboundSettings, Version};
use crate::address::{Destination, Host};
use crate::cause::TargetRefused;
use crate::dns::{self, Strategy};
use crate::io::{BindUdp, Link, PacketStream, Packets};
use crate::protocol::accounts::Account;
use crate::protocol::bare::headless_client;
use crate::protocol::relay::packets::OfMany;
use crate::protocol::servers::Servers;
use crate::protocol::{FirstPayload, PacketWay, ProxyTraits};

pub struct Outbound {
    servers: Servers<Account>,
    version: Version,
    udp_tunnel: bool,
    offers_none: bool,
}

/// Who we are at one server.
pub struct Client<'a> {
    account: Option<&'a Account>,
    version: Version,
    udp_tunnel: bool,
    offers_none: bool,
}

impl From<OutboundSettings> for Outbound {
    fn from(settings: OutboundSettings) -> Self {
        Self {
            servers: Servers::new(settings.servers, |account| account),
            version: settings.version,
            udp_tunnel: settings.udp_tunnel,
            offers_none: settings.offers_none,
        }
    }
}

impl Outbound {
    pub const TRAITS: ProxyTraits = ProxyTraits {
        first_payload: FirstPayload::Apart,
        packets: Some(PacketWay::Link),
        packets_have_one_peer: false,
    };

    /// Whose turn it is.
    pub fn next_hop(&self) -> Option<(&Destination, Client<'_>)> {
        let (server, account) = self.servers.next()?;
        let client = Client {
            account,
            version: self.version,
            udp_tunnel: self.udp_tunnel,
            offers_none: self.offers_none,
        };
        Some((server, client))
    }

    /// SOCKS 4 has IPv4 addresses alone.
    pub fn resolves_itself(&self) -> Option<Strategy> {
        (self.version == Version::Four).then_some(Strategy::UseIpv4)
    }
}

impl Client<'_> {
    /// The level of the account, 0 without one.
    pub fn level(&self) -> u32 {
        self.account.map_or(0, |account| account.level)
    }

    /// A stream to `to` through the server at the other end of `link`; `limit` is the time for the whole
    /// handshake, the server's dialling included.
    pub async fn stream(&self, link: Link, to: &Destination, limit: Duration) -> io::Result<Link> {
        let mut messages = Messages::new(link);
        let account = self.account;
        let request = Request {
            command: CONNECT,
            to: to.clone(),
        };
        within(limit, async {
            match self.version {
                Version::Five => self.request_5(&mut messages, &request).await.map(drop),
                Version::FourA => request_4(&mut messages, &request, account).await,
                Version::Four => {
                    let found = dns::resolve(to, Strategy::UseIpv4).await?;
                    let to = found.first().filter(|addr| addr.is_ipv4()).ok_or_else(|| {
                        io::Error::new(
                            io::ErrorKind::Unsupported,
                            "SOCKS 4 has no IPv6, 4a and 5 do",
                        )
                    })?;
                    let request = Request {
                        command: CONNECT,
                        to: (*to).into(),
                    };
                    request_4(&mut messages, &request, account).await
                }
            }
        })
        .await?;
        Ok(headless_client(messages.into_link()))
    }

    /// A UDP association; `link` is its control connection, to `server`, or carries the datagrams itself.
    pub async fn packets(
        &self,
        link: Link,
        server: &Destination,
        limit: Duration,
        bind: &BindUdp,
    ) -> io::Result<Box<dyn Packets>> {
        if self.version != Version::Five {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "SOCKS 4 has no UDP, `version` 5 does",
            ));
        }
        if self.udp_tunnel {
            let mut messages = Messages::new(link);
            let request = Request {
                command: UDP_TUNNEL,
                to: SocketAddr::from(([0, 0, 0, 0], 0)).into(),
            };
            let asking = self.request_5(&mut messages, &request);
            within(limit, asking).await?;
            return Ok(Box::new(PacketStream::new(messages.into_link(), OfMany)));
        }
        let server = match &link {
            Link::Tcp(stream) => stream.peer_addr()?.into(),
            Link::Other(_) => server.clone(),
        };
        let mut messages = Messages::new(link);
        let relay = within(limit, async {
            let request = Request {
                command: UDP_ASSOCIATE,
                to: SocketAddr::from(([0, 0, 0, 0], 0)).into(),
            };
            let mut relay = self.request_5(&mut messages, &request).await?;
            if matches!(relay.host, Host::Ip(ip) if ip.is_unspecified()) {
                relay.host = server.host;
            }
            let found = dns::resolve(&relay, Strategy::AsIs).await?;
            found
                .first()
                .copied()
                .ok_or_else(|| io::Error::other(format!("{relay} has no address")))
        })
        .await?;
        let relay = SocketAddr::new(relay.ip().to_canonical(), relay.port());
        let socket = bind(relay)?;
        let association = Association::new(socket, messages.into_link(), Remote::At(relay));
        Ok(Box::new(association))
    }

    /// Logs in, asks, and gives the address the server names.
    async fn request_5(
        &self,
        messages: &mut Messages,
        request: &Request,
    ) -> io::Result<Destination> {
        let mut out = BytesMut::new();
        // As V2Ray does, only what will be used is offered.
        let offered: &[u8] = match self.account {
            Some(_) if self.offers_none => &[NO_AUTH, PASSWORD],
            Some(_) => &[PASSWORD],
            None => &[NO_AUTH],
        };
        Greeting(Bytes::from_static(offered)).encode(&mut out);
        messages.send(&out.split()).await?;
        let chosen = messages.next(|buf| decode_pair(buf, 0x05)).await?;
        match (chosen, self.account) {
            (NO_AUTH, _) => {}
            (PASSWORD, Some(account)) => {
                let login = Login {
                    user: Bytes::copy_from_slice(account.user.as_bytes()),
                    pass: Bytes::copy_from_slice(account.pass.as_bytes()),
                };
                login.encode(&mut out);
                messages.send(&out.split()).await?;
                if messages.next(|buf| decode_pair(buf, 0x01)).await? != 0x00 {
                    return Err(denied(
                        "the SOCKS server does not know this user and password",
                    ));
                }
            }
            (NO_METHOD, None) => {
                return Err(denied("the SOCKS server asks for a user and password"));
            }
            (NO_METHOD, Some(_)) => {
                return Err(denied("the SOCKS server takes no user and password"));
            }
            (other, _) => {
                return Err(denied(format!(
                    "the SOCKS server chose method {other:#04x}, which was not offered"
                )));
            }
        }
        request.encode(&mut out).map_err(io::Error::other)?;
        messages.send(&out).await?;
        let reply = messages.next(Reply::decode).await?;
        match meaning(reply.code) {
            None => Ok(reply.bound),
            Some((kind, text)) => {
                let text = format!("the SOCKS server says: {text}");
                Err(match reply.code {
                    0x02..=0x06 => TargetRefused(text).of_kind(kind),
                    // Anything may be wrong there.
                    _ => io::Error::new(kind, text),
                })
            }
        }
    }
}

async fn within<T>(
    limit: Duration,
    handshake: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(limit, handshake).await.map_err(|_| {
        let text = format!(
            "the SOCKS server did not answer within {} s",
            limit.as_secs()
        );
        io::Error::new(io::ErrorKind::TimedOut, text)
    })?
}

async fn request_4(
    messages: &mut Messages,
    request: &Request,
    account: Option<&Account>,
) -> io::Result<()> {
    let mut out = BytesMut::new();
    request.encode_4(account.map_or("", |account| &account.user), &mut out);
    messages.send(&out).await?;
    let text = match messages.next(decode_reply_4).await? {
        0x5a => return Ok(()),
        // Version 4 has one word for everything, and most servers say it of targets.
        0x5b => {
            let text = "the SOCKS server rejects the request".to_owned();
            return Err(TargetRefused(text).of_kind(io::ErrorKind::ConnectionRefused));
        }
        0x5c | 0x5d => "the SOCKS server cannot identify the user".to_owned(),
        other => format!("the SOCKS server gives the unknown answer {other:#04x}"),
    };
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, text))
}

/// RFC 1928, section 6, in words; `None` is success.
fn meaning(code: u8) -> Option<(io::ErrorKind, String)> {
    let (kind, text) = match code {
        0x00 => return None,
        0x01 => (io::ErrorKind::Other, "general failure"),
        0x02 => (
            io::ErrorKind::PermissionDenied,
            "its rules do not allow this",
        ),
        0x03 => (io::ErrorKind::NetworkUnreachable, "network unreachable"),
        0x04 => (io::ErrorKind::HostUnreachable, "host unreachable"),
        0x05 => (io::ErrorKind::ConnectionRefused, "connection refused"),
        0x06 => (io::ErrorKind::TimedOut, "the way is too long (TTL expired)"),
        0x07 => (io::ErrorKind::Unsupported, "command not supported"),
        0x08 => (io::ErrorKind::Unsupported, "address type not supported"),
        other => return Some((io::ErrorKind::Other, format!("unknown reply {other:#04x}"))),
    };
    Some((kind, text.to_owned()))
}

fn denied(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Packet, Udp};
    use crate::protocol::servers::ServerSettings;
    use crate::protocol::socks::{Inbound, InboundSettings};
    use crate::protocol::{Accepted, Grant, InboundContext};
    use crate::seam::Arrival;
    use crate::session::Source;
    use hex_literal::hex;
    use std::future::poll_fn;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream, UdpSocket};

    const LIMIT: Duration = Duration::from_secs(8);

    #[tokio::test]
    async fn every_version_reaches_our_own_inbound_with_the_name_as_it_is() {
        for (version, account) in [
            (Version::Five, None),
            (Version::Five, Some(("a", "b"))),
            (Version::FourA, None),
        ] {
            let outbound = outbound(version, account);
            let inbound = Inbound::new(InboundSettings {
                accounts: account.map(|account| vec![self::account(account)]),
                grant: Grant::AtOnce,
                ..InboundSettings::default()
            });
            let (client, server) = tokio::io::duplex(4096);
            let to: Destination = "example.com:443".parse().unwrap();
            let arrival = arrival(Link::other(server));
            let context = InboundContext::default();
            let (_, us) = outbound.next_hop().unwrap();
            let (opened, accepted) = tokio::join!(
                us.stream(Link::other(client), &to, LIMIT),
                inbound.accept(arrival, &context)
            );
            let Ok(Accepted::Stream {
                to: asked,
                mut link,
                ..
            }) = accepted
            else {
                panic!("no stream");
            };
            assert_eq!(asked, to);
            opened.unwrap().write_all(b"hello").await.unwrap();
            let mut got = Vec::new();
            link.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, b"hello");
        }
    }

    #[tokio::test]
    async fn what_the_server_says_in_the_same_packet_as_its_reply_is_kept() {
        let outbound = outbound(Version::Five, None);
        let (client, mut server) = tokio::io::duplex(4096);
        let answer = hex!("05 00  05 00 00 03 01 61 0050  534d5450");
        server.write_all(&answer).await.unwrap();
        let to = "1.2.3.4:25".parse().unwrap();
        let mut link = outbound
            .next_hop()
            .unwrap()
            .1
            .stream(Link::other(client), &to, LIMIT)
            .await
            .unwrap();
        let mut banner = [0; 4];
        link.read_exact(&mut banner).await.unwrap();
        assert_eq!(&banner, b"SMTP");
    }

    #[tokio::test]
    async fn refusals_are_told_in_words() {
        let plain = outbound(Version::Five, None);
        let login = outbound(Version::Five, Some(("a", "b")));
        let four = outbound(Version::Four, None);
        let cases: [(&Outbound, &[u8], &str); 8] = [
            (
                &plain,
                &hex!("05 ff"),
                "the SOCKS server asks for a user and password",
            ),
            (
                &login,
                &hex!("05 ff"),
                "the SOCKS server takes no user and password",
            ),
            (
                &login,
                &hex!("05 02 01 01"),
                "the SOCKS server does not know this user and password",
            ),
            (
                &plain,
                &hex!("05 02"),
                "the SOCKS server chose method 0x02, which was not offered",
            ),
            (
                &plain,
                &hex!("05 00 05 05 00 01 00000000 0000"),
                "the SOCKS server says: connection refused",
            ),
            (&plain, b"HTTP", "version 0x48 where 0x05 was expected"),
            (&plain, &hex!("05"), "closed after 1 bytes of a message"),
            (
                &four,
                &hex!("00 5b 0000 00000000"),
                "the SOCKS server rejects the request",
            ),
        ];
        for (outbound, answer, text) in cases {
            let (client, mut server) = tokio::io::duplex(4096);
            server.write_all(answer).await.unwrap();
            server.shutdown().await.unwrap();
            let to = "1.2.3.4:25".parse().unwrap();
            let e = outbound
                .next_hop()
                .unwrap()
                .1
                .stream(Link::other(client), &to, LIMIT)
                .await
                .unwrap_err();
            assert_eq!(e.to_string(), text);
        }
    }

    #[tokio::test]
    async fn an_association_carries_datagrams_and_ends_with_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let outbound = outbound(Version::Five, None);
        let inbound = Inbound::new(InboundSettings {
            udp: true,
            udp_ip: Some(Host::Ip("0.0.0.0".parse().unwrap())),
            ..InboundSettings::default()
        });
        let (_, ours) = outbound.next_hop().unwrap();
        let to = at.into();
        let (client, server) = tokio::join!(TcpStream::connect(at), listener.accept());
        let context = InboundContext::default();
        let bind: BindUdp = Arc::new(|_| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket).map(Udp::from)
        });
        let (ours, theirs) = tokio::join!(
            ours.packets(Link::Tcp(client.unwrap()), &to, LIMIT, &bind),
            inbound.accept(arrival(Link::Tcp(server.unwrap().0)), &context)
        );
        let mut ours = ours.unwrap();
        let Ok(Accepted::Packets {
            packets: mut theirs,
            ..
        }) = theirs
        else {
            panic!("no packets");
        };
        let packet = Packet {
            peer: "example.com:53".parse().unwrap(),
            data: Bytes::from_static(b"question"),
        };
        poll_fn(|cx| ours.poll_send(cx, &packet)).await.unwrap();
        let got = poll_fn(|cx| theirs.poll_recv(cx)).await.unwrap();
        assert_eq!(got.as_ref(), Some(&packet));
        poll_fn(|cx| theirs.poll_send(cx, &packet)).await.unwrap();
        let got = poll_fn(|cx| ours.poll_recv(cx)).await.unwrap();
        assert_eq!(got.as_ref(), Some(&packet));
        drop(theirs);
        assert!(poll_fn(|cx| ours.poll_recv(cx)).await.unwrap().is_none());
    }

    fn arrival(link: Link) -> Arrival {
        let ip = |port| Source::Ip(SocketAddr::from(([127, 0, 0, 1], port)));
        Arrival {
            link,
            source: ip(50_000),
            local: ip(1080),
            original_dst: None,
            tls: None,
            since: tokio::time::Instant::now(),
        }
    }

    fn outbound(version: Version, account: Option<(&str, &str)>) -> Outbound {
        let server = ServerSettings {
            to: "s:1080".parse().unwrap(),
            accounts: Vec::from_iter(account.map(self::account)),
        };
        let servers = vec![server];
        OutboundSettings {
            servers,
            version,
            ..OutboundSettings::default()
        }
        .into()
    }

    fn account((user, pass): (&str, &str)) -> Account {
        Account {
            user: user.to_owned(),
            pass: pass.to_owned().into(),
            level: 0,
        }
    }
}
