//! Transformations: each gives a new DataFrame, or the error that Spark's analysis would give.

use std::sync::Arc;

use datafusion::common::{Column as Name, ExprSchema, JoinType};
use datafusion::logical_expr::LogicalPlanBuilder;

use super::{Condition, DataFrame, JoinOn};
use crate::frame::column::{Column, col, expr, split_name};
use crate::frame::grouped::GroupedData;
use crate::plan::nodes::{Deduplicate, extension};
use crate::sql::ast::{SelectItem, SetOperator};
use crate::sql::join::{On, join_type};
use crate::sql::names::{self, column_at};
use crate::sql::relation::qualified;
use crate::sql::set_operation::refuse_map;
use crate::{Error, Result};

/// Columns as items of a SELECT list.
pub(in crate::frame) fn items(columns: impl IntoIterator<Item = impl Into<Column>>) -> Result<Vec<SelectItem>> {
    columns.into_iter().map(|column| column.into().select_item()).collect()
}

impl DataFrame {
    /// These columns, computed from each row: `df.select(["k", "v"])`, `df.select([col("v") + 1])`.
    ///
    /// # Errors
    /// `UNRESOLVED_COLUMN.WITH_SUGGESTION`, `DATATYPE_MISMATCH.*`, `MISSING_AGGREGATION`, ...
    pub fn select(&self, columns: impl IntoIterator<Item = impl Into<Column>>) -> Result<Self> {
        let items = items(columns)?;
        self.bound(|binder, plan| binder.select(plan, &items))
    }

