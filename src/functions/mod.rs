//! Spark's functions: one list, one file per family.
//!
//! A function is one entry in its family's `FUNCTIONS` list (and a family is one line in [`FAMILIES`]): its names and a
//! `bind` that checks the arguments by Spark's rules, inserts Spark's implicit casts and returns a DataFusion expression of
//! exactly Spark's result type. After binding, DataFusion's own type coercion finds nothing left to do.

// A closure that writes into a column ends with the writing.
#![allow(clippy::unit_arg)]

pub mod access;
mod aes;
pub mod aggregate;
pub(crate) mod arguments;
pub mod arithmetic;
mod array;
mod array_edit;
mod array_make;
mod array_sets;
mod bits;
pub mod call;
pub mod cast;
mod charset;
pub mod coerce;
pub mod comparison;
pub mod conditional;
mod constant_comparison;
mod csv;
pub mod datetime;
mod decimals;
mod enclosed;
mod encoding;
mod exact;
mod format_string;
pub mod generator;
mod hash;
mod higher_order;
pub mod interval;
mod java_class;
mod java_regex;
mod json;
mod json_path;
pub mod kernel;
mod like;
mod lists;
mod map;
mod mask;
pub mod math;
mod misc;
mod number_format;
mod number_pattern;
mod numbers;
mod random;
mod regexp;
mod rounding;
mod rows;
mod search;
mod sentences;
pub(crate) mod single;
mod struct_;
mod substring;
mod text;
mod to_char;
mod url;
pub mod user;
mod variant;
pub mod window;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::Expr;

use crate::conf::Conf;
use crate::{Error, Result};

/// A function under one or more names.
pub struct Function {
    /// Lower-case names; the first is the canonical one.
    pub names: &'static [&'static str],
    /// Checks and coerces the arguments and builds the expression.
    pub bind: fn(Call<'_>) -> Result<Expr>,
}

impl Function {
    /// Binds a call of this function as it was written.
    ///
    /// # Errors
    /// Those of [`Function::bind`]; `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE` for arguments that would have to be cast where the
    /// function casts none.
    pub fn call(&self, call: Call<'_>) -> Result<Expr> {
        exact::check(&call)?;
        (self.bind)(call)
    }
}

/// Shorthand for a line of a `FUNCTIONS` list.
pub const fn function(names: &'static [&'static str], bind: fn(Call<'_>) -> Result<Expr>) -> Function {
    Function { names, bind }
}

/// Binds a lambda's body once the function knows its parameters' types. Returns a DataFusion lambda expression.
pub type BindLambda<'a> = Box<dyn Fn(&[FieldRef]) -> Result<Expr> + 'a>;

/// One argument of a call.
pub enum Arg<'a> {
    /// An expression, bound already.
    Value(Expr),
    /// `x -> body` with its parameters' names; the body is bound by the function.
    Lambda {
        /// The parameters' names as written.
        parameters: Vec<String>,
        /// Binds the body.
        bind: BindLambda<'a>,
    },
}

/// A call of a function as written, with its arguments bound.
pub struct Call<'a> {
    /// The name as written.
    pub name: &'a str,
    /// The arguments in order.
    pub args: Vec<Arg<'a>>,
    /// What the arguments' columns refer to.
    pub schema: &'a DFSchema,
    /// Session settings.
    pub conf: &'a Conf,
}

/// What the meaning of an expression depends on besides itself.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What its columns refer to.
    pub schema: &'a DFSchema,
    /// Session settings.
    pub conf: &'a Conf,
}

impl Context<'_> {
    /// The type of an expression.
    pub fn type_of(&self, expr: &Expr) -> Result<DataType> {
        kernel::type_of(expr, self.schema)
    }

    /// `expr` as a value of type `to`; see [`coerce::implicit`].
    pub fn implicit(&self, expr: Expr, to: &DataType) -> Result<Expr> {
        coerce::implicit(expr, to, self.schema, self.conf)
    }

    /// `expr` cast to `to` as by `CAST`; see [`cast::cast`].
    pub fn cast(&self, expr: Expr, to: &DataType) -> Result<Expr> {
        cast::cast(expr, to, cast::Mode::of(self.conf), self.schema, self.conf)
    }

    /// All expressions cast to their common type; see [`coerce::to_common`].
    pub fn to_common(&self, exprs: Vec<Expr>) -> Result<(Vec<Expr>, DataType)> {
        coerce::to_common(exprs, self.schema, self.conf)
    }
}

