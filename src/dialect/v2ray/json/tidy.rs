//! A config's text made tidy: two spaces for a level, one space where one belongs; what is said, and every comment, stays.
//!
//! An object that is written on one line stays on one, if it fits; so does a list. One blank line between members stays.

use super::lexer::{Comment, Lexer, Token};
use super::{SyntaxError, Text};
use crate::report::Span;

/// How long a line may get that holds a whole object or list.
const WIDTH: usize = 100;

/// The same config, written tidily.
///
/// # Errors
///
/// When it is no JSON, or when something follows it.
pub fn tidy(text: &str) -> Result<String, SyntaxError> {
    if let (_, Some(place)) = Text::new(text.to_owned()).parse()? {
        let text = "there is something behind the config".to_owned();
        return Err(SyntaxError { place, text });
    }
    let mut reader = Reader {
        tokens: Lexer::new(text),
        text,
    };
    let root = reader.member(None)?;
    let mut out = String::with_capacity(text.len());
    if let Some(root) = &root {
        root.write_lead(&mut out, 0);
        root.value.write(&mut out, 0);
        root.write_trail(&mut out);
        out.push('\n');
    }
    for comment in reader.tokens.comments() {
        out.push_str(comment.text.trim_end());
        out.push('\n');
    }
    Ok(out)
}

/// A value with what stands around it.
struct Member<'a> {
    /// Comments on lines of their own above it.
    lead: Vec<Comment<'a>>,
    /// A blank line stands above all of it.
    spaced: bool,
    key: Option<&'a str>,
    value: Value<'a>,
    /// Comments behind it on its line.
    trail: Vec<Comment<'a>>,
}

enum Value<'a> {
    /// A string, a number or a word, as it is written.
    Atom(&'a str),
    Group(Group<'a>),
}

/// An object or a list.
struct Group<'a> {
    open: char,
    members: Vec<Member<'a>>,
    /// Comments below its last member.
    rest: Vec<Comment<'a>>,
    /// Its first member begins a line of its own.
    is_broken: bool,
}

struct Reader<'a> {
    tokens: Lexer<'a>,
    text: &'a str,
}

impl<'a> Reader<'a> {
    /// The next value, with its key inside an object; nothing where the group ends.
    fn member(&mut self, group: Option<char>) -> Result<Option<Member<'a>>, SyntaxError> {
        let spaced = self.tokens.blank_line_ahead();
        let mut lead = self.tokens.comments();
        let Some(first) = self.tokens.next() else {
            self.tokens.give_back(lead);
            return Ok(None);
        };
        if matches!(first, Token::Mark('}' | ']')) {
            self.tokens.give_back(lead);
            self.tokens.put_back(first);
            return Ok(None);
        }
        let (key, first) = match (group, first) {
            (Some('{'), Token::Atom(key)) => {
                // Comments around the colon go above the whole.
                lead.extend(self.tokens.comments());
                self.expect(':')?;
                lead.extend(self.tokens.comments());
                let value = self.tokens.next().ok_or_else(|| self.broken())?;
                (Some(key), value)
            }
            (_, first) => (None, first),
        };
        let value = match first {
            Token::Atom(text) => Value::Atom(text),
            Token::Mark(open @ ('{' | '[')) => Value::Group(self.group(open)?),
            Token::Mark(_) => return Err(self.broken()),
        };
        let mut trail = self.tokens.comments_of_this_line();
        let before_comma = self.tokens.comments();
        if self.tokens.next_is(',') {
            lead.extend(before_comma);
            // A comment that ends its line is the last on it.
            if trail.last().is_none_or(Comment::is_block) {
                trail.extend(self.tokens.comments_of_this_line());
            }
        } else {
            self.tokens.give_back(before_comma);
        }
        Ok(Some(Member {
            lead,
            spaced,
            key,
            value,
            trail,
        }))
    }

    fn group(&mut self, open: char) -> Result<Group<'a>, SyntaxError> {
        let is_broken = self.tokens.line_break_ahead();
        let mut members = Vec::new();
        while let Some(member) = self.member(Some(open))? {
            members.push(member);
        }
        let rest = self.tokens.comments();
        self.expect(if open == '{' { '}' } else { ']' })?;
        Ok(Group {
            open,
            members,
            rest,
            is_broken,
        })
    }

    fn expect(&mut self, mark: char) -> Result<(), SyntaxError> {
        match self.tokens.next_is(mark) {
            true => Ok(()),
            false => Err(self.broken()),
        }
    }

    /// The text was read as JSON before, so this is for what the two readers see differently.
    fn broken(&self) -> SyntaxError {
        let at = self.tokens.at().min(self.text.len().saturating_sub(1));
        let at = (0..=at).rev().find(|at| self.text.is_char_boundary(*at));
        let at = at.unwrap_or_default();
        SyntaxError {
            place: Span::new(self.text, at..self.text.len()),
            text: "expected JSON".to_owned(),
        }
    }
}

