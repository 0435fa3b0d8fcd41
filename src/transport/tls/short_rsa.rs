//! RSA with keys of less than 2048 bits, which aws-lc-rs has nothing for (RFC 8017).
//!
//! Nobody should have such a key any more, and some still do: V2Ray serves their certificates, and takes them with
//! `allowInsecure`. The arithmetic is crypto-bigint's, in constant time where a private key is in it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::sign::{Signer, SigningKey};
use tokio_rustls::rustls::{Error, SignatureAlgorithm, SignatureScheme};

use super::der::{self, Elements, OCTET_STRING, SEQUENCE};

/// What longer keys are left to aws-lc-rs from.
const LONG: u32 = 2048;

/// A public exponent of more is nobody's, and would cost time.
const MAX_EXPONENT_BITS: u32 = 64;

struct Modulus {
    params: BoxedMontyParams,
    bits: u32,
}

/// A public key.
pub(super) struct PublicKey {
    modulus: Modulus,
    exponent: BoxedUint,
}

/// A private key.
pub(super) struct PrivateKey {
    modulus: Modulus,
    exponent: BoxedUint,
}

/// A signature's hash, and how it fills the modulus.
#[derive(Clone, Copy)]
struct Padding {
    hash: Hash,
    is_pss: bool,
}

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// What a server signs with, the best first.
const SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
];

impl PublicKey {
    /// From `SEQUENCE { modulus, exponent }`, unless the key is a long one.
    pub(super) fn short(der: &[u8]) -> Option<Self> {
        let mut numbers = der::contents(der, SEQUENCE)?;
        let modulus = Modulus::short(numbers.number()?)?;
        let exponent = BoxedUint::from_be_slice_vartime(numbers.number()?);
        (exponent.bit_width_vartime() <= MAX_EXPONENT_BITS).then_some(Self { modulus, exponent })
    }

    pub(super) fn verifies(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let Some(padding) = Padding::of(scheme) else {
            return false;
        };
        let hash = padding.hash.of(message);
        let Some(block) = self.modulus.power(signature, &self.exponent) else {
            return false;
        };
        match padding.is_pss {
            true => padding.opens_pss(&block, self.modulus.bits, &hash),
            false => padding
                .pkcs1(self.modulus.len(), &hash)
                .is_some_and(|own| own == block),
        }
    }
}

impl PrivateKey {
    /// From a PEM file's key, unless it is no RSA key or a long one.
    pub(super) fn short(key: &PrivateKeyDer) -> Option<Self> {
        let mut numbers = match key {
            PrivateKeyDer::Pkcs1(key) => der::contents(key.secret_pkcs1_der(), SEQUENCE)?,
            PrivateKeyDer::Pkcs8(key) => {
                let mut fields = der::contents(key.secret_pkcs8_der(), SEQUENCE)?;
                fields.number()?;
                let algorithm = fields.take(SEQUENCE)?;
                if !is_rsa(algorithm) {
                    return None;
                }
                der::contents(fields.take(OCTET_STRING)?, SEQUENCE)?
            }
            _ => return None,
        };
        let _version = numbers.number()?;
        let modulus = Modulus::short(numbers.number()?)?;
        let _public = numbers.number()?;
        let bits = modulus.params.bits_precision();
        let exponent = BoxedUint::from_be_slice(numbers.number()?, bits).ok()?;
        Some(Self { modulus, exponent })
    }

    /// Whether this is the other half of a public key.
    pub(super) fn belongs_to(&self, public_key: &[u8]) -> bool {
        PublicKey::short(public_key)
            .is_some_and(|public| public.modulus.params.modulus() == self.modulus.params.modulus())
    }
}

impl Modulus {
    fn short(bytes: &[u8]) -> Option<Self> {
        let number = BoxedUint::from_be_slice_vartime(bytes);
        let bits = number.bit_width_vartime();
        let modulus = Odd::new(number).into_option()?;
        (bits > 64 && bits < LONG).then(|| Self {
            params: BoxedMontyParams::new(modulus),
            bits,
        })
    }

    fn len(&self) -> usize {
        self.bits.div_ceil(8) as usize
    }

    /// `base` to the power of `exponent`, as many bytes as the modulus has.
    fn power(&self, base: &[u8], exponent: &BoxedUint) -> Option<Vec<u8>> {
        let modulus: &BoxedUint = self.params.modulus();
        let base = BoxedUint::from_be_slice(base, self.params.bits_precision()).ok()?;
        if base >= *modulus {
            return None;
        }
        let power = BoxedMontyForm::new(base, &self.params)
            .pow(exponent)
            .retrieve();
        let bytes = power.to_be_bytes();
        bytes
            .get(bytes.len().checked_sub(self.len())?..)
            .map(<[u8]>::to_vec)
    }
}

impl Padding {
    fn of(scheme: SignatureScheme) -> Option<Self> {
        let (hash, is_pss) = match scheme {
            SignatureScheme::RSA_PSS_SHA256 => (Hash::Sha256, true),
            SignatureScheme::RSA_PSS_SHA384 => (Hash::Sha384, true),
            SignatureScheme::RSA_PSS_SHA512 => (Hash::Sha512, true),
            SignatureScheme::RSA_PKCS1_SHA256 => (Hash::Sha256, false),
            SignatureScheme::RSA_PKCS1_SHA384 => (Hash::Sha384, false),
            SignatureScheme::RSA_PKCS1_SHA512 => (Hash::Sha512, false),
            _ => return None,
        };
        Some(Self { hash, is_pss })
    }

