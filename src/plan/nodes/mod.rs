//! Logical nodes that DataFusion does not have: watermarks, deduplication, generators, time and session windows,
//! functions of the program over rows and over state.
//!
//! In: DataFusion plans as inputs. Out: a `LogicalPlan::Extension` with a schema of its own. Nodes hold no running
//! state and no I/O. What must always hold: a node that adds columns adds them behind its input's columns, and each
//! node can be rebuilt from its expressions and inputs, so that DataFusion's rules may rewrite below and above it.

mod arbitrary_state;
mod deduplicate;
mod generate;
mod late_tap;
mod map_items;
mod merge_sessions;
mod session_aggregate;
mod session_window;
mod time_window;
mod watermark;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::{DFSchema, DFSchemaRef, TableReference};
use datafusion::logical_expr::{Extension, LogicalPlan, UserDefinedLogicalNode};

pub use arbitrary_state::ArbitraryState;
pub use deduplicate::Deduplicate;
pub use generate::Generate;
pub use late_tap::LateTap;
pub use map_items::{ItemFunction, MapItems};
pub use merge_sessions::MergeSessions;
pub use session_aggregate::SessionAggregate;
pub use session_window::SessionWindow;
pub use time_window::{TimeWindow, Windows};
pub use watermark::Watermark;

/// Key of a field's metadata that marks an event-time column; the value is the watermark's delay in milliseconds.
/// An empty value means that the mark was lost (an expression over the column).
pub const WATERMARK_DELAY: &str = "spark.watermarkDelayMs";

/// Key of a schema's metadata that marks the result of a PIVOT.
pub const PIVOT: &str = "spark.pivot";

/// The watermark's delay in milliseconds, if this field is an event-time column.
pub fn watermark_delay_millis(field: &Field) -> Option<i64> {
    field.metadata().get(WATERMARK_DELAY)?.parse().ok()
}

/// Index of the first event-time column of a schema.
pub fn event_time_index(schema: &DFSchema) -> Option<usize> {
    schema.fields().iter().position(|field| watermark_delay_millis(field).is_some())
}

/// The struct type of window columns: `start` and `end`, both TIMESTAMP.
pub fn window_type() -> DataType {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    DataType::Struct(Fields::from(vec![Field::new("start", time.clone(), true), Field::new("end", time, true)]))
}

/// Wraps a node of ours into a plan.
pub fn extension(node: impl UserDefinedLogicalNode + 'static) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// A field with its qualifier, as `DFSchema` wants it.
pub type QualifiedField = (Option<TableReference>, FieldRef);

/// All fields of a schema with their qualifiers.
pub fn qualified_fields(schema: &DFSchema) -> Vec<QualifiedField> {
    schema.iter().map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect()
}

/// The schema of `input` with more fields behind.
fn extended(input: &LogicalPlan, more: Vec<QualifiedField>) -> datafusion::common::Result<DFSchemaRef> {
    let mut fields = qualified_fields(input.schema());
    fields.extend(more);
    Ok(Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?))
}

/// The columns of an input with `width` columns that pass through, of the wanted output columns.
fn passing(output_columns: &[usize], width: usize) -> Option<Vec<Vec<usize>>> {
    Some(vec![output_columns.iter().copied().filter(|index| *index < width).collect()])
}

/// Takes the one input of a node that is being rebuilt.
fn single(inputs: Vec<LogicalPlan>) -> datafusion::common::Result<Arc<LogicalPlan>> {
    let mut inputs = inputs.into_iter();
    match (inputs.next(), inputs.next()) {
        (Some(input), None) => Ok(Arc::new(input)),
        _ => datafusion::common::internal_err!("a node of one input was given another number of inputs"),
    }
}

/// Nodes are compared for equality only; there is no order among them.
macro_rules! without_order {
    ($node:ty) => {
        impl PartialOrd for $node {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                (self == other).then_some(std::cmp::Ordering::Equal)
            }
        }
    };
}
use without_order;

#[cfg(test)]
mod tests;
