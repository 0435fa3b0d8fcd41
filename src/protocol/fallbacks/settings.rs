//! What `fallbacks` can say.

use crate::seam::Fallback;

/// One of `fallbacks`. What is empty is for all for whom there is no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackSettings {
    /// A name that TLS clients ask for, or a part of it.
    pub name: String,
    /// The protocol that TLS has agreed on.
    pub alpn: String,
    /// The path of an HTTP/1 request; begins with `/`.
    pub path: String,
    pub fallback: Fallback,
}
