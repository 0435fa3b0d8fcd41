//! The rights of a unix socket that several inbounds share.

use std::path::PathBuf;

use crate::config::{Draft, Inbound, Listen};
use crate::report::Report;
use crate::transport::tcp::{join_mode, split_mode};

/// A socket has one mode: the first one that is written counts for all that listen there, so that they find each other.
pub(crate) fn one_mode_each(inbounds: &mut [Draft<Inbound>], report: &Report) {
    for i in 0..inbounds.len() {
        let Some(path) = path(&inbounds[i]).cloned() else {
            continue;
        };
        let (bare, mode) = split_mode(&path);
        let before = inbounds[..i].iter().find_map(|other| {
            let (theirs, their_mode) = split_mode(self::path(other)?);
            (theirs == bare).then_some(their_mode)
        });
        let Some(theirs) = before else { continue };
        if mode.is_some() && theirs.is_some() && theirs != mode {
            let text = format!(
                "{} has another mode at an inbound before, which counts",
                bare.display()
            );
            report.warn(&inbounds[i].at.key("listen"), text);
        }
        let whole = match theirs.or(mode) {
            Some(mode) => join_mode(bare.clone(), mode),
            None => path,
        };
        for draft in &mut inbounds[..=i] {
            let is_there = self::path(draft).is_some_and(|path| split_mode(path).0 == bare);
            if is_there && let Some(part) = &mut draft.part {
                part.listen = Listen::Unix(whole.clone());
            }
        }
    }
}

fn path(draft: &Draft<Inbound>) -> Option<&PathBuf> {
    match &draft.part.as_ref()?.listen {
        Listen::Unix(path) => Some(path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::dialect::v2ray::{Format, Input, load};

    #[test]
    fn the_first_mode_that_is_written_counts_for_all() {
        let inbound = |n: usize, listen: &str| -> Value {
            json!({
                "listen": listen, "protocol": "vmess",
                "settings": {"clients": [{"id": "27848739-7e62-4138-9fd3-098a63964b6b"}]},
                "streamSettings": {"network": "ws", "wsSettings": {"path": format!("/{n}")}},
            })
        };
        let written = [
            "/a.sock",
            "/a.sock,600",
            "/b.sock",
            "/a.sock,0600",
            "/a.sock,0666",
            "/a.sock",
            "/b.sock",
        ];
        let inbounds = written.iter().enumerate();
        let inbounds: Vec<Value> = inbounds.map(|(n, listen)| inbound(n, listen)).collect();
        let text = json!({"inbounds": inbounds, "outbounds": [{"protocol": "freedom"}]});
        let input = Input::Text {
            name: "config".to_owned(),
            text: text.to_string(),
        };
        let loaded = load(&[input], Format::V4);
        let config = loaded.config.expect("a config");
        let places = config.inbounds.iter().map(|inbound| &inbound.listen);
        let one = Listen::Unix(Path::new("/a.sock,0600").to_owned());
        let other = Listen::Unix(Path::new("/b.sock").to_owned());
        let places: Vec<_> = places.collect();
        // Those that share a place are one.
        assert_eq!(places, [&one, &other]);
        let told = loaded.warnings.iter().map(ToString::to_string);
        let told: Vec<String> = told.filter(|text| text.contains("mode")).collect();
        assert_eq!(
            told,
            ["inbounds[4].listen: /a.sock has another mode at an inbound before, which counts"]
        );
    }
}
