//! Functions that users of the library write and call by name: scalar functions over whole columns, and aggregates.
//!
//! In: a name, types and a closure, registered in a session ([`UserFunctions`]). Out: an expression, when SQL or a column calls
//! the name. What always holds: arguments arrive with the declared types (by Spark's implicit casts); a result of another type
//! or length, an error and a panic are errors of the query.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use thalweg_operators::aggregate::UserAggregate;

use super::Call;
use crate::functions::coerce::type_name;
use crate::sinks::guarded;
use crate::{Error, Result, types};

const CONDITION: &str = "FAILED_EXECUTE_UDF";

type Run = dyn Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync;

/// A scalar function of the program, over whole columns.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow::{array::{ArrayRef, AsArray, Int64Array}, datatypes::Int64Type};
/// use thalweg::prelude::*;
/// let session = Session::builder().create();
/// let double = |columns: &[ArrayRef]| {
///     let doubled: Int64Array = columns[0].as_primitive::<Int64Type>().unary(|n| n * 2);
///     Ok(Arc::new(doubled) as ArrayRef)
/// };
/// session.register_udf("double", ["BIGINT"], "BIGINT", double)?;
/// let rows = session.sql("SELECT double(21) AS n")?.show_string(1, 0)?;
/// assert!(rows.contains("42"));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct UserFunction {
    name: String,
    arguments: Vec<DataType>,
    returns: FieldRef,
    signature: Signature,
    run: Arc<Run>,
}

impl UserFunction {
    /// A function of columns of these types (`BIGINT`, `ARRAY<STRING>`, ...), all of the same length, which gives a column of
    /// that length. Equal arguments are taken to give equal results.
    ///
    /// # Errors
    /// `PARSE_SYNTAX_ERROR`, `UNSUPPORTED_DATATYPE`.
    pub fn new<'a>(
        name: &str,
        arguments: impl IntoIterator<Item = &'a str>,
        returns: &str,
        run: impl Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync + 'static,
    ) -> Result<Self> {
        Ok(UserFunction {
            name: name.to_owned(),
            arguments: arguments.into_iter().map(types::parse_type).collect::<Result<_>>()?,
            returns: Arc::new(Field::new(name, types::parse_type(returns)?, true)),
            signature: Signature::user_defined(Volatility::Immutable),
            run: Arc::new(run),
        })
    }

    /// Says that equal arguments may give different results, so that no call is saved or folded.
    #[must_use]
    pub fn nondeterministic(mut self) -> Self {
        self.signature = Signature::user_defined(Volatility::Volatile);
        self
    }

    /// The name it was made under.
    pub fn function_name(&self) -> &str {
        &self.name
    }

    /// A call of it, its arguments cast to the declared types.
    ///
    /// # Errors
    /// `WRONG_NUM_ARGS.WITHOUT_SUGGESTION`, `DATATYPE_MISMATCH.*`.
    pub(crate) fn bind(&self, mut call: Call<'_>) -> Result<Expr> {
        let count = self.arguments.len();
        let args = call.values(count..=count)?.into_iter().zip(&self.arguments);
        let args = args.map(|(arg, to)| call.implicit(arg, to)).collect::<Result<_>>()?;
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(self.clone())), args)))
    }

    /// True if `expr` is a call of a function of the program, which may fail.
    pub(crate) fn is_call(expr: &Expr) -> bool {
        let Expr::ScalarFunction(call) = expr else { return false };
        (call.func.inner().as_ref() as &dyn std::any::Any).is::<UserFunction>()
    }

    fn apply(&self, columns: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let place = format!("function '{}'", self.name);
        let made = guarded(CONDITION, &place, || (self.run)(columns))?;
        if made.len() != rows {
            let message = format!("the function made {} values for {rows} rows", made.len());
            return Err(Error::data(CONDITION, message).at(place));
        }
        if made.data_type() != self.returns.data_type() {
            let (given, wanted) = (type_name(made.data_type()), type_name(self.returns.data_type()));
            return Err(Error::data(CONDITION, format!("the function made {given}, not {wanted}")).at(place));
        }
        Ok(made)
    }
}

impl fmt::Debug for UserFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?}) -> {}", self.name, self.arguments, self.returns.data_type())
    }
}

impl PartialEq for UserFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.run, &other.run)
    }
}

impl Eq for UserFunction {}

impl Hash for UserFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        Arc::as_ptr(&self.run).cast::<()>().hash(state);
    }
}

impl ScalarUDFImpl for UserFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, args: &[Expr]) -> PlanResult<String> {
        let args: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(format!("{}({})", self.name, args.join(",")))
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(self.returns.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> PlanResult<FieldRef> {
        Ok(Arc::clone(&self.returns))
    }

    fn coerce_types(&self, types: &[DataType]) -> PlanResult<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let volatile = self.signature.volatility == Volatility::Volatile;
        let constant = !volatile
            && !args.args.is_empty()
            && args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|value| value.to_array(rows)).collect::<PlanResult<Vec<_>>>()?;
        let made = self.apply(&columns, rows)?;
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?)),
            false => Ok(ColumnarValue::Array(made)),
        }
    }
}

/// What a name stands for.
#[derive(Clone)]
pub(crate) enum Registered {
    /// A scalar function.
    Scalar(UserFunction),
    /// An aggregate function.
    Aggregate(Arc<dyn UserAggregate>),
}

/// The functions that a session's program registered, by name in any case. A name given again stands for the new function; a
/// name of a built-in function hides that, as in Spark.
#[derive(Default)]
pub struct UserFunctions {
    registered: RwLock<BTreeMap<String, Registered>>,
}

impl UserFunctions {
    pub(crate) fn register(&self, name: &str, function: Registered) {
        self.registered.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_lowercase(), function);
    }

    pub(crate) fn get(&self, name: &str) -> Option<Registered> {
        self.registered.read().unwrap_or_else(PoisonError::into_inner).get(&name.to_lowercase()).cloned()
    }

    /// The names, sorted, in lower case.
    pub fn names(&self) -> Vec<String> {
        self.registered.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}
