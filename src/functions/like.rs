//! LIKE patterns: `%` is any text, `_` any one character, the escape character takes the next one literally.
//!
//! In: a pattern and its escape character. Out: a matcher whose time is linear in the text. Line ends match like all others.

use regex::{Regex, RegexBuilder};

use crate::{Error, Result};

/// A compiled LIKE pattern.
#[derive(Debug)]
pub struct Pattern {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Equals(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    General(Regex),
}

enum Part {
    Text(String),
    One,
    Any,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// `INVALID_FORMAT.ESC_IN_THE_MIDDLE` or `.ESC_AT_THE_END` if the escape character stands before something that needs
    /// none; `INVALID_ESC` if it is not one character.
    pub fn new(pattern: &str, escape: &str, ignore_case: bool) -> Result<Self> {
        let parts = parse(pattern, escape_character(escape)?)?;
        let kind = match (ignore_case, parts.as_slice()) {
            (false, []) => Kind::Equals(String::new()),
            (false, [Part::Text(text)]) => Kind::Equals(text.clone()),
            (false, [Part::Text(text), Part::Any]) => Kind::StartsWith(text.clone()),
            (false, [Part::Any, Part::Text(text)]) => Kind::EndsWith(text.clone()),
            (false, [Part::Any, Part::Text(text), Part::Any]) => Kind::Contains(text.clone()),
            _ => Kind::General(general(&parts, ignore_case)?),
        };
        Ok(Pattern { kind })
    }

    /// True if the whole text fits.
    pub fn matches(&self, text: &str) -> bool {
        match &self.kind {
            Kind::Equals(other) => text == other,
            Kind::StartsWith(start) => text.starts_with(start.as_str()),
            Kind::EndsWith(end) => text.ends_with(end.as_str()),
            Kind::Contains(part) => text.contains(part.as_str()),
            Kind::General(regex) => regex.is_match(text),
        }
    }
}

fn escape_character(escape: &str) -> Result<char> {
    let mut characters = escape.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(Error::query("INVALID_ESC", format!("the escape must be one character but is '{escape}'"))),
    }
}

fn parse(pattern: &str, escape: char) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            _ if character == escape => add_text(&mut parts, escaped(characters.next(), escape, pattern)?),
            '%' if matches!(parts.last(), Some(Part::Any)) => {}
            '%' => parts.push(Part::Any),
            '_' => parts.push(Part::One),
            _ => add_text(&mut parts, character),
        }
    }
    Ok(parts)
}

fn escaped(next: Option<char>, escape: char, pattern: &str) -> Result<char> {
    match next {
        Some(next) if next == escape || next == '%' || next == '_' => Ok(next),
        Some(next) => Err(Error::data(
            "INVALID_FORMAT.ESC_IN_THE_MIDDLE",
            format!("the escape character must not stand before '{next}' in the pattern '{pattern}'"),
        )),
        None => Err(Error::data(
            "INVALID_FORMAT.ESC_AT_THE_END",
            format!("the escape character must not end the pattern '{pattern}'"),
        )),
    }
}

fn add_text(parts: &mut Vec<Part>, character: char) {
    match parts.last_mut() {
        Some(Part::Text(text)) => text.push(character),
        _ => parts.push(Part::Text(character.to_string())),
    }
}

fn general(parts: &[Part], ignore_case: bool) -> Result<Regex> {
    let mut pattern = String::from("\\A");
    for part in parts {
        match part {
            Part::Text(text) => pattern.push_str(&regex::escape(text)),
            Part::One => pattern.push('.'),
            Part::Any => pattern.push_str(".*"),
        }
    }
    pattern.push_str("\\z");
    RegexBuilder::new(&pattern)
        .dot_matches_new_line(true)
        .case_insensitive(ignore_case)
        .build()
        .map_err(|cause| Error::unsupported("the LIKE pattern is too large").caused_by(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        let matches = |text: &str, pattern: &str| Pattern::new(pattern, "\\", false).expect("valid").matches(text);
        assert!(matches("abc", "a%") && matches("abc", "_b_") && matches("a%c", "a\\%c") && matches("", "%%"));
        assert!(matches("a\nb", "a_b") && matches("xaby", "%ab%") && matches("xab", "%ab"));
        assert!(!matches("abc", "a") && !matches("abc", "a\\%") && !matches("ABC", "abc"));
        assert!(Pattern::new("a\\b", "\\", false).is_err() && Pattern::new("a\\", "\\", false).is_err());
    }
}
