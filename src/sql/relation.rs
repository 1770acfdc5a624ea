//! FROM: tables, views, subqueries, VALUES, joins and LATERAL VIEW.
//!
//! In: the FROM clause of a SELECT. Out: a plan whose columns are qualified with the relations' names or aliases.

use datafusion::common::TableReference;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, Subquery, SubqueryAlias};
use std::sync::Arc;

use super::ast::{
    Expr as Tree, ExprWithAlias, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, JoinConstraint, JoinOperator,
    LateralView, ObjectName, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, TableSample, TableSampleKind,
    TableWithJoins, Value,
};
use super::binder::Binder;
use super::join::On;
use super::names::{self, column_at};
use super::pivot::Pivot;
use super::selection::generate;
use super::stream_clauses::WATERMARK_CALL;
use crate::functions::generator::is_generator;
use crate::options::Options;
use crate::plan::scan::is_streaming;
use crate::{Error, Result};
use datafusion::common::JoinType;

impl Binder<'_> {
    /// The relations of a FROM clause, crossed; one row without columns if there are none.
    pub(super) fn from(&self, relations: &[TableWithJoins]) -> Result<LogicalPlan> {
        let [first, others @ ..] = relations else { return Ok(LogicalPlanBuilder::empty(true).build()?) };
        others.iter().try_fold(self.joins(first)?, |left, relation| match lateral_call(relation) {
            Some(view) => self.lateral_view(left, &view),
            None if relation.joins.is_empty() => {
                self.join_factor(left, &relation.relation, JoinType::Inner, On::Nothing)
            }
            None => self.join(left, self.joins(relation)?, JoinType::Inner, On::Nothing),
        })
    }

    fn joins(&self, relation: &TableWithJoins) -> Result<LogicalPlan> {
        let first = self.factor(&relation.relation)?;
        relation.joins.iter().try_fold(first, |left, join| {
            let (kind, constraint) = kind_of(&join.join_operator)?;
            self.join_factor(left, &join.relation, kind, on(constraint))
        })
    }

    pub(super) fn factor(&self, factor: &TableFactor) -> Result<LogicalPlan> {
        match factor {
            TableFactor::Table { name, alias, args: Some(args), sample: None, .. } if is_identifier_clause(name) => {
                aliased(self.named_table(&spelled_name(&args.args)?)?, alias.as_ref())
            }
            TableFactor::Table { sample: Some(sample), name, alias, args: None, .. } => {
                let plan = self.sampled(self.named_table(name)?, sample_of(sample))?;
                aliased(plan, alias.as_ref())
            }
            TableFactor::Table { sample: Some(sample), name, alias, args: Some(args), .. } => {
                let plan = self.sampled(self.called(name, &args.args)?, sample_of(sample))?;
                aliased(plan, alias.as_ref())
            }
            TableFactor::Derived { subquery, alias, lateral: false, sample: Some(sample) } => {
                let plan = self.sampled(self.derived(subquery)?, sample_of(sample))?;
                aliased(plan, alias.as_ref())
            }
            TableFactor::Table { name, alias, args: None, .. } => aliased(self.named_table(name)?, alias.as_ref()),
            TableFactor::Table { name, alias, args: Some(args), .. } => {
                aliased(self.called(name, &args.args)?, alias.as_ref())
            }
            TableFactor::Derived { subquery, alias, lateral: false, .. } => {
                aliased(self.derived(subquery)?, alias.as_ref())
            }
            TableFactor::Pivot {
                table,
                aggregate_functions,
                value_column,
                value_source,
                default_on_null: None,
                alias,
                ..
            } => {
                let pivot = Pivot::of(value_column, value_source)?;
                let aggregates: Vec<SelectItem> = aggregate_functions.iter().map(as_aggregate).collect();
                aliased(self.pivot(self.factor(table)?, None, &aggregates, &pivot)?, alias.as_ref())
            }
            TableFactor::Unpivot { table, value, name, columns, null_inclusion, alias } => {
                let plan = self.unpivot(self.factor(table)?, value, name, columns, null_inclusion.as_ref())?;
                aliased(plan, alias.as_ref())
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                aliased(self.joins(table_with_joins)?, alias.as_ref())
            }
            other => Err(Error::unsupported(format!("'{other}' is not supported in FROM"))),
        }
    }

    /// A table, a view or a common table expression.
    pub(super) fn named_table(&self, name: &ObjectName) -> Result<LogicalPlan> {
        let parts = parts_of(name);
        if let [single] = parts.as_slice()
            && let Some(plan) = self.named.get(&single.to_lowercase())
        {
            return qualified(plan.as_ref().clone(), single);
        }
        let Some(plan) = self.tables.table(&parts)? else { return Err(not_found(&parts)) };
        qualified(plan, parts.last().map_or("", String::as_str))
    }

    /// `STREAM(t)` with its options, or a table-valued function.
    fn called(&self, name: &ObjectName, args: &[FunctionArg]) -> Result<LogicalPlan> {
        let trees: Vec<&Tree> = args.iter().filter_map(argument).collect();
        match name.to_string().to_ascii_lowercase().as_str() {
            "stream" => self.stream(&trees),
            "range" => self.range(&trees),
            other => {
                let known = crate::functions::lookup(other).is_some();
                let relation =
                    if known { self.table_function(other, args)? } else { return Err(no_table_function(other)) };
                Ok(relation)
            }
        }
    }

    /// A table that must be a stream; options are those of its source.
    fn stream(&self, args: &[&Tree]) -> Result<LogicalPlan> {
        let [table, options @ ..] = args else {
            return Err(Error::query("PARSE_SYNTAX_ERROR", "STREAM needs a table"));
        };
        let name = match table {
            Tree::Identifier(name) => ObjectName::from(vec![name.clone()]),
            Tree::CompoundIdentifier(parts) => ObjectName::from(parts.clone()),
            other => return Err(Error::query("PARSE_SYNTAX_ERROR", format!("'{other}' is not a table's name"))),
        };
        let mut given = Options::default();
        for pair in options.chunks(2) {
            if let [key, value] = pair {
                given.set(literal_text(key), literal_text(value));
            }
        }
        let parts = parts_of(&name);
        let Some(plan) = self.tables.stream(&parts, &given)? else { return Err(not_found(&parts)) };
        if !is_streaming(&plan) {
            return Err(
                Error::invalid(format!("'{name}' is not a stream, so STREAM cannot read it")).hint("Leave STREAM out.")
            );
        }
        qualified(plan, parts.last().map_or("", String::as_str))
    }

    /// `range([start,] end [, step])`: a static table of numbers `id`.
    fn range(&self, args: &[&Tree]) -> Result<LogicalPlan> {
        let numbers = args.iter().map(|arg| super::query::whole_number(arg)).collect::<Result<Vec<_>>>()?;
        let (start, end, step) = match numbers.as_slice() {
            [end] => (0, *end, 1),
            [start, end] => (*start, *end, 1),
            [start, end, step, ..] => (*start, *end, *step),
            [] => {
                return Err(Error::query(
                    "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
                    "range needs 1 to 4 arguments but has 0",
                ));
            }
        };
        Ok(crate::plan::scan::range(start, end, step)?)
    }

    /// A generator in FROM: its rows for one empty row.
    fn table_function(&self, name: &str, args: &[FunctionArg]) -> Result<LogicalPlan> {
        let args = args.iter().filter_map(argument).cloned().collect();
        let item = SelectItem::UnnamedExpr(crate::frame::call(name, args));
        self.select(LogicalPlanBuilder::empty(true).build()?, &[item])
    }

    /// A subquery in FROM; the form that carries a watermark keeps the qualifiers of what it wraps.
    fn derived(&self, query: &Query) -> Result<LogicalPlan> {
        if let Some((select, time, delay)) = watermark_of(query) {
            return self.with_watermark_of(self.from(&select.from)?, &time, delay);
        }
        names::unqualified(self.nested().query(query)?)
    }

    /// LATERAL (query): the query sees the columns of what stands before it.
    pub(super) fn lateral_subquery(
        &self,
        left: &LogicalPlan,
        query: &Query,
        alias: Option<&TableAlias>,
    ) -> Result<LogicalPlan> {
        let plan = self.subquery_over(left.schema(), query)?;
        let outer_ref_columns = plan.all_out_ref_exprs();
        if outer_ref_columns.is_empty() {
            return aliased(names::unqualified(plan)?, alias);
        }
        let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Default::default() };
        aliased(LogicalPlan::Subquery(subquery), alias)
    }

    /// LATERAL VIEW: the rows that a generator makes of each row.
    pub(super) fn lateral_view(&self, plan: LogicalPlan, view: &LateralView) -> Result<LogicalPlan> {
        let generator = self.expression(&view.lateral_view, &plan).map_err(|error| no_generator(error, view))?;
        if !is_generator(&generator) {
            let message = format!("LATERAL VIEW needs a generator, but '{}' is none", view.lateral_view);
            return Err(Error::query("UNSUPPORTED_GENERATOR.NOT_GENERATOR", message));
        }
        let qualifier = view
            .lateral_view_name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .map(|name| TableReference::bare(name.value.as_str()));
        let names: Vec<String> = view.lateral_col_alias.iter().map(|alias| alias.value.clone()).collect();
        generate(plan, generator, view.outer, qualifier, &names)
    }
}

