//! `-L URL` and `-F URL` into what a file would say.
//!
//! ```text
//! [scheme://][user:pass@]host:port[,host2:port2][/target[,target2]][?key=value&…]
//! ```
//! A scheme is `handler+listener`, or `connector+dialer`; one word is both. Keys without a prefix are for all parts of a
//! service or a node, those with one (`handler.`, `dialer.`, …) for that part.

mod nodes;
mod parts;

use crate::dialect::tree::Node;
use parts::Parts;

/// What becomes of a URL.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// `-L`
    Service,
    /// `-F`
    Hop,
}

/// Services that URLs may be, all together.
pub(super) const MAX_SERVICES: usize = 1000;

/// The services that a URL is: one for each port of a range, counted from `first`. The second value is the chain's name,
/// where there is one.
///
/// # Errors
///
/// When it is no URL of this kind.
pub(super) fn services(url: &str, first: usize, chain: Option<&str>) -> Result<Vec<Node>, String> {
    let parts = Parts::read(url, Role::Service)?;
    let addresses = range(&parts.addresses).or_else(|text| parts.fail(&text))?;
    let (count, targets) = (addresses.len(), &parts.targets);
    if count > 1 && targets.len() > 1 && targets.len() < count {
        return parts.fail(&format!(
            "there are {count} ports and {} targets, expected one for each port, or one for all",
            targets.len()
        ));
    }
    let nodes = addresses.into_iter().enumerate();
    let node = |(n, addr): (usize, String)| {
        // Of several ports each has the target in its own place.
        let own = match count > 1 && targets.len() > 1 {
            true => targets.get(n..=n).unwrap_or_default(),
            false => targets,
        };
        parts.service(&addr, first + n, chain, own)
    };
    Ok(nodes.map(node).collect())
}

/// The addresses of a range of ports, else the one that there is.
fn range(address: &str) -> Result<Vec<String>, String> {
    let (host, port) = address.rsplit_once(':').unwrap_or(("", address));
    let Some((from, to)) = port.split_once('-') else {
        return Ok(vec![address.to_owned()]);
    };
    match (from.parse::<u16>(), to.parse::<u16>()) {
        (Ok(from), Ok(to)) if from <= to && usize::from(to - from) < MAX_SERVICES => {
            Ok((from..=to).map(|port| format!("{host}:{port}")).collect())
        }
        (Ok(from), Ok(to)) if from <= to => {
            let many = usize::from(to - from) + 1;
            Err(format!(
                "`{port}` are {many} ports, each by itself, expected at most {MAX_SERVICES}"
            ))
        }
        _ => Err(format!("`{}` is no range of ports", port.escape_debug())),
    }
}

/// The hop that a URL is.
///
/// # Errors
///
/// When it is no URL of this kind.
pub(super) fn hop(url: &str, number: usize) -> Result<Node, String> {
    Parts::read(url, Role::Hop)?.hop(number)
}
