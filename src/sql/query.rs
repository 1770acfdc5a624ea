//! Queries: WITH, SELECT, set operations, VALUES, ORDER BY, LIMIT.
//!
//! In: a query's tree. Out: a plan. The clauses of a SELECT are bound in Spark's order: FROM, LATERAL VIEW, WHERE, GROUP
//! BY, the items, HAVING, ORDER BY; each sees what those before it made.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{
    self, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Projection, Sort, SortExpr,
};

use super::aliases::Aliases;
use super::ast::{
    Cte, Distinct, Expr as Tree, LimitClause, OrderBy, OrderByExpr, OrderByKind, OrderByOptions, Query, Select,
    SelectFlavor, SelectItem, SetExpr, Value, Values,
};
use super::binder::{Binder, filter};
use super::expression::Item;
use super::group_by;
use super::grouping::{Grouping, is_global};
use super::names::column_at;
use super::relation::renamed;
use super::selection::{self, Lifted};
use super::set_operation::distinct;
use super::{Scope, bind_expression};
use crate::conf::Conf;
use crate::functions::arguments::constant;
use crate::functions::{coerce, comparison};
use crate::{Error, Result};

/// A sort key once it is known where its value comes from.
enum SortBy {
    /// The output column at this place.
    Output(usize),
    /// An expression over the input of the SELECT.
    Hidden(Item),
}

/// An ORDER BY clause.
enum Order<'a> {
    /// By expressions; none if there is no clause.
    Keys(&'a [OrderByExpr]),
    /// By all output columns, from left to right.
    All(OrderByOptions),
}

impl<'a> Order<'a> {
    fn of(clause: Option<&'a OrderBy>) -> Self {
        match clause.map(|clause| &clause.kind) {
            None => Order::Keys(&[]),
            Some(OrderByKind::Expressions(keys)) => Order::Keys(keys),
            Some(OrderByKind::All(options)) => Order::All(*options),
        }
    }

    /// The keys of a query with `width` output columns.
    fn keys(&self, width: usize) -> Cow<'a, [OrderByExpr]> {
        match self {
            Order::Keys(keys) => Cow::Borrowed(keys),
            Order::All(options) => (1..=width).map(|place| by_place(place, *options)).collect(),
        }
    }
}

fn by_place(place: usize, options: OrderByOptions) -> OrderByExpr {
    OrderByExpr { expr: Tree::value(Value::Number(place.to_string(), false)), options, with_fill: None }
}

/// The error of a `WITH` that says it is recursive: its tables cannot refer to themselves.
fn of_recursion(error: Error, recursive: bool) -> Error {
    match recursive && error.condition() == Some("TABLE_OR_VIEW_NOT_FOUND") {
        true => Error::unsupported(format!("WITH RECURSIVE is not supported, and else {}", error.message())),
        false => error,
    }
}

