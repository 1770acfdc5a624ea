//! Scalar functions of our own: a vectorized closure with a fixed result type, wrapped as a DataFusion expression.
//!
//! In come the bound arguments (of exactly the types the closure expects), out goes an `Expr::ScalarFunction`.
//! Two calls are the same expression if name, key and result type agree and the arguments do, so whatever parameter
//! a closure captures must be part of `key`. A closure never panics on data and does no work per row that it can do
//! per array.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use smallvec::SmallVec;

use super::single::{Single, Value};
use super::user::UserFunction;
use crate::{Error, Result};

type Run = dyn Fn(&Arguments, usize) -> Result<ArrayRef> + Send + Sync;
type Part = dyn Fn(&str) -> Option<Kernel> + Send + Sync;
type Element = dyn Fn(usize, bool) -> Option<Kernel> + Send + Sync;

/// A scalar function under construction; [`Kernel::call`] makes the expression.
#[derive(Clone)]
pub struct Kernel {
    name: &'static str,
    key: String,
    result: FieldRef,
    signature: Signature,
    lazy: bool,
    fallible: bool,
    run: Arc<Run>,
    part: Option<Arc<Part>>,
    element: Option<Arc<Element>>,
    single: Option<Arc<Single>>,
}

/// The arguments of one invocation: each has a value for each row, or one that stands for all rows. A few take no memory of the heap.
#[derive(Debug, Default)]
pub struct Arguments {
    arrays: SmallVec<[ArrayRef; 4]>,
    constant: SmallVec<[bool; 8]>,
}

impl Arguments {
    /// Values that DataFusion has computed.
    ///
    /// # Errors
    /// A constant that has no array.
    pub fn of(values: impl IntoIterator<Item = ColumnarValue>) -> PlanResult<Self> {
        let mut arguments = Arguments::default();
        values.into_iter().try_for_each(|value| arguments.push(value))?;
        Ok(arguments)
    }

    /// Adds a value that DataFusion has computed.
    ///
    /// # Errors
    /// A constant that has no array.
    pub fn push(&mut self, value: ColumnarValue) -> PlanResult<()> {
        let (array, constant) = match value {
            ColumnarValue::Array(array) => (array, false),
            ColumnarValue::Scalar(value) => (value.to_array()?, true),
        };
        self.arrays.push(array);
        self.constant.push(constant);
        Ok(())
    }

    /// Adds one row that stands for all.
    pub fn push_constant(&mut self, value: ArrayRef) {
        self.arrays.push(value);
        self.constant.push(true);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.arrays.len()
    }

    /// Argument `i`: its values, and whether there is one for all rows.
    pub fn get(&self, i: usize) -> (&ArrayRef, bool) {
        (&self.arrays[i], self.constant[i])
    }

    /// Whether there are arguments and each has one value for all rows.
    pub fn all_constant(&self) -> bool {
        !self.constant.is_empty() && self.constant.iter().all(|constant| *constant)
    }

    /// Argument `i` with a value for each of `rows` rows.
    ///
    /// # Errors
    /// A constant that cannot be repeated.
    pub fn of_each(&self, i: usize, rows: usize) -> Result<ArrayRef> {
        let (array, constant) = self.get(i);
        match constant && rows != 1 {
            true => Ok(ScalarValue::try_from_array(array, 0)?.to_array_of_size(rows)?),
            false => Ok(array.clone()),
        }
    }

    /// All with a value for each of `rows` rows.
    ///
    /// # Errors
    /// A constant that cannot be repeated.
    pub fn columns(&self, rows: usize) -> Result<Cow<'_, [ArrayRef]>> {
        if rows == 1 || !self.constant.contains(&true) {
            return Ok(Cow::Borrowed(&self.arrays));
        }
        (0..self.count()).map(|i| self.of_each(i, rows)).collect::<Result<Vec<_>>>().map(Cow::Owned)
    }
}

impl Kernel {
    /// A function over whole arrays, all of the same length. If every argument is a constant it runs once over one row.
    pub fn arrays<F>(name: &'static str, result: DataType, run: F) -> Self
    where
        F: Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync + 'static,
    {
        Self::columns(name, result, move |arguments, rows| run(&arguments.columns(rows)?))
    }

    /// A function that tells constants from columns; it gets the number of rows too. If every argument is a constant it runs once over
    /// one row.
    pub fn columns<F>(name: &'static str, result: DataType, run: F) -> Self
    where
        F: Fn(&Arguments, usize) -> Result<ArrayRef> + Send + Sync + 'static,
    {
        Kernel {
            name,
            key: String::new(),
            result: Arc::new(Field::new(name, result, true)),
            signature: Signature::user_defined(Volatility::Immutable),
            lazy: false,
            fallible: false,
            run: Arc::new(run),
            part: None,
            element: None,
            single: None,
        }
    }

    /// Adds the parameters that the closure captured (mode, time zone, ...), which tell it from its siblings.
    pub fn key(mut self, key: impl fmt::Display) -> Self {
        self.key = key.to_string();
        self
    }

    /// Gives the result field metadata (interval fields).
    pub fn field(mut self, field: FieldRef) -> Self {
        self.result = field;
        self
    }

    /// Says that equal arguments may give different results (`rand`, `uuid`, ...), so that it is never folded.
    pub fn volatile(mut self) -> Self {
        self.signature = Signature::user_defined(Volatility::Volatile);
        self
    }

    /// Says that it must not be evaluated where its value is not needed (`raise_error`).
    pub fn lazy(mut self) -> Self {
        self.lazy = true;
        self.fallible()
    }

    /// Says that it fails on some data, so that `AND`, `OR` and `CASE` must not evaluate it for rows that do not need it.
    pub fn fallible(self) -> Self {
        self.fallible_if(true)
    }

    /// [`Kernel::fallible`] if `fails`.
    pub fn fallible_if(mut self, fails: bool) -> Self {
        self.fallible = fails;
        self
    }

    /// Adds how to compute a struct with nothing but the named field of the result.
    pub fn parts(mut self, part: impl Fn(&str) -> Option<Kernel> + Send + Sync + 'static) -> Self {
        self.part = Some(Arc::new(part));
        self
    }

    /// A function for where only the named field of the result is used; none if there is no cheaper one.
    pub fn part(&self, field: &str) -> Option<Kernel> {
        self.part.as_ref()?(field)
    }

    /// Adds how to compute nothing but the element at a place of the resulting list; the flag says whether a missing one is an error.
    pub fn elements(mut self, element: impl Fn(usize, bool) -> Option<Kernel> + Send + Sync + 'static) -> Self {
        self.element = Some(Arc::new(element));
        self
    }

    /// A function for where only the element at this place of the result is used; none if there is no cheaper one.
    pub(super) fn element(&self, place: usize, must_be: bool) -> Option<Kernel> {
        self.element.as_ref()?(place, must_be)
    }

    /// Adds what it gives for one row whose arguments are not null, see [`Single`]. What depends on more than these must not have it.
    pub fn singly(self, single: impl for<'a> Fn(&[Value<'a>]) -> Option<Value<'a>> + Send + Sync + 'static) -> Self {
        self.with_single(Some(Arc::new(single)))
    }

