//! Bound aggregates run by DataFusion: groups, distinct, filters, windows, several partitions; and the way back.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Int64Type, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{WindowFrame, WindowFunctionDefinition, when};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext, col};

use super::*;

fn columns() -> Schema {
    Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("v", DataType::Int64, true),
        Field::new("d", DataType::Float64, true),
    ])
}

fn part(keys: &[Option<&str>], values: &[Option<i64>]) -> RecordBatch {
    let doubles = Float64Array::from_iter(values.iter().map(|value| value.map(|value| value as f64 / 2.0)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(keys.to_vec())),
        Arc::new(Int64Array::from(values.to_vec())),
        Arc::new(doubles),
    ];
    RecordBatch::try_new(Arc::new(self::columns()), columns).unwrap()
}

/// a: 1, 3, 3; b: 2, null; null: 4; in two partitions.
fn table() -> DataFrame {
    let first = part(&[Some("a"), Some("b"), None], &[Some(1), Some(2), Some(4)]);
    let second = part(&[Some("a"), Some("b"), Some("a")], &[Some(3), None, Some(3)]);
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let table =
        datafusion::datasource::MemTable::try_new(Arc::new(columns()), vec![vec![first], vec![second]]).unwrap();
    context.read_table(Arc::new(table)).unwrap()
}

fn schema() -> DFSchema {
    DFSchema::try_from(columns()).unwrap()
}

