//! The schema language: `ts TIMESTAMP, k STRING NOT NULL COMMENT 'x', p STRUCT<x: INT>, m MAP<STRING, ARRAY<INT>>`.
//!
//! In: text by a user. Out: Arrow types made by the constructors of [`crate::types`]. `NOT NULL` and `COMMENT` are
//! accepted and not kept: a column read from outside is always nullable. Nesting is bounded, so no text can exhaust
//! the stack.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};

use super::{field, list, map, timestamp, timestamp_ntz};
use crate::{Error, Result};

/// Deepest nesting of types.
const MAX_DEPTH: usize = 100;
/// Largest precision of a DECIMAL.
const MAX_PRECISION: u64 = 38;

/// Parses a list of columns, `a INT, b STRING` (also `a: INT`, or one `STRUCT<...>`).
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` with the place in the text; `UNSUPPORTED_DATATYPE` for an unknown type.
pub fn parse_ddl(text: &str) -> Result<SchemaRef> {
    if let Ok(DataType::Struct(fields)) = parse_type(text) {
        return Ok(Arc::new(Schema::new(fields)));
    }
    Ok(Arc::new(Schema::new(parse_columns(text)?)))
}

/// Parses one type, `ARRAY<INT>`.
///
/// # Errors
/// As [`parse_ddl`].
pub fn parse_type(text: &str) -> Result<DataType> {
    let mut parser = Parser::new(text)?;
    let data_type = parser.data_type()?;
    parser.end()?;
    Ok(data_type)
}

/// Parses one type, or a list of columns as a struct: the schema argument of `from_json`.
///
/// # Errors
/// As [`parse_ddl`].
pub fn parse_type_or_schema(text: &str) -> Result<DataType> {
    match parse_type(text) {
        Ok(data_type) => Ok(data_type),
        Err(as_type) => match parse_columns(text) {
            Ok(fields) => Ok(DataType::Struct(fields)),
            Err(as_columns) if text.trim().contains([' ', ':', ',']) => Err(as_columns),
            Err(_) => Err(as_type),
        },
    }
}

fn parse_columns(text: &str) -> Result<Fields> {
    let mut parser = Parser::new(text)?;
    if parser.tokens.is_empty() {
        return Ok(Fields::empty());
    }
    let fields = parser.fields()?;
    parser.end()?;
    Ok(fields)
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Text,
    Symbol(char),
}

impl Token {
    fn shown(&self) -> String {
        match self {
            Token::Word(text) | Token::Quoted(text) => text.clone(),
            Token::Text => "a string".into(),
            Token::Symbol(symbol) => symbol.to_string(),
        }
    }
}

/// Cuts the text into tokens with their columns (from 1).
fn tokens(text: &str) -> Result<Vec<(Token, usize)>> {
    let characters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&c) = characters.get(at) {
        let start = at;
        match c {
            c if c.is_whitespace() => at += 1,
            '`' | '\'' | '"' => found.push((quoted(&characters, &mut at)?, start + 1)),
            c if is_word(c) => found.push((word(&characters, &mut at), start + 1)),
            symbol => {
                found.push((Token::Symbol(symbol), start + 1));
                at += 1;
            }
        }
    }
    Ok(found)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(characters: &[char], at: &mut usize) -> Token {
    let rest = &characters[*at..];
    let length = rest.iter().take_while(|c| is_word(**c)).count();
    *at += length;
    Token::Word(rest[..length].iter().collect())
}

/// A name in backquotes or a string; a doubled quote stands for itself, a backslash in a string escapes.
fn quoted(characters: &[char], at: &mut usize) -> Result<Token> {
    let (start, quote) = (*at, characters[*at]);
    let mut text = String::new();
    *at += 1;
    while let Some(&c) = characters.get(*at) {
        *at += 1;
        if c == quote && characters.get(*at) != Some(&quote) {
            return Ok(if quote == '`' { Token::Quoted(text) } else { Token::Text });
        }
        if c == quote || (c == '\\' && quote != '`') {
            *at += 1;
        }
        text.push(c);
    }
    Err(syntax_error(&format!("{quote}"), start + 1))
}

