//! Spark's grammar where it differs from what sqlparser knows, as hooks of its parser.
//!
//! In comes a parser standing before an expression or an operator, out goes a syntax tree. Forms without a tree of their
//! own become others: a type is `DataType::Custom` with its text (`types::parse_type` reads it), a list of intervals is
//! one `Interval` with their text, `a LIKE ANY (p, q)` is `a LIKE p OR a LIKE q`, `struct(x AS y)` is a call with a
//! `Named` argument.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, Interval, ObjectName, TrimWhereField, TypedString, UnaryOperator,
    Value,
};
use datafusion::sql::sqlparser::dialect::{Dialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};

use super::{chain, variant_path};

/// Spark's SQL as a dialect of sqlparser.
#[derive(Debug, Default, Clone, Copy)]
pub struct SparkDialect;

type Parsed = Result<Expr, ParserError>;

/// Precedence of `+`, `-` and `||`.
const PLUS: u8 = 30;
/// Precedence of `<<`, `>>` and `>>>`, which bind weaker than `+` and stronger than `&`.
const SHIFT: u8 = 28;

impl Dialect for SparkDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_group_by_with_modifier(&self) -> bool {
        true
    }

    fn supports_lambda_functions(&self) -> bool {
        true
    }

    fn supports_select_wildcard_except(&self) -> bool {
        true
    }

    fn supports_nested_comments(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_bang_not_operator(&self) -> bool {
        true
    }

    fn supports_select_item_multi_column_alias(&self) -> bool {
        true
    }

    fn supports_select_expr_star(&self) -> bool {
        true
    }

    fn supports_cte_without_as(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_subquery_as_function_arg(&self) -> bool {
        true
    }

    fn supports_create_table_using(&self) -> bool {
        true
    }

    fn supports_order_by_all(&self) -> bool {
        true
    }

    fn supports_pipe_operator(&self) -> bool {
        true
    }

    fn supports_from_first_select(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Parsed> {
        let [first, second] = parser.peek_tokens_ref();
        let Token::Word(word) = &first.token else { return None };
        if word.quote_style.is_some() {
            return None;
        }
        let (word, second) = (word.clone(), second.token.clone());
        prefix(parser, &word, &second)
    }

    fn parse_infix(&self, parser: &mut Parser, left: &Expr, precedence: u8) -> Option<Parsed> {
        if let Some(error) = chain::too_long(left) {
            return Some(Err(error));
        }
        match &parser.peek_token_ref().token {
            Token::DoubleColon => Some(double_colon(parser, left)),
            Token::Colon => Some(variant_path::parse(parser, left)),
            Token::ShiftLeft | Token::ShiftRight => Some(shift(parser, left)),
            Token::Word(word) if word.keyword == Keyword::DIV => Some(integer_division(parser, left, precedence)),
            Token::Word(word) if matches!(word.keyword, Keyword::AND | Keyword::OR) => {
                let word = word.keyword;
                Some(chain::logical(parser, left, word, precedence))
            }
            Token::Word(word) if word.keyword == Keyword::IS => distinct_from(parser, left),
            Token::Word(_) => regular_expression(parser, left).or_else(|| like_many(parser, left)),
            _ => None,
        }
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match &parser.peek_token_ref().token {
            Token::StringConcat => Some(Ok(PLUS)),
            Token::Colon => Some(Ok(self.prec_value(Precedence::DoubleColon))),
            Token::ShiftLeft | Token::ShiftRight => Some(Ok(SHIFT)),
            Token::Word(word) if matches!(word.keyword, Keyword::XOR | Keyword::OVERLAPS | Keyword::OPERATOR) => {
                Some(Ok(self.prec_unknown()))
            }
            Token::Word(word) if word.quote_style.is_some() => Some(Ok(self.prec_unknown())),
            _ => None,
        }
    }
}

/// Expressions that begin with a word.
fn prefix(parser: &mut Parser, word: &Word, second: &Token) -> Option<Parsed> {
    let name = word.value.to_ascii_uppercase();
    match (name.as_str(), second) {
        ("CAST", Token::LParen) => Some(cast(parser, CastKind::Cast)),
        ("TRY_CAST", Token::LParen) => Some(cast(parser, CastKind::TryCast)),
        ("STRUCT", Token::LParen) => Some(structure(parser)),
        ("NOT", _) => Some(negation(parser)),
        ("TRIM", Token::LParen) => Some(trim(parser)),
        ("INTERVAL", Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)) => {
            Some(interval(parser))
        }
        ("INTERVAL", Token::Minus | Token::Plus) => interval_after_sign(parser),
        (
            "DATE" | "TIMESTAMP" | "TIMESTAMP_NTZ" | "TIMESTAMP_LTZ" | "TIME",
            Token::SingleQuotedString(_) | Token::DoubleQuotedString(_),
        ) => Some(typed_string(parser, name.clone())),
        ("EXISTS", Token::LParen) if starts_query(parser) => None,
        (special, Token::LParen) if has_own_syntax(special) => None,
        (_, Token::LParen) => Some(function(parser)),
        _ => None,
    }
}

/// Words before a parenthesis that sqlparser parses by themselves.
fn has_own_syntax(name: &str) -> bool {
    matches!(
        name,
        "CASE"
            | "EXTRACT"
            | "POSITION"
            | "SUBSTRING"
            | "SUBSTR"
            | "OVERLAY"
            | "INTERVAL"
            | "SELECT"
            | "WITH"
            | "VALUES"
    )
}

fn starts_query(parser: &Parser) -> bool {
    matches!(&parser.peek_nth_token_ref(2).token, Token::Word(word) if matches!(word.keyword, Keyword::SELECT | Keyword::WITH | Keyword::FROM | Keyword::VALUES))
}

fn function(parser: &mut Parser) -> Parsed {
    let name = parser.parse_identifier()?;
    let name = spelled(parser, &name).unwrap_or(name);
    parser.parse_function(ObjectName::from(vec![name]))
}

/// The function's name in `IDENTIFIER('name')(arguments)`, which is taken up to the arguments.
fn spelled(parser: &mut Parser, name: &Ident) -> Option<Ident> {
    let is_clause = name.value.eq_ignore_ascii_case("identifier")
        && parser.peek_nth_token_ref(2).token == Token::RParen
        && parser.peek_nth_token_ref(3).token == Token::LParen;
    let text = match &parser.peek_nth_token_ref(1).token {
        Token::SingleQuotedString(text) if is_clause => text.rsplit('.').next().unwrap_or(text).to_owned(),
        _ => return None,
    };
    (0..3).for_each(|_| {
        parser.next_token();
    });
    Some(Ident::new(text))
}

fn cast(parser: &mut Parser, kind: CastKind) -> Parsed {
    parser.next_token();
    parser.expect_token(&Token::LParen)?;
    let expr = Box::new(parser.parse_expr()?);
    parser.expect_keyword(Keyword::AS)?;
    let data_type = data_type(parser)?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Cast { kind, expr, data_type, array: false, format: None })
}

