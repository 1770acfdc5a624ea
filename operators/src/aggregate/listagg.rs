//! `listagg` (`string_agg`): the non-null strings or byte strings of a group joined, with a delimiter, in an order.
//!
//! In: one column and, after it, the columns of `WITHIN GROUP (ORDER BY ...)`. Out: the joined value, null for no values.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryBuilder, BooleanArray};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::DataType;

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Constant, Definition, Mismatch, Options, Signature};
use super::rows::{RowList, each_element, list_column, list_type, struct_column, struct_type};
use crate::Result;
use crate::keys::RowCodec;

pub(super) const FUNCTIONS: &[Definition] =
    &[Definition { names: &["listagg", "string_agg"], constants: &[1], resolve, build }];

fn resolve(args: &[DataType], options: &Options) -> Result<Signature, Mismatch> {
    if args.len() != 1 + options.order.len() {
        return Err(Mismatch::ArgumentCount { expected: "1 or 2" });
    }
    let returns = if args[0] == DataType::Binary { DataType::Binary } else { DataType::Utf8 };
    if args[0].is_nested() {
        return Err(Mismatch::ArgumentType { position: 0, expected: "STRING or BINARY" });
    }
    let fits = matches!(
        (options.constants.first(), &returns),
        (None | Some(Constant::Null), _)
            | (Some(Constant::Text(_)), DataType::Utf8)
            | (Some(Constant::Bytes(_)), DataType::Binary)
    );
    if !fits {
        return Err(Mismatch::Constant { expected: "a delimiter of the values' type" });
    }
    let args = std::iter::once(returns.clone()).chain(args[1..].iter().cloned()).collect();
    Ok(Signature { args, returns })
}

fn build(function: &AggregateFunction) -> Result<Box<dyn Accumulator>> {
    let options = function.options();
    let delimiter = match options.constants.first() {
        Some(Constant::Text(text)) => text.clone().into_bytes(),
        Some(Constant::Bytes(bytes)) => bytes.clone(),
        _ => Vec::new(),
    };
    // The order's columns come first, so that encoded rows compare in that order.
    let types: Vec<_> = function.arg_types()[1..].iter().chain(&function.arg_types()[..1]).cloned().collect();
    let order: Vec<_> = options.order.iter().copied().chain([SortOptions::default()]).collect();
    let codec = RowCodec::with_order(&types, &order)?;
    Ok(Folded::boxed(Join {
        codec,
        delimiter,
        ordered: !options.order.is_empty(),
        returns: function.return_type().clone(),
    }))
}

struct Join {
    codec: RowCodec,
    delimiter: Vec<u8>,
    ordered: bool,
    returns: DataType,
}

impl Join {
    fn rows<'a>(&self, cell: &'a RowList) -> Vec<&'a [u8]> {
        let mut rows: Vec<_> = cell.iter().collect();
        if self.ordered {
            rows.sort();
        }
        rows
    }

    /// The values of all cells one after the other, as bytes.
    fn values(&self, cells: &[&RowList]) -> Result<ArrayRef> {
        let columns = self.codec.decode(cells.iter().flat_map(|cell| self.rows(cell)))?;
        let values = columns.last().ok_or_else(|| crate::Error::Internal("listagg lost its values".to_string()))?;
        Ok(cast(values, &DataType::Binary)?)
    }
}

impl Fold for Join {
    type Cell = RowList;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [RowList],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let columns: Vec<_> = args[1..].iter().chain(&args[..1]).cloned().collect();
        let rows = self.codec.encode(&columns)?;
        let counting = counting(&args[..1], filter);
        each_row(groups, counting.as_ref(), |row, group| cells[group].push(rows.row(row).data()));
        Ok(())
    }

    fn merge(&mut self, cells: &mut [RowList], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let rows = self.codec.encode(state[0].as_list::<i32>().values().as_struct().columns())?;
        each_element(&state[0], |row, element| cells[groups[row] as usize].push(rows.row(element).data()));
        Ok(())
    }

    fn evaluate(&self, cells: &[&RowList]) -> Result<ArrayRef> {
        let values = self.values(cells)?;
        let mut values = values.as_binary::<i32>().iter().flatten();
        let mut joined = BinaryBuilder::new();
        let mut buffer = Vec::new();
        for cell in cells {
            buffer.clear();
            for (position, value) in values.by_ref().take(cell.len()).enumerate() {
                buffer.extend_from_slice(if position == 0 { &[] } else { &self.delimiter });
                buffer.extend_from_slice(value);
            }
            joined.append_option((cell.len() > 0).then_some(&buffer));
        }
        let joined: ArrayRef = Arc::new(joined.finish());
        Ok(cast(&joined, &self.returns)?)
    }

    fn state(&self, cells: &[&RowList]) -> Result<Vec<ArrayRef>> {
        let total = cells.iter().map(|cell| cell.len()).sum();
        let columns = self.codec.decode(cells.iter().flat_map(|cell| cell.iter()))?;
        Ok(vec![list_column(cells.iter().map(|cell| cell.len()), struct_column(columns, total)?)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![list_type(struct_type(self.codec.types()))]
    }

    fn heap_bytes(&self, cell: &RowList) -> usize {
        cell.heap_bytes()
    }
}
