//! What goes through the pipes: bytes with their number in front, in four bytes, the highest first.

use std::io::{self, Read, Write};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest that a process may say: a request with its body.
pub(super) const MAX_ASKED: usize = 2 << 20;

/// The longest that it may be told: its script, or what came through the node.
pub(super) const MAX_TOLD: usize = 16 << 20;

pub(super) fn read(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut number = [0; 4];
    from.read_exact(&mut number)?;
    let mut bytes = vec![0; within(number, MAX_TOLD)?];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn write(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&number(bytes, MAX_ASKED)?)?;
    to.write_all(bytes)?;
    to.flush()
}

/// What a process says.
pub(super) async fn hear(mut from: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut number = [0; 4];
    from.read_exact(&mut number).await?;
    let len = within(number, MAX_ASKED)?;
    // Memory for what has come, not for what is announced.
    let mut bytes = Vec::new();
    from.take(len as u64).read_to_end(&mut bytes).await?;
    match bytes.len() == len {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Tells a process.
pub(super) async fn tell(mut to: impl AsyncWrite + Unpin, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&number(bytes, MAX_TOLD)?).await?;
    to.write_all(bytes).await?;
    to.flush().await
}

fn number(bytes: &[u8], most: usize) -> io::Result<[u8; 4]> {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let number = len.to_be_bytes();
    within(number, most).map(|_| number)
}

fn within(number: [u8; 4], most: usize) -> io::Result<usize> {
    let len = u32::from_be_bytes(number) as usize;
    match len <= most {
        true => Ok(len),
        false => Err(io::Error::other(format!("{len} bytes, at most {most}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_said_is_heard_and_too_much_is_not() {
        let mut pipe = Vec::new();
        write(&mut pipe, b"a page").unwrap();
        assert_eq!(hear(&pipe[..]).await.unwrap(), b"a page");
        assert_eq!(read(&pipe[..]).unwrap(), b"a page");
        assert!(hear(&pipe[..pipe.len() - 1]).await.is_err());
        assert!(write(Vec::new(), &vec![0; MAX_ASKED + 1]).is_err());
        let announced = u32::MAX.to_be_bytes();
        assert!(hear(&announced[..]).await.is_err() && read(&announced[..]).is_err());
        let mut told = Vec::new();
        tell(&mut told, b"").await.unwrap();
        assert_eq!(told, [0; 4]);
        assert!(tell(&mut told, &vec![0; MAX_TOLD + 1]).await.is_err());
    }
}
