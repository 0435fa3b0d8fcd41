use super::*;

fn request() -> Attributes {
    let pairs = [
        (":method", "GET"),
        (":path", "/video/a.MP4"),
        ("accept", "text/html"),
        ("user-agent", ""),
    ];
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

fn holds(text: &str) -> bool {
    let expression = Expression::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    expression.holds(&request())
}

#[test]
fn expressions_hold_as_in_starlark() {
    let cases = [
        ("attrs[':method'] == 'GET'", true),
        ("attrs[':method'] != \"GET\"", false),
        ("attrs[':path'].startswith('/video')", true),
        ("attrs[':path'].lower().endswith(('.mp3', '.mp4'))", true),
        ("attrs[':path'].endswith(())", false),
        (
            "'html' in attrs['accept'] and not 'gif' in attrs['accept']",
            true,
        ),
        ("'gif' not in attrs['accept']", true),
        ("attrs[':method'] in ['HEAD', 'GET',]", true),
        ("attrs[':method'] in ('HEAD')", false),
        ("'accept' in attrs", true),
        ("None in attrs or ['a'] in attrs", false),
        ("attrs.get('x-none')", false),
        ("attrs.get('x-none') == None", true),
        ("attrs.get('x-none', 'y') == 'y'", true),
        ("attrs.get('accept', 'y').upper() == 'TEXT/HTML'", true),
        ("attrs", true),
        ("attrs['user-agent']", false),
        ("not attrs['user-agent']", true),
        ("not not not attrs['accept']", false),
        (
            "attrs['user-agent'] or attrs['accept'] == 'text/html'",
            true,
        ),
        ("False or True and False", false),
        ("(False or True) and True", true),
        (
            "'a' < 'b' and 'b' <= 'b' and 'c' > 'b' and 'c' >= 'd'",
            false,
        ),
        ("['a', 'b'] < ['a', 'c']", true),
        ("('a',) == ['a']", false),
        ("'1' == True", false),
        (" ' x '.strip() == 'x' ", true),
        ("'\\\\d\\'' == \"\\\\d'\"", true),
    ];
    for (text, expected) in cases {
        assert_eq!(holds(text), expected, "{text}");
    }
}

#[test]
fn an_expression_with_an_error_holds_for_nothing() {
    let wrong = [
        "attrs['x-none'] == 'a' or True",
        "True and attrs['x-none'] == None",
        "'a' < None or True",
        "'a' in None or True",
        "None in 'a' or True",
        "'abc'['a'] or True",
        "attrs.lower() or True",
        "'a'.startswith(['a'])",
        "'a'.startswith(None)",
    ];
    for text in wrong {
        assert!(!holds(text), "{text}");
    }
    // What is not looked at does no harm.
    assert!(holds("True or attrs['x-none']"));
}

#[test]
fn what_is_not_understood_is_named_with_its_place() {
    let cases = [
        (
            "",
            "at character 1: the end, expected `attrs`, a text in quotes, a list, `True`, `False` or `None`",
        ),
        (
            "attrs[':method'] = 'GET'",
            "at character 18: `=`, expected an operator or the end",
        ),
        (
            "attrs[':path'].find('x')",
            "at character 16: `find('x')`, expected `get`, `startswith`, `endswith`, `lower`, `upper` or `strip`",
        ),
        (
            "attrs[0]",
            "at character 7: `0]`, expected `attrs`, a text in quotes, a list, `True`, `False` or `None`",
        ),
        ("attrs['a'", "at character 10: the end, expected `]`"),
        (
            "'ä' == 'b",
            "at character 10: the end, expected the closing quote",
        ),
        (
            "'a' < 'b' < 'c'",
            "at character 11: `<`, expected `and` or `or` between two comparisons",
        ),
        (
            "'a' not 'b'",
            "at character 9: `'b'`, expected `in` behind `not`",
        ),
        (
            "'a'.startswith()",
            "at character 16: `)`, expected another number of arguments",
        ),
        (
            "['a' 'b']",
            "at character 6: `'b']`, expected `,` or the closing bracket",
        ),
        (
            "'\\q'",
            "at character 2: `\\q'`, expected `\\n`, `\\r`, `\\t`, `\\\\`, `\\'` or `\\\"`",
        ),
    ];
    for (text, message) in cases {
        let error = Expression::parse(text).expect_err(text);
        assert_eq!(error.to_string(), message, "{text}");
    }
    let deep = "(".repeat(100_000);
    assert!(Expression::parse(&deep).is_err());
    let nots = format!("{}attrs", "not ".repeat(100_001));
    assert!(!holds(&nots));
    let long = format!("attrs{}", ".lower()".repeat(100_000));
    let error = Expression::parse(&long).expect_err("too long");
    assert_eq!(
        error.to_string(),
        "at character 78: `.lower().lower().low`, expected fewer calls behind each other"
    );
    // As deep as it may be.
    let links = format!("){}", ".lower()".repeat(8));
    assert!(holds(&format!("{}'A'{}", "(".repeat(63), links.repeat(63))));
}

#[test]
fn as_many_conditions_as_somebody_writes_hold() {
    for (word, sides) in [("and", ["True", "False"]), ("or", ["False", "True"])] {
        let [usual, decisive] = sides;
        let row = format!("{usual} {word} ").repeat(100_000);
        assert_eq!(holds(&format!("{row}{usual}")), usual == "True");
        assert_eq!(holds(&format!("{row}{decisive}")), decisive == "True");
    }
}

#[test]
fn xrays_form_asks_that_each_of_its_attributes_matches() {
    let holds = |pairs: &[(&str, &str)]| {
        let all = Expression::of_each(pairs.iter().copied()).expect("regular expressions");
        all.map(|all| all.holds(&request()))
    };
    assert_eq!(holds(&[]), None);
    assert_eq!(holds(&[(":method", "^(GET|HEAD)$")]), Some(true));
    assert_eq!(
        holds(&[("Accept", "html"), (":path", "^/video")]),
        Some(true)
    );
    assert_eq!(
        holds(&[("Accept", "html"), (":path", "^/audio")]),
        Some(false)
    );
    assert_eq!(holds(&[("x-none", "")]), Some(false));
    assert!(Expression::of_each([("a", "(")].into_iter()).is_err());
    let many: Vec<_> = (0..65).map(|_| (":method", "GET")).collect();
    assert_eq!(holds(&many[..64]), Some(true));
    let error = Expression::of_each(many.into_iter()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "these are 65 attributes, expected 64 at most"
    );
}
