//! `GroupedData`: groups under construction, between `group_by` and the aggregation.
//!
//! In: keys, then aggregates. Out: a DataFrame with the keys' columns and then the aggregates'.

mod stateful;

use arrow::datatypes::DataType;

use super::column::{Column, col, expr};
use super::dataframe::DataFrame;
use crate::functions::coerce::is_numeric;
use crate::sql::grouping::Grouping;
use crate::sql::pivot::Pivot;
use crate::{Error, Result};

use super::dataframe::items;

/// Rows grouped by keys, waiting for what to compute of each group.
#[derive(Debug, Clone)]
pub struct GroupedData {
    frame: DataFrame,
    keys: Vec<Column>,
    sets: Option<Vec<Vec<usize>>>,
    pivot: Option<Pivoted>,
}

/// A pivot: a column for each value and aggregate.
#[derive(Debug, Clone)]
struct Pivoted {
    column: Column,
    values: Vec<(Column, String)>,
}

impl GroupedData {
    pub(super) fn new(frame: DataFrame, keys: Vec<Column>) -> Self {
        Self { frame, keys, sets: None, pivot: None }
    }

    pub(super) fn with_sets(self, sets: Vec<Vec<usize>>) -> Self {
        Self { sets: Some(sets), ..self }
    }

    /// Computes these aggregates of each group: `df.group_by(["k"]).agg([sum("v").alias("total")])`.
    ///
    /// # Errors
    /// `MISSING_AGGREGATION` for a column that is neither key nor aggregated, and as [`DataFrame::select`].
    pub fn agg(&self, aggregates: impl IntoIterator<Item = impl Into<Column>>) -> Result<DataFrame> {
        let (keys, items) = (items(&self.keys)?, items(aggregates)?);
        if let Some(pivot) = &self.pivot {
            let pivot = pivot.bound()?;
            return self.frame.bound(|binder, plan| binder.pivot(plan, Some(&keys), &items, &pivot));
        }
        let sets = self.sets.clone();
        self.frame.bound(|binder, plan| match sets {
            None => binder.aggregate(plan, &keys, &items),
            Some(sets) => {
                let (keys, items) = (binder.items(&keys, &plan)?, binder.items(&items, &plan)?);
                Grouping::new(keys, items).with_sets(Some(sets)).build(plan)
            }
        })
    }

    /// The number of rows of each group, as column `count`.
    ///
    /// # Errors
    /// As [`GroupedData::agg`].
    pub fn count(&self) -> Result<DataFrame> {
        self.agg([expr("count(1)").alias("count")])
    }

    /// Turns the values of a column into columns: for each value, the aggregates of the rows that have it.
    pub fn pivot<V: super::IntoOperand + ToString + Clone>(
        &self,
        column: impl Into<Column>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let value = |value: V| (value.clone().into_operand(), value.to_string());
        let pivot = Pivoted { column: column.into(), values: values.into_iter().map(value).collect() };
        Self { pivot: Some(pivot), ..self.clone() }
    }

    /// One aggregate of each of these columns; of all numeric columns that are no keys if none are given.
    fn each(&self, function: &str, columns: &[&str]) -> Result<DataFrame> {
        let names: Vec<String> = match columns {
            [] => self.numeric_columns(),
            some => some.iter().map(ToString::to_string).collect(),
        };
        if let Some(wrong) = columns.iter().find(|name| !self.is_numeric(name)) {
            let message =
                format!("'{wrong}' is not a numeric column; {function} can only be applied to numeric columns");
            return Err(Error::query("_LEGACY_ERROR_TEMP_1083", message));
        }
        self.agg(names.iter().map(|name| super::call_function(function, [col(name)])))
    }

    fn is_numeric(&self, name: &str) -> bool {
        let fields = self.frame.plan().schema().fields().iter();
        let mut named = fields.filter(|field| field.name().eq_ignore_ascii_case(name)).peekable();
        named.peek().is_none()
            || named.any(|field| is_numeric(field.data_type()) || *field.data_type() == DataType::Null)
    }

    fn numeric_columns(&self) -> Vec<String> {
        let keys: Vec<String> =
            self.keys.iter().filter_map(|key| key.tree().ok()).map(|key| key.to_string().replace('`', "")).collect();
        let fields = self.frame.plan().schema().fields().iter();
        let numeric = fields.filter(|field| is_numeric(field.data_type())).map(|field| field.name().clone());
        numeric.filter(|name| !keys.iter().any(|key| key.eq_ignore_ascii_case(name))).collect()
    }

    /// The sums of these numeric columns (of all that are no keys, if none are given).
    ///
    /// # Errors
    /// If a column is not numeric.
    pub fn sum(&self, columns: &[&str]) -> Result<DataFrame> {
        self.each("sum", columns)
    }

    /// The means of these numeric columns (of all that are no keys, if none are given).
    ///
    /// # Errors
    /// If a column is not numeric.
    pub fn avg(&self, columns: &[&str]) -> Result<DataFrame> {
        self.each("avg", columns)
    }

    /// Same as [`GroupedData::avg`].
    ///
    /// # Errors
    /// If a column is not numeric.
    pub fn mean(&self, columns: &[&str]) -> Result<DataFrame> {
        self.avg(columns)
    }

    /// The smallest values of these numeric columns (of all that are no keys, if none are given).
    ///
    /// # Errors
    /// If a column is not numeric.
    pub fn min(&self, columns: &[&str]) -> Result<DataFrame> {
        self.each("min", columns)
    }

    /// The largest values of these numeric columns (of all that are no keys, if none are given).
    ///
    /// # Errors
    /// If a column is not numeric.
    pub fn max(&self, columns: &[&str]) -> Result<DataFrame> {
        self.each("max", columns)
    }
}

impl Pivoted {
    fn bound(&self) -> Result<Pivot> {
        let value = |(value, name): &(Column, String)| Ok((value.tree()?, name.clone()));
        let values = self.values.iter().map(value).collect::<Result<Vec<_>>>()?;
        Ok(Pivot::by(self.column.tree()?, values))
    }
}
