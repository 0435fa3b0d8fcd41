//! `SECURITY.md` promises nothing that no test holds: each test that it names is one.

use std::fs;

use crate::peers::root;

#[test]
fn every_test_that_the_page_names_is_one() {
    let page = fs::read_to_string(root().join("SECURITY.md")).expect("it is there");
    let promises = page.lines().filter(|line| line.starts_with("| "));
    // Its head is none.
    let promises: Vec<&str> = promises.skip(1).collect();
    assert!(promises.len() >= 10, "{} promises", promises.len());
    let mut tests = 0;
    for promise in promises {
        let quoted = promise.split('`').skip(1).step_by(2);
        let named: Vec<&str> = quoted.filter(|word| word.contains("::")).collect();
        let others = ["src/testing", "lints.rust"];
        assert!(
            !named.is_empty() || others.iter().any(|other| promise.contains(other)),
            "no test holds this: {promise}"
        );
        for name in named {
            tests += 1;
            let (file, test) = name.rsplit_once("::").expect("it has colons");
            let file = match file.strip_suffix("::tests") {
                Some(room) => format!("src/{}/mod.rs", room.replace("::", "/")),
                None => format!("integration/{file}.rs"),
            };
            let text = fs::read_to_string(root().join(&file)).unwrap_or_default();
            let is_one = text.contains(&format!("fn {test}("));
            assert!(is_one, "{file} has no test {test}");
        }
    }
    assert!(tests >= 25, "{tests} tests");
}
