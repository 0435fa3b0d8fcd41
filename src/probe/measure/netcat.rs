//! Bytes that are said somewhere through a node, and all that comes back.

use std::time::Duration;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::super::lab::Mounted;
use super::told;
use crate::address::Destination;

/// The most that is kept of what comes back.
const MAX_DATA: usize = 1 << 20;

/// What a script says, and where.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Netcat {
    /// `host:port`.
    pub(crate) addr: String,
    /// What is said.
    pub(crate) data: String,
    /// How often it is tried.
    pub(crate) retry: u32,
    /// How long a try may take, in milliseconds.
    pub(crate) timeout: u32,
}

/// What was wrong, if something was, and what came up to the end of the connection.
pub(crate) async fn netcat(node: &Mounted, asked: &Netcat) -> (String, Vec<u8>) {
    let to: Destination = match asked.addr.parse() {
        Ok(to) => to,
        Err(e) => return (e.to_string(), Vec::new()),
    };
    let limit = Duration::from_millis(asked.timeout.into());
    let mut last = (String::new(), Vec::new());
    for _ in 0..asked.retry.clamp(1, 10) {
        let mut heard = BytesMut::new();
        let said = timeout(limit, once(node, &to, &asked.data, &mut heard)).await;
        let error = match said {
            Ok(Ok(())) => return (String::new(), heard.to_vec()),
            Ok(Err(why)) => why,
            Err(_) => format!("timed out after {} ms", asked.timeout),
        };
        last = (error, heard.to_vec());
    }
    last
}

async fn once(
    node: &Mounted,
    to: &Destination,
    data: &str,
    heard: &mut BytesMut,
) -> Result<(), String> {
    let mut link = node.open(to).await.map_err(|e| told(&e))?;
    let sent = async {
        link.write_all(data.as_bytes()).await?;
        link.flush().await
    };
    sent.await.map_err(|e| told(&e))?;
    loop {
        match link.read_more(heard).await {
            Ok(0) => return Ok(()),
            Ok(_) if heard.len() > MAX_DATA => {
                heard.truncate(MAX_DATA);
                return Err(format!("more than {} MiB came", MAX_DATA >> 20));
            }
            Ok(_) => {}
            Err(e) => return Err(told(&e)),
        }
    }
}
