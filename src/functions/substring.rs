//! Functions that cut a text into pieces or put pieces together: substring, left, right, overlay, concat, elt, ...
//!
//! In: STRING (or BINARY) values and positions that count from 1, or from the end if negative. Out: STRING, BINARY or
//! `ARRAY<STRING>` columns.

use arrow::array::{Array, AsArray, ListArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::logical_expr::{Expr, lit};

use super::arguments::{argument_type, coerced, is_binary};
use super::rows::{Column, Rows, over_rows, put, put_bytes};
use super::{Call, Function, coerce, function};
use crate::{Error, Result};

const BINARY: DataType = DataType::Binary;
const INT: DataType = DataType::Int32;
const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["substring", "substr"], substring),
    function(&["left"], |call| side(call, "left", |length| (1, length))),
    function(&["right"], |call| side(call, "right", |length| (length.saturating_neg(), length))),
    function(&["overlay"], overlay),
    function(&["substring_index"], substring_index),
    function(&["split_part"], split_part),
    function(&["reverse"], reverse),
    function(&["concat"], concat),
    function(&["concat_ws"], concat_ws),
    function(&["elt"], elt),
];

/// Where a piece starts and ends, counted from 0: `position` counts from 1, or from the end if negative.
fn span(length: usize, position: i32, count: i32) -> (usize, usize) {
    let start = match position {
        1.. => i64::from(position) - 1,
        0 => 0,
        _ => length as i64 + i64::from(position),
    };
    let end = (start + i64::from(count)).clamp(0, length as i64);
    (start.clamp(0, length as i64) as usize, end as usize)
}

/// The piece of `text` from character `position` on with `count` characters.
fn piece(text: &str, position: i32, count: i32) -> &str {
    // The number of characters matters only for positions from the end; bytes are an upper bound for the others.
    let length = if position < 0 { text.chars().count() } else { text.len() };
    let (start, end) = span(length, position, count);
    if end <= start {
        return "";
    }
    let mut boundaries = text.char_indices().map(|(index, _)| index);
    let from = boundaries.nth(start).unwrap_or(text.len());
    let to = boundaries.nth(end - start - 1).unwrap_or(text.len());
    &text[from..to]
}

fn byte_piece(bytes: &[u8], position: i32, count: i32) -> &[u8] {
    let (start, end) = span(bytes.len(), position, count);
    bytes.get(start..end).unwrap_or_default()
}

fn substring(mut call: Call<'_>) -> Result<Expr> {
    let binary = is_binary(&call, 0)?;
    let result = if binary { BINARY } else { STRING };
    let args = coerced(&mut call, 2..=3, &[result.clone(), INT, INT])?;
    Ok(over_rows("substring", result, move |rows| {
        let position = rows.numbers::<Int32Type>(1)?;
        let count = (rows.arity() > 2).then(|| rows.numbers::<Int32Type>(2)).transpose()?;
        give_pieces(rows, binary, |row| {
            let count = count.as_ref().map_or(Some(i32::MAX), |count| count.get(row))?;
            Some((position.get(row)?, count))
        })
    })
    .call(args))
}

fn side(mut call: Call<'_>, name: &'static str, place: fn(i32) -> (i32, i32)) -> Result<Expr> {
    let binary = is_binary(&call, 0)?;
    let result = if binary { BINARY } else { STRING };
    let args = coerced(&mut call, 2..=2, &[result.clone(), INT])?;
    Ok(over_rows(name, result, move |rows| {
        let length = rows.numbers::<Int32Type>(1)?;
        give_pieces(rows, binary, |row| match length.get(row)? {
            length @ 1.. => Some(place(length)),
            _ => Some((1, 0)),
        })
    })
    .call(args))
}

fn give_pieces(
    rows: &Rows<'_>,
    binary: bool,
    place: impl Fn(usize) -> Option<(i32, i32)>,
) -> Result<arrow::array::ArrayRef> {
    if binary {
        let bytes = rows.binaries(0)?;
        return rows.try_give_binaries(|row, out| {
            let (position, count) = place(row)?;
            put_bytes(out, byte_piece(bytes.get(row)?, position, count));
            Some(Ok(()))
        });
    }
    let text = rows.strings(0)?;
    rows.give_strings(|row, out| {
        let (position, count) = place(row)?;
        put(out, piece(text.get(row)?, position, count));
        Some(())
    })
}

