//! What comes between the records of data: alerts, tickets, new keys, and wishes of TLS 1.2 to shake hands anew.

use tokio_rustls::rustls::client::ClientConnectionData;
use tokio_rustls::rustls::kernel::KernelConnection;
use tokio_rustls::rustls::server::ServerConnectionData;
use tokio_rustls::rustls::{
    AlertDescription, ConnectionTrafficSecrets, Error, HandshakeType, InvalidMessage,
    PeerMisbehaved, ProtocolVersion, SupportedCipherSuite,
};

/// What rustls keeps of a connection whose records are ours.
pub(super) enum Kernel {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

impl Kernel {
    pub(super) fn suite(&self) -> SupportedCipherSuite {
        match self {
            Self::Client(client) => client.negotiated_cipher_suite(),
            Self::Server(server) => server.negotiated_cipher_suite(),
        }
    }

    /// What is to be heard of the peer.
    pub(super) fn messages(&self) -> Messages {
        Messages::new(self.is_tls13(), matches!(self, Self::Client(_)))
    }

    /// Keeps a ticket for the next handshake.
    pub(super) fn keep(&mut self, ticket: &[u8]) -> Result<(), Error> {
        match self {
            Self::Client(client) => client.handle_new_session_ticket(ticket),
            Self::Server(_) => Err(unexpected()),
        }
    }

    pub(super) fn is_tls13(&self) -> bool {
        let version = match self {
            Self::Client(client) => client.protocol_version(),
            Self::Server(server) => server.protocol_version(),
        };
        version == ProtocolVersion::TLSv1_3
    }

    /// The next keys for what is sent.
    pub(super) fn next_to_send(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Client(client) => client.update_tx_secret(),
            Self::Server(server) => server.update_tx_secret(),
        }
    }

    /// The next keys for what is received.
    pub(super) fn next_to_receive(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Client(client) => client.update_rx_secret(),
            Self::Server(server) => server.update_rx_secret(),
        }
    }
}

/// What a message of the handshake asks for, behind the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// What is received comes with new keys; what is sent should, too, where the peer wants that.
    NewKeys { of_both: bool },
    /// Another handshake, which nobody gets.
    Renegotiation,
}

/// How much a peer may still ask for, and what it has begun to say.
pub(crate) struct Messages {
    is_tls13: bool,
    /// The peer is a server.
    of_server: bool,
    /// A message of which not all has come.
    begun: Vec<u8>,
    warnings: u8,
    renegotiations: u8,
    /// In a row, with no data between.
    new_keys: u8,
}

/// The same as rustls and BoringSSL.
const WARNINGS: u8 = 4;
const RENEGOTIATIONS: u8 = 1;
const NEW_KEYS: u8 = 32;

/// The longest message.
const MAX_MESSAGE: u32 = 0xffff;

impl Messages {
    /// Of a server or of a client, by TLS 1.3 or before.
    pub(crate) fn new(is_tls13: bool, of_server: bool) -> Self {
        Self {
            is_tls13,
            of_server,
            begun: Vec::new(),
            warnings: WARNINGS,
            renegotiations: RENEGOTIATIONS,
            new_keys: NEW_KEYS,
        }
    }

    /// Data came.
    pub(crate) fn data(&mut self) -> Result<(), Error> {
        self.new_keys = NEW_KEYS;
        self.is_whole()
    }

    /// Whether an alert is the peer's goodbye.
    pub(crate) fn alert(&mut self, alert: &[u8]) -> Result<bool, Error> {
        self.is_whole()?;
        let &[level, description] = alert else {
            return Err(InvalidMessage::MissingData("AlertMessagePayload").into());
        };
        let description = AlertDescription::from(description);
        match (level, description) {
            (_, AlertDescription::CloseNotify) => Ok(true),
            (WARNING, AlertDescription::UserCanceled) => self.warned(),
            (WARNING, _) if !self.is_tls13 => self.warned(),
            _ => Err(Error::AlertReceived(description)),
        }
    }

    fn warned(&mut self) -> Result<bool, Error> {
        let left = self.warnings.checked_sub(1);
        self.warnings = left.ok_or(PeerMisbehaved::TooManyWarningAlertsReceived)?;
        Ok(false)
    }

