//! As much of DER as it takes to find a key, in certificates that no library believes to be any.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]`, around the version of a certificate; version 1 is left out.
const VERSION: u8 = 0xa0;

/// Elements in a row: `tag 1 | length 1-5 | contents`.
pub(super) struct Elements<'a>(pub(super) &'a [u8]);

/// A public key: `SEQUENCE { algorithm SEQUENCE, key BIT STRING }`.
pub(super) struct PublicKey<'a> {
    /// The contents of `algorithm`: an object identifier and its parameters.
    pub(super) algorithm: &'a [u8],
    pub(super) key: &'a [u8],
}

impl<'a> Elements<'a> {
    /// The contents of the next element, if it has this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let [first, len, rest @ ..] = self.0 else {
            return None;
        };
        if *first != tag {
            return None;
        }
        let (len, rest) = match *len {
            short @ ..=0x7f => (usize::from(short), rest),
            long @ 0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
                let len = bytes
                    .iter()
                    .fold(0, |len, byte| len << 8 | usize::from(*byte));
                (len, rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(contents)
    }

    /// A number without its sign; those that we look for have none.
    pub(super) fn number(&mut self) -> Option<&'a [u8]> {
        let mut bytes = self.take(INTEGER)?;
        while let [0, rest @ ..] = bytes {
            bytes = rest;
        }
        Some(bytes)
    }
}

/// The contents of the one element that `der` begins with.
pub(super) fn contents(der: &[u8], tag: u8) -> Option<Elements<'_>> {
    Elements(der).take(tag).map(Elements)
}

/// The key of a certificate, whatever else is in it and behind it.
///
/// ```text
/// SEQUENCE { SEQUENCE { [0] version, serial, signature, issuer, validity, subject, key, … }, … }
/// ```
pub(super) fn certificate_key(certificate: &[u8]) -> Option<PublicKey<'_>> {
    let mut fields = contents(contents(certificate, SEQUENCE)?.0, SEQUENCE)?;
    let _ = fields.take(VERSION);
    fields.take(INTEGER)?;
    for _ in 0..4 {
        fields.take(SEQUENCE)?;
    }
    fields.take(SEQUENCE).and_then(key_fields)
}

/// A public key that stands alone.
pub(super) fn public_key(der: &[u8]) -> Option<PublicKey<'_>> {
    Elements(der).take(SEQUENCE).and_then(key_fields)
}

fn key_fields(der: &[u8]) -> Option<PublicKey<'_>> {
    let mut fields = Elements(der);
    let algorithm = fields.take(SEQUENCE)?;
    match fields.take(BIT_STRING)? {
        // How many bits of the last byte are none: a key is whole bytes.
        [0, key @ ..] => Some(PublicKey { algorithm, key }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_certificate_is_what_its_maker_says() {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let mut der = made.cert.der().to_vec();
        let expected = made.signing_key.public_key_raw().to_vec();
        assert_eq!(certificate_key(&der).unwrap().key, expected);
        der.extend_from_slice(b"and more");
        assert_eq!(certificate_key(&der).unwrap().key, expected);
    }

    #[test]
    fn no_bytes_make_it_fall_over() {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let der = made.cert.der().to_vec();
        for n in 0..der.len() {
            let _ = certificate_key(&der[..n]);
            for byte in [0, 0x7f, 0x80, 0x81, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[n] = byte;
                let _ = certificate_key(&changed);
            }
        }
        assert!(
            Elements(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff])
                .take(SEQUENCE)
                .is_none()
        );
    }
}
