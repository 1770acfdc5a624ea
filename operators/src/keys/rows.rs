//! Rows of any columns as comparable bytes, and the keys made of them.
//!
//! [`RowCodec`] wraps Arrow's row format with Spark's idea of equality and order: NaN is one value and the largest, -0.0
//! is 0.0, nulls come first. In: columns. Out: one byte string a row, that compares like the row, and back.

use arrow::array::ArrayRef;
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};

use super::ABSENT;
use super::arena::{Arena, ByteKey};
use super::normalize::{contains_floats, normalize_floats};
use super::slots::{Keys, Slots};
use crate::Result;

/// Encodes rows as bytes whose order is Spark's order of the rows, and decodes them.
pub struct RowCodec {
    converter: RowConverter,
    types: Vec<DataType>,
    floats: bool,
}

impl RowCodec {
    /// A codec for rows of these types, ascending with nulls first.
    ///
    /// # Errors
    /// A type the row format cannot hold.
    pub fn new(types: &[DataType]) -> Result<Self> {
        Self::with_order(types, &vec![SortOptions::default(); types.len()])
    }

    /// A codec that keeps every bit of floats: what it decodes is what was encoded.
    ///
    /// # Errors
    /// As [`RowCodec::new`].
    pub fn exact(types: &[DataType]) -> Result<Self> {
        Ok(RowCodec { floats: false, ..Self::new(types)? })
    }

    /// A codec whose bytes compare in the given order, one entry a column.
    ///
    /// # Errors
    /// As [`RowCodec::new`].
    pub fn with_order(types: &[DataType], order: &[SortOptions]) -> Result<Self> {
        let fields = types.iter().zip(order).map(|(t, order)| SortField::new_with_options(t.clone(), *order)).collect();
        let floats = types.iter().any(contains_floats);
        Ok(RowCodec { converter: RowConverter::new(fields)?, types: types.to_vec(), floats })
    }

    /// The rows of `columns`, encoded.
    ///
    /// # Errors
    /// Columns of other types or of different lengths.
    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Rows> {
        let mut rows = self.converter.empty_rows(columns.first().map_or(0, |column| column.len()), 0);
        self.encode_into(columns, &mut rows)?;
        Ok(rows)
    }

    /// As [`RowCodec::encode`], reusing the memory of rows made by this codec.
    ///
    /// # Errors
    /// As [`RowCodec::encode`].
    pub fn encode_into(&self, columns: &[ArrayRef], rows: &mut Rows) -> Result<()> {
        rows.clear();
        if self.floats {
            let normal = columns.iter().map(normalize_floats).collect::<Result<Vec<_>>>()?;
            self.converter.append(rows, &normal)?;
        } else {
            self.converter.append(rows, columns)?;
        }
        Ok(())
    }

    /// The columns of rows that this codec encoded.
    ///
    /// # Errors
    /// Only if the bytes are none of this codec's.
    pub fn decode<'a>(&self, rows: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        let columns = self.converter.convert_rows(rows.into_iter().map(|bytes| parser.parse(bytes)))?;
        columns.into_iter().zip(&self.types).map(|(column, expected)| restore(column, expected)).collect()
    }

    /// The types of a row's columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    fn empty(&self) -> Rows {
        self.converter.empty_rows(0, 0)
    }
}

/// The row format forgets dictionaries; the column gets its type back.
fn restore(column: ArrayRef, expected: &DataType) -> Result<ArrayRef> {
    if column.data_type() == expected { Ok(column) } else { Ok(cast(&column, expected)?) }
}

/// Keys of columns that no other store takes: several of which one is not fixed-width, lists, wide decimals, ...
pub(super) struct RowKeys {
    arena: Arena,
    codec: RowCodec,
    /// Reused from chunk to chunk.
    rows: Rows,
}

impl RowKeys {
    pub fn new(types: &[DataType]) -> Result<Self> {
        let codec = RowCodec::new(types)?;
        let rows = codec.empty();
        Ok(RowKeys { arena: Arena::default(), codec, rows })
    }

    pub fn slots(&self) -> &Slots {
        self.arena.slots()
    }

    pub fn lookup_or_insert(&mut self, columns: &[ArrayRef], groups: &mut Vec<u32>) -> Result<()> {
        self.codec.encode_into(columns, &mut self.rows)?;
        self.arena.insert_each(self.rows.iter().map(|row| Some(ByteKey::new(row.data()))), groups);
        Ok(())
    }

    pub fn lookup(&self, columns: &[ArrayRef], groups: &mut Vec<u32>) -> Result<()> {
        let rows = self.codec.encode(columns)?;
        self.arena.find_each(rows.iter().map(|row| Some(ByteKey::new(row.data()))), ABSENT, groups);
        Ok(())
    }

    pub fn reserve(&mut self, more: usize) {
        self.arena.reserve(more);
    }

    pub fn remove(&mut self, groups: &[u32]) {
        self.arena.remove(groups);
    }

    pub fn clear(&mut self) {
        self.arena.clear();
    }

    pub fn columns(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let (bytes, ends) = self.arena.gather(groups);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        self.codec.decode(starts.zip(&ends).map(|(start, end)| &bytes[start..*end]))
    }

    pub fn size_bytes(&self) -> usize {
        self.arena.size_bytes() + self.codec.converter.size() + self.rows.size()
    }
}