/// `LATERAL generator(...) AS t(columns)` behind a comma, which is a LATERAL VIEW.
fn lateral_call(relation: &TableWithJoins) -> Option<LateralView> {
    let TableFactor::Function { lateral: true, name, args, alias, .. } = &relation.relation else { return None };
    let args = args.iter().map(|arg| argument(arg).cloned()).collect::<Option<Vec<_>>>()?;
    let columns = alias.iter().flat_map(|alias| alias.columns.iter().map(|column| column.name.clone()));
    relation.joins.is_empty().then(|| LateralView {
        lateral_view: crate::frame::call(&name.to_string(), args),
        lateral_view_name: ObjectName::from(alias.iter().map(|alias| alias.name.clone()).collect::<Vec<_>>()),
        lateral_col_alias: columns.collect(),
        outer: false,
    })
}

fn sample_of(kind: &TableSampleKind) -> &TableSample {
    match kind {
        TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample) => sample,
    }
}

/// The parts of a table's name.
pub(super) fn parts_of(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(|part| part.value.clone()).collect()
}

/// The parts of `SELECT * FROM r CLUSTER BY __watermark(e, i)`.
fn watermark_of(query: &Query) -> Option<(&Select, SelectItem, &Tree)> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [Tree::Function(call)] = select.cluster_by.as_slice() else { return None };
    let FunctionArguments::List(list) = &call.args else { return None };
    if call.name.to_string() != WATERMARK_CALL {
        return None;
    }
    match list.args.iter().map(argument).collect::<Vec<_>>().as_slice() {
        [Some(time), Some(delay)] => Some((select, as_item(unwrapped(time)), delay)),
        _ => None,
    }
}

