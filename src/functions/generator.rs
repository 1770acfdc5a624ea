//! Generators as marker functions: `explode`, `posexplode`, `inline`, their `_outer` forms, `stack`.
//! `json_tuple` and `variant_explode` are an `inline` of what their own files compute.
//!
//! In comes a call, out goes an expression that stands for the rows a value makes; it cannot be evaluated. Whoever plans
//! a query lifts it into a plan node, with [`as_generator`] telling what it makes.

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Expr;

use super::coerce::{type_name, unexpected};
use super::kernel::{Arguments, Kernel};
use super::{Call, Function, function};
use crate::{Error, Result, types};

/// The functions of this family.
pub const FUNCTIONS: &[Function] = &[
    function(&["explode"], |call| explode(call, Kind::Explode, false)),
    function(&["explode_outer"], |call| explode(call, Kind::Explode, true)),
    function(&["posexplode"], |call| explode(call, Kind::PosExplode, false)),
    function(&["posexplode_outer"], |call| explode(call, Kind::PosExplode, true)),
    function(&["inline"], |call| explode(call, Kind::Inline, false)),
    function(&["inline_outer"], |call| explode(call, Kind::Inline, true)),
    function(&["stack"], stack),
];

/// How a generator makes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A row for each element or entry.
    Explode,
    /// As `Explode`, with the position (from 0) before it.
    PosExplode,
    /// A row for each struct of an array, its fields as columns.
    Inline,
    /// The arguments after the first, cut into as many rows as the first says.
    Stack,
}

/// A generator's call.
#[derive(Debug, Clone, PartialEq)]
pub struct Generator {
    /// How it makes rows.
    pub kind: Kind,
    /// Whether a value that makes no rows gives one of nulls.
    pub outer: bool,
    /// The arguments.
    pub args: Vec<Expr>,
    /// The columns it makes, under their default names.
    pub fields: Vec<Field>,
}

/// True if the expression is a generator's call (or an alias of one).
pub fn is_generator(expr: &Expr) -> bool {
    as_generator(expr).is_some()
}

/// What a generator's call makes; none for other expressions. The marker's type is a struct of its columns, or the
/// column's own type if there is one.
pub fn as_generator(expr: &Expr) -> Option<Generator> {
    let expr = match expr {
        Expr::Alias(alias) => alias.expr.as_ref(),
        expr => expr,
    };
    let (kernel, args) = Kernel::of(expr)?;
    let name = kernel.function_name();
    let (kind, outer) = match name {
        "explode" => (Kind::Explode, false),
        "explode_outer" => (Kind::Explode, true),
        "posexplode" => (Kind::PosExplode, false),
        "posexplode_outer" => (Kind::PosExplode, true),
        "inline" => (Kind::Inline, false),
        "inline_outer" => (Kind::Inline, true),
        "stack" => (Kind::Stack, false),
        _ => return None,
    };
    let fields = match kernel.result_type() {
        DataType::Struct(fields) if kernel.parameters() == ROWS => {
            fields.iter().map(|field| field.as_ref().clone()).collect()
        }
        column => vec![types::field(COLUMN, column.clone())],
    };
    Some(Generator { kind, outer, args: args.to_vec(), fields })
}

/// The name of a generator's only column, unless the value says otherwise.
const COLUMN: &str = "col";
/// Key of a marker whose type is a struct of several columns.
const ROWS: &str = "rows";

/// The default name of a generator's or window's column; none for other expressions, whose name comes from their text.
pub fn default_name(expr: &Expr) -> Option<&'static str> {
    match Kernel::of(expr)?.0.function_name() {
        name @ (super::window::WINDOW | super::window::SESSION_WINDOW) => Some(name),
        _ => is_generator(expr).then_some(COLUMN),
    }
}

/// The generator whose rows are the structs of `list`, their `fields` as columns.
pub(crate) fn inline(fields: &Fields, list: Expr, outer: bool) -> Expr {
    let columns = fields.iter().map(|field| field.as_ref().clone()).collect();
    marker(name_of(Kind::Inline, outer), columns, vec![list])
}

/// The generator `stack`: `fields` are its columns, `args` the number of rows and then the values, of the columns' types.
pub(crate) fn stacked(fields: Vec<Field>, args: Vec<Expr>) -> Expr {
    marker("stack", fields, args)
}

