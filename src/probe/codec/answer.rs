//! What a back end says: progress, results and refusals, each a line of JSON.

use serde::{Deserialize, Serialize};

use super::VERSION;
use super::matrix::Cell;
use super::request::Request;
use super::text::{Form, Writer};

/// What is known of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Slot {
    /// Nothing ever stands there.
    pub grouping: &'static str,
    /// Which node it is.
    pub proxy_info: ProxyInfo,
    /// In milliseconds.
    pub invoke_duration: i64,
    /// In the order in which it was asked for; `None` of a task that only waits.
    pub matrices: Option<Vec<Cell>>,
}

/// Which node it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ProxyInfo {
    /// As its payload says.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// `Vmess`, `Trojan`, …
    #[serde(rename = "Type")]
    pub kind: String,
}

/// A refusal, after which the connection ends.
pub fn error(text: &str) -> String {
    message("", "", text, "null", "null")
}

/// How far a task is: the node with this index is done, and so many wait in the whole back end.
pub fn progress(task: &str, index: usize, record: &Slot, queuing: usize) -> String {
    let record = serde_json::to_string(record).expect("it has nothing but texts and numbers");
    let progress = format!("{{\"Index\":{index},\"Record\":{record},\"Queuing\":{queuing}}}");
    message(task, VERSION, "", "null", &progress)
}

/// All of a task, the request as it came in it.
pub fn result(task: &str, request: &Request, slots: &[Slot]) -> String {
    let mut result = "{\"Request\":".to_owned();
    request.write("", &mut result);
    result.push_str(",\"Results\":");
    result += &serde_json::to_string(slots).expect("they have nothing but texts and numbers");
    result.push('}');
    message(task, VERSION, "", &result, "null")
}

impl Request {
    /// As a front sends it.
    pub fn to_json(&self) -> String {
        let mut text = String::new();
        self.write(&self.challenge, &mut text);
        text
    }

    /// With another signature, or none.
    fn write(&self, challenge: &str, text: &mut String) {
        let form = match self.configs.api_version {
            ..=1 => Form::Plain,
            2 => Form::Numbered,
            3.. => Form::Upload,
        };
        let mut bytes = Vec::new();
        Writer {
            out: &mut |piece| bytes.extend_from_slice(piece),
        }
        .request(self, form, &self.vendor, challenge);
        *text += &String::from_utf8(bytes).expect("its texts are");
    }
}

fn message(task: &str, version: &str, error: &str, result: &str, progress: &str) -> String {
    let error = serde_json::Value::from(error);
    format!(
        "{{\"ID\":\"{task}\",\"MiaoSpeedVersion\":\"{version}\",\"Error\":{error},\"Result\":{result},\"Progress\":{progress}}}\n"
    )
}

/// What a front reads of such a message.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Answer {
    /// Of the back end.
    pub miao_speed_version: String,
    /// A refusal.
    pub error: String,
    /// There when all is done.
    pub result: Option<Done>,
    /// There when one more is done.
    pub progress: Option<Progress>,
}

/// One more node.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Progress {
    /// Into the nodes of the request.
    pub index: usize,
    /// What is known of it.
    pub record: Record,
}

/// The end of a task.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Done {
    /// In any order.
    pub results: Option<Vec<Record>>,
}

/// A slot as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Record {
    /// Which node it is.
    pub proxy_info: ProxyInfo,
    /// What was asked for.
    pub matrices: Option<Vec<Said>>,
}

/// A cell as it is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Said {
    /// What it is about.
    #[serde(rename = "Type")]
    pub kind: String,
    /// A JSON text.
    pub payload: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::codec::{Matrix, Measured};
    use serde_json::Value;

    #[test]
    fn messages_are_those_of_miaospeed() {
        let vectors = include_str!("../../../testdata/vectors/miaospeed.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let messages = &vectors["messages"];
        let seen = |name: &str| messages[name].as_str().unwrap();
        assert_eq!(
            error("cannot verify the request, please check your token"),
            seen("wrong_token")
        );
        let id = "125d3a48-959d-49d0-8f2b-2e557ca4f086";
        assert_eq!(progress(id, 0, &Slot::default(), 1), seen("queued_api2"));
        let result_seen: Value = serde_json::from_str(seen("result")).unwrap();
        let request = Request::read(result_seen["Result"]["Request"].to_string().as_bytes());
        let request = request.unwrap_or_else(|e| panic!("{e}"));
        let written = result(id, &request, &[]);
        let (head, _) = seen("result").split_once(",\"Results\":").unwrap();
        assert_eq!(written.split_once(",\"Results\":").unwrap().0, head);
        let slot = Slot {
            matrices: Some(vec![Matrix::Rtt.answer(&Measured::default(), "")]),
            ..Slot::default()
        };
        assert_eq!(progress(id, 0, &slot, 0), seen("unreadable_node"));
    }

    #[test]
    fn what_a_back_end_says_is_read() {
        let vectors = include_str!("../../../testdata/vectors/miaospeed.json");
        let vectors: Value = serde_json::from_str(vectors).unwrap();
        let answer = |name: &str| -> Answer {
            serde_json::from_str(vectors["messages"][name].as_str().unwrap()).unwrap()
        };
        let progress = answer("progress").progress.unwrap();
        assert_eq!(
            (progress.index, &*progress.record.proxy_info.kind),
            (0, "Socks5")
        );
        assert_eq!(answer("result").result.unwrap().results.unwrap().len(), 1);
        assert_eq!(
            answer("speed_refused").error,
            "speedtest is disabled on backend"
        );
        assert!(
            answer("queued_api2")
                .progress
                .unwrap()
                .record
                .matrices
                .is_none()
        );
    }
}
