//! Where the columns of late rows stand in the rows of an operator.
//!
//! A [`LateTap`] keeps all columns of an operator's input. The optimizer may put a projection between the two; such a
//! projection gives its own columns and behind them, hidden from the logical plan, those of the tap.

use std::collections::HashMap;
use std::ops::Range;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::logical_expr::{LogicalPlan, Projection, TableScan};

use super::super::dataflow::{DataflowPlan, Kind, LatePlan, Node, Step};
use super::super::late::reads_late_rows_alone;
use super::super::nodes::LateTap;
use super::{Lowering, Wanted, arrow_schema, expression};
use crate::{Error, Result};

/// What is known of late rows while a plan is lowered.
#[derive(Default)]
pub(super) struct Late {
    /// Their columns, if somebody wants them.
    pub schema: Option<SchemaRef>,
    /// See [`LatePlan::taps`].
    pub taps: HashMap<String, Vec<Vec<Option<usize>>>>,
}

/// The tap's columns in the rows of a lowered plan.
#[derive(Clone)]
pub(super) struct TapColumns {
    pub fields: Vec<FieldRef>,
    /// Index of the first.
    pub first: usize,
    /// True if they stand behind the columns of the logical plan.
    pub hidden: bool,
}

impl TapColumns {
    /// Indexes of the columns.
    pub fn range(&self) -> Range<usize> {
        self.first..self.first + self.fields.len()
    }

    /// Where the columns of `schema` are, if those of the tap stand at `places`.
    pub fn tap(&self, schema: &Schema, places: &[usize]) -> Vec<Option<usize>> {
        let place = |name: &str| self.fields.iter().position(|field| field.name() == name);
        schema.fields().iter().map(|field| places.get(place(field.name())?).copied()).collect()
    }
}

/// The tap right below an operator, seen through projections; none if its late rows are not wanted.
pub(super) fn tap_columns(plan: &LogicalPlan) -> Option<TapColumns> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let below = tap_columns(&projection.input)?;
            Some(TapColumns { first: projection.schema.fields().len(), hidden: true, ..below })
        }
        LogicalPlan::Extension(extension) => {
            let tap = extension.node.as_any().downcast_ref::<LateTap>()?;
            let fields = tap.input.schema().fields().iter().take(tap.width).cloned().collect();
            Some(TapColumns { fields, first: 0, hidden: false })
        }
        _ => None,
    }
}

/// The plan below taps and projections of plain columns, which the optimizer puts above what makes columns that nobody reads.
pub(super) fn below_columns(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Projection(projection) if only_columns(projection) => below_columns(&projection.input),
        LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<LateTap>() {
            Some(tap) => below_columns(&tap.input),
            None => plan,
        },
        _ => plan,
    }
}

fn only_columns(projection: &Projection) -> bool {
    projection.expr.iter().all(|expr| matches!(expr, datafusion::logical_expr::Expr::Column(_)))
}

/// Lowers the branch for late rows behind the plan whose operators they come from.
///
/// # Errors
/// If the branch reads another stream or has a watermark, or as [`super::lower`].
pub(super) fn branch(plan: &mut DataflowPlan, lowered: Lowering, branch: &LogicalPlan, wanted: Wanted) -> Result<()> {
    if !reads_late_rows_alone(branch)? {
        return Err(Error::unsupported("late rows cannot be put together with another stream"));
    }
    let Late { schema, taps } = lowered.late;
    let schema = schema.ok_or_else(|| Error::internal("late rows have no columns"))?;
    let mut lowering = Lowering::new(wanted, None);
    lowering.nodes = lowered.nodes;
    lowering.statics = lowered.statics;
    let root = lowering.node(branch)?;
    let root = lowering.finish(root, wanted)?;
    if !lowering.watermarks.is_empty() {
        return Err(Error::unsupported("late rows have no watermark of their own"));
    }
    plan.statics = lowering.statics;
    plan.late = Some(LatePlan { schema, taps, root });
    Ok(())
}

impl Lowering {
    /// Notes where an operator's late rows have their columns: per input.
    pub(super) fn tap(&mut self, operator: &str, inputs: Vec<Option<(TapColumns, Vec<usize>)>>) {
        let Some(schema) = &self.late.schema else { return };
        if inputs.iter().all(Option::is_none) {
            return;
        }
        let place = |input: Option<(TapColumns, Vec<usize>)>| match input {
            Some((columns, places)) => columns.tap(schema, &places),
            None => vec![None; schema.fields().len()],
        };
        let ports = inputs.into_iter().map(place).collect();
        self.late.taps.insert(operator.to_owned(), ports);
    }

    /// The projection of a plan, with the tap's columns behind if there is a tap below.
    pub(super) fn hiding_projection(&mut self, projection: &Projection, below: TapColumns) -> Result<Node> {
        let input = self.node(&projection.input)?;
        let mut exprs = expression::physical_all(&projection.expr, projection.input.schema())?;
        exprs.extend(expression::columns(&input.schema, below.range()));
        let own = arrow_schema(&projection.schema);
        let schema = std::sync::Arc::new(behind(&own, &below.fields));
        let mut node = self.step(input, Step::Project(exprs, schema.clone()), &projection.schema);
        node.schema = schema;
        Ok(node)
    }

    /// Reads the late rows.
    pub(super) fn late_rows(&mut self, scan: &TableScan, schema: SchemaRef) -> Result<Node> {
        let node = self.add("late", Kind::Late, Vec::new(), schema);
        let Some(projection) = &scan.projection else { return Ok(node) };
        let columns = projection.iter().flat_map(|&i| expression::columns(&node.schema, i..i + 1)).collect();
        let step = Step::Project(columns, arrow_schema(&scan.projected_schema));
        Ok(self.step(node, step, &scan.projected_schema))
    }
}

/// Columns of a schema and others behind them; names need not differ.
pub(super) fn behind(schema: &Schema, more: &[FieldRef]) -> Schema {
    Schema::new(schema.fields().iter().chain(more).cloned().collect::<Vec<_>>())
}
