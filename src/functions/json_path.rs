//! JSON paths (`$.a.b[0]['c d'][*]`) over JSON text, as `get_json_object` has them.
//!
//! In: a path and the text of one JSON value. Out: what the path finds, written as text: a string as it is, all else as
//! compact JSON. Nothing is built in between; the text is walked and the parts found are copied.

use crate::formats::json::encode::push_string;
use crate::formats::json::scan::{Kind, Scanner, Syntax, Token, unescape};
use crate::types::number_text::push_double;

/// What Spark's JSON functions let through.
pub const LENIENT: Syntax = Syntax {
    comments: false,
    unquoted_names: false,
    single_quotes: true,
    leading_zeros: false,
    non_numeric: false,
    any_escape: false,
    control_characters: true,
};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    AnyName,
    Index(usize),
    AnyIndex,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    steps: Vec<Step>,
}

impl Path {
    /// `None` if the text is no path.
    pub fn parse(text: &str) -> Option<Path> {
        let mut rest = text.trim_start().strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = step(rest)?;
            steps.push(step);
            rest = after;
        }
        Some(Path { steps })
    }

    /// The path to the member of this name.
    pub fn member(name: &str) -> Path {
        Path { steps: vec![Step::Name(name.to_owned())] }
    }

    /// Writes what the path finds in `text`; false if it finds nothing or the text is malformed.
    pub fn find(&self, text: &str, out: &mut Found) -> bool {
        out.clear();
        let bytes = text.as_bytes();
        match Scanner::new(bytes, LENIENT).root() {
            Ok(Some(root)) => walk(bytes, root, &self.steps, Style::Raw, out),
            _ => false,
        }
    }
}

fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix("['") {
        let (name, rest) = rest.split_once("']")?;
        let valid = !name.is_empty() && !name.contains(['\'', '?']);
        let step = if name == "*" { Step::AnyName } else { Step::Name(name.to_string()) };
        return valid.then_some((step, rest));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (index, rest) = rest.split_once(']')?;
        let step = if index.trim() == "*" { Step::AnyIndex } else { Step::Index(index.trim().parse().ok()?) };
        return Some((step, rest));
    }
    let rest = text.strip_prefix('.')?;
    if let Some(rest) = rest.strip_prefix('*') {
        return Some((Step::AnyName, rest));
    }
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    (end > 0).then(|| (Step::Name(rest[..end].to_string()), &rest[end..]))
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A string without quotes.
    Raw,
    /// JSON.
    Quoted,
    /// JSON, arrays being dissolved into the array around.
    Flat,
}

/// The text found so far; used again from row to row.
#[derive(Debug, Default)]
pub struct Found {
    text: String,
    scratch: Vec<u8>,
    comma: bool,
}

impl Found {
    fn clear(&mut self) {
        self.text.clear();
        self.comma = false;
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn push(&mut self, bytes: &[u8]) {
        self.text.push_str(&String::from_utf8_lossy(bytes));
    }

    fn item(&mut self) {
        if self.comma {
            self.text.push(',');
        }
        self.comma = true;
    }

    fn open(&mut self, bracket: char) {
        self.item();
        self.text.push(bracket);
        self.comma = false;
    }

    fn close(&mut self, bracket: char) {
        self.text.push(bracket);
        self.comma = true;
    }

    fn raw_string(&mut self, bytes: &[u8], token: Token) {
        self.item();
        if token.kind != Kind::Escaped {
            return self.push(token.of(bytes));
        }
        self.scratch.clear();
        unescape(token.of(bytes), &mut self.scratch);
        self.text.push_str(&String::from_utf8_lossy(&self.scratch));
    }

    fn quoted_string(&mut self, bytes: &[u8], token: Token) {
        if token.kind != Kind::Escaped {
            return push_string(&String::from_utf8_lossy(token.of(bytes)), &mut self.text);
        }
        self.scratch.clear();
        unescape(token.of(bytes), &mut self.scratch);
        push_string(&String::from_utf8_lossy(&self.scratch), &mut self.text);
    }

    /// Copies a value as compact JSON; numbers with a point get Java's spelling of the DOUBLE.
    fn copy(&mut self, bytes: &[u8], token: Token) {
        match token.kind {
            Kind::Object => {
                self.open('{');
                let members = Scanner::within(bytes, token, LENIENT).members(0, |name, value| {
                    self.item();
                    self.quoted_string(bytes, name);
                    self.text.push(':');
                    self.comma = false;
                    self.copy(bytes, value);
                });
                debug_assert!(members.is_ok(), "the scanner checked the object before");
                self.close('}');
            }
            Kind::Array => {
                self.open('[');
                each_element(bytes, token, |element| self.copy(bytes, element));
                self.close(']');
            }
            Kind::Plain | Kind::Escaped => {
                self.item();
                self.quoted_string(bytes, token);
            }
            Kind::Float => self.float(token.of(bytes)),
            _ => {
                self.item();
                self.push(token.of(bytes));
            }
        }
    }

    fn float(&mut self, text: &[u8]) {
        self.item();
        match std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()).filter(|value| value.is_finite())
        {
            Some(value) => push_double(value, &mut self.text),
            None => self.push(text),
        }
    }
}

