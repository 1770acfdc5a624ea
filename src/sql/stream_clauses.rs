//! Spark's grammar for streams in FROM, which sqlparser does not know, put into terms that it knows.
//!
//! In: the tokens of a statement. Out: tokens in which
//! - `STREAM t WITH (a = 'x')` is the call `STREAM(t, 'a', 'x')`, and
//! - `r WATERMARK e DELAY OF i` is `(SELECT * FROM r CLUSTER BY __watermark(e, i))`,
//!
//! which the binder takes apart again. Everything else stays, with its place in the text.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::dialect::SparkDialect;
use super::parse::syntax_error;
use crate::{Error, Result};

/// Name of the call that carries a watermark.
pub(super) const WATERMARK_CALL: &str = "__watermark";

/// Puts all clauses of streams into terms of sqlparser.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` for half a clause.
pub fn rewrite(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let tokens: Vec<_> = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    if !tokens.iter().any(|token| is_word(token, "STREAM") || is_word(token, "WATERMARK")) {
        return Ok(tokens);
    }
    watermarks(streams(tokens)?)
}

fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

fn is(tokens: &[TokenWithSpan], at: usize, word: &str) -> bool {
    tokens.get(at).is_some_and(|token| is_word(token, word))
}

fn is_token(tokens: &[TokenWithSpan], at: usize, wanted: &Token) -> bool {
    tokens.get(at).is_some_and(|token| token.token == *wanted)
}

fn made(text: &str) -> TokenWithSpan {
    let token = match text {
        "(" => Token::LParen,
        ")" => Token::RParen,
        "," => Token::Comma,
        "*" => Token::Mul,
        word => Token::make_word(word, None),
    };
    TokenWithSpan::new(token, Span::empty())
}

/// `STREAM t` and `STREAM(t)` with their options as calls.
fn streams(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if !begins_stream(&out, &tokens, at) {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        }
        out.extend([tokens[at].clone(), made("(")]);
        let bracketed = is_token(&tokens, at + 1, &Token::LParen);
        let (name, after) = name_of(&tokens, at + 1 + usize::from(bracketed));
        out.extend_from_slice(name);
        let after = if bracketed { closing(&tokens, at + 1)? + 1 } else { after };
        at = options(&tokens, after, &mut out)?;
        out.push(made(")"));
    }
    Ok(out)
}

/// True if `STREAM` stands where a relation is due, in front of a table's name.
fn begins_stream(before: &[TokenWithSpan], tokens: &[TokenWithSpan], at: usize) -> bool {
    let relation_due = before.last().is_some_and(|token| {
        is_word(token, "FROM") || is_word(token, "JOIN") || token.token == Token::Comma || token.token == Token::LParen
    });
    if !relation_due || !is(tokens, at, "STREAM") {
        return false;
    }
    let name = at + 1 + usize::from(is_token(tokens, at + 1, &Token::LParen));
    let ends_name = |word: &str| is(tokens, name, word);
    let is_name = matches!(tokens.get(name).map(|token| &token.token), Some(Token::Word(_)));
    let is_call = is_token(tokens, name_of(tokens, name).1, &Token::LParen);
    is_name
        && !is_call
        && !["AS", "WHERE", "JOIN", "WATERMARK", "GROUP", "ORDER", "FROM", "ON"].into_iter().any(ends_name)
}

/// A dotted name that begins at `at`, and the place behind it.
fn name_of(tokens: &[TokenWithSpan], at: usize) -> (&[TokenWithSpan], usize) {
    let mut end = (at + 1).min(tokens.len());
    while is_token(tokens, end, &Token::Period) && end + 1 < tokens.len() {
        end += 2;
    }
    (tokens.get(at..end).unwrap_or_default(), end)
}

/// The place of the bracket that closes the one at `open`.
fn closing(tokens: &[TokenWithSpan], open: usize) -> Result<usize> {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 1 => return Ok(at),
            Token::RParen => depth -= 1,
            _ => {}
        }
    }
    Err(unfinished("a bracket is not closed"))
}

/// `WITH (key = value, ...)` as more arguments of the call; gives the place behind it.
fn options(tokens: &[TokenWithSpan], at: usize, out: &mut Vec<TokenWithSpan>) -> Result<usize> {
    if !is(tokens, at, "WITH") || !is_token(tokens, at + 1, &Token::LParen) {
        return Ok(at);
    }
    let end = closing(tokens, at + 1)?;
    for option in tokens[at + 2..end].split(|token| token.token == Token::Comma) {
        let Some((value, key)) = option.split_last() else { continue };
        let key: String =
            key.iter().filter(|token| token.token != Token::Eq).map(|token| plain(&token.token)).collect();
        for text in [key, plain(&value.token)] {
            out.push(made(","));
            out.push(TokenWithSpan::new(Token::SingleQuotedString(text), value.span));
        }
    }
    Ok(end + 1)
}

