//! Functions that look for a text in another: instr, locate, contains, startswith, find_in_set, levenshtein, LIKE, ...
//!
//! In: STRING (some also BINARY) arguments. Out: INT positions that count characters from 1 (0 = not found), or BOOLEAN.

use arrow::datatypes::{DataType, Int32Type};
use datafusion::functions::string;
use datafusion::logical_expr::{Expr, lit};

use super::arguments::{Compiled, coerced, is_binary, reuse};
use super::like;
use super::rows::over_rows;
use super::{Call, Function, function};
use crate::{Error, Result};

const BINARY: DataType = DataType::Binary;
const INT: DataType = DataType::Int32;
const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["instr"], instr),
    function(&["locate", "position"], locate),
    function(&["contains"], |call| {
        test(call, "contains", |a, b| b.is_empty() || a.windows(b.len()).any(|window| window == b))
    }),
    function(&["startswith"], |call| test(call, "startswith", |a, b| a.starts_with(b))),
    function(&["endswith"], |call| test(call, "endswith", |a, b| a.ends_with(b))),
    function(&["find_in_set"], find_in_set),
    function(&["levenshtein"], levenshtein),
    function(&["like"], |call| like_function(call, "like", false)),
    function(&["ilike"], |call| like_function(call, "ilike", true)),
];

fn instr(mut call: Call<'_>) -> Result<Expr> {
    let mut args = coerced(&mut call, 2..=4, &[STRING, STRING, INT, INT])?;
    if args.len() == 2 {
        return Ok(over_rows("instr", INT, |rows| {
            let (text, search) = (rows.strings(0)?, rows.strings(1)?);
            rows.give::<Int32Type>(|row| Some(position(text.get(row)?, search.get(row)?, 0)))
        })
        .call(args));
    }
    args.resize(4, lit(1i32));
    Ok(over_rows("instr_from", INT, |rows| {
        let (text, search) = (rows.strings(0)?, rows.strings(1)?);
        let (start, occurrence) = (rows.numbers::<Int32Type>(2)?, rows.numbers::<Int32Type>(3)?);
        rows.try_give::<Int32Type>(|row| {
            Some(nth_position(text.get(row)?, search.get(row)?, start.get(row)?, occurrence.get(row)?))
        })
    })
    .fallible()
    .call(args))
}

/// Where `search` is found the `occurrence`-th time at or after character `start`; a negative start counts from the end and
/// searches backwards.
///
/// # Errors
/// `INVALID_PARAMETER_VALUE.OCCURRENCE` for one that is not positive.
fn nth_position(text: &str, search: &str, start: i32, occurrence: i32) -> Result<i32> {
    if occurrence < 1 {
        let message = format!("the parameter 'occurrence' of 'instr' must be positive but is {occurrence}");
        return Err(Error::data("INVALID_PARAMETER_VALUE.OCCURRENCE", message));
    }
    if start == 0 {
        return Ok(0);
    }
    let nth = occurrence as usize - 1;
    let starts = |byte: usize| text[byte..].starts_with(search);
    let distance = start.unsigned_abs() as usize - 1;
    let found = if start > 0 {
        let after = text.char_indices().enumerate().skip(distance);
        after.filter(|(_, (byte, _))| starts(*byte)).nth(nth).map(|(at, _)| at)
    } else {
        let before = text.char_indices().rev().skip(distance);
        before.filter(|(byte, _)| starts(*byte)).nth(nth).map(|(byte, _)| text[..byte].chars().count())
    };
    Ok(found.map_or(0, |at| at as i32 + 1))
}

/// Where `search` is found at or after character `skip`, counted from 1; 0 if it is not found.
fn position(text: &str, search: &str, skip: usize) -> i32 {
    if search.is_empty() {
        return 1;
    }
    let Some((from, _)) = text.char_indices().nth(skip) else { return 0 };
    match text[from..].find(search) {
        Some(found) => (text[..from + found].chars().count() + 1) as i32,
        None => 0,
    }
}

