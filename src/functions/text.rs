//! Functions on whole texts: case, length, trimming, padding, repeating, translating.
//!
//! In: STRING (some also BINARY) arguments. Out: STRING, BINARY or INT columns. Positions and lengths count characters
//! (code points) for STRING and bytes for BINARY.

use arrow::array::StringBuilder;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::functions::{string, unicode};
use datafusion::logical_expr::Expr;
use hashbrown::HashMap;

use super::arguments::{Compiled, coerced, is_binary, reuse};
use super::rows::{Column, Rows, over_rows, put, put_bytes, put_char};
use super::{Call, Function, function};
use crate::{Error, Result};

const BINARY: DataType = DataType::Binary;
const INT: DataType = DataType::Int32;
const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["upper", "ucase"], |call| reuse(call, string::upper(), &[STRING])),
    function(&["lower", "lcase"], |call| reuse(call, string::lower(), &[STRING])),
    function(&["initcap"], |call| string_to_string(call, "initcap", initcap)),
    function(&["length", "char_length", "character_length", "len"], length),
    function(&["octet_length"], octet_length),
    function(&["bit_length"], bit_length),
    function(&["ascii"], |call| string_to_int(call, "ascii", ascii)),
    function(&["chr", "char"], chr),
    function(&["space"], space),
    function(&["repeat"], repeat),
    function(&["trim"], |call| trim(call, "trim", Sides::Both, TrimOrder::CharactersFirst)),
    function(&["ltrim"], |call| trim(call, "ltrim", Sides::Start, TrimOrder::CharactersFirst)),
    function(&["rtrim"], |call| trim(call, "rtrim", Sides::End, TrimOrder::CharactersFirst)),
    function(&["btrim"], |call| trim(call, "btrim", Sides::Both, TrimOrder::TextFirst)),
    function(&["lpad"], |call| pad(call, "lpad", Sides::Start)),
    function(&["rpad"], |call| pad(call, "rpad", Sides::End)),
    function(&["translate"], translate),
    function(&["replace"], replace),
    function(&["mask"], super::mask::bind),
    function(&["soundex"], |call| reuse(call, datafusion_spark::function::string::soundex(), &[STRING])),
    function(&["luhn_check"], |call| reuse(call, datafusion_spark::function::string::luhn_check(), &[STRING])),
    function(&["quote"], |call| string_to_string(call, "quote", quote)),
    function(&["collation"], collation),
];

/// A function from one text to another.
pub fn string_to_string(
    mut call: Call<'_>,
    name: &'static str,
    write: impl Fn(&str, &mut StringBuilder) + Send + Sync + 'static,
) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[STRING])?;
    let kernel = over_rows(name, STRING, move |rows| {
        let text = rows.strings(0)?;
        rows.give_strings(|row, out| {
            write(text.get(row)?, out);
            Some(())
        })
    });
    Ok(kernel.call(args))
}

/// A function from one text to an INT.
pub fn string_to_int(
    mut call: Call<'_>,
    name: &'static str,
    value: impl Fn(&str) -> i32 + Send + Sync + 'static,
) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[STRING])?;
    let kernel = over_rows(name, INT, move |rows| {
        let text = rows.strings(0)?;
        rows.give::<Int32Type>(|row| text.get(row).map(&value))
    });
    Ok(kernel.call(args))
}

/// Upper case after each blank, lower case elsewhere; only a blank ends a word.
fn initcap(text: &str, out: &mut StringBuilder) {
    let mut at_start = true;
    for character in text.to_lowercase().chars() {
        put_char(out, if at_start { title_case(character) } else { character });
        at_start = character == ' ';
    }
}

/// A character's title case if that is one character, else the character itself, as Java has it.
fn title_case(character: char) -> char {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(only), None) => only,
        _ => character,
    }
}

fn length(mut call: Call<'_>) -> Result<Expr> {
    if is_binary(&call, 0)? {
        return byte_count(call, "length", 1);
    }
    let args = coerced(&mut call, 1..=1, &[STRING])?;
    Ok(unicode::character_length().call(args))
}

fn octet_length(call: Call<'_>) -> Result<Expr> {
    match is_binary(&call, 0)? {
        true => byte_count(call, "octet_length", 1),
        false => reuse(call, string::octet_length(), &[STRING]),
    }
}

fn bit_length(call: Call<'_>) -> Result<Expr> {
    match is_binary(&call, 0)? {
        true => byte_count(call, "bit_length", 8),
        false => reuse(call, string::bit_length(), &[STRING]),
    }
}

fn byte_count(mut call: Call<'_>, name: &'static str, unit: usize) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[BINARY])?;
    let kernel = over_rows(name, INT, move |rows| {
        let bytes = rows.binaries(0)?;
        rows.give::<Int32Type>(|row| bytes.get(row).map(|bytes| (bytes.len() * unit) as i32))
    });
    Ok(kernel.call(args))
}

