//! Readers and writers: what the user says about a source or a sink becomes a description.
//!
//! In: format, options, schema, path. Out: a plan over a described source, or rows handed to a sink. Readers open
//! nothing but what is needed to know the schema.

mod reader;
mod writer;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;

pub use reader::{DataFrameReader, DataStreamReader, IntoSchema};
pub use writer::{DataFrameWriter, SaveMode};

use crate::Result;
use crate::conf::Conf;
use crate::plan::scan::ScanTable;
use crate::sources::{self, SourceSpec};

/// A plan that reads the described source.
pub(crate) fn plan(name: &str, spec: SourceSpec, conf: &Conf) -> Result<LogicalPlan> {
    let schema = nullable(&sources::lookup(&spec.format)?.schema(&spec, conf)?);
    Ok(ScanTable { name: name.to_string(), source: Arc::new(spec), schema }.into_plan()?)
}

/// True if the source can be read by a static query.
pub(crate) fn can_batch(spec: &SourceSpec) -> Result<bool> {
    Ok(sources::lookup(&spec.format)?.batch())
}

/// The schema with all columns nullable, as Spark reads every source.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}
