//! The rows a text decoder is building: the wanted columns, and the column for malformed records among them.
//!
//! In: the output schema. Out: record batches in exactly that schema. The decoder fills [`Rows::columns`], which leave the
//! corrupt-record column out, and says for each finished row whether its record was good.

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Fields, SchemaRef};

use super::columns::{Column, MAX_CHUNK_BYTES};
use super::mode::corrupt_column;
use super::{DecodeContext, Frames};
use crate::{Error, Result};

/// Columns under construction.
#[derive(Debug)]
pub(crate) struct Rows {
    schema: SchemaRef,
    /// The data columns, in the order of the output.
    pub(crate) columns: Vec<Column>,
    corrupt: Option<Column>,
    /// Where the corrupt-record column stands in the output.
    corrupt_at: Option<usize>,
    count: usize,
}

/// Which records are malformed depends on which columns are read: without any the answer would have no meaning.
fn only_corrupt() -> Error {
    Error::query(
        "UNSUPPORTED_FEATURE.QUERY_ONLY_CORRUPT_RECORD_COLUMN",
        "queries of JSON and CSV files that use no column but the one for corrupt records are not supported",
    )
    .hint("Use another column of the file, too, or cache the rows first: write them to a table and query that.")
}

impl Rows {
    /// No rows yet.
    ///
    /// # Errors
    /// A corrupt-record column that is no STRING, or alone; a type that text cannot hold.
    pub(crate) fn new(context: &DecodeContext) -> Result<Rows> {
        let corrupt = corrupt_column(&context.schema, &context.options, &context.conf)?;
        if corrupt.is_some_and(|corrupt| context.projection == [corrupt]) {
            return Err(only_corrupt());
        }
        let schema = context.output_schema();
        let corrupt_at = corrupt_column(&schema, &context.options, &context.conf)?;
        let corrupt = corrupt_at.map(|at| Column::new(schema.field(at).data_type())).transpose()?;
        let mut rows = Rows { schema, columns: Vec::new(), corrupt, corrupt_at, count: 0 };
        rows.columns = rows.data_fields().iter().map(|field| Column::new(field.data_type())).collect::<Result<_>>()?;
        Ok(rows)
    }

    /// The fields of [`Rows::columns`].
    pub(crate) fn data_fields(&self) -> Fields {
        let fields = self.schema.fields().iter().enumerate();
        fields.filter(|(at, _)| Some(*at) != self.corrupt_at).map(|(_, field)| field.clone()).collect()
    }

    /// Number of finished rows.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Refuses chunks too large for 32-bit offsets.
    pub(crate) fn check_size(frames: &Frames) -> Result<()> {
        if frames.bytes.len() > MAX_CHUNK_BYTES {
            return Err(Error::internal(format!("a chunk of {} bytes is too large to decode", frames.bytes.len())));
        }
        Ok(())
    }

    /// Ends a row whose values were appended to all columns.
    pub(crate) fn end_row(&mut self) {
        self.count += 1;
    }

    /// Appends a row of nulls.
    pub(crate) fn push_nulls(&mut self) {
        self.columns.iter_mut().for_each(Column::push_null);
        self.end_row();
    }

    /// Says what the record was that gave all rows since `first`: its text if it was malformed.
    pub(crate) fn end_record(&mut self, first: usize, malformed: Option<&[u8]>) {
        let Some(corrupt) = &mut self.corrupt else { return };
        for _ in first..self.count {
            match malformed {
                Some(record) => corrupt.push_bytes(record),
                None => corrupt.push_null(),
            }
        }
    }

    /// Cuts back to `count` rows.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(count));
        if let Some(corrupt) = &mut self.corrupt {
            corrupt.truncate(count);
        }
        self.count = count;
    }

    /// The rows so far; none remain.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect::<Result<_>>()?;
        if let (Some(corrupt), Some(at)) = (&mut self.corrupt, self.corrupt_at) {
            arrays.insert(at, corrupt.finish()?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.count)));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)?)
    }
}