/// The field of `struct(e AS name)`, which stands for `e AS name`; anything else as it is.
fn unwrapped(tree: &Tree) -> &Tree {
    let Tree::Function(call) = tree else { return tree };
    let FunctionArguments::List(list) = &call.args else { return tree };
    match list.args.as_slice() {
        [only] => argument(only).filter(|field| matches!(field, Tree::Named { .. })).unwrap_or(tree),
        _ => tree,
    }
}

fn as_item(tree: &Tree) -> SelectItem {
    match tree {
        Tree::Named { expr, name } => SelectItem::ExprWithAlias { expr: expr.as_ref().clone(), alias: name.clone() },
        other => SelectItem::UnnamedExpr(other.clone()),
    }
}

pub(super) fn as_aggregate(function: &ExprWithAlias) -> SelectItem {
    match &function.alias {
        Some(alias) => SelectItem::ExprWithAlias { expr: function.expr.clone(), alias: alias.clone() },
        None => SelectItem::UnnamedExpr(function.expr.clone()),
    }
}

fn argument(argument: &FunctionArg) -> Option<&Tree> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(tree)) => Some(tree),
        _ => None,
    }
}

fn literal_text(tree: &Tree) -> String {
    match tree {
        Tree::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => text.clone(),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

/// Gives a plan's columns one qualifier.
pub fn qualified(plan: LogicalPlan, name: &str) -> Result<LogicalPlan> {
    Ok(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(plan), TableReference::bare(name))?))
}

/// The plan under an alias, its columns under the alias's names.
fn aliased(plan: LogicalPlan, alias: Option<&TableAlias>) -> Result<LogicalPlan> {
    let Some(alias) = alias else { return Ok(plan) };
    let plan = match alias.columns.as_slice() {
        [] => plan,
        columns => renamed(plan, columns.iter().map(|column| &column.name).collect())?,
    };
    qualified(plan, &alias.name.value)
}