fn double_colon(parser: &mut Parser, left: &Expr) -> Parsed {
    parser.next_token();
    let data_type = data_type(parser)?;
    Ok(Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(left.clone()), data_type, array: false, format: None })
}

/// A type, kept as text.
pub(super) fn data_type(parser: &mut Parser) -> Result<DataType, ParserError> {
    let mut text = parser.parse_identifier()?.value;
    if text.eq_ignore_ascii_case("INTERVAL") {
        interval_fields(parser, &mut text)?;
    }
    match parser.peek_token_ref().token {
        Token::LParen => balanced(parser, &mut text, &Token::LParen, &Token::RParen)?,
        Token::Lt => balanced(parser, &mut text, &Token::Lt, &Token::Gt)?,
        Token::Neq => text.push_str(&parser.next_token().token.to_string()),
        _ => {}
    }
    if parser.parse_keyword(Keyword::COLLATE) {
        text.push_str(&format!(" COLLATE {}", parser.parse_identifier()?));
    }
    Ok(DataType::Custom(ObjectName::from(vec![Ident::new(text)]), vec![]))
}

fn interval_fields(parser: &mut Parser, text: &mut String) -> Result<(), ParserError> {
    if let Some(field) = unit(parser) {
        text.push_str(&format!(" {field}"));
        if parser.parse_keyword(Keyword::TO) {
            text.push_str(&format!(" TO {}", parser.parse_identifier()?));
        }
    }
    Ok(())
}

