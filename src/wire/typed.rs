//! A message whose type its sender names.
//!
//! V2Ray 4: `v2ray.core.proxy.vmess.Account`. V2Ray 5: `types.v2fly.org/` in front of that. Xray:
//! `xray.proxy.vmess.Account`, of a few packages with `xray.core.` in front.

use prost::{DecodeError, Message};
use thiserror::Error;

use super::common::serial::TypedMessage;

/// The type's name behind `v2ray.core.`, such as `proxy.vmess.Account`.
pub fn name(message: &TypedMessage) -> &str {
    short(&message.r#type)
}

/// Any full name of a type without what is the program's.
pub fn short(full: &str) -> &str {
    let full = full.rsplit('/').next().unwrap_or_default();
    let mut families = ["v2ray.core.", "xray.core.", "xray."].into_iter();
    let short = families.find_map(|family| full.strip_prefix(family));
    short.unwrap_or(full)
}

pub fn is_xray(message: &TypedMessage) -> bool {
    let full = message.r#type.rsplit('/').next();
    full.is_some_and(|full| full.starts_with("xray."))
}

/// A message is not what its name says.
#[derive(Debug, Error)]
#[error("{} cannot be read: {source}", .name.escape_debug())]
pub struct OpenError {
    name: String,
    source: DecodeError,
}

/// The message itself; the caller has looked at its name.
///
/// # Errors
///
/// When its bytes are not such a message.
pub fn open<M: Message + Default>(message: &TypedMessage) -> Result<M, OpenError> {
    M::decode(&message.value[..]).map_err(|source| OpenError {
        name: message.r#type.clone(),
        source,
    })
}

/// `message` under Xray's name of it.
pub fn seal_xray(name: &str, message: &impl Message) -> TypedMessage {
    TypedMessage {
        r#type: format!("xray.{name}"),
        value: message.encode_to_vec(),
    }
}

/// The same message under Xray's name of it, where it looks alike.
pub fn as_xray(message: TypedMessage) -> TypedMessage {
    TypedMessage {
        r#type: format!("xray.{}", name(&message)),
        value: message.value,
    }
}

/// The same message under V2Ray's name of it, where it looks alike.
pub fn as_v2ray(message: TypedMessage) -> TypedMessage {
    TypedMessage {
        r#type: format!("v2ray.core.{}", name(&message)),
        value: message.value,
    }
}

/// `message` under its name.
pub fn seal(name: &str, message: &impl Message) -> TypedMessage {
    TypedMessage {
        r#type: format!("v2ray.core.{name}"),
        value: message.encode_to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_by_all_its_names() {
        for full in [
            "v2ray.core.proxy.vmess.Account",
            "types.v2fly.org/v2ray.core.proxy.vmess.Account",
            "xray.proxy.vmess.Account",
            "xray.core.proxy.vmess.Account",
        ] {
            let message = TypedMessage {
                r#type: full.to_owned(),
                value: Vec::new(),
            };
            assert_eq!(name(&message), "proxy.vmess.Account");
        }
    }
}
