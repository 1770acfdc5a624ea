//! `Column`: an expression as the user builds it, before any name in it means something.
//!
//! In: names, literals, SQL text and operators. Out: a syntax tree of the SQL parser, so that DataFrame calls and SQL
//! text go through one binder. Nothing is resolved here; text that does not parse is kept as an error and reported when
//! the column is used.

mod literal;
mod operators;

use crate::sql::ast::helpers::attached_token::AttachedToken;
use crate::sql::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    ObjectName, OrderByExpr, OrderByOptions, SelectItem, SelectItemQualifiedWildcardKind, WildcardAdditionalOptions,
};

use crate::{Error, Result};

pub use literal::{IntoOperand, lit};
pub use operators::{CaseColumn, when};

/// An expression over the columns of a DataFrame, with its names still to be resolved.
///
/// Columns are made with [`col`], [`lit`], [`expr`] and the functions of [`crate::frame::functions`], and combined with
/// Rust's operators and the methods below. A mistake in a name or type shows when the column is used in a DataFrame.
#[derive(Debug, Clone)]
pub struct Column {
    tree: Result<Expr>,
    aliases: Vec<Ident>,
    order: Option<OrderByOptions>,
}

/// The column of this name. Dots reach into structs or name the relation (`"e.address.city"`), backticks quote
/// (``"`a.b`"``), and `"*"` means all columns.
pub fn col(name: &str) -> Column {
    Column::from_result(parse_name(name))
}

/// The column that this SQL text describes, with its alias if it has one: `expr("a + 1 AS b")`.
pub fn expr(text: &str) -> Column {
    match crate::sql::parse_select_item(text) {
        Ok(item) => Column::from_item(item),
        Err(error) => Column::from_result(Err(error)),
    }
}

/// A call of any function by its name, with columns as arguments.
pub fn call_function(name: &str, arguments: impl IntoIterator<Item = impl Into<Column>>) -> Column {
    let arguments = arguments.into_iter().map(|argument| argument.into().tree).collect::<Result<Vec<_>>>();
    Column::from_result(arguments.map(|arguments| call(name, arguments)))
}

impl Column {
    pub(crate) fn new(tree: Expr) -> Self {
        Self::from_result(Ok(tree))
    }

    pub(crate) fn from_result(tree: Result<Expr>) -> Self {
        Self { tree, aliases: Vec::new(), order: None }
    }

    fn from_item(item: SelectItem) -> Self {
        match item {
            SelectItem::UnnamedExpr(tree) => Self::new(tree),
            SelectItem::ExprWithAlias { expr, alias } => Self { aliases: vec![alias], ..Self::new(expr) },
            SelectItem::ExprWithAliases { expr, aliases } => Self { aliases, ..Self::new(expr) },
            SelectItem::Wildcard(_) => Self::new(Expr::Wildcard(AttachedToken::empty())),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                Self::new(Expr::QualifiedWildcard(name, AttachedToken::empty()))
            }
            other => Self::from_result(Err(Error::unsupported(format!("'{other}' is not supported as a column")))),
        }
    }

    /// The syntax tree without alias and order.
    ///
    /// # Errors
    /// If some text that the column was made from did not parse.
    pub(crate) fn tree(&self) -> Result<Expr> {
        self.tree.clone()
    }

    /// The column as an item of a SELECT list.
    pub(crate) fn select_item(&self) -> Result<SelectItem> {
        let options = WildcardAdditionalOptions::default;
        Ok(match (self.tree()?, self.aliases.as_slice()) {
            (Expr::Wildcard(_), []) => SelectItem::Wildcard(options()),
            (Expr::QualifiedWildcard(name, _), []) => {
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options())
            }
            (expr, []) => SelectItem::UnnamedExpr(expr),
            (expr, [alias]) => SelectItem::ExprWithAlias { expr, alias: alias.clone() },
            (expr, aliases) => SelectItem::ExprWithAliases { expr, aliases: aliases.to_vec() },
        })
    }

    /// The column as a sort key.
    pub(crate) fn sort_key(&self) -> Result<OrderByExpr> {
        let options = self.order.unwrap_or(OrderByOptions { asc: None, nulls_first: None });
        Ok(OrderByExpr { expr: self.tree()?, options, with_fill: None })
    }

    /// Only different values are aggregated.
    pub(super) fn distinct(self) -> Self {
        self.map(|tree| match tree {
            Expr::Function(mut function) => {
                if let FunctionArguments::List(list) = &mut function.args {
                    list.duplicate_treatment = Some(DuplicateTreatment::Distinct);
                }
                Expr::Function(function)
            }
            other => other,
        })
    }

    fn map(self, change: impl FnOnce(Expr) -> Expr) -> Self {
        Self::from_result(self.tree.map(change))
    }

    /// Names the column.
    pub fn alias(self, name: &str) -> Self {
        Self { aliases: vec![Ident::with_quote('`', name)], ..self }
    }

    /// Names the columns of a generator that makes several: `posexplode(col("a")).alias_many(["pos", "item"])`.
    pub fn alias_many<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { aliases: names.into_iter().map(|name| Ident::with_quote('`', name)).collect(), ..self }
    }

    /// Same as [`Column::alias`], under Spark's other name.
    pub fn name(self, name: &str) -> Self {
        self.alias(name)
    }

    fn sorted(self, asc: bool, nulls_first: Option<bool>) -> Self {
        Self { order: Some(OrderByOptions { asc: Some(asc), nulls_first }), ..self }
    }

    /// Sorts ascending, nulls first.
    pub fn asc(self) -> Self {
        self.sorted(true, None)
    }

    /// Sorts ascending, nulls first.
    pub fn asc_nulls_first(self) -> Self {
        self.sorted(true, Some(true))
    }

    /// Sorts ascending, nulls last.
    pub fn asc_nulls_last(self) -> Self {
        self.sorted(true, Some(false))
    }

    /// Sorts descending, nulls last.
    pub fn desc(self) -> Self {
        self.sorted(false, None)
    }

    /// Sorts descending, nulls first.
    pub fn desc_nulls_first(self) -> Self {
        self.sorted(false, Some(true))
    }

    /// Sorts descending, nulls last.
    pub fn desc_nulls_last(self) -> Self {
        self.sorted(false, Some(false))
    }
}