/// Takes tokens up to the one that closes what the next one opens.
fn balanced(parser: &mut Parser, text: &mut String, open: &Token, close: &Token) -> Result<(), ParserError> {
    let mut depth = 0;
    loop {
        let token = parser.next_token();
        match &token.token {
            token if token == open => depth += 1,
            token if token == close => depth -= 1,
            Token::ShiftRight if *close == Token::Gt => depth -= 2,
            Token::EOF => return parser.expected("the end of a type", token),
            _ => {}
        }
        text.push_str(&token.token.to_string());
        text.push(' ');
        if depth <= 0 {
            return Ok(());
        }
    }
}

/// `struct(a, b + 1 AS c, *)`.
fn structure(parser: &mut Parser) -> Parsed {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    let args = if parser.peek_token_ref().token == Token::RParen {
        Vec::new()
    } else {
        parser.parse_comma_separated(structure_field)?
    };
    parser.expect_token(&Token::RParen)?;
    Ok(call(name, args))
}

fn structure_field(parser: &mut Parser) -> Result<FunctionArg, ParserError> {
    let expr = parser.parse_wildcard_expr()?;
    let named = parser.parse_keyword(Keyword::AS);
    let arg = if named { Expr::Named { expr: Box::new(expr), name: parser.parse_identifier()? } } else { expr };
    Ok(FunctionArg::Unnamed(FunctionArgExpr::from(arg)))
}

pub(super) fn call(name: Ident, args: Vec<FunctionArg>) -> Expr {
    let list = FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] };
    Expr::Function(Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

fn negation(parser: &mut Parser) -> Parsed {
    parser.next_token();
    let expr = Box::new(parser.parse_subexpr(SparkDialect.prec_value(Precedence::UnaryNot))?);
    Ok(Expr::UnaryOp { op: UnaryOperator::Not, expr })
}

/// `trim([BOTH|LEADING|TRAILING] [characters] FROM text)`, `trim(text)`, `trim(characters, text)`.
fn trim(parser: &mut Parser) -> Parsed {
    let name = parser.parse_identifier()?;
    parser.expect_token(&Token::LParen)?;
    if parser.consume_token(&Token::RParen) {
        return Ok(call(name, Vec::new()));
    }
    let trim_where = trim_side(parser);
    let mut trim_what = None;
    if trim_where.is_none() || !parser.parse_keyword(Keyword::FROM) {
        let first = parser.parse_expr()?;
        if !parser.parse_keyword(Keyword::FROM) && !parser.consume_token(&Token::Comma) {
            parser.expect_token(&Token::RParen)?;
            return Ok(Expr::Trim { trim_where, trim_what, expr: Box::new(first), trim_characters: None });
        }
        trim_what = Some(Box::new(first));
    }
    let expr = Box::new(parser.parse_expr()?);
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Trim { trim_where, trim_what, expr, trim_characters: None })
}

fn trim_side(parser: &mut Parser) -> Option<TrimWhereField> {
    match parser.parse_one_of_keywords(&[Keyword::BOTH, Keyword::LEADING, Keyword::TRAILING])? {
        Keyword::BOTH => Some(TrimWhereField::Both),
        Keyword::LEADING => Some(TrimWhereField::Leading),
        _ => Some(TrimWhereField::Trailing),
    }
}

fn typed_string(parser: &mut Parser, name: String) -> Parsed {
    parser.next_token();
    let data_type = DataType::Custom(ObjectName::from(vec![Ident::new(name)]), vec![]);
    Ok(Expr::TypedString(TypedString { data_type, value: parser.parse_value()?, uses_odbc_syntax: false }))
}