/// A token's text without quotes.
pub(super) fn plain(token: &Token) -> String {
    match token {
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
        Token::Word(word) => word.value.clone(),
        other => other.to_string(),
    }
}

/// Relations with WATERMARK as subqueries.
fn watermarks(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let mut at = 0;
    while at < tokens.len() {
        let delay = (at + 1..tokens.len()).find(|place| is(&tokens, *place, "DELAY") && is(&tokens, *place + 1, "OF"));
        match delay {
            Some(delay) if is(&tokens, at, "WATERMARK") && at > 0 => at = watermark(&mut tokens, at, delay)?,
            _ => at += 1,
        }
    }
    Ok(tokens)
}

/// Rewrites one clause; gives the place behind it.
fn watermark(tokens: &mut Vec<TokenWithSpan>, at: usize, delay: usize) -> Result<usize> {
    let start = relation_start(tokens, at)?;
    let end = delay + 2 + expression_length(&tokens[delay + 2..])?;
    let mut clause: Vec<_> = ["(", "SELECT", "*", "FROM"].map(made).into();
    clause.extend_from_slice(&tokens[start..at]);
    clause.extend(["CLUSTER", "BY", WATERMARK_CALL, "("].map(made));
    clause.extend(named(&tokens[at + 1..delay]));
    clause.push(made(","));
    clause.extend_from_slice(&tokens[delay + 2..end]);
    clause.extend([")", ")"].map(made));
    let behind = start + clause.len();
    tokens.splice(start..end, clause);
    Ok(behind)
}

/// An event time as an argument of a call: `e AS name` is the field of a struct there.
fn named(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let is_named = tokens.len() > 2 && is_word(&tokens[tokens.len() - 2], "AS");
    match is_named {
        true => [made("struct"), made("(")].into_iter().chain(tokens.iter().cloned()).chain([made(")")]).collect(),
        false => tokens.to_vec(),
    }
}

/// Where the relation begins that ends before `end`: a name, a call or something in brackets.
fn relation_start(tokens: &[TokenWithSpan], end: usize) -> Result<usize> {
    let mut start = end.checked_sub(1).ok_or_else(|| unfinished("WATERMARK needs a relation before it"))?;
    if tokens[start].token == Token::RParen {
        let opens = |open: &usize| {
            tokens[*open].token == Token::LParen && closing(tokens, *open).is_ok_and(|close| close + 1 == end)
        };
        start = (0..start).rev().find(opens).ok_or_else(|| unfinished("a bracket is not opened"))?;
        let called = start.checked_sub(1).filter(|before| {
            matches!(&tokens[*before].token, Token::Word(word) if !matches!(word.keyword, Keyword::FROM | Keyword::JOIN))
        });
        start = called.unwrap_or(start);
    }
    while start >= 2 && tokens[start - 1].token == Token::Period {
        start -= 2;
    }
    Ok(start)
}

/// Number of tokens of the expression that the tokens begin with.
fn expression_length(tokens: &[TokenWithSpan]) -> Result<usize> {
    let mut parser =
        datafusion::sql::sqlparser::parser::Parser::new(&SparkDialect).with_tokens_with_locations(tokens.to_vec());
    parser.parse_expr().map_err(syntax_error)?;
    Ok(parser.index())
}

fn unfinished(message: &str) -> Error {
    Error::query("PARSE_SYNTAX_ERROR", format!("syntax error: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let tokens = rewrite(crate::sql::parse::parser(text).unwrap().into_tokens()).unwrap();
        tokens.iter().map(|token| token.token.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn streams_become_calls() {
        assert_eq!(rewritten("SELECT * FROM STREAM a.b e"), "SELECT * FROM STREAM ( a . b ) e");
        assert_eq!(rewritten("SELECT * FROM STREAM(t) WITH ('x' = 1)"), "SELECT * FROM STREAM ( t , 'x' , '1' )");
    }

    #[test]
    fn a_column_called_stream_stays() {
        assert_eq!(rewritten("SELECT stream FROM t"), "SELECT stream FROM t");
    }

    #[test]
    fn watermarks_become_subqueries() {
        assert_eq!(
            rewritten("SELECT * FROM t WATERMARK ts DELAY OF INTERVAL 5 MINUTES AS e"),
            "SELECT * FROM ( SELECT * FROM t CLUSTER BY __watermark ( ts , INTERVAL 5 MINUTES ) ) AS e"
        );
    }
}
