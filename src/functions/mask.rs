//! `mask`: hides a text by classes of characters.
//!
//! In: the text and up to four replacement characters (upper case, lower case, digit, other); a null replacement keeps
//! the characters of its class. Out: STRING.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use super::Call;
use super::arguments::{coerced, constant, not_foldable};
use super::rows::{over_rows, put_char};
use crate::{Error, Result};

/// What each class of characters becomes; `None` keeps it.
#[derive(Debug, Clone, Copy)]
struct Masks {
    upper: Option<char>,
    lower: Option<char>,
    digit: Option<char>,
    other: Option<char>,
}

impl Masks {
    fn hide(&self, character: char) -> char {
        let class = match character {
            'A'..='Z' => self.upper,
            'a'..='z' => self.lower,
            '0'..='9' => self.digit,
            _ if character.is_uppercase() => self.upper,
            _ if character.is_lowercase() => self.lower,
            _ if character.is_ascii_digit() => self.digit,
            _ => self.other,
        };
        class.unwrap_or(character)
    }
}

/// Binds `mask(text[, upper[, lower[, digit[, other]]]])`.
pub fn bind(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 1..=5, &[DataType::Utf8])?;
    let masks = Masks {
        upper: replacement(&call, &args, 1, Some('X'))?,
        lower: replacement(&call, &args, 2, Some('x'))?,
        digit: replacement(&call, &args, 3, Some('n'))?,
        other: replacement(&call, &args, 4, None)?,
    };
    let kernel = over_rows("mask", DataType::Utf8, move |rows| {
        let text = rows.strings(0)?;
        rows.give_strings(|row, out| {
            text.get(row)?.chars().for_each(|character| put_char(out, masks.hide(character)));
            Some(())
        })
    });
    Ok(kernel.key(format!("{masks:?}")).call(args))
}

fn replacement(call: &Call<'_>, args: &[Expr], i: usize, default: Option<char>) -> Result<Option<char>> {
    let Some(arg) = args.get(i) else { return Ok(default) };
    let text = match constant(arg)? {
        Some(ScalarValue::Utf8(text)) => text,
        _ => return Err(not_foldable(call, ["", "upperChar", "lowerChar", "digitChar", "otherChar"][i])),
    };
    let Some(text) = text else { return Ok(None) };
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) => Ok(Some(only)),
        _ => Err(Error::query(
            "DATATYPE_MISMATCH.INPUT_SIZE_NOT_ONE",
            format!("a replacement of function 'mask' must be one character but is '{text}'"),
        )),
    }
}
