//! The nodes keep their schema rules when DataFusion rebuilds and optimizes around them.

use arrow::datatypes::Schema;
use datafusion::common::Column;
use datafusion::logical_expr::{LogicalPlanBuilder, col, logical_plan::builder::table_source};
use datafusion::optimizer::{Optimizer, OptimizerContext};

use super::*;

fn events() -> Arc<LogicalPlan> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = [("ts", time), ("k", DataType::Utf8), ("v", DataType::Int64)];
    let fields: Vec<_> = fields.map(|(name, kind)| Field::new(name, kind, true)).into();
    let source = table_source(&Schema::new(fields));
    Arc::new(LogicalPlanBuilder::scan("events", source, None).unwrap().build().unwrap())
}

fn marked() -> LogicalPlan {
    extension(Watermark::try_new(events(), Column::new(Some("events"), "ts"), 5_000_000).unwrap())
}

#[test]
fn a_watermark_survives_renaming() {
    let plan = LogicalPlanBuilder::new(marked()).project([col("events.ts").alias("t")]).unwrap().build().unwrap();
    assert_eq!(watermark_delay_millis(plan.schema().field(0)), Some(5000));
}

#[test]
fn an_expression_loses_the_watermark() {
    let later = col("events.ts").is_null();
    let plan = LogicalPlanBuilder::new(marked()).project([later]).unwrap().build().unwrap();
    assert_eq!(event_time_index(plan.schema()), None);
}

#[test]
fn pruning_keeps_the_event_time_and_the_keys() {
    let dedup = Deduplicate {
        input: Arc::new(marked()),
        columns: vec![Column::new(Some("events"), "k")],
        within_watermark: false,
    };
    let plan = LogicalPlanBuilder::new(extension(dedup)).project([col("events.k")]).unwrap().build().unwrap();
    let optimized = Optimizer::new().optimize(plan, &OptimizerContext::new(), |_, _| {}).unwrap();
    let text = optimized.display_indent().to_string();
    assert!(text.contains("TableScan: events projection=[ts, k]"), "{text}");
}

#[test]
fn a_window_column_comes_last() {
    let field = Arc::new(Field::new("window", window_type(), true));
    let windows = Windows { length: 10, slide: 10, start: 0 };
    let node = TimeWindow::try_new(events(), col("events.ts"), windows, None, field).unwrap();
    let names: Vec<_> = extension(node).schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["ts", "k", "v", "window"]);
}