impl Binder<'_> {
    /// Binds a query.
    ///
    /// # Errors
    /// Spark's analysis errors.
    pub fn query(&self, query: &Query) -> Result<LogicalPlan> {
        let mut binder = self.nested();
        check_cte_names(query)?;
        if let Some(with) = &query.with {
            let named = with.cte_tables.iter().try_for_each(|cte| binder.add_cte(cte));
            named.map_err(|error| of_recursion(error, with.recursive))?;
        }
        let order = Order::of(query.order_by.as_ref());
        let plan = match query.body.as_ref() {
            SetExpr::Select(select) if select.flavor == SelectFlavor::FromFirstNoSelect => {
                if query.pipe_operators.is_empty() {
                    return Err(Error::query("PARSE_SYNTAX_ERROR", "syntax error: FROM without SELECT or |>"));
                }
                binder.from(&select.from)?
            }
            SetExpr::Select(select) => binder.select_query(select, &order)?,
            body => {
                let plan = binder.body(body)?;
                let keys = order.keys(plan.schema().fields().len());
                binder.order_by(plan, &keys)?
            }
        };
        let plan = limited(plan, query.limit_clause.as_ref())?;
        let plan = match &query.fetch {
            Some(fetch) => bounded(plan, None, fetch.quantity.as_ref())?,
            None => plan,
        };
        query.pipe_operators.iter().try_fold(plan, |plan, operator| binder.pipe(plan, operator))
    }

    /// A binder that may name more tables.
    pub(super) fn nested(&self) -> Binder<'_> {
        let (named, windows) = (self.named.clone(), Vec::new());
        Binder { named, windows, outer: self.outer, functions: self.functions, ..Binder::new(self.conf, self.tables) }
    }

    fn add_cte(&mut self, cte: &Cte) -> Result<()> {
        let plan = self.query(&cte.query)?;
        let plan = match cte.alias.columns.as_slice() {
            [] => plan,
            columns => renamed(plan, columns.iter().map(|column| &column.name).collect())?,
        };
        self.named.insert(cte.alias.name.value.to_lowercase(), Arc::new(plan));
        Ok(())
    }

    fn body(&self, body: &SetExpr) -> Result<LogicalPlan> {
        match body {
            SetExpr::Select(select) => self.nested().select_query(select, &Order::Keys(&[])),
            SetExpr::Query(query) => self.query(query),
            SetExpr::Values(values) => self.values(values),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                self.combined(self.body(left)?, self.body(right)?, *op, set_quantifier)
            }
            SetExpr::Table(table) => {
                let name = table.table_name.clone().unwrap_or_default();
                self.named_table(&super::ast::ObjectName::from(vec![super::ast::Ident::new(name)]))
            }
            other => Err(Error::unsupported(format!("'{other}' is not supported as a query"))),
        }
    }

    /// `VALUES (...), (...)`: columns `col1`, `col2`, ... in the types in which the rows meet.
    fn values(&self, values: &Values) -> Result<LogicalPlan> {
        let row = LogicalPlanBuilder::empty(true).build()?;
        let bind = |trees: &Vec<Tree>| trees.iter().map(|tree| Ok(self.expression(tree, &row)?.unalias())).collect();
        let rows = values.rows.iter().map(|row| bind(&row.content)).collect::<Result<Vec<Vec<Expr>>>>()?;
        inline_table(rows, row.schema(), self.conf)
    }

    /// One SELECT with the ORDER BY behind it.
    fn select_query(&mut self, select: &Select, order: &Order<'_>) -> Result<LogicalPlan> {
        refuse_unsupported(select)?;
        self.windows = select.named_window.clone();
        let mut plan = self.from(&select.from)?;
        for view in &select.lateral_views {
            plan = self.lateral_view(plan, view)?;
        }
        if let Some(condition) = &select.selection {
            plan = self.filter(plan, condition)?;
        }
        let aliases = Aliases::of(&select.projection, plan.schema())?;
        let grouped = group_by::of(&select.group_by, &aliases)?;
        let trees = group_by::with_ids(aliases.items(), &grouped);
        let (plan, keys, lifted) = self.group_keys(plan, &grouped, &trees)?;
        let mut items = lifted.items(self.items(&trees, &plan)?)?;
        let having = select.having.as_ref().map(|tree| self.condition(tree, &aliases, &plan, &lifted)).transpose()?;
        let visible = items.len();
        let qualify = select.qualify.as_ref().map(|tree| self.condition(tree, &aliases, &plan, &lifted)).transpose()?;
        let sort = self.select_sort(&order.keys(visible), &mut items, &aliases, &plan, &lifted)?;
        let qualified = qualify.is_some();
        items.extend(qualify.map(|expr| Item { expr, aliases: Vec::new(), default_name: "qualify".into() }));
        let plan = match (keys, is_global(&items, having.as_ref())) {
            (None, false) => selection::project(plan, items)?,
            (keys, _) => {
                let keys = keys.unwrap_or_default();
                let group = |items: Vec<Item>| {
                    let grouping = Grouping::select(keys.clone(), items).with_sets(grouped.sets());
                    grouping.having(having.clone()).build(plan.clone())
                };
                let shown = items.get(..visible).unwrap_or_default().to_vec();
                group(items).map_err(|error| sort_error(error, || group(shown)))?
            }
        };
        let plan = if qualified { qualifying(plan)? } else { plan };
        finish(plan, select, visible, sort)
    }

    /// Binds the keys; their windows become columns that items may name.
    fn group_keys(
        &self,
        plan: LogicalPlan,
        grouped: &group_by::GroupBy,
        items: &[SelectItem],
    ) -> Result<(LogicalPlan, Option<Vec<Item>>, Lifted)> {
        let trees = match grouped {
            group_by::GroupBy::None => return Ok((plan, None, Lifted::default())),
            group_by::GroupBy::All => group_by::all(self.items(items, &plan)?, items),
            group_by::GroupBy::Keys { keys, .. } => keys.clone(),
        };
        let trees: Vec<_> = trees.into_iter().map(SelectItem::UnnamedExpr).collect();
        let (plan, keys, lifted) = selection::lift_keys(plan.clone(), self.items(&trees, &plan)?)?;
        Ok((plan, Some(keys), lifted))
    }

    fn condition(&self, tree: &Tree, aliases: &Aliases, plan: &LogicalPlan, lifted: &Lifted) -> Result<Expr> {
        lifted.expr(self.expression(&aliases.resolve_output(tree), plan)?)
    }

    /// Finds each sort key among the items, or adds a hidden one.
    fn select_sort(
        &self,
        order: &[OrderByExpr],
        items: &mut Vec<Item>,
        aliases: &Aliases,
        plan: &LogicalPlan,
        lifted: &Lifted,
    ) -> Result<Vec<(usize, OrderByOptions)>> {
        let visible = items.len();
        let mut keys = Vec::new();
        for key in order {
            let place = match self.sort_by(&key.expr, &items[..visible], aliases, plan, lifted)? {
                SortBy::Output(place) => place,
                SortBy::Hidden(item) => {
                    items.push(item);
                    items.len() - 1
                }
            };
            keys.push((place, key.options));
        }
        Ok(keys)
    }

    fn sort_by(
        &self,
        tree: &Tree,
        items: &[Item],
        aliases: &Aliases,
        plan: &LogicalPlan,
        lifted: &Lifted,
    ) -> Result<SortBy> {
        if let Some(place) = output_place(tree, items)? {
            return Ok(SortBy::Output(place));
        }
        let bound = self.items(&[SelectItem::UnnamedExpr(aliases.resolve_output(tree))], plan)?;
        let mut bound = lifted.items(bound)?;
        let (Some(item), true) = (bound.pop(), bound.is_empty()) else {
            return Err(Error::query("PARSE_SYNTAX_ERROR", format!("'{tree}' cannot be sorted by")));
        };
        Ok(match items.iter().position(|other| other.expr == item.expr) {
            Some(place) => SortBy::Output(place),
            None => SortBy::Hidden(item),
        })
    }

    /// `orderBy`: sorts a plan by keys over its own columns.
    ///
    /// # Errors
    /// Those of the keys.
    pub fn order_by(&self, plan: LogicalPlan, order: &[OrderByExpr]) -> Result<LogicalPlan> {
        let key = |key: &OrderByExpr| {
            let expr = match ordinal(&key.expr, plan.schema().fields().len())? {
                Some(place) => column_at(plan.schema(), place),
                None => self.expression(&key.expr, &plan)?.unalias(),
            };
            sort_expr(expr, key.options, plan.schema())
        };
        let keys = order.iter().map(key).collect::<Result<Vec<_>>>()?;
        Ok(sorted(plan, keys))
    }
}

