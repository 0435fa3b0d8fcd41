//! The cipher suites, in the order of our preference.

use tokio_rustls::rustls::SupportedCipherSuite;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, ring};

use crate::aead::{Library, has_aes};

/// All that rustls takes for safe, in the order of today's browsers: AES-128 is cheaper than AES-256 and no less safe here. A CPU without
/// instructions for AES has ChaCha20 in front.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if Library::of_aes() == Library::Ring {
        provider.cipher_suites = ring::ALL_CIPHER_SUITES.to_vec();
    }
    order(&mut provider.cipher_suites, has_aes());
    provider
}

fn order(suites: &mut [SupportedCipherSuite], has_aes: bool) {
    suites.sort_by_key(|suite| {
        let name = format!("{:?}", suite.suite());
        let rank = match has_aes {
            true => ["AES_128", "AES_256", "CHACHA20"],
            false => ["CHACHA20", "AES_128", "AES_256"],
        };
        let rank = rank.iter().position(|cipher| name.contains(cipher));
        (suite.tls13().is_none(), rank)
    });
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::CipherSuite::{self, *};

    use super::{aws_lc_rs, order, ring};

    fn ordered(has_aes: bool) -> Vec<CipherSuite> {
        let mut suites = aws_lc_rs::ALL_CIPHER_SUITES.to_vec();
        order(&mut suites, has_aes);
        suites.iter().map(|suite| suite.suite()).collect()
    }

    #[test]
    fn order_of_browsers() {
        let expected = [
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ];
        assert_eq!(ordered(true), expected);
    }

    #[test]
    fn without_aes_in_hardware() {
        assert_eq!(ordered(false)[0], TLS13_CHACHA20_POLY1305_SHA256);
    }

    #[test]
    fn either_library_has_the_same() {
        let mut of_ring = ring::ALL_CIPHER_SUITES.to_vec();
        order(&mut of_ring, true);
        let of_ring: Vec<_> = of_ring.iter().map(|suite| suite.suite()).collect();
        assert_eq!(of_ring, ordered(true));
    }
}
