//! PIVOT and UNPIVOT: values that become columns, columns that become rows.
//!
//! In: a plan and the clause's parts. Out: for PIVOT an aggregation with a column for each value and aggregate, for UNPIVOT
//! a generator with a row for each of the columns. A value without rows gives null, also for a `count`, as in Spark.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::utils::find_aggregate_exprs;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection, lit, when};

use super::ast::{Expr as Tree, ExprWithAlias, Ident, NullInclusion, PivotValueSource, SelectItem, Value};
use super::binder::{Binder, filter};
use super::expression::Item;
use super::grouping::Grouping;
use super::names::{self, column_at};
use super::selection::generate;
use crate::functions::comparison::{self, Comparison};
use crate::functions::{Context, coerce, generator};
use crate::plan::nodes::{PIVOT, qualified_fields};
use crate::{Error, Result, types};

/// Which values of which columns become columns.
pub struct Pivot {
    /// The columns whose values are looked for.
    columns: Vec<Tree>,
    /// The values, each with a part for each column, and the name of the column it becomes.
    values: Vec<(Vec<Tree>, String)>,
}

impl Pivot {
    /// A pivot by one column.
    pub fn by(column: Tree, values: Vec<(Tree, String)>) -> Self {
        Self { columns: vec![column], values: values.into_iter().map(|(value, name)| (vec![value], name)).collect() }
    }

    /// The clause `FOR columns IN (values)`.
    pub(super) fn of(columns: &[Tree], source: &PivotValueSource) -> Result<Self> {
        let PivotValueSource::List(values) = source else {
            return Err(Error::query("PARSE_SYNTAX_ERROR", "PIVOT needs its values written out"));
        };
        let value = |value: &ExprWithAlias| {
            let parts = parts_of(&value.expr);
            let name = match &value.alias {
                Some(alias) => alias.value.clone(),
                None => value_name(&value.expr, &parts)?,
            };
            Ok((parts, name))
        };
        Ok(Self { columns: columns.to_vec(), values: values.iter().map(value).collect::<Result<_>>()? })
    }
}

/// The plan, whose schema says that it is a pivot: Spark plans two aggregations for one.
fn marked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(projection) = plan else { return Ok(plan) };
    let mut metadata = projection.schema.metadata().clone();
    metadata.insert(PIVOT.to_string(), "true".to_string());
    let schema = DFSchema::new_with_metadata(qualified_fields(&projection.schema), metadata)?;
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(projection.expr, projection.input, Arc::new(schema))?))
}

/// What a clause without alias or grouping stands for: the parts of a tuple, or the one value.
fn parts_of(tree: &Tree) -> Vec<Tree> {
    match tree {
        Tree::Tuple(parts) => parts.clone(),
        Tree::Nested(inner) => parts_of(inner),
        other => vec![other.clone()],
    }
}

/// A value's text, as a cast to STRING gives it.
fn value_name(tree: &Tree, parts: &[Tree]) -> Result<String> {
    let texts = parts.iter().map(literal_text).collect::<Result<Vec<_>>>()?;
    Ok(match tree {
        Tree::Tuple(_) => format!("{{{}}}", texts.join(", ")),
        _ => texts.join(", "),
    })
}

fn literal_text(tree: &Tree) -> Result<String> {
    match tree {
        Tree::Value(value) => Ok(match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text.clone(),
            other => other.to_string().to_lowercase(),
        }),
        Tree::TypedString(typed) => literal_text(&Tree::Value(typed.value.clone())),
        Tree::UnaryOp { .. } => Ok(tree.to_string()),
        Tree::Cast { expr, .. } => literal_text(expr),
        other => Err(Error::query(
            "NON_LITERAL_PIVOT_VALUES",
            format!("literal expressions are required for pivot values, but found '{other}'"),
        )),
    }
}

