//! Whether a ClientHello announces early data, which rustls' [`ClientHello`](tokio_rustls::rustls::server::ClientHello) does not show.

/// A record of the handshake, the first message in it, and the extension (RFC 8446, 4.2.10).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const EARLY_DATA: usize = 42;

/// Whether early data may follow what a client has said. `received` begins with a ClientHello; where that cannot be read, it may.
pub(crate) fn announces(received: &[u8]) -> bool {
    Cursor(received).announces().unwrap_or(true)
}

/// What is left to read.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn announces(mut self) -> Option<bool> {
        let message = self.message()?;
        let mut hello = Cursor(&message);
        hello.take(2 + 32)?;
        hello.block(1)?;
        hello.block(2)?;
        hello.block(1)?;
        if hello.0.is_empty() {
            // Old clients have no extensions.
            return Some(false);
        }
        let mut extensions = Cursor(hello.block(2)?);
        while !extensions.0.is_empty() {
            let kind = extensions.number(2)?;
            extensions.block(2)?;
            if kind == EARLY_DATA {
                return Some(true);
            }
        }
        Some(false)
    }

    /// A ClientHello, out of as many records as it takes.
    fn message(&mut self) -> Option<Vec<u8>> {
        let mut joined = Vec::new();
        loop {
            let mut message = Cursor(&joined);
            if let Some(kind) = message.number(1)
                && let Some(body) = message.block(3)
            {
                return (kind == usize::from(CLIENT_HELLO)).then(|| body.to_vec());
            }
            let &[kind, _, _] = self.take(3)?.first_chunk()?;
            if kind != HANDSHAKE {
                return None;
            }
            joined.extend_from_slice(self.block(2)?);
        }
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        let digits = self.take(bytes)?;
        Some(digits.iter().fold(0, |n, b| n << 8 | usize::from(*b)))
    }

    /// Bytes behind their own number.
    fn block(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let len = self.number(bytes)?;
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use super::announces;

    /// A ClientHello with these extensions, in records of so many bytes.
    fn hello(extensions: &[u16], records: usize) -> Vec<u8> {
        let mut body = [3; 34].to_vec();
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let extensions: Vec<u8> = extensions
            .iter()
            .flat_map(|kind| [&kind.to_be_bytes()[..], &[0, 1, 9]].concat())
            .collect();
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[1], &len[1..], &body].concat();
        let records = message.chunks(records).map(|part| {
            let len = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&[22, 3, 1], &len[..], part].concat()
        });
        records.collect::<Vec<_>>().concat()
    }

    #[test]
    fn early_data_is_seen_wherever_it_is_announced() {
        for records in [1, 7, 1000] {
            assert!(announces(&hello(&[0, 42, 51], records)));
            assert!(announces(&hello(&[42], records)));
            assert!(!announces(&hello(&[0, 43, 51], records)));
            let mut with_more = hello(&[0], records);
            with_more.extend([23, 3, 3, 0, 1, 9]);
            assert!(!announces(&with_more));
        }
    }

    #[test]
    fn what_cannot_be_read_may_announce_it() {
        let whole = hello(&[0, 43], 1000);
        for end in 0..whole.len() {
            assert!(announces(&whole[..end]), "{end}");
        }
        assert!(announces(&[23; 100]));
    }
}
