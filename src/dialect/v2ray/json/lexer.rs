//! The words of a config's text, with its comments: `//`, `#` and `/* */`.

use super::text::string_len;

/// What a text is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A string, a number or a word.
    Atom(&'a str),
    /// One of `{}[]:,`.
    Mark(char),
}

/// A comment, with its marks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comment<'a> {
    pub(super) text: &'a str,
}

impl Comment<'_> {
    /// Something may follow on its line.
    pub(super) fn is_block(&self) -> bool {
        self.text.starts_with("/*")
    }

    /// Its end is that of the text.
    pub(super) fn is_open(&self) -> bool {
        self.is_block() && !self.text[2..].ends_with("*/")
    }
}

/// Bytes of the comment that `text` begins with, from `/*` to `*/`.
pub(super) fn block_len(text: &str) -> usize {
    text[2..].find("*/").map_or(text.len(), |at| at + 4)
}

/// Gives tokens, and the comments between them when it is asked.
pub(super) struct Lexer<'a> {
    rest: &'a str,
    len: usize,
    put_back: Option<Token<'a>>,
    given_back: Vec<Comment<'a>>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text.trim_start_matches('\u{feff}'),
            len: text.len(),
            put_back: None,
            given_back: Vec::new(),
        }
    }

    /// Where it is in the text.
    pub(super) fn at(&self) -> usize {
        self.len - self.rest.len()
    }

    /// The next token; comments before it are passed over.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        if let Some(token) = self.put_back.take() {
            return Some(token);
        }
        self.comments();
        let first = self.rest.chars().next()?;
        if "{}[]:,".contains(first) {
            self.rest = &self.rest[1..];
            return Some(Token::Mark(first));
        }
        let len = match first {
            '"' => string_len(self.rest),
            _ => {
                let ends = |c: char| c.is_whitespace() || "{}[]:,\"#/".contains(c);
                self.rest.find(ends).unwrap_or(self.rest.len())
            }
        };
        let (atom, rest) = self.rest.split_at(len.max(first.len_utf8()));
        self.rest = rest;
        Some(Token::Atom(atom))
    }

    /// Takes the next token if it is this one.
    pub(super) fn next_is(&mut self, mark: char) -> bool {
        match self.next() {
            Some(Token::Mark(found)) if found == mark => true,
            Some(token) => {
                self.put_back(token);
                false
            }
            None => false,
        }
    }

    pub(super) fn put_back(&mut self, token: Token<'a>) {
        self.put_back = Some(token);
    }

    /// All comments up to the next token.
    pub(super) fn comments(&mut self) -> Vec<Comment<'a>> {
        let mut comments = std::mem::take(&mut self.given_back);
        if self.put_back.is_none() {
            self.rest = self.rest.trim_start();
            while let Some(comment) = self.comment() {
                comments.push(comment);
                self.rest = self.rest.trim_start();
            }
        }
        comments
    }

    /// Those before the line's end.
    pub(super) fn comments_of_this_line(&mut self) -> Vec<Comment<'a>> {
        let mut comments = Vec::new();
        while self.put_back.is_none() && self.given_back.is_empty() {
            let spaces = self.rest.len() - self.rest.trim_start().len();
            if self.rest[..spaces].contains('\n') {
                break;
            }
            let before = self.rest;
            self.rest = &self.rest[spaces..];
            match self.comment() {
                Some(comment) => comments.push(comment),
                None => {
                    self.rest = before;
                    break;
                }
            }
        }
        comments
    }

    /// They belong to what comes.
    pub(super) fn give_back(&mut self, comments: Vec<Comment<'a>>) {
        self.given_back = comments;
    }

    /// Whether what comes, a token or a comment, begins a line.
    pub(super) fn line_break_ahead(&self) -> bool {
        self.spaces().contains('\n')
    }

    /// Whether a blank line stands before what comes.
    pub(super) fn blank_line_ahead(&self) -> bool {
        self.spaces().matches('\n').count() > 1
    }

    fn spaces(&self) -> &'a str {
        &self.rest[..self.rest.len() - self.rest.trim_start().len()]
    }

    fn comment(&mut self) -> Option<Comment<'a>> {
        let len = if self.rest.starts_with('#') || self.rest.starts_with("//") {
            self.rest.find('\n').unwrap_or(self.rest.len())
        } else if self.rest.starts_with("/*") {
            block_len(self.rest)
        } else {
            return None;
        };
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(Comment { text })
    }
}
