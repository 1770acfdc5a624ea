//! Statements: what besides queries can be given to `session.sql`.
//!
//! In: the text of one statement. Out: its effect on the session, and a DataFrame of what it shows. The grammar of
//! CREATE, DROP, SHOW, DESCRIBE, SET, EXPLAIN and INSERT is Spark's; queries are parsed by sqlparser.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::parser::{IsOptional, Parser};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::ast::ObjectName;
use super::dialect::SparkDialect;
use super::insert::{Columns, fitted};
use super::parameters::Parameters;
use super::parse::{parser, syntax_error};
use super::relation::{not_found, parts_of};
use super::stream_clauses::{plain, rewrite};
use crate::catalog::Table;
use crate::frame::DataFrame;
use crate::options::Options;
use crate::session::Session;
use crate::{Error, Result, types};

/// Metadata of a column that is a text to be read as it is, such as a plan.
pub const TEXT: &str = "thalweg.text";

/// Runs one statement.
///
/// # Errors
/// `PARSE_SYNTAX_ERROR` with its place, and Spark's analysis errors.
pub fn run(session: &Session, text: &str, parameters: &Parameters) -> Result<DataFrame> {
    let tokens = rewrite(parser(text)?.into_tokens())?;
    let parser = Parser::new(&SparkDialect).with_tokens_with_locations(tokens);
    let mut reading = Reading { session, text, parameters, parser };
    let shown = reading.statement()?;
    reading.end()?;
    Ok(shown)
}

struct Reading<'a> {
    session: &'a Session,
    text: &'a str,
    parameters: &'a Parameters,
    parser: Parser<'a>,
}

