//! The leaf of every plan: a described source, static or streaming, as a table of DataFusion.
//!
//! In: format, options and schema as the user gave them ([`SourceSpec`]) and the schema that the source has. Out: a
//! `LogicalPlan::TableScan` over a [`ScanTable`]. Nothing is opened here; a static scan is read when DataFusion runs it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, TableReference};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableScan, TableType,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

use super::pushdown;
use crate::sources::predicate::Predicate;
use crate::sources::{self, SourceSpec};

/// A source with its schema: what a scan reads.
#[derive(Debug, Clone)]
pub struct ScanTable {
    /// What the plan and error messages call it.
    pub name: String,
    /// The description.
    pub source: Arc<SourceSpec>,
    /// The columns it gives.
    pub schema: SchemaRef,
}

impl ScanTable {
    /// What these conditions say of single columns, for the source.
    pub(crate) fn predicates(&self, filters: &[Expr]) -> Vec<Predicate> {
        filters.iter().filter_map(|filter| pushdown::predicate(filter, &self.schema)).collect()
    }

    /// True if it never ends.
    pub fn is_streaming(&self) -> bool {
        self.source.streaming
    }

    /// A plan that reads this table; its columns are qualified with the table's name.
    ///
    /// # Errors
    /// If the schema has two columns of one name.
    pub fn into_plan(self) -> Result<LogicalPlan> {
        let name = TableReference::bare(self.name.clone());
        LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(self)), None)?.build()
    }
}

#[async_trait]
impl TableProvider for ScanTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        super::batch::scan::plan_scan(self, state, projection, filters)
    }

    /// Conditions go to sources that can use them; the query checks the rows again all the same.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let provider = sources::lookup(&self.source.format).ok();
        let uses = provider.is_some_and(|provider| provider.uses_filters());
        let one = |filter: &&Expr| match uses && pushdown::predicate(filter, &self.schema).is_some() {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(one).collect())
    }
}

/// A static table of numbers `id`: from `start` up to but without `end`, in steps.
///
/// # Errors
/// If the step is 0.
pub fn range(start: i64, end: i64, step: i64) -> Result<LogicalPlan> {
    use datafusion::functions_table::generate_series::RangeFunc;
    let arguments = [start, end, step].map(datafusion::logical_expr::lit);
    let table = RangeFunc {}.call_with_args(TableFunctionArgs::new(&arguments, &SessionContext::new().state()))?;
    let scan = LogicalPlanBuilder::scan("range", provider_as_source(table), None)?;
    scan.project([datafusion::logical_expr::col("range.value").alias("id")])?.build()
}

/// A static table of rows held in memory.
///
/// # Errors
/// If the batches do not have the schema.
pub fn rows(name: &str, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<LogicalPlan> {
    rows_of(TableReference::bare(name), schema, batches)
}

/// As [`rows`], for a table that has a name already.
///
/// # Errors
/// As [`rows`].
pub fn rows_of(name: TableReference, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<LogicalPlan> {
    let table = MemTable::try_new(schema, vec![batches])?;
    LogicalPlanBuilder::scan(name, provider_as_source(Arc::new(table)), None)?.build()
}

/// The source below a scan node; none if the scan reads something else (rows held in memory).
pub fn scanned(scan: &TableScan) -> Option<ScanTable> {
    let provider = source_as_provider(&scan.source).ok()?;
    let table: &dyn std::any::Any = provider.as_ref();
    table.downcast_ref::<ScanTable>().cloned()
}

/// True if some scan of the plan (also in its subqueries) never ends.
pub fn is_streaming(plan: &LogicalPlan) -> bool {
    let mut streaming = false;
    let visited = plan.apply_with_subqueries(|node| {
        streaming |=
            matches!(node, LogicalPlan::TableScan(scan) if scanned(scan).is_some_and(|table| table.is_streaming()));
        Ok(if streaming { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    streaming && visited.is_ok()
}
