//! `type`, and what belongs to each of its values.
//!
//! | `type` | parameters |
//! |---|---|
//! | `tcp`, `raw`, Trojan-Go's `original` | `headerType=http`: `host`, `path` |
//! | `ws` | `host`, `path` with `?ed=N`; mihomo's `ed` and `eh` |
//! | `httpupgrade` | the same |
//! | `grpc` | `serviceName`, `mode` (`gun`, `multi`), `authority` |
//! | `http`, `h2` | `host`, `path` |

mod read;
mod write;

pub(super) use read::read;
pub(super) use write::write;
