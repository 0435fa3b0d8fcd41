//! What a `blackhole` outbound can be told.

#![warn(missing_docs)]

/// `settings` of a `blackhole` outbound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundSettings {
    /// `response.type`.
    pub response: Response,
    /// It takes the place of an outbound that cannot carry anything, so that what is meant for that one goes nowhere else.
    /// No balancer chooses it while there is another one.
    pub stands_in: bool,
}

/// What a stream is answered before it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Response {
    /// Nothing.
    #[default]
    None,
    /// An HTTP 403, so that a browser shows an error at once.
    Http,
}
