//! Protocols without users that have ids.

use super::accounts;
use crate::address::Destination;
use crate::dialect::messages::at::At;
use crate::dialect::messages::{host, port};
use crate::dns::Strategy;
use crate::protocol::{dokodemo, freedom, socks};
use crate::wire::proxy;

pub(super) fn dokodemo(
    config: &proxy::dokodemo::Config,
    at: &At,
) -> Option<dokodemo::InboundSettings> {
    let old = config.network_list.as_ref().map(|list| &list.network);
    let networks = match config.networks.is_empty() {
        true => old.unwrap_or(&config.networks),
        false => &config.networks,
    };
    let (tcp, udp) = super::networks(networks);
    let to = match &config.address {
        Some(address) => {
            let host = host(address, &at.key("address"));
            let port = port(config.port, &at.key("port"));
            Some(Destination::new(host?, port?))
        }
        None if config.follow_redirect => None,
        None => return at.key("address").error("it is missing"),
    };
    Some(dokodemo::InboundSettings {
        to,
        follow_redirect: config.follow_redirect,
        // V2Ray's default.
        tcp: tcp || !udp,
        udp,
        level: config.user_level,
        ..dokodemo::InboundSettings::default()
    })
}

pub(super) fn socks(
    config: &proxy::socks::ServerConfig,
    at: &At,
) -> Option<socks::InboundSettings> {
    let asks = config.auth_type() == proxy::socks::AuthType::Password;
    if asks && config.accounts.is_empty() {
        let text = "`password` without accounts lets nobody in";
        return at.key("auth_type").error(text);
    }
    let udp_ip = match &config.address {
        Some(address) => Some(host(address, &at.key("address"))?),
        None => None,
    };
    Some(socks::InboundSettings {
        accounts: asks.then(|| accounts(&config.accounts)),
        level: config.user_level,
        udp: config.udp_enabled,
        udp_ip,
        ..socks::InboundSettings::default()
    })
}

pub(super) fn freedom(
    config: &proxy::freedom::Config,
    at: &At,
) -> Option<freedom::OutboundSettings> {
    use proxy::freedom::config::DomainStrategy;
    let target = config.destination_override.as_ref();
    let target = target.and_then(|target| target.server.as_ref());
    let mut redirect = freedom::Redirect::default();
    if let Some(target) = target {
        let at = at.key("destination_override");
        if let Some(address) = &target.address {
            redirect.host = Some(host(address, &at.key("address"))?);
        }
        let port = port(target.port, &at.key("port"))?;
        redirect = freedom::Redirect::of(redirect.host, port);
    }
    Some(freedom::OutboundSettings {
        strategy: match config.domain_strategy() {
            DomainStrategy::AsIs => Strategy::AsIs,
            DomainStrategy::UseIp => Strategy::UseIp,
            DomainStrategy::UseIp4 => Strategy::UseIpv4,
            DomainStrategy::UseIp6 => Strategy::UseIpv6,
        },
        redirect,
        level: config.user_level,
        ..freedom::OutboundSettings::default()
    })
}