    /// [`Kernel::singly`] if there is such a form.
    pub(super) fn with_single(mut self, single: Option<Arc<Single>>) -> Self {
        self.single = single;
        self
    }

    /// Its form for single values.
    pub(super) fn single(&self) -> Option<&Arc<Single>> {
        self.single.as_ref()
    }

    /// True if some part of `expr` may fail on some data.
    pub fn may_fail(expr: &Expr) -> bool {
        let fails =
            |part: &Expr| Kernel::of(part).is_some_and(|(kernel, _)| kernel.fallible) || UserFunction::is_call(part);
        expr.exists(|part| Ok(fails(part))).unwrap_or(true)
    }

    /// The expression that applies this function to `args`.
    pub fn call(self, args: Vec<Expr>) -> Expr {
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::new_from_impl(self)), args))
    }

    /// The function's name.
    pub fn function_name(&self) -> &'static str {
        self.name
    }

    /// The captured parameters, see [`Kernel::key`].
    pub fn parameters(&self) -> &str {
        &self.key
    }

    /// The type of its results.
    pub fn result_type(&self) -> &DataType {
        self.result.data_type()
    }

    /// Type and metadata of its results.
    pub(super) fn result_field(&self) -> &FieldRef {
        &self.result
    }

    /// Whether equal arguments may give different results.
    pub(super) fn is_volatile(&self) -> bool {
        self.signature.volatility == Volatility::Volatile
    }

    /// Whether it may be computed where its value is not needed, and once for all who need it.
    pub(super) fn is_harmless(&self) -> bool {
        !self.lazy && !self.fallible && !self.is_volatile()
    }

    /// Computes it for `rows` rows.
    pub(super) fn run(&self, arguments: &Arguments, rows: usize) -> PlanResult<ColumnarValue> {
        match arguments.all_constant() {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&(self.run)(arguments, 1)?, 0)?)),
            false => Ok(ColumnarValue::Array((self.run)(arguments, rows)?)),
        }
    }

    /// The kernel behind a function call, if it is one.
    pub fn of(expr: &Expr) -> Option<(&Kernel, &[Expr])> {
        let Expr::ScalarFunction(call) = expr else { return None };
        let kernel = (call.func.inner().as_ref() as &dyn std::any::Any).downcast_ref::<Kernel>()?;
        Some((kernel, &call.args))
    }
}

/// The type of an expression. A kernel tells its own without a look at its arguments, which may be nested deep.
///
/// # Errors
/// What DataFusion says of an expression that does not fit the schema.
pub fn type_of(expr: &Expr, schema: &DFSchema) -> Result<DataType> {
    match Kernel::of(expr) {
        Some((kernel, _)) => Ok(kernel.result_type().clone()),
        None => Ok(expr.get_type(schema)?),
    }
}

/// A text that stands for the whole and is not long: names of calls hold those of their arguments, down to the last.
fn shortened(text: String) -> String {
    const LONG: usize = 400;
    if text.len() <= LONG {
        return text;
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{}… #{:016x}", text.chars().take(LONG / 8).collect::<String>(), hasher.finish())
}

/// The array as its concrete type.
///
/// # Errors
/// An internal error if binding let through another type.
pub fn downcast<T: Array + 'static>(array: &dyn Array) -> Result<&T> {
    array.as_any().downcast_ref::<T>().ok_or_else(|| {
        Error::internal(format!("a function got an array of {} where it expects another", array.data_type()))
    })
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] -> {}", self.name, self.key, self.result.data_type())
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.key == other.key && self.result == other.result
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.key.hash(state);
        self.result.data_type().hash(state);
    }
}

impl ScalarUDFImpl for Kernel {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, args: &[Expr]) -> PlanResult<String> {
        let args: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        let key = if self.key.is_empty() { String::new() } else { format!("[{}]", self.key) };
        Ok(format!("{}{key}({})", self.name, shortened(args.join(","))))
    }

    fn return_type(&self, _: &[DataType]) -> PlanResult<DataType> {
        Ok(self.result.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> PlanResult<FieldRef> {
        Ok(self.result.clone())
    }

    fn coerce_types(&self, types: &[DataType]) -> PlanResult<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn short_circuits(&self) -> bool {
        self.lazy
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        self.run(&Arguments::of(args.args)?, args.number_rows)
    }
}