    /// These SQL expressions, computed from each row: `df.select_expr(["k", "v + 1 AS w"])`.
    ///
    /// # Errors
    /// `PARSE_SYNTAX_ERROR`, and as [`DataFrame::select`].
    pub fn select_expr<'a>(&self, expressions: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        self.select(expressions.into_iter().map(expr))
    }

    /// The rows for which the condition is true: a column, or SQL text.
    ///
    /// # Errors
    /// `DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN`, and as [`DataFrame::select`].
    pub fn filter(&self, condition: impl Condition) -> Result<Self> {
        let condition = condition.into_condition().tree()?;
        self.bound(|binder, plan| binder.filter(plan, &condition))
    }

    /// Same as [`DataFrame::filter`].
    ///
    /// # Errors
    /// As [`DataFrame::filter`].
    pub fn where_(&self, condition: impl Condition) -> Result<Self> {
        self.filter(condition)
    }

    /// Adds a column, or replaces the one of this name where it stands.
    ///
    /// # Errors
    /// As [`DataFrame::select`].
    pub fn with_column(&self, name: &str, column: impl Into<Column>) -> Result<Self> {
        self.with_columns([(name, column.into())])
    }

    /// Adds or replaces several columns at once; none sees the others.
    ///
    /// # Errors
    /// As [`DataFrame::select`].
    pub fn with_columns<'a>(&self, columns: impl IntoIterator<Item = (&'a str, Column)>) -> Result<Self> {
        let mut new: Vec<(&str, Column)> = columns.into_iter().collect();
        let mut items = Vec::new();
        for index in 0..self.plan.schema().fields().len() {
            let name = self.plan.schema().field(index).name();
            match new.iter().position(|(other, _)| other.eq_ignore_ascii_case(name)) {
                Some(place) => {
                    let (name, column) = new.remove(place);
                    items.push(column.alias(name).select_item()?);
                }
                None => items.push(self.existing(index).select_item()?),
            }
        }
        for (name, column) in new {
            items.push(column.alias(name).select_item()?);
        }
        self.bound(|binder, plan| binder.select(plan, &items))
    }

    /// The column at this place, by its full name.
    fn existing(&self, index: usize) -> Column {
        let (qualifier, field) = self.plan.schema().qualified_field(index);
        let mut parts: Vec<String> = qualifier.map(|qualifier| qualifier.to_vec()).unwrap_or_default();
        parts.push(field.name().clone());
        let quoted: Vec<_> = parts.iter().map(|part| format!("`{}`", part.replace('`', "``"))).collect();
        col(&quoted.join("."))
    }

    /// Renames a column; without such a column nothing happens.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn with_column_renamed(&self, from: &str, to: &str) -> Result<Self> {
        self.project_names(|name| Some(if name.eq_ignore_ascii_case(from) { to.to_string() } else { name.to_string() }))
    }

    /// Gives all columns new names, in order.
    ///
    /// # Errors
    /// If the number of names does not fit.
    pub fn to_df<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let names: Vec<&str> = names.into_iter().collect();
        let width = self.plan.schema().fields().len();
        if names.len() != width {
            let message = format!("{} names are given for {width} columns", names.len());
            return Err(Error::query("ASSIGNMENT_ARITY_MISMATCH", message));
        }
        let mut names = names.into_iter();
        self.project_names(|_| names.next().map(str::to_string))
    }

    /// All columns but these; names that are no columns are ignored.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn drop<'a>(&self, columns: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let dropped: Vec<&str> = columns.into_iter().collect();
        let kept = |name: &str| !dropped.iter().any(|other| other.eq_ignore_ascii_case(name));
        self.project_names(|name| kept(name).then(|| name.to_string()))
    }

    /// The columns under new names; those without one go away.
    fn project_names(&self, mut name: impl FnMut(&str) -> Option<String>) -> Result<Self> {
        let schema = self.plan.schema();
        let mut exprs = Vec::new();
        for index in 0..schema.fields().len() {
            let old = schema.field(index).name();
            match name(old) {
                Some(new) if new == *old => exprs.push(column_at(schema, index)),
                Some(new) => exprs.push(column_at(schema, index).alias(new)),
                None => {}
            }
        }
        self.bound(|_, plan| names::project(plan, exprs))
    }

    /// Names the relation, for columns such as `a.k`.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn alias(&self, name: &str) -> Result<Self> {
        self.bound(|_, plan| qualified(plan, name))
    }

    /// Groups the rows by these columns.
    pub fn group_by(&self, columns: impl IntoIterator<Item = impl Into<Column>>) -> GroupedData {
        GroupedData::new(self.clone(), columns.into_iter().map(Into::into).collect())
    }

    /// Groups by all prefixes of these columns, as ROLLUP does.
    pub fn rollup(&self, columns: impl IntoIterator<Item = impl Into<Column>>) -> GroupedData {
        let columns: Vec<Column> = columns.into_iter().map(Into::into).collect();
        let sets = (0..=columns.len()).rev().map(|count| (0..count).collect()).collect();
        GroupedData::new(self.clone(), columns).with_sets(sets)
    }

    /// Groups by all subsets of these columns, as CUBE does.
    pub fn cube(&self, columns: impl IntoIterator<Item = impl Into<Column>>) -> GroupedData {
        let columns: Vec<Column> = columns.into_iter().map(Into::into).collect();
        let count = columns.len().min(20);
        let subset = |mask: usize| (0..count).filter(|bit| mask & (1 << (count - 1 - bit)) != 0).collect();
        let sets = (0..1usize << count).rev().map(subset).collect();
        GroupedData::new(self.clone(), columns).with_sets(sets)
    }

    /// Aggregates all rows into one.
    ///
    /// # Errors
    /// As [`GroupedData::agg`].
    pub fn agg(&self, aggregates: impl IntoIterator<Item = impl Into<Column>>) -> Result<Self> {
        GroupedData::new(self.clone(), Vec::new()).agg(aggregates)
    }

    /// The first of equal rows.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn distinct(&self) -> Result<Self> {
        self.drop_duplicates(&[])
    }

    /// The first of the rows that agree in these columns (in all, if none are given). On a stream with a watermark, late
    /// rows are dropped.
    ///
    /// # Errors
    /// `UNRESOLVED_COLUMN_AMONG_FIELD_NAMES`.
    pub fn drop_duplicates(&self, columns: &[&str]) -> Result<Self> {
        self.deduplicated(columns, false)
    }

    /// As [`DataFrame::drop_duplicates`], but a key is forgotten once the watermark has passed its first time plus the
    /// delay, so that state stays small.
    ///
    /// # Errors
    /// `UNRESOLVED_COLUMN_AMONG_FIELD_NAMES`; without a watermark, the query is refused when it starts.
    pub fn drop_duplicates_within_watermark(&self, columns: &[&str]) -> Result<Self> {
        self.deduplicated(columns, true)
    }

    fn deduplicated(&self, names: &[&str], within_watermark: bool) -> Result<Self> {
        let schema = self.plan.schema();
        let mut columns = Vec::new();
        for name in names {
            let before = columns.len();
            let named =
                (0..schema.fields().len()).filter(|index| schema.field(*index).name().eq_ignore_ascii_case(name));
            columns.extend(named.map(|index| Name::from(schema.qualified_field(index))));
            if columns.len() == before {
                return Err(no_such_field(name, &self.columns()));
            }
        }
        if names.is_empty() {
            columns = schema.columns();
        }
        for column in &columns {
            refuse_map(schema.field_from_column(column)?)?;
        }
        let input = Arc::clone(&self.plan);
        self.bound(|_, _| Ok(extension(Deduplicate { input, columns, within_watermark })))
    }

    /// Marks a TIMESTAMP column as event time: rows later than `delay` behind the newest may be dropped, and state for
    /// times that old is removed.
    ///
    /// # Errors
    /// `EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE`, `CANNOT_PARSE_INTERVAL`, `UNRESOLVED_COLUMN.WITH_SUGGESTION`.
    pub fn with_watermark(&self, column: &str, delay: &str) -> Result<Self> {
        let column = col(column).tree()?;
        self.bound(|binder, plan| binder.with_watermark(plan, &column, delay))
    }

    /// Sorts all rows: `df.order_by([col("v").desc()])`.
    ///
    /// # Errors
    /// As [`DataFrame::select`].
    pub fn order_by(&self, columns: impl IntoIterator<Item = impl Into<Column>>) -> Result<Self> {
        let keys = columns.into_iter().map(|column| column.into().sort_key()).collect::<Result<Vec<_>>>()?;
        self.bound(|binder, plan| binder.order_by(plan, &keys))
    }

    /// Same as [`DataFrame::order_by`].
    ///
    /// # Errors
    /// As [`DataFrame::order_by`].
    pub fn sort(&self, columns: impl IntoIterator<Item = impl Into<Column>>) -> Result<Self> {
        self.order_by(columns)
    }

    /// At most `count` rows.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn limit(&self, count: usize) -> Result<Self> {
        self.bound(|_, plan| Ok(LogicalPlanBuilder::from(plan).limit(0, Some(count))?.build()?))
    }

    /// All rows but the first `count`.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn offset(&self, count: usize) -> Result<Self> {
        self.bound(|_, plan| Ok(LogicalPlanBuilder::from(plan).limit(count, None)?.build()?))
    }

    /// The rows of both, by position; duplicates stay.
    ///
    /// # Errors
    /// `NUM_COLUMNS_MISMATCH`, `INCOMPATIBLE_COLUMN_TYPE`.
    pub fn union(&self, other: &DataFrame) -> Result<Self> {
        self.bound(|binder, plan| binder.union(plan, other.plan.as_ref().clone()))
    }

    /// Same as [`DataFrame::union`].
    ///
    /// # Errors
    /// As [`DataFrame::union`].
    pub fn union_all(&self, other: &DataFrame) -> Result<Self> {
        self.union(other)
    }

    /// The rows of both, by name; with `allow_missing`, columns that one side lacks are null.
    ///
    /// # Errors
    /// As [`DataFrame::union`]; a missing column.
    pub fn union_by_name(&self, other: &DataFrame, allow_missing: bool) -> Result<Self> {
        self.bound(|binder, plan| binder.union_by_name(plan, other.plan.as_ref().clone(), allow_missing))
    }

    fn set_operation(&self, other: &DataFrame, op: SetOperator, all: bool) -> Result<Self> {
        self.bound(|binder, plan| binder.set_operation(plan, other.plan.as_ref().clone(), op, all))
    }

    /// The distinct rows that both have.
    ///
    /// # Errors
    /// As [`DataFrame::union`].
    pub fn intersect(&self, other: &DataFrame) -> Result<Self> {
        self.set_operation(other, SetOperator::Intersect, false)
    }

    /// The rows that both have, as often as both have them.
    ///
    /// # Errors
    /// As [`DataFrame::union`].
    pub fn intersect_all(&self, other: &DataFrame) -> Result<Self> {
        self.set_operation(other, SetOperator::Intersect, true)
    }

    /// The distinct rows that the other has not.
    ///
    /// # Errors
    /// As [`DataFrame::union`].
    pub fn except(&self, other: &DataFrame) -> Result<Self> {
        self.set_operation(other, SetOperator::Except, false)
    }

    /// The rows that the other has not, each as often as it has more of them.
    ///
    /// # Errors
    /// As [`DataFrame::union`].
    pub fn except_all(&self, other: &DataFrame) -> Result<Self> {
        self.set_operation(other, SetOperator::Except, true)
    }

    /// Rows of both that belong together. `on` is a condition or the names of shared columns, `how` any of Spark's names
    /// (`inner`, `left_outer`, `leftsemi`, ...).
    ///
    /// # Errors
    /// `UNSUPPORTED_JOIN_TYPE`, `UNRESOLVED_USING_COLUMN_FOR_JOIN`, and as [`DataFrame::filter`].
    pub fn join(&self, other: &DataFrame, on: impl Into<JoinOn>, how: &str) -> Result<Self> {
        let (kind, on) = (join_type(how)?, on.into().resolve()?);
        self.joined(other, kind, on)
    }

    /// Every row with every row of the other.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn cross_join(&self, other: &DataFrame) -> Result<Self> {
        self.joined(other, JoinType::Inner, On::Nothing)
    }

    fn joined(&self, other: &DataFrame, kind: JoinType, on: On) -> Result<Self> {
        self.bound(|binder, plan| binder.join(plan, other.plan.as_ref().clone(), kind, on))
    }

    /// Applies a function to the DataFrame, so that own steps can stand in a chain.
    ///
    /// # Errors
    /// The function's.
    pub fn transform(&self, step: impl FnOnce(&DataFrame) -> Result<DataFrame>) -> Result<Self> {
        step(self)
    }

    /// The column of this name, told apart from equal names by this DataFrame's alias.
    ///
    /// # Errors
    /// `UNRESOLVED_COLUMN.WITH_SUGGESTION`.
    pub fn col(&self, name: &str) -> Result<Column> {
        let parts: Vec<String> = split_name(name)?.into_iter().map(|part| part.value).collect();
        let single = parts.first().filter(|_| parts.len() == 1);
        let place = single.and_then(|name| self.columns().iter().position(|column| column.eq_ignore_ascii_case(name)));
        match place {
            Some(index) => Ok(self.existing(index)),
            None => self.select([name]).map(|_| col(name)),
        }
    }

    /// Leaves rows out that hold a null in one of these columns (in any, if none are given).
    ///
    /// # Errors
    /// As [`DataFrame::filter`].
    pub fn drop_nulls(&self, columns: &[&str]) -> Result<Self> {
        let all = self.columns();
        let names: Vec<&str> =
            if columns.is_empty() { all.iter().map(String::as_str).collect() } else { columns.to_vec() };
        let quoted =
            |name: &str| if columns.is_empty() { col(&format!("`{}`", name.replace('`', "``"))) } else { col(name) };
        let conditions = names.into_iter().map(|name| quoted(name).is_not_null());
        match conditions.reduce(Column::and) {
            Some(condition) => self.filter(condition),
            None => Ok(self.clone()),
        }
    }
}

fn no_such_field(name: &str, fields: &[String]) -> Error {
    let message = format!("cannot resolve column name '{name}' among ({})", fields.join(", "));
    Error::query("UNRESOLVED_COLUMN_AMONG_FIELD_NAMES", message)
}
