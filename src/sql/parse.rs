//! Text to syntax tree: tokens by Spark's lexical rules, then sqlparser with [`SparkDialect`].
//!
//! In comes SQL text, out goes sqlparser's tree. Between tokenizer and parser the tokens are put right: escapes in strings
//! are resolved, raw strings and strings side by side are joined, suffixes of numbers (`1L`, `2.5BD`) stay with their number
//! as in `Value::Number("2.5BD", _)`. A syntax error names line and column.

use datafusion::sql::sqlparser::ast::{Expr, SelectItem, Statement};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::dialect::SparkDialect;
use crate::{Error, Result};

/// Deepest nesting of expressions.
const MAX_DEPTH: usize = 96;

static DIALECT: SparkDialect = SparkDialect;

/// Parses one expression, such as `a + 1`.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` with its place.
pub fn parse_expression(text: &str) -> Result<Expr> {
    whole(text, |parser| parser.parse_expr())
}

/// Parses one item of a SELECT list, such as `a + 1 AS b`, `explode(m) AS (k, v)` or `t.*`.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` with its place.
pub fn parse_select_item(text: &str) -> Result<SelectItem> {
    whole(text, |parser| parser.parse_select_item())
}

/// Parses statements separated by semicolons.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` with its place.
pub fn parse_statements(text: &str) -> Result<Vec<Statement>> {
    whole(text, |parser| parser.parse_statements())
}

/// Parses all of `text` with `parse`.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` with its place, also for what is left over.
pub fn whole<T>(text: &str, parse: impl FnOnce(&mut Parser<'static>) -> Result<T, ParserError>) -> Result<T> {
    let mut parser = parser(text)?;
    let parsed = parse(&mut parser).map_err(syntax_error)?;
    let next = parser.peek_token();
    if next.token == Token::EOF {
        return Ok(parsed);
    }
    parser.expected("end of input", next).map_err(syntax_error)
}

/// A parser over the text's tokens, for grammars that go beyond one expression or statement.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` if the text cannot be cut into tokens.
pub fn parser(text: &str) -> Result<Parser<'static>> {
    let tokens = Tokenizer::new(&DIALECT, text).with_unescape(false).tokenize_with_location();
    let tokens = tokens.map_err(|error| {
        let place = format!("line {}, column {} of the SQL text", error.location.line, error.location.column);
        Error::query("PARSE_SYNTAX_ERROR", format!("syntax error: {}", error.message.to_lowercase())).at(place)
    })?;
    Ok(Parser::new(&DIALECT).with_recursion_limit(MAX_DEPTH).with_tokens_with_locations(prepare(tokens)))
}

/// Spark's error for a parser's error.
pub fn syntax_error(error: ParserError) -> Error {
    let text = match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return Error::query(
                "PARSE_SYNTAX_ERROR",
                format!("expressions are nested deeper than {MAX_DEPTH} levels"),
            );
        }
    };
    let (message, place) = match text.split_once(" at Line: ") {
        Some((message, place)) => (message, place.replace(", Column: ", ", column ")),
        None => (text.as_str(), String::new()),
    };
    let error = Error::query("PARSE_SYNTAX_ERROR", near(message));
    if place.is_empty() { error } else { error.at(format!("line {place} of the SQL text")) }
}

fn near(message: &str) -> String {
    let Some((expected, found)) = message.split_once(", found: ") else {
        return format!("syntax error: {message}");
    };
    let expected = expected.strip_prefix("Expected: ").unwrap_or(expected);
    let found = if found == "EOF" { "end of input".to_owned() } else { format!("'{found}'") };
    format!("syntax error at or near {found}: expected {expected}")
}

/// Puts the tokens right by Spark's lexical rules.
fn prepare(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut prepared: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for mut token in tokens {
        match &mut token.token {
            Token::SingleQuotedString(text) => {
                let text = resolve(&mut prepared, text, '\'');
                push_string(&mut prepared, text, &token);
                continue;
            }
            Token::DoubleQuotedString(text) => {
                let text = resolve(&mut prepared, text, '"');
                push_string(&mut prepared, text, &token);
                continue;
            }
            Token::Word(word) if word.quote_style == Some('`') => word.value = word.value.replace("``", "`"),
            Token::Word(word)
                if word.quote_style.is_none()
                    && is_suffix(&word.value)
                    && extend_number(&mut prepared, &word.value) =>
            {
                continue;
            }
            Token::Number(text, long) if *long => text.push('L'),
            _ => {}
        }
        prepared.push(token);
    }
    name_columns_called_all(&mut prepared);
    prepared
}

