//! Aggregation by several sets of keys: each row is given once per set, with nulls for the keys the set lacks and with the set's
//! number as one more key; behind that it is a grouped aggregation like any other. Sets without the event time have no closing
//! time: their groups stay for ever, and in append mode they never come, as in Spark.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Aggregate, Expr};
use thalweg_operators::change::without_change;

use super::super::batch::kernels::Expand;
use super::super::dataflow::{Group, Node, Step};
use super::super::grouping_sets::{event_time_key, keys, numbers};
use super::aggregate::{Columns, event_time};
use super::late::tap_columns;
use super::{Lowering, arrow_schema};
use crate::Result;

impl Lowering {
    pub(super) fn grouping_sets(&mut self, aggregate: &Aggregate, sets: &[Vec<Expr>]) -> Result<Node> {
        let input = self.operand(&aggregate.input)?;
        let keys = keys(aggregate)?;
        let mut columns = Columns::new(aggregate.input.schema());
        let sources = keys.iter().map(|key| columns.add(key)).collect::<Result<Vec<_>>>()?;
        let aggregates = columns.calls(&aggregate.aggr_expr)?;
        let closing = match event_time_key(aggregate)? {
            Some((key, expr, data_type)) => Some((key, columns.add(&event_time(expr.clone(), data_type))?)),
            None => None,
        };
        let tap = tap_columns(&aggregate.input).map(|tap| columns.tapped(tap));
        let input = self.project(input, columns);
        let bare = if input.changelog { without_change(&input.schema) } else { input.schema.clone() };
        let width = bare.fields().len();
        let kernel = Sets::new(&bare, (sources, closing), aggregate.schema.field(keys.len()), &keys, sets)?;
        let schema = DFSchema::try_from(kernel.schema.as_ref().clone())?;
        let input = self.step(input, Step::Expand(Arc::new(kernel)), &schema);
        let time = closing.map(|_| width + keys.len() + 1);
        let lasting = closing.is_some_and(|(key, _)| sets.iter().any(|set| !set.contains(keys[key])));
        let (keys, mode) = (key_columns(width, &keys), self.group_mode());
        let group = Group { keys, aggregates, mode, time, window: None, lasting };
        Ok(self.grouped(input, group, arrow_schema(&aggregate.schema), tap))
    }
}

/// The keys of a set and its number, behind the columns of the rows.
fn key_columns(width: usize, keys: &[&Expr]) -> Vec<usize> {
    let range: Range<usize> = width..width + keys.len() + 1;
    range.collect()
}

/// The kernel: all columns as they are, then the keys of a set, then the set's number, then the closing time if there is an event
/// time among the keys.
struct Sets {
    /// The column of each key.
    keys: Vec<usize>,
    /// Which key is the event time, and the column with the closing time.
    closing: Option<(usize, usize)>,
    /// For each set: which keys it has, and its number as an array of one.
    sets: Vec<(Vec<bool>, ArrayRef)>,
    schema: SchemaRef,
}

impl Sets {
    /// `places`: the column of each key; which key is the event time, and the column with the closing time.
    fn new(
        input: &SchemaRef,
        places: (Vec<usize>, Option<(usize, usize)>),
        number: &Field,
        keys: &[&Expr],
        sets: &[Vec<Expr>],
    ) -> Result<Self> {
        let (columns, closing) = places;
        let copy = |(n, column): (usize, &usize)| input.field(*column).clone().with_name(format!("_key_{n}"));
        let copies = columns.iter().enumerate().map(copy).map(Arc::new);
        let fields: Vec<FieldRef> = input.fields().iter().cloned().chain(copies).collect();
        let last = Arc::new(Field::new("_set", number.data_type().clone(), true));
        let time = closing.map(|(_, column)| input.field(column).clone().with_name("_closing").with_nullable(true));
        let fields = fields.into_iter().chain([last]).chain(time.map(Arc::new));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let of_set = |(set, number_of_set): (&Vec<Expr>, u64)| {
            let number_of_set = cast(&UInt64Array::from(vec![number_of_set]), number.data_type())?;
            Ok((keys.iter().map(|key| set.contains(key)).collect(), number_of_set))
        };
        let sets = sets.iter().zip(numbers(keys, sets)).map(of_set).collect::<Result<_>>()?;
        Ok(Sets { keys: columns, closing, sets, schema })
    }

    fn of_set(&self, rows: &RecordBatch, present: &[bool], number: &ArrayRef) -> Result<RecordBatch> {
        let key = |(column, present): (&usize, &bool)| match (rows.column(*column), present) {
            (column, true) => column.clone(),
            (column, false) => new_null_array(column.data_type(), rows.num_rows()),
        };
        let closing = self.closing.as_ref().map(|(place, column)| key((column, &present[*place])));
        let keys = self.keys.iter().zip(present).map(key);
        let mut columns: Vec<ArrayRef> = rows.columns().iter().cloned().chain(keys).collect();
        columns.push(repeated(number, rows.num_rows())?);
        columns.extend(closing);
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// The one value of an array as often as there are rows.
fn repeated(value: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    Ok(arrow::compute::take(value, &arrow::array::UInt32Array::from_value(0, rows), None)?)
}

impl Expand for Sets {
    fn describe(&self) -> String {
        format!("grouping sets n={}, keys={:?}", self.sets.len(), self.keys)
    }

    fn expand(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let parts = self.sets.iter().map(|(present, number)| self.of_set(rows, present, number));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(concat_batches(&self.schema, &parts)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, Int64Array};
    use arrow::datatypes::{DataType, Int64Type, UInt8Type};
    use datafusion::prelude::col;

    use super::*;

    #[test]
    fn a_row_comes_once_per_set_without_the_keys_it_lacks() {
        let input =
            Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Int64, true)]));
        let (a, b) = (col("a"), col("b"));
        let sets = [vec![a.clone(), b.clone()], vec![a.clone()], vec![]];
        let number = Field::new("n", DataType::UInt8, false);
        let kernel = Sets::new(&input, (vec![0, 1], None), &number, &[&a, &b], &sets).unwrap();
        let column = |values: [Option<i64>; 2]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let rows = RecordBatch::try_new(input, vec![column([Some(1), None]), column([Some(5), Some(6)])]).unwrap();
        let out = kernel.expand(&rows).unwrap();
        let values = |at: usize| out.column(at).as_primitive::<Int64Type>().iter().collect::<Vec<_>>();
        assert_eq!(values(1), [Some(5), Some(6), Some(5), Some(6), Some(5), Some(6)]);
        assert_eq!(values(2), [Some(1), None, Some(1), None, None, None]);
        assert_eq!(values(3), [Some(5), Some(6), None, None, None, None]);
        assert_eq!(out.column(4).as_primitive::<UInt8Type>().values(), &[0, 0, 1, 1, 3, 3]);
        assert_eq!(out.column(4).null_count(), 0);
    }
}
