//! The binder: syntax trees over a plan become plans. DataFrame calls and SQL text both end here.
//!
//! In: trees of the SQL parser, the plan they are about, and the tables that can be named. Out: DataFusion plans with our
//! nodes, names resolved and types settled, or Spark's error. Nothing is read or run.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::utils::{find_aggregate_exprs, find_window_exprs};
use datafusion::logical_expr::{Expr, ExprSchemable, Filter, LogicalPlan};

use super::ast::{self, SelectItem};
use super::expression::{Item, Scope, bind_expression, bind_item};
use super::grouping::{self, Grouping};
use super::{names, selection};
use crate::conf::Conf;
use crate::functions::coerce::type_name;
use crate::functions::generator::is_generator;
use crate::functions::user::UserFunctions;
use crate::options::Options;
use crate::{Error, Result};

/// Where the binder finds tables and views.
pub trait Tables: Send + Sync {
    /// The plan of a table or view by the parts of its name; none if there is no such table.
    ///
    /// # Errors
    /// If the table is known but cannot be used.
    fn table(&self, name: &[String]) -> Result<Option<LogicalPlan>>;

    /// The same table read as a stream, with more options for its source.
    ///
    /// # Errors
    /// If the table cannot be read as a stream.
    fn stream(&self, name: &[String], options: &Options) -> Result<Option<LogicalPlan>>;
}

/// Binds trees for one query.
pub struct Binder<'a> {
    /// Session settings.
    pub conf: &'a Conf,
    /// Tables and views.
    pub tables: &'a dyn Tables,
    /// The functions that the program registered.
    pub functions: Option<&'a UserFunctions>,
    /// Common table expressions in scope, by lower-case name.
    pub(super) named: HashMap<String, Arc<LogicalPlan>>,
    /// The windows that the query at hand names.
    pub(super) windows: Vec<ast::NamedWindowDefinition>,
    /// The scope of the query around this subquery.
    pub(super) outer: Option<&'a Scope<'a>>,
}

impl<'a> Binder<'a> {
    /// A binder for a top-level query.
    pub fn new(conf: &'a Conf, tables: &'a dyn Tables) -> Self {
        Self { conf, tables, functions: None, named: HashMap::new(), windows: Vec::new(), outer: None }
    }

    /// Knows functions that the program registered, too.
    pub fn with_functions(self, functions: &'a UserFunctions) -> Self {
        Binder { functions: Some(functions), ..self }
    }

