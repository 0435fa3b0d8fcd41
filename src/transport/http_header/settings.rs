//! What the heads say: V2Ray's words, with lists to choose from for each connection.

/// Both heads, which each side knows: the client writes the first one, the server the second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `request`.
    pub request: Request,
    /// `response`.
    pub response: Response,
}

/// The head that a client writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `version`: `1.1`.
    pub version: String,
    /// `method`: `GET`.
    pub method: String,
    /// `path`: one of them is asked for, `/` alone by default. A server takes each of them.
    pub paths: Vec<String>,
    /// `headers`.
    pub headers: Vec<Header>,
}

/// The head that a server writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// `version`: `1.1`.
    pub version: String,
    /// `status`: `200`.
    pub status: String,
    /// `reason`: `OK`.
    pub reason: String,
    /// `headers`; a `Date` is added where there is none.
    pub headers: Vec<Header>,
}

/// A header, spelled as it is written; one of its values is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// What may stand in it; an empty list is an empty value.
    pub values: Vec<String>,
}

impl Header {
    fn new(name: &str, values: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        }
    }
}

/// V2Ray's defaults.
impl Default for Request {
    fn default() -> Self {
        let headers = vec![
            Header::new("Host", &["www.baidu.com", "www.bing.com"]),
            Header::new(
                "User-Agent",
                &[
                    "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/53.0.2785.143 Safari/537.36",
                    "Mozilla/5.0 (iPhone; CPU iPhone OS 10_0_2 like Mac OS X) AppleWebKit/601.1 (KHTML, like Gecko) CriOS/53.0.2785.109 Mobile/14A456 Safari/601.1.46",
                ],
            ),
            Header::new("Accept-Encoding", &["gzip, deflate"]),
            Header::new("Connection", &["keep-alive"]),
            Header::new("Pragma", &["no-cache"]),
        ];
        Self {
            version: "1.1".to_owned(),
            method: "GET".to_owned(),
            paths: vec!["/".to_owned()],
            headers,
        }
    }
}

/// V2Ray's defaults.
impl Default for Response {
    fn default() -> Self {
        let headers = vec![
            Header::new("Content-Type", &["application/octet-stream", "video/mpeg"]),
            Header::new("Transfer-Encoding", &["chunked"]),
            Header::new("Connection", &["keep-alive"]),
            Header::new("Pragma", &["no-cache"]),
            Header::new("Cache-Control", &["private", "no-cache"]),
        ];
        Self {
            version: "1.1".to_owned(),
            status: "200".to_owned(),
            reason: "OK".to_owned(),
            headers,
        }
    }
}