impl Reading<'_> {
    fn statement(&mut self) -> Result<DataFrame> {
        match self.peek().as_str() {
            "CREATE" => self.create(),
            "DROP" => self.drop(),
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => self.describe(),
            "SET" => self.set(),
            "RESET" => self.reset(),
            "EXPLAIN" => self.explain(),
            "INSERT" => self.insert(),
            "SELECT" | "WITH" | "VALUES" | "TABLE" | "FROM" | "(" => {
                Ok(DataFrame::new(self.session.clone(), self.query()?))
            }
            _ => Err(self.unknown()),
        }
    }

    /// The statement ends here; asked before it has an effect.
    fn end(&mut self) -> Result<()> {
        while self.parser.consume_token(&Token::SemiColon) {}
        match self.parser.peek_token() {
            next if next.token == Token::EOF => Ok(()),
            _ => Err(self.expected("end of statement")),
        }
    }

    /// The next token as upper-case text.
    fn peek(&self) -> String {
        self.parser.peek_token_ref().token.to_string().to_ascii_uppercase()
    }

    /// Takes the words if they come next, in any case.
    fn take(&mut self, words: &[&str]) -> bool {
        let comes = |(place, word): (usize, &&str)| {
            let token = &self.parser.peek_nth_token_ref(place).token;
            matches!(token, Token::Word(found) if found.value.eq_ignore_ascii_case(word))
        };
        let all = words.iter().enumerate().all(comes);
        if all {
            words.iter().for_each(|_| {
                self.parser.next_token();
            });
        }
        all
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.take(&[word]) { Ok(()) } else { Err(self.expected(word)) }
    }

    fn expected(&self, what: &str) -> Error {
        let found = self.parser.peek_token();
        self.parser.expected::<()>(what, found).map_or_else(syntax_error, |()| self.wrong())
    }

    fn unknown(&self) -> Error {
        self.expected("a statement")
    }

    fn wrong(&self) -> Error {
        Error::query("PARSE_SYNTAX_ERROR", format!("syntax error in '{}'", self.text))
    }

    fn name(&mut self) -> Result<ObjectName> {
        self.parser.parse_object_name(true).map_err(syntax_error)
    }

    /// The last part of a table's name.
    fn table_name(&mut self) -> Result<String> {
        parts_of(&self.name()?).pop().ok_or_else(|| self.wrong())
    }

    fn query(&mut self) -> Result<LogicalPlan> {
        let mut query = self.parser.parse_query().map_err(syntax_error)?;
        self.parameters.bind(&mut query)?;
        self.session.with_binder(|binder| binder.query(&query))
    }

    fn create(&mut self) -> Result<DataFrame> {
        self.expect("CREATE")?;
        let replace = self.take(&["OR", "REPLACE"]);
        let _global = self.take(&["GLOBAL"]);
        let temporary = self.take(&["TEMPORARY"]) || self.take(&["TEMP"]);
        let _streaming = self.take(&["STREAMING"]);
        if self.take(&["VIEW"]) {
            return self.create_view(replace);
        }
        if temporary || !self.take(&["TABLE"]) {
            return Err(self.expected("VIEW or TABLE"));
        }
        self.create_table(replace)
    }

    fn if_not_exists(&mut self) -> bool {
        self.take(&["IF", "NOT", "EXISTS"])
    }

    fn create_view(&mut self, replace: bool) -> Result<DataFrame> {
        let keep = self.if_not_exists();
        let name = self.table_name()?;
        if keep && self.session.catalog().contains(&name) {
            self.skip_rest();
            return self.nothing();
        }
        let columns = self.bracketed()?;
        if self.take(&["USING"]) {
            return self.add_source(&name, columns, replace);
        }
        self.expect("AS")?;
        let plan = self.query()?;
        let plan = match columns {
            Some(columns) => {
                let names: Vec<&str> = columns.split(',').map(|name| name.trim().trim_matches('`')).collect();
                DataFrame::new(self.session.clone(), plan).to_df(names)?.plan().clone()
            }
            None => plan,
        };
        self.end()?;
        self.session.catalog().add_view(&name, plan, replace)?;
        self.nothing()
    }

    fn create_table(&mut self, replace: bool) -> Result<DataFrame> {
        let keep = self.if_not_exists();
        let name = self.table_name()?;
        if keep && self.session.catalog().contains(&name) {
            self.skip_rest();
            return self.nothing();
        }
        let columns = self.bracketed()?;
        self.expect("USING")?;
        self.add_source(&name, columns, replace)
    }

    fn skip_rest(&mut self) {
        while self.parser.peek_token_ref().token != Token::EOF {
            self.parser.next_token();
        }
    }

    /// The text between brackets, if they come next.
    fn bracketed(&mut self) -> Result<Option<String>> {
        if !self.parser.consume_token(&Token::LParen) {
            return Ok(None);
        }
        let (mut depth, mut parts) = (1, Vec::new());
        loop {
            let token = self.parser.next_token().token;
            match token {
                Token::LParen => depth += 1,
                Token::RParen if depth == 1 => return Ok(Some(parts.join(" "))),
                Token::RParen => depth -= 1,
                Token::EOF => return Err(self.expected(")")),
                _ => {}
            }
            parts.push(written(&token));
        }
    }

    /// `fmt [OPTIONS (...)] [LOCATION '...'] [COMMENT '...'] ...` behind USING.
    fn add_source(&mut self, name: &str, columns: Option<String>, replace: bool) -> Result<DataFrame> {
        let mut table = Table::default();
        table.source.format = self.format();
        table.source.schema = columns.map(|columns| types::parse_ddl(&columns)).transpose()?;
        while self.clause(&mut table)? {}
        if self.take(&["AS"]) {
            return self.create_as(name, table, replace);
        }
        self.end()?;
        self.session.catalog().add_table(name, table, replace)?;
        self.nothing()
    }

    /// Reads one of the clauses behind the format; false if there is none.
    fn clause(&mut self, table: &mut Table) -> Result<bool> {
        if self.take(&["OPTIONS"]) || self.take(&["TBLPROPERTIES"]) {
            self.options(&mut table.source.options)?;
        } else if self.take(&["LOCATION"]) {
            table.source.options.set("path", plain(&self.parser.next_token().token));
        } else if self.take(&["COMMENT"]) {
            self.parser.next_token();
        } else if self.take(&["PARTITIONED", "BY"]) {
            let columns = self.bracketed()?.ok_or_else(|| self.expected("("))?;
            let names = columns.split(',').filter_map(|column| column.split_whitespace().next());
            table.partition_by = names.map(|name| name.trim_matches('`').to_owned()).collect();
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// `CREATE TABLE ... AS query`: the table, with the rows of a static query.
    fn create_as(&mut self, name: &str, table: Table, replace: bool) -> Result<DataFrame> {
        if table.source.schema.is_some() {
            return Err(self.parse_error("a table made AS a query has the columns of the query: leave out its own"));
        }
        let plan = self.query()?;
        self.end()?;
        let frame = DataFrame::new(self.session.clone(), plan);
        self.session.catalog().add_table(name, table, replace)?;
        if let Err(error) = frame.write().mode("append").insert_into(name) {
            self.session.catalog().remove(name);
            return Err(error);
        }
        self.nothing()
    }

    fn parse_error(&self, message: &str) -> Error {
        Error::query("PARSE_SYNTAX_ERROR", format!("{message}, in '{}'", self.text))
    }

    /// A format's name, which may have dots (`org.apache.spark.sql.cassandra`).
    fn format(&mut self) -> String {
        let mut name = plain(&self.parser.next_token().token);
        while self.parser.consume_token(&Token::Period) {
            name = format!("{name}.{}", plain(&self.parser.next_token().token));
        }
        name
    }

    /// `(key [=] value, ...)`, where a key may have dots.
    fn options(&mut self, options: &mut Options) -> Result<()> {
        if !self.parser.consume_token(&Token::LParen) {
            return Err(self.expected("("));
        }
        let mut pair: Vec<Token> = Vec::new();
        loop {
            let token = self.parser.next_token().token;
            match token {
                Token::Comma | Token::RParen => {
                    set_option(options, &std::mem::take(&mut pair))?;
                    if token == Token::RParen {
                        return Ok(());
                    }
                }
                Token::Eq => {}
                Token::EOF => return Err(self.expected(")")),
                other => pair.push(other),
            }
        }
    }

    fn drop(&mut self) -> Result<DataFrame> {
        self.expect("DROP")?;
        if !self.take(&["VIEW"]) && !self.take(&["TABLE"]) && !self.take(&["TEMPORARY", "VIEW"]) {
            return Err(self.expected("VIEW or TABLE"));
        }
        let optional = self.take(&["IF", "EXISTS"]);
        let name = self.table_name()?;
        self.end()?;
        if !self.session.catalog().remove(&name) && !optional {
            return Err(not_found(&[name]));
        }
        self.nothing()
    }

    fn show(&mut self) -> Result<DataFrame> {
        self.expect("SHOW")?;
        let views = self.take(&["VIEWS"]);
        if !views && !self.take(&["TABLES"]) {
            return Err(self.expected("TABLES or VIEWS"));
        }
        let listed: Vec<_> = self.session.catalog().list().into_iter().filter(|entry| entry.view || !views).collect();
        let names: StringArray = listed.iter().map(|entry| Some(entry.name.as_str())).collect();
        let temporary: BooleanArray = listed.iter().map(|entry| Some(entry.view)).collect();
        let spaces: StringArray = listed.iter().map(|_| Some("")).collect();
        let columns = [
            ("namespace", spaces.into_array()),
            ("tableName", names.into_array()),
            ("isTemporary", temporary.into_array()),
        ];
        self.shown(columns)
    }

    fn describe(&mut self) -> Result<DataFrame> {
        self.parser.next_token();
        let plan = match self.take(&["QUERY"]) {
            true => self.query()?,
            false => {
                let _ = self.take(&["TABLE"]);
                let _ = self.take(&["EXTENDED"]);
                let name = self.table_name()?;
                self.session.table(&name)?.plan().clone()
            }
        };
        let described = DataFrame::new(self.session.clone(), plan).dtypes();
        let names: StringArray = described.iter().map(|(name, _)| Some(name.as_str())).collect();
        let kinds: StringArray = described.iter().map(|(_, kind)| Some(kind.as_str())).collect();
        let comments: StringArray = described.iter().map(|_| None::<&str>).collect();
        self.shown([
            ("col_name", names.into_array()),
            ("data_type", kinds.into_array()),
            ("comment", comments.into_array()),
        ])
    }

    /// `SET`, `SET key`, `SET key = value`.
    fn set(&mut self) -> Result<DataFrame> {
        self.expect("SET")?;
        self.skip_rest();
        let setting = self.text.trim().trim_end_matches(';');
        let setting = setting.get("SET".len()..).unwrap_or_default().trim();
        let conf = self.session.conf();
        let (keys, values): (Vec<String>, Vec<String>) = match setting.split_once('=') {
            Some((key, value)) => {
                let (key, value) = (key.trim().trim_matches('`').to_string(), value.trim().to_string());
                self.session.set_conf(&key, &value);
                (vec![key], vec![value])
            }
            None if setting.is_empty() => conf.iter().map(|(key, value)| (key.to_string(), value.to_string())).unzip(),
            None => (vec![setting.to_string()], vec![conf.get(setting).unwrap_or("<undefined>").to_string()]),
        };
        self.shown([("key", StringArray::from(keys).into_array()), ("value", StringArray::from(values).into_array())])
    }

    fn reset(&mut self) -> Result<DataFrame> {
        self.expect("RESET")?;
        let mut key = String::new();
        while !matches!(self.parser.peek_token_ref().token, Token::EOF | Token::SemiColon) {
            key.push_str(&plain(&self.parser.next_token().token));
        }
        let all: Vec<String> = self.session.conf().iter().map(|(key, _)| key.to_string()).collect();
        for known in all.iter().filter(|known| key.is_empty() || **known == key) {
            self.session.unset_conf(known);
        }
        self.nothing()
    }

    fn explain(&mut self) -> Result<DataFrame> {
        self.expect("EXPLAIN")?;
        for word in ["EXTENDED", "FORMATTED", "CODEGEN", "COST"] {
            let _ = self.take(&[word]);
        }
        let plan = self.query()?;
        let text = DataFrame::new(self.session.clone(), plan).explain_string();
        let field = Field::new("plan", DataType::Utf8, true).with_metadata([(TEXT.into(), String::new())].into());
        let schema = Arc::new(Schema::new(vec![field]));
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![StringArray::from(vec![text]).into_array()])?;
        self.session.create_data_frame(schema, vec![rows])
    }

    /// `INSERT INTO t [(columns) | BY NAME] query`: once for a static query; a streaming one is started.
    fn insert(&mut self) -> Result<DataFrame> {
        self.expect("INSERT")?;
        let overwrite = self.take(&["OVERWRITE"]);
        if !overwrite {
            self.expect("INTO")?;
        }
        let _ = self.take(&["TABLE"]);
        let table = self.table_name()?;
        let columns = self.insert_columns()?;
        let frame = DataFrame::new(self.session.clone(), self.rows_for(&table, &columns)?);
        match frame.is_streaming() {
            true if overwrite => {
                return Err(Error::query("_LEGACY_ERROR_TEMP_1160", "INSERT OVERWRITE takes no stream"));
            }
            true => insert_stream(&frame, &table)?,
            false if overwrite => frame.write().mode("overwrite").insert_into(&table)?,
            false => frame.write().insert_into(&table)?,
        }
        self.nothing()
    }

    fn insert_columns(&mut self) -> Result<Columns> {
        if self.take(&["BY", "NAME"]) {
            return Ok(Columns::ByName);
        }
        let behind = self.parser.peek_nth_token_ref(1).token.to_string().to_ascii_uppercase();
        let query = ["SELECT", "WITH", "VALUES", "TABLE", "FROM", "("].contains(&behind.as_str());
        if self.peek() != "(" || query {
            return Ok(Columns::ByPosition);
        }
        let names = self.parser.parse_parenthesized_column_list(IsOptional::Mandatory, false).map_err(syntax_error)?;
        Ok(Columns::Listed(names.into_iter().map(|name| name.value).collect()))
    }

    /// The query that follows, with the columns of the table.
    fn rows_for(&mut self, table: &str, columns: &Columns) -> Result<LogicalPlan> {
        let plan = self.query()?;
        self.end()?;
        let declared = self.session.catalog().declared(table);
        fitted(plan, columns, table, declared.as_ref(), &self.session.conf())
    }

    fn nothing(&self) -> Result<DataFrame> {
        self.session.create_data_frame(Arc::new(Schema::empty()), Vec::new())
    }

    fn shown<const N: usize>(&self, columns: [(&str, ArrayRef); N]) -> Result<DataFrame> {
        let field = |(name, column): &(&str, ArrayRef)| Field::new(*name, column.data_type().clone(), true);
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let rows = RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().map(|(_, column)| column).collect())?;
        self.session.create_data_frame(schema, vec![rows])
    }
}