fn try_call(name: &str, args: Vec<Expr>, change: impl FnOnce(&mut Call<'_>)) -> Result<Option<Expr>> {
    let (schema, conf) = (schema(), Conf::default());
    let mut call = Call {
        name,
        args,
        distinct: false,
        filter: None,
        ignore_nulls: false,
        order_by: Vec::new(),
        schema: &schema,
        conf: &conf,
    };
    change(&mut call);
    bind(call)
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    try_call(name, args, |_| ()).unwrap().unwrap()
}

/// The rows in order of their first columns, one line a row.
async fn print(frame: DataFrame) -> Vec<String> {
    let text = pretty_format_batches(&frame.collect().await.unwrap()).unwrap().to_string();
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ").trim().to_string();
    let mut rows: Vec<String> = text.lines().filter(|line| line.starts_with('|')).skip(1).map(cells).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn grouped() {
    let aggregates = vec![
        call("count", vec![lit(1)]).alias("n"),
        call("count", vec![col("v")]).alias("c"),
        call("sum", vec![col("v")]).alias("s"),
        call("max", vec![col("d")]).alias("m"),
        call("median", vec![col("d")]).alias("p"),
    ];
    let frame = table().aggregate(vec![col("k")], aggregates).unwrap();
    assert_eq!(print(frame).await, ["1 1 4 2.0 2.0", "a 3 3 7 1.5 1.5", "b 2 1 2 1.0 1.0"]);
}

#[tokio::test]
async fn without_groups_and_rows() {
    let aggregates = || {
        vec![
            call("count", vec![]).alias("n"),
            call("sum", vec![col("v")]).alias("s"),
            call("collect_list", vec![col("v")]).alias("l"),
        ]
    };
    let nothing = table().filter(col("v").gt(lit(100i64))).unwrap().aggregate(vec![], aggregates()).unwrap();
    assert_eq!(print(nothing).await, ["0  []"]);
    let all = table().aggregate(vec![], aggregates()[..2].to_vec()).unwrap();
    assert_eq!(print(all).await, ["6 13"]);
}

#[tokio::test]
async fn distinct_and_filtered() {
    let distinct = try_call("count", vec![col("v")], |call| call.distinct = true).unwrap().unwrap();
    let some = try_call("sum", vec![col("v")], |call| call.filter = Some(col("v").gt(lit(1i64)))).unwrap().unwrap();
    let plain = call("sum", vec![col("v")]);
    let frame = table().aggregate(vec![col("k")], vec![distinct, some, plain]).unwrap();
    assert_eq!(print(frame).await, ["1 4 4", "a 2 6 7", "b 1 2 2"]);
}

#[tokio::test]
async fn same_column_with_other_constants() {
    let [low, high] = [0.0, 1.0].map(|percentage| call("percentile", vec![col("d"), lit(percentage)]));
    let frame = table().aggregate(vec![], vec![low, high]).unwrap();
    assert_eq!(print(frame).await, ["0.5 2.0"]);
}

#[tokio::test]
async fn over_sliding_windows() {
    let Expr::AggregateFunction(aggregate) = call("sum", vec![col("v")]) else { panic!("not an aggregate") };
    let bound = |rows| datafusion::logical_expr::WindowFrameBound::Preceding(ScalarValue::UInt64(Some(rows)));
    let units = datafusion::logical_expr::WindowFrameUnits::Rows;
    let params = WindowFunctionParams {
        args: aggregate.params.args,
        partition_by: vec![],
        order_by: vec![col("v").sort(true, true)],
        window_frame: WindowFrame::new_bounds(units, bound(1), datafusion::logical_expr::WindowFrameBound::CurrentRow),
        filter: None,
        null_treatment: None,
        distinct: false,
    };
    let window = Expr::from(WindowFunction { fun: WindowFunctionDefinition::AggregateUDF(aggregate.func), params });
    let frame = table().select(vec![col("v"), window.alias("s")]).unwrap();
    assert_eq!(print(frame).await, ["", "1 1", "2 3", "3 5", "3 6", "4 7"]);
}

#[test]
fn the_way_back_to_the_factory() {
    let filter = when(col("v").is_null(), lit(false)).otherwise(lit(true)).unwrap();
    let bound = try_call("avg", vec![col("d")], |call| call.filter = Some(filter.clone())).unwrap().unwrap();
    let found = as_stream_aggregate(&bound.alias("x")).unwrap();
    assert_eq!(
        (found.function.name(), found.args, found.filter, found.distinct),
        ("avg", vec![col("d")], Some(filter), false)
    );
    let star = as_stream_aggregate(&call("count", vec![lit(1)])).unwrap();
    assert!(star.args.is_empty());
    assert!(as_stream_aggregate(&col("v")).is_none());
}

#[test]
fn rewritten_names_are_bound() {
    assert!(REWRITTEN.iter().all(|name| names().any(|known| known == *name)));
    let key = col("d").sort(false, false);
    let down = try_call("percentile_cont", vec![lit(0.25)], |call| call.order_by.push(key)).unwrap().unwrap();
    let found = as_stream_aggregate(&down).unwrap();
    assert_eq!((found.function.name(), found.args), ("percentile", vec![col("d")]));
    assert!(matches!(call("grouping", vec![col("k")]), Expr::Cast(_)));
}

#[test]
fn what_is_wrong_has_sparks_condition() {
    let condition = |name: &str, args: Vec<Expr>| {
        try_call(name, args, |_| ()).unwrap_err().condition().unwrap_or_default().to_string()
    };
    assert!(try_call("upper", vec![col("k")], |_| ()).unwrap().is_none());
    assert_eq!(condition("sum", vec![]), "WRONG_NUM_ARGS.WITHOUT_SUGGESTION");
    assert_eq!(condition("sum", vec![col("v").is_null()]), "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE");
    assert_eq!(condition("percentile", vec![col("d"), col("d")]), "DATATYPE_MISMATCH.NON_FOLDABLE_INPUT");
    assert_eq!(condition("percentile", vec![col("d"), lit(2.0)]), "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE");
    let filter = try_call("sum", vec![col("v")], |call| call.filter = Some(col("v"))).unwrap_err();
    assert_eq!(filter.condition(), Some("INVALID_AGGREGATE_FILTER.NOT_BOOLEAN"));
}

/// The longest run of rising values would need order; the product does not.
struct Product;

impl Aggregator for Product {
    type Buffer = Option<i64>;

    fn name(&self) -> &str {
        "product"
    }

    fn argument_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn return_type(&self) -> DataType {
        DataType::Int64
    }

    fn reduce(&self, buffer: &mut Option<i64>, args: &[ArrayRef], row: usize) -> Result<()> {
        let column = args[0].as_primitive::<Int64Type>();
        if !arrow::array::Array::is_null(column, row) {
            *buffer = Some(buffer.unwrap_or(1) * column.value(row));
        }
        Ok(())
    }

    fn merge(&self, buffer: &mut Option<i64>, other: Option<i64>) -> Result<()> {
        *buffer = match (*buffer, other) {
            (Some(one), Some(two)) => Some(one * two),
            (one, two) => one.or(two),
        };
        Ok(())
    }

    fn finish(&self, buffer: &Option<i64>) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(*buffer))
    }
}

#[tokio::test]
async fn functions_of_users() {
    let (schema, conf) = (schema(), Conf::default());
    let call = Call {
        name: "product",
        args: vec![col("v")],
        distinct: false,
        filter: None,
        ignore_nulls: false,
        order_by: Vec::new(),
        schema: &schema,
        conf: &conf,
    };
    let product = bind_user(aggregator(Product), call).unwrap();
    let frame = table().aggregate(vec![col("k")], vec![product]).unwrap();
    assert_eq!(
        print(frame).await,
        ["4", "a 9", "b 2"].map(String::from).map(|row| if row == "4" { "4".into() } else { row })
    );
}