fn overlay(mut call: Call<'_>) -> Result<Expr> {
    if is_binary(&call, 0)? {
        return overlay_bytes(call);
    }
    let args = coerced(&mut call, 3..=4, &[STRING, STRING, INT, INT])?;
    Ok(over_rows("overlay", STRING, |rows| {
        let (text, replacement) = (rows.strings(0)?, rows.strings(1)?);
        let place = overlay_place(rows)?;
        rows.give_strings(|row, out| {
            let (text, replacement) = (text.get(row)?, replacement.get(row)?);
            let (position, length) = place(row, &|| replacement.chars().count())?;
            put(out, piece(text, 1, position.saturating_sub(1)));
            put(out, replacement);
            put(out, piece(text, position.saturating_add(length), i32::MAX));
            Some(())
        })
    })
    .call(args))
}

fn overlay_bytes(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 3..=4, &[BINARY, BINARY, INT, INT])?;
    Ok(over_rows("overlay", BINARY, |rows| {
        let (bytes, replacement) = (rows.binaries(0)?, rows.binaries(1)?);
        let place = overlay_place(rows)?;
        rows.try_give_binaries(|row, out| {
            let (bytes, replacement) = (bytes.get(row)?, replacement.get(row)?);
            let (position, length) = place(row, &|| replacement.len())?;
            put_bytes(out, byte_piece(bytes, 1, position.saturating_sub(1)));
            put_bytes(out, replacement);
            put_bytes(out, byte_piece(bytes, position.saturating_add(length), i32::MAX));
            Some(Ok(()))
        })
    })
    .call(args))
}

/// Position and length of the part that is replaced; a missing or negative length is that of the replacement.
type Place<'a> = Box<dyn Fn(usize, &dyn Fn() -> usize) -> Option<(i32, i32)> + 'a>;

fn overlay_place<'a>(rows: &Rows<'a>) -> Result<Place<'a>> {
    let position = rows.numbers::<Int32Type>(2)?;
    let length = (rows.arity() > 3).then(|| rows.numbers::<Int32Type>(3)).transpose()?;
    Ok(Box::new(move |row, replacement_length| {
        let length = length.as_ref().map_or(Some(-1), |length| length.get(row))?;
        let length = if length < 0 { replacement_length() as i32 } else { length };
        Some((position.get(row)?, length))
    }))
}

fn substring_index(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 3..=3, &[STRING, STRING, INT])?;
    Ok(over_rows("substring_index", STRING, |rows| {
        let (text, delimiter, count) = (rows.strings(0)?, rows.strings(1)?, rows.numbers::<Int32Type>(2)?);
        rows.give_strings(|row, out| {
            put(out, before_nth(text.get(row)?, delimiter.get(row)?, count.get(row)?));
            Some(())
        })
    })
    .call(args))
}

/// What stands before the `count`-th delimiter, or after it counting from the end if negative. Delimiters may overlap.
fn before_nth<'a>(text: &'a str, delimiter: &str, count: i32) -> &'a str {
    let (Some(first), Some(last)) = (delimiter.chars().next(), delimiter.chars().next_back()) else { return "" };
    let wanted = count.unsigned_abs();
    if count > 0 {
        let mut from = 0;
        for n in 1..=wanted {
            let Some(found) = text[from..].find(delimiter) else { return text };
            if n == wanted {
                return &text[..from + found];
            }
            from += found + first.len_utf8();
        }
        return "";
    }
    let mut until = text.len();
    for n in 1..=wanted {
        let Some(found) = text[..until].rfind(delimiter) else { return text };
        if n == wanted {
            return &text[found + delimiter.len()..];
        }
        until = found + delimiter.len() - last.len_utf8();
    }
    ""
}

fn split_part(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 3..=3, &[STRING, STRING, INT])?;
    Ok(over_rows("split_part", STRING, |rows| {
        let (text, delimiter, number) = (rows.strings(0)?, rows.strings(1)?, rows.numbers::<Int32Type>(2)?);
        rows.try_give_strings(|row, out| {
            let part = part(text.get(row)?, delimiter.get(row)?, number.get(row)?);
            Some(part.map(|part| put(out, part)))
        })
    })
    .call(args))
}

fn part<'a>(text: &'a str, delimiter: &str, number: i32) -> Result<&'a str> {
    let nth = (number.unsigned_abs() as usize)
        .checked_sub(1)
        .ok_or_else(|| Error::data("INVALID_INDEX_OF_ZERO", "the index 0 is invalid, an index counts from 1 or -1"))?;
    if delimiter.is_empty() {
        return Ok(if nth == 0 { text } else { "" });
    }
    let part = if number > 0 { text.split(delimiter).nth(nth) } else { nth_from_end(text, delimiter, nth) };
    Ok(part.unwrap_or(""))
}

/// The `nth` part from the end; the parts are found from the start, which matters for delimiters like `aa`.
fn nth_from_end<'a>(text: &'a str, delimiter: &str, nth: usize) -> Option<&'a str> {
    let parts = text.split(delimiter).count();
    text.split(delimiter).nth(parts.checked_sub(nth + 1)?)
}

