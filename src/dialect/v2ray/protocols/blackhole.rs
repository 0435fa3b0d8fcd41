//! `settings` of a `blackhole` outbound.

use crate::dialect::v2ray::json::{Object, one_of};
use crate::protocol::blackhole::{OutboundSettings, Response};

pub(super) fn outbound(settings: &Object) -> Option<OutboundSettings> {
    let mut read = OutboundSettings::default();
    if let Some(response) = settings.object("response") {
        let words = [("none", Response::None), ("http", Response::Http)];
        if let Some(known) = response.get("type").and_then(|node| one_of(&node, &words)) {
            read.response = known;
        }
        response.finish();
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;
    use serde_json::json;

    #[test]
    fn the_response_is_none_or_http() {
        for (value, expected) in [
            (json!({}), Response::None),
            (json!({"response": {"type": "none"}}), Response::None),
            (json!({"response": {"type": "HTTP"}}), Response::Http),
        ] {
            let (read, said) = settings::read(&value, outbound);
            assert_eq!(read.unwrap().response, expected);
            assert_eq!(said, [""; 0]);
        }
        let wrong = json!({"response": {"type": "htp"}});
        assert_eq!(
            settings::read(&wrong, outbound).1,
            ["response.type: `htp` is unknown, expected `none` or `http`, did you mean `http`?"]
        );
    }
}
