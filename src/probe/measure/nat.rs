//! What kind of NAT datagrams go through, by the tests of RFC 3489 (section 10.1) and RFC 5780.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::super::codec::{Binding, NatType, binding_request};
use super::super::lab::Mounted;
use crate::address::Destination;
use crate::io::random;
use crate::io::{Packet, Packets};

/// How long an answer may take, and how often it is asked for.
const PATIENCE: Duration = Duration::from_millis(1000);
const TRIES: usize = 2;

/// Asks a STUN server through a node.
pub async fn nat(node: &Mounted, server: &Destination) -> NatType {
    let Ok(Ok(packets)) = timeout(PATIENCE * 3, node.packets(server)).await else {
        return NatType::Unknown;
    };
    let mut asker = Asker { packets };
    let Some(first) = asker.ask(server, false, false).await else {
        return NatType::Unknown;
    };
    if asker.ask(server, true, true).await.is_some() {
        return NatType::FullCone;
    }
    let Some(other) = first.other else {
        return NatType::Unknown;
    };
    let other: Destination = other.into();
    let second = match node.has_flows {
        false => asker.ask(&other, false, false).await,
        true => match timeout(PATIENCE * 3, node.packets(&other)).await {
            Ok(Ok(packets)) => Asker { packets }.ask(&other, false, false).await,
            _ => None,
        },
    };
    match second {
        Some(second) if second.mapped != first.mapped => NatType::Symmetric,
        None => NatType::Unknown,
        Some(_) if asker.ask(server, false, true).await.is_some() => NatType::RestrictedCone,
        Some(_) => NatType::PortRestrictedCone,
    }
}

struct Asker {
    packets: Box<dyn Packets>,
}

impl Asker {
    async fn ask(
        &mut self,
        server: &Destination,
        other_ip: bool,
        other_port: bool,
    ) -> Option<Binding> {
        let mut transaction = [0; 12];
        random::fill(&mut transaction);
        let packet = Packet {
            peer: server.clone(),
            data: Bytes::from(binding_request(&transaction, other_ip, other_port)),
        };
        for _ in 0..TRIES {
            poll_fn(|cx| self.packets.poll_send(cx, &packet))
                .await
                .ok()?;
            let answered = async {
                loop {
                    let received = poll_fn(|cx| self.packets.poll_recv(cx)).await;
                    let packet = received.ok().flatten()?;
                    if let Some(binding) = Binding::decode(&packet.data, &transaction) {
                        return Some(binding);
                    }
                }
            };
            match timeout(PATIENCE, answered).await {
                Ok(answer) => return answer,
                Err(_) => continue,
            }
        }
        None
    }
}
