//! PROXY protocol v1 and v2, as a server reads it (`acceptProxyProtocol`).

use crate::io::{Arrival, Refusal};

/// Takes the PROXY header off the front of a connection and the addresses from it.
pub async fn accept(_arrival: Arrival) -> Result<Arrival, Refusal> {
    todo!()
}
