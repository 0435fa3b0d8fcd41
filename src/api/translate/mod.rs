//! An inbound or outbound off the wire as it would stand in a config file, so that the readers of
//! files, with all their checks, read it.

mod protocols;
mod transport;

use serde_json::{Map, Value, json};
use tonic::Status;

use super::routing::address;
use super::typed::{self, unknown};
use super::wire::app::proxyman::{ReceiverConfig, SenderConfig};
use super::wire::common::net::{IpOrDomain, ip_or_domain::Address};
use super::wire::common::serial::TypedMessage;
use super::wire::{InboundHandlerConfig, OutboundHandlerConfig};

pub(super) use protocols::user;

/// As `inbounds[]` has it.
pub(super) fn inbound(config: &InboundHandlerConfig) -> Result<Value, Status> {
    let mut value = Map::new();
    value.insert("tag".to_owned(), config.tag.clone().into());
    if let Some(receiver) = &config.receiver_settings {
        expect(receiver, "app.proxyman.ReceiverConfig")?;
        let receiver: ReceiverConfig = typed::open(receiver)?;
        if let Some(range) = receiver.port_range {
            let port = format!("{}-{}", range.from, range.to);
            value.insert("port".to_owned(), port.into());
        }
        if let Some(listen) = &receiver.listen {
            value.insert("listen".to_owned(), host(listen)?.into());
        }
        if let Some(stream) = &receiver.stream_settings {
            value.insert("streamSettings".to_owned(), transport::settings(stream)?);
        }
        if let Some(sniffing) = &receiver.sniffing_settings {
            let sniffing = json!({
                "enabled": sniffing.enabled,
                "destOverride": sniffing.destination_override,
                "metadataOnly": sniffing.metadata_only,
            });
            value.insert("sniffing".to_owned(), sniffing);
        }
    }
    let (name, settings) = protocols::inbound(required(&config.proxy_settings)?)?;
    value.insert("protocol".to_owned(), name.into());
    value.insert("settings".to_owned(), settings);
    Ok(value.into())
}

/// As `outbounds[]` has it.
pub(super) fn outbound(config: &OutboundHandlerConfig) -> Result<Value, Status> {
    let mut value = Map::new();
    value.insert("tag".to_owned(), config.tag.clone().into());
    if let Some(sender) = &config.sender_settings {
        expect(sender, "app.proxyman.SenderConfig")?;
        let sender: SenderConfig = typed::open(sender)?;
        if let Some(via) = &sender.via {
            value.insert("sendThrough".to_owned(), host(via)?.into());
        }
        if let Some(stream) = &sender.stream_settings {
            value.insert("streamSettings".to_owned(), transport::settings(stream)?);
        }
        if let Some(proxy) = sender.proxy_settings.filter(|proxy| !proxy.tag.is_empty()) {
            let proxy = json!({"tag": proxy.tag, "transportLayer": proxy.transport_layer_proxy});
            value.insert("proxySettings".to_owned(), proxy);
        }
        if let Some(mux) = sender.multiplex_settings {
            let mut object = json!({"enabled": mux.enabled});
            if mux.concurrency > 0 {
                object["concurrency"] = mux.concurrency.into();
            }
            value.insert("mux".to_owned(), object);
        }
    }
    let (name, settings) = protocols::outbound(required(&config.proxy_settings)?)?;
    value.insert("protocol".to_owned(), name.into());
    value.insert("settings".to_owned(), settings);
    Ok(value.into())
}

fn required(settings: &Option<TypedMessage>) -> Result<&TypedMessage, Status> {
    settings
        .as_ref()
        .ok_or_else(|| unknown("proxy_settings is missing, it says what is spoken"))
}

/// Xray's messages for counters and users are V2Ray's; those for whole inbounds and outbounds are not.
fn expect(message: &TypedMessage, name: &str) -> Result<(), Status> {
    if typed::is_xray(message) {
        let text = "an inbound or outbound in Xray's form is not built, expected V2Ray's";
        return Err(Status::unimplemented(text));
    }
    let found = typed::name(message);
    if found != name {
        let found = found.escape_debug();
        return Err(unknown(format!(
            "`{found}` stands where `{name}` is expected"
        )));
    }
    Ok(())
}

fn host(address_or_name: &IpOrDomain) -> Result<String, Status> {
    match &address_or_name.address {
        Some(Address::Domain(name)) => Ok(name.clone()),
        Some(Address::Ip(ip)) => address(ip).map(|ip| ip.to_string()).ok_or_else(|| {
            unknown(format!(
                "an IP address has {} bytes, expected 4 or 16",
                ip.len()
            ))
        }),
        None => Err(unknown("an address is empty")),
    }
}

#[cfg(test)]
mod tests;
