//! dokodemo-door: every connection goes to one fixed place.

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::io::{Arrival, Refusal};
use crate::json::Object;
use crate::protocol::{Accepted, Datagrams};

pub struct Inbound {}

impl Inbound {
    pub fn read(_settings: &Object) -> Option<Self> {
        todo!()
    }

    pub fn takes_streams(&self) -> bool {
        todo!()
    }

    pub fn takes_datagrams(&self) -> bool {
        todo!()
    }

    pub async fn accept(&self, _arrival: Arrival) -> Result<Accepted, Refusal> {
        todo!()
    }

    pub fn datagrams(&self, _socket: UdpSocket) -> mpsc::Receiver<Datagrams> {
        todo!()
    }
}