impl Binder<'_> {
    /// `aggregates` for each value of a pivot, grouped by `keys`; by all columns that are not mentioned if there are none.
    ///
    /// # Errors
    /// As for grouping; `PIVOT_VALUE_DATA_TYPE_MISMATCH` for a value that no column can have.
    pub fn pivot(
        &self,
        plan: LogicalPlan,
        keys: Option<&[SelectItem]>,
        aggregates: &[SelectItem],
        pivot: &Pivot,
    ) -> Result<LogicalPlan> {
        let aggregates = self.items(aggregates, &plan)?;
        if let Some(wrong) = aggregates.iter().find(|item| find_aggregate_exprs([&item.expr]).is_empty()) {
            let message = format!("PIVOT needs aggregate functions, but '{}' is none", wrong.default_name);
            return Err(Error::query("_LEGACY_ERROR_TEMP_1006", message));
        }
        let columns =
            pivot.columns.iter().map(|column| self.expression(column, &plan)).collect::<Result<Vec<Expr>>>()?;
        let keys = match keys {
            Some(keys) => self.items(keys, &plan)?,
            None => unmentioned(&plan, &columns, &aggregates),
        };
        let mut items = Vec::new();
        for (value, name) in &pivot.values {
            let condition = self.has_value(&columns, value, &plan)?;
            for aggregate in &aggregates {
                let name = match aggregates.len() {
                    1 => name.clone(),
                    _ => format!("{name}_{}", aggregate.name()),
                };
                let expr = self.where_any(aggregate.expr.clone().unalias(), &condition, &plan)?;
                items.push(Item { expr, aliases: vec![name.clone()], default_name: name });
            }
        }
        marked(Grouping::new(keys, items).build(plan)?)
    }

    /// Whether a row's columns have a value.
    fn has_value(&self, columns: &[Expr], value: &[Tree], plan: &LogicalPlan) -> Result<Expr> {
        let context = Context { schema: plan.schema(), conf: self.conf };
        if columns.len() != value.len() {
            return Err(mismatch(columns.len(), value.len()));
        }
        let mut all: Option<Expr> = None;
        for (column, part) in columns.iter().zip(value) {
            let part = self.expression(part, plan)?;
            let same = comparison::compare(Comparison::NullSafeEqual, column.clone(), part, context)
                .map_err(|error| error.with_condition("PIVOT_VALUE_DATA_TYPE_MISMATCH"))?;
            all = Some(all.map_or_else(|| same.clone(), |before| before.and(same.clone())));
        }
        Ok(all.unwrap_or_else(|| lit(true)))
    }

    /// An aggregate over the rows for which `condition` holds; null where no row does, if it is a plain value.
    fn where_any(&self, aggregate: Expr, condition: &Expr, plan: &LogicalPlan) -> Result<Expr> {
        let filtered = only(aggregate, condition)?;
        if !is_plain(&filtered.get_type(plan.schema())?) {
            return Ok(filtered);
        }
        let count = crate::frame::call("count", vec![Tree::value(Value::Number("1".into(), false))]);
        let rows = only(self.expression(&count, plan)?.unalias(), condition)?;
        Ok(when(rows.gt(lit(0i64)), filtered).end()?)
    }

    /// UNPIVOT: a row for each of `columns`, with its name and its values under the names `value`.
    pub(super) fn unpivot(
        &self,
        plan: LogicalPlan,
        value: &Tree,
        name: &Ident,
        columns: &[ExprWithAlias],
        nulls: Option<&NullInclusion>,
    ) -> Result<LogicalPlan> {
        let values = value_names(value)?;
        let groups = columns.iter().map(|column| self.unpivoted(column, &plan)).collect::<Result<Vec<_>>>()?;
        if let Some((_, wrong)) = groups.iter().find(|(_, exprs)| exprs.len() != values.len()) {
            return Err(mismatch(values.len(), wrong.len()));
        }
        let used: Vec<Expr> = groups.iter().flat_map(|(_, exprs)| exprs.clone()).collect();
        let width = plan.schema().fields().len();
        let kept = unused(&plan, &used);
        let rows = self.rows_of(groups, values.len(), &plan)?;
        let names: Vec<String> =
            std::iter::once(&name.value).chain(&values).map(|name| names::free_name(plan.schema(), name)).collect();
        let plan = generate(plan, rows, false, None, &names)?;
        let made = width + 1..plan.schema().fields().len();
        let plan = match nulls {
            Some(NullInclusion::IncludeNulls) => plan,
            _ => {
                let present = made.map(|at| column_at(plan.schema(), at).is_not_null()).reduce(Expr::or);
                present.map_or(Ok(plan.clone()), |present| filter(plan, present))?
            }
        };
        let new = std::iter::once(&name.value).chain(&values).enumerate();
        let new = new.map(|(at, name)| column_at(plan.schema(), width + at).alias(name));
        let exprs = kept.iter().map(|at| column_at(plan.schema(), *at)).chain(new).collect();
        names::project(plan, exprs)
    }

    /// A column of UNPIVOT: the name that rows of it show, and its expressions.
    fn unpivoted(&self, column: &ExprWithAlias, plan: &LogicalPlan) -> Result<(String, Vec<Expr>)> {
        let parts = parts_of(&column.expr);
        let exprs = parts.iter().map(|part| self.expression(part, plan)).collect::<Result<Vec<_>>>()?;
        let last = |tree: &Tree| match tree {
            Tree::Identifier(name) => name.value.clone(),
            Tree::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()).unwrap_or_default(),
            other => other.to_string(),
        };
        let name = match &column.alias {
            Some(alias) => alias.value.clone(),
            None => parts.iter().map(last).collect::<Vec<_>>().join("_"),
        };
        Ok((name, exprs))
    }

    /// The generator of the rows: `stack(n, name, value, ..., name, value, ...)`, values of one column in one type.
    fn rows_of(&self, groups: Vec<(String, Vec<Expr>)>, width: usize, plan: &LogicalPlan) -> Result<Expr> {
        let mut columns = Vec::new();
        let mut fields = vec![types::field("name", DataType::Utf8)];
        for at in 0..width {
            let column: Vec<Expr> = groups.iter().filter_map(|(_, exprs)| exprs.get(at).cloned()).collect();
            let (column, data_type) = coerce::to_common(column, plan.schema(), self.conf)
                .map_err(|error| error.with_condition("UNPIVOT_VALUE_DATA_TYPE_MISMATCH"))?;
            fields.push(types::field(format!("value{at}"), data_type));
            columns.push(column.into_iter());
        }
        let mut args = vec![lit(i32::try_from(groups.len()).unwrap_or(i32::MAX))];
        for (name, _) in groups {
            args.push(lit(name));
            args.extend(columns.iter_mut().filter_map(Iterator::next));
        }
        Ok(generator::stacked(fields, args))
    }
}