/// The rows for which the last column is true, without it.
fn qualifying(plan: LogicalPlan) -> Result<LogicalPlan> {
    let last = plan.schema().fields().len().saturating_sub(1);
    let condition = column_at(plan.schema(), last);
    without_last(filter(plan, condition)?, 1)
}

/// What is missing is a column for the sort if everything else has its own.
fn sort_error(error: Error, without_sort: impl FnOnce() -> Result<LogicalPlan>) -> Error {
    match error.condition() {
        Some("MISSING_AGGREGATION") if without_sort().is_ok() => {
            error.with_condition("UNRESOLVED_COLUMN.WITH_SUGGESTION")
        }
        _ => error,
    }
}

/// The names of one WITH clause differ.
fn check_cte_names(query: &Query) -> Result<()> {
    let names = query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| cte.alias.name.value.to_lowercase());
    let mut seen = HashSet::new();
    match names.into_iter().find(|name| !seen.insert(name.clone())) {
        Some(name) => Err(Error::query("DUPLICATED_CTE_NAMES", format!("WITH defines `{name}` more than once"))),
        None => Ok(()),
    }
}

/// Rows of expressions as a table.
///
/// # Errors
/// `INVALID_INLINE_TABLE.*` if the rows are not alike.
fn inline_table(rows: Vec<Vec<Expr>>, schema: &DFSchema, conf: &Conf) -> Result<LogicalPlan> {
    let width = rows.first().map_or(0, Vec::len);
    if let Some(row) = rows.iter().find(|row| row.len() != width) {
        let message = format!("a row of VALUES has {} columns, the first one has {width}", row.len());
        return Err(Error::query("INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH", message));
    }
    let (mut fields, mut columns) = (Vec::with_capacity(width), Vec::with_capacity(width));
    for at in 0..width {
        let column: Vec<Expr> = rows.iter().map(|row| row[at].clone()).collect();
        let (_, field) = column[0].to_field(schema)?;
        let (column, data_type) = coerce::to_common(column, schema, conf)
            .map_err(|error| error.with_condition("INVALID_INLINE_TABLE.INCOMPATIBLE_TYPES_IN_INLINE_TABLE"))?;
        let field = Field::new(format!("col{}", at + 1), data_type, true).with_metadata(field.metadata().clone());
        fields.push((None, Arc::new(field)));
        columns.push(column.into_iter());
    }
    let values = rows.iter().map(|_| columns.iter_mut().filter_map(Iterator::next).collect()).collect();
    let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
    Ok(LogicalPlan::Values(logical_expr::Values { schema, values }))
}

