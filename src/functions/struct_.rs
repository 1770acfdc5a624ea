//! Functions that make structs: `struct` and `named_struct`. Taking fields out of them is in `access`.

use std::sync::Arc;

use arrow::array::StructArray;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::kernel::Kernel;
use super::{Call, Function, arguments, function};
use crate::{Error, Result};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[function(&["struct"], unnamed), function(&["named_struct"], named)];

/// The name of the kernel that takes a field out of a struct; its key is the field's name.
const GET_FIELD: &str = "get_field";

fn unnamed(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(0..=usize::MAX)?;
    let named = args.into_iter().enumerate().map(|(at, arg)| {
        let name = name_of(&arg).unwrap_or_else(|| format!("col{}", at + 1));
        (name, arg.unalias())
    });
    build(&call, named.collect())
}

/// The name an expression brings along: an alias, a column, a field or a lambda's parameter.
pub(super) fn name_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Alias(alias) => Some(alias.name.clone()),
        Expr::Column(column) => Some(column.name.clone()),
        Expr::LambdaVariable(variable) => Some(variable.name.clone()),
        _ => Kernel::of(expr)
            .filter(|(kernel, _)| kernel.function_name() == GET_FIELD)
            .map(|(kernel, _)| kernel.parameters().to_owned()),
    }
}

fn named(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(0..=usize::MAX)?;
    if args.len() % 2 != 0 {
        let message =
            format!("function '{}' needs names and values in turn but has {} arguments", call.name, args.len());
        return Err(Error::query("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", message));
    }
    let mut pairs = Vec::with_capacity(args.len() / 2);
    let mut args = args.into_iter();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        if arguments::constant(&name)?.is_none() {
            return Err(Error::query(
                "DATATYPE_MISMATCH.CREATE_NAMED_STRUCT_WITHOUT_FOLDABLE_STRING",
                format!("the name of a struct's field must be a constant text, not '{}'", name.human_display()),
            ));
        }
        let name = arguments::constant_text(&call, &name, "name").ok().flatten().ok_or_else(|| {
            let message = "the name of a struct's field must be a constant text";
            Error::query("DATATYPE_MISMATCH.CREATE_NAMED_STRUCT_WITHOUT_FOLDABLE_STRING", message)
        })?;
        pairs.push((name, value.unalias()));
    }
    build(&call, pairs)
}

fn build(call: &Call<'_>, named: Vec<(String, Expr)>) -> Result<Expr> {
    let mut fields = Vec::with_capacity(named.len());
    let mut args = Vec::with_capacity(named.len());
    for (name, value) in named {
        let (_, field) = value.to_field(call.schema)?;
        fields.push(Field::new(name, field.data_type().clone(), true).with_metadata(field.metadata().clone()));
        args.push(value);
    }
    let fields = Fields::from(fields);
    let made = fields.clone();
    let kernel = Kernel::columns("named_struct", DataType::Struct(fields), move |arguments, rows| {
        let columns = arguments.columns(rows)?;
        let structs = match columns.is_empty() {
            true => StructArray::new_empty_fields(rows, None),
            false => StructArray::try_new(made.clone(), columns.into_owned(), None)?,
        };
        Ok(Arc::new(structs))
    });
    Ok(kernel.call(args))
}
