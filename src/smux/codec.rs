//! Frames of smux, versions 1 and 2.
//!
//! ```text
//! | version 1 | command 1 | length 2 | stream 4 | data |      numbers are little endian
//! SYN 0 opens a stream, FIN 1 ends it, PSH 2 has data, NOP 3 says that somebody is there,
//! UPD 4 (version 2) has two numbers of four bytes: what was consumed since the beginning, and the window
//! ```
//!
//! A NOP belongs to no stream, so its number is 0, and nobody looks at it. Ours has three meanings for another one, which
//! are passed over by whoever does not know them: [`HALF_CLOSES`] says that its sender knows the third, [`WINDOWS`] that it
//! knows UPD in version 1, and any other number that nothing more will be written to that stream, and what comes by it is
//! read on.
//!
//! Where a frame ends means nothing, so a [`Decoder`] never waits for a whole one: data is given as it comes, and no more
//! than a header is kept.

use thiserror::Error;

/// What stands in front of every frame's data.
pub const HEADER: usize = 8;

/// An UPD, whole.
pub const UPDATE: usize = 16;

/// The most data that a frame can have.
pub const MAX_DATA: usize = u16::MAX as usize;

/// The number of a NOP that says of its sender that it knows the end of one direction; no stream has it.
pub const HALF_CLOSES: u32 = u32::MAX;

/// The number of a NOP that says of its sender that it goes by the windows of streams in version 1 as well, where it is told
/// of any; no stream has it.
pub const WINDOWS: u32 = u32::MAX - 1;

const SYN: u8 = 0;
const FIN: u8 = 1;
const PSH: u8 = 2;
const NOP: u8 = 3;
const UPD: u8 = 4;

/// Which smux is spoken; both ends speak the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// A session has one window, unless both ends know more ([`WINDOWS`]).
    #[default]
    One = 1,
    /// Each stream has a window of its own.
    Two = 2,
}

/// What is sent besides updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Open,
    End,
    /// So much data follows.
    Data(u16),
    /// Nothing more will be written to the stream.
    WriteEnd,
    KeepAlive,
    /// The sender knows [`WriteEnd`](Self::WriteEnd).
    HalfCloses,
    /// The sender knows updates in version 1.
    Windows,
}

/// What a peer has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Open(u32),
    /// Some data of a stream, and never none.
    Data(u32, &'a [u8]),
    /// The peer is done with the stream.
    End(u32),
    /// The peer writes no more to the stream, and may go on reading.
    WriteEnd(u32),
    KeepAlive,
    /// The peer knows [`WriteEnd`](Self::WriteEnd).
    HalfCloses,
    /// The peer knows updates in version 1.
    Windows,
    /// The peer has consumed so much of a stream since its beginning, and so much more may be on its way.
    Update {
        stream: u32,
        consumed: u32,
        window: u32,
    },
}

/// Why a frame breaks the protocol; each ends the session.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error(
        "a frame begins with {0:#04x}, expected version 1 or 2 of smux: is the peer's carrier multiplexed?"
    )]
    Version(u8),
    #[error(
        "a frame of smux {found}, and the session speaks {expected}: `mux.version` must be the same at both ends"
    )]
    OtherVersion { expected: u8, found: u8 },
    #[error("command {0} is none of smux's")]
    Command(u8),
    #[error("command {command} has {length} bytes of data, expected {expected}")]
    Length {
        command: u8,
        length: u16,
        expected: u16,
    },
}

/// Takes a session's bytes apart.
#[derive(Debug, Default)]
pub struct Decoder {
    /// `None` until the first frame says it.
    version: Option<Version>,
    /// The beginning of a header, or of an update.
    head: [u8; UPDATE],
    have: usize,
    /// The stream whose data comes next, and how much of it.
    data: Option<(u32, u16)>,
}

impl Decoder {
    /// For a peer that speaks `version`; without one, what its first frame speaks.
    pub fn new(version: Option<Version>) -> Self {
        Self {
            version,
            ..Self::default()
        }
    }

    /// What is spoken, as far as that is known.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Whether a frame has begun and not ended.
    pub fn is_inside_frame(&self) -> bool {
        self.have > 0 || self.data.is_some()
    }

