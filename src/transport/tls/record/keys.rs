//! What seals and opens the records of one direction.

use tokio_rustls::rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    OutboundChunks, OutboundPlainMessage,
};
use tokio_rustls::rustls::{
    ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, SupportedCipherSuite,
};

/// Seals what is sent.
pub(super) struct Sealer {
    cipher: Box<dyn MessageEncrypter>,
    /// The number of the next record.
    next: u64,
    /// How many records these keys may seal.
    limit: u64,
}

impl Sealer {
    /// Keys of `suite`, and the number of the record that comes next.
    pub(super) fn new(
        suite: SupportedCipherSuite,
        (next, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        let (key, iv) = parts(secrets)?;
        let (cipher, common) = match suite {
            SupportedCipherSuite::Tls13(suite) => {
                (suite.aead_alg.encrypter(key, iv), &suite.common)
            }
            SupportedCipherSuite::Tls12(suite) => {
                let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
                let (fixed, explicit) = iv.as_ref().split_at(fixed);
                let cipher = suite.aead_alg.encrypter(key, fixed, explicit);
                (cipher, &suite.common)
            }
        };
        let mut sealer = Self {
            cipher,
            next: 0,
            limit: common.confidentiality_limit,
        };
        if next > 0 {
            // aws-lc sees to it that no number comes twice, and takes the first one for 0. What is sealed by that here goes nowhere.
            sealer.seal(ContentType::ApplicationData, OutboundChunks::new_empty())?;
            sealer.next = next;
        }
        Ok(sealer)
    }

    /// How many more records may be sealed.
    pub(super) fn left(&self) -> u64 {
        self.limit.saturating_sub(self.next)
    }

    /// A record.
    pub(super) fn seal(
        &mut self,
        typ: ContentType,
        text: OutboundChunks<'_>,
    ) -> Result<Vec<u8>, Error> {
        let plain = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: text,
        };
        let sealed = self.cipher.encrypt(plain, self.next)?;
        self.next += 1;
        Ok(sealed.encode())
    }

    /// As if all but two of the records had been sealed.
    #[cfg(test)]
    pub(super) fn wear_out(&mut self) {
        self.limit = self.next + 2;
    }
}

/// Opens what is received.
pub(super) struct Opener {
    cipher: Box<dyn MessageDecrypter>,
    /// The number of the next record.
    next: u64,
}

impl Opener {
    /// Keys of `suite`, and the number of the record that comes next.
    pub(super) fn new(
        suite: SupportedCipherSuite,
        (next, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        let (key, iv) = parts(secrets)?;
        let cipher = match suite {
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
            SupportedCipherSuite::Tls12(suite) => {
                let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
                suite.aead_alg.decrypter(key, &iv.as_ref()[..fixed])
            }
        };
        Ok(Self { cipher, next })
    }

    /// Opens a record where it lies.
    pub(super) fn open<'a>(
        &mut self,
        typ: ContentType,
        version: ProtocolVersion,
        sealed: &'a mut [u8],
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let sealed = InboundOpaqueMessage::new(typ, version, sealed);
        let plain = self.cipher.decrypt(sealed, self.next)?;
        self.next += 1;
        Ok(plain)
    }
}

fn parts(secrets: ConnectionTrafficSecrets) -> Result<(AeadKey, Iv), Error> {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => Ok((key, iv)),
        _ => Err(Error::General("a cipher that is not known here".to_owned())),
    }
}
