//! Scripts, without a process and without a network.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;

use serde_json::{Value as Json, json};

use super::*;

/// What a script says, in an engine that has a thread as in its process; `answer` is what the network says to anything.
fn said_by(content: &str, millis: u64, answer: Option<(Json, &str)>) -> (Scripted, Vec<Json>) {
    let (said, asked) = answer_to(Question::Node, content, millis, answer);
    (serde_json::from_str(&said).unwrap_or_default(), asked)
}

/// Likewise, to any question, as it is said.
fn answer_to(
    question: Question,
    content: &str,
    millis: u64,
    answer: Option<(Json, &str)>,
) -> (String, Vec<Json>) {
    let order = Order {
        content: content.to_owned(),
        question,
        proxy: ProxyInfo {
            name: "香港 \"01\"".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            kind: "Vmess".to_owned(),
        },
        millis,
    };
    let answer = answer.map(|(head, body)| (head.to_string(), body.to_owned()));
    let thread = thread::Builder::new().stack_size(THREAD_STACK);
    let running = thread.spawn(move || {
        let asked = Rc::new(RefCell::new(Vec::new()));
        let heard = asked.clone();
        let said = run(&order, move |text| {
            heard
                .borrow_mut()
                .push(serde_json::from_str(&text).unwrap());
            answer.clone()
        });
        (said, asked.take())
    });
    running.unwrap().join().unwrap()
}

fn said(content: &str) -> Scripted {
    said_by(content, 10_000, None).0
}

/// The text of a script whose handler returns this.
fn value(expression: &str) -> String {
    said(&format!(
        "function handler() {{ return String({expression}) }}"
    ))
    .text
}

#[test]
fn a_handler_returns_a_text_or_an_object() {
    let both = said("handler = () => ({text: 'a', color: '#fff', background: 'red', more: 1})");
    assert_eq!(
        both,
        Scripted {
            text: "a".to_owned(),
            color: "#fff".to_owned(),
            background: "red".to_owned(),
            millis: 0
        }
    );
    for (script, text) in [
        ("function handler() { return '<ok>' }", "<ok>"),
        ("const handler = () => 'constant'", "constant"),
        (
            "async function handler() { await null; return {text: 'later'} }",
            "later",
        ),
        (
            "function handler() { return this === undefined ? 'strict' : 'sloppy' }",
            "sloppy",
        ),
        (
            "nobody(); function handler() { return 'in spite of it' }",
            "in spite of it",
        ),
        (
            "function handler() { return '😀'.slice(0, 1) + '香港' }",
            "\u{fffd}香港",
        ),
    ] {
        assert_eq!(said(script).text, text, "{script}");
    }
}

#[test]
fn what_has_nothing_to_say_has_empty_texts() {
    for script in [
        "",
        "return",
        "function handler( {",
        "var handler = 7",
        "function handler() { throw new Error('no') }",
        "function handler() { throw null }",
        "function handler() { nobody() }",
        "function handler() { return 7 }",
        "function handler() { return null }",
        "function handler() { return Symbol() }",
        "function handler() { return [] }",
        "function handler() { return {text: 7, color: {}, background: null} }",
        "function handler() { return {get text() { throw new Error('no') }} }",
        "function handler() { return new Proxy({}, {get() { throw 1 }}) }",
        "function handler() { return new Proxy(() => 1, {apply() { throw 1 }}) }",
        "function handler() { return new Promise(() => 1) }",
        "async function handler() { throw 1 }",
        "function handler() { return {then(resolve) { throw 1 }} }",
        "function handler() { JSON.stringify = () => '7'; globalThis.proxy = null; return 1n }",
    ] {
        assert_eq!(said(script), Scripted::default(), "{script}");
    }
}

#[test]
fn nothing_is_there_but_what_is_given() {
    for name in [
        "require",
        "process",
        "std",
        "os",
        "print.constructor('return this')().std",
        "module",
        "scriptArgs",
        "Deno",
        "setTimeout",
        "XMLHttpRequest",
        "Worker",
        "bjson",
    ] {
        assert_eq!(value(&format!("typeof {name}")), "undefined", "{name}");
    }
    let import = "async function handler() { return (await import('/etc/passwd')).default }";
    assert_eq!(said(import), Scripted::default());
    assert_eq!(
        value("proxy.Name + proxy.Address + proxy.Type"),
        "香港 \"01\"127.0.0.1:1Vmess"
    );
}

