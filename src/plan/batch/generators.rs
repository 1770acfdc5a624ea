//! Generators: `explode`, `posexplode`, `inline`, `stack` over Arrow columns.
//!
//! In: rows and the generator's arguments. Out: per row that the generator makes, the input's columns and its own. Rows
//! are picked by index, so the cost per row does not depend on what the columns hold.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StructArray, UInt32Array, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use datafusion::logical_expr::UserDefinedLogicalNode;
use datafusion::physical_plan::PhysicalExpr;

use super::kernels::{Expand, physical};
use crate::functions::call::evaluate;
use crate::functions::generator::{Kind, as_generator};
use crate::plan::nodes::Generate;
use crate::{Error, Result};

/// Applies a generator to each row.
#[derive(Clone)]
pub(super) struct GenerateKernel {
    kind: Kind,
    outer: bool,
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    text: String,
    schema: SchemaRef,
    /// Which of the input's columns are repeated; the others are null, because nothing above reads them.
    read: Vec<bool>,
}

impl GenerateKernel {
    pub(super) fn try_new(node: &Generate) -> Result<Self> {
        let made = as_generator(&node.generator)
            .ok_or_else(|| Error::internal(format!("'{}' is no generator", node.generator)))?;
        let arguments = made.args.iter().map(|argument| physical(argument, &node.input)).collect::<Result<_>>()?;
        let schema = Arc::clone(UserDefinedLogicalNode::schema(node).inner());
        let outer = made.outer || node.outer;
        let read = vec![true; node.input.schema().fields().len()];
        Ok(Self { kind: made.kind, outer, arguments, text: node.generator.to_string(), schema, read })
    }

    /// The rows to repeat and the generator's columns.
    fn generate(&self, rows: &RecordBatch) -> Result<(UInt32Array, Vec<ArrayRef>)> {
        let arguments = self.arguments.iter().map(|expr| evaluate(expr, rows)).collect::<Result<Vec<_>>>()?;
        match (self.kind, arguments.as_slice()) {
            (Kind::Stack, [count, values @ ..]) => stack(count, values, rows.num_rows()),
            (kind, [collection]) => self.elements(kind, collection),
            _ => Err(Error::internal(format!("'{}' has a wrong number of arguments", self.text))),
        }
    }

    fn elements(&self, kind: Kind, collection: &ArrayRef) -> Result<(UInt32Array, Vec<ArrayRef>)> {
        let (offsets, columns) = parts(collection)?;
        if kind == Kind::Explode && !self.outer && collection.logical_null_count() == 0 {
            let all = offsets[0] as usize..offsets[offsets.len() - 1] as usize;
            let made = columns.iter().map(|column| column.slice(all.start, all.len())).collect();
            return Ok((self.repeats(&offsets, all.len()), made));
        }
        let picks = Picks::of(&offsets, collection, self.outer);
        let mut made = Vec::new();
        if kind == Kind::PosExplode {
            made.push(Arc::new(Int32Array::from(picks.positions)) as ArrayRef);
        }
        for column in &columns {
            match (kind, column.as_struct_opt()) {
                (Kind::Inline, Some(structs)) => made.extend(fields(structs, &picks.elements)?),
                _ => made.push(chosen(column, &picks.elements)?),
            }
        }
        Ok((picks.rows, made))
    }

    /// The row of each of `total` elements; of no use, and zero, if no column of the input is read.
    fn repeats(&self, offsets: &OffsetBuffer<i32>, total: usize) -> UInt32Array {
        if !self.read.contains(&true) {
            return UInt32Array::from(vec![0; total]);
        }
        let rows = (0u32..).zip(offsets.lengths());
        rows.flat_map(|(row, length)| std::iter::repeat_n(row, length)).collect::<Vec<_>>().into()
    }
}

impl Expand for GenerateKernel {
    fn describe(&self) -> String {
        format!("generate {}{}", self.text, if self.outer { " outer" } else { "" })
    }

