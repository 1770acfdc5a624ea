//! Functions over regular expressions in Java's syntax: rlike, regexp_replace, regexp_extract, split, ...
//!
//! In: STRING arguments. Out: BOOLEAN, INT, STRING or `ARRAY<STRING>` columns. A constant pattern is compiled when the query is
//! analysed.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, ListArray, NullBufferBuilder, StringArray, StringBuilder};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef, Int32Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, lit};

use super::access::invalid_index;
use super::arguments::{Compiled, coerced};
use super::java_regex::{Pattern, Purpose, Replacement};
use super::kernel::Kernel;
use super::rows::{Rows, all_bytes, over_rows, put, put_char};
use super::single::Value;
use super::{Call, Function, function};
use crate::sql::literal;
use crate::types::list_item;
use crate::{Error, Result, types};

const INT: DataType = DataType::Int32;
const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["rlike", "regexp", "regexp_like"], rlike),
    function(&["regexp_replace"], regexp_replace),
    function(&["regexp_extract"], regexp_extract),
    function(&["regexp_extract_all"], regexp_extract_all),
    function(&["regexp_count"], regexp_count),
    function(&["regexp_instr"], regexp_instr),
    function(&["regexp_substr"], regexp_substr),
    function(&["split"], split),
];

fn pattern(arg: &Expr, purpose: Purpose, function: &'static str) -> Result<Compiled<Pattern>> {
    Compiled::new(&[arg], move |texts| Pattern::new(texts[0], purpose, function))
}

fn rlike(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=2, &[STRING, STRING])?;
    let pattern = pattern(&args[1], Purpose::Test, "rlike")?;
    Ok(over_rows("rlike", DataType::Boolean, move |rows| {
        let (text, regexp) = (rows.strings(0)?, rows.strings(1)?);
        let mut pattern = pattern.start();
        rows.try_give_booleans(|row| {
            let (text, regexp) = (text.get(row)?, regexp.get(row)?);
            Some(pattern.get(&[regexp]).map(|pattern| pattern.regex.is_match(text)))
        })
    })
    .call(args))
}

fn regexp_replace(mut call: Call<'_>) -> Result<Expr> {
    let mut args = coerced(&mut call, 3..=4, &[STRING, STRING, STRING, INT])?;
    match args.get(3) {
        None => args.push(lit(1)),
        Some(position) => check_position(position)?,
    }
    let compiled = Compiled::new(&[&args[1], &args[2]], |texts| {
        let pattern = Pattern::new(texts[0], Purpose::Find, "regexp_replace")?;
        let replacement = Replacement::new(texts[1], &pattern);
        Ok((pattern, replacement))
    })?;
    Ok(over_rows("regexp_replace", STRING, move |rows| {
        let (text, regexp, replacement) = (rows.strings(0)?, rows.strings(1)?, rows.strings(2)?);
        let position = rows.numbers::<Int32Type>(3)?;
        let mut compiled = compiled.start();
        rows.try_give_strings(|row, out| {
            let (text, regexp, replacement) = (text.get(row)?, regexp.get(row)?, replacement.get(row)?);
            let start = utf16_offset(text, position.get(row)?.saturating_sub(1));
            let compiled = compiled.get(&[regexp, replacement]);
            Some(compiled.and_then(|(pattern, replacement)| put_replaced(out, text, start, pattern, replacement)))
        })
    })
    .call(args))
}

fn check_position(position: &Expr) -> Result<()> {
    use datafusion::common::ScalarValue;
    match super::arguments::constant(position)? {
        Some(ScalarValue::Int32(Some(position))) if position < 1 => Err(Error::query(
            "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
            format!("the position of function 'regexp_replace' must be at least 1 but is {position}"),
        )),
        _ => Ok(()),
    }
}

/// The byte at which the UTF-16 unit `units` of Java's text begins; `None` if the text is not that long.
fn utf16_offset(text: &str, units: i32) -> Option<usize> {
    let mut left = i64::from(units);
    for (index, character) in text.char_indices() {
        if left <= 0 {
            return Some(index);
        }
        left -= character.len_utf16() as i64;
    }
    (units == 0).then_some(text.len())
}

fn put_replaced(
    out: &mut StringBuilder,
    text: &str,
    start: Option<usize>,
    pattern: &Pattern,
    replacement: &Replacement,
) -> Result<()> {
    let Some(start) = start else { return Ok(put(out, text)) };
    let (before, text) = text.split_at(start);
    put(out, before);
    let mut copied = 0;
    for found in pattern.captures(text) {
        let Some(whole) = found.get(0) else { break };
        put(out, &text[copied..whole.start()]);
        replacement.expand(&found, |part| put(out, part))?;
        copied = whole.end();
    }
    put(out, &text[copied..]);
    Ok(())
}