    /// The next event in front of `input`, from which it is taken; `None` when all of it has been.
    ///
    /// # Errors
    ///
    /// When a frame breaks the protocol; there is no going on then.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, FrameError> {
        loop {
            if let Some((stream, left)) = self.data {
                let (data, rest) = input.split_at(input.len().min(usize::from(left)));
                if data.is_empty() {
                    return Ok(None);
                }
                *input = rest;
                // It is no longer than `left`.
                let left = left - data.len() as u16;
                self.data = (left > 0).then_some((stream, left));
                return Ok(Some(Event::Data(stream, data)));
            }
            if !self.fill(HEADER, input) {
                return Ok(None);
            }
            let [version, command, low, high, ..] = self.head;
            let length = u16::from_le_bytes([low, high]);
            let stream = number(&self.head[4..8]);
            if self.have == HEADER {
                self.check(version, command, length)?;
            }
            if command == UPD && !self.fill(UPDATE, input) {
                return Ok(None);
            }
            self.have = 0;
            match command {
                SYN => return Ok(Some(Event::Open(stream))),
                FIN => return Ok(Some(Event::End(stream))),
                NOP => {
                    return Ok(Some(match stream {
                        0 => Event::KeepAlive,
                        HALF_CLOSES => Event::HalfCloses,
                        WINDOWS => Event::Windows,
                        _ => Event::WriteEnd(stream),
                    }));
                }
                UPD => {
                    return Ok(Some(Event::Update {
                        stream,
                        consumed: number(&self.head[8..12]),
                        window: number(&self.head[12..16]),
                    }));
                }
                _ => self.data = (length > 0).then_some((stream, length)),
            }
        }
    }

    /// Whether there are `n` bytes of a head, when those that are missing have been taken.
    fn fill(&mut self, n: usize, input: &mut &[u8]) -> bool {
        let missing = n.saturating_sub(self.have).min(input.len());
        let (taken, rest) = input.split_at(missing);
        self.head[self.have..self.have + missing].copy_from_slice(taken);
        self.have += missing;
        *input = rest;
        self.have >= n
    }

    fn check(&mut self, version: u8, command: u8, length: u16) -> Result<(), FrameError> {
        let found = match version {
            1 => Version::One,
            2 => Version::Two,
            other => return Err(FrameError::Version(other)),
        };
        let expected = *self.version.get_or_insert(found);
        if expected != found {
            return Err(FrameError::OtherVersion {
                expected: expected as u8,
                found: version,
            });
        }
        let expected = match command {
            PSH => length,
            UPD => (UPDATE - HEADER) as u16,
            SYN | FIN | NOP => 0,
            other => return Err(FrameError::Command(other)),
        };
        match length == expected {
            true => Ok(()),
            false => Err(FrameError::Length {
                command,
                length,
                expected,
            }),
        }
    }
}

/// A frame, or what stands in front of its data.
pub fn frame(version: Version, command: Command, stream: u32) -> [u8; HEADER] {
    let (command, length, stream) = match command {
        Command::Open => (SYN, 0, stream),
        Command::End => (FIN, 0, stream),
        Command::Data(length) => (PSH, length, stream),
        Command::WriteEnd => (NOP, 0, stream),
        Command::KeepAlive => (NOP, 0, 0),
        Command::HalfCloses => (NOP, 0, HALF_CLOSES),
        Command::Windows => (NOP, 0, WINDOWS),
    };
    let [low, high] = length.to_le_bytes();
    let [a, b, c, d] = stream.to_le_bytes();
    [version as u8, command, low, high, a, b, c, d]
}

/// An update; in version 1 for a peer that knows it ([`WINDOWS`]).
pub fn update(version: Version, stream: u32, consumed: u32, window: u32) -> [u8; UPDATE] {
    let mut bytes = [0; UPDATE];
    bytes[..4].copy_from_slice(&[version as u8, UPD, (UPDATE - HEADER) as u8, 0]);
    bytes[4..8].copy_from_slice(&stream.to_le_bytes());
    bytes[8..12].copy_from_slice(&consumed.to_le_bytes());
    bytes[12..].copy_from_slice(&window.to_le_bytes());
    bytes
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |n, byte| n << 8 | u32::from(*byte))
}
