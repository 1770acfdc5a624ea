//! Late rows as a stream: which operators of a query drop rows that the watermark has passed, and what those rows look like.
//!
//! In: an analysed plan and its output mode. Out: the same plan with a [`LateTap`] below each such operator, and the schema of
//! the stream of late rows: the columns of the operators' inputs by name, then [`OPERATOR`] and [`WATERMARK`]. What always
//! holds: an operator without a column of that name gives null; an operator over a changelog is not tapped.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Aggregate, Extension, Join, LogicalPlan};

use super::nodes::{
    ArbitraryState, Deduplicate, LateTap, SessionAggregate, SessionWindow, TimeWindow, event_time_index, extension,
    watermark_delay_millis,
};
use super::scan::{ScanTable, is_streaming, scanned};
use crate::sinks::OutputMode;
use crate::sources::SourceSpec;
use crate::{Error, Result};

/// The column with the operator's name in the dataflow plan, e.g. `aggregate-2`.
pub const OPERATOR: &str = "_operator";
/// The column with the watermark that had passed the row.
pub const WATERMARK: &str = "_watermark";

/// The name of the source behind late rows.
const FORMAT: &str = "late-rows";

/// A plan whose late rows are wanted.
pub(crate) struct Tapped {
    /// The plan with its taps.
    pub plan: LogicalPlan,
    /// The columns of late rows.
    pub schema: SchemaRef,
}

/// Puts a tap below each operator that drops late rows in this output mode.
///
/// # Errors
/// If there is no such operator, or their columns do not go together.
pub(crate) fn tap(plan: &LogicalPlan, mode: OutputMode) -> Result<Tapped> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut failed = None;
    let tapped = plan.clone().transform_up(|node| {
        let node = tap_node(node, mode, &mut |schema| {
            failed = failed.take().or(merge(&mut fields, schema).err());
        })?;
        Ok(Transformed::yes(node))
    })?;
    failed.map_or(Ok(()), Err)?;
    if fields.is_empty() {
        return Err(Error::invalid("the query has no operator that drops late rows")
            .hint("Call with_watermark() and group by the event time, for example, in append or update mode."));
    }
    let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let own = [Field::new(OPERATOR, DataType::Utf8, true), Field::new(WATERMARK, zone, true)];
    merge(&mut fields, own.map(Arc::new).iter())?;
    Ok(Tapped { plan: tapped.data, schema: Arc::new(Schema::new(fields)) })
}

/// A plan that reads late rows.
///
/// # Errors
/// If two columns have one name.
pub(crate) fn scan(schema: &SchemaRef) -> Result<LogicalPlan> {
    let source = SourceSpec { format: FORMAT.to_owned(), streaming: true, ..SourceSpec::default() };
    let table = ScanTable { name: "late_rows".to_owned(), source: Arc::new(source), schema: schema.clone() };
    Ok(table.into_plan()?)
}

/// True for the source behind late rows.
pub(crate) fn is_late(table: &ScanTable) -> bool {
    table.source.format == FORMAT
}

/// True if the plan reads nothing that streams but late rows.
pub(crate) fn reads_late_rows_alone(plan: &LogicalPlan) -> Result<bool> {
    Ok(!plan.exists(|node| match node {
        LogicalPlan::TableScan(scan) => Ok(scanned(scan).is_some_and(|table| table.is_streaming() && !is_late(&table))),
        _ => Ok(false),
    })?)
}

type Found<'a> = dyn FnMut(&mut dyn Iterator<Item = &FieldRef>) + 'a;

