//! Messages from a stream of lines or bytes, and their way back.

use std::borrow::Cow;
use std::io;

use bytes::{Buf, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::MAX_MESSAGE;

/// What a message is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line is a text message.
    Lines,
    /// What one read gives is a binary message.
    Bytes,
}

/// A stream that messages are made of.
#[derive(Debug)]
pub struct Input<R> {
    from: R,
    form: Form,
    read: BytesMut,
    /// So much of it has no end of a line.
    looked_at: usize,
    /// Lines that have been given.
    lines: u64,
}

/// Why there is no next message.
#[derive(Debug, Error)]
pub enum InputError {
    /// A text message is UTF-8.
    #[error(
        "standard input, line {0}: this is not UTF-8, as a text message is; `--binary` sends bytes"
    )]
    NotText(u64),
    /// Nobody would take it.
    #[error("standard input, line {0}: it has more than 16 MiB, `--binary` sends it in pieces")]
    TooLong(u64),
    /// It cannot be read.
    #[error("standard input: {0}")]
    Unread(#[from] io::Error),
}

/// The most that one read takes.
const READ: usize = 64 * 1024;

impl<R: AsyncRead + Unpin> Input<R> {
    /// Reads from there.
    pub fn new(from: R, form: Form) -> Self {
        Self {
            from,
            form,
            read: BytesMut::new(),
            looked_at: 0,
            lines: 0,
        }
    }

    /// The next message; `None` at the end. Nothing is lost when this is not waited for to its end.
    ///
    /// # Errors
    ///
    /// When what comes makes no message.
    pub async fn next(&mut self) -> Result<Option<Message>, InputError> {
        loop {
            if let Some(message) = self.decode()? {
                return Ok(Some(message));
            }
            self.read.reserve(READ);
            let room = READ.min(self.read.capacity() - self.read.len());
            let mut into = bytes::BufMut::limit(&mut self.read, room);
            if self.from.read_buf(&mut into).await? > 0 {
                continue;
            }
            return match self.read.is_empty() {
                true => Ok(None),
                // The last line has no end.
                false => {
                    let len = self.read.len();
                    self.line(len, 0).map(Some)
                }
            };
        }
    }

    /// Whether the next message is a line that has been read already.
    pub fn has_line(&self) -> bool {
        self.form == Form::Lines && self.read.contains(&b'\n')
    }

    /// A message of what has been read.
    fn decode(&mut self) -> Result<Option<Message>, InputError> {
        if self.form == Form::Bytes {
            let all = self.read.split().freeze();
            return Ok((!all.is_empty()).then(|| Message::Binary(all)));
        }
        let end = self.read[self.looked_at..]
            .iter()
            .position(|byte| *byte == b'\n');
        match end {
            Some(at) => self.line(self.looked_at + at, 1).map(Some),
            None if self.read.len() > MAX_MESSAGE => Err(InputError::TooLong(self.lines + 1)),
            None => {
                self.looked_at = self.read.len();
                Ok(None)
            }
        }
    }

    /// The line of so many bytes, with so many behind it that end it.
    fn line(&mut self, len: usize, end: usize) -> Result<Message, InputError> {
        let mut line = self.read.split_to(len).freeze();
        self.read.advance(end);
        self.looked_at = 0;
        self.lines += 1;
        if end > 0 && line.last() == Some(&b'\r') {
            line.truncate(len - 1);
        }
        if line.len() > MAX_MESSAGE {
            return Err(InputError::TooLong(self.lines));
        }
        let text = Utf8Bytes::try_from(line).map_err(|_| InputError::NotText(self.lines))?;
        Ok(Message::Text(text))
    }
}

