//! VMess' key derivation: HMACs nested in each other, each the hash function of the next.
//!
//! ```text
//! H0(m) = HMAC-SHA256(key = "VMess AEAD KDF", m)
//! Hi(m) = HMAC with H(i-1) as its hash, keyed with the i-th label
//! KDF(key, p1 .. pn) = Hn(key)
//! ```
//!
//! This is not HMAC applied to the outcome of HMAC. An HMAC (RFC 2104) runs its hash twice, the second time
//! over what the first gave; so `Hn` is a chain of 2^(n+1) runs of SHA-256. Each begins with blocks that
//! labels make, and what these leave behind is kept in a [`Chain`], that of fixed labels for good.

use std::slice;
use std::sync::LazyLock;

use sha2::block_api::compress256;

pub static AUTH_ID: Label = Label(LazyLock::new(|| fixed("AES Auth ID Encryption")));
pub static AUTH_LEN: Label = Label(LazyLock::new(|| fixed("auth_len")));
pub static HEADER: Pair = Pair(LazyLock::new(|| {
    ["VMess Header AEAD Key", "VMess Header AEAD Nonce"].map(fixed)
}));
pub static LENGTH: Pair = Pair(LazyLock::new(|| {
    [
        "VMess Header AEAD Key_Length",
        "VMess Header AEAD Nonce_Length",
    ]
    .map(fixed)
}));
pub static RESPONSE: Pair = Pair(LazyLock::new(|| {
    ["AEAD Resp Header Key", "AEAD Resp Header IV"].map(fixed)
}));
pub static RESPONSE_LENGTH: Pair = Pair(LazyLock::new(|| {
    ["AEAD Resp Header Len Key", "AEAD Resp Header Len IV"].map(fixed)
}));

/// A derivation whose first label is fixed.
pub struct Label(LazyLock<Chain<4>>);

impl Label {
    /// The first 16 bytes of `KDF(key, label)`.
    pub fn derive(&self, key: &[u8; 16]) -> [u8; 16] {
        let [out] = Chain::run([&*self.0], [key]);
        front(&out)
    }
}

/// A key and a nonce, by a label each.
pub struct Pair(LazyLock<[Chain<4>; 2]>);

impl Pair {
    /// The fronts of `KDF(key, first label)` and `KDF(iv, second label)`.
    pub fn derive(&self, key: &[u8; 16], iv: &[u8; 16]) -> ([u8; 16], [u8; 12]) {
        let [first, second] = &*self.0;
        let [key, nonce] = Chain::run([first, second], [key, iv]);
        (front(&key), front(&nonce))
    }

    /// The fronts of `KDF(key, label, auth_id, nonce)` for both labels.
    pub fn derive_for(
        &self,
        key: &[u8; 16],
        auth_id: &[u8; 16],
        nonce: &[u8; 8],
    ) -> ([u8; 16], [u8; 12]) {
        let chain = |label: &Chain<4>| label.keyed::<8>(auth_id).keyed::<16>(nonce);
        let [first, second] = &*self.0;
        let [key, nonce] = Chain::run([&chain(first), &chain(second)], [key, key]);
        (front(&key), front(&nonce))
    }
}

fn front<const N: usize>(out: &[u8; 32]) -> [u8; N] {
    std::array::from_fn(|i| out[i])
}

/// `H1` with this label.
fn fixed(label: &str) -> Chain<4> {
    Chain::SHA256
        .keyed::<2>(b"VMess AEAD KDF")
        .keyed::<4>(label.as_bytes())
}

/// What runs of SHA-256 have absorbed so far. The first one goes on with the message, each other with what
/// the one before it gives.
struct Chain<const RUNS: usize>([[u32; 8]; RUNS]);

const BLOCK: usize = 64;

/// What is left of a block for the end of a message, beside the padding.
const LAST: usize = BLOCK - 9;

impl Chain<1> {
    /// FIPS 180-4, section 5.3.3.
    const SHA256: Self = Self([[
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
        0x5be0cd19,
    ]]);
}