impl<'a> Call<'a> {
    /// The columns and settings of this call.
    pub fn context(&self) -> Context<'a> {
        Context { schema: self.schema, conf: self.conf }
    }
    /// The type of an expression over this call's columns.
    pub fn type_of(&self, expr: &Expr) -> Result<DataType> {
        kernel::type_of(expr, self.schema)
    }

    /// `expr` as a value of type `to`, by Spark's implicit cast; see [`coerce::implicit`].
    pub fn implicit(&self, expr: Expr, to: &DataType) -> Result<Expr> {
        coerce::implicit(expr, to, self.schema, self.conf)
    }

    /// `expr` cast to `to` as by `CAST`; see [`cast::cast`].
    pub fn cast(&self, expr: Expr, to: &DataType) -> Result<Expr> {
        cast::cast(expr, to, cast::Mode::of(self.conf), self.schema, self.conf)
    }

    /// All arguments as expressions.
    ///
    /// # Errors
    /// `WRONG_NUM_ARGS.WITHOUT_SUGGESTION` if their number is not within `count`; a lambda where a value is due.
    pub fn values(&mut self, count: std::ops::RangeInclusive<usize>) -> Result<Vec<Expr>> {
        let given = self.args.len();
        if !count.contains(&given) {
            return Err(wrong_number(self.name, &count, given));
        }
        std::mem::take(&mut self.args).into_iter().map(|arg| self.value(arg)).collect()
    }

    /// All arguments, which must be `N`.
    ///
    /// # Errors
    /// As [`Call::values`].
    pub fn exactly<const N: usize>(&mut self) -> Result<[Expr; N]> {
        let values = self.values(N..=N)?;
        values.try_into().map_err(|_| Error::internal("the number of arguments was checked"))
    }

    fn value(&self, arg: Arg<'_>) -> Result<Expr> {
        match arg {
            Arg::Value(expr) => Ok(expr),
            Arg::Lambda { .. } => {
                Err(Error::query("UNEXPECTED_INPUT_TYPE", format!("function '{}' takes no lambda here", self.name)))
            }
        }
    }
}

fn wrong_number(name: &str, count: &std::ops::RangeInclusive<usize>, given: usize) -> Error {
    let expected = if count.start() == count.end() {
        count.start().to_string()
    } else {
        format!("{} to {}", count.start(), count.end())
    };
    Error::query(
        "WRONG_NUM_ARGS.WITHOUT_SUGGESTION",
        format!("function '{name}' needs {expected} arguments but has {given}"),
    )
}

/// All families of scalar functions. A new family is one line here.
const FAMILIES: &[&[Function]] = &[
    aes::FUNCTIONS,
    arithmetic::FUNCTIONS,
    array::FUNCTIONS,
    array_edit::FUNCTIONS,
    array_make::FUNCTIONS,
    array_sets::FUNCTIONS,
    cast::FUNCTIONS,
    comparison::FUNCTIONS,
    conditional::FUNCTIONS,
    csv::FUNCTIONS,
    datetime::fields::FUNCTIONS,
    datetime::make::FUNCTIONS,
    datetime::now::FUNCTIONS,
    datetime::shift::FUNCTIONS,
    datetime::text::FUNCTIONS,
    datetime::truncate::FUNCTIONS,
    datetime::zones::FUNCTIONS,
    encoding::FUNCTIONS,
    generator::FUNCTIONS,
    format_string::FUNCTIONS,
    hash::FUNCTIONS,
    higher_order::FUNCTIONS,
    json::FUNCTIONS,
    map::FUNCTIONS,
    math::FUNCTIONS,
    misc::FUNCTIONS,
    number_format::FUNCTIONS,
    random::FUNCTIONS,
    regexp::FUNCTIONS,
    search::FUNCTIONS,
    sentences::FUNCTIONS,
    struct_::FUNCTIONS,
    substring::FUNCTIONS,
    text::FUNCTIONS,
    to_char::FUNCTIONS,
    url::FUNCTIONS,
    variant::FUNCTIONS,
    window::FUNCTIONS,
];

/// The scalar function of this name (in any case).
pub fn lookup(name: &str) -> Option<&'static Function> {
    let name = name.to_ascii_lowercase();
    FAMILIES.iter().flat_map(|family| family.iter()).find(|function| function.names.contains(&name.as_str()))
}

/// Every name of every scalar function.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.iter()).flat_map(|function| function.names.iter().copied())
}

#[cfg(test)]
mod tests;