/// The first character's code, 0 for an empty text.
fn ascii(text: &str) -> i32 {
    text.chars().next().map_or(0, |first| first as i32)
}

/// The character of this code modulo 256; empty for negative codes.
fn chr(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[DataType::Int64])?;
    let kernel = over_rows("chr", STRING, |rows| {
        let code = rows.numbers::<arrow::datatypes::Int64Type>(0)?;
        rows.give_strings(|row, out| {
            let code = code.get(row)?;
            if code >= 0 {
                put_char(out, char::from((code & 0xff) as u8));
            }
            Some(())
        })
    });
    Ok(kernel.call(args))
}

fn space(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[INT])?;
    let kernel = over_rows("space", STRING, |rows| {
        let count = rows.numbers::<Int32Type>(0)?;
        rows.try_give_strings(|row, out| Some(put_repeated(out, " ", count.get(row)?)))
    });
    Ok(kernel.call(args))
}

fn repeat(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=2, &[STRING, INT])?;
    let kernel = over_rows("repeat", STRING, |rows| {
        let (text, count) = (rows.strings(0)?, rows.numbers::<Int32Type>(1)?);
        rows.try_give_strings(|row, out| Some(put_repeated(out, text.get(row)?, count.get(row)?)))
    });
    Ok(kernel.call(args))
}

fn put_repeated(out: &mut StringBuilder, text: &str, count: i32) -> Result<()> {
    let count = usize::try_from(count).unwrap_or(0);
    check_size(text.len().saturating_mul(count))?;
    (0..count).for_each(|_| put(out, text));
    Ok(())
}

/// Refuses a value that could not be held in a column.
pub fn check_size(bytes: usize) -> Result<()> {
    const LIMIT: usize = i32::MAX as usize - 15;
    if bytes <= LIMIT {
        return Ok(());
    }
    let message = format!("a text of {bytes} bytes is too long, the limit is {LIMIT} bytes");
    Err(Error::data("COLLECTION_SIZE_LIMIT_EXCEEDED.FUNCTION", message))
}

/// Which ends of a text a function works on.
#[derive(Clone, Copy, PartialEq)]
enum Sides {
    Start,
    End,
    Both,
}

/// Whether the characters to trim come before or after the text.
#[derive(Clone, Copy, PartialEq)]
enum TrimOrder {
    CharactersFirst,
    TextFirst,
}

fn trim(mut call: Call<'_>, name: &'static str, sides: Sides, order: TrimOrder) -> Result<Expr> {
    let mut args = coerced(&mut call, 1..=2, &[STRING, STRING])?;
    if args.len() == 2 && order == TrimOrder::CharactersFirst {
        args.swap(0, 1);
    }
    let kernel = over_rows(name, STRING, move |rows| {
        let text = rows.strings(0)?;
        if rows.arity() == 1 {
            return rows.give_strings(|row, out| Some(put(out, trimmed(text.get(row)?, sides, |c| c == ' '))));
        }
        let set = rows.strings(1)?;
        rows.give_strings(|row, out| {
            let set = set.get(row)?;
            Some(put(out, trimmed(text.get(row)?, sides, |c| set.contains(c))))
        })
    });
    Ok(kernel.call(args))
}

fn trimmed(text: &str, sides: Sides, drop: impl Fn(char) -> bool + Copy) -> &str {
    match sides {
        Sides::Start => text.trim_start_matches(drop),
        Sides::End => text.trim_end_matches(drop),
        Sides::Both => text.trim_start_matches(drop).trim_end_matches(drop),
    }
}

fn pad(mut call: Call<'_>, name: &'static str, side: Sides) -> Result<Expr> {
    if is_binary(&call, 0)? {
        return pad_bytes(call, name, side);
    }
    let args = coerced(&mut call, 2..=3, &[STRING, INT, STRING])?;
    let kernel = over_rows(name, STRING, move |rows| {
        let (text, length) = (rows.strings(0)?, rows.numbers::<Int32Type>(1)?);
        let padding = optional_strings(rows, 2)?;
        rows.try_give_strings(|row, out| {
            let padding = padding.as_ref().map_or(Some(" "), |padding| padding.get(row))?;
            Some(put_padded(out, text.get(row)?, length.get(row)?, padding, side))
        })
    });
    Ok(kernel.call(args))
}

/// Argument `i` as STRING if the call has it.
pub fn optional_strings<'a>(rows: &Rows<'a>, i: usize) -> Result<Option<Column<'a, arrow::array::StringArray>>> {
    (rows.arity() > i).then(|| rows.strings(i)).transpose()
}

