//! From the text of an expression to its nodes.
//!
//! ```text
//! or:      and {"or" and}
//! and:     not {"and" not}
//! not:     "not" not | primary [operator primary]
//! primary: ("attrs" | TEXT | "None" | "True" | "False" | "(" ... ")" | "[" ... "]") {"[" or "]" | "." method "(" ... ")"}
//! ```

use thiserror::Error;

use super::{Expression, Method, Node, Operator, Value};

/// What was not understood, and where: the number of the character, counted from 1.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("at character {at}: {found}, expected {expected}")]
pub struct ParseError {
    at: usize,
    found: String,
    expected: &'static str,
}

/// Brackets inside each other.
const MAX_DEPTH: usize = 64;

/// Calls behind each other, of which each is of what the one before it gives.
const MAX_LINKS: usize = 8;

impl Expression {
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser {
            text,
            rest: text,
            depth: 0,
        };
        let node = parser.or()?;
        parser.skip_space();
        if parser.rest.is_empty() {
            Ok(Self(node))
        } else {
            Err(parser.error("an operator or the end"))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl<'a> Parser<'a> {
    fn or(&mut self) -> Parsed<Node> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("fewer brackets inside each other"));
        }
        let first = self.and()?;
        let node = self.row(first, "or", Self::and, Node::Or)?;
        self.depth -= 1;
        Ok(node)
    }

    fn and(&mut self) -> Parsed<Node> {
        let first = self.not()?;
        self.row(first, "and", Self::not, Node::And)
    }

    /// `first`, and what else stands behind `word`.
    fn row(
        &mut self,
        first: Node,
        word: &str,
        next: fn(&mut Self) -> Parsed<Node>,
        of: fn(Vec<Node>) -> Node,
    ) -> Parsed<Node> {
        if !self.word(word) {
            return Ok(first);
        }
        let mut all = vec![first, next(self)?];
        while self.word(word) {
            all.push(next(self)?);
        }
        Ok(of(all))
    }

    fn not(&mut self) -> Parsed<Node> {
        let mut nots = 0_usize;
        while self.word("not") {
            nots += 1;
        }
        let mut node = self.comparison()?;
        // More than two in a row only flip the truth of the result.
        if nots > 0 {
            node = Node::Not(node.into());
        }
        if nots > 0 && nots.is_multiple_of(2) {
            node = Node::Not(node.into());
        }
        Ok(node)
    }

    fn comparison(&mut self) -> Parsed<Node> {
        let left = self.primary()?;
        let Some(operator) = self.operator()? else {
            return Ok(left);
        };
        let right = self.primary()?;
        let before = self.rest;
        if self.operator()?.is_some() {
            self.rest = before;
            return Err(self.error("`and` or `or` between two comparisons"));
        }
        Ok(Node::Compare(left.into(), operator, right.into()))
    }

    fn operator(&mut self) -> Parsed<Option<Operator>> {
        const SIGNS: [(&str, Operator); 6] = [
            ("==", Operator::Equal),
            ("!=", Operator::Unequal),
            ("<=", Operator::AtMost),
            (">=", Operator::AtLeast),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        if let Some((_, operator)) = SIGNS.iter().find(|(sign, _)| self.sign(sign)) {
            return Ok(Some(*operator));
        }
        if self.word("not") {
            return if self.word("in") {
                Ok(Some(Operator::NotIn))
            } else {
                Err(self.error("`in` behind `not`"))
            };
        }
        Ok(self.word("in").then_some(Operator::In))
    }

    fn primary(&mut self) -> Parsed<Node> {
        let mut node = self.atom()?;
        let mut links = 0;
        loop {
            if self.sign("[") {
                let key = self.or()?;
                self.must("]")?;
                node = Node::Index(node.into(), key.into());
            } else if self.sign(".") {
                let method = self.method()?;
                self.must("(")?;
                let before = self.rest;
                let arguments = self.list(")")?.0;
                if !method.takes(arguments.len()) {
                    self.rest = before;
                    return Err(self.error("another number of arguments"));
                }
                node = Node::Call(node.into(), method, arguments);
            } else {
                return Ok(node);
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(self.error("fewer calls behind each other"));
            }
        }
    }

    fn atom(&mut self) -> Parsed<Node> {
        for (word, node) in [
            ("attrs", Node::Attrs),
            ("None", Node::Literal(Value::None)),
            ("True", Node::Literal(Value::Bool(true))),
            ("False", Node::Literal(Value::Bool(false))),
        ] {
            if self.word(word) {
                return Ok(node);
            }
        }
        if self.sign("[") {
            let items = self.list("]")?.0;
            return Ok(Node::List {
                tuple: false,
                items,
            });
        }
        if self.sign("(") {
            let (mut items, comma) = self.list(")")?;
            return Ok(match items.pop() {
                Some(one) if items.is_empty() && !comma => one,
                last => {
                    items.extend(last);
                    Node::List { tuple: true, items }
                }
            });
        }
        let text = self.literal()?;
        Ok(Node::Literal(Value::Text(text.into())))
    }

    /// Items up to `end`, and whether a comma stands behind the last.
    fn list(&mut self, end: &str) -> Parsed<(Vec<Node>, bool)> {
        let mut items = Vec::new();
        let mut comma = false;
        while !self.sign(end) {
            if !items.is_empty() && !comma {
                return Err(self.error("`,` or the closing bracket"));
            }
            items.push(self.or()?);
            comma = self.sign(",");
        }
        Ok((items, comma))
    }

    fn method(&mut self) -> Parsed<Method> {
        const METHODS: [(&str, Method); 6] = [
            ("get", Method::Get),
            ("startswith", Method::StartsWith),
            ("endswith", Method::EndsWith),
            ("lower", Method::Lower),
            ("upper", Method::Upper),
            ("strip", Method::Strip),
        ];
        let found = METHODS.iter().find(|(name, _)| self.word(name));
        let expected = "`get`, `startswith`, `endswith`, `lower`, `upper` or `strip`";
        found.map(|(_, m)| *m).ok_or_else(|| self.error(expected))
    }

    /// `'text'` or `"text"`, on one line.
    fn literal(&mut self) -> Parsed<String> {
        let mut chars = self.rest.chars();
        let Some(quote @ ('\'' | '"')) = chars.next() else {
            return Err(self.error("`attrs`, a text in quotes, a list, `True`, `False` or `None`"));
        };
        let mut text = String::new();
        loop {
            self.rest = chars.as_str();
            match chars.next() {
                None | Some('\n') => return Err(self.error("the closing quote")),
                Some('\\') => text.push(match chars.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(c @ ('\\' | '\'' | '"')) => c,
                    _ => return Err(self.error(r#"`\n`, `\r`, `\t`, `\\`, `\'` or `\"`"#)),
                }),
                Some(c) if c == quote => break,
                Some(c) => text.push(c),
            }
        }
        self.rest = chars.as_str();
        Ok(text)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes `sign` if it is next.
    fn sign(&mut self, sign: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn must(&mut self, sign: &'static str) -> Parsed<()> {
        if self.sign(sign) {
            Ok(())
        } else {
            Err(self.error(if sign == "]" { "`]`" } else { "`(`" }))
        }
    }

    /// Takes `word` if it is next, whole.
    fn word(&mut self, word: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(word);
        let rest = rest.filter(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn error(&self, expected: &'static str) -> ParseError {
        let before = &self.text[..self.text.len() - self.rest.len()];
        let found = match self.rest.split_whitespace().next() {
            Some(word) => {
                let shown: String = word.chars().filter(|c| !c.is_control()).take(20).collect();
                format!("`{shown}`")
            }
            None => "the end".to_owned(),
        };
        ParseError {
            at: before.chars().count() + 1,
            found,
            expected,
        }
    }
}

impl Method {
    fn takes(self, arguments: usize) -> bool {
        match self {
            Self::Get => (1..=2).contains(&arguments),
            Self::StartsWith | Self::EndsWith => arguments == 1,
            Self::Lower | Self::Upper | Self::Strip => arguments == 0,
        }
    }
}
