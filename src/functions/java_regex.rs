//! Java's regular expressions on the `regex` crate, whose time is linear in the text.
//!
//! In: a pattern in Java's syntax. Out: a [`Pattern`], and its matches in the order `Matcher.find` gives them (an empty match
//! right after another match counts). What means something else in the two syntaxes is translated; what linear time rules
//! out (look-around, back-references, possessive quantifiers, atomic groups) is refused.

use memchr::memmem::Finder;
use regex::{Captures, Regex, RegexBuilder};

use super::java_class;
use crate::{Error, Result};

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The translated pattern.
    pub regex: Regex,
    /// Set if the pattern stands for one text only.
    literal: Option<Finder<'static>>,
}

/// Characters that mean something in a pattern.
const META: &str = r"\.+*?()|[]{}^$";

/// What a pattern is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Only whether it matches: `$` may eat a final line end.
    Test,
    /// Where it matches.
    Find,
}

impl Pattern {
    /// Compiles a pattern for function `function` (named in errors).
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE.PATTERN` for a malformed pattern; unsupported for what linear time rules out.
    pub fn new(pattern: &str, purpose: Purpose, function: &str) -> Result<Self> {
        let translated =
            Translator::new(pattern, purpose).translate().map_err(|trouble| trouble.error(pattern, function))?;
        let regex = RegexBuilder::new(&translated).size_limit(64 << 20).build();
        let regex = regex.map_err(|cause| match cause {
            regex::Error::CompiledTooBig(_) => {
                Error::unsupported(format!("the regular expression '{pattern}' is too large"))
            }
            cause => Trouble::Malformed.error(pattern, function).caused_by(cause),
        })?;
        let plain = !pattern.is_empty() && !pattern.contains(|c| META.contains(c));
        Ok(Pattern { regex, literal: plain.then(|| Finder::new(pattern).into_owned()) })
    }

    /// Number of groups, without the whole match.
    pub fn groups(&self) -> usize {
        self.regex.captures_len() - 1
    }

    /// The one text that the pattern stands for; none if it stands for several.
    pub fn literal(&self) -> Option<&Finder<'static>> {
        self.literal.as_ref()
    }

    /// The spans of all matches.
    pub fn matches<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let found = self.regex.find_at(text, from?);
            let span = found.map(|found| (found.start(), found.end()));
            from = span.and_then(|span| after(text, span));
            span
        })
    }

    /// All matches with their groups.
    pub fn captures<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Captures<'a>> + 'a {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let found = self.regex.captures_at(text, from?);
            let span = found.as_ref().and_then(|found| found.get(0)).map(|whole| (whole.start(), whole.end()));
            from = span.and_then(|span| after(text, span));
            found
        })
    }
}

/// Where the search goes on after a match: at its end, one character later if it was empty.
fn after(text: &str, (start, end): (usize, usize)) -> Option<usize> {
    if start < end {
        return Some(end);
    }
    text[end..].chars().next().map(|next| end + next.len_utf8())
}

/// Why a pattern cannot be translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It is no pattern in Java either.
    Malformed,
    /// It needs more than linear time, or a property of characters that is not known here.
    Unsupported(String),
}

impl Trouble {
    fn error(&self, pattern: &str, function: &str) -> Error {
        match self {
            Trouble::Malformed => Error::data(
                "INVALID_PARAMETER_VALUE.PATTERN",
                format!("parameter 'regexp' of function '{function}' is no regular expression: '{pattern}'"),
            ),
            Trouble::Unsupported(what) => {
                Error::unsupported(format!("the regular expression '{pattern}' of function '{function}' uses {what}"))
                    .hint("Regular expressions run in linear time, which rules some constructs out.")
            }
        }
    }
}

/// What `.` does not match, and `$` may stand before.
const LINE_END: &str = r"\n\r\x{85}\x{2028}\x{2029}";

/// Flags in force; they end with the group in which they were set.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    ignore_case: bool,
    multi_line: bool,
    dot_all: bool,
    comments: bool,
    unix_lines: bool,
    unicode_classes: bool,
}

struct Translator<'a> {
    rest: std::str::Chars<'a>,
    purpose: Purpose,
    flags: Flags,
    outer: Vec<Flags>,
    out: String,
}

type Step<T = ()> = std::result::Result<T, Trouble>;

fn unsupported<T>(what: &str) -> Step<T> {
    Err(Trouble::Unsupported(what.to_string()))
}

impl<'a> Translator<'a> {
    fn new(pattern: &'a str, purpose: Purpose) -> Self {
        let (rest, out) = (pattern.chars(), String::with_capacity(pattern.len() + 16));
        Translator { rest, purpose, flags: Flags::default(), outer: Vec::new(), out }
    }

    fn translate(mut self) -> Step<String> {
        while let Some(character) = self.rest.next() {
            self.item(character)?;
        }
        Ok(self.out)
    }

    fn item(&mut self, character: char) -> Step {
        match character {
            '\\' => self.escape(),
            '[' => java_class::translate(&mut self.rest, self.flags.unicode_classes, &mut self.out),
            '(' => self.open(),
            ')' => self.close(),
            '.' => self.any(),
            '^' => self.put(if self.flags.multi_line { r"(?mR:^)" } else { r"\A" }),
            '$' => self.end(),
            '*' | '+' | '?' => self.quantifier(character),
            '{' => self.counted(),
            '#' if self.flags.comments => self.comment(),
            _ if self.flags.comments && character.is_ascii_whitespace() => Ok(()),
            '|' => self.put("|"),
            _ => {
                java_class::put_literal(&mut self.out, character);
                Ok(())
            }
        }
    }

    fn put(&mut self, text: &str) -> Step {
        self.out.push_str(text);
        Ok(())
    }

    fn next_is(&mut self, expected: &str) -> bool {
        match self.rest.as_str().strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest.chars();
                true
            }
            None => false,
        }
    }

    fn comment(&mut self) -> Step {
        self.rest.by_ref().find(|character| *character == '\n');
        Ok(())
    }

    fn any(&mut self) -> Step {
        match (self.flags.dot_all, self.flags.unix_lines) {
            (true, _) => self.put("(?s:.)"),
            (_, true) => self.put(r"[^\n]"),
            _ => self.put(&format!("[^{LINE_END}]")),
        }
    }

    fn end(&mut self) -> Step {
        match (self.flags.multi_line, self.purpose) {
            (true, _) => self.put(r"(?mR:$)"),
            (false, Purpose::Find) => self.put(r"\z"),
            (false, Purpose::Test) => self.put(&format!(r"(?:\r\n|[{LINE_END}])?\z")),
        }
    }

    fn quantifier(&mut self, character: char) -> Step {
        self.out.push(character);
        self.after_quantifier()
    }

    fn after_quantifier(&mut self) -> Step {
        if self.next_is("+") {
            return unsupported("a possessive quantifier");
        }
        if self.next_is("?") {
            self.out.push('?');
        }
        Ok(())
    }

    fn counted(&mut self) -> Step {
        let (count, rest) = self.rest.as_str().split_once('}').ok_or(Trouble::Malformed)?;
        let numbers = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (low, high) = count.split_once(',').unwrap_or((count, ""));
        if low.is_empty() || !numbers(low) || !numbers(high) {
            return Err(Trouble::Malformed);
        }
        self.rest = rest.chars();
        self.put(&format!("{{{count}}}"))?;
        self.after_quantifier()
    }

    fn open(&mut self) -> Step {
        self.outer.push(self.flags);
        if !self.next_is("?") {
            return self.put("(");
        }
        match self.rest.as_str() {
            rest if rest.starts_with(['=', '!']) => unsupported("look-ahead"),
            rest if rest.starts_with("<=") || rest.starts_with("<!") => unsupported("look-behind"),
            rest if rest.starts_with('>') => unsupported("an atomic group"),
            rest if rest.starts_with('<') => self.put("(?"),
            _ => self.open_with_flags(),
        }
    }

    /// `(?i)`, `(?i-m:`, `(?:`: flags for the rest of this group, or for a group of their own.
    fn open_with_flags(&mut self) -> Step {
        let mut on = true;
        loop {
            match self.rest.next().ok_or(Trouble::Malformed)? {
                '-' => on = false,
                ':' => {
                    let case = if self.flags.ignore_case { "(?i:" } else { "(?-i:" };
                    return self.put(case);
                }
                ')' => {
                    // The flags hold to the end of the group around, so this parenthesis opened nothing.
                    self.outer.pop();
                    return self.put(if self.flags.ignore_case { "(?i)" } else { "(?-i)" });
                }
                flag => self.set(flag, on)?,
            }
        }
    }

    fn set(&mut self, flag: char, on: bool) -> Step {
        match flag {
            'i' => self.flags.ignore_case = on,
            'm' => self.flags.multi_line = on,
            's' => self.flags.dot_all = on,
            'x' => self.flags.comments = on,
            'd' => self.flags.unix_lines = on,
            'U' => self.flags.unicode_classes = on,
            'u' => {}
            _ => return Err(Trouble::Malformed),
        }
        Ok(())
    }

    fn close(&mut self) -> Step {
        self.flags = self.outer.pop().ok_or(Trouble::Malformed)?;
        self.put(")")
    }

    fn escape(&mut self) -> Step {
        let Some(character) = self.rest.clone().next() else { return Err(Trouble::Malformed) };
        match character {
            'Q' => self.quoted(),
            'b' | 'B' | 'A' | 'z' => {
                self.rest.next();
                self.out.push('\\');
                self.out.push(character);
                Ok(())
            }
            'Z' => {
                self.rest.next();
                self.end()
            }
            'R' => {
                self.rest.next();
                self.put(&format!(r"(?:\r\n|[\x0B\x0C{LINE_END}])"))
            }
            'G' => unsupported("the end of the previous match"),
            'X' => unsupported("grapheme clusters"),
            'k' | '1'..='9' => unsupported("a back-reference"),
            _ => {
                let class = java_class::escape(&mut self.rest, self.flags.unicode_classes)?;
                class.put(&mut self.out, false);
                Ok(())
            }
        }
    }

    fn quoted(&mut self) -> Step {
        self.rest.next();
        let rest = self.rest.as_str();
        let (text, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
        self.rest = rest.chars();
        text.chars().for_each(|character| java_class::put_literal(&mut self.out, character));
        Ok(())
    }
}

/// The replacement of `regexp_replace`: text with references `$1` and `${name}` to groups.
#[derive(Debug)]
pub struct Replacement {
    parts: Result<Vec<Part>>,
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Replacement {
    /// Reads a replacement for this pattern. What is wrong with it shows when it is first used, as in Java.
    pub fn new(text: &str, pattern: &Pattern) -> Self {
        Replacement { parts: replacement_parts(text, pattern) }
    }

    /// Gives what a match is replaced with, piece by piece.
    ///
    /// # Errors
    /// A reference to a group that does not exist, or a lone `$` or backslash.
    pub fn expand(&self, found: &Captures<'_>, mut put: impl FnMut(&str)) -> Result<()> {
        for part in self.parts.as_ref().map_err(Error::clone)? {
            match part {
                Part::Text(text) => put(text),
                Part::Group(group) => put(found.get(*group).map_or("", |group| group.as_str())),
            }
        }
        Ok(())
    }
}

fn replacement_parts(text: &str, pattern: &Pattern) -> Result<Vec<Part>> {
    let illegal = || Error::data("INVALID_PARAMETER_VALUE.PATTERN", format!("illegal group reference in '{text}'"));
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => plain.push(rest.next().ok_or_else(illegal)?),
            '$' => {
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Group(group(&mut rest, pattern).ok_or_else(illegal)?));
            }
            _ => plain.push(character),
        }
    }
    parts.push(Part::Text(plain));
    parts.retain(|part| *part != Part::Text(String::new()));
    Ok(parts)
}

/// The group after a `$`: as many digits as still name a group, or a name in braces.
fn group(rest: &mut std::str::Chars<'_>, pattern: &Pattern) -> Option<usize> {
    if let Some(named) = rest.as_str().strip_prefix('{') {
        let (name, after) = named.split_once('}')?;
        *rest = after.chars();
        return pattern.regex.capture_names().position(|other| other == Some(name));
    }
    let mut group = rest.next()?.to_digit(10)? as usize;
    while let Some(digit) = rest.clone().next().and_then(|next| next.to_digit(10)) {
        let longer = group * 10 + digit as usize;
        if longer > pattern.groups() {
            break;
        }
        rest.next();
        group = longer;
    }
    (group <= pattern.groups()).then_some(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern, Purpose::Test, "rlike").expect("supported").regex.is_match(text)
    }

    #[test]
    fn java_syntax_means_what_it_means_in_java() {
        assert!(is_match("abc$", "abc\n") && !is_match("a.b", "a\rb") && is_match("(?s)a.b", "a\nb"));
        assert!(!is_match("^\\d$", "٣") && is_match("\\Qa.b\\E", "a.b") && !is_match("\\Qa.b\\E", "axb"));
        assert!(
            is_match("\\p{Alpha}+\\x41\\u0042", "xAB")
                && is_match("[a-z&&[^bc]]", "d")
                && !is_match("[a-z&&[^bc]]", "b")
        );
        assert!(is_match("\\<b\\>", "<b>") && is_match("(?x) a b # comment", "ab") && is_match("(?i:A)b", "ab"));
        assert!(
            is_match("(?m)^b$", "a\nb\r\nc") && is_match("[\\w-]+@\\h", "a-b@\t") && is_match("\\p{Lu}\\P{Lu}", "Éa")
        );
    }

    #[test]
    fn what_is_not_linear_is_refused() {
        for pattern in ["(?=a)", "(?<!a)b", "(a)\\1", "a++", "(?>a)"] {
            let error = Pattern::new(pattern, Purpose::Find, "rlike").expect_err("refused");
            assert_eq!(error.fault(), crate::error::Fault::Unsupported, "{pattern}");
        }
        for pattern in ["[", "(", "a{", "\\", "\\y", "*"] {
            let error = Pattern::new(pattern, Purpose::Find, "rlike").expect_err("malformed");
            assert_eq!(error.condition(), Some("INVALID_PARAMETER_VALUE.PATTERN"), "{pattern}");
        }
    }

    #[test]
    fn empty_matches_after_a_match_count() {
        let pattern = Pattern::new("b*", Purpose::Find, "regexp_replace").expect("valid");
        assert_eq!(pattern.matches("abc").collect::<Vec<_>>(), [(0, 0), (1, 2), (2, 2), (3, 3)]);
    }
}
