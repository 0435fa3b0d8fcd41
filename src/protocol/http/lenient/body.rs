//! Bodies, followed to their ends.

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Head,
    /// So many bytes of a body are to come.
    Body(u64),
    Chunked(Chunk),
    /// A CONNECT was asked for: a tunnel, unless it is refused.
    Tunnel,
    /// Nothing behind is looked at.
    Raw,
}

/// Where in a body of chunks we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the line of a size; whether its digits are over.
    Size(u64, bool),
    /// In the payload and the end of the line behind it.
    Data(u64),
    /// In a line of trailers that has so many bytes so far.
    Trailer(u64),
}

impl At {
    pub(super) fn rest_of(left: u64) -> Self {
        match left {
            0 => Self::Head,
            left => Self::Body(left),
        }
    }
}

impl Chunk {
    /// Follows a body through `bytes`: how many are its own, and where it is then.
    pub(super) fn follow(mut self, bytes: &[u8]) -> (usize, At) {
        let mut n = 0;
        while n < bytes.len() {
            if let Self::Data(left) = self {
                let taken = left.min((bytes.len() - n) as u64);
                n += taken as usize;
                self = match left - taken {
                    0 => Self::Size(0, false),
                    left => Self::Data(left),
                };
                continue;
            }
            let byte = bytes[n];
            n += 1;
            self = match self {
                Self::Size(0, _) if byte == b'\n' => Self::Trailer(0),
                // Behind a payload there is the end of a line.
                Self::Size(size, _) if byte == b'\n' => Self::Data(size.saturating_add(2)),
                Self::Size(size, false) => match char::from(byte).to_digit(16) {
                    // hyper refuses such a size.
                    Some(_) if size >> 60 != 0 => return (bytes.len(), At::Raw),
                    Some(digit) => Self::Size(size << 4 | u64::from(digit), false),
                    None => Self::Size(size, true),
                },
                Self::Trailer(0) if byte == b'\n' => return (n, At::Head),
                Self::Trailer(_) if byte == b'\n' => Self::Trailer(0),
                Self::Trailer(len) if byte != b'\r' => Self::Trailer(len + 1),
                same => same,
            };
        }
        (n, At::Chunked(self))
    }
}
