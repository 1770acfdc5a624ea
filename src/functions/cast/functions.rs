//! Casts spelled as calls: `int('7')`, `string(1.0)`, `double('NaN')`.

use arrow::datatypes::DataType;

use crate::functions::{Call, Function, function};
use crate::{Result, types};

/// The functions of this family.
pub const FUNCTIONS: &[Function] = &[
    function(&["boolean"], |call| to(call, DataType::Boolean)),
    function(&["tinyint"], |call| to(call, DataType::Int8)),
    function(&["smallint"], |call| to(call, DataType::Int16)),
    function(&["int"], |call| to(call, DataType::Int32)),
    function(&["bigint"], |call| to(call, DataType::Int64)),
    function(&["float"], |call| to(call, DataType::Float32)),
    function(&["double"], |call| to(call, DataType::Float64)),
    function(&["decimal"], |call| to(call, DataType::Decimal128(10, 0))),
    function(&["string"], |call| to(call, DataType::Utf8)),
    function(&["binary"], |call| to(call, DataType::Binary)),
    function(&["date"], |call| to(call, DataType::Date32)),
    function(&["timestamp"], |call| to(call, types::timestamp())),
];

fn to(mut call: Call<'_>, data_type: DataType) -> Result<datafusion::logical_expr::Expr> {
    let [value] = call.exactly()?;
    call.cast(value, &data_type)
}