fn put_padded(out: &mut StringBuilder, text: &str, length: i32, padding: &str, side: Sides) -> Result<()> {
    let length = usize::try_from(length).unwrap_or(0);
    let missing = length.saturating_sub(text.chars().count());
    if missing == 0 || padding.is_empty() {
        put(out, prefix(text, length));
        return Ok(());
    }
    check_size(missing.saturating_mul(padding.len()).saturating_add(text.len()))?;
    if side == Sides::End {
        put(out, text);
    }
    padding.chars().cycle().take(missing).for_each(|character| put_char(out, character));
    if side == Sides::Start {
        put(out, text);
    }
    Ok(())
}

/// The first `count` characters.
pub fn prefix(text: &str, count: usize) -> &str {
    let end = text.char_indices().nth(count).map_or(text.len(), |(index, _)| index);
    &text[..end]
}

fn pad_bytes(mut call: Call<'_>, name: &'static str, side: Sides) -> Result<Expr> {
    let args = coerced(&mut call, 2..=3, &[BINARY, INT, BINARY])?;
    let kernel = over_rows(name, BINARY, move |rows| {
        let (bytes, length) = (rows.binaries(0)?, rows.numbers::<Int32Type>(1)?);
        let padding = (rows.arity() > 2).then(|| rows.binaries(2)).transpose()?;
        rows.try_give_binaries(|row, out| {
            let padding = padding.as_ref().map_or(Some(&[0u8][..]), |padding| padding.get(row))?;
            let (bytes, length) = (bytes.get(row)?, usize::try_from(length.get(row)?).unwrap_or(0));
            let missing = if padding.is_empty() { 0 } else { length.saturating_sub(bytes.len()) };
            let filling = (0..missing).map(|i| padding[i % padding.len()]);
            if side == Sides::Start {
                filling.clone().for_each(|byte| put_bytes(out, &[byte]));
            }
            put_bytes(out, &bytes[..bytes.len().min(length)]);
            if side == Sides::End {
                filling.for_each(|byte| put_bytes(out, &[byte]));
            }
            Some(Ok(()))
        })
    });
    Ok(kernel.call(args))
}

/// What becomes of each character; `None` drops it.
type Dictionary = HashMap<char, Option<char>>;

fn translate(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 3..=3, &[STRING, STRING, STRING])?;
    let dictionary = Compiled::new(&[&args[1], &args[2]], |texts| Ok(dictionary(texts[0], texts[1])))?;
    let kernel = over_rows("translate", STRING, move |rows| {
        let (text, from, to) = (rows.strings(0)?, rows.strings(1)?, rows.strings(2)?);
        let mut dictionary = dictionary.start();
        rows.try_give_strings(|row, out| {
            let (text, from, to) = (text.get(row)?, from.get(row)?, to.get(row)?);
            Some(dictionary.get(&[from, to]).map(|dictionary| put_translated(out, text, dictionary)))
        })
    });
    Ok(kernel.call(args))
}

fn dictionary(from: &str, to: &str) -> Dictionary {
    let mut to = to.chars();
    let mut dictionary = Dictionary::new();
    for character in from.chars() {
        let target = to.next();
        dictionary.entry(character).or_insert(target);
    }
    dictionary
}

fn put_translated(out: &mut StringBuilder, text: &str, dictionary: &Dictionary) {
    for character in text.chars() {
        match dictionary.get(&character) {
            None => put_char(out, character),
            Some(Some(target)) => put_char(out, *target),
            Some(None) => {}
        }
    }
}

fn replace(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=3, &[STRING, STRING, STRING])?;
    let kernel = over_rows("replace", STRING, |rows| {
        let (text, search) = (rows.strings(0)?, rows.strings(1)?);
        let replacement = optional_strings(rows, 2)?;
        rows.give_strings(|row, out| {
            let replacement = replacement.as_ref().map_or(Some(""), |replacement| replacement.get(row))?;
            put_replaced(out, text.get(row)?, search.get(row)?, replacement);
            Some(())
        })
    });
    Ok(kernel.call(args))
}

fn put_replaced(out: &mut StringBuilder, text: &str, search: &str, replacement: &str) {
    if search.is_empty() {
        return put(out, text);
    }
    let mut copied = 0;
    for (index, found) in text.match_indices(search) {
        put(out, &text[copied..index]);
        put(out, replacement);
        copied = index + found.len();
    }
    put(out, &text[copied..]);
}

/// The text in single quotes; quotes and backslashes inside get a backslash.
fn quote(text: &str, out: &mut StringBuilder) {
    put_char(out, '\'');
    for character in text.chars() {
        if matches!(character, '\'' | '\\') {
            put_char(out, '\\');
        }
        put_char(out, character);
    }
    put_char(out, '\'');
}

fn collation(mut call: Call<'_>) -> Result<Expr> {
    coerced(&mut call, 1..=1, &[STRING])?;
    Ok(datafusion::logical_expr::lit("SYSTEM.BUILTIN.UTF8_BINARY"))
}
