//! The request of a client: a browser's, as [`request`](crate::http::request) has it, with what a WebSocket wants.

use http::header::{
    HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION,
};

use super::outbound::Client;
use super::{EarlyDataIn, deflate};
use crate::address::Destination;
use crate::cause::UpgradeError;
use crate::http::early_data;
use crate::http::request::{host_of, of_chrome, value_of};

impl Client {
    /// What the settings say, else the server's address.
    pub(super) fn host_header(&self, server: &Destination, tls: bool) -> HeaderValue {
        let own = self.settings.host.clone();
        own.unwrap_or_else(|| host_of(server, tls))
    }

    /// The request, with early data in it.
    pub(super) fn request(&self, headers: &HeaderMap, early: &[u8]) -> Vec<u8> {
        match self.early_header() {
            None if !early.is_empty() => self.target.get(&early_data::encode(early), headers),
            _ => self.target.get("", headers),
        }
    }

    /// What Chrome sends; the user's headers replace those of the same name.
    pub(super) fn headers(
        &self,
        host: HeaderValue,
        tls: bool,
        key: &str,
        early: &[u8],
    ) -> Result<HeaderMap, UpgradeError> {
        let mut headers = of_chrome(host, tls)?;
        let more = [
            (SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            (SEC_WEBSOCKET_KEY, value_of(key.as_bytes())?),
            (
                SEC_WEBSOCKET_EXTENSIONS,
                HeaderValue::from_static(deflate::OFFER),
            ),
        ];
        for (name, value) in more {
            headers.insert(name, value);
        }
        for (name, value) in &self.settings.headers {
            headers.insert(name, value.clone());
        }
        if let Some(name) = self.early_header()
            && !early.is_empty()
        {
            headers.insert(name, value_of(early_data::encode(early).as_bytes())?);
        }
        Ok(headers)
    }

    /// The header that early data travels in; without one it follows the path.
    fn early_header(&self) -> Option<&HeaderName> {
        match self
            .settings
            .early_data
            .as_ref()
            .map(|early| &early.carried_in)
        {
            Some(EarlyDataIn::Header(name)) => Some(name),
            _ => None,
        }
    }
}
