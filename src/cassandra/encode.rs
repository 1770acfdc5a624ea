//! Rows → what statements are bound to.
//!
//! In: the cells of the columns, in the order of the statement's markers. Out: [`Rows`], the bytes of all rows of a chunk in one
//! piece, and [`Row`], a row of them that the driver can send. The partition key comes first in a row, so that its bytes can be
//! compared as they lie.

use std::ops::Range;
use std::sync::Arc;

use scylla::errors::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;

use super::convert::{Cells, put_cell};

const NULL: i32 = -1;
const UNSET: i32 = -2;

/// The bytes of a chunk's rows.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
    /// Where each row's partition key lies.
    keys: Vec<Range<usize>>,
}

impl Rows {
    /// Appends a row: its cells, of which the first `key` are the partition key. Nulls are written as such, or, if `unset`, left
    /// as they are at the store.
    pub(crate) fn push<'a>(
        &mut self,
        columns: impl IntoIterator<Item = &'a dyn Cells>,
        row: usize,
        key: usize,
        unset: bool,
    ) {
        let start = self.bytes.len();
        let mut end = start;
        for (n, cells) in columns.into_iter().enumerate() {
            match unset && cells.is_null(row) {
                true => self.bytes.extend(UNSET.to_be_bytes()),
                false => put_cell(cells, row, &mut self.bytes),
            }
            if n + 1 == key {
                end = self.bytes.len();
            }
        }
        self.keys.push(start..end);
        self.ends.push(self.bytes.len());
    }

    /// As [`Rows::push`], nulls as such, with a number before the cells.
    pub(crate) fn push_after<'a>(
        &mut self,
        first: i64,
        columns: impl IntoIterator<Item = &'a dyn Cells>,
        row: usize,
        key: usize,
    ) {
        self.bytes.extend(8i32.to_be_bytes());
        self.bytes.extend(first.to_be_bytes());
        self.push(columns, row, key, false);
    }

    /// Appends a row of values that have their lengths with them.
    pub(crate) fn push_encoded<'a>(&mut self, cells: impl IntoIterator<Item = &'a Vec<u8>>) {
        cells.into_iter().for_each(|cell| self.bytes.extend_from_slice(cell));
        self.keys.push(self.bytes.len()..self.bytes.len());
        self.ends.push(self.bytes.len());
    }

    /// Appends a number to the row that was pushed last.
    pub(crate) fn extend_long(&mut self, value: i64) {
        self.bytes.extend(8i32.to_be_bytes());
        self.extend_raw(&value.to_be_bytes());
    }

    /// Appends a number to the row that was pushed last.
    pub(crate) fn extend_int(&mut self, value: i32) {
        self.bytes.extend(4i32.to_be_bytes());
        self.extend_raw(&value.to_be_bytes());
    }

    fn extend_raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if let Some(end) = self.ends.last_mut() {
            *end = self.bytes.len();
        }
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn start(&self, row: usize) -> usize {
        row.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0)
    }

    /// The bytes of a row.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        let end = self.ends.get(row).copied().unwrap_or(0);
        self.bytes.get(self.start(row)..end).unwrap_or_default()
    }

    /// The bytes of a row's partition key.
    pub(crate) fn key(&self, row: usize) -> &[u8] {
        self.keys.get(row).and_then(|key| self.bytes.get(key.clone())).unwrap_or_default()
    }
}

/// One row, to be bound to a statement.
#[derive(Clone)]
pub(crate) struct Row {
    pub rows: Arc<Rows>,
    pub row: usize,
}

impl Row {
    /// The bytes of its partition key.
    pub(crate) fn key(&self) -> &[u8] {
        self.rows.key(self.row)
    }

    /// How many bytes its values are.
    pub(crate) fn len(&self) -> usize {
        self.rows.row(self.row).len()
    }
}

impl SerializeRow for Row {
    fn serialize(&self, _: &RowSerializationContext<'_>, writer: &mut RowWriter) -> Result<(), SerializationError> {
        let mut rest = self.rows.row(self.row);
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let cell = writer.make_cell_writer();
            rest = match i32::from_be_bytes(*length) {
                NULL => {
                    cell.set_null();
                    behind
                }
                UNSET => {
                    cell.set_unset();
                    behind
                }
                length => {
                    let (value, behind) = behind.split_at(usize::try_from(length).unwrap_or(0).min(behind.len()));
                    cell.set_value(value).map_err(SerializationError::new)?;
                    behind
                }
            };
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.rows.row(self.row).is_empty()
    }
}
