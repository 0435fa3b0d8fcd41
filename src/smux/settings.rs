//! What a session is told.

#![warn(missing_docs)]

use std::time::Duration;

use super::codec::{MAX_DATA, Version};

/// A session of smux, at either end.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `mux.version`: what a client speaks; a server goes by the first frame.
    pub version: Version,
    /// `mux.keepaliveInterval` and `mux.keepaliveTimeout`; `None` with `mux.keepaliveDisabled`.
    pub keepalive: Option<KeepAlive>,
    /// `mux.maxFrameSize`: the most data of a frame that we send; without it 32768 as in gost, and as much as a frame may have
    /// where it goes from socket to socket.
    pub max_frame: Option<u16>,
    /// `mux.maxReceiveBuffer`: what may lie unread in all streams together; without it 4 MiB in version 1, as in gost, and
    /// 64 MiB where each stream has a window.
    pub receive_buffer: Option<usize>,
    /// `mux.maxStreamBuffer`: how far the window of a stream of version 2 may grow, 4 MiB by default.
    pub stream_window: u32,
}

/// How an end finds out that the other one has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Whoever has sent nothing for so long says that it is there; 10 s by default.
    pub interval: Duration,
    /// Whoever has said nothing for so long has gone; 30 s by default.
    pub timeout: Duration,
}

/// What a stream of version 2 may have on its way before its receiver has said anything.
pub const FIRST_WINDOW: u32 = 256 * 1024;

impl Settings {
    /// The most data of a frame.
    pub(super) fn max_frame(&self) -> usize {
        self.max_frame.map_or(32 * 1024, Self::at_least_one)
    }

    /// The same, of what a pipe holds.
    pub(super) fn max_piped(&self) -> usize {
        self.max_frame.map_or(MAX_DATA, Self::at_least_one)
    }

    fn at_least_one(max_frame: u16) -> usize {
        usize::from(max_frame.max(1))
    }

    /// Bytes that may lie unread before nothing more is read where each stream has a window: as much as 256 of them begin with.
    pub(super) fn hold_max(&self) -> usize {
        self.receive_buffer.unwrap_or(64 * 1024 * 1024)
    }

    /// Bytes that may lie unread; where each stream has a window, what all that windows have grown by is measured by.
    pub(super) fn receive_max(&self, version: Version) -> usize {
        self.receive_buffer.unwrap_or(match version {
            Version::One => 4 * 1024 * 1024,
            Version::Two => 16 * 1024 * 1024,
        })
    }
}

/// gost's defaults, but for windows that distance does not throttle.
impl Default for Settings {
    fn default() -> Self {
        Self {
            version: Version::One,
            keepalive: Some(KeepAlive::default()),
            max_frame: None,
            receive_buffer: None,
            stream_window: 4 * 1024 * 1024,
        }
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
        }
    }
}

const _: () = assert!(32 * 1024 <= MAX_DATA);
