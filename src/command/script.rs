//! Cuts SQL text into statements, and knows where each begins.
//!
//! In: text with statements that end with `;`. Out: the statements without comments around them, and whether the last one was
//! ended. Semicolons in strings, quoted names and comments do not end a statement. Nothing is parsed here.

use thalweg::Error;

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// From its first word to before its `;`.
    pub text: String,
    /// Line of its first character, from 1.
    pub line: usize,
    /// Column of its first character, from 1.
    pub column: usize,
}

/// The statements of a text.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// All of them, also a last one without `;`.
    pub statements: Vec<Statement>,
    /// False if the last statement, a string or a comment still waits for its end.
    pub ended: bool,
}

enum Piece {
    /// Blanks and comments.
    Blank(usize),
    /// Part of a statement.
    Code(usize),
    /// A string, name or comment without an end: all the rest.
    Open(usize),
    /// The semicolon.
    End,
}

/// Cuts a text.
pub(super) fn cut(text: &str) -> Script {
    let (mut script, mut at, mut start) = (Script { ended: true, ..Script::default() }, 0, None);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        match piece(rest) {
            Piece::End => {
                script.statements.extend(start.take().map(|start| statement(text, start, at)));
                script.ended = true;
                at += 1;
            }
            Piece::Blank(length) => at += length,
            Piece::Code(length) | Piece::Open(length) => {
                start.get_or_insert(at);
                script.ended = false;
                at += length;
            }
        }
    }
    script.statements.extend(start.map(|start| statement(text, start, text.len())));
    script
}

fn statement(text: &str, start: usize, end: usize) -> Statement {
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Statement {
        text: text.get(start..end).unwrap_or_default().trim_end().to_owned(),
        line: 1 + before.matches('\n').count(),
        column: 1 + before.get(line_start..).unwrap_or_default().chars().count(),
    }
}

/// What the text begins with.
fn piece(rest: &str) -> Piece {
    let first = rest.chars().next().unwrap_or(' ');
    match first {
        ';' => Piece::End,
        '\'' | '"' | '`' => quoted(rest, first),
        '-' if rest.starts_with("--") => Piece::Blank(rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => comment(rest),
        _ if first.is_whitespace() => Piece::Blank(first.len_utf8()),
        _ => Piece::Code(first.len_utf8()),
    }
}

/// A string or quoted name; a backslash takes the next character along, except in names.
fn quoted(rest: &str, quote: char) -> Piece {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' if quote != '`' => escaped = true,
            _ if character == quote => return Piece::Code(at + 1),
            _ => {}
        }
    }
    Piece::Open(rest.len())
}

/// A comment in brackets; they nest.
fn comment(rest: &str) -> Piece {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return Piece::Blank(at);
        }
    }
    Piece::Open(rest.len())
}

impl Statement {
    /// The statement at its place in an otherwise blank text, so that places in errors are places in the whole text.
    pub(super) fn in_place(&self) -> String {
        format!("{}{}{}", "\n".repeat(self.line - 1), " ".repeat(self.column - 1), self.text)
    }

    /// Line and column of an error: its own if it has one, else the beginning of the statement.
    pub(super) fn place_of(&self, error: &Error) -> (usize, usize) {
        error.place().and_then(line_and_column).unwrap_or((self.line, self.column))
    }
}

/// The numbers of `line 3, column 8 of the SQL text`.
pub(super) fn line_and_column(place: &str) -> Option<(usize, usize)> {
    let (line, rest) = place.strip_prefix("line ")?.split_once(", column ")?;
    let column = rest.strip_suffix(" of the SQL text").unwrap_or(rest);
    Some((line.parse().ok()?, column.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        cut(text).statements.into_iter().map(|statement| statement.text).collect()
    }

    #[test]
    fn semicolons_in_strings_names_and_comments_end_nothing() {
        let text = "SELECT ';', \"a\\\";\" -- no; not here\n, `x;y` /* nor; /* there; */ */ ; SELECT 2";
        let expected = ["SELECT ';', \"a\\\";\" -- no; not here\n, `x;y`", "SELECT 2"];
        let found = texts(text);
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with(expected[0]), "{found:?}");
        assert_eq!(found[1], expected[1]);
    }

    #[test]
    fn a_statement_knows_its_place() {
        let script = cut("-- words\nSELECT 1;\n\n  /* two */ SELECT 2;");
        let places: Vec<_> = script.statements.iter().map(|found| (found.line, found.column)).collect();
        assert_eq!(places, [(2, 1), (4, 13)]);
        assert!(script.ended);
        assert_eq!(script.statements[1].in_place(), "\n\n\n            SELECT 2");
    }

    #[test]
    fn what_is_open_is_not_ended() {
        for text in ["SELECT 1", "SELECT 'a;", "SELECT 1; /* x ;", "SELECT `a"] {
            assert!(!cut(text).ended, "{text}");
        }
        for text in ["", " -- nothing", "SELECT 1; -- done", ";;"] {
            assert!(cut(text).ended, "{text}");
        }
    }
}