    /// Whether a modulus of `bits` has room for it.
    fn fits(self, bits: u32) -> bool {
        let hash = self.hash.len();
        match self.is_pss {
            true => ((bits - 1).div_ceil(8) as usize) >= 2 * hash + 2,
            false => (bits.div_ceil(8) as usize) >= self.hash.info().len() + hash + 11,
        }
    }

    /// `00 01 ff … ff 00 | what hash | hash`
    fn pkcs1(self, len: usize, hash: &[u8]) -> Option<Vec<u8>> {
        let info = self.hash.info();
        let filling = len.checked_sub(3 + info.len() + hash.len())?;
        if filling < 8 {
            return None;
        }
        let mut block = vec![0, 1];
        block.resize(2 + filling, 0xff);
        block.push(0);
        block.extend_from_slice(info);
        block.extend_from_slice(hash);
        Some(block)
    }

    /// `masked (00 … 00 01 | salt) | hash of (00 × 8 | hash | salt) | bc`
    fn pss(self, bits: u32, hash: &[u8], salt: &[u8]) -> Option<Vec<u8>> {
        let len = (bits - 1).div_ceil(8) as usize;
        let sealed = self.hash.of(&[&[0; 8], hash, salt].concat());
        let mut masked = vec![0; len.checked_sub(salt.len() + sealed.len() + 2)?];
        masked.push(1);
        masked.extend_from_slice(salt);
        self.mask(&mut masked, &sealed);
        masked[0] &= top_bits(bits);
        let mut block = masked;
        block.extend_from_slice(&sealed);
        block.push(0xbc);
        // A modulus of 8n + 1 bits has a byte more than the block.
        let mut whole = vec![0; bits.div_ceil(8) as usize - len];
        whole.append(&mut block);
        Some(whole)
    }

    fn opens_pss(self, block: &[u8], bits: u32, hash: &[u8]) -> bool {
        let len = (bits - 1).div_ceil(8) as usize;
        let (zeros, block) = block.split_at(block.len() - len);
        let [masked @ .., 0xbc] = block else {
            return false;
        };
        let Some(at) = masked.len().checked_sub(self.hash.len()) else {
            return false;
        };
        let (masked, sealed) = masked.split_at(at);
        let mut plain = masked.to_vec();
        let Some(first) = plain.first_mut() else {
            return false;
        };
        if *first & !top_bits(bits) != 0 || zeros.iter().any(|zero| *zero != 0) {
            return false;
        }
        self.mask(&mut plain, sealed);
        plain[0] &= top_bits(bits);
        // TLS has salts as long as the hash.
        let Some(at) = plain.len().checked_sub(self.hash.len() + 1) else {
            return false;
        };
        let (zeros, salt) = plain.split_at(at);
        let [1, salt @ ..] = salt else { return false };
        let expected = self.hash.of(&[&[0; 8], hash, salt].concat());
        zeros.iter().all(|zero| *zero == 0) && verify_slices_are_equal(&expected, sealed).is_ok()
    }

    /// MGF1.
    fn mask(self, bytes: &mut [u8], seed: &[u8]) {
        for (counter, piece) in (0u32..).zip(bytes.chunks_mut(self.hash.len())) {
            let mask = self.hash.of(&[seed, &counter.to_be_bytes()].concat());
            piece
                .iter_mut()
                .zip(mask)
                .for_each(|(byte, mask)| *byte ^= mask);
        }
    }
}

/// The bits of a block's first byte that a modulus of `bits` leaves.
fn top_bits(bits: u32) -> u8 {
    let unused = (8 - (bits - 1) % 8) % 8;
    0xff >> unused
}

impl Hash {
    fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }

    const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// RFC 8017, 9.2, note 1.
    const fn info(self) -> &'static [u8] {
        match self {
            Self::Sha256 => {
                b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
            }
            Self::Sha384 => {
                b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30"
            }
            Self::Sha512 => {
                b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"
            }
        }
    }
}

/// Whether an algorithm is `rsaEncryption`; its parameters are a NULL that some leave out.
pub(super) fn is_rsa(algorithm: &[u8]) -> bool {
    const OBJECT_IDENTIFIER: u8 = 0x06;
    const RSA_ENCRYPTION: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
    Elements(algorithm).take(OBJECT_IDENTIFIER) == Some(RSA_ENCRYPTION)
}

/// A private key in rustls' hands.
#[derive(Clone)]
pub(super) struct Signing(pub(super) Arc<PrivateKey>);

impl SigningKey for Signing {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let fits = |scheme: &SignatureScheme| {
            Padding::of(*scheme).is_some_and(|padding| padding.fits(self.0.modulus.bits))
        };
        let mut schemes = SCHEMES
            .into_iter()
            .filter(|scheme| offered.contains(scheme));
        let scheme = schemes.find(fits)?;
        let key = self.clone();
        Some(Box::new(With { key, scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signing(<redacted>)")
    }
}

#[derive(Debug)]
struct With {
    key: Signing,
    scheme: SignatureScheme,
}

impl Signer for With {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let fail = || Error::General("the key is too short to sign with".to_owned());
        let padding = Padding::of(self.scheme).ok_or_else(fail)?;
        let (modulus, hash) = (&self.key.0.modulus, padding.hash.of(message));
        let block = match padding.is_pss {
            true => {
                let mut salt = vec![0; padding.hash.len()];
                getrandom::fill(&mut salt)
                    .map_err(|e| Error::General(format!("no random numbers: {e}")))?;
                padding.pss(modulus.bits, &hash, &salt)
            }
            false => padding.pkcs1(modulus.len(), &hash),
        };
        let power = modulus.power(&block.ok_or_else(fail)?, &self.key.0.exponent);
        power.ok_or_else(fail)
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
