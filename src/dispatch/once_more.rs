//! What a way that did not open is followed by, where its balancer has `retries`: the rules are asked once more.

use std::io;
use std::sync::Arc;

use super::open::Opened;
use super::route::{Asked, Chosen};
use super::{Dispatcher, OutboundRef, Session};
use crate::address::Network;
use crate::io::Link;
use crate::sniffing::Aim;

/// An outbound, and whether it opened.
type Tried = (OutboundRef, io::Result<Opened<Link>>);

impl Dispatcher {
    /// Asks at most `retries` times, until a way opens; the last one that did not is the outcome otherwise. Who has failed, the
    /// balancer knows by then.
    pub(super) async fn open_once_more(
        self: &Arc<Self>,
        session: &Session,
        aim: Aim,
        failed: Tried,
        retries: u32,
    ) -> Tried {
        let (mut last, to) = (failed, aim.clone().to());
        for _ in 0..retries {
            if let Err(e) = &last.1 {
                last.0.log_open_error(&to, e);
            }
            let Some(Chosen {
                outbound, known, ..
            }) = self.route(session, Asked::new(Network::Tcp, &aim)).await
            else {
                break;
            };
            let opening = self.open(&outbound, &to, &known, session.comer());
            let opened = self.watched(&outbound, opening).await;
            self.note(&outbound, &opened);
            last = (outbound, opened);
            if last.1.is_ok() {
                break;
            }
        }
        last
    }
}
