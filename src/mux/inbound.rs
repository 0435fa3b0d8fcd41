//! The server: every session that the peer opens is accepted like a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::debug;

use super::codec::Kind;
use super::driver::{Driver, SessionHandler};
use super::full_cone::Cones;
use super::packet_addr;
use super::packets::MuxPackets;
use super::stream::MuxStream;
use super::table::Table;
use super::watch::Watch;
use crate::address::Destination;
use crate::io::{Link, Packets};
use crate::seam::Accepted;
use crate::session::{Owner, Source, User};

/// Sessions of one link at a time; V2Ray's clients have at most as many.
const MAX_SESSIONS: usize = 1024;

/// What all mux links of an inbound share: the UDP associations that outlive a link.
#[derive(Clone, Default)]
pub struct Inbound {
    cones: Arc<Cones>,
}

impl Inbound {
    /// The sessions inside `link`, each when the peer opens it. A link that is silent for `idle` ends, and
    /// so do its sessions.
    pub fn accept(&self, link: Link, user: Option<Arc<User>>, idle: Duration) -> Accepted {
        let (accepting, opened) = self.accepting(user);
        let driver = Driver::new(link, Arc::default(), accepting, None, idle);
        crate::io::spawn(driver.run());
        Accepted::Sessions(opened)
    }

    /// The same where somebody looks after the link: datagrams to a place for which `is_apart` holds are not accepted
    /// like others, but given out beside them.
    pub fn serve(&self, link: Link, idle: Duration, is_apart: fn(&Destination) -> bool) -> Served {
        let (mut accepting, sessions) = self.accepting(None);
        let (sender, apart) = mpsc::channel(1);
        accepting.apart = Some((is_apart, sender));
        let table = Arc::<Table>::default();
        let driver = Driver::new(link, table.clone(), accepting, None, idle);
        crate::io::spawn(driver.run());
        Served {
            sessions,
            apart,
            watch: Watch::new(table),
        }
    }

    fn accepting(&self, user: Option<Arc<User>>) -> (Accepting, mpsc::Receiver<Accepted>) {
        let (sessions, opened) = mpsc::channel(MAX_SESSIONS);
        let accepting = Accepting {
            cones: self.cones.clone(),
            user,
            sessions,
            apart: None,
        };
        (accepting, opened)
    }
}

/// A link that somebody looks after.
pub struct Served {
    /// Each when the peer opens it; the receiver ends when the link has.
    pub sessions: mpsc::Receiver<Accepted>,
    pub apart: mpsc::Receiver<Box<dyn Packets>>,
    pub watch: Watch,
}

struct Accepting {
    cones: Arc<Cones>,
    user: Option<Arc<User>>,
    sessions: mpsc::Sender<Accepted>,
    apart: Option<Apart>,
}

/// Datagrams to which places are given out beside the sessions, and where.
type Apart = (fn(&Destination) -> bool, mpsc::Sender<Box<dyn Packets>>);

impl SessionHandler for Accepting {
    fn open(&mut self, table: &Arc<Table>, session_id: u16, kind: Kind, data: Option<Bytes>) {
        let peer = match &kind {
            Kind::Packets { to, .. } => Some(to.clone()),
            _ => None,
        };
        let room = table.lock().sessions() < MAX_SESSIONS && self.sessions.capacity() > 0;
        let handle = room.then(|| table.open(session_id, peer)).flatten();
        let Some(handle) = handle else {
            debug!(
                session_id,
                "a mux session is refused: taken, or one too many"
            );
            table.lock().answer(session_id, true);
            return;
        };
        handle.begin(data);
        if let (Kind::Packets { to, .. }, Some((is_apart, apart))) = (&kind, &self.apart)
            && is_apart(to)
        {
            // Whoever has enough of them lets this one go, and the peer hears its end.
            let _ = apart.try_send(Box::new(MuxPackets::opened(handle, false)));
            return;
        }
        let user = self.user.clone();
        let owner = Owner::of(user.as_ref(), Source::Unix);
        let accepted = match kind {
            Kind::Stream(to) => {
                let link = Link::other(MuxStream::opened(handle));
                match super::stream_or_packets(user, to, link) {
                    Ok(accepted) => accepted,
                    Err(reason) => return debug!(session_id, "a mux session is refused: {reason}"),
                }
            }
            Kind::Packets { to, global_id } => {
                // Session 0 is XUDP's alone, Mux.Cool counts from 1.
                let session = MuxPackets::opened(handle, session_id == 0 || global_id.is_some());
                let packets: Box<dyn Packets> = match global_id {
                    Some(id) => match self.cones.join(owner, id, session) {
                        Some(cone) => Box::new(cone),
                        None => return,
                    },
                    None => packet_addr::unwrap(Box::new(session), to),
                };
                Accepted::Packets { user, packets }
            }
            Kind::Keep(_) | Kind::End | Kind::KeepAlive => return,
        };
        // There is room, and without a receiver the whole service is ending.
        let _ = self.sessions.try_send(accepted);
    }
}
