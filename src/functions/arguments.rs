//! What the binders of functions share: coercing arguments, asking for constants, compiling constant arguments once.
//!
//! In: a call as written. Out: argument expressions of exactly the types a kernel expects. A constant is an expression
//! without columns whose value never changes; it is evaluated here, when the query is analysed.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarUDF};
use datafusion::physical_expr::create_physical_expr;

use super::{Arg, Call, coerce};
use crate::{Error, Result};

/// All arguments, implicitly cast to `types` (the last of them counts for all further arguments).
///
/// # Errors
/// `WRONG_NUM_ARGS.WITHOUT_SUGGESTION`, `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`.
pub fn coerced(call: &mut Call<'_>, count: RangeInclusive<usize>, types: &[DataType]) -> Result<Vec<Expr>> {
    let args = call.values(count)?;
    let types = types.iter().chain(std::iter::repeat(types.last().unwrap_or(&DataType::Utf8)));
    args.into_iter().zip(types).map(|(arg, to)| coerce::implicit(arg, to, call.schema, call.conf)).collect()
}

/// The arguments of a call whose number was checked, as an array.
///
/// # Errors
/// An internal error if there are not `N`.
pub fn fixed<const N: usize>(args: Vec<Expr>) -> Result<[Expr; N]> {
    args.try_into().map_err(|_| Error::internal("a function got another number of arguments than it checked"))
}

/// The type of argument `i`, if there is such an argument.
pub fn argument_type(call: &Call<'_>, i: usize) -> Result<Option<DataType>> {
    match call.args.get(i) {
        Some(Arg::Value(expr)) => call.type_of(expr).map(Some),
        _ => Ok(None),
    }
}

/// True if argument `i` is BINARY.
pub fn is_binary(call: &Call<'_>, i: usize) -> Result<bool> {
    Ok(argument_type(call, i)? == Some(DataType::Binary))
}

/// A function of DataFusion's whose results are Spark's, over arguments of exactly these types.
pub fn reuse(mut call: Call<'_>, function: Arc<ScalarUDF>, types: &[DataType]) -> Result<Expr> {
    let args = coerced(&mut call, types.len()..=types.len(), types)?;
    Ok(function.call(args))
}

/// The value of an expression that is the same for all rows; `None` if it is not constant.
pub fn constant(expr: &Expr) -> Result<Option<ScalarValue>> {
    if let Expr::Literal(value, _) = expr {
        return Ok(Some(value.clone()));
    }
    if expr.any_column_refs() || expr.is_volatile() {
        return Ok(None);
    }
    let physical =
        create_physical_expr(expr, &DFSchema::empty(), &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options)?;
    match physical.evaluate(&row)? {
        ColumnarValue::Scalar(value) => Ok(Some(value)),
        ColumnarValue::Array(array) => Ok(Some(ScalarValue::try_from_array(&array, 0)?)),
    }
}

/// The text of a constant STRING expression, `None` inside if it is null.
///
/// # Errors
/// `DATATYPE_MISMATCH.NON_FOLDABLE_INPUT` if the expression is not constant.
pub fn constant_text(call: &Call<'_>, expr: &Expr, what: &str) -> Result<Option<String>> {
    match constant(expr)? {
        Some(ScalarValue::Utf8(text)) => Ok(text),
        Some(ScalarValue::Null) => Ok(None),
        _ => Err(not_foldable(call, what)),
    }
}

/// `DATATYPE_MISMATCH.NON_FOLDABLE_INPUT`: the argument called `what` must be constant.
pub fn not_foldable(call: &Call<'_>, what: &str) -> Error {
    let message = format!("argument '{what}' of function '{}' must be a constant", call.name);
    Error::query("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", message)
}

/// The pairs of a constant MAP<STRING, STRING>, for the options of `from_json` and its kin.
///
/// # Errors
/// `INVALID_OPTIONS.NON_MAP_FUNCTION` if it is no such map, `INVALID_OPTIONS.NON_STRING_TYPE` if it is a map of other types.
pub fn constant_options(expr: &Expr) -> Result<Vec<(String, String)>> {
    let Some(ScalarValue::Map(map)) = constant(expr)? else {
        return Err(Error::query("INVALID_OPTIONS.NON_MAP_FUNCTION", "options must be given by the function 'map()'"));
    };
    let (Some(keys), Some(values)) = (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>()) else {
        return Err(Error::query("INVALID_OPTIONS.NON_STRING_TYPE", "options must map texts to texts"));
    };
    let pairs = (0..keys.len()).filter(|&i| !values.is_null(i));
    Ok(pairs.map(|i| (keys.value(i).to_string(), values.value(i).to_string())).collect())
}

type Compile<T> = Arc<dyn Fn(&[&str]) -> Result<T> + Send + Sync>;

/// Some text arguments in compiled form (patterns, formats, dictionaries).
///
/// Constants are compiled when the function is bound; others whenever the text changes from one row to the next.
pub struct Compiled<T> {
    ready: Option<(Vec<String>, Arc<T>)>,
    compile: Compile<T>,
}

impl<T> Compiled<T> {
    /// Compiles `args` now if all of them are constants and not null.
    ///
    /// # Errors
    /// What `compile` says about the constants.
    pub fn new(args: &[&Expr], compile: impl Fn(&[&str]) -> Result<T> + Send + Sync + 'static) -> Result<Self> {
        let mut texts = Vec::with_capacity(args.len());
        for arg in args {
            if let Some(ScalarValue::Utf8(Some(text))) = constant(arg)? {
                texts.push(text);
            }
        }
        let mut ready = None;
        if texts.len() == args.len() {
            let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
            let value = compile(&borrowed)?;
            ready = Some((texts, Arc::new(value)));
        }
        Ok(Compiled { ready, compile: Arc::new(compile) })
    }

    /// The state of one pass over a column.
    pub fn start(&self) -> Current<T> {
        Current { last: self.ready.clone(), compile: Arc::clone(&self.compile) }
    }
}

impl<T> Clone for Compiled<T> {
    fn clone(&self) -> Self {
        Compiled { ready: self.ready.clone(), compile: Arc::clone(&self.compile) }
    }
}

/// What was compiled last in a pass over a column.
pub struct Current<T> {
    last: Option<(Vec<String>, Arc<T>)>,
    compile: Compile<T>,
}

impl<T> Current<T> {
    /// The compiled form of `texts`.
    pub fn get(&mut self, texts: &[&str]) -> Result<&T> {
        if self.last.as_ref().is_none_or(|(last, _)| last != texts) {
            let value = (self.compile)(texts)?;
            self.last = Some((texts.iter().map(|text| text.to_string()).collect(), Arc::new(value)));
        }
        let (_, value) = self.last.as_ref().expect("the line above filled it");
        Ok(value)
    }
}