    /// Binds with what expressions over `schema` can refer to.
    fn with_scope<T>(&self, schema: &DFSchema, bind: impl FnOnce(&Scope<'_>) -> Result<T>) -> Result<T> {
        let subquery = |query: &ast::Query, scope: &Scope<'_>| self.inside(scope).query(query);
        bind(&Scope {
            outer: self.outer,
            subquery: Some(&subquery),
            windows: &self.windows,
            functions: self.functions,
            ..Scope::new(schema, self.conf)
        })
    }

    /// A binder for a subquery within an expression of this scope.
    fn inside<'s>(&'s self, scope: &'s Scope<'s>) -> Binder<'s> {
        let (named, windows) = (self.named.clone(), Vec::new());
        Binder { named, windows, outer: Some(scope), functions: self.functions, ..Binder::new(self.conf, self.tables) }
    }

    /// Binds a query that may name columns of `schema`, the relations before it.
    pub(super) fn subquery_over(&self, schema: &DFSchema, query: &ast::Query) -> Result<LogicalPlan> {
        self.with_scope(schema, |scope| self.inside(scope).query(query))
    }

    /// Binds an expression over the columns of `plan`.
    ///
    /// # Errors
    /// Spark's errors for unknown names and wrong types.
    pub fn expression(&self, tree: &ast::Expr, plan: &LogicalPlan) -> Result<Expr> {
        self.over(tree, plan.schema())
    }

    /// As [`Binder::expression`], over columns without a plan (both sides of a join).
    pub(super) fn over(&self, tree: &ast::Expr, schema: &DFSchema) -> Result<Expr> {
        self.with_scope(schema, |scope| bind_expression(tree, scope))
    }

    /// Binds items of a SELECT list over the columns of `plan`; wildcards give several, each with its name.
    ///
    /// # Errors
    /// As [`Binder::expression`].
    pub fn items(&self, items: &[SelectItem], plan: &LogicalPlan) -> Result<Vec<Item>> {
        let bind = |scope: &Scope<'_>| items.iter().map(|item| bind_item(item, scope)).collect::<Result<Vec<_>>>();
        Ok(self.with_scope(plan.schema(), bind)?.into_iter().flatten().collect())
    }

    /// `select`: one row out per row in, or one row in all if there are aggregate functions.
    ///
    /// # Errors
    /// As [`Binder::expression`].
    pub fn select(&self, plan: LogicalPlan, items: &[SelectItem]) -> Result<LogicalPlan> {
        let bound = self.items(items, &plan)?;
        match grouping::is_global(&bound, None) {
            true => Grouping::of_all(bound).build(plan),
            false => selection::project(plan, bound),
        }
    }

    /// `groupBy(keys).agg(items)`: the keys, then the items.
    ///
    /// # Errors
    /// As [`Binder::expression`]; `MISSING_AGGREGATION` for a column outside of keys and aggregates.
    pub fn aggregate(&self, plan: LogicalPlan, keys: &[SelectItem], items: &[SelectItem]) -> Result<LogicalPlan> {
        let keys = self.items(keys, &plan)?;
        let (plan, keys, lifted) = selection::lift_keys(plan, keys)?;
        let items = lifted.items(self.items(items, &plan)?)?;
        Grouping::new(keys, items).build(plan)
    }

    /// `groupBy(keys)` before a function of the program: the rows with the keys among their columns, those that are no
    /// plain columns behind the others, and which columns the keys are.
    ///
    /// # Errors
    /// As [`Binder::expression`].
    pub fn keyed(&self, plan: LogicalPlan, keys: &[SelectItem]) -> Result<(LogicalPlan, Vec<Column>)> {
        let keys = self.items(keys, &plan)?;
        let (plan, keys, _) = selection::lift_keys(plan, keys)?;
        selection::keyed(plan, keys)
    }

    /// `where`: the rows for which the condition is true.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN`, `INVALID_WHERE_CONDITION`.
    pub fn filter(&self, plan: LogicalPlan, condition: &ast::Expr) -> Result<LogicalPlan> {
        let condition = self.expression(condition, &plan)?;
        check_where(&condition)?;
        let item = Item { expr: condition, aliases: Vec::new(), default_name: String::new() };
        let columns = names::all_columns(plan.schema());
        let (over, mut items, _) = selection::lift_keys(plan.clone(), vec![item])?;
        let Some(condition) = items.pop().map(|item| item.expr) else { return Ok(plan) };
        match over.schema().fields().len() == columns.len() {
            true => filter(plan, condition),
            // The window's column is not one of the query's.
            false => names::project(filter(over, condition)?, columns),
        }
    }
}

/// The rows of `plan` for which `condition` is true.
pub(super) fn filter(plan: LogicalPlan, condition: Expr) -> Result<LogicalPlan> {
    let data_type = condition.get_type(plan.schema())?;
    if !matches!(data_type, arrow::datatypes::DataType::Boolean | arrow::datatypes::DataType::Null) {
        return Err(Error::query(
            "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN",
            format!("filter expression '{condition}' of type {} is not a boolean", type_name(&data_type)),
        ));
    }
    Ok(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(plan))?))
}

/// WHERE judges single rows.
fn check_where(condition: &Expr) -> Result<()> {
    if any_part(condition, is_generator) {
        let message = format!("generators are not supported outside of the SELECT clause, but '{condition}' holds one");
        return Err(Error::query("UNSUPPORTED_GENERATOR.OUTSIDE_SELECT", message));
    }
    let exprs = std::slice::from_ref(condition);
    if let Some(call) = find_window_exprs(exprs).first() {
        let message = format!("the window function '{call}' is not allowed in a WHERE clause");
        return Err(Error::query("WINDOW_FUNCTION_NOT_ALLOWED_IN_CLAUSE", message).hint("Use a subquery."));
    }
    let several = find_aggregate_exprs(exprs);
    let Some(call) = several.first() else { return Ok(()) };
    let message = format!("the WHERE condition '{condition}' contains the invalid expression '{call}'");
    Err(Error::query("INVALID_WHERE_CONDITION", message).hint("Use HAVING, or a subquery."))
}

/// True if some part of the expression satisfies the test.
pub(super) fn any_part(expr: &Expr, test: impl Fn(&Expr) -> bool) -> bool {
    expr.exists(|part| Ok(test(part))).unwrap_or(false)
}
