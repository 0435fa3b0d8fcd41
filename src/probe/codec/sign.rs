//! The signature of a request: SHA-512 that goes on, over the request and each token with the digest so far.
//!
//! ```text
//! h.feed(text)
//! for t in [token, *build_token.split("|")]:  h.feed(t ++ h.digest_so_far())
//! ```
//!
//! What the text is has changed with the years ([`Form`]); a front that sends no `ApiVersion` is understood by all.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use sha2::{Digest, Sha512};

use super::request::Request;
use super::text::{Form, Writer};
use crate::secret::Secret;

/// The one that is printed in MiaoSpeed's own documents, and the default of every front. It keeps no secret.
pub const BUILD_TOKEN: &str = "MIAOKO4|580JxAo049R|GEnERAl|1X571R930|T0kEN";

/// What stands in the place of an empty token.
const EMPTY: &str = "SOME_TOKEN";

/// What both ends know.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The secret.
    pub token: Secret<String>,
    /// [`BUILD_TOKEN`], or the back end's own.
    pub build: String,
}

/// Whether a request of the oldest kind is taken, whose nodes anybody could exchange who has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsigned {
    /// It is not.
    Refused,
    /// It is: FullTclash's old client sends no others.
    Taken,
}

impl Tokens {
    /// Signs a request, as those of its version are signed.
    pub fn sign(&self, request: &Request) -> String {
        let form = match request.configs.api_version {
            ..=1 => Form::Plain,
            2 => Form::Numbered,
            3.. => Form::Upload,
        };
        URL_SAFE.encode(self.digest(request, form))
    }

    /// Whether the signature is right, by any of the forms that a request of its version may have.
    pub fn verify(&self, request: &Request, unsigned: Unsigned) -> bool {
        // 64 bytes have 88 characters; whatever else there is need not be looked at.
        let challenge = Some(&request.challenge).filter(|text| text.len() == 88);
        let Some(shown) = challenge.and_then(|text| URL_SAFE.decode(text).ok()) else {
            return false;
        };
        let forms: &[Form] = match request.configs.api_version {
            ..=1 if request.random_sequence.is_empty() && unsigned == Unsigned::Taken => {
                &[Form::Plain, Form::WithoutNodes]
            }
            ..=1 => &[Form::Plain],
            3 => &[Form::Upload, Form::Numbered],
            _ => &[Form::Numbered],
        };
        // All of them are looked at, however the first one fares.
        let right = forms.iter().map(|form| {
            let digest = self.digest(request, *form);
            verify_slices_are_equal(&digest, &shown).is_ok()
        });
        right.fold(false, |any, right| any | right)
    }

    fn digest(&self, request: &Request, form: Form) -> [u8; 64] {
        let mut hash = Sha512::new();
        Writer {
            out: &mut |bytes| hash.update(bytes),
        }
        .request(request, form, "", "");
        for token in [self.token.as_str()]
            .into_iter()
            .chain(self.build.trim().split('|'))
        {
            let so_far = hash.clone().finalize();
            hash.update(if token.is_empty() { EMPTY } else { token });
            hash.update(so_far);
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn vectors() -> Vec<Value> {
        let text = include_str!("../../../testdata/vectors/miaospeed.json");
        let all: Value = serde_json::from_str(text).unwrap();
        all["signing"].as_array().unwrap().clone()
    }

    fn request_of(vector: &Value) -> (Request, Tokens) {
        let text = |key: &str| vector[key].as_str().unwrap().to_owned();
        let mut request = Request::read(vector["request"].to_string().as_bytes()).unwrap();
        request.challenge = text("challenge");
        let tokens = Tokens {
            token: text("token").into(),
            build: text("build_token"),
        };
        (request, tokens)
    }

    #[test]
    fn every_text_that_fronts_sign_is_written_and_its_signature_found() {
        let vectors = vectors();
        assert_eq!(vectors.len(), 23);
        for vector in &vectors {
            let name = vector["name"].as_str().unwrap();
            let (request, tokens) = request_of(vector);
            let form = match name {
                "unsigned-nodes" => Form::WithoutNodes,
                "api3-number" => Form::Numbered,
                _ if request.configs.api_version >= 3 => Form::Upload,
                _ if request.configs.api_version == 2 => Form::Numbered,
                _ => Form::Plain,
            };
            let mut text = Vec::new();
            Writer {
                out: &mut |bytes| text.extend_from_slice(bytes),
            }
            .request(&request, form, "", "");
            assert_eq!(
                String::from_utf8(text).unwrap(),
                vector["signed_text"].as_str().unwrap(),
                "{name}"
            );
            assert!(tokens.verify(&request, Unsigned::Taken), "{name}");
            let is_unsigned = name == "unsigned-nodes";
            assert_eq!(
                tokens.verify(&request, Unsigned::Refused),
                !is_unsigned,
                "{name}"
            );
            if !is_unsigned && name != "api3-number" {
                assert_eq!(tokens.sign(&request), request.challenge, "{name}");
            }
        }
    }

    #[test]
    fn whatever_is_changed_is_refused() {
        for vector in &vectors() {
            let (request, tokens) = request_of(vector);
            let name = vector["name"].as_str().unwrap();
            let refused = |change: &dyn Fn(&mut Request)| {
                let mut other = request.clone();
                change(&mut other);
                !tokens.verify(&other, Unsigned::Refused)
            };
            assert!(refused(&|r| r.basics.id.push('x')), "{name}");
            assert!(
                refused(&|r| r.challenge = r.challenge.to_lowercase()),
                "{name}"
            );
            assert!(refused(&|r| r.challenge.truncate(86)), "{name}");
            assert!(refused(&|r| r.challenge.push(' ')), "{name}");
            let less = refused(&|r| r.nodes = Some(Vec::new()));
            assert!(less || name == "unsigned-nodes", "{name}");
            let other = Tokens {
                token: "other".to_owned().into(),
                ..tokens.clone()
            };
            assert!(!other.verify(&request, Unsigned::Taken), "{name}");
        }
    }

    #[test]
    fn a_request_is_read_as_go_reads_it() {
        let read = |text: &str| Request::read(text.as_bytes());
        let request = read(
            r#"{"NODES":[{"name":"a","PAYLOAD":"b","other":{"x":[1]}}],"basics":null,"Configs":{"tasktimeout":7}} and more"#,
        );
        let request = request.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            (&*request.nodes()[0].payload, request.configs.task_timeout),
            ("b", 7)
        );
        for wrong in [
            r#"{"Configs":{"DownloadDuration":"3"}}"#,
            r#"{"Configs":{"DownloadDuration":1.5}}"#,
            r#"{"Configs":{"DownloadDuration":1.0}}"#,
            r#"{"Configs":{"TaskRetry":-1}}"#,
            r#"{"Configs":{"PingAverageOver":70000}}"#,
            r#"{"Nodes":{}}"#,
            r#"{"Vendor":["sesame"]}"#,
            r#"{"Nodes":[{"Name":"#,
            "[]",
            "",
        ] {
            let text = read(wrong).err().expect(wrong);
            assert!(
                text.starts_with("the request cannot be read: ") && !text.contains("sesame"),
                "{text}"
            );
        }
    }
}
