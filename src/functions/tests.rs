//! Replays the expression files of the conformance corpus: parse, bind, evaluate over a row or a table, compare type and
//! value with what Spark gave.
//!
//! In: all files of kind `expr`, of the corpus in this repository or of the folder that `THALWEG_CONFORMANCE` names. The test
//! fails with the list of all checks that differ. The comparison of values is in `crate::conformance`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_expr::create_physical_expr;
use serde_json::Value;

use crate::conf::Conf;
use crate::conformance::{equal, expression_files, value_at};
use crate::session::Session;
use crate::sql::{Scope, bind_expression, parse_expression};
use crate::{Error, Result, types};

/// What checks are evaluated over.
struct Input {
    schema: DFSchema,
    rows: RecordBatch,
}

fn input(file: &Value) -> Result<Input> {
    let Some(table) = file.get("table") else { return one_row() };
    let schema = types::parse_ddl(table["schema"].as_str().unwrap_or_default())?;
    let lines: Vec<&str> = table["json"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let rows = table_rows(&schema, &lines)?;
    Ok(Input { schema: DFSchema::try_from(Schema::clone(&schema))?, rows })
}

fn one_row() -> Result<Input> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    Ok(Input { schema: DFSchema::empty(), rows })
}

fn table_rows(schema: &SchemaRef, lines: &[&str]) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let values: Vec<Value> = lines
                .iter()
                .map(|line| {
                    serde_json::from_str::<Value>(line).map(|row| row.get(field.name()).cloned().unwrap_or_default())
                })
                .collect::<std::result::Result<_, _>>()
                .map_err(|error| Error::internal(error.to_string()))?;
            crate::conformance::column(field.data_type(), &values)
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn settings(file: &Value) -> Conf {
    let mut conf = Conf::default();
    for (key, value) in file["conf"].as_object().into_iter().flatten() {
        conf.set(key, value.as_str().unwrap_or_default());
    }
    conf
}

/// The result's type as Spark names it, and its values.
fn evaluate(text: &str, input: &Input, conf: &Conf) -> Result<(String, Vec<Value>)> {
    let parsed = parse_expression(text)?;
    let scope = Scope::new(&input.schema, conf);
    let expr = bind_expression(&parsed, &scope)?;
    if expr.exists(|part| Ok(needs_plan(part)))? {
        return evaluate_query(text, input, conf);
    }
    let expr = expr.unalias();
    let physical = create_physical_expr(&expr, &input.schema, &ExecutionProps::new(), &Default::default())?;
    let field = physical.return_field(input.rows.schema_ref())?;
    let array = match physical.evaluate(&input.rows)? {
        ColumnarValue::Array(array) => array,
        ColumnarValue::Scalar(scalar) => scalar.to_array_of_size(input.rows.num_rows())?,
    };
    if let Some(fields) = field.metadata().get(super::interval::INTERVAL_FIELDS) {
        let values = (0..array.len()).map(|row| interval(&array, row, fields)).collect::<Result<_>>()?;
        return Ok((format!("interval {fields}"), values));
    }
    let type_name = types::simple_name(array.data_type());
    let values = (0..array.len()).map(|row| value_at(&array, row)).collect::<Result<_>>()?;
    Ok((type_name, values))
}

fn interval(array: &ArrayRef, row: usize, fields: &str) -> Result<Value> {
    let mut text = String::new();
    let known = super::interval::write_text(array, row, fields, &mut text)?;
    Ok(if known { text.into() } else { Value::Null })
}

/// Aggregates, generators and windows are no expressions over a row.
fn needs_plan(expr: &Expr) -> bool {
    let is_aggregate = matches!(expr, Expr::AggregateFunction(_));
    is_aggregate || super::generator::is_generator(expr) || super::window::as_window(expr).is_some()
}

/// The same by way of a query.
fn evaluate_query(text: &str, input: &Input, conf: &Conf) -> Result<(String, Vec<Value>)> {
    let session = conf.iter().fold(Session::builder(), |builder, (key, value)| builder.config(key, value)).create();
    let mut query = format!("SELECT ({text}) AS v");
    if input.rows.num_columns() > 0 {
        let rows = session.create_data_frame(input.rows.schema(), vec![input.rows.clone()])?;
        rows.create_or_replace_temp_view("input")?;
        query.push_str(" FROM input");
    }
    let batches = session.sql(&query)?.collect()?;
    let mut values = Vec::new();
    let mut type_name = String::new();
    for batch in &batches {
        type_name = types::simple_name(batch.column(0).data_type());
        for row in 0..batch.num_rows() {
            values.push(value_at(batch.column(0), row)?);
        }
    }
    Ok((type_name, values))
}

/// Why a check fails; none if it passes.
fn failure(check: &Value, input: &Input, conf: &Conf) -> Option<String> {
    let text = check["expr"].as_str().unwrap_or_default();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| evaluate(text, input, conf)));
    let Ok(result) = result else { return Some("panicked".into()) };
    if let Some(error) = check.get("error") {
        return expected_error(error["condition"].as_str().unwrap_or_default(), result);
    }
    let (type_name, values) = match result {
        Ok(result) => result,
        Err(error) => return Some(format!("{error}")),
    };
    let expected_type = check["type"].as_str().unwrap_or_default();
    if type_name != expected_type {
        return Some(format!("type {type_name} instead of {expected_type}"));
    }
    let expected = match check.get("values").and_then(Value::as_array) {
        Some(values) => values.clone(),
        None => vec![check["value"].clone()],
    };
    let same = values.len() == expected.len() && values.iter().zip(&expected).all(|(a, b)| equal(a, b, &type_name));
    (!same).then(|| format!("{} instead of {}", Value::from(values), Value::from(expected)))
}

fn expected_error(condition: &str, result: Result<(String, Vec<Value>)>) -> Option<String> {
    let is_name = !condition.starts_with("JAVA:") && !condition.starts_with("_LEGACY");
    match result {
        Ok((_, values)) => Some(format!("{} instead of error {condition}", Value::from(values))),
        Err(error) if is_name && error.condition() != Some(condition) => {
            Some(format!("error {error} instead of {condition}"))
        }
        Err(_) => None,
    }
}

/// The checks of a file that differ.
fn replay(file: &Value) -> Vec<String> {
    let (input, conf) = (input(file).expect("the table can be read"), settings(file));
    let name = file["name"].as_str().unwrap_or_default();
    let failed = |check: &Value| {
        let text = check["expr"].as_str().unwrap_or_default();
        failure(check, &input, &conf).map(|why| format!("  {name}: {text}\n    {why}"))
    };
    checks(file).iter().filter_map(failed).collect()
}

fn checks(file: &Value) -> &[Value] {
    file["checks"].as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn expressions_give_what_spark_gives() {
    let files = expression_files().expect("the corpus can be read");
    let failures: Vec<String> = files.iter().flat_map(replay).collect();
    let all: usize = files.iter().map(|file| checks(file).len()).sum();
    println!("expressions: {} passed, {} failed", all - failures.len(), failures.len());
    assert!(failures.is_empty(), "{} of {all} checks differ:\n{}", failures.len(), failures.join("\n"));
}
