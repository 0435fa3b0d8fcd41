//! Which scripts a task runs for each of its nodes.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};

use super::Shared;
use crate::probe::codec::{Macro, Matrix, Request, Script, Scripted};
use crate::probe::script;

/// Scripts of a request, and questions about them.
const MAX_SCRIPTS: usize = 128;

/// The longest script.
const MAX_SCRIPT: usize = 256 * 1024;

/// Scripts of one node that may run at one time, so that a node with many of them does not hold up others.
const AT_ONCE: usize = 4;

/// The kind that is asked about by its id; `ip` says where addresses are.
const MEDIA: &str = "media";

/// Why a request is not served for its scripts.
pub(super) fn refused(request: &Request) -> Option<String> {
    let asked = request.matrices().iter();
    let asked = asked.filter(|one| Matrix::named(&one.kind).needs() == Macro::Script);
    if request.scripts().len() > MAX_SCRIPTS || asked.count() > MAX_SCRIPTS {
        return Some(format!("too many scripts, at most {MAX_SCRIPTS} are run"));
    }
    let mut long = request.scripts().iter();
    let long = long.find(|script| script.content.len() > MAX_SCRIPT);
    long.map(|script| {
        let id: String = script.id.chars().take(64).collect();
        format!(
            "the script `{}` is too long, at most {} KiB are run",
            id.escape_debug(),
            MAX_SCRIPT >> 10
        )
    })
}

/// Those that are asked about, each once.
fn wanted(request: &Request) -> Vec<&Script> {
    let mut wanted: Vec<&Script> = Vec::new();
    let asked = request.matrices().iter();
    for one in asked.filter(|one| Matrix::named(&one.kind).needs() == Macro::Script) {
        let mut scripts = request.scripts().iter();
        let script = scripts.find(|script| script.kind == MEDIA && script.id == one.params);
        if let Some(script) = script
            && !wanted.iter().any(|other| other.id == script.id)
        {
            wanted.push(script);
        }
    }
    wanted
}

/// What they say of a node.
pub(super) async fn run(
    shared: &Shared,
    request: &Request,
    about: script::About<'_>,
) -> BTreeMap<String, Scripted> {
    let mut running = Vec::new();
    for script in wanted(request) {
        running.push(async move {
            let said = script::run(&shared.scripts, about, script).await;
            (script.id.clone(), said)
        });
    }
    stream::iter(running)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(scripts: &[(&str, &str, usize)], asked: &[&str]) -> Request {
        let scripts = scripts.iter().map(|(id, kind, len)| {
            json!({"ID": id, "Type": kind, "Content": " ".repeat(*len), "TimeoutMillis": 0})
        });
        let asked = asked.iter();
        let asked = asked.map(|id| json!({"Type": "TEST_SCRIPT", "Params": id}));
        let request = json!({
            "Options": {"Matrices": asked.collect::<Vec<_>>()},
            "Configs": {"Scripts": scripts.collect::<Vec<_>>()},
        });
        Request::read(request.to_string().as_bytes()).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn each_script_that_is_asked_about_runs_once() {
        let request = request(
            &[
                ("a", "media", 1),
                ("b", "ip", 1),
                ("c", "media", 1),
                ("a", "media", 2),
                ("d", "media", 1),
            ],
            &["c", "a", "a", "b", "nobody"],
        );
        let ids: Vec<_> = wanted(&request).iter().map(|script| &*script.id).collect();
        assert_eq!(ids, ["c", "a"]);
        assert_eq!(refused(&request), None);
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let many = [("a", "media", 1); MAX_SCRIPTS + 1];
        assert!(refused(&request(&many, &[])).is_some());
        assert!(refused(&request(&[], &["a"; MAX_SCRIPTS + 1])).is_some());
        assert_eq!(
            refused(&request(&[("\n", "media", MAX_SCRIPT + 1)], &[])).unwrap(),
            "the script `\\n` is too long, at most 256 KiB are run"
        );
        let most = [("a", "media", MAX_SCRIPT); 2];
        assert_eq!(refused(&request(&most, &["a"; MAX_SCRIPTS])), None);
    }
}
