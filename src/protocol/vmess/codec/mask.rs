//! Where chunk sizes and padding lengths get their noise: a SHAKE128 stream seeded with the IV of the
//! direction, read as big-endian 16-bit numbers.

use shake::{ExtendableOutput, Shake128, Shake128Reader, Update, XofReader};

pub struct Mask(Shake128Reader);

impl Mask {
    pub fn new(iv: &[u8; 16]) -> Self {
        let mut shake = Shake128::default();
        shake.update(iv);
        Self(shake.finalize_xof())
    }

    pub fn draw(&mut self) -> u16 {
        let mut bytes = [0; 2];
        self.0.read(&mut bytes);
        u16::from_be_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn first_numbers_of_the_reference() {
        let mut mask = Mask::new(&hex!("101112131415161718191a1b1c1d1e1f"));
        let drawn: Vec<u16> = (0..8).map(|_| mask.draw()).collect();
        assert_eq!(
            drawn,
            [
                0xfc91, 0x8e43, 0xecc4, 0xb6ae, 0xa436, 0xa3be, 0x5598, 0x4a75
            ]
        );
    }
}