/// What is written of a message. On a terminal nothing that a stranger says moves the cursor or changes a title.
pub fn shown(message: &Message, form: Form, on_terminal: bool) -> Cow<'_, [u8]> {
    let bytes: &[u8] = match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes,
        _ => return Cow::Borrowed(&[]),
    };
    match (form, message) {
        (Form::Bytes, _) => Cow::Borrowed(bytes),
        (Form::Lines, Message::Binary(_)) if on_terminal => {
            let mut line = format!("({} bytes)", bytes.len());
            for byte in bytes.iter().take(SHOWN) {
                line += &format!(" {byte:02x}");
            }
            line += if bytes.len() > SHOWN { " …\n" } else { "\n" };
            Cow::Owned(line.into_bytes())
        }
        (Form::Lines, Message::Text(text)) if on_terminal => {
            let is_safe = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
            let safe = text
                .chars()
                .map(|c| if is_safe(c) { c } else { '\u{fffd}' });
            Cow::Owned(safe.chain(['\n']).collect::<String>().into_bytes())
        }
        (Form::Lines, _) => {
            let mut line = Vec::with_capacity(bytes.len() + 1);
            line.extend_from_slice(bytes);
            line.push(b'\n');
            Cow::Owned(line)
        }
    }
}

/// Bytes of a binary message that a terminal shows.
const SHOWN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    async fn all(text: &[u8], form: Form, at_once: usize) -> (Vec<Message>, Option<String>) {
        let (mut near, far) = duplex(at_once);
        let text = text.to_vec();
        let writing = crate::io::spawn(async move {
            let _ = near.write_all(&text).await;
        });
        let mut input = Input::new(far, form);
        let mut messages = Vec::new();
        let end = loop {
            match input.next().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break None,
                Err(e) => break Some(e.to_string()),
            }
        };
        drop(input);
        writing.await.unwrap();
        (messages, end)
    }

    #[tokio::test]
    async fn lines_are_messages_however_they_come() {
        for at_once in [1, 3, 1024] {
            let (messages, end) = all("一\r\n\nthree".as_bytes(), Form::Lines, at_once).await;
            assert_eq!(
                messages,
                ["一", "", "three"].map(Message::from),
                "{at_once}"
            );
            assert_eq!(end, None);
        }
        let (messages, end) = all(b"a\n\xff\xfe\n", Form::Lines, 1024).await;
        assert_eq!(messages, [Message::from("a")]);
        assert!(
            end.unwrap()
                .starts_with("standard input, line 2: this is not UTF-8")
        );
    }

    #[tokio::test]
    async fn bytes_are_messages_as_they_come_and_a_line_has_a_bound() {
        let (messages, end) = all(b"a\n\xff", Form::Bytes, 1024).await;
        let bytes: Vec<u8> = messages.into_iter().flat_map(Message::into_data).collect();
        assert_eq!((&bytes[..], end), (&b"a\n\xff"[..], None));
        let long = vec![b'x'; MAX_MESSAGE + READ];
        let (messages, end) = all(&long, Form::Lines, 1 << 20).await;
        assert!(messages.is_empty());
        assert!(
            end.unwrap()
                .starts_with("standard input, line 1: it has more than 16 MiB")
        );
    }

    #[test]
    fn a_terminal_is_shown_no_control_characters_and_a_pipe_gets_what_came() {
        let text = Message::from("a\x1b]0;title\x07\tb\nc");
        let on_terminal = shown(&text, Form::Lines, true);
        assert_eq!(
            &*on_terminal,
            "a\u{fffd}]0;title\u{fffd}\tb\nc\n".as_bytes()
        );
        assert_eq!(
            &*shown(&text, Form::Lines, false),
            b"a\x1b]0;title\x07\tb\nc\n"
        );
        assert_eq!(
            &*shown(&text, Form::Bytes, true),
            b"a\x1b]0;title\x07\tb\nc"
        );
        let bytes = Message::from(vec![0, 255]);
        assert_eq!(&*shown(&bytes, Form::Lines, true), b"(2 bytes) 00 ff\n");
        assert_eq!(&*shown(&bytes, Form::Lines, false), b"\x00\xff\n");
    }
}
