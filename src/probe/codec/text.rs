//! A request as Go's `encoding/json` writes it: in the one order of its fields, all of them there.

use super::request::{Configs, MatrixEntry, Node, Request, Script};

/// Which fields there are, and what stands in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `Configs` ends with the scripts.
    Plain,
    /// The same, and neither nodes nor scripts are in it.
    WithoutNodes,
    /// `ApiVersion` follows the scripts.
    Numbered,
    /// And what there is to say of an upload.
    Upload,
}

/// Where the text goes, piece by piece.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut dyn FnMut(&[u8]),
}

impl Writer<'_> {
    /// The whole request with another vendor and another signature.
    pub(super) fn request(&mut self, request: &Request, form: Form, vendor: &str, challenge: &str) {
        let basics = &request.basics;
        self.raw("{\"Basics\":{");
        self.text("\"ID\":", &basics.id);
        self.text(",\"Slave\":", &basics.slave);
        self.text(",\"SlaveName\":", &basics.slave_name);
        self.text(",\"Invoker\":", &basics.invoker);
        self.text(",\"Version\":", &basics.version);
        self.text("},\"Options\":{\"Filter\":", &request.options.filter);
        self.raw(",\"Matrices\":");
        let matrices = request.options.matrices.as_deref();
        self.list(matrices, |out, one: &MatrixEntry| {
            out.text("{\"Type\":", &one.kind);
            out.text(",\"Params\":", &one.params);
            out.raw("}");
        });
        self.raw("},\"Configs\":{");
        self.configs(&request.configs, form);
        self.text("},\"Vendor\":", vendor);
        self.raw(",\"Nodes\":");
        let nodes = match form {
            Form::WithoutNodes => Some(&[][..]),
            _ => request.nodes.as_deref(),
        };
        self.list(nodes, |out, one: &Node| {
            out.text("{\"Name\":", &one.name);
            out.text(",\"Payload\":", &one.payload);
            out.raw("}");
        });
        self.text(",\"RandomSequence\":", &request.random_sequence);
        self.text(",\"Challenge\":", challenge);
        self.raw("}");
    }

    fn configs(&mut self, configs: &Configs, form: Form) {
        self.text("\"STUNURL\":", &configs.stun_url);
        self.text(",\"DownloadURL\":", &configs.download_url);
        self.number(",\"DownloadDuration\":", configs.download_duration);
        self.number(",\"DownloadThreading\":", configs.download_threading);
        self.number(",\"PingAverageOver\":", configs.ping_average_over);
        self.text(",\"PingAddress\":", &configs.ping_address);
        self.number(",\"TaskRetry\":", configs.task_retry);
        self.raw(",\"DNSServers\":");
        self.list(configs.dns_servers.as_deref(), |out, one: &String| {
            out.text("", one)
        });
        self.number(",\"TaskTimeout\":", configs.task_timeout);
        self.raw(",\"Scripts\":");
        let scripts = match form {
            Form::WithoutNodes => Some(&[][..]),
            _ => configs.scripts.as_deref(),
        };
        self.list(scripts, |out, one: &Script| {
            out.text("{\"ID\":", &one.id);
            out.text(",\"Type\":", &one.kind);
            out.text(",\"Content\":", &one.content);
            out.number(",\"TimeoutMillis\":", one.timeout_millis);
            out.raw("}");
        });
        if matches!(form, Form::Numbered | Form::Upload) {
            self.number(",\"ApiVersion\":", configs.api_version);
        }
        if form == Form::Upload {
            self.text(",\"UploadURL\":", &configs.upload_url);
            self.number(",\"UploadDuration\":", configs.upload_duration);
            self.number(",\"UploadThreading\":", configs.upload_threading);
        }
    }

    fn raw(&mut self, text: &str) {
        (self.out)(text.as_bytes());
    }

    fn number(&mut self, key: &str, number: impl ToString) {
        self.raw(key);
        self.raw(&number.to_string());
    }

    /// `null` of what is not there.
    fn list<T>(&mut self, items: Option<&[T]>, write: impl Fn(&mut Self, &T)) {
        let Some(items) = items else {
            return self.raw("null");
        };
        self.raw("[");
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.raw(",");
            }
            write(self, item);
        }
        self.raw("]");
    }

    /// A text as Go escapes it: what HTML might take for its own, and what JavaScript takes for the end of a line, too.
    fn text(&mut self, key: &str, text: &str) {
        self.raw(key);
        self.raw("\"");
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            let short = match c {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => "",
                _ => continue,
            };
            self.raw(&text[plain..at]);
            match short {
                "" => self.raw(&format!("\\u{:04x}", u32::from(c))),
                short => self.raw(short),
            }
            plain = at + c.len_utf8();
        }
        self.raw(&text[plain..]);
        self.raw("\"");
    }
}
