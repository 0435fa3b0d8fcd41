//! The parameters of a link, by the names of Xray's proposal; the keys of v2rayN's JSON are turned into those.

use percent_encoding::percent_decode_str;

use super::said::Said;

/// Parameters that are yet to be read. One that is empty is not there.
#[derive(Default)]
pub(in crate::dialect) struct Params(Vec<Param>);

/// A parameter of a link.
pub(in crate::dialect) struct Param {
    name: String,
    /// What the link calls it.
    pub(in crate::dialect) label: String,
    pub(in crate::dialect) text: String,
}

/// What Shadowrocket and trojan-go call a carrier or a disguise: without it nothing of the link would be understood.
const SPOKEN: [&str; 8] = [
    "ws",
    "wspath",
    "obfs",
    "obfs-host",
    "obfsParam",
    "plugin",
    "v2ray-plugin",
    "shadow-tls",
];

impl Params {
    /// Of a query. A `+` is a blank there, as Go and JavaScript write it.
    pub(in crate::dialect) fn of_query(query: &str, said: &mut Said) -> Self {
        let mut params = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            // A link that was copied out of a page's source has `&amp;` between its parameters.
            let part = part.strip_prefix("amp;").unwrap_or(part);
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.replace('+', " ");
            match percent_decode_str(&value).decode_utf8() {
                Ok(value) => params.push(name, name, &value, said),
                Err(_) => said.error(name, "it is not UTF-8 text, percent-encoded"),
            }
        }
        params
    }

    /// One more, which the link calls `label`; blanks around it are of whoever copied it.
    pub(in crate::dialect) fn push(
        &mut self,
        name: &str,
        label: &str,
        text: &str,
        said: &mut Said,
    ) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if let Some(other) = self.0.iter().find(|other| other.has(name)) {
            if other.text != text {
                said.error(label, "it is there twice, and says two things");
            }
            return;
        }
        self.0.push(Param {
            name: name.to_owned(),
            label: label.to_owned(),
            text: text.to_owned(),
        });
    }

    /// The parameter of this name; it is read.
    pub(in crate::dialect) fn take(&mut self, name: &str) -> Option<Param> {
        let at = self.0.iter().position(|param| param.has(name))?;
        Some(self.0.remove(at))
    }

    /// What it says.
    pub(in crate::dialect) fn text(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|param| param.text)
    }

    /// The first of these names; all of them are read.
    pub(in crate::dialect) fn first(&mut self, names: &[&str]) -> Option<Param> {
        let mut found: Vec<Param> = names.iter().filter_map(|name| self.take(name)).collect();
        (!found.is_empty()).then(|| found.swap_remove(0))
    }

    /// Those that nobody has read, behind the others.
    pub(super) fn rest_into(self, others: &mut Self) {
        others.0.extend(self.0);
    }

    /// Tells of those that nobody has read.
    pub(in crate::dialect) fn finish(self, said: &mut Said) {
        for param in self.0 {
            let is_off = ["0", "false", "none", "null"].contains(&&*param.text);
            match SPOKEN.iter().any(|name| param.has(name)) && !is_off {
                true => said.error(
                    &param.label,
                    "it says that another thing is spoken, in words of one client alone: write it with `type`, or `plugin` of an `ss` link",
                ),
                false => said.left_out(&param.label, "it is not known, it has no effect"),
            }
        }
    }
}

impl Param {
    /// Names are case-sensitive; links that have them otherwise mean the same.
    fn has(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The texts between its commas.
    pub(in crate::dialect) fn list(&self) -> Vec<String> {
        let texts = self.text.split(',').map(str::trim);
        let texts = texts.filter(|text| !text.is_empty());
        texts.map(str::to_owned).collect()
    }

    /// `1`, `true` and their opposites.
    pub(in crate::dialect) fn switch(&self, said: &mut Said) -> bool {
        match &*self.text.trim().to_ascii_lowercase() {
            "1" | "true" => true,
            "0" | "false" => false,
            _ => {
                let text = self.text.escape_debug();
                said.error(&self.label, format_args!("found `{text}`, expected 0 or 1"));
                false
            }
        }
    }
}
