//! Values of any type inside cells: one encoded row, a list of them, or a set.
//!
//! Strings, structs and lists cannot lie in a cell as they are; their row encoding can, compares like the value, and
//! reuses the cell's memory. In: columns. Out: columns of the same types, or lists of them.

use std::hash::BuildHasher;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::keys::RowCodec;
use crate::{Error, Result};

/// An encoded row, or none yet. Its memory is reused.
#[derive(Default)]
pub(super) struct RowCell {
    bytes: Vec<u8>,
    set: bool,
}

impl RowCell {
    pub fn get(&self) -> Option<&[u8]> {
        self.set.then_some(self.bytes.as_slice())
    }

    pub fn set(&mut self, row: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(row);
        self.set = true;
    }

    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Encodes values of one type, and decodes cells that may hold none.
pub(super) struct ValueCodec {
    pub codec: RowCodec,
    null: Vec<u8>,
    data_type: DataType,
}

impl ValueCodec {
    pub fn new(data_type: &DataType) -> Result<Self> {
        let codec = RowCodec::new(std::slice::from_ref(data_type))?;
        let null = codec.encode(&[new_null_array(data_type, 1)])?.row(0).data().to_vec();
        Ok(ValueCodec { codec, null, data_type: data_type.clone() })
    }

    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    pub fn encode(&self, column: &ArrayRef) -> Result<arrow::row::Rows> {
        self.codec.encode(std::slice::from_ref(column))
    }

    /// A column of these values; none is null.
    pub fn decode<'a>(&'a self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef> {
        let columns = self.codec.decode(values.map(|value| value.unwrap_or(&self.null)))?;
        columns.into_iter().next().ok_or_else(|| Error::Internal("a row codec lost its column".to_string()))
    }
}

/// Encoded rows one after the other.
#[derive(Default)]
pub(super) struct RowList {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl RowList {
    pub fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, position: usize) -> &[u8] {
        let start = if position == 0 { 0 } else { self.ends[position - 1] };
        &self.bytes[start..self.ends[position]]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|position| self.get(position))
    }

    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }
}

/// Distinct encoded rows, in the order they came.
#[derive(Default)]
pub(super) struct RowSet {
    rows: RowList,
    index: HashTable<u32>,
}

impl RowSet {
    /// The position of `row`, and whether it is new.
    pub fn insert(&mut self, row: &[u8], seed: &DefaultHashBuilder) -> (usize, bool) {
        let hash = seed.hash_one(row);
        if let Some(position) = self.index.find(hash, |position| self.rows.get(*position as usize) == row) {
            return (*position as usize, false);
        }
        let position = self.rows.len();
        self.rows.push(row);
        let rows = &self.rows;
        self.index.insert_unique(hash, position as u32, |other| seed.hash_one(rows.get(*other as usize)));
        (position, true)
    }

    pub fn rows(&self) -> &RowList {
        &self.rows
    }

    pub fn heap_bytes(&self) -> usize {
        self.rows.heap_bytes() + self.index.allocation_size()
    }
}

/// `array<element>` as all lists here are typed.
pub(super) fn list_type(element: DataType) -> DataType {
    DataType::List(element_field(element))
}

fn element_field(element: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(element, true))
}

/// A list column of `lengths` over its elements.
pub(super) fn list_column(lengths: impl IntoIterator<Item = usize>, elements: ArrayRef) -> Result<ArrayRef> {
    let field = element_field(elements.data_type().clone());
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), elements, None)?))
}

/// The rows of several columns as one struct type, for lists of rows.
pub(super) fn struct_type(types: &[DataType]) -> DataType {
    DataType::Struct(struct_fields(types))
}

fn struct_fields(types: &[DataType]) -> Fields {
    types.iter().enumerate().map(|(number, t)| Field::new(format!("c{number}"), t.clone(), true)).collect()
}

/// Columns as one struct column of [`struct_type`].
pub(super) fn struct_column(columns: Vec<ArrayRef>, length: usize) -> Result<ArrayRef> {
    let types: Vec<_> = columns.iter().map(|column| column.data_type().clone()).collect();
    Ok(Arc::new(StructArray::try_new_with_length(struct_fields(&types), columns, None, length)?))
}

/// Calls `each(list, element)` for the elements of all lists, by position in the list column and in its values.
pub(super) fn each_element(column: &ArrayRef, mut each: impl FnMut(usize, usize)) {
    let lists = column.as_list::<i32>();
    for (row, bounds) in lists.offsets().windows(2).enumerate() {
        if lists.is_valid(row) {
            (bounds[0]..bounds[1]).for_each(|element| each(row, element as usize));
        }
    }
}