/// The number of a group, checked against the pattern.
fn group_index(index: i32, pattern: &Pattern, function: &str) -> Result<usize> {
    let groups = pattern.groups();
    usize::try_from(index).ok().filter(|index| *index <= groups).ok_or_else(|| {
        Error::data(
            "INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX",
            format!("parameter 'idx' of function '{function}' should lie between 0 and {groups} but is {index}"),
        )
    })
}

fn regexp_extract(mut call: Call<'_>) -> Result<Expr> {
    let mut args = coerced(&mut call, 2..=3, &[STRING, STRING, INT])?;
    if args.len() == 2 {
        args.push(lit(1));
    }
    let pattern = pattern(&args[1], Purpose::Find, "regexp_extract")?;
    Ok(over_rows("regexp_extract", STRING, move |rows| {
        let (text, regexp, index) = (rows.strings(0)?, rows.strings(1)?, rows.numbers::<Int32Type>(2)?);
        let mut pattern = pattern.start();
        rows.try_give_strings(|row, out| {
            let (text, regexp, index) = (text.get(row)?, regexp.get(row)?, index.get(row)?);
            Some(pattern.get(&[regexp]).and_then(|pattern| put_group(out, text, pattern, index)))
        })
    })
    .call(args))
}

fn put_group(out: &mut StringBuilder, text: &str, pattern: &Pattern, index: i32) -> Result<()> {
    if let Some(found) = pattern.regex.captures(text) {
        let index = group_index(index, pattern, "regexp_extract")?;
        put(out, found.get(index).map_or("", |group| group.as_str()));
    }
    Ok(())
}

fn regexp_extract_all(mut call: Call<'_>) -> Result<Expr> {
    let mut args = coerced(&mut call, 2..=3, &[STRING, STRING, INT])?;
    if args.len() == 2 {
        args.push(lit(1));
    }
    let pattern = pattern(&args[1], Purpose::Find, "regexp_extract_all")?;
    Ok(over_rows("regexp_extract_all", types::list(STRING), move |rows| {
        let (text, regexp, index) = (rows.strings(0)?, rows.strings(1)?, rows.numbers::<Int32Type>(2)?);
        let mut pattern = pattern.start();
        rows.try_give_lists(|row, out| {
            let (text, regexp, index) = (text.get(row)?, regexp.get(row)?, index.get(row)?);
            Some(pattern.get(&[regexp]).and_then(|pattern| put_groups(out, text, pattern, index)))
        })
    })
    .call(args))
}

fn put_groups(out: &mut StringBuilder, text: &str, pattern: &Pattern, index: i32) -> Result<()> {
    for found in pattern.captures(text) {
        let index = group_index(index, pattern, "regexp_extract_all")?;
        out.append_value(found.get(index).map_or("", |group| group.as_str()));
    }
    Ok(())
}

/// An INT computed from a text and a pattern.
fn to_int(mut call: Call<'_>, name: &'static str, arity: usize, value: fn(&Pattern, &str) -> i32) -> Result<Expr> {
    let args = coerced(&mut call, 2..=arity, &[STRING, STRING, INT])?;
    let pattern = pattern(&args[1], Purpose::Find, name)?;
    Ok(over_rows(name, INT, move |rows| {
        let (text, regexp) = (rows.strings(0)?, rows.strings(1)?);
        let mut pattern = pattern.start();
        rows.try_give::<Int32Type>(|row| {
            let (text, regexp) = (text.get(row)?, regexp.get(row)?);
            Some(pattern.get(&[regexp]).map(|pattern| value(pattern, text)))
        })
    })
    .call(args))
}

fn regexp_count(call: Call<'_>) -> Result<Expr> {
    to_int(call, "regexp_count", 2, |pattern, text| pattern.matches(text).count() as i32)
}

fn regexp_instr(call: Call<'_>) -> Result<Expr> {
    to_int(call, "regexp_instr", 3, |pattern, text| match pattern.regex.find(text) {
        Some(found) => text[..found.start()].encode_utf16().count() as i32 + 1,
        None => 0,
    })
}

fn regexp_substr(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=2, &[STRING, STRING])?;
    let pattern = pattern(&args[1], Purpose::Find, "regexp_substr")?;
    Ok(over_rows("regexp_substr", STRING, move |rows| {
        let (text, regexp) = (rows.strings(0)?, rows.strings(1)?);
        let mut pattern = pattern.start();
        rows.try_give_strings(|row, out| {
            let (text, regexp) = (text.get(row)?, regexp.get(row)?);
            let found = match pattern.get(&[regexp]) {
                Ok(pattern) => pattern.regex.find(text).filter(|found| !found.is_empty())?,
                Err(error) => return Some(Err(error)),
            };
            Some(Ok(put(out, found.as_str())))
        })
    })
    .call(args))
}

