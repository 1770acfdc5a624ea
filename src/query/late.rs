//! The branch of a query that gets its late rows: `late_rows()` of the writer.
//!
//! In: what the writer asked for. Out: the query's plan with taps, the branch's plan, and its sink. Both sinks belong to one
//! query: an epoch is committed when both have its rows.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::LogicalPlan;

use super::execution::OutletPlan;
use super::start::{Outlet, StartRequest, check_mode};
use super::writer::DataStreamWriter;
use crate::frame::DataFrame;
use crate::functions::datetime::now::{self, BatchTime};
use crate::plan::dataflow::DataflowPlan;
use crate::plan::optimize::{self, Joins};
use crate::plan::{check, late, lower};
use crate::sinks;
use crate::{Error, Result};

/// Says what becomes of late rows: from a DataFrame of them to a writer that has not been started.
#[derive(Clone)]
pub struct LateWriter(Arc<dyn Fn(DataFrame) -> Result<DataStreamWriter> + Send + Sync>);

impl LateWriter {
    /// A function from the DataFrame of late rows to its writer.
    pub fn new(write: impl Fn(DataFrame) -> Result<DataStreamWriter> + Send + Sync + 'static) -> Self {
        LateWriter(Arc::new(write))
    }
}

/// A planned branch.
pub(super) struct LateBranch {
    /// The query's plan with taps.
    pub plan: LogicalPlan,
    /// The columns of late rows.
    schema: SchemaRef,
    /// The branch's plan.
    branch: LogicalPlan,
    /// Its sink.
    pub outlet: Outlet,
}

impl LateBranch {
    /// Asks the writer, and checks what it says.
    ///
    /// # Errors
    /// If nothing drops late rows, the branch is not legal, or its writer has settings that belong to the query.
    pub fn plan(request: &StartRequest, write: &LateWriter) -> Result<Self> {
        let tapped = late::tap(&request.plan, request.mode)?;
        let rows = DataFrame::new(request.session.clone(), late::scan(&tapped.schema)?);
        let asked = write.0(rows)?.late_parts()?;
        let provider = sinks::lookup(&asked.sink.format)?;
        check::check(&asked.plan, asked.mode, check::Rules::of(&request.conf)?)?;
        check_mode(provider, asked.mode)?;
        let schema = lower::arrow_schema(asked.plan.schema());
        let plan = OutletPlan { schema, mode: asked.mode, name: asked.name, guarantee: provider.guarantee() };
        let outlet = Outlet { provider, spec: asked.sink, plan };
        Ok(LateBranch { plan: tapped.plan, schema: tapped.schema, branch: asked.plan, outlet })
    }

    /// Lowers the query's optimized plan together with the branch.
    ///
    /// # Errors
    /// As [`lower::lower`].
    pub fn lower(&self, optimized: &LogicalPlan, wanted: lower::Wanted, time: &BatchTime) -> Result<DataflowPlan> {
        let branch = now::fix(optimize::optimize(self.branch.clone(), self.outlet.plan.mode, Joins::AsWritten)?, time)?;
        lower::lower_with_late(optimized, wanted, self.schema.clone(), &branch, self.outlet.plan.mode)
    }
}

/// The error for a setting that a writer of late rows cannot have.
pub(super) fn belongs_to_the_query(setting: &str) -> Error {
    Error::invalid(format!("the writer of late rows has {setting}, which belongs to the query"))
        .hint("Set it on the writer of the results.")
}