fn tap_node(node: LogicalPlan, mode: OutputMode, found: &mut Found<'_>) -> datafusion::common::Result<LogicalPlan> {
    if mode == OutputMode::Update && over_changes(&node) {
        return Ok(node);
    }
    match node {
        LogicalPlan::Aggregate(mut aggregate) if judges(&aggregate, mode) => {
            aggregate.input = tapped(&aggregate.input, found);
            Ok(LogicalPlan::Aggregate(aggregate))
        }
        LogicalPlan::Join(join) if is_streaming(&join.left) && is_streaming(&join.right) => {
            let side = |input: &Arc<LogicalPlan>, found: &mut Found<'_>| match event_time_index(input.schema()) {
                Some(_) => tapped(input, found),
                None => Arc::clone(input),
            };
            let (left, right) = (side(&join.left, found), side(&join.right, found));
            Ok(LogicalPlan::Join(Join { left, right, ..join }))
        }
        LogicalPlan::Extension(Extension { node }) if extension_judges(node.as_any(), mode) => {
            let mut inputs: Vec<LogicalPlan> = node.inputs().into_iter().cloned().collect();
            // A second input is an initial state.
            if let Some(input) = inputs.first_mut() {
                *input = tapped(input, found).as_ref().clone();
            }
            Ok(LogicalPlan::Extension(Extension { node: node.with_exprs_and_inputs(node.expressions(), inputs)? }))
        }
        other => Ok(other),
    }
}

/// True if the node stands over rows that may be taken back.
fn over_changes(node: &LogicalPlan) -> bool {
    let keeps_results = |below: &LogicalPlan| match below {
        LogicalPlan::Aggregate(_) | LogicalPlan::Join(_) => is_streaming(below),
        LogicalPlan::Extension(extension) => extension.node.as_any().is::<SessionAggregate>(),
        _ => false,
    };
    node.inputs().into_iter().any(|input| input.exists(|below| Ok(keeps_results(below))).unwrap_or(false))
}

/// An aggregation drops late rows if one of its keys is an event time and its state is not kept for ever.
fn judges(aggregate: &Aggregate, mode: OutputMode) -> bool {
    let mut keys = aggregate.schema.fields().iter().take(aggregate.group_expr.len());
    mode != OutputMode::Complete && is_streaming(&aggregate.input) && keys.any(|k| watermark_delay_millis(k).is_some())
}

fn extension_judges(node: &dyn std::any::Any, mode: OutputMode) -> bool {
    if let Some(dedup) = node.downcast_ref::<Deduplicate>() {
        return is_streaming(&dedup.input) && event_time_index(dedup.input.schema()).is_some();
    }
    if let Some(state) = node.downcast_ref::<ArbitraryState>() {
        return is_streaming(&state.input) && state.drops_late_rows();
    }
    let Some(session) = node.downcast_ref::<SessionAggregate>() else { return false };
    mode != OutputMode::Complete && is_streaming(&session.input)
}

/// The input below a tap; tells its columns.
fn tapped(input: &LogicalPlan, found: &mut Found<'_>) -> Arc<LogicalPlan> {
    let own = without_windows(input);
    found(&mut own.fields().iter());
    Arc::new(extension(LateTap { input: Arc::new(input.clone()), width: own.fields().len() }))
}

/// The columns below the windows that were computed for the operator.
fn without_windows(input: &LogicalPlan) -> &DFSchema {
    let LogicalPlan::Extension(extension) = input else { return input.schema() };
    let node = extension.node.as_any();
    if let Some(window) = node.downcast_ref::<TimeWindow>() {
        return without_windows(&window.input);
    }
    match node.downcast_ref::<SessionWindow>() {
        Some(window) => without_windows(&window.input),
        None => input.schema(),
    }
}

/// Adds the columns of one input to those of all, by name.
fn merge<'a>(all: &mut Vec<FieldRef>, more: impl IntoIterator<Item = &'a FieldRef>) -> Result<()> {
    let mut own: Vec<&str> = Vec::new();
    for field in more {
        if own.contains(&field.name().as_str()) {
            return Err(clash(field.name(), "stands twice among the columns of an operator"));
        }
        own.push(field.name());
        match all.iter().find(|known| known.name() == field.name()) {
            Some(known) if known.data_type() == field.data_type() => {}
            Some(_) => return Err(clash(field.name(), "has different types at several operators")),
            None => all.push(Arc::new(Field::new(field.name(), field.data_type().clone(), true))),
        }
    }
    Ok(())
}

fn clash(column: &str, why: &str) -> Error {
    Error::query("COLUMN_ALREADY_EXISTS", format!("late rows cannot be one stream: column '{column}' {why}"))
        .hint("Rename the column before the operator.")
}
