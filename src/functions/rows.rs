//! Columns of arguments for kernels that compute row by row over typed values.
//!
//! In: the evaluated arguments of one invocation. Out: the result column. A constant argument stays one value and is never
//! expanded; if all arguments are constants the closure runs once. Values are written straight into the result's buffers, so
//! no row costs an allocation.

use std::fmt;
use std::io;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayAccessor, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryBuilder, BooleanArray, ListBuilder,
    PrimitiveArray, StringArray, StringBuilder,
};
use arrow::datatypes::DataType;

use super::kernel::{Arguments, Kernel};
use super::numbers;
use crate::types::list_item;
use crate::{Error, Result};

/// A kernel of this name and result type that computes its column from [`Rows`].
pub fn over_rows<F>(name: &'static str, result: DataType, run: F) -> Kernel
where
    F: Fn(&Rows<'_>) -> Result<ArrayRef> + Send + Sync + 'static,
{
    Kernel::columns(name, result, move |args, len| run(&Rows { args, len }))
}

/// The arguments of one invocation and the number of rows to give.
pub struct Rows<'a> {
    args: &'a Arguments,
    len: usize,
}

/// One argument as a column; a constant has one value for all rows.
pub struct Column<'a, A> {
    array: &'a A,
    constant: bool,
}

impl<'a, A: Array> Column<'a, A>
where
    &'a A: ArrayAccessor,
{
    /// The value at `row`, `None` if it is null.
    pub fn get(&self, row: usize) -> Option<<&'a A as ArrayAccessor>::Item> {
        let row = if self.constant { 0 } else { row };
        (!self.array.is_null(row)).then(|| self.array.value(row))
    }

    /// The value that all rows have, if the argument is a constant that is not null.
    pub fn constant(&self) -> Option<<&'a A as ArrayAccessor>::Item> {
        if self.constant { self.get(0) } else { None }
    }

    /// The values; one if the argument is a constant.
    pub fn values(&self) -> &'a A {
        self.array
    }

    /// The values, if the argument is no constant.
    pub fn varying(&self) -> Option<&'a A> {
        (!self.constant).then_some(self.array)
    }
}