/// A token as it was written; its own display leaves quotes inside of a text as they are.
fn written(token: &Token) -> String {
    match token {
        Token::SingleQuotedString(text) => format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'")),
        other => other.to_string(),
    }
}

/// Sets the option of `key value`. What is there besides is not shown: it may belong to a secret.
fn set_option(options: &mut Options, pair: &[Token]) -> Result<()> {
    let Some((value, key)) = pair.split_last() else { return Ok(()) };
    let quoted = |token: &Token| matches!(token, Token::SingleQuotedString(_) | Token::DoubleQuotedString(_));
    if key.is_empty() || (key.len() > 1 && key.iter().any(quoted)) {
        return Err(Error::query("PARSE_SYNTAX_ERROR", "an option should be a name and one value")
            .hint("Write OPTIONS (path 'in', header 'true')."));
    }
    options.set(key.iter().map(plain).collect::<String>(), plain(value));
    Ok(())
}

/// Starts a query that writes into a table's sink for as long as it runs.
fn insert_stream(frame: &DataFrame, table: &str) -> Result<()> {
    frame.write_stream().to_table(table).map(|_| ())
}

/// Shorthand for columns of what a statement shows.
trait IntoArray: Sized {
    fn into_array(self) -> ArrayRef;
}

impl<A: arrow::array::Array + 'static> IntoArray for A {
    fn into_array(self) -> ArrayRef {
        Arc::new(self)
    }
}
