//! What can be said about connections.

/// `limits`, of the process or of an inbound. `None` is the default, 0 lifts a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `connections`: those that are open, tunnels among them. By default only the limit of open files bounds them.
    pub connections: Option<u32>,
    /// `perSource`: those of one address, of IPv6 of the same first 64 bits. For the process the default is half of the
    /// files that may be open, of this machine's own addresses as many as come; for an inbound there is none.
    pub per_source: Option<u32>,
    /// `handshakes`: those that have yet to say who they are. By default there is no bound here: where they are
    /// very many, or files run short, the oldest give way.
    pub handshakes: Option<u32>,
}