/// `INTERVAL -5 DAYS`, but not the column `interval` minus something.
fn interval_after_sign(parser: &mut Parser) -> Option<Parsed> {
    let value = &parser.peek_nth_token_ref(2).token;
    let unit = &parser.peek_nth_token_ref(3).token;
    let is_value = matches!(value, Token::Number(..) | Token::SingleQuotedString(_));
    (is_value && matches!(unit, Token::Word(word) if is_unit(&word.value))).then(|| interval(parser))
}

fn is_unit(word: &str) -> bool {
    let singular = word.to_ascii_lowercase();
    let singular = singular.strip_suffix('s').unwrap_or(&singular);
    matches!(
        singular,
        "year"
            | "quarter"
            | "month"
            | "week"
            | "day"
            | "hour"
            | "minute"
            | "second"
            | "millisecond"
            | "microsecond"
            | "nanosecond"
    )
}

fn unit(parser: &mut Parser) -> Option<String> {
    match &parser.peek_token_ref().token {
        Token::Word(word) if is_unit(&word.value) => {
            let unit = word.value.to_ascii_uppercase();
            parser.next_token();
            Some(unit)
        }
        _ => None,
    }
}

/// `INTERVAL '1-2' YEAR TO MONTH`, `INTERVAL '5 minutes'`, `INTERVAL 1 DAY 2 HOURS`.
fn interval(parser: &mut Parser) -> Parsed {
    parser.next_token();
    let mut text = String::new();
    let mut leading = None;
    while let Some(value) = interval_value(parser)? {
        let Some(first) = unit(parser) else {
            text.push_str(&value);
            break;
        };
        if parser.parse_keyword(Keyword::TO) {
            let last = parser.parse_identifier()?.value.to_ascii_uppercase();
            return Ok(interval_of(value, Some(first), Some(last)));
        }
        if text.is_empty() && is_next_no_interval_value(parser) {
            leading = Some(first);
            text = value;
            break;
        }
        text.push_str(&format!("{value} {first} "));
    }
    Ok(interval_of(text, leading, None))
}

fn is_next_no_interval_value(parser: &Parser) -> bool {
    !matches!(
        parser.peek_token_ref().token,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_)
    )
}

/// A signed number or string, as text; none if the next tokens are no value.
fn interval_value(parser: &mut Parser) -> Result<Option<String>, ParserError> {
    let [first, second] = parser.peek_tokens_ref();
    let signed = matches!(first.token, Token::Minus | Token::Plus)
        && matches!(second.token, Token::Number(..) | Token::SingleQuotedString(_));
    let negative = signed && first.token == Token::Minus;
    if signed {
        parser.next_token();
    }
    let value = match &parser.peek_token_ref().token {
        Token::Number(text, _) | Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => {
            text.trim().to_owned()
        }
        _ => return Ok(None),
    };
    parser.next_token();
    Ok(Some(match (negative, value.strip_prefix('-')) {
        (false, _) => value,
        (true, Some(positive)) => positive.to_owned(),
        (true, None) => format!("-{value}"),
    }))
}

fn interval_of(text: String, leading: Option<String>, last: Option<String>) -> Expr {
    let field = |name: String| DateTimeField::Custom(Ident::new(name));
    Expr::Interval(Interval {
        value: Box::new(Expr::value(Value::SingleQuotedString(text))),
        leading_field: leading.map(field),
        leading_precision: None,
        last_field: last.map(field),
        fractional_seconds_precision: None,
    })
}

fn integer_division(parser: &mut Parser, left: &Expr, precedence: u8) -> Parsed {
    parser.next_token();
    let right = Box::new(parser.parse_subexpr(precedence)?);
    Ok(Expr::BinaryOp { left: Box::new(left.clone()), op: BinaryOperator::MyIntegerDivide, right })
}

/// `a << b`, `a >> b`, `a >>> b`; the last is a call of `shiftrightunsigned`.
fn shift(parser: &mut Parser, left: &Expr) -> Parsed {
    let is_left = parser.next_token().token == Token::ShiftLeft;
    let unsigned = !is_left && parser.peek_token_no_skip().token == Token::Gt;
    if unsigned {
        parser.next_token();
    }
    let right = parser.parse_subexpr(SHIFT)?;
    if unsigned {
        let args = [left.clone(), right].map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
        return Ok(call(Ident::new("shiftrightunsigned"), args.to_vec()));
    }
    let op = if is_left { BinaryOperator::PGBitwiseShiftLeft } else { BinaryOperator::PGBitwiseShiftRight };
    Ok(Expr::BinaryOp { left: Box::new(left.clone()), op, right: Box::new(right) })
}

