//! Completion and line ends of the shell.
//!
//! In: the line and the cursor. Out: keywords, names of tables and views, and functions that begin with the word at the
//! cursor; whether Enter ends the input (a `;` or a command) or goes on to the next line.

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper, Result};
use thalweg::functions;
use thalweg::session::Session;

use super::super::script;

const KEYWORDS: &[&str] = &[
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CREATE",
    "CROSS",
    "DELAY",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IF",
    "IN",
    "INNER",
    "INSERT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOCATION",
    "NOT",
    "NULL",
    "OF",
    "ON",
    "OPTIONS",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "REPLACE",
    "RESET",
    "RIGHT",
    "SELECT",
    "SET",
    "SHOW",
    "STREAM",
    "TABLE",
    "TABLES",
    "TEMPORARY",
    "THEN",
    "TIMESTAMP",
    "TRUE",
    "UNION",
    "USING",
    "VALUES",
    "VIEW",
    "VIEWS",
    "WATERMARK",
    "WHEN",
    "WHERE",
    "WITH",
];

const COMMANDS: &[&str] = &["\\help", "\\queries", "\\quit", "\\stop"];

/// What the editor asks.
pub(super) struct SqlHelper {
    session: Session,
}

impl SqlHelper {
    /// Completes with the names of this session.
    pub(super) fn new(session: &Session) -> Self {
        SqlHelper { session: session.clone() }
    }

    fn candidates(&self, word: &str) -> Vec<Pair> {
        let lower = word.to_lowercase();
        let fits = |name: &str| name.to_lowercase().starts_with(&lower);
        let keywords = KEYWORDS.iter().filter(|name| fits(name)).map(|name| same(keyword(name, word)));
        let commands = COMMANDS.iter().filter(|name| fits(name)).map(|name| same((*name).to_owned()));
        let listed = self.session.catalog().list().into_iter().map(|listed| listed.name);
        let tables = listed.filter(|name| fits(name)).map(same);
        let functions = functions::names().filter(|name| fits(name)).map(call);
        let mut found: Vec<Pair> = tables.chain(keywords).chain(functions).chain(commands).collect();
        found.dedup_by(|one, other| one.replacement == other.replacement);
        found
    }
}

/// In the case of the letters typed so far.
fn keyword(name: &str, typed: &str) -> String {
    if typed.chars().any(char::is_lowercase) { name.to_lowercase() } else { name.to_owned() }
}

fn same(name: String) -> Pair {
    Pair { display: name.clone(), replacement: name }
}

fn call(name: &str) -> Pair {
    let text = format!("{name}(");
    Pair { display: text.clone(), replacement: text }
}

/// Where the word at the end of the text begins.
fn word_start(text: &str) -> usize {
    let part = |character: &char| character.is_alphanumeric() || matches!(character, '_' | '\\');
    text.len() - text.chars().rev().take_while(part).map(char::len_utf8).sum::<usize>()
}

impl Completer for SqlHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        let before = line.get(..at).unwrap_or(line);
        let start = word_start(before);
        let word = before.get(start..).unwrap_or_default();
        let found = if word.is_empty() { Vec::new() } else { self.candidates(word) };
        Ok((start, found))
    }
}

impl Validator for SqlHelper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        let text = context.input().trim();
        let command =
            text.starts_with('\\') || ["quit", "exit", "help"].iter().any(|word| text.eq_ignore_ascii_case(word));
        match command || script::cut(text).ended {
            true => Ok(ValidationResult::Valid(None)),
            false => Ok(ValidationResult::Incomplete),
        }
    }
}

impl Hinter for SqlHelper {
    type Hint = String;
}

impl Highlighter for SqlHelper {}
impl Helper for SqlHelper {}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(word: &str) -> Vec<String> {
        let session = Session::builder().create();
        session.range(0, 1, 1).unwrap().create_temp_view("Watched").unwrap();
        SqlHelper::new(&session).candidates(word).into_iter().map(|pair| pair.replacement).collect()
    }

    #[test]
    fn tables_keywords_and_functions_complete() {
        assert!(found("wa").starts_with(&["Watched".to_owned(), "watermark".to_owned()]));
        assert!(found("WATER").contains(&"WATERMARK".to_owned()));
        assert!(found("expl").contains(&"explode(".to_owned()));
    }

    #[test]
    fn a_word_ends_at_what_is_no_letter() {
        assert_eq!(["", "a b", "f(x", "é.na"].map(word_start), [0, 2, 2, 3]);
    }
}