#[test]
fn small_things_that_scripts_are_given() {
    for (expression, text) in [
        ("get({a: [{b: 7}]}, 'a.0.b')", "7"),
        ("get({a: 1}, 'a.b.c', 'none')", "none"),
        ("get({a: null}, 'a')", "null"),
        ("get(undefined, 'a')", "null"),
        ("get({a: null}, 'a', 'none')", "none"),
        ("get({a: 0}, 'a', 1)", "0"),
        ("safeParse('{\"a\":1}').a", "1"),
        ("JSON.stringify(safeParse('{'))", "{}"),
        ("safeStringify({a: 1})", "{\"a\":1}"),
        (
            "safeStringify((() => { const a = {}; a.a = a; return a })())",
            "",
        ),
        ("safeStringify(1n)", ""),
        ("print('a', 1, null)", "Script Print | a 1 null"),
        ("println()", "Script Print |"),
        ("debug([1, 2])", "Script Debug | 1,2"),
        ("console.log('a')", "undefined"),
    ] {
        assert_eq!(value(expression), text, "{expression}");
    }
}

#[test]
fn a_page_is_asked_for_as_the_script_says() {
    let head = json!({"status": "200 OK", "statusCode": 200, "headers": {"X-A": ["b"]}, "redirects": ["/x"]});
    let script = "function handler() {
        const page = fetch('http://a/', {method: 'POST', body: 'b', headers: {a: 'b', c: 7}, cookies: {d: 'e'}, noRedir: true,
                                         retry: 99, timeout: -5});
        return [page.statusCode, page.status, page.headers['X-A'][0], page.redirects.length, page.body].join()
    }";
    let (said, asked) = said_by(script, 10_000, Some((head, "香\u{0}港")));
    assert_eq!(said.text, "200,200 OK,b,1,香\u{0}港");
    assert_eq!(
        asked,
        [
            json!({"fetch": {"url": "http://a/", "method": "POST", "body": "b", "headers": [["a", "b"]], "cookies": [["d", "e"]],
                          "noRedir": true, "retry": 10, "timeout": 1}})
        ]
    );
    // Of another type is as if it were not there.
    let (said, asked) = said_by(
        "function handler() { return String(fetch('http://a/', {method: 7, headers: 'a', timeout: '9', noRedir: 1, retry: 1.5})) }",
        10_000,
        None,
    );
    assert_eq!(said.text, "null");
    assert_eq!(
        asked,
        [
            json!({"fetch": {"url": "http://a/", "method": "GET", "body": "", "headers": [], "cookies": [],
                          "noRedir": false, "retry": 1, "timeout": 3000}})
        ]
    );
    // Halves of characters do not end the conversation.
    let (_, asked) = said_by(
        "function handler() { fetch('http://a/\\ud800') }",
        10_000,
        None,
    );
    assert_eq!(asked[0]["fetch"]["url"], "http://a/\u{fffd}");
}

#[test]
fn bytes_are_said_somewhere() {
    let script = "function handler() { const {error, data} = netcat('a:1', 'hello', {timeout: 500}); return error + '|' + data }";
    let (said, asked) = said_by(script, 10_000, Some((json!({"error": "closed"}), "bye")));
    assert_eq!(said.text, "closed|bye");
    assert_eq!(
        asked,
        [json!({"netcat": {"addr": "a:1", "data": "hello", "retry": 1, "timeout": 500}})]
    );
}

#[test]
fn a_script_knows_under_which_addresses_a_node_is_seen() {
    let trace = || Some((json!({"statusCode": 200}), "fl=1\nip=203.0.113.7\nts=1\n"));
    let asked = |content: &str| {
        let (said, asked) = answer_to(Question::Addresses, content, 10_000, trace());
        let urls = asked.iter().map(|one| one["fetch"]["url"].clone());
        (said, urls.collect::<Vec<_>>())
    };
    let ours = [
        json!("https://1.1.1.1/cdn-cgi/trace"),
        json!("https://[2606:4700:4700::1111]/cdn-cgi/trace"),
    ];
    let both = r#"["203.0.113.7","203.0.113.7"]"#;
    // One that has none of its own, or is no program, or calls ours.
    for (content, said, urls) in [
        ("", both, &ours[..]),
        ("function handler( {", both, &ours),
        ("const ip_resolve = 7", both, &ours),
        (
            "const ip_resolve = () => ip_resolve_default().slice(1)",
            r#"["203.0.113.7"]"#,
            &ours,
        ),
        (
            "function ip_resolve() { return ['192.0.2.1', 7] }",
            r#"["192.0.2.1",7]"#,
            &[],
        ),
        ("function ip_resolve() { throw 1 }", "", &[]),
        (
            "function ip_resolve() { return 'x'.repeat(1 << 20) }",
            "",
            &[],
        ),
        ("function ip_resolve() {}", "", &[]),
    ] {
        assert_eq!(
            asked(content),
            (said.to_owned(), urls.to_vec()),
            "{content}"
        );
    }
    let (said, _) = answer_to(Question::Addresses, "", 10_000, None);
    assert_eq!(said, "[]", "nothing came");
}

