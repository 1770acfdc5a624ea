//! `v:a.b[0]['c d']`: the path behind a VARIANT, as a call of `variant_get`.
//!
//! In: a parser that stands before the colon. Out: the call, with the path as the text that `variant_get` reads.

use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Ident, Value};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::dialect::call;

/// Reads the colon and the path behind it.
pub(super) fn parse(parser: &mut Parser, variant: &Expr) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::Colon)?;
    let mut path = String::from("$");
    if parser.peek_token_ref().token != Token::LBracket {
        push_name(parser, &mut path)?;
    }
    loop {
        if parser.consume_token(&Token::LBracket) {
            push_bracket(parser, &mut path)?;
        } else if parser.consume_token(&Token::Period) {
            push_name(parser, &mut path)?;
        } else {
            break;
        }
    }
    let path = Expr::value(Value::SingleQuotedString(path));
    let args = [variant.clone(), path].map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Ok(call(Ident::new("variant_get"), args.into()))
}

fn push_name(parser: &mut Parser, path: &mut String) -> Result<(), ParserError> {
    let name = parser.parse_identifier()?.value;
    push_text(&name, path);
    Ok(())
}

/// A name in the brackets and quotes that hold it.
fn push_text(name: &str, path: &mut String) {
    let quote = if name.contains('\'') { '"' } else { '\'' };
    path.extend(['[', quote]);
    path.push_str(name);
    path.extend([quote, ']']);
}

/// What stands behind an opening bracket: an index or a name in quotes.
fn push_bracket(parser: &mut Parser, path: &mut String) -> Result<(), ParserError> {
    let next = parser.next_token();
    match &next.token {
        Token::Number(index, _) => path.push_str(&format!("[{index}]")),
        Token::SingleQuotedString(name) | Token::DoubleQuotedString(name) => push_text(name, path),
        _ => return parser.expected_ref("an index or a name in quotes", &next),
    }
    parser.expect_token(&Token::RBracket)?;
    Ok(())
}
