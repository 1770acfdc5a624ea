//! Java's login lines (`sasl.jaas.config`): `some.Module required username="u" password='p';`.
//!
//! In: a line. Out: the options of its module. Values are words or stand in single or double quotes, with Java's escapes. What is no
//! such line has no options.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// A piece of a line.
#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Sign(char),
}

/// The options of the first module in the line.
pub(super) fn options(line: &str) -> BTreeMap<String, String> {
    let tokens = tokens(line);
    let end = tokens.iter().position(|token| *token == Token::Sign(';')).unwrap_or(tokens.len());
    let assignment = |three: &[Token]| match three {
        [Token::Word(name), Token::Sign('='), Token::Word(value)] => Some((name.clone(), value.clone())),
        _ => None,
    };
    tokens[..end].windows(3).filter_map(assignment).collect()
}

fn tokens(line: &str) -> Vec<Token> {
    let mut rest = line.chars().peekable();
    let mut found = Vec::new();
    while let Some(next) = rest.next() {
        match next {
            space if space.is_whitespace() => {}
            quote @ ('"' | '\'') => found.push(Token::Word(quoted(&mut rest, quote))),
            sign @ ('=' | ';') => found.push(Token::Sign(sign)),
            first => found.push(Token::Word(word(&mut rest, first))),
        }
    }
    found
}

fn word(rest: &mut Peekable<Chars<'_>>, first: char) -> String {
    let mut text = String::from(first);
    while let Some(next) = rest.next_if(|next| !next.is_whitespace() && !"=;\"'".contains(*next)) {
        text.push(next);
    }
    text
}

/// Up to the closing quote.
fn quoted(rest: &mut Peekable<Chars<'_>>, quote: char) -> String {
    let mut text = String::new();
    while let Some(next) = rest.next() {
        match next {
            '\\' => text.extend(rest.next().map(escaped)),
            next if next == quote => break,
            next => text.push(next),
        }
    }
    text
}

fn escaped(letter: char) -> char {
    match letter {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'a' => '\u{7}',
        'v' => '\u{b}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(line: &str) -> Option<String> {
        options(line).remove("password")
    }

    #[test]
    fn values_stand_in_either_quotes_or_in_none() {
        for line in [
            r#"m.M required username="u" password="p=;'x";"#,
            r#"m.M required password = "p=;'x" username='u';"#,
            r#"m.M required password='p=;\'x' ;"#,
        ] {
            assert_eq!(password(line).as_deref(), Some("p=;'x"), "{line}");
        }
        assert_eq!(password("m.M required username=u password=p;").as_deref(), Some("p"));
        assert_eq!(password(r#"m.M required password="a\\b\"c\td";"#).as_deref(), Some("a\\b\"c\td"));
    }

    #[test]
    fn another_option_of_such_an_end_is_another_option() {
        let found = options(r#"m.M required keypassword="no" password="yes"; m.N required password="late";"#);
        assert_eq!(found["password"], "yes");
        assert_eq!(found["keypassword"], "no");
    }

    #[test]
    fn what_is_no_line_has_no_options() {
        for line in ["", "hunter2", "password=", "=;=;", "'", "\"\\", "password"] {
            assert_eq!(password(line), None, "{line}");
        }
    }
}