impl From<&str> for Column {
    /// The column of this name, as [`col`].
    fn from(name: &str) -> Self {
        col(name)
    }
}

impl From<String> for Column {
    fn from(name: String) -> Self {
        col(&name)
    }
}

impl From<&String> for Column {
    fn from(name: &String) -> Self {
        col(name)
    }
}

impl From<&Column> for Column {
    fn from(column: &Column) -> Self {
        column.clone()
    }
}

/// A function's call as a syntax tree.
pub(crate) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::from(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Cuts a column's name at its dots, with backticks as quotes; `*` stands for all columns.
fn parse_name(name: &str) -> Result<Expr> {
    let mut parts = split_name(name)?;
    if name == "*" {
        return Ok(Expr::Wildcard(AttachedToken::empty()));
    }
    if name.ends_with(".*") {
        parts.pop();
        return Ok(Expr::QualifiedWildcard(ObjectName::from(parts), AttachedToken::empty()));
    }
    match <[Ident; 1]>::try_from(parts) {
        Ok([single]) => Ok(Expr::Identifier(single)),
        Err(parts) => Ok(Expr::CompoundIdentifier(parts)),
    }
}

/// The parts of a dotted name, quoted.
///
/// # Errors
/// Spark's `INVALID_ATTRIBUTE_NAME_SYNTAX` for an empty part or an unclosed backtick.
pub(crate) fn split_name(name: &str) -> Result<Vec<Ident>> {
    let wrong = || {
        Error::query("INVALID_ATTRIBUTE_NAME_SYNTAX", format!("'{name}' is not a column name"))
            .hint("Quote names that hold dots or backticks: `a.b`.")
    };
    let (mut parts, mut part, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '`' if quoted && letters.next_if_eq(&'`').is_some() => part.push('`'),
            '`' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            other => part.push(other),
        }
    }
    parts.push(part);
    if quoted || parts.iter().any(String::is_empty) {
        return Err(wrong());
    }
    Ok(parts.into_iter().map(|part| Ident::with_quote('`', part)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(column: Column) -> String {
        column.select_item().unwrap().to_string()
    }

    #[test]
    fn names_are_cut_at_dots_outside_backticks() {
        assert_eq!(text(col("a.b")), "`a`.`b`");
        assert_eq!(text(col("`a.b`.c")), "`a.b`.`c`");
        assert_eq!(text(col("e.*")), "`e`.*");
    }

    #[test]
    fn a_bad_name_is_reported_when_used() {
        let error = col("a..b").select_item().unwrap_err();
        assert_eq!(error.condition(), Some("INVALID_ATTRIBUTE_NAME_SYNTAX"));
    }

    #[test]
    fn operators_build_sql() {
        assert_eq!(text((col("a") + 1).gt(col("b")).and(col("s").eq_to("x")).alias("c")), {
            "((`a` + 1) > `b`) AND (`s` = 'x') AS `c`"
        });
    }

    #[test]
    fn sort_keys_keep_their_order() {
        assert_eq!(col("a").desc_nulls_first().sort_key().unwrap().to_string(), "`a` DESC NULLS FIRST");
    }
}