fn reverse(mut call: Call<'_>) -> Result<Expr> {
    if matches!(argument_type(&call, 0)?, Some(DataType::List(_))) {
        return Ok(datafusion::functions_nested::reverse::array_reverse_udf().call(call.values(1..=1)?));
    }
    if is_binary(&call, 0)? {
        return reverse_bytes(call);
    }
    let args = coerced(&mut call, 1..=1, &[STRING])?;
    Ok(over_rows("reverse", STRING, |rows| {
        let text = rows.strings(0)?;
        rows.give_strings(|row, out| {
            text.get(row)?.chars().rev().for_each(|character| super::rows::put_char(out, character));
            Some(())
        })
    })
    .call(args))
}

fn reverse_bytes(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(1..=1)?;
    Ok(over_rows("reverse_bytes", DataType::Binary, |rows| {
        let bytes = rows.binaries(0)?;
        rows.try_give_binaries(|row, out| {
            bytes.get(row)?.iter().rev().for_each(|byte| super::rows::put_bytes(out, &[*byte]));
            Some(Ok(()))
        })
    })
    .call(args))
}

fn concat(mut call: Call<'_>) -> Result<Expr> {
    let types = (0..call.args.len()).map(|i| argument_type(&call, i)).collect::<Result<Vec<_>>>()?;
    let types: Vec<DataType> = types.into_iter().flatten().collect();
    if types.is_empty() && call.args.is_empty() {
        return Ok(lit(""));
    }
    if types.iter().any(|data_type| matches!(data_type, DataType::List(_))) {
        check_joinable(&call, &types)?;
        return concat_arrays(call);
    }
    if types.iter().all(|data_type| matches!(data_type, DataType::Binary)) {
        return concat_bytes(call);
    }
    let args = coerced(&mut call, 1..=usize::MAX, &[STRING])?;
    Ok(over_rows("concat", STRING, |rows| {
        let texts = (0..rows.arity()).map(|i| rows.strings(i)).collect::<Result<Vec<_>>>()?;
        rows.give_strings(|row, out| texts.iter().try_for_each(|text| Some(put(out, text.get(row)?))))
    })
    .call(args))
}

/// Texts, bytes and arrays can be joined (not all with each other); maps and structs cannot.
fn check_joinable(call: &Call<'_>, types: &[DataType]) -> Result<()> {
    let other = types.iter().find(|data_type| matches!(data_type, DataType::Map(..) | DataType::Struct(_)));
    other.map_or(Ok(()), |other| {
        let required = "(\"STRING\" or \"BINARY\" or \"ARRAY\")";
        let message = format!(
            "an argument of '{}' is of type {} but {required} is required",
            call.name,
            coerce::type_name(other)
        );
        Err(Error::query("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message))
    })
}

fn concat_bytes(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 1..=usize::MAX, &[BINARY])?;
    Ok(over_rows("concat", BINARY, |rows| {
        let parts = (0..rows.arity()).map(|i| rows.binaries(i)).collect::<Result<Vec<_>>>()?;
        rows.try_give_binaries(|row, out| {
            parts.iter().try_for_each(|part| Some(put_bytes(out, part.get(row)?)))?;
            Some(Ok(()))
        })
    })
    .call(args))
}

fn concat_arrays(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(1..=usize::MAX)?;
    let (args, result) = coerce::to_common(args, call.schema, call.conf)?;
    let arity = args.len();
    Ok(over_rows("concat", result, move |rows| {
        let arrays = (0..arity).map(|i| rows.array(i)).collect::<Result<Vec<_>>>()?;
        let lists = arrays.iter().map(|array| array.as_list_opt::<i32>()).collect::<Option<Vec<_>>>();
        concat_lists(&lists.ok_or_else(|| Error::internal("concat got something else than arrays"))?, rows.len())
    })
    .call(args))
}

/// The lists of each row one after the other; null if one of them is.
fn concat_lists(lists: &[&ListArray], rows: usize) -> Result<arrow::array::ArrayRef> {
    let Some(first) = lists.first() else { return Err(Error::internal("concat has no arguments")) };
    let DataType::List(item) = first.data_type() else { return Err(Error::internal("concat got no array")) };
    let values: Vec<_> = lists.iter().map(|list| list.values().to_data()).collect();
    let mut joined = arrow::array::MutableArrayData::new(values.iter().collect(), false, 0);
    let mut offsets = vec![0i32];
    let mut valid = Vec::with_capacity(rows);
    let mut length = 0usize;
    for row in 0..rows {
        valid.push(lists.iter().all(|list| list.is_valid(row)));
        for (i, list) in lists.iter().enumerate().filter(|_| valid[row]) {
            let (start, end) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
            joined.try_extend(i, start, end)?;
            length += end - start;
        }
        offsets.push(
            i32::try_from(length)
                .map_err(|_| Error::data("COLLECTION_SIZE_LIMIT_EXCEEDED.FUNCTION", "an array is too long"))?,
        );
    }
    let values = arrow::array::make_array(joined.freeze());
    let list =
        ListArray::try_new(item.clone(), arrow::buffer::OffsetBuffer::new(offsets.into()), values, Some(valid.into()))?;
    Ok(std::sync::Arc::new(list))
}

fn concat_ws(mut call: Call<'_>) -> Result<Expr> {
    let args = call.values(1..=usize::MAX)?;
    let strings = crate::types::list(STRING);
    let mut coerced = Vec::with_capacity(args.len());
    for (i, arg) in args.into_iter().enumerate() {
        let is_list = i > 0 && matches!(call.type_of(&arg)?, DataType::List(_));
        coerced.push(coerce::implicit(arg, if is_list { &strings } else { &STRING }, call.schema, call.conf)?);
    }
    Ok(over_rows("concat_ws", STRING, |rows| {
        let separator = rows.strings(0)?;
        let parts = (1..rows.arity()).map(|i| Texts::new(rows, i)).collect::<Result<Vec<_>>>()?;
        rows.give_strings(|row, out| {
            let mut joined = Joined { out, separator: separator.get(row)?, empty: true };
            parts.iter().for_each(|part| part.put(row, &mut joined));
            Some(())
        })
    })
    .call(coerced))
}

/// A text or an array of texts at each row.
enum Texts<'a> {
    One(Column<'a, StringArray>),
    Many(ListArray),
}

/// Texts with a separator in between.
struct Joined<'a> {
    out: &'a mut StringBuilder,
    separator: &'a str,
    empty: bool,
}