fn split(mut call: Call<'_>) -> Result<Expr> {
    let mut args = coerced(&mut call, 2..=3, &[STRING, STRING, INT])?;
    if args.len() == 2 {
        args.push(lit(-1));
    }
    let pattern = pattern(&args[1], Purpose::Find, "split")?;
    let plain = plain_separator(&args, &pattern);
    let split = over_rows("split", types::list(STRING), move |rows| split_rows(rows, &pattern));
    Ok(split
        .elements(move |place, ansi| Some(part_of_split(place, ansi, plain?)).filter(|_| place <= LAST_PART))
        .call(args))
}

/// The separator, if it is one character of ASCII for all rows and the number of parts is not limited.
fn plain_separator(args: &[Expr], pattern: &Compiled<Pattern>) -> Option<u8> {
    let [_, regexp, Expr::Literal(ScalarValue::Int32(Some(..0)), _)] = args else { return None };
    separator(pattern.start().get(&[literal::constant_string(regexp)?]).ok()?)
}

/// Up to this one parts are looked for one by one; where more are wanted, it costs less to split once.
const LAST_PART: usize = 7;

/// What `split(...)[place]` is, without the other parts.
fn part_of_split(place: usize, ansi: bool, separator: u8) -> Kernel {
    let run = move |rows: &Rows<'_>| part_at(rows.strings(0)?.values(), separator, place, ansi);
    over_rows("part_of_split", STRING, run)
        .key(format_args!("{place}, {ansi}, {separator}"))
        .fallible_if(ansi)
        .singly(move |values| single_part(values, separator, place))
}

fn single_part<'a>(values: &[Value<'a>], separator: u8, place: usize) -> Option<Value<'a>> {
    let Some(Value::Text(text)) = values.first() else { return None };
    part(text, separator, place).map(Value::Text)
}

/// What lies before the first separator, behind the first, and so on, which is a character of ASCII.
fn part(text: &str, separator: u8, place: usize) -> Option<&str> {
    let next = |start: usize| text.as_bytes()[start..].iter().position(|byte| *byte == separator);
    let start = (0..place).try_fold(0, |start, _| Some(start + next(start)? + 1))?;
    text.get(start..next(start).map_or(text.len(), |length| start + length))
}

/// The part of each text before, between or behind separators.
fn part_at(text: &StringArray, separator: u8, place: usize, ansi: bool) -> Result<ArrayRef> {
    let mut bytes = Vec::with_capacity(all_bytes(text).len());
    let mut ends = Vec::with_capacity(text.len() + 1);
    let mut nulls = NullBufferBuilder::new(text.len());
    ends.push(0);
    for row in 0..text.len() {
        let part = if text.is_valid(row) { nth_part(text.value(row), separator, place, ansi)? } else { None };
        nulls.append(part.is_some());
        bytes.extend_from_slice(part.unwrap_or_default().as_bytes());
        ends.push(bytes.len() as i32);
    }
    Ok(Arc::new(StringArray::try_new(OffsetBuffer::new(ends.into()), bytes.into(), nulls.finish())?))
}

fn nth_part(text: &str, separator: u8, place: usize, ansi: bool) -> Result<Option<&str>> {
    match part(text, separator, place) {
        None if ansi => {
            let parts = text.bytes().filter(|byte| *byte == separator).count() + 1;
            Err(invalid_index(place as i32, parts as i32))
        }
        part => Ok(part),
    }
}

fn split_rows(rows: &Rows<'_>, pattern: &Compiled<Pattern>) -> Result<ArrayRef> {
    let (text, regexp, limit) = (rows.strings(0)?, rows.strings(1)?, rows.numbers::<Int32Type>(2)?);
    let mut pattern = pattern.start();
    if let (Some(text), Some(regexp), Some(..0)) = (text.varying(), regexp.constant(), limit.constant())
        && let Some(separator) = separator(pattern.get(&[regexp])?)
    {
        return split_at(text, separator);
    }
    rows.try_give_lists(|row, out| {
        let (text, regexp, limit) = (text.get(row)?, regexp.get(row)?, limit.get(row)?);
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        if regexp.is_empty() && !text.is_empty() {
            return Some(Ok(put_characters(out, text, limit)));
        }
        Some(pattern.get(&[regexp]).map(|pattern| put_parts(out, text, pattern, limit)))
    })
}

/// The byte that a pattern stands for, if it is one character of ASCII.
fn separator(pattern: &Pattern) -> Option<u8> {
    match pattern.literal()?.needle() {
        [byte] => Some(*byte),
        _ => None,
    }
}