/// The plan with all its columns renamed.
pub(super) fn renamed(plan: LogicalPlan, names: Vec<&Ident>) -> Result<LogicalPlan> {
    let width = plan.schema().fields().len();
    if names.len() != width {
        let message = format!("{} column names are given for a relation with {width} columns", names.len());
        return Err(Error::query("ASSIGNMENT_ARITY_MISMATCH", message));
    }
    let exprs =
        names.iter().enumerate().map(|(index, name)| column_at(plan.schema(), index).alias(&name.value)).collect();
    names::project(plan, exprs)
}

pub(super) fn kind_of(operator: &JoinOperator) -> Result<(JoinType, &JoinConstraint)> {
    use JoinOperator as O;
    Ok(match operator {
        O::Join(on) | O::Inner(on) | O::CrossJoin(on) => (JoinType::Inner, on),
        O::Left(on) | O::LeftOuter(on) => (JoinType::Left, on),
        O::Right(on) | O::RightOuter(on) => (JoinType::Right, on),
        O::FullOuter(on) => (JoinType::Full, on),
        O::Semi(on) | O::LeftSemi(on) => (JoinType::LeftSemi, on),
        O::Anti(on) | O::LeftAnti(on) => (JoinType::LeftAnti, on),
        other => return Err(Error::unsupported(format!("the join {other:?} is not supported"))),
    })
}

pub(super) fn on(constraint: &JoinConstraint) -> On {
    let name = |name: &ObjectName| name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.clone());
    match constraint {
        JoinConstraint::On(condition) => On::Condition(Box::new(condition.clone())),
        JoinConstraint::Using(columns) => On::Using(columns.iter().filter_map(name).collect()),
        JoinConstraint::Natural => On::Natural,
        JoinConstraint::None => On::Nothing,
    }
}

/// Spark's error for a name that is no table or view.
pub fn not_found(parts: &[String]) -> Error {
    let quoted: Vec<_> = parts.iter().map(|part| format!("`{part}`")).collect();
    if let [catalog, _, _, ..] = parts
        && !catalog.eq_ignore_ascii_case("spark_catalog")
    {
        let message = format!("spark_catalog requires a single-part namespace, but got {}", quoted.join("."));
        return Error::query("REQUIRES_SINGLE_PART_NAMESPACE", message);
    }
    let message = format!("the table or view {} cannot be found", quoted.join("."));
    Error::query("TABLE_OR_VIEW_NOT_FOUND", message)
        .hint("Check the spelling, or create it with create_or_replace_temp_view().")
}

/// Spark finds the functions of LATERAL VIEW by another way, with a condition of its own.
fn no_generator(error: Error, view: &LateralView) -> Error {
    match (error.condition(), &view.lateral_view) {
        (Some("UNRESOLVED_ROUTINE"), Tree::Function(call)) => {
            Error::query("ROUTINE_NOT_FOUND", format!("the routine `{}` cannot be found", call.name))
        }
        _ => error,
    }
}

fn no_table_function(name: &str) -> Error {
    Error::query("UNRESOLVABLE_TABLE_VALUED_FUNCTION", format!("there is no table-valued function `{name}`"))
}

/// `IDENTIFIER('name')`: a name given as a text.
pub(super) fn is_identifier_clause(name: &ObjectName) -> bool {
    name.to_string().eq_ignore_ascii_case("identifier")
}

/// The name that the only argument of `IDENTIFIER` spells.
///
/// # Errors
/// `NOT_A_CONSTANT_STRING.NOT_CONSTANT` if it is no text; `PARSE_SYNTAX_ERROR` if that is no name.
pub(super) fn spelled_name(args: &[FunctionArg]) -> Result<ObjectName> {
    let spelled = match args {
        [arg] => argument(arg).map(literal_text),
        _ => None,
    };
    let Some(text) = spelled.filter(|text| !text.is_empty()) else {
        return Err(Error::query("NOT_A_CONSTANT_STRING.NOT_CONSTANT", "IDENTIFIER needs a constant text"));
    };
    Ok(ObjectName::from(text.split('.').map(|part| Ident::new(part.trim_matches('`'))).collect::<Vec<_>>()))
}
