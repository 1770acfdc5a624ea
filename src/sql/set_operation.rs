//! UNION, EXCEPT, INTERSECT: sides of equal width, each column in the type in which both meet.
//!
//! In: two plans. Out: one with the names (and event-time marks) of the first. Sides whose types differ are cast below.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, DFSchemaRef, ScalarValue};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Aggregate, Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, Projection, Union};

use super::ast::{SetOperator, SetQuantifier};
use super::binder::Binder;
use super::names::{all_columns, column_at};
use crate::functions::cast::{self, Mode};
use crate::functions::coerce::{self, type_name};
use crate::{Error, Result};

impl Binder<'_> {
    /// The rows of both, by position.
    ///
    /// # Errors
    /// `NUM_COLUMNS_MISMATCH`, `INCOMPATIBLE_COLUMN_TYPE`.
    pub fn union(&self, left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan> {
        let (left, right, schema) = self.aligned(left, right, "UNION")?;
        let mut inputs = Vec::new();
        for side in [left, right] {
            match side {
                LogicalPlan::Union(inner) if inner.schema == schema => inputs.extend(inner.inputs),
                other => inputs.push(Arc::new(other)),
            }
        }
        Ok(LogicalPlan::Union(Union { inputs, schema }))
    }

    /// The rows of both, by name; with `allow_missing`, columns that a side lacks are null.
    ///
    /// # Errors
    /// As [`Binder::union`]; `UNRESOLVED_COLUMN_AMONG_FIELD_NAMES` for a missing column.
    pub fn union_by_name(&self, left: LogicalPlan, right: LogicalPlan, allow_missing: bool) -> Result<LogicalPlan> {
        let missing_left: Vec<FieldRef> =
            if allow_missing { missing(right.schema(), left.schema()) } else { Vec::new() };
        let left = with_nulls(left, &missing_left)?;
        if !allow_missing && left.schema().fields().len() != right.schema().fields().len() {
            return Err(columns_mismatch("UNION", left.schema(), right.schema()));
        }
        let place = |field: &FieldRef| {
            let same = |index: &usize| right.schema().field(*index).name().eq_ignore_ascii_case(field.name());
            match (0..right.schema().fields().len()).find(same) {
                Some(index) => Ok(column_at(right.schema(), index)),
                None if allow_missing => null(field),
                None => Err(super::unresolved(&[field.name()], right.schema())
                    .with_condition("UNRESOLVED_COLUMN_AMONG_FIELD_NAMES")),
            }
        };
        let columns = left.schema().fields().iter().map(place).collect::<Result<Vec<_>>>()?;
        let right = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(right.clone()))?);
        self.union(left, right)
    }

    /// A set operation as SQL writes it.
    ///
    /// # Errors
    /// As [`Binder::union_by_name`]; `PARSE_SYNTAX_ERROR` for names in another operation than UNION.
    pub(super) fn combined(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        op: SetOperator,
        quantifier: &SetQuantifier,
    ) -> Result<LogicalPlan> {
        let (by_name, all) = match quantifier {
            SetQuantifier::AllByName => (true, true),
            SetQuantifier::ByName | SetQuantifier::DistinctByName => (true, false),
            SetQuantifier::All => (false, true),
            SetQuantifier::Distinct | SetQuantifier::None => (false, false),
        };
        match (by_name, op) {
            (false, op) => self.set_operation(left, right, op, all),
            (true, SetOperator::Union) if all => self.union_by_name(left, right, false),
            (true, SetOperator::Union) => distinct(self.union_by_name(left, right, false)?),
            (true, other) => {
                Err(Error::query("PARSE_SYNTAX_ERROR", format!("{other} does not go by name, only UNION does")))
            }
        }
    }

    /// A set operation by position.
    ///
    /// # Errors
    /// As [`Binder::union`].
    pub fn set_operation(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        op: SetOperator,
        all: bool,
    ) -> Result<LogicalPlan> {
        match op {
            SetOperator::Union if all => self.union(left, right),
            SetOperator::Union => distinct(self.union(left, right)?),
            SetOperator::Intersect => {
                let (left, right, _) = self.aligned(left, right, "INTERSECT")?;
                compared(left, right, all, LogicalPlanBuilder::intersect)
            }
            SetOperator::Except | SetOperator::Minus => {
                let (left, right, _) = self.aligned(left, right, "EXCEPT")?;
                compared(left, right, all, LogicalPlanBuilder::except)
            }
        }
    }

    /// Both sides with columns of the same types, and their common schema.
    fn aligned(
        &self,
        left: LogicalPlan,
        right: LogicalPlan,
        what: &str,
    ) -> Result<(LogicalPlan, LogicalPlan, DFSchemaRef)> {
        let width = left.schema().fields().len();
        if right.schema().fields().len() != width {
            return Err(columns_mismatch(what, left.schema(), right.schema()));
        }
        let types = (0..width)
            .map(|index| self.meeting(left.schema(), right.schema(), index, what))
            .collect::<Result<Vec<_>>>()?;
        let fields = left.schema().fields().iter().zip(&types).map(|(field, data_type)| {
            (None, Arc::new(field.as_ref().clone().with_data_type(data_type.clone()).with_nullable(true)))
        });
        let schema = match DFSchema::new_with_metadata(fields.collect(), HashMap::new()) {
            Ok(schema) => Arc::new(schema),
            Err(_) => Arc::clone(left.schema()),
        };
        Ok((self.cast_all(left, &types)?, self.cast_all(right, &types)?, schema))
    }

    fn meeting(
        &self,
        left: &DFSchema,
        right: &DFSchema,
        index: usize,
        what: &str,
    ) -> Result<arrow::datatypes::DataType> {
        let (first, second) = (left.field(index).data_type(), right.field(index).data_type());
        coerce::wider(first, second, self.conf.ansi()).ok_or_else(|| {
            let (first, second) = (type_name(first), type_name(second));
            let message = format!(
                "{what} can only be performed on tables with compatible column types, but column {} is of type {second} \
                 in the second table and of type {first} in the first",
                index + 1
            );
            Error::query("INCOMPATIBLE_COLUMN_TYPE", message)
        })
    }

    fn cast_all(&self, plan: LogicalPlan, types: &[arrow::datatypes::DataType]) -> Result<LogicalPlan> {
        let schema = Arc::clone(plan.schema());
        if schema.fields().iter().zip(types).all(|(field, data_type)| field.data_type() == data_type) {
            return Ok(plan);
        }
        let cast = |(index, data_type)| {
            let column: Expr = column_at(&schema, index);
            if schema.field(index).data_type() == data_type {
                return Ok(column);
            }
            let cast = cast::cast(column, data_type, Mode::of(self.conf), &schema, self.conf)?;
            let (qualifier, field) = schema.qualified_field(index);
            Ok(cast.alias_qualified(qualifier.cloned(), field.name()))
        };
        let exprs = types.iter().enumerate().map(cast).collect::<Result<Vec<_>>>()?;
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
    }
}