impl<'a> Rows<'a> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Number of arguments.
    pub fn arity(&self) -> usize {
        self.args.count()
    }

    /// The type of argument `i`.
    pub fn data_type(&self, i: usize) -> DataType {
        self.args.get(i).0.data_type().clone()
    }

    /// Argument `i` with one value for each row.
    pub fn array(&self, i: usize) -> Result<ArrayRef> {
        self.args.of_each(i, self.len)
    }

    /// Argument `i` as STRING.
    pub fn strings(&self, i: usize) -> Result<Column<'a, StringArray>> {
        let (array, constant) = self.args.get(i);
        let array = array.as_string_opt::<i32>().ok_or_else(|| mismatch(i, "STRING", array.data_type()))?;
        Ok(Column { array, constant })
    }

    /// Argument `i` as BINARY.
    pub fn binaries(&self, i: usize) -> Result<Column<'a, BinaryArray>> {
        let (array, constant) = self.args.get(i);
        let array = array.as_binary_opt::<i32>().ok_or_else(|| mismatch(i, "BINARY", array.data_type()))?;
        Ok(Column { array, constant })
    }

    /// Argument `i` as a number, date or time of type `T`.
    pub fn numbers<T: ArrowPrimitiveType>(&self, i: usize) -> Result<Column<'a, PrimitiveArray<T>>> {
        let (array, constant) = self.args.get(i);
        let array = array.as_primitive_opt::<T>().ok_or_else(|| mismatch(i, "a number", array.data_type()))?;
        Ok(Column { array, constant })
    }

    /// A column of numbers; `None` is null.
    pub fn give<T: ArrowPrimitiveType>(&self, mut value: impl FnMut(usize) -> Option<T::Native>) -> Result<ArrayRef> {
        self.try_give::<T>(|row| value(row).map(Ok))
    }

    /// A column of numbers; the first error ends it.
    pub fn try_give<T: ArrowPrimitiveType>(
        &self,
        mut value: impl FnMut(usize) -> Option<Result<T::Native>>,
    ) -> Result<ArrayRef> {
        let values = (0..self.len).map(|row| value(row).transpose());
        Ok(Arc::new(numbers::collect::<T>(self.len, values)?))
    }

    /// A column of booleans.
    pub fn give_booleans(&self, value: impl FnMut(usize) -> Option<bool>) -> Result<ArrayRef> {
        Ok(Arc::new((0..self.len).map(value).collect::<BooleanArray>()))
    }

    /// A column of booleans; the first error ends it.
    pub fn try_give_booleans(&self, mut value: impl FnMut(usize) -> Option<Result<bool>>) -> Result<ArrayRef> {
        let values = (0..self.len).map(|row| value(row).transpose()).collect::<Result<Vec<Option<bool>>>>()?;
        Ok(Arc::new(BooleanArray::from(values)))
    }

    /// A column of strings; each value is what `value` writes.
    pub fn give_strings(&self, mut value: impl FnMut(usize, &mut StringBuilder) -> Option<()>) -> Result<ArrayRef> {
        self.try_give_strings(|row, out| value(row, out).map(Ok))
    }

    /// A column of strings; the first error ends it.
    pub fn try_give_strings(
        &self,
        mut value: impl FnMut(usize, &mut StringBuilder) -> Option<Result<()>>,
    ) -> Result<ArrayRef> {
        let mut out = StringBuilder::with_capacity(self.len, self.len * 16);
        for row in 0..self.len {
            match value(row, &mut out).transpose()? {
                Some(()) => out.append_value(""),
                None => out.append_null(),
            }
        }
        Ok(Arc::new(out.finish()))
    }

    /// A column of binaries; each value is what `value` gives.
    pub fn try_give_binaries(
        &self,
        mut value: impl FnMut(usize, &mut BinaryBuilder) -> Option<Result<()>>,
    ) -> Result<ArrayRef> {
        let mut out = BinaryBuilder::with_capacity(self.len, self.len * 16);
        for row in 0..self.len {
            match value(row, &mut out).transpose()? {
                Some(()) => out.append_value(b""),
                None => out.append_null(),
            }
        }
        Ok(Arc::new(out.finish()))
    }

    /// Bytes of the first argument, if it is a column of strings: about what comes out when it is cut into pieces.
    fn text_bytes(&self) -> usize {
        let first = (self.arity() > 0).then(|| self.args.get(0)).filter(|(_, constant)| !constant);
        first.and_then(|(array, _)| array.as_string_opt()).map_or(0, |text| all_bytes(text).len())
    }

    /// A column of lists of strings; each list is the values that `value` appends.
    pub fn try_give_lists(
        &self,
        mut value: impl FnMut(usize, &mut StringBuilder) -> Option<Result<()>>,
    ) -> Result<ArrayRef> {
        let bytes = self.text_bytes();
        let values = StringBuilder::with_capacity(bytes / SHORT_TEXT, bytes);
        let mut out = ListBuilder::with_capacity(values, self.len).with_field(list_item(DataType::Utf8));
        for row in 0..self.len {
            let valid = value(row, out.values()).transpose()?.is_some();
            out.append(valid);
        }
        Ok(Arc::new(out.finish()))
    }
}

/// Bytes of a short piece of text, such as a word and a blank.
const SHORT_TEXT: usize = 6;

/// The bytes of all values of a column, one behind the other, also of those that are null.
pub fn all_bytes(text: &StringArray) -> &[u8] {
    let offsets = text.value_offsets();
    let range = offsets.first().zip(offsets.last()).map_or(0..0, |(first, last)| *first as usize..*last as usize);
    text.value_data().get(range).unwrap_or_default()
}

/// Writes text into a value in the making.
pub fn put(out: &mut impl fmt::Write, text: &str) {
    out.write_str(text).expect("writing into memory cannot fail");
}

/// Writes one character into a value in the making.
pub fn put_char(out: &mut impl fmt::Write, character: char) {
    out.write_char(character).expect("writing into memory cannot fail");
}

/// Writes bytes into a value in the making.
pub fn put_bytes(out: &mut impl io::Write, bytes: &[u8]) {
    out.write_all(bytes).expect("writing into memory cannot fail");
}

fn mismatch(argument: usize, expected: &str, found: &DataType) -> Error {
    Error::internal(format!("argument {} should be {expected} but is {found}", argument + 1))
}
