//! The methods, by their names.

pub use crate::aead::Cipher;

/// How traffic is sealed: V2Ray's `method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Not at all.
    None,
    /// Of 2017: keys are made of a password, and a salt.
    Aead(Cipher),
    /// Of 2022 (SIP022): the password is a key, and everything has a time.
    Blake3(Cipher),
}

impl Method {
    /// The names that V2Ray writes, each with what it means. Case does not matter.
    pub const NAMES: [(&str, Self); 8] = [
        ("aes-128-gcm", Self::Aead(Cipher::Aes128Gcm)),
        ("aes-256-gcm", Self::Aead(Cipher::Aes256Gcm)),
        ("chacha20-poly1305", Self::Aead(Cipher::ChaCha20Poly1305)),
        (
            "chacha20-ietf-poly1305",
            Self::Aead(Cipher::ChaCha20Poly1305),
        ),
        ("2022-blake3-aes-128-gcm", Self::Blake3(Cipher::Aes128Gcm)),
        ("2022-blake3-aes-256-gcm", Self::Blake3(Cipher::Aes256Gcm)),
        (
            "2022-blake3-chacha20-poly1305",
            Self::Blake3(Cipher::ChaCha20Poly1305),
        ),
        ("none", Self::None),
    ];

    /// Other names for the same.
    const ALIASES: [(&str, Self); 4] = [
        ("aead_aes_128_gcm", Self::Aead(Cipher::Aes128Gcm)),
        ("aead_aes_256_gcm", Self::Aead(Cipher::Aes256Gcm)),
        (
            "aead_chacha20_poly1305",
            Self::Aead(Cipher::ChaCha20Poly1305),
        ),
        ("plain", Self::None),
    ];

    /// The name that V2Ray writes.
    pub fn name(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        let found = names.find(|(_, method)| *method == self);
        found.map_or("none", |(name, _)| name)
    }

    /// The method of this name.
    pub fn named(name: &str) -> Option<Self> {
        let all = Self::NAMES.iter().chain(&Self::ALIASES);
        let mut found = all.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, method)| *method)
    }
}