fn each_element(bytes: &[u8], array: Token, mut visit: impl FnMut(Token)) {
    let elements = Scanner::within(bytes, array, LENIENT).elements(0, |element| {
        visit(element);
        true
    });
    debug_assert!(elements.is_ok(), "the scanner checked the array before");
}

fn element(bytes: &[u8], array: Token, index: usize) -> Option<Token> {
    let (mut at, mut found) = (0, None);
    let elements = Scanner::within(bytes, array, LENIENT).elements(0, |element| {
        if at == index {
            found = Some(element);
        }
        at += 1;
        found.is_none()
    });
    debug_assert!(elements.is_ok(), "the scanner checked the array before");
    found
}

/// Writes what the steps find below a value; true if they find anything.
fn walk(bytes: &[u8], value: Token, steps: &[Step], style: Style, out: &mut Found) -> bool {
    match (value.kind, steps) {
        (Kind::Array, []) if style == Style::Flat => {
            let mut any = false;
            each_element(bytes, value, |element| any |= walk(bytes, element, steps, style, out));
            any
        }
        (_, []) => {
            match style {
                Style::Raw if value.is_string() => out.raw_string(bytes, value),
                _ => out.copy(bytes, value),
            }
            true
        }
        (Kind::Object, [Step::Name(_) | Step::AnyName, ..]) => walk_object(bytes, value, steps, style, out),
        (Kind::Array, [Step::AnyIndex, Step::AnyIndex, rest @ ..]) => {
            walk_all(bytes, value, rest, Style::Flat, out) > 0
        }
        (Kind::Array, [Step::AnyIndex, rest @ ..]) if style != Style::Quoted => {
            let inner = if style == Style::Raw { Style::Quoted } else { style };
            walk_some(bytes, value, rest, inner, out)
        }
        (Kind::Array, [Step::AnyIndex, rest @ ..]) => walk_all(bytes, value, rest, Style::Quoted, out) > 0,
        (Kind::Array, [Step::Index(index), rest @ ..]) => {
            let style = if rest.first() == Some(&Step::AnyIndex) { Style::Quoted } else { style };
            element(bytes, value, *index).is_some_and(|element| walk(bytes, element, rest, style, out))
        }
        _ => false,
    }
}

/// The first member that fits and holds something.
fn walk_object(bytes: &[u8], object: Token, steps: &[Step], style: Style, out: &mut Found) -> bool {
    let Some((step, rest)) = steps.split_first() else { return false };
    let mut found = false;
    let members = Scanner::within(bytes, object, LENIENT).members(0, |name, value| {
        let fits = match step {
            Step::Name(wanted) => value.kind != Kind::Null && is_named(bytes, name, wanted, &mut out.scratch),
            _ => true,
        };
        found = found || fits && walk(bytes, value, rest, style, out);
    });
    debug_assert!(members.is_ok(), "the scanner checked the object before");
    found
}

/// True if the name in the text is `wanted`.
pub fn is_named(bytes: &[u8], name: Token, wanted: &str, scratch: &mut Vec<u8>) -> bool {
    if name.kind != Kind::Escaped {
        return name.of(bytes) == wanted.as_bytes();
    }
    scratch.clear();
    unescape(name.of(bytes), scratch);
    scratch.as_slice() == wanted.as_bytes()
}

/// An array of what the steps find below each element; returns how many elements held something.
fn walk_all(bytes: &[u8], array: Token, steps: &[Step], style: Style, out: &mut Found) -> usize {
    let mut hits = 0;
    out.open('[');
    each_element(bytes, array, |element| hits += usize::from(walk(bytes, element, steps, style, out)));
    out.close(']');
    hits
}

/// As [`walk_all`], but a single hit stands alone and none leaves nothing.
fn walk_some(bytes: &[u8], array: Token, steps: &[Step], style: Style, out: &mut Found) -> bool {
    let (start, comma) = (out.text.len(), out.comma);
    match walk_all(bytes, array, steps, style, out) {
        0 => {
            out.text.truncate(start);
            out.comma = comma;
            false
        }
        1 => {
            out.text.pop();
            out.text.remove(start + usize::from(comma));
            true
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, path: &str) -> Option<String> {
        let mut out = Found::default();
        Path::parse(path)?.find(text, &mut out).then(|| out.text().to_string())
    }

    #[test]
    fn paths_find_what_spark_finds() {
        let text = r#"{"a":{"b":[1,{"c":"x\"y"},[2.50,3]]},"n":null,"d e":'q'}"#;
        assert_eq!(find(text, "$.a.b[1].c").as_deref(), Some("x\"y"));
        assert_eq!(find(text, "$.a.b[1]").as_deref(), Some(r#"{"c":"x\"y"}"#));
        assert_eq!(find(text, "$.a.b[*]").as_deref(), Some(r#"[1,{"c":"x\"y"},[2.5,3]]"#));
        assert_eq!(find(text, "$.a.b[*].c").as_deref(), Some("\"x\\\"y\""));
        assert_eq!(find(text, "$['d e']").as_deref(), Some("q"));
        assert_eq!(find("[[1],[2,3]]", "$[*][*]").as_deref(), Some("[1,2,3]"));
        for nothing in ["$.n", "$.z", "$.a.b[9]", "a", "$.", "$[x]"] {
            assert_eq!(find(text, nothing), None, "{nothing}");
        }
    }
}