    fn expand(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let (picks, made) = self.generate(rows)?;
        let repeated = rows.columns().iter().zip(&self.read).map(|(column, read)| match read {
            true => Ok(take(column, &picks, None)?),
            false => Ok(new_null_array(column.data_type(), picks.len())),
        });
        let mut columns = repeated.collect::<Result<Vec<_>>>()?;
        columns.extend(made);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn reading(&self, columns: &[usize]) -> Option<Arc<dyn Expand>> {
        let read = (0..self.read.len()).map(|column| columns.contains(&column)).collect();
        Some(Arc::new(Self { read, ..self.clone() }))
    }
}

/// Offsets of a list's or map's rows, and the columns of their elements.
fn parts(collection: &ArrayRef) -> Result<(OffsetBuffer<i32>, Vec<ArrayRef>)> {
    match collection.data_type() {
        DataType::List(_) => {
            let list = collection.as_list::<i32>();
            Ok((list.offsets().clone(), vec![Arc::clone(list.values())]))
        }
        DataType::Map(..) => {
            let map = collection.as_map();
            Ok((map.offsets().clone(), vec![Arc::clone(map.keys()), Arc::clone(map.values())]))
        }
        DataType::Null => Ok((OffsetBuffer::new_zeroed(collection.len()), vec![new_null_array(&DataType::Null, 0)])),
        other => Err(Error::internal(format!("a generator was given a value of type {other}"))),
    }
}

/// Which input row, position and element each output row is made of.
struct Picks {
    rows: UInt32Array,
    positions: Vec<Option<i32>>,
    elements: UInt32Array,
}

impl Picks {
    fn of(offsets: &OffsetBuffer<i32>, collection: &ArrayRef, outer: bool) -> Self {
        let nulls = collection.logical_nulls();
        let (mut rows, mut positions, mut elements) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (window, index)) in (0u32..).zip(offsets.windows(2).zip(0usize..)) {
            let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(index));
            let (start, end) = if valid { (window[0], window[1]) } else { (0, 0) };
            for element in start..end {
                rows.push(row);
                positions.push(Some(element - start));
                elements.push(Some(element.unsigned_abs()));
            }
            if outer && start == end {
                rows.push(row);
                positions.push(None);
                elements.push(None);
            }
        }
        Self { rows: UInt32Array::from(rows), positions, elements: UInt32Array::from(elements) }
    }
}

/// The picked elements; all of a run are taken without a copy.
fn chosen(column: &ArrayRef, picks: &UInt32Array) -> Result<ArrayRef> {
    match (picks.values().first(), picks.values().last()) {
        (Some(first), Some(last)) if picks.null_count() == 0 && (last - first) as usize + 1 == picks.len() => {
            Ok(column.slice(*first as usize, picks.len()))
        }
        _ => Ok(take(column, picks, None)?),
    }
}

/// The fields of the picked structs; null where the struct is.
fn fields(structs: &StructArray, picks: &UInt32Array) -> Result<Vec<ArrayRef>> {
    let present = |pick: Option<u32>| pick.filter(|index| structs.is_valid(*index as usize));
    let picks: UInt32Array = picks.iter().map(present).collect();
    structs.columns().iter().map(|column| Ok(take(column, &picks, None)?)).collect()
}

/// `stack(n, v1, v2, ...)`: each row becomes `n` rows of as many columns as needed; missing values are null.
fn stack(count: &ArrayRef, values: &[ArrayRef], rows: usize) -> Result<(UInt32Array, Vec<ArrayRef>)> {
    let count = count.as_primitive_opt::<Int32Type>().and_then(|count| count.iter().flatten().next()).unwrap_or(0);
    let (count, total) = (usize::try_from(count).unwrap_or(0).max(1), u32::try_from(rows).unwrap_or(u32::MAX));
    let width = values.len().div_ceil(count).max(1);
    let picks = (0..total).flat_map(|row| std::iter::repeat_n(row, count)).collect();
    let order: Vec<_> = (0..rows).flat_map(|row| (0..count).map(move |line| (line, row))).collect();
    let column = |index: usize| {
        let typed = |line: usize| {
            values
                .get(line * width + index)
                .cloned()
                .or_else(|| Some(new_null_array(values.get(index)?.data_type(), rows)))
        };
        let lines: Vec<ArrayRef> = (0..count).filter_map(typed).collect();
        let lines: Vec<&dyn Array> = lines.iter().map(AsRef::as_ref).collect();
        Ok(interleave(&lines, &order)?)
    };
    Ok((picks, (0..width.min(values.len())).map(column).collect::<Result<_>>()?))
}