impl<const RUNS: usize> Chain<RUNS> {
    /// HMAC with this hash. A label is no longer than a block.
    fn keyed<const TWICE: usize>(&self, label: &[u8]) -> Chain<TWICE> {
        const { assert!(TWICE == 2 * RUNS) };
        let mut key = [0; BLOCK];
        key[..label.len()].copy_from_slice(label);
        let mut runs = [[0; 8]; TWICE];
        for (half, pad) in runs.chunks_exact_mut(RUNS).zip([0x36, 0x5c]) {
            half.copy_from_slice(&self.0);
            // The key goes in front of what is hashed, and that goes to the first run.
            compress256(&mut half[0], &[key.map(|byte| byte ^ pad)]);
        }
        Chain(runs)
    }

    /// What each chain gives for its message of at most [`LAST`] bytes. They run side by side: each step waits
    /// for the one before it, but not for the other chain's.
    fn run<const N: usize>(chains: [&Self; N], messages: [&[u8]; N]) -> [[u8; 32]; N] {
        let mut outs = [[0; 32]; N];
        let mut blocks = messages.map(|message| last_block(message, Self::absorbed(0)));
        for run in 0..RUNS {
            for ((chain, block), out) in chains.iter().zip(&mut blocks).zip(&mut outs) {
                let mut state = chain.0[run];
                compress256(&mut state, slice::from_ref(block));
                for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
                    bytes.copy_from_slice(&word.to_be_bytes());
                }
                // Made here and not before it is hashed: there the chains waited for each other.
                *block = last_block(out, Self::absorbed(run + 1));
            }
        }
        outs
    }

    /// The blocks that a run begins with: one for each hash that it is the first run of, SHA-256 aside.
    fn absorbed(run: usize) -> u32 {
        match run % RUNS {
            0 => RUNS.ilog2(),
            run => 1 + run.trailing_zeros(),
        }
    }
}

/// The end of a message, behind so many blocks (FIPS 180-4, section 5.1.1).
fn last_block(end: &[u8], behind: u32) -> [u8; BLOCK] {
    assert!(end.len() <= LAST);
    let mut block = [0; BLOCK];
    block[..end.len()].copy_from_slice(end);
    block[end.len()] = 0x80;
    let bits = 8 * (u64::from(behind) * BLOCK as u64 + end.len() as u64);
    block[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// The constants come from the reference vectors; the last is V2Ray's own unit test.
    #[test]
    fn derivations_of_the_reference() {
        let base = Chain::SHA256.keyed::<2>(b"VMess AEAD KDF");
        assert_eq!(
            Chain::run([&base, &base], [b"", b"test"]),
            [
                hex!("515f37c9eaa2812ab48bfb4d3d6799a480e3d0a5872db4775328cf3a1b839b10"),
                hex!("b98927cc16a3d76b3614f59a2c10f9b54c478ac8173751359e1afba8cd754f40"),
            ]
        );
        let cmd_key = hex!("b50d916ac0cec067981af8e5f38a758f");
        assert_eq!(
            AUTH_ID.derive(&cmd_key),
            hex!("1415ba74ca8b3d041a8f583fb4116315")
        );
        let auth_id = hex!("4774fe5cc901ea4f81f2159909767a36");
        let (key, _) = LENGTH.derive_for(&cmd_key, &auth_id, &hex!("0001020304050607"));
        assert_eq!(key, hex!("ba1895c9f68aa1427d19bcb3317e5603"));
        let three = fixed("Demo Path for KDF Value Test")
            .keyed::<8>(b"Demo Path for KDF Value Test2")
            .keyed::<16>(b"Demo Path for KDF Value Test3");
        assert_eq!(
            Chain::run([&three], [b"Demo Key for KDF Value Test"]),
            [hex!(
                "53e9d7e1bd7bd25022b71ead07d8a596efc8a845c7888652fd684b4903dc8892"
            )]
        );
    }

    #[test]
    fn a_chain_of_one_run_is_sha_256() {
        use sha2::{Digest, Sha256};
        for len in 0..=LAST {
            let message = vec![b'm'; len];
            let expected: [u8; 32] = Sha256::digest(&message).into();
            assert_eq!(Chain::run([&Chain::SHA256], [&message]), [expected]);
        }
    }
}