#[test]
fn a_script_knows_where_an_address_is() {
    let question = || Question::Location("2001:db8::7".to_owned());
    let script = "const handler = async (ip) => ({ip, asn: 7, longitude: NaN})";
    let (said, _) = answer_to(question(), script, 10_000, None);
    assert_eq!(said, r#"{"ip":"2001:db8::7","asn":7,"longitude":null}"#);
    let page = r#"{"query": "2001:db8::7", "as_number": "AS1", "isp_name": "Example 香", "longitude": 1.5, "city_name": "Hong Kong",
                   "country_code": "HK"}"#;
    let (said, asked) = answer_to(question(), "", 10_000, Some((json!({}), page)));
    assert_eq!(
        asked[0]["fetch"]["url"],
        "https://ipv4.ipleak.net/json/2001:db8::7"
    );
    let said: Json = serde_json::from_str(&said).unwrap();
    for (key, value) in [
        ("ip", json!("2001:db8::7")),
        ("isp", json!("Example 香")),
        ("asn", json!(0)),
        ("longitude", json!(1.5)),
        ("timezone", json!("")),
        ("country", json!("Hong Kong")),
        ("country_code", json!("HK")),
    ] {
        assert_eq!(said[key], value, "{key}");
    }
    for nothing in [None, Some((json!({}), "<html>"))] {
        let (said, _) = answer_to(question(), "", 10_000, nothing);
        assert_eq!(serde_json::from_str::<Json>(&said).unwrap()["ip"], "");
    }
}

#[test]
fn the_back_ends_own_network_is_refused() {
    let script = "function handler() { return fetch('http://a/', {useHost: true}) + netcat('a:1', '', {useHost: true}).error }";
    let (said, asked) = said_by(script, 10_000, Some((json!({}), "")));
    assert_eq!(said.text, "nulluseHost is refused here");
    assert!(asked.is_empty());
}

#[test]
fn a_loop_ends_with_its_time() {
    for script in [
        "function handler() { for (;;) {} }",
        "for (;;) {}",
        "function handler() { for (;;) try { for (;;) {} } catch {} }",
        "function handler() { return /(a+)+$/.test('a'.repeat(50) + 'b') }",
        "async function handler() { for (;;) await null }",
        "function handler() { return {get text() { for (;;) {} }} }",
        "function handler() { return {then() { for (;;) {} }} }",
    ] {
        let began = Instant::now();
        assert_eq!(
            said_by(script, 300, None).0,
            Scripted::default(),
            "{script}"
        );
        assert!(began.elapsed() < Duration::from_secs(5), "{script}");
    }
}

#[test]
fn memory_is_bounded() {
    for script in [
        "function handler() { let a = 'x'; for (;;) a += a }",
        "function handler() { const a = []; for (;;) a.push({}) }",
        "function handler() { return 'x'.repeat(1 << 28).length + '' }",
        "function handler() { return new Uint8Array(1 << 28).length + '' }",
        "function handler() { return Array(1 << 28).fill(0).length + '' }",
        "function handler() { return (2n ** 900000n * 2n ** 900000n ** 900000n).toString() }",
        "function handler() { const a = []; try { for (;;) a.push(new Array(1000).fill(1)) } catch { return {text: a} } }",
    ] {
        assert_eq!(said(script), Scripted::default(), "{script}");
    }
    assert_eq!(
        said("function handler() { return 'x'.repeat(1 << 20) }")
            .text
            .len(),
        1024
    );
    assert_eq!(
        value("new Uint8Array(8 << 20).length"),
        (8 << 20).to_string()
    );
}

#[test]
fn calls_are_as_deep_as_in_miaospeed_and_no_deeper_than_the_stack() {
    assert_eq!(
        value("(function down(n) { return n && down(n - 1) + 1 })(1000)"),
        "1000"
    );
    for script in [
        "function handler() { return handler() }",
        "function handler() { return [1].map(handler) }",
        "function handler() { return JSON.parse('['.repeat(1e6)) }",
        "function handler() { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return JSON.stringify(a) }",
        "function handler() { return RegExp('('.repeat(1e5) + ')'.repeat(1e5)).test('') }",
        "function handler() { return eval('('.repeat(1e5) + ')'.repeat(1e5)) }",
        "function handler() { const p = new Proxy({}, {get: (t, k, r) => r[k]}); return p.a }",
    ] {
        assert_eq!(said(script), Scripted::default(), "{script}");
    }
}
