//! P-521 for the exchange of keys, which rustls leaves out.
//!
//! Before TLS 1.3 a client that does not name a curve here gets no certificate with a key on it (RFC 8422, 5.1). So
//! whoever takes any certificate names this one too.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::agreement::{
    ECDH_P521, EphemeralPrivateKey, PublicKey, UnparsedPublicKey, agree_ephemeral,
};
use aws_lc_rs::rand::SystemRandom;
use tokio_rustls::rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SharedSecret, SupportedKxGroup,
};
use tokio_rustls::rustls::{Error, NamedGroup, PeerMisbehaved};

use super::PROVIDER;

/// [`PROVIDER`] with this curve behind the others.
pub(super) static PROVIDER_WITH_P521: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = (**PROVIDER).clone();
    provider.kx_groups.push(&P521);
    Arc::new(provider)
});

#[derive(Debug)]
struct P521;

struct Exchange {
    own: EphemeralPrivateKey,
    public: PublicKey,
}

impl SupportedKxGroup for P521 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let own = EphemeralPrivateKey::generate(&ECDH_P521, &SystemRandom::new());
        let own = own.map_err(|_| GetRandomFailed)?;
        let public = own.compute_public_key().map_err(|_| GetRandomFailed)?;
        Ok(Box::new(Exchange { own, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let wrong = || Error::from(PeerMisbehaved::InvalidKeyShare);
        // aws-lc-rs reads compressed points too, which TLS has not.
        if peer.first() != Some(&0x04) {
            return Err(wrong());
        }
        let peer = UnparsedPublicKey::new(&ECDH_P521, peer);
        agree_ephemeral(self.own, peer, wrong(), |secret| {
            Ok(SharedSecret::from(secret))
        })
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp521r1
    }
}
