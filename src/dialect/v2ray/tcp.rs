//! `tcpSettings`.

use serde_json::Value;

use super::json::{Node, Object, StringList, found};
use crate::transport::http_header::{Header, Request, Response, Settings};

/// `header` of type `http`, where there is one. `acceptProxyProtocol` is read together with that of other transports.
pub(super) fn header(settings: Option<&Node>) -> Option<Settings> {
    let object = settings?.object()?;
    let header = object.object("header").and_then(read_header);
    object.refuse(
        "headerSettings",
        "V2Ray 5's form is not built: write `header`, as V2Ray 4 has it",
    );
    object.silent(&["acceptProxyProtocol"]);
    object.finish();
    header
}

fn read_header(header: Object) -> Option<Settings> {
    let kind = header.get("type");
    let word = kind.as_ref().and_then(|node| node.read::<String>());
    let settings = match word.unwrap_or_default().to_ascii_lowercase().as_str() {
        "none" | "" => {
            header.silent(&["request", "response"]);
            None
        }
        "http" => Some(Settings {
            request: read_request(header.object("request")),
            response: read_response(header.object("response")),
        }),
        other => {
            header.silent(&["request", "response"]);
            if let Some(node) = kind {
                let other = other.escape_debug();
                node.error(format!(
                    "no TCP header is called `{other}`, expected `none` or `http`"
                ));
            }
            None
        }
    };
    header.finish();
    settings
}

fn read_request(object: Option<Object>) -> Request {
    let default = Request::default();
    let Some(object) = object else {
        return default;
    };
    let paths: StringList = object.read("path").unwrap_or_default();
    let request = Request {
        version: word(&object, "version").unwrap_or(default.version),
        method: word(&object, "method").unwrap_or(default.method),
        paths: match paths.0.is_empty() {
            true => default.paths,
            false => paths.0,
        },
        headers: read_headers(&object).unwrap_or(default.headers),
    };
    object.finish();
    request
}

fn read_response(object: Option<Object>) -> Response {
    let default = Response::default();
    let Some(object) = object else {
        return default;
    };
    let response = Response {
        version: word(&object, "version").unwrap_or(default.version),
        status: word(&object, "status").unwrap_or(default.status),
        reason: text(&object, "reason").unwrap_or(default.reason),
        headers: read_headers(&object).unwrap_or(default.headers),
    };
    object.finish();
    response
}

/// A text that may stand in a line; an empty one is none.
fn text(object: &Object, key: &'static str) -> Option<String> {
    let node = object.get(key)?;
    let text: String = node.read()?;
    if !is_line(&text) {
        node.error(format!("{} cannot stand in a line", found(node.value)));
        return None;
    }
    (!text.is_empty()).then_some(text)
}

/// The same without a blank in it.
fn word(object: &Object, key: &'static str) -> Option<String> {
    let text = text(object, key)?;
    if text.contains(' ')
        && let Some(node) = object.get(key)
    {
        node.error(format!("{} has a blank in it", found(node.value)));
    }
    Some(text)
}

/// `None` where there are none. By their names, as V2Ray writes them.
fn read_headers(object: &Object) -> Option<Vec<Header>> {
    let map = object.object("headers")?;
    let Value::Object(names) = map.node.value else {
        return None;
    };
    let mut headers = Vec::new();
    for (name, value) in names {
        let value = Node::at(map.node.path.key(name), value, map.node.report());
        let Some(values) = value.read::<StringList>() else {
            continue;
        };
        if name.is_empty() || name.contains([':', ' ']) || !is_line(name) {
            value.error(format!(
                "`{}` is not the name of a header",
                name.escape_debug()
            ));
        }
        if values.0.iter().any(|text| !is_line(text)) {
            value.error(format!("{} cannot stand in a header", found(value.value)));
        }
        headers.push(Header {
            name: name.clone(),
            values: values.0,
        });
    }
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    (!headers.is_empty()).then_some(headers)
}

fn is_line(text: &str) -> bool {
    !text.contains(['\r', '\n', '\0'])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dialect::v2ray::json::Report;

    fn read(value: &Value) -> (Option<Settings>, Vec<String>) {
        let report = Report::default();
        let read = header(Some(&Node::root(value, &report)));
        let problems = report.errors().into_iter().chain(report.warnings());
        (read, problems.map(|problem| problem.to_string()).collect())
    }

    #[test]
    fn what_is_not_said_is_v2ray_s_default() {
        let (settings, problems) = read(&json!({"header": {"type": "HTTP"}}));
        assert_eq!((settings, problems), (Some(Settings::default()), vec![]));
        for none in [
            json!({}),
            json!({"header": {"type": "none", "request": {}}}),
        ] {
            assert_eq!(read(&none), (None, vec![]));
        }
    }

    #[test]
    fn lists_are_read_and_headers_stand_by_their_names() {
        let (settings, problems) = read(&json!({"header": {
            "type": "http",
            "request": {
                "version": "1.0", "method": "POST", "path": ["/a", "/b"],
                "headers": {"User-Agent": ["one", "two, three"], "Host": "a.example,b.example"},
            },
            "response": {"status": "206", "reason": "Partial Content", "headers": {"X": []}},
        }}));
        let settings = settings.unwrap();
        assert_eq!(problems, [""; 0]);
        let header = |name: &str, values: &[&str]| Header {
            name: name.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let request = settings.request;
        assert_eq!((&*request.version, &*request.method), ("1.0", "POST"));
        assert_eq!(request.paths, ["/a", "/b"]);
        assert_eq!(
            request.headers,
            [
                header("Host", &["a.example", "b.example"]),
                header("User-Agent", &["one", "two, three"])
            ]
        );
        let response = settings.response;
        assert_eq!(
            (&*response.status, &*response.reason),
            ("206", "Partial Content")
        );
        assert_eq!(response.headers, [header("X", &[])]);
    }

    #[test]
    fn mistakes_name_their_place() {
        let (_, mut problems) = read(&json!({"header": {
            "type": "http",
            "request": {
                "method": "G ET", "version": "1.1\r\n", "pth": "/",
                "headers": {"X Y": "a", "X": "a\nb", "Z": 5},
            },
        }, "headerSettings": {"@type": "x"}}));
        problems.sort();
        assert_eq!(
            problems,
            [
                "header.request.headers.X: `a\\nb` cannot stand in a header",
                "header.request.headers.Z: the number 5 is not a list of strings",
                "header.request.headers[\"X Y\"]: `X Y` is not the name of a header",
                "header.request.method: `G ET` has a blank in it",
                "header.request.pth: unknown key, it has no effect, did you mean `path`?",
                "header.request.version: `1.1\\r\\n` cannot stand in a line",
                "headerSettings: V2Ray 5's form is not built: write `header`, as V2Ray 4 has it",
            ]
        );
        let (_, problems) = read(&json!({"header": {"type": "srtp", "request": {}}}));
        let said = "header.type: no TCP header is called `srtp`, expected `none` or `http`";
        assert_eq!(problems, [said]);
    }
}