fn marker(name: &'static str, columns: Vec<Field>, args: Vec<Expr>) -> Expr {
    let run = move |_: &Arguments, _| {
        Err(Error::query(
            "UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS",
            format!("generator '{name}' is nested in an expression"),
        ))
    };
    match columns.as_slice() {
        [column] if column.name() == COLUMN => {
            Kernel::columns(name, column.data_type().clone(), run).fallible().call(args)
        }
        _ => Kernel::columns(name, DataType::Struct(columns.into()), run).key(ROWS).fallible().call(args),
    }
}

fn explode(mut call: Call<'_>, kind: Kind, outer: bool) -> Result<Expr> {
    let [value] = call.exactly()?;
    if value.exists(|part| Ok(is_generator(part)))? {
        let message = format!("generators are not supported inside of expressions, but '{}' holds one", call.name);
        return Err(Error::query("UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS", message)
            .hint("Give the generator a column of its own and use it in a second select."));
    }
    let data_type = call.type_of(&value)?;
    let mut columns = match (kind, &data_type) {
        (Kind::Inline, DataType::List(item)) => match item.data_type() {
            DataType::Struct(fields) => fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect(),
            _ => return Err(unexpected(&value, &data_type, "\"ARRAY<STRUCT>\"")),
        },
        (Kind::Explode | Kind::PosExplode, DataType::List(item)) => {
            vec![types::field(COLUMN, item.data_type().clone())]
        }
        (Kind::Explode | Kind::PosExplode, DataType::Map(..)) => entries(&data_type)?,
        (Kind::Inline, _) => return Err(unexpected(&value, &data_type, "\"ARRAY<STRUCT>\"")),
        _ => return Err(unexpected(&value, &data_type, "(\"ARRAY\" or \"MAP\")")),
    };
    if kind == Kind::PosExplode {
        columns.insert(0, types::field("pos", DataType::Int32));
    }
    Ok(marker(name_of(kind, outer), columns, vec![value]))
}

fn entries(map: &DataType) -> Result<Vec<Field>> {
    let (key, value) = types::map_types(map).ok_or_else(|| Error::internal("a map has keys and values"))?;
    Ok(vec![types::field("key", key.data_type().clone()), types::field("value", value.data_type().clone())])
}

fn name_of(kind: Kind, outer: bool) -> &'static str {
    match (kind, outer) {
        (Kind::Explode, false) => "explode",
        (Kind::Explode, true) => "explode_outer",
        (Kind::PosExplode, false) => "posexplode",
        (Kind::PosExplode, true) => "posexplode_outer",
        (Kind::Inline, false) => "inline",
        (Kind::Inline, true) => "inline_outer",
        (Kind::Stack, _) => "stack",
    }
}

fn stack(mut call: Call<'_>) -> Result<Expr> {
    let mut args = call.values(2..=usize::MAX)?;
    let rows = match &args[0] {
        Expr::Literal(ScalarValue::Int32(Some(rows)), _) if *rows > 0 => rows.unsigned_abs() as usize,
        other => {
            return Err(Error::query(
                "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
                format!("the number of rows must be a positive constant, not '{}'", other.human_display()),
            ));
        }
    };
    let width = (args.len() - 1).div_ceil(rows);
    let mut columns = Vec::with_capacity(width);
    for column in 0..width {
        let at: Vec<usize> = (1 + column..args.len()).step_by(width).collect();
        let values: Vec<Expr> = at.iter().map(|at| args[*at].clone()).collect();
        check_column(&call, column, &values)?;
        let (values, common) = call.context().to_common(values)?;
        for (at, value) in at.into_iter().zip(values) {
            args[at] = value;
        }
        columns.push(types::field(format!("col{column}"), common));
    }
    Ok(marker("stack", columns, args))
}

/// The values of a column of `stack` have one type.
fn check_column(call: &Call<'_>, column: usize, values: &[Expr]) -> Result<()> {
    let types = values.iter().map(|value| call.type_of(value)).collect::<Result<Vec<_>>>()?;
    let mut known = types.iter().filter(|data_type| **data_type != DataType::Null);
    let Some(first) = known.next() else { return Ok(()) };
    match known.find(|other| *other != first) {
        Some(other) => {
            let (first, other) = (type_name(first), type_name(other));
            let message = format!("column {column} of 'stack' has values of types {first} and {other}");
            Err(Error::query("DATATYPE_MISMATCH.STACK_COLUMN_DIFF_TYPES", message))
        }
        None => Ok(()),
    }
}