/// The aggregate functions of an expression, over the rows for which `condition` holds.
fn only(expr: Expr, condition: &Expr) -> Result<Expr> {
    let filtered = expr.transform_down(|part| match part {
        Expr::AggregateFunction(call) => {
            let AggregateFunction { func, mut params } = call;
            let both = match params.filter.take() {
                Some(own) => own.and(condition.clone()),
                None => condition.clone(),
            };
            params.filter = Some(Box::new(both));
            let call = Expr::AggregateFunction(AggregateFunction { func, params });
            Ok(Transformed::new(call, true, datafusion::common::tree_node::TreeNodeRecursion::Jump))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(filtered.data)
}

/// Types whose missing values Spark's pivot fills with null.
fn is_plain(data_type: &DataType) -> bool {
    data_type.is_numeric() || *data_type == DataType::Boolean
}

/// The columns that neither a pivot nor its aggregates mention, as keys.
fn unmentioned(plan: &LogicalPlan, columns: &[Expr], aggregates: &[Item]) -> Vec<Item> {
    let used: Vec<Expr> = columns.iter().cloned().chain(aggregates.iter().map(|item| item.expr.clone())).collect();
    let key = |at: usize| Item {
        expr: column_at(plan.schema(), at),
        aliases: Vec::new(),
        default_name: plan.schema().field(at).name().clone(),
    };
    unused(plan, &used).into_iter().map(key).collect()
}

/// The places of the columns that no expression uses.
fn unused(plan: &LogicalPlan, exprs: &[Expr]) -> Vec<usize> {
    let used: Vec<_> = exprs.iter().flat_map(Expr::column_refs).collect();
    let is_used = |at: &usize| matches!(column_at(plan.schema(), *at), Expr::Column(column) if used.contains(&&column));
    (0..plan.schema().fields().len()).filter(|at| !is_used(at)).collect()
}

/// The names of the value columns of UNPIVOT.
fn value_names(tree: &Tree) -> Result<Vec<String>> {
    let name = |tree: &Tree| match tree {
        Tree::Identifier(name) => Ok(name.value.clone()),
        other => Err(Error::query("PARSE_SYNTAX_ERROR", format!("'{other}' is no name of a column"))),
    };
    parts_of(tree).iter().map(name).collect()
}

fn mismatch(wanted: usize, found: usize) -> Error {
    let message = format!("each entry of IN should have {wanted} values, but one has {found}");
    Error::query("UNPIVOT_VALUE_SIZE_MISMATCH", message)
}