/// `a IS [NOT] DISTINCT FROM b`, where `b` ends before `AND`.
fn distinct_from(parser: &mut Parser, left: &Expr) -> Option<Parsed> {
    let negated = parser.parse_keywords(&[Keyword::IS, Keyword::NOT, Keyword::DISTINCT, Keyword::FROM]);
    if !negated && !parser.parse_keywords(&[Keyword::IS, Keyword::DISTINCT, Keyword::FROM]) {
        return None;
    }
    let right = match parser.parse_subexpr(SparkDialect.prec_value(Precedence::Eq)) {
        Ok(right) => Box::new(right),
        Err(error) => return Some(Err(error)),
    };
    let left = Box::new(left.clone());
    Some(Ok(if negated { Expr::IsNotDistinctFrom(left, right) } else { Expr::IsDistinctFrom(left, right) }))
}

/// `a [NOT] RLIKE b`, where `b` may begin with NULL.
fn regular_expression(parser: &mut Parser, left: &Expr) -> Option<Parsed> {
    let is_operator =
        |token: &Token| matches!(token, Token::Word(word) if matches!(word.keyword, Keyword::RLIKE | Keyword::REGEXP));
    let negated = matches!(&parser.peek_token_ref().token, Token::Word(word) if word.keyword == Keyword::NOT);
    if !is_operator(&parser.peek_nth_token_ref(usize::from(negated)).token) {
        return None;
    }
    for _ in 0..=usize::from(negated) {
        parser.next_token();
    }
    let pattern = match parser.parse_subexpr(SparkDialect.prec_value(Precedence::Like)) {
        Ok(pattern) => Box::new(pattern),
        Err(error) => return Some(Err(error)),
    };
    Some(Ok(Expr::RLike { negated, expr: Box::new(left.clone()), pattern, regexp: false }))
}

/// `a [NOT] LIKE ANY|SOME|ALL (p, q)` as a chain of OR or AND.
fn like_many(parser: &mut Parser, left: &Expr) -> Option<Parsed> {
    let at = |n: usize| match &parser.peek_nth_token_ref(n).token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let negated = at(0) == Keyword::NOT;
    let skip = usize::from(negated);
    let (operator, quantifier) = (at(skip), at(skip + 1));
    let is_like = matches!(operator, Keyword::LIKE | Keyword::ILIKE);
    if !is_like || !matches!(quantifier, Keyword::ANY | Keyword::SOME | Keyword::ALL) {
        return None;
    }
    for _ in 0..skip + 2 {
        parser.next_token();
    }
    let join = if quantifier == Keyword::ALL { BinaryOperator::And } else { BinaryOperator::Or };
    Some(
        patterns(parser).and_then(|patterns| joined(patterns, join, &|pattern| like(left, pattern, operator, negated))),
    )
}

fn patterns(parser: &mut Parser) -> Result<Vec<Expr>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let patterns = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RParen)?;
    Ok(patterns)
}

fn like(left: &Expr, pattern: Expr, operator: Keyword, negated: bool) -> Expr {
    let (expr, pattern) = (Box::new(left.clone()), Box::new(pattern));
    if operator == Keyword::LIKE {
        Expr::Like { negated, any: false, expr, pattern, escape_char: None }
    } else {
        Expr::ILike { negated, any: false, expr, pattern, escape_char: None }
    }
}

fn joined(patterns: Vec<Expr>, op: BinaryOperator, one: &dyn Fn(Expr) -> Expr) -> Parsed {
    let joined = patterns.into_iter().map(one).reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: op.clone(),
        right: Box::new(right),
    });
    let joined = joined.ok_or_else(|| ParserError::ParserError("Expected: patterns, found: )".into()))?;
    Ok(Expr::Nested(Box::new(joined)))
}
