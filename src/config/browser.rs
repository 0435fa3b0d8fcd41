//! What of a config a browser is to do: whether there is one, and whether it can.

use crate::report::{Kind, Path, Report};
use crate::transport::browser::{Naming, Settings, Takes, objections};
use crate::transport::{ClientCarrier, ws};

use super::Outbound;

impl Outbound {
    /// What it asks of the browser, if it goes through `browser`, and how servers are called there.
    pub fn by_browser(&self, browser: Option<Takes>) -> Option<(&ws::ClientSettings, Naming)> {
        match (&self.transport.carrier, browser) {
            (ClientCarrier::Browser(ws), _) => Some((ws, Naming::ByAddress)),
            (ClientCarrier::Ws(ws), Some(Takes::All)) => Some((ws, Naming::ByHost)),
            _ => None,
        }
    }

    /// Why a browser cannot carry it, in the first words that there are.
    pub fn unfit_for_browser(&self, browser: Option<Takes>) -> Option<String> {
        let (ws, naming) = self.by_browser(browser)?;
        if self.through.is_some() {
            return Some(NO_CHAIN.to_owned());
        }
        let servers = self.protocol.tunnel_servers();
        let found = objections(&self.transport, ws, naming, &servers);
        let error = found.into_iter().find(|objection| objection.is_error)?;
        Some(format!("{}: {}", error.at.join("."), error.text))
    }
}

/// Says what of an outbound a browser does not do; `goes_through` is the place of an outbound in between.
pub(crate) fn check(
    outbound: &Outbound,
    goes_through: Option<&Path>,
    browser: Option<&Settings>,
    report: &Report,
) {
    let Some((ws, naming)) = outbound.by_browser(browser.map(|browser| browser.takes)) else {
        return;
    };
    if browser.is_none() {
        let at = outbound
            .at
            .key("streamSettings")
            .key("wsSettings")
            .key("useBrowserForwarding");
        let text = "there is no page for a browser: `browserForwarder` is missing at the top, such as `{\"listenAddr\": \"127.0.0.1\", \"listenPort\": 8080}`";
        report.error_of(Kind::Dead, &at, text);
        return;
    }
    if let Some(at) = goes_through {
        report.error(at, NO_CHAIN);
    }
    let servers = outbound.protocol.tunnel_servers();
    for objection in objections(&outbound.transport, ws, naming, &servers) {
        let at = objection
            .at
            .iter()
            .fold((*outbound.at).clone(), |at, key| at.key(key));
        match objection.is_error {
            true => report.error(&at, objection.text),
            false => report.warn(&at, objection.text),
        }
    }
}

const NO_CHAIN: &str = "a browser connects by itself, and goes through no other outbound: take it out, or dial without the browser";

/// Whoever reaches the page can take the place of the browser.
pub(crate) fn warn_of_open_page(browser: &Settings, report: &Report) {
    let ip = browser.listen.ip();
    if !ip.to_canonical().is_loopback() {
        let text = format!(
            "whoever reaches {ip} may open the page, and has the tunnels go through a browser of theirs: expected 127.0.0.1"
        );
        report.warn(&browser.at, text);
    }
}
