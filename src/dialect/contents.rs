//! What stands in a file or comes by standard input, with an end to it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most that is read: a config has a line for each of a million users.
const MOST: u64 = 256 << 20;

/// All of a file.
///
/// # Errors
///
/// Those of the system, and of what has no end, as a device may have none.
pub fn of_file(path: &Path) -> io::Result<Vec<u8>> {
    File::open(path).and_then(all)
}

/// All that comes by standard input.
///
/// # Errors
///
/// As those of a file.
pub fn of_stdin() -> io::Result<Vec<u8>> {
    all(io::stdin().lock())
}

fn all(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MOST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MOST {
        true => Err(io::Error::other(format!(
            "it has more than {} MiB",
            MOST >> 20
        ))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_no_file_to_read() {
        assert_eq!(all(&b"{}"[..]).unwrap(), b"{}");
        let endless = of_file(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(endless.to_string(), "it has more than 256 MiB");
    }
}
