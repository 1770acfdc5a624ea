//! Choosing an aggregate function: from a name, argument types and options to a factory of accumulators.
//!
//! In: what a query says. Out: an [`AggregateFunction`], or a [`Mismatch`] that tells which argument is of the wrong type.
//! What always holds: accumulators made by a function take arguments of exactly [`AggregateFunction::arg_types`] and
//! evaluate to exactly [`AggregateFunction::return_type`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::DataType;

use super::distinct::Distinct;
use super::{Accumulator, definition};
use crate::Result;

/// A constant argument, such as the percentage of a percentile.
#[derive(Debug, Clone, PartialEq)]
pub enum Constant {
    /// NULL.
    Null,
    /// true or false.
    Boolean(bool),
    /// Any whole number.
    Long(i64),
    /// Any other number.
    Double(f64),
    /// A string.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An array of numbers.
    Doubles(Vec<f64>),
}

/// What is said besides the arguments.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Overflow is an error (else null, or for longs a wrapped sum).
    pub ansi: bool,
    /// `IGNORE NULLS`, or the boolean argument of `first`, `last`, `any_value`.
    pub ignore_nulls: bool,
    /// Each distinct argument row counts once.
    pub distinct: bool,
    /// The arguments at [`super::constant_positions`], in order, as far as given.
    pub constants: Vec<Constant>,
    /// `WITHIN GROUP (ORDER BY ...)`: the order of the last so many arguments.
    pub order: Vec<SortOptions>,
}

/// What the arguments must be cast to, and the result's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The types to cast the arguments to.
    pub args: Vec<DataType>,
    /// The type of the result.
    pub returns: DataType,
}

/// Why a function cannot be called like this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// No function of this name.
    UnknownFunction,
    /// The number of arguments, and what is due.
    ArgumentCount {
        /// What is due, e.g. `1 or 2`.
        expected: &'static str,
    },
    /// An argument's type.
    ArgumentType {
        /// Which, from 0.
        position: usize,
        /// What is due, in Spark's words, e.g. `NUMERIC`.
        expected: &'static str,
    },
    /// An argument's type has no order.
    NotOrdered {
        /// Which, from 0.
        position: usize,
    },
    /// An argument's type, of which no two values can be told to be equal.
    Unsupported {
        /// Which, from 0.
        position: usize,
    },
    /// A constant's value is out of range or of the wrong type.
    Constant {
        /// What is due, e.g. `a percentage between 0.0 and 1.0`.
        expected: &'static str,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::UnknownFunction => write!(f, "no aggregate function of this name"),
            Mismatch::ArgumentCount { expected } => write!(f, "needs {expected} arguments"),
            Mismatch::NotOrdered { position } => write!(f, "argument {} must have an order", position + 1),
            Mismatch::Unsupported { position } => write!(f, "argument {} must not hold a map", position + 1),
            Mismatch::ArgumentType { position, expected } => write!(f, "argument {} must be {expected}", position + 1),
            Mismatch::Constant { expected } => write!(f, "needs {expected}"),
        }
    }
}

impl std::error::Error for Mismatch {}

/// One line of a family's list.
pub(super) struct Definition {
    /// Lower-case names; the first is the canonical one.
    pub names: &'static [&'static str],
    /// Positions of arguments that must be constants.
    pub constants: &'static [usize],
    /// Checks the argument types (without constants).
    pub resolve: fn(&[DataType], &Options) -> Result<Signature, Mismatch>,
    /// Makes an accumulator.
    pub build: fn(&AggregateFunction) -> Result<Box<dyn Accumulator>>,
}

/// An aggregate function that users of the library write.
///
/// Spark's `Aggregator`; the easiest way to the accumulator is a [`super::Fold`].
pub trait UserAggregate: Send + Sync + 'static {
    /// The name, for plans and error messages.
    fn name(&self) -> &str;

    /// Checks the argument types and says what to cast them to.
    ///
    /// # Errors
    /// What does not fit.
    fn signature(&self, args: &[DataType]) -> Result<Signature, Mismatch>;

    /// A new accumulator for arguments of these types.
    ///
    /// # Errors
    /// The function's own.
    fn accumulator(&self, args: &[DataType]) -> Result<Box<dyn Accumulator>>;
}

#[derive(Clone)]
enum Body {
    Listed(&'static Definition),
    User(Arc<dyn UserAggregate>),
}

/// A function chosen for argument types and options: a cheap-to-clone factory of accumulators.
#[derive(Clone)]
pub struct AggregateFunction {
    name: String,
    body: Body,
    signature: Signature,
    options: Options,
}

impl AggregateFunction {
    /// The function of this name (in any case) for arguments of these types, constants not among them.
    ///
    /// # Errors
    /// What does not fit.
    pub fn new(name: &str, args: &[DataType], options: Options) -> Result<Self, Mismatch> {
        let definition = definition(name).ok_or(Mismatch::UnknownFunction)?;
        let signature = (definition.resolve)(args, &options)?;
        if options.distinct && args.is_empty() {
            return Err(Mismatch::ArgumentCount { expected: "1 or more" });
        }
        Ok(AggregateFunction {
            name: definition.names[0].to_string(),
            body: Body::Listed(definition),
            signature,
            options,
        })
    }