fn refuse_unsupported(select: &Select) -> Result<()> {
    let clauses = [
        ("SORT BY", !select.sort_by.is_empty()),
        ("CLUSTER BY", !select.cluster_by.is_empty()),
        ("TOP", select.top.is_some()),
        ("INTO", select.into.is_some()),
        ("PREWHERE", select.prewhere.is_some()),
    ];
    match clauses.iter().find(|(_, used)| *used) {
        Some((clause, _)) => Err(Error::unsupported(format!("{clause} is not supported"))),
        None => Ok(()),
    }
}

/// DISTINCT, the sort, and the hidden columns taken away.
fn finish(
    plan: LogicalPlan,
    select: &Select,
    visible: usize,
    sort: Vec<(usize, OrderByOptions)>,
) -> Result<LogicalPlan> {
    let generated = plan.schema().fields().len() as i64 - visible as i64;
    let hidden = sort
        .iter()
        .filter(|(place, _)| *place >= visible)
        .map(|(place, _)| *place)
        .collect::<std::collections::BTreeSet<_>>()
        .len();
    let plan = match &select.distinct {
        Some(Distinct::Distinct) if hidden > 0 => {
            return Err(Error::query(
                "UNRESOLVED_COLUMN.WITH_SUGGESTION",
                "a SELECT DISTINCT can only be sorted by its own columns",
            ));
        }
        Some(Distinct::Distinct) => distinct(plan)?,
        Some(Distinct::On(_)) => return Err(Error::unsupported("DISTINCT ON is not supported")),
        Some(Distinct::All) | None => plan,
    };
    let shift = usize::try_from(generated - hidden as i64).unwrap_or(0);
    let keys = sort.into_iter().map(|(place, options)| {
        let place = if place >= visible { place + shift } else { place };
        sort_expr(column_at(plan.schema(), place), options, plan.schema())
    });
    let keys = keys.collect::<Result<Vec<_>>>()?;
    without_last(sorted(plan, keys), hidden)
}