impl Member<'_> {
    fn write_lead(&self, out: &mut String, depth: usize) {
        for comment in &self.lead {
            indent(out, depth);
            out.push_str(comment.text.trim_end());
            out.push('\n');
        }
        indent(out, depth);
        if let Some(key) = self.key {
            out.push_str(key);
            out.push_str(": ");
        }
    }

    fn write_trail(&self, out: &mut String) {
        for comment in &self.trail {
            out.push(' ');
            out.push_str(comment.text.trim_end());
        }
    }

    fn on_one_line(&self, out: &mut String) -> Option<()> {
        if !self.lead.is_empty() || !self.trail.is_empty() {
            return None;
        }
        if let Some(key) = self.key {
            out.push_str(key);
            out.push_str(": ");
        }
        self.value.on_one_line(out)
    }
}

impl Value<'_> {
    fn write(&self, out: &mut String, depth: usize) {
        let group = match self {
            Self::Atom(text) => return out.push_str(text),
            Self::Group(group) => group,
        };
        let taken = out.len() - out.rfind('\n').map_or(0, |at| at + 1);
        let mut line = String::new();
        if self.on_one_line(&mut line).is_some() && taken + line.chars().count() <= WIDTH {
            return out.push_str(&line);
        }
        group.write(out, depth);
    }

    /// Nothing when it is written on several lines.
    fn on_one_line(&self, out: &mut String) -> Option<()> {
        match self {
            Self::Atom(text) => out.push_str(text),
            Self::Group(group) => group.on_one_line(out)?,
        }
        Some(())
    }
}

impl Group<'_> {
    fn on_one_line(&self, out: &mut String) -> Option<()> {
        if !self.rest.is_empty() || self.is_object() && self.is_broken && !self.members.is_empty() {
            return None;
        }
        let space = if self.is_object() && !self.members.is_empty() {
            " "
        } else {
            ""
        };
        out.push(self.open);
        out.push_str(space);
        for (n, member) in self.members.iter().enumerate() {
            if n > 0 {
                out.push_str(", ");
            }
            member.on_one_line(out)?;
        }
        out.push_str(space);
        out.push(self.close());
        Some(())
    }

    fn write(&self, out: &mut String, depth: usize) {
        out.push(self.open);
        out.push('\n');
        for (n, member) in self.members.iter().enumerate() {
            if n > 0 && member.spaced {
                out.push('\n');
            }
            member.write_lead(out, depth + 1);
            member.value.write(out, depth + 1);
            if n + 1 < self.members.len() {
                out.push(',');
            }
            member.write_trail(out);
            out.push('\n');
        }
        for comment in &self.rest {
            indent(out, depth + 1);
            out.push_str(comment.text.trim_end());
            out.push('\n');
        }
        indent(out, depth);
        out.push(self.close());
    }

    fn is_object(&self) -> bool {
        self.open == '{'
    }

    fn close(&self) -> char {
        if self.is_object() { '}' } else { ']' }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_stays_and_so_do_comments() {
        let text = r#"
// above all
{"log":{"loglevel":"warning"}, # behind a member
/* a
   block */
      "inbounds" : [ { "port":1, // the port


  "protocol" /* odd */ : "socks" } ],


 "outbounds":[
   {"protocol":"freedom"}
   // last
 ] /* before the comma */ ,
 "none": {}, "empty": [  ]
 # below
}
// below all"#;
        let expected = r#"// above all
{
  "log": { "loglevel": "warning" }, # behind a member
  /* a
   block */
  "inbounds": [
    {
      "port": 1, // the port

      /* odd */
      "protocol": "socks"
    }
  ],

  "outbounds": [
    { "protocol": "freedom" }
    // last
  ], /* before the comma */
  "none": {},
  "empty": []
  # below
}
// below all
"#;
        let tidied = tidy(text).unwrap();
        assert_eq!(tidied, expected);
        assert_eq!(tidy(&tidied).unwrap(), tidied);
    }

    #[test]
    fn a_list_on_lines_of_its_own_comes_onto_one_where_it_fits() {
        assert_eq!(tidy("[\n1,\n2\n]").unwrap(), "[1, 2]\n");
        let long = format!("[\"{}\", \"{}\"]", "a".repeat(60), "b".repeat(60));
        let lines = tidy(&long).unwrap();
        assert_eq!(lines.lines().count(), 4, "{lines}");
        // An object's author may want lines.
        assert_eq!(tidy("{\n\"a\":1}").unwrap(), "{\n  \"a\": 1\n}\n");
        assert_eq!(tidy("{\"a\":1\n}").unwrap(), "{ \"a\": 1 }\n");
    }

    #[test]
    fn a_comment_that_ends_its_line_takes_no_other_along() {
        let text = "{\"a\": 1 // x\n, /* y\n z */\n\"b\": 2 // u\n, // v\n\"c\": 3}";
        let tidied = tidy(text).unwrap();
        assert_eq!(
            tidied,
            "{\n  \"a\": 1, // x\n  /* y\n z */\n  \"b\": 2, // u\n  // v\n  \"c\": 3\n}\n"
        );
        assert_eq!(tidy(&tidied).unwrap(), tidied);
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let error = tidy("{\n  \"a\": ]\n}").unwrap_err();
        assert_eq!((error.place.line, error.place.column), (2, 8));
        let error = tidy("{} {}").unwrap_err();
        assert_eq!(error.place.column, 4);
    }
}