    /// Takes part of a message in; a ticket is given to `keep`.
    pub(crate) fn message(
        &mut self,
        part: &[u8],
        mut keep: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Option<Asked>, Error> {
        if part.is_empty() {
            return Err(InvalidMessage::InvalidEmptyPayload.into());
        }
        self.begun.extend_from_slice(part);
        if self.split(&self.begun)?.is_none() {
            return Ok(None);
        }
        let begun = std::mem::take(&mut self.begun);
        let mut rest = &begun[..];
        let mut asked = None;
        while let Some(Split { typ, body, behind }) = self.split(rest)? {
            if asked.is_some() && self.is_tls13 {
                // New keys begin with a record.
                return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
            }
            asked = self.whole(typ, body, &mut keep)?.or(asked);
            rest = behind;
        }
        if !rest.is_empty() && asked.is_some() && self.is_tls13 {
            return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
        }
        self.begun = rest.to_vec();
        Ok(asked)
    }

    fn whole(
        &mut self,
        typ: HandshakeType,
        body: &[u8],
        keep: &mut impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Option<Asked>, Error> {
        match typ {
            HandshakeType::KeyUpdate => {
                let left = self.new_keys.checked_sub(1);
                self.new_keys = left.ok_or(PeerMisbehaved::TooManyKeyUpdateRequests)?;
                let of_both = match body {
                    [0] => false,
                    [1] => true,
                    _ => return Err(InvalidMessage::InvalidKeyUpdate.into()),
                };
                Ok(Some(Asked::NewKeys { of_both }))
            }
            HandshakeType::NewSessionTicket => keep(body).map(|()| None),
            HandshakeType::HelloRequest | HandshakeType::ClientHello => {
                let left = self.renegotiations.checked_sub(1);
                self.renegotiations = left.ok_or(PeerMisbehaved::TooManyRenegotiationRequests)?;
                Ok(Some(Asked::Renegotiation))
            }
            _ => Err(unexpected()),
        }
    }

    /// The first message of `bytes`, once all of it is there. One that may not come is refused by what has come of it.
    fn split<'a>(&self, bytes: &'a [u8]) -> Result<Option<Split<'a>>, Error> {
        let Some((&typ, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        let typ = HandshakeType::from(typ);
        let may_come = match typ {
            HandshakeType::KeyUpdate => self.is_tls13,
            HandshakeType::NewSessionTicket => self.is_tls13 && self.of_server,
            HandshakeType::HelloRequest => !self.is_tls13 && self.of_server,
            HandshakeType::ClientHello => !self.is_tls13 && !self.of_server,
            _ => false,
        };
        if !may_come {
            return Err(unexpected());
        }
        let Some((&[high, middle, low], rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([0, high, middle, low]);
        if typ == HandshakeType::KeyUpdate && len != 1 {
            return Err(InvalidMessage::InvalidKeyUpdate.into());
        }
        if len > MAX_MESSAGE {
            return Err(InvalidMessage::HandshakePayloadTooLarge.into());
        }
        let whole = rest.split_at_checked(len as usize);
        Ok(whole.map(|(body, behind)| Split { typ, body, behind }))
    }

    /// Nothing may come within a message.
    fn is_whole(&self) -> Result<(), Error> {
        match self.begun.is_empty() {
            true => Ok(()),
            false => Err(unexpected()),
        }
    }
}

/// The level of an alert that ends nothing by itself.
pub(super) const WARNING: u8 = 1;

/// A message of the handshake, and what is behind it.
struct Split<'a> {
    typ: HandshakeType,
    body: &'a [u8],
    behind: &'a [u8],
}

pub(super) fn unexpected() -> Error {
    InvalidMessage::UnexpectedMessage("behind a handshake").into()
}

/// What a peer is told whose fault an error is; nothing when the peer has told it.
pub(super) fn alert_for(e: &Error) -> Option<AlertDescription> {
    match e {
        Error::AlertReceived(_) => None,
        Error::DecryptError => Some(AlertDescription::BadRecordMac),
        Error::PeerSentOversizedRecord => Some(AlertDescription::RecordOverflow),
        Error::InvalidMessage(InvalidMessage::MessageTooLarge) => {
            Some(AlertDescription::RecordOverflow)
        }
        Error::PeerMisbehaved(_)
        | Error::InvalidMessage(
            InvalidMessage::UnexpectedMessage(_) | InvalidMessage::InvalidContentType,
        ) => Some(AlertDescription::UnexpectedMessage),
        Error::InvalidMessage(InvalidMessage::InvalidKeyUpdate) => {
            Some(AlertDescription::IllegalParameter)
        }
        Error::InvalidMessage(_) => Some(AlertDescription::DecodeError),
        _ => Some(AlertDescription::InternalError),
    }
}