fn without_last(plan: LogicalPlan, hidden: usize) -> Result<LogicalPlan> {
    if hidden == 0 {
        return Ok(plan);
    }
    let width = plan.schema().fields().len() - hidden;
    let columns = (0..width).map(|index| column_at(plan.schema(), index)).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

fn sorted(plan: LogicalPlan, keys: Vec<SortExpr>) -> LogicalPlan {
    if keys.is_empty() {
        return plan;
    }
    LogicalPlan::Sort(Sort { expr: keys, input: Arc::new(plan), fetch: None })
}

/// Ascending puts nulls first, descending last.
///
/// # Errors
/// `DATATYPE_MISMATCH.INVALID_ORDERING_TYPE` for values without an order.
fn sort_expr(expr: Expr, options: OrderByOptions, schema: &DFSchema) -> Result<SortExpr> {
    comparison::check_ordered("ORDER BY", &expr.get_type(schema)?)?;
    let asc = options.asc.unwrap_or(true);
    Ok(SortExpr { expr, asc, nulls_first: options.nulls_first.unwrap_or(asc) })
}

/// The output column that a sort key names by number or by name.
fn output_place(tree: &Tree, items: &[Item]) -> Result<Option<usize>> {
    if let Some(place) = ordinal(tree, items.len())? {
        return Ok(Some(place));
    }
    let Tree::Identifier(name) = tree else { return Ok(None) };
    let mut named = (0..items.len()).filter(|place| items[*place].name().eq_ignore_ascii_case(&name.value));
    Ok(match (named.next(), named.next()) {
        (Some(place), None) => Some(place),
        _ => None,
    })
}

/// The place that a number in ORDER BY or GROUP BY means.
///
/// # Errors
/// `ORDER_BY_POS_OUT_OF_RANGE`.
pub(super) fn ordinal(tree: &Tree, width: usize) -> Result<Option<usize>> {
    let Tree::Value(value) = tree else { return Ok(None) };
    let Value::Number(text, _) = &value.value else { return Ok(None) };
    let Ok(number) = text.parse::<usize>() else { return Ok(None) };
    match number.checked_sub(1).filter(|place| *place < width) {
        Some(place) => Ok(Some(place)),
        None => Err(Error::query(
            "ORDER_BY_POS_OUT_OF_RANGE",
            format!("position {number} is not in the select list (valid range is [1, {width}])"),
        )),
    }
}

fn limited(plan: LogicalPlan, clause: Option<&LimitClause>) -> Result<LogicalPlan> {
    match clause {
        None => Ok(plan),
        Some(LimitClause::LimitOffset { limit, offset, .. }) => {
            bounded(plan, offset.as_ref().map(|offset| &offset.value), limit.as_ref())
        }
        Some(LimitClause::OffsetCommaLimit { offset, limit }) => bounded(plan, Some(offset), Some(limit)),
    }
}

/// The rows after `skip`, at most `fetch`.
///
/// # Errors
/// `INVALID_LIMIT_LIKE_EXPRESSION.*`.
pub(super) fn bounded(plan: LogicalPlan, skip: Option<&Tree>, fetch: Option<&Tree>) -> Result<LogicalPlan> {
    let count = |tree: &Tree| {
        let number = whole_number(tree)?;
        usize::try_from(number).map_err(|_| {
            Error::query(
                "INVALID_LIMIT_LIKE_EXPRESSION.IS_NEGATIVE",
                format!("a limit should not be negative but is {number}"),
            )
        })
    };
    let (skip, fetch) = (skip.map(count).transpose()?, fetch.map(count).transpose()?);
    Ok(LogicalPlanBuilder::from(plan).limit(skip.unwrap_or(0), fetch)?.build()?)
}

fn not_whole(tree: &Tree) -> Error {
    Error::query("INVALID_LIMIT_LIKE_EXPRESSION.DATA_TYPE", format!("'{tree}' should be a whole number"))
}

/// The value of an expression without columns; none if it is not constant.
fn folded(tree: &Tree) -> Result<Option<ScalarValue>> {
    let (schema, conf) = (DFSchema::empty(), Conf::default());
    constant(&bind_expression(tree, &Scope::new(&schema, &conf))?)
}

/// A constant whole number in a clause.
///
/// # Errors
/// `INVALID_LIMIT_LIKE_EXPRESSION.*` for anything else.
pub(super) fn whole_number(tree: &Tree) -> Result<i64> {
    let wrong = || {
        Error::query(
            "INVALID_LIMIT_LIKE_EXPRESSION.IS_UNFOLDABLE",
            format!("'{tree}' should be a constant whole number"),
        )
    };
    match tree {
        Tree::Value(value) => match &value.value {
            Value::Number(text, _) => text.trim_end_matches(['L', 'l']).parse().map_err(|_| not_whole(tree)),
            _ => Err(not_whole(tree)),
        },
        Tree::Identifier(name) => Err(Error::query(
            "UNRESOLVED_COLUMN.WITH_SUGGESTION",
            format!("a column, variable, or function parameter with name `{}` cannot be resolved", name.value),
        )
        .hint("Only constants can stand here.")),
        Tree::UnaryOp { op: super::ast::UnaryOperator::Minus, expr } => whole_number(expr).map(|number| -number),
        Tree::Nested(inner) => whole_number(inner),
        Tree::BinaryOp { .. } | Tree::Function(_) | Tree::Cast { .. } => {
            let value = folded(tree)?.ok_or_else(wrong)?;
            match value.data_type().is_integer().then(|| value.cast_to(&DataType::Int64)).transpose()? {
                Some(ScalarValue::Int64(Some(number))) => Ok(number),
                Some(_) => Err(Error::query("INVALID_LIMIT_LIKE_EXPRESSION.IS_NULL", format!("'{tree}' is null"))),
                None => Err(not_whole(tree)),
            }
        }
        _ => Err(wrong()),
    }
}
