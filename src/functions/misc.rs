//! Functions about the query itself: typeof, version, current_user, uuid, monotonically_increasing_id, ...
//!
//! In: mostly nothing. Out: constants fixed when the query is analysed, or (uuid, ids) a new value at every row.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::Int64Array;
use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, lit};

use super::kernel::Kernel;
use super::{Call, Function, function};
use crate::{Result, types};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["typeof"], type_of),
    function(&["version"], |call| text(call, env!("CARGO_PKG_VERSION"))),
    function(&["current_user", "user", "session_user"], current_user),
    function(&["current_catalog"], |call| text(call, "spark_catalog")),
    function(&["current_database", "current_schema"], |call| text(call, "default")),
    function(&["uuid"], uuid),
    function(&["monotonically_increasing_id"], monotonically_increasing_id),
    function(&["spark_partition_id"], spark_partition_id),
];

fn text(mut call: Call<'_>, value: &str) -> Result<Expr> {
    call.values(0..=0)?;
    Ok(lit(value))
}

fn type_of(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(1..=1)?;
    let data_type = args.first().map(|arg| call.type_of(arg)).transpose()?.unwrap_or(DataType::Null);
    Ok(lit(types::simple_name(&data_type)))
}

fn current_user(call: Call<'_>) -> Result<Expr> {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    text(call, name.as_deref().unwrap_or("unknown"))
}

/// Random texts of the same length (`uuid`) or of a given length.
fn uuid(mut call: Call<'_>) -> Result<Expr> {
    call.values(0..=0)?;
    let kernel = Kernel::columns("uuid", DataType::Utf8, |_, rows| {
        let mut buffer = uuid::Uuid::encode_buffer();
        let mut out = arrow::array::StringBuilder::with_capacity(rows, rows * 36);
        (0..rows).for_each(|_| out.append_value(uuid::Uuid::new_v4().hyphenated().encode_lower(&mut buffer)));
        Ok(Arc::new(out.finish()))
    });
    Ok(kernel.volatile().call(Vec::new()))
}

/// Counts rows from 0; every call in a query counts for itself.
fn monotonically_increasing_id(mut call: Call<'_>) -> Result<Expr> {
    call.values(0..=0)?;
    let next = AtomicI64::new(0);
    let kernel = Kernel::columns("monotonically_increasing_id", DataType::Int64, move |_, rows| {
        let first = next.fetch_add(rows as i64, Ordering::Relaxed);
        Ok(Arc::new(Int64Array::from_iter_values(first..first + rows as i64)))
    });
    Ok(kernel.volatile().call(Vec::new()))
}

fn spark_partition_id(mut call: Call<'_>) -> Result<Expr> {
    call.values(0..=0)?;
    Ok(lit(0i32))
}