/// `locate(search, text[, from])`: a null `from` gives 0, as does 0.
fn locate(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=3, &[STRING, STRING, INT])?;
    Ok(over_rows("locate", INT, |rows| {
        let (search, text) = (rows.strings(0)?, rows.strings(1)?);
        let from = (rows.arity() > 2).then(|| rows.numbers::<Int32Type>(2)).transpose()?;
        rows.give::<Int32Type>(|row| {
            let Some(from) = from.as_ref().map_or(Some(1), |from| from.get(row)) else { return Some(0) };
            let (text, search) = (text.get(row)?, search.get(row)?);
            let skip = from.checked_sub(1).and_then(|skip| usize::try_from(skip).ok());
            Some(skip.map_or(0, |skip| position(text, search, skip)))
        })
    })
    .call(args))
}

fn test(mut call: Call<'_>, name: &'static str, holds: fn(&[u8], &[u8]) -> bool) -> Result<Expr> {
    if is_binary(&call, 0)? && is_binary(&call, 1)? {
        let args = coerced(&mut call, 2..=2, &[BINARY, BINARY])?;
        let kernel = over_rows(name, DataType::Boolean, move |rows| {
            let (bytes, search) = (rows.binaries(0)?, rows.binaries(1)?);
            rows.give_booleans(|row| Some(holds(bytes.get(row)?, search.get(row)?)))
        });
        return Ok(kernel.call(args));
    }
    let function = match name {
        "contains" => string::contains(),
        "startswith" => string::starts_with(),
        _ => string::ends_with(),
    };
    reuse(call, function, &[STRING, STRING])
}

fn find_in_set(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=2, &[STRING, STRING])?;
    Ok(over_rows("find_in_set", INT, |rows| {
        let (text, set) = (rows.strings(0)?, rows.strings(1)?);
        rows.give::<Int32Type>(|row| {
            let (text, set) = (text.get(row)?, set.get(row)?);
            Some(set.split(',').position(|member| member == text).map_or(0, |index| index as i32 + 1))
        })
    })
    .call(args))
}

fn levenshtein(mut call: Call<'_>) -> Result<Expr> {
    let args = coerced(&mut call, 2..=3, &[STRING, STRING, INT])?;
    Ok(over_rows("levenshtein", INT, |rows| {
        let (left, right) = (rows.strings(0)?, rows.strings(1)?);
        let limit = (rows.arity() > 2).then(|| rows.numbers::<Int32Type>(2)).transpose()?;
        let mut distance = Levenshtein::default();
        rows.give::<Int32Type>(|row| {
            let limit = limit.as_ref().map_or(i32::MAX, |limit| limit.get(row).unwrap_or(0));
            let distance = distance.between(left.get(row)?, right.get(row)?);
            Some(if distance <= limit { distance } else { -1 })
        })
    })
    .call(args))
}

/// Edit distances, with buffers that are used again.
#[derive(Default)]
struct Levenshtein {
    right: Vec<char>,
    costs: Vec<i32>,
}

impl Levenshtein {
    fn between(&mut self, left: &str, right: &str) -> i32 {
        self.right.clear();
        self.right.extend(right.chars());
        self.costs.clear();
        self.costs.extend(0..=self.right.len() as i32);
        for (i, a) in left.chars().enumerate() {
            let mut diagonal = std::mem::replace(&mut self.costs[0], i as i32 + 1);
            for (j, b) in self.right.iter().enumerate() {
                let cheapest = (diagonal + i32::from(a != *b)).min(self.costs[j] + 1).min(self.costs[j + 1] + 1);
                diagonal = std::mem::replace(&mut self.costs[j + 1], cheapest);
            }
        }
        self.costs[self.right.len()]
    }
}

/// `like(text, pattern[, escape])`.
fn like_function(mut call: Call<'_>, name: &'static str, ignore_case: bool) -> Result<Expr> {
    let mut args = coerced(&mut call, 2..=3, &[STRING, STRING, STRING])?;
    if args.len() == 2 {
        args.push(lit("\\"));
    }
    let pattern =
        Compiled::new(&[&args[1], &args[2]], move |texts| like::Pattern::new(texts[0], texts[1], ignore_case))?;
    Ok(over_rows(name, DataType::Boolean, move |rows| {
        let (text, pattern_text, escape) = (rows.strings(0)?, rows.strings(1)?, rows.strings(2)?);
        let mut pattern = pattern.start();
        rows.try_give_booleans(|row| {
            let (text, pattern_text, escape) = (text.get(row)?, pattern_text.get(row)?, escape.get(row)?);
            Some(pattern.get(&[pattern_text, escape]).map(|pattern| pattern.matches(text)))
        })
    })
    .call(args))
}