impl Joined<'_> {
    fn add(&mut self, text: &str) {
        if !self.empty {
            put(self.out, self.separator);
        }
        self.empty = false;
        put(self.out, text);
    }
}

impl<'a> Texts<'a> {
    fn new(rows: &Rows<'a>, i: usize) -> Result<Self> {
        if rows.data_type(i) == STRING {
            return Ok(Texts::One(rows.strings(i)?));
        }
        let array = rows.array(i)?;
        let list = array.as_list_opt::<i32>().filter(|list| list.values().as_string_opt::<i32>().is_some());
        list.cloned().map(Texts::Many).ok_or_else(|| Error::internal("concat_ws got something else than texts"))
    }

    fn put(&self, row: usize, joined: &mut Joined<'_>) {
        match self {
            Texts::One(text) => {
                if let Some(text) = text.get(row) {
                    joined.add(text);
                }
            }
            Texts::Many(list) if list.is_valid(row) => {
                let values = list.values().as_string::<i32>();
                let (start, end) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
                (start..end).filter(|&i| values.is_valid(i)).for_each(|i| joined.add(values.value(i)));
            }
            Texts::Many(_) => {}
        }
    }
}

fn elt(mut call: Call<'_>) -> Result<Expr> {
    let all_binary = call.args.len() > 1
        && (1..call.args.len()).try_fold(true, |all, i| Ok::<_, Error>(all && is_binary(&call, i)?))?;
    let result = if all_binary { BINARY } else { STRING };
    let args = coerced(&mut call, 2..=usize::MAX, &[INT, result.clone()])?;
    let ansi = call.conf.ansi();
    let kernel = over_rows("elt", result, move |rows| {
        let index = rows.numbers::<Int32Type>(0)?;
        let choices = rows.arity() - 1;
        let chosen = |row| choice(index.get(row)?, choices, ansi).transpose();
        if all_binary {
            let values = (1..=choices).map(|i| rows.binaries(i)).collect::<Result<Vec<_>>>()?;
            return rows.try_give_binaries(|row, out| match chosen(row)? {
                Ok(i) => Some(Ok(put_bytes(out, values[i].get(row)?))),
                Err(error) => Some(Err(error)),
            });
        }
        let values = (1..=choices).map(|i| rows.strings(i)).collect::<Result<Vec<_>>>()?;
        rows.try_give_strings(|row, out| match chosen(row)? {
            Ok(i) => Some(Ok(put(out, values[i].get(row)?))),
            Err(error) => Some(Err(error)),
        })
    });
    Ok(kernel.key(ansi).call(args))
}

/// Which of `choices` values the index (from 1) means; outside it is an error under ANSI, else null.
fn choice(index: i32, choices: usize, ansi: bool) -> Result<Option<usize>> {
    match usize::try_from(index) {
        Ok(index) if (1..=choices).contains(&index) => Ok(Some(index - 1)),
        _ if !ansi => Ok(None),
        _ => Err(Error::data(
            "INVALID_ARRAY_INDEX",
            format!("the index {index} is out of bounds, there are {choices} elements"),
        )),
    }
}