fn syntax_error(near: &str, column: usize) -> Error {
    Error::query("PARSE_SYNTAX_ERROR", format!("syntax error at or near '{near}'"))
        .at(format!("column {column} of the schema text"))
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    length: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Self> {
        Ok(Parser { tokens: tokens(text)?, at: 0, depth: 0, length: text.chars().count() })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn unexpected(&self) -> Error {
        match self.tokens.get(self.at) {
            Some((token, column)) => syntax_error(&token.shown(), *column),
            None => syntax_error("end of input", self.length + 1),
        }
    }

    fn end(&self) -> Result<()> {
        if self.at < self.tokens.len() { Err(self.unexpected()) } else { Ok(()) }
    }

    /// Takes the symbol if it is next.
    fn take(&mut self, symbol: char) -> bool {
        let found = self.peek() == Some(&Token::Symbol(symbol));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: char) -> Result<()> {
        if self.take(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes the keyword if it is next.
    fn take_word(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(found);
        found
    }

    fn name(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(name) | Token::Quoted(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn number(&mut self) -> Result<u64> {
        let number = match self.peek() {
            Some(Token::Word(digits)) => digits.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.unexpected())?;
        self.at += 1;
        Ok(number)
    }

    fn fields(&mut self) -> Result<Fields> {
        let mut fields = vec![self.column()?];
        while self.take(',') {
            fields.push(self.column()?);
        }
        Ok(fields.into())
    }

    fn column(&mut self) -> Result<Field> {
        let name = self.name()?;
        self.take(':');
        let data_type = self.data_type()?;
        if self.take_word("NOT") && !self.take_word("NULL") {
            return Err(self.unexpected());
        }
        if self.take_word("COMMENT") {
            self.text()?;
        }
        Ok(field(name, data_type))
    }

    fn text(&mut self) -> Result<()> {
        if self.peek() != Some(&Token::Text) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn data_type(&mut self) -> Result<DataType> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Error::invalid(format!("the schema nests types deeper than {MAX_DEPTH} levels")));
        }
        let Some(Token::Word(name)) = self.peek() else { return Err(self.unexpected()) };
        let name = name.to_ascii_uppercase();
        let at = self.at;
        self.at += 1;
        let data_type = self.named_type(&name, at)?;
        self.depth -= 1;
        Ok(data_type)
    }

    fn named_type(&mut self, name: &str, at: usize) -> Result<DataType> {
        match name {
            "ARRAY" => self.array(),
            "MAP" => self.map(),
            "STRUCT" => self.structure(),
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal(),
            "CHAR" | "CHARACTER" | "VARCHAR" => self.bounded_string(),
            "STRING" => self.string(),
            "INTERVAL" => self.interval(),
            "TIME" => self.time(),
            other => plain_type(other).ok_or_else(|| self.unknown(other, at)),
        }
    }

    fn unknown(&self, name: &str, at: usize) -> Error {
        let column = self.tokens.get(at).map_or(1, |(_, column)| *column);
        Error::query("UNSUPPORTED_DATATYPE", format!("unsupported data type \"{name}\""))
            .at(format!("column {column} of the schema text"))
    }

    fn array(&mut self) -> Result<DataType> {
        self.expect('<')?;
        let element = self.data_type()?;
        self.expect('>')?;
        Ok(list(element))
    }

    fn map(&mut self) -> Result<DataType> {
        self.expect('<')?;
        let key = self.data_type()?;
        self.expect(',')?;
        let value = self.data_type()?;
        self.expect('>')?;
        Ok(map(key, value))
    }

    fn structure(&mut self) -> Result<DataType> {
        self.expect('<')?;
        if self.take('>') {
            return Ok(DataType::Struct(Fields::empty()));
        }
        let fields = self.fields()?;
        self.expect('>')?;
        Ok(DataType::Struct(fields))
    }

    /// The number in `(n)`, if there is a parenthesis.
    fn parameter(&mut self) -> Result<Option<u64>> {
        if !self.take('(') {
            return Ok(None);
        }
        let number = self.number()?;
        self.expect(')')?;
        Ok(Some(number))
    }

    fn decimal(&mut self) -> Result<DataType> {
        if !self.take('(') {
            return decimal_type(10, 0);
        }
        let precision = self.number()?;
        let scale = if self.take(',') { self.number()? } else { 0 };
        self.expect(')')?;
        decimal_type(precision, scale)
    }

    fn bounded_string(&mut self) -> Result<DataType> {
        match self.parameter()? {
            Some(_) => Ok(DataType::Utf8),
            None => Err(Error::query("DATATYPE_MISSING_SIZE", "CHAR and VARCHAR need a length, as in VARCHAR(10)")),
        }
    }

    fn string(&mut self) -> Result<DataType> {
        if self.take_word("COLLATE") {
            let collation = self.name()?;
            if !collation.eq_ignore_ascii_case("UTF8_BINARY") {
                return Err(Error::unsupported(format!("collation '{collation}' is not supported"))
                    .hint("Strings compare by their bytes (UTF8_BINARY)."));
            }
        }
        Ok(DataType::Utf8)
    }

    /// `INTERVAL`, `INTERVAL DAY TO SECOND`, `INTERVAL MONTH`, ...: the fields only tell days from months.
    fn interval(&mut self) -> Result<DataType> {
        const DAY_TIME: [&str; 4] = ["DAY", "HOUR", "MINUTE", "SECOND"];
        const YEAR_MONTH: [&str; 2] = ["YEAR", "MONTH"];
        if self.interval_fields(&DAY_TIME)? {
            return Ok(DataType::Duration(TimeUnit::Microsecond));
        }
        if self.interval_fields(&YEAR_MONTH)? {
            return Ok(DataType::Interval(IntervalUnit::YearMonth));
        }
        Ok(DataType::Interval(IntervalUnit::MonthDayNano))
    }

    fn interval_fields(&mut self, units: &[&str]) -> Result<bool> {
        let Some(from) = units.iter().position(|unit| self.take_word(unit)) else { return Ok(false) };
        if self.take_word("TO") && !units[from + 1..].iter().any(|unit| self.take_word(unit)) {
            return Err(self.unexpected());
        }
        Ok(true)
    }

    fn time(&mut self) -> Result<DataType> {
        match self.parameter()? {
            Some(precision @ 7..) => Err(Error::query(
                "UNSUPPORTED_TIME_PRECISION",
                format!("the precision of TIME should be 0 to 6 but is {precision}"),
            )),
            _ => Ok(DataType::Time64(TimeUnit::Microsecond)),
        }
    }
}

fn decimal_type(precision: u64, scale: u64) -> Result<DataType> {
    if precision > MAX_PRECISION {
        return Err(Error::query(
            "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
            format!("decimal precision {precision} exceeds the largest precision {MAX_PRECISION}"),
        ));
    }
    if scale > precision {
        return Err(Error::query(
            "DECIMAL_SCALE_EXCEEDS_PRECISION",
            format!("decimal scale {scale} is greater than the precision {precision}"),
        ));
    }
    if precision == 0 {
        return Err(Error::invalid("decimal(0,0) needs a precision of at least 1"));
    }
    Ok(DataType::Decimal128(precision as u8, scale as i8))
}

fn plain_type(name: &str) -> Option<DataType> {
    Some(match name {
        "BOOLEAN" => DataType::Boolean,
        "TINYINT" | "BYTE" => DataType::Int8,
        "SMALLINT" | "SHORT" => DataType::Int16,
        "INT" | "INTEGER" => DataType::Int32,
        "BIGINT" | "LONG" => DataType::Int64,
        "FLOAT" | "REAL" => DataType::Float32,
        "DOUBLE" => DataType::Float64,
        "BINARY" => DataType::Binary,
        "VARIANT" => super::variant(),
        "DATE" => DataType::Date32,
        "TIMESTAMP" | "TIMESTAMP_LTZ" => timestamp(),
        "TIMESTAMP_NTZ" => timestamp_ntz(),
        "VOID" => DataType::Null,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{simple_name, structure};

    fn schema(text: &str) -> String {
        simple_name(&DataType::Struct(parse_ddl(text).unwrap().fields().clone()))
    }

    #[test]
    fn columns_with_all_their_decorations() {
        assert_eq!(
            schema(
                "ts TIMESTAMP, k STRING NOT NULL COMMENT 'it''s, \\' x', p STRUCT<x: INT>, m MAP<STRING, ARRAY<INT>>"
            ),
            "struct<ts:timestamp,k:string,p:struct<x:int>,m:map<string,array<int>>>"
        );
        assert_eq!(
            schema("`a b` int, `c``d`: long,e DECIMAL(6 , 2), f dec"),
            "struct<a b:int,c`d:bigint,e:decimal(6,2),f:decimal(10,0)>"
        );
        assert_eq!(schema("STRUCT<a: INT>"), "struct<a:int>");
        assert_eq!(
            schema("date DATE, interval INTERVAL, time TIME"),
            "struct<date:date,interval:interval,time:time(6)>"
        );
        assert_eq!(schema("  "), "struct<>");
    }

    #[test]
    fn all_columns_are_nullable() {
        assert!(parse_ddl("a INT NOT NULL").unwrap().field(0).is_nullable());
    }

    #[test]
    fn a_type_or_a_schema() {
        assert_eq!(parse_type_or_schema("array<int>").unwrap(), list(DataType::Int32));
        assert_eq!(parse_type_or_schema("a int").unwrap(), structure([("a", DataType::Int32)]));
        assert_eq!(parse_type_or_schema("nonsense").unwrap_err().condition(), Some("UNSUPPORTED_DATATYPE"));
    }

    #[test]
    fn errors_name_condition_and_place() {
        for (text, condition, place) in [
            ("a INT b", "PARSE_SYNTAX_ERROR", "column 7 of the schema text"),
            ("a", "PARSE_SYNTAX_ERROR", "column 2 of the schema text"),
            ("a INT,", "PARSE_SYNTAX_ERROR", "column 7 of the schema text"),
            ("a ARRAY<INT", "PARSE_SYNTAX_ERROR", "column 12 of the schema text"),
            ("`a INT", "PARSE_SYNTAX_ERROR", "column 1 of the schema text"),
            ("a INT, b FOO", "UNSUPPORTED_DATATYPE", "column 10 of the schema text"),
        ] {
            let error = parse_ddl(text).unwrap_err();
            assert_eq!((error.condition(), error.place()), (Some(condition), Some(place)), "{text}");
        }
        assert!(parse_ddl("a DECIMAL(39,1)").is_err());
        assert!(parse_ddl("a DECIMAL(3,4)").is_err());
        assert!(parse_ddl("a VARCHAR").is_err());
    }

    #[test]
    fn deep_nesting_is_refused_and_not_a_stack_overflow() {
        let text = format!("{}INT{}", "ARRAY<".repeat(100_000), ">".repeat(100_000));
        assert!(parse_type(&text).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-z<>(),:`'0-9 ]{0,40}") {
            let _ = parse_ddl(&text);
        }
    }
}