    /// A function of the library's user.
    ///
    /// # Errors
    /// What its signature refuses.
    pub fn user(function: Arc<dyn UserAggregate>, args: &[DataType], options: Options) -> Result<Self, Mismatch> {
        let signature = function.signature(args)?;
        Ok(AggregateFunction { name: function.name().to_string(), body: Body::User(function), signature, options })
    }

    /// The canonical name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The types the arguments must have (cast them).
    pub fn arg_types(&self) -> &[DataType] {
        &self.signature.args
    }

    /// The type of the result.
    pub fn return_type(&self) -> &DataType {
        &self.signature.returns
    }

    /// Whether the library's user wrote it; then its name says nothing.
    pub fn is_user(&self) -> bool {
        matches!(self.body, Body::User(_))
    }

    /// Whether the result tells in which order rows came: then parts must be merged in that order, row by row.
    pub fn depends_on_order(&self) -> bool {
        let by_order = ["first", "last", "any_value", "collect_list", "listagg"].contains(&self.name.as_str());
        by_order && self.options.order.is_empty() && !self.is_user()
    }

    /// Whether the result is the same to the last bit in whatever order rows come and parts are merged, of which each has a fixed size. Sums
    /// that go beyond their type on the way and come back are the exception, as in Spark: whether they are an error, or null, depends on which
    /// rows meet first.
    pub fn commutes(&self) -> bool {
        // Sums of doubles are rounded on their way, and which of two equal ones is the least depends on who came first.
        let exact = |of: &DataType| of.is_primitive() && !of.is_floating();
        let by_type = || match self.name.as_str() {
            "count" | "count_if" | "bit_and" | "bit_or" | "bit_xor" | "bool_and" | "bool_or" => true,
            "sum" | "try_sum" | "avg" | "try_avg" | "min" | "max" => self.signature.args.iter().all(exact),
            _ => false,
        };
        !self.is_user() && !self.options.distinct && by_type()
    }

    /// What was said besides the arguments.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A new accumulator.
    ///
    /// # Errors
    /// None for a function that was resolved, or what a user's function says.
    pub fn accumulator(&self) -> Result<Box<dyn Accumulator>> {
        if self.options.distinct {
            return Distinct::boxed(self);
        }
        self.plain_accumulator()
    }

    /// An accumulator that ignores DISTINCT.
    pub(super) fn plain_accumulator(&self) -> Result<Box<dyn Accumulator>> {
        match &self.body {
            Body::Listed(definition) => (definition.build)(self),
            Body::User(function) => function.accumulator(&self.signature.args),
        }
    }
}

impl fmt::Debug for AggregateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?}) -> {}", self.name, self.signature.args, self.signature.returns)
    }
}

impl PartialEq for AggregateFunction {
    fn eq(&self, other: &Self) -> bool {
        let same_body = match (&self.body, &other.body) {
            (Body::User(this), Body::User(that)) => Arc::ptr_eq(this, that),
            (Body::Listed(_), Body::Listed(_)) => true,
            _ => false,
        };
        same_body && self.name == other.name && self.signature == other.signature && self.options == other.options
    }
}

/// Options hold doubles; a NaN percentage is refused when resolving, so equality is total.
impl Eq for AggregateFunction {}

impl Hash for AggregateFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.signature.args.hash(state);
        self.options.distinct.hash(state);
        self.options.ignore_nulls.hash(state);
        format!("{:?}", self.options.constants).hash(state);
    }
}

/// Fails unless the number of arguments is within the range.
pub(super) fn check_count(
    args: &[DataType],
    range: std::ops::RangeInclusive<usize>,
    expected: &'static str,
) -> Result<(), Mismatch> {
    if range.contains(&args.len()) { Ok(()) } else { Err(Mismatch::ArgumentCount { expected }) }
}

/// What an argument becomes where Spark wants a DOUBLE: numbers, strings and NULL.
pub(super) fn as_double(args: &[DataType], position: usize) -> Result<DataType, Mismatch> {
    match &args[position] {
        t if t.is_numeric() || matches!(t, DataType::Utf8 | DataType::Null) => Ok(DataType::Float64),
        _ => Err(Mismatch::ArgumentType { position, expected: "DOUBLE" }),
    }
}

/// Resolves functions of `count` doubles that give a double.
pub(super) fn doubles(args: &[DataType], count: usize, expected: &'static str) -> Result<Signature, Mismatch> {
    check_count(args, count..=count, expected)?;
    let args = (0..count).map(|position| as_double(args, position)).collect::<Result<Vec<_>, _>>()?;
    Ok(Signature { args, returns: DataType::Float64 })
}
