//! Conditions of a query on single columns of a record, asked before its row is built.
//!
//! In: what the query needs of columns, and what a decoder has found of a record. Out: whether it is certain that the query does not want
//! the row. What always holds: a row that is left out is one that the query would drop, whatever else it holds; when in doubt it is
//! built, and the query looks itself.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, Int64Type};

use super::DecodeContext;
use super::mode::Mode;
use crate::sources::predicate::{Predicate, Test};

/// A list of more values is left to the query, which looks them up.
const MOST_VALUES: usize = 16;

/// A condition on one column.
#[derive(Debug)]
pub(super) struct Condition {
    /// Which of the columns that are built.
    pub(super) column: usize,
    test: Test,
    values: Values,
}

/// What the column is compared with.
#[derive(Debug)]
enum Values {
    Whole(Vec<i64>),
    Text(Vec<String>),
}

/// What a decoder has found for a column.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found<'a> {
    /// Nothing, or null.
    Null,
    /// A whole number, for a column of such numbers.
    Whole(i64),
    /// The bytes of a text, for a column of texts.
    Text(&'a [u8]),
    /// Something else.
    Other,
}

/// The conditions that can be asked of records; `fields` are the columns that are built, in their order. Where a malformed record gives an
/// error or no row, all of each record has to be looked at, so there are none.
pub(super) fn conditions(context: &DecodeContext, fields: &Fields, mode: Mode) -> Vec<Condition> {
    let one = |predicate: &Predicate| {
        let name = context.schema.fields().get(predicate.column)?.name();
        let column = fields.iter().position(|field| field.name() == name)?;
        Some(Condition { column, test: predicate.test, values: values(predicate)? })
    };
    let asked = |predicate: &&Predicate| mode == Mode::Permissive && predicate.values.len() <= MOST_VALUES;
    context.filters.iter().filter(asked).filter_map(one).collect()
}

fn values(predicate: &Predicate) -> Option<Values> {
    match predicate.values.data_type() {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let values = cast(&predicate.values, &DataType::Int64).ok()?;
            Some(Values::Whole(values.as_primitive::<Int64Type>().values().to_vec()))
        }
        DataType::Utf8 => {
            let values = predicate.values.as_string::<i32>();
            Some(Values::Text(values.iter().flatten().map(str::to_owned).collect()))
        }
        _ => None,
    }
}

impl Condition {
    /// Whether the row of a record in which this was found for the column is certainly not wanted.
    #[inline]
    pub(super) fn refuses(&self, found: Found<'_>) -> bool {
        match (&self.values, found) {
            // Nothing that is compared with null holds.
            (_, Found::Null) => true,
            (Values::Whole(values), Found::Whole(number)) => !holds(self.test, &number, values.iter()),
            // What is no UTF-8 becomes another text.
            (Values::Text(values), Found::Text(text)) => {
                !holds(self.test, text, values.iter().map(String::as_bytes)) && std::str::from_utf8(text).is_ok()
            }
            _ => false,
        }
    }
}

/// Whether a value compares with one of these, of which there is one unless the test is for equality, as it should.
fn holds<'a, T: Ord + ?Sized + 'a>(test: Test, value: &T, mut values: impl Iterator<Item = &'a T>) -> bool {
    values.any(|wanted| match test {
        Test::In => value == wanted,
        Test::Less => value < wanted,
        Test::LessOrEqual => value <= wanted,
        Test::Greater => value > wanted,
        Test::GreaterOrEqual => value >= wanted,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Int32Array, RecordBatch, StringArray};
    use arrow::compute::filter_record_batch;
    use arrow::datatypes::Int32Type;

    use super::*;
    use crate::conf::Conf;
    use crate::formats::Format;
    use crate::formats::frames::Splitter;
    use crate::options::Options;
    use crate::types::parse_ddl;

    /// A condition on one of the columns `a INT, b STRING`, and who fulfils it.
    pub(in crate::formats) type Wanted = (Predicate, fn(&RecordBatch, usize) -> bool);

    pub(in crate::formats) fn wanted() -> Vec<Wanted> {
        let whole =
            |test, values: &[i32]| Predicate { column: 0, test, values: Arc::new(Int32Array::from(values.to_vec())) };
        let text =
            |test, values: &[&str]| Predicate { column: 1, test, values: Arc::new(StringArray::from(values.to_vec())) };
        fn a(rows: &RecordBatch, row: usize, holds: fn(i32) -> bool) -> bool {
            let values = rows.column(0).as_primitive::<Int32Type>();
            values.is_valid(row) && holds(values.value(row))
        }
        fn b(rows: &RecordBatch, row: usize, holds: fn(&str) -> bool) -> bool {
            let values = rows.column(1).as_string::<i32>();
            values.is_valid(row) && holds(values.value(row))
        }
        vec![
            (whole(Test::GreaterOrEqual, &[5]), |rows, row| a(rows, row, |value| value >= 5)),
            (whole(Test::Greater, &[5]), |rows, row| a(rows, row, |value| value > 5)),
            (whole(Test::Less, &[5]), |rows, row| a(rows, row, |value| value < 5)),
            (whole(Test::LessOrEqual, &[-3]), |rows, row| a(rows, row, |value| value <= -3)),
            (whole(Test::In, &[5, 7]), |rows, row| a(rows, row, |value| [5, 7].contains(&value))),
            (text(Test::In, &["x", "5"]), |rows, row| b(rows, row, |value| ["x", "5"].contains(&value))),
            (text(Test::Less, &["x"]), |rows, row| b(rows, row, |value| value < "x")),
            (text(Test::GreaterOrEqual, &["\u{e9}"]), |rows, row| b(rows, row, |value| value >= "\u{e9}")),
        ]
    }

    /// What condition `which` lets through of some records, asked of the decoder first or not, and how many rows were read.
    pub(in crate::formats) fn kept(
        format: &dyn Format,
        which: usize,
        filtered: bool,
        pairs: &[(&str, &str)],
        text: &str,
    ) -> (RecordBatch, usize) {
        let (predicate, holds) = wanted().remove(which);
        let schema = parse_ddl("a INT, b STRING, c BIGINT, _corrupt_record STRING").unwrap();
        let mut options = Options::default();
        pairs.iter().for_each(|(name, value)| options.set(*name, value));
        let filters = if filtered { vec![predicate] } else { Vec::new() };
        let context = DecodeContext { schema, projection: vec![0, 1, 2, 3], options, conf: Conf::default(), filters };
        let mut decoder = format.decoder(context).unwrap();
        let rows = decoder.decode(&Splitter::lines("test").push(text.as_bytes())).unwrap();
        let keep: BooleanArray = (0..rows.num_rows()).map(|row| Some(holds(&rows, row))).collect();
        (filter_record_batch(&rows, &keep).unwrap(), rows.num_rows() + decoder.left_out())
    }
}
