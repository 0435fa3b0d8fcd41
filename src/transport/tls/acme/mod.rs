//! Certificates that an authority issues to us by ACME (RFC 8555), and renews.
//!
//! `certificate` is one of them, which all inbounds that name the same domains share: as it was issued last, and the task
//! that has it renewed. `order` asks for one, over `http`; `challenges` is what the authority meets when it looks for
//! us: a handshake of its own on a TLS port (TLS-ALPN-01, RFC 8737), or a request on a port without TLS (HTTP-01).
//! `folder` keeps the account and the certificates, `schedule` says when to ask.

mod certificate;
mod challenges;
mod folder;
mod http;
mod order;
mod schedule;
mod settings;

pub use certificate::{Certificate, Keeping};
pub use challenges::{Door, answer, is_asked};
pub use folder::Folder;
pub use settings::{LETS_ENCRYPT, Settings};

pub(super) use challenges::by_tls;
