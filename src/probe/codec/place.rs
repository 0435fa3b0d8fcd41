//! Where addresses are, as fronts are told.
//!
//! ```text
//! {"Domain":"hk.example","MainStack":{…},"IPv4Stack":[{"organization":"…","longitude":114.17,…,"stackType":""}],"IPv6Stack":[]}
//! ```

use serde::{Serialize, Serializer};
use serde_json::Value;

/// The longest text of a place that is passed on, in bytes.
const MAX_TEXT: usize = 256;

/// What is known of an address; nothing of one that nobody could tell anything about.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Location {
    /// Whose it is.
    pub organization: String,
    /// In degrees.
    #[serde(serialize_with = "as_go_has_it")]
    pub longitude: f32,
    /// In degrees.
    #[serde(serialize_with = "as_go_has_it")]
    pub latitude: f32,
    /// `Asia/Hong_Kong`
    pub timezone: String,
    /// Who connects it.
    pub isp: String,
    /// Number of its autonomous system.
    pub asn: i64,
    /// Whose that is.
    pub asn_organization: String,
    /// Its name.
    pub country: String,
    /// The address.
    pub ip: String,
    /// `AS`
    pub continent_code: String,
    /// `HK`
    pub country_code: String,
    /// Nothing stands there as a rule.
    #[serde(rename = "stackType")]
    pub stack_type: String,
}

/// The addresses of one end of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stacks {
    /// The name of the server, or of the node.
    #[serde(rename = "Domain")]
    pub domain: String,
    /// The one that counts.
    #[serde(rename = "MainStack")]
    pub main: Location,
    /// In the order in which they were found.
    #[serde(rename = "IPv4Stack")]
    pub v4: Vec<Location>,
    /// Likewise.
    #[serde(rename = "IPv6Stack")]
    pub v6: Vec<Location>,
}

/// Both ends of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ends {
    /// The server.
    pub inbound: Stacks,
    /// Where its sessions leave.
    pub outbound: Stacks,
}

impl Location {
    /// What a script gave. Keys are found as Go finds them, whatever their case; what is of another type than expected counts
    /// as not given.
    pub fn read(given: &Value) -> Self {
        let mut read = Self::default();
        for (key, value) in given.as_object().into_iter().flatten() {
            let text = || bounded(value.as_str().unwrap_or_default());
            let degrees = || value.as_f64().unwrap_or_default() as f32;
            match &*key.to_ascii_lowercase() {
                "organization" => read.organization = text(),
                "longitude" => read.longitude = degrees(),
                "latitude" => read.latitude = degrees(),
                "timezone" => read.timezone = text(),
                "isp" => read.isp = text(),
                "asn" => read.asn = value.as_i64().unwrap_or_default(),
                "asn_organization" => read.asn_organization = text(),
                "country" => read.country = text(),
                "ip" => read.ip = text(),
                "continent_code" => read.continent_code = text(),
                "country_code" => read.country_code = text(),
                "stacktype" => read.stack_type = text(),
                _ => {}
            }
        }
        read
    }
}

/// As much of a text as is passed on.
fn bounded(text: &str) -> String {
    let mut end = MAX_TEXT.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// A whole number has no point.
fn as_go_has_it<S: Serializer>(degrees: &f32, to: S) -> Result<S::Ok, S::Error> {
    match degrees.fract() == 0.0 && degrees.abs() < 1e6 {
        true => to.serialize_i32(*degrees as i32),
        false => to.serialize_f32(*degrees),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_place_is_written_as_miaospeed_writes_it() {
        let found = Location::read(&json!({
            "IP": "203.0.113.7", "asn": 4760, "organization": "HKT 香港", "isp": "x".repeat(1000), "longitude": 114.1657, "latitude": 22,
            "timezone": "Asia/Hong_Kong", "asn_organization": "HKT", "country": null, "country_code": 7, "city": "Hong Kong",
        }));
        assert_eq!(found.isp.len(), MAX_TEXT);
        let stacks = Stacks {
            domain: "hk \"1\"".to_owned(),
            v4: vec![Location {
                isp: "HKT".to_owned(),
                ..found
            }],
            ..Stacks::default()
        };
        let nothing = r#"{"organization":"","longitude":0,"latitude":0,"timezone":"","isp":"","asn":0,"asn_organization":"","country":"","ip":"","continent_code":"","country_code":"","stackType":""}"#;
        let written = serde_json::to_string(&stacks).unwrap();
        assert_eq!(
            written,
            r#"{"Domain":"hk \"1\"","MainStack":NOTHING,"IPv4Stack":[{"organization":"HKT 香港","longitude":114.1657,"latitude":22,"timezone":"Asia/Hong_Kong","isp":"HKT","asn":4760,"asn_organization":"HKT","country":"","ip":"203.0.113.7","continent_code":"","country_code":"","stackType":""}],"IPv6Stack":[]}"#
                .replace("NOTHING", nothing)
        );
    }

    #[test]
    fn what_is_no_place_says_nothing() {
        for given in [
            json!(null),
            json!("a"),
            json!([1]),
            json!({"asn": 1.5, "longitude": "7", "latitude": null}),
        ] {
            assert_eq!(Location::read(&given), Location::default());
        }
    }
}