/// The elements of a list of parts.
static PART: LazyLock<FieldRef> = LazyLock::new(|| list_item(DataType::Utf8));

/// The parts of each text between the separators, all in one pass without a branch per byte: every byte is written, and is
/// overwritten by the next one if it was a separator.
fn split_at(text: &StringArray, separator: u8) -> Result<ArrayRef> {
    let all = all_bytes(text);
    let mut bytes = vec![0; all.len() + 1];
    let mut ends = vec![0_i32; memchr::memchr_iter(separator, all).count() + text.len() + 2];
    let (mut written, mut parts) = (0, 1);
    let mut lists = Vec::with_capacity(text.len() + 1);
    lists.push(0);
    for row in 0..text.len() {
        if text.is_valid(row) {
            for &byte in text.value(row).as_bytes() {
                let ends_part = byte == separator;
                bytes[written] = byte;
                ends[parts] = written as i32;
                written += usize::from(!ends_part);
                parts += usize::from(ends_part);
            }
            ends[parts] = written as i32;
            parts += 1;
        }
        lists.push(parts as i32 - 1);
    }
    bytes.truncate(written);
    ends.truncate(parts);
    let values = StringArray::try_new(OffsetBuffer::new(ends.into()), bytes.into(), None)?;
    let lists = OffsetBuffer::new(lists.into());
    Ok(Arc::new(ListArray::try_new(PART.clone(), lists, Arc::new(values), text.nulls().cloned())?))
}

/// Each character is a part; the last of `limit` parts takes the rest.
fn put_characters(out: &mut StringBuilder, text: &str, limit: usize) {
    for (count, (index, character)) in text.char_indices().enumerate() {
        if count + 1 == limit {
            return out.append_value(&text[index..]);
        }
        put_char(out, character);
        out.append_value("");
    }
}

/// The parts between separators of `width` bytes that start at `starts`.
fn put_between(out: &mut StringBuilder, text: &str, starts: impl Iterator<Item = usize>, width: usize, limit: usize) {
    let mut from = 0;
    for start in starts.take(limit - 1) {
        out.append_value(&text[from..start]);
        from = start + width;
    }
    out.append_value(&text[from..]);
}

/// The parts between the matches, as Java's `split` gives them: an empty match at the start makes no part.
fn put_parts(out: &mut StringBuilder, text: &str, pattern: &Pattern, limit: usize) {
    if let Some(literal) = pattern.literal() {
        return match literal.needle() {
            [byte] => put_between(out, text, memchr::memchr_iter(*byte, text.as_bytes()), 1, limit),
            needle => put_between(out, text, literal.find_iter(text.as_bytes()), needle.len(), limit),
        };
    }
    let mut from = 0;
    let mut parts = 1;
    for (start, end) in pattern.matches(text) {
        if parts == limit {
            break;
        }
        if end == 0 {
            continue;
        }
        out.append_value(&text[from..start]);
        from = end;
        parts += 1;
    }
    out.append_value(&text[from..]);
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int32Array};
    use proptest::prelude::*;

    use super::super::access::element;
    use super::*;

    proptest! {
        #[test]
        fn one_pass_splits_as_a_part_at_a_time(texts in proptest::collection::vec(proptest::option::of("[a, é]{0,9}"), 0..9), from in 0usize..4) {
            let column = StringArray::from(texts.clone());
            let from = from.min(column.len());
            let lists = split_at(&column.slice(from, column.len() - from), b' ').unwrap();
            for (text, list) in texts[from..].iter().zip(lists.as_list::<i32>().iter()) {
                let parts = list.map(|list| list.as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>());
                prop_assert_eq!(parts, text.as_ref().map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>()));
            }
        }

        #[test]
        fn a_part_alone_is_the_element_of_the_list(texts in proptest::collection::vec(proptest::option::of("[a, é]{0,9}"), 0..9), place in 0..4) {
            let column = StringArray::from(texts);
            let lists = split_at(&column, b' ').unwrap();
            let index: ArrayRef = Arc::new(Int32Array::from(vec![place; column.len()]));
            for ansi in [false, true] {
                let alone = part_at(&column, b' ', place as usize, ansi).map_err(|error| error.to_string());
                let listed = element(lists.as_list(), &index, ansi).map_err(|error| error.to_string());
                prop_assert_eq!(alone.map(|array| array.to_data()), listed.map(|array| array.to_data()));
            }
        }
    }

    #[test]
    fn only_plain_characters_are_separators() {
        let separator = |text| separator(&Pattern::new(text, Purpose::Find, "split").unwrap());
        assert_eq!(
            (separator(","), separator("."), separator(""), separator("ab"), separator("é")),
            (Some(b','), None, None, None, None)
        );
    }
}