/// EXCEPT or INTERSECT. With ALL rows count as often as they are there: the first of equal rows is compared with the first, the
/// second with the second.
fn compared(
    left: LogicalPlan,
    right: LogicalPlan,
    all: bool,
    compare: fn(LogicalPlan, LogicalPlan, bool) -> datafusion::common::Result<LogicalPlan>,
) -> Result<LogicalPlan> {
    if !all {
        return Ok(compare(left, right, false)?);
    }
    let width = left.schema().fields().len();
    let plan = compare(numbered(left)?, numbered(right)?, true)?;
    let columns: Vec<Expr> = (0..width).map(|index| column_at(plan.schema(), index)).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

/// The rows with their number among equal rows.
fn numbered(plan: LogicalPlan) -> Result<LogicalPlan> {
    let number = row_number().partition_by(all_columns(plan.schema())).build()?;
    Ok(LogicalPlanBuilder::from(plan).window(vec![number.alias("_occurrence")])?.build()?)
}

/// SQL's DISTINCT: an aggregation over all columns.
///
/// # Errors
/// `UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE`.
pub(super) fn distinct(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.schema().fields().iter().try_for_each(|field| refuse_map(field))?;
    let columns = all_columns(plan.schema());
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan), columns, Vec::new())?))
}

/// Rows with maps cannot be compared for being the same.
///
/// # Errors
/// `UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE`.
pub fn refuse_map(field: &Field) -> Result<()> {
    if !holds_map(field.data_type()) {
        return Ok(());
    }
    let message = format!("rows with maps cannot be told apart, but column '{}' holds maps", field.name());
    Err(Error::query("UNSUPPORTED_FEATURE.SET_OPERATION_ON_MAP_TYPE", message)
        .hint("Use to_json() or map_entries() of the column."))
}

fn holds_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::List(item) => holds_map(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_map(field.data_type())),
        _ => false,
    }
}

/// Columns of `wanted` that `schema` lacks.
fn missing(wanted: &DFSchema, schema: &DFSchema) -> Vec<FieldRef> {
    let lacks =
        |field: &&FieldRef| !schema.fields().iter().any(|other| other.name().eq_ignore_ascii_case(field.name()));
    wanted.fields().iter().filter(lacks).cloned().collect()
}

fn with_nulls(plan: LogicalPlan, fields: &[FieldRef]) -> Result<LogicalPlan> {
    if fields.is_empty() {
        return Ok(plan);
    }
    let mut columns = all_columns(plan.schema());
    for field in fields {
        columns.push(null(field)?);
    }
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?))
}

fn null(field: &FieldRef) -> Result<Expr> {
    Ok(Expr::Literal(ScalarValue::try_from(field.data_type())?, None).alias(field.name()))
}

fn columns_mismatch(what: &str, left: &DFSchema, right: &DFSchema) -> Error {
    let (first, second) = (left.fields().len(), right.fields().len());
    Error::query(
        "NUM_COLUMNS_MISMATCH",
        format!(
            "{what} can only be performed on inputs with the same number of columns, but the first input has {first} \
             columns and the second input has {second}"
        ),
    )
}