/// `f(all, ...)` and `f(all)`: a column, which sqlparser takes for the ALL of `f(ALL x)`.
fn name_columns_called_all(tokens: &mut [TokenWithSpan]) {
    let solid: Vec<usize> = (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
    for around in solid.windows(3) {
        let [before, at, after] = [around[0], around[1], around[2]];
        let is_argument =
            tokens[before].token == Token::LParen && matches!(tokens[after].token, Token::Comma | Token::RParen);
        match &mut tokens[at].token {
            Token::Word(word) if is_argument && word.quote_style.is_none() && word.keyword == Keyword::ALL => {
                (word.quote_style, word.keyword) = (Some('`'), Keyword::NoKeyword);
            }
            _ => {}
        }
    }
}

/// The string's value; takes off the `r` of a raw string.
fn resolve(prepared: &mut Vec<TokenWithSpan>, text: &str, quote: char) -> String {
    if take_raw_prefix(prepared) { text.to_owned() } else { unescape(text, quote) }
}

/// True (and takes it off) if the last token is the `r` of a raw string.
fn take_raw_prefix(prepared: &mut Vec<TokenWithSpan>) -> bool {
    let is_prefix = matches!(prepared.last(), Some(TokenWithSpan { token: Token::Word(word), .. })
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("r"));
    if is_prefix {
        prepared.pop();
    }
    is_prefix
}

/// Adds a string, to the one before if only blanks are between.
fn push_string(prepared: &mut Vec<TokenWithSpan>, text: String, token: &TokenWithSpan) {
    let before = prepared.iter().rposition(|token| !matches!(token.token, Token::Whitespace(_)));
    if let Some(TokenWithSpan { token: Token::SingleQuotedString(first), .. }) =
        before.and_then(|at| prepared.get_mut(at))
    {
        first.push_str(&text);
    } else {
        prepared.push(TokenWithSpan { token: Token::SingleQuotedString(text), span: token.span });
    }
}

fn is_suffix(word: &str) -> bool {
    ["L", "S", "Y", "D", "F", "BD"].iter().any(|suffix| suffix.eq_ignore_ascii_case(word))
}

/// Adds the suffix to the number right before it; false if there is none.
fn extend_number(prepared: &mut [TokenWithSpan], suffix: &str) -> bool {
    match prepared.last_mut() {
        Some(TokenWithSpan { token: Token::Number(text, _), .. })
            if text.ends_with(|c: char| c.is_ascii_digit() || c == '.') =>
        {
            text.push_str(&suffix.to_ascii_uppercase());
            true
        }
        _ => false,
    }
}

/// Resolves the escapes of a string by Spark's rules: `\%` and `\_` stay as they are, for LIKE.
fn unescape(text: &str, quote: char) -> String {
    if !text.contains(['\\', quote]) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, &mut out),
            c => {
                if c == quote {
                    rest.next();
                }
                out.push(c);
            }
        }
    }
    out
}

fn escape(rest: &mut std::str::Chars<'_>, out: &mut String) {
    let text = rest.as_str();
    if let Some((c, length)) = coded(text) {
        out.push(c);
        *rest = text[length..].chars();
        return;
    }
    match rest.next() {
        Some('n') => out.push('\n'),
        Some('t') => out.push('\t'),
        Some('r') => out.push('\r'),
        Some('b') => out.push('\u{8}'),
        Some('0') => out.push('\0'),
        Some('Z') => out.push('\u{1a}'),
        Some(c @ ('%' | '_')) => out.extend(['\\', c]),
        Some(c) => out.push(c),
        None => out.push('\\'),
    }
}

/// The character of `u0041`, `U00000041` or `101` (octal) at the start of the text, and the length of its code.
fn coded(text: &str) -> Option<(char, usize)> {
    let number = |from: usize, to: usize, radix: u32| {
        let digits = text.get(from..to)?;
        let all = digits.chars().all(|c| c.is_digit(radix));
        all.then(|| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32)).flatten().map(|c| (c, to))
    };
    match text.as_bytes().first()? {
        b'u' => number(1, 5, 16),
        b'U' => number(1, 9, 16),
        b'0'..=b'1' => number(0, 3, 8),
        _ => None,
    }
}
