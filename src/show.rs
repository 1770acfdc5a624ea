//! Rows as a plain text table, as Spark's `show` prints them: for the console sink and for `DataFrame::show`.
//!
//! In: batches of one schema. Out: text with a frame, a header, and at most so many rows. Control characters in the data are
//! shown as symbols, so that data can't move the cursor or ring the bell.

mod value;

use std::fmt::Write as _;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use self::value::Texts;
use crate::Result;
use crate::types::zone::Zone;

/// How a table is printed.
#[derive(Debug, Clone)]
pub struct ShowOptions {
    /// Most rows to print.
    pub rows: usize,
    /// Longest text of a cell in characters; 0: as long as it is, and left-aligned.
    pub truncate: usize,
    /// The zone of TIMESTAMP values.
    pub zone: Zone,
}

/// The table. Ends with a line end, and with a note if there are more rows than were printed.
///
/// # Errors
/// Columns of a type that has no text.
pub fn table(schema: &SchemaRef, batches: &[RecordBatch], options: &ShowOptions) -> Result<String> {
    let header = schema.fields().iter().map(|field| cell(field.name(), options.truncate)).collect();
    let mut lines: Vec<Vec<String>> = vec![header];
    for batch in batches {
        let missing = options.rows + 1 - lines.len();
        lines.extend(rows(&batch.slice(0, missing.min(batch.num_rows())), options)?);
    }
    let total: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let widths = widths(&lines, schema.fields().len());
    let mut text = framed(&lines, &widths, options.truncate > 0);
    if total > options.rows {
        let noun = if options.rows == 1 { "row" } else { "rows" };
        let _ = writeln!(text, "only showing top {} {noun}", options.rows);
    }
    Ok(text)
}

/// The cells of all rows of a batch.
pub(crate) fn rows(batch: &RecordBatch, options: &ShowOptions) -> Result<Vec<Vec<String>>> {
    let columns = batch.columns().iter().map(|column| Texts::new(column, &options.zone)).collect::<Result<Vec<_>>>()?;
    let text = |column: &Texts, row| {
        let mut text = String::new();
        column.push(row, &mut text);
        cell(&text, options.truncate)
    };
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|column| text(column, row)).collect()).collect())
}

/// The texts of all values of a column, none for null; as they are, with control characters.
pub(crate) fn texts(column: &arrow::array::ArrayRef, zone: &Zone) -> Result<Vec<Option<String>>> {
    let texts = Texts::new(column, zone)?;
    let text = |row| {
        let mut text = String::new();
        texts.push(row, &mut text);
        text
    };
    Ok((0..column.len()).map(|row| column.is_valid(row).then(|| text(row))).collect())
}

/// A text as it stands in a cell: control characters as symbols, cut to length.
fn cell(text: &str, truncate: usize) -> String {
    let shown: String = text.chars().flat_map(visible).collect();
    if truncate == 0 || shown.chars().count() <= truncate {
        return shown;
    }
    match truncate {
        1..4 => shown.chars().take(truncate).collect(),
        _ => shown.chars().take(truncate - 3).chain("...".chars()).collect(),
    }
}

/// Spark's escapes for the usual control characters, Unicode's control pictures for the others.
fn visible(character: char) -> impl Iterator<Item = char> {
    let escape = match character {
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        '\u{c}' => Some('f'),
        '\u{8}' => Some('b'),
        '\u{b}' => Some('v'),
        '\u{7}' => Some('a'),
        _ => None,
    };
    let shown = match character {
        _ if escape.is_some() => '\\',
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        other => other,
    };
    [Some(shown), escape].into_iter().flatten()
}

/// The widths of all columns, at least 3 as in Spark.
pub(crate) fn widths(lines: &[Vec<String>], columns: usize) -> Vec<usize> {
    let widest = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| width(cell)).max();
    (0..columns).map(|column| widest(column).unwrap_or(0).max(3)).collect()
}

/// Columns that a text takes on a terminal: full-width characters take two.
fn width(text: &str) -> usize {
    text.chars().map(|character| if is_full_width(character) { 2 } else { 1 }).sum()
}

fn is_full_width(character: char) -> bool {
    matches!(character, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}')
}

fn framed(lines: &[Vec<String>], widths: &[usize], right: bool) -> String {
    let mut text = String::new();
    push_rule(widths, &mut text);
    for (number, cells) in lines.iter().enumerate() {
        push_line(cells, widths, right, &mut text);
        if number == 0 {
            push_rule(widths, &mut text);
        }
    }
    push_rule(widths, &mut text);
    text
}

/// A line such as `+---+-----+`.
pub(crate) fn push_rule(widths: &[usize], text: &mut String) {
    text.push('+');
    for width in widths {
        text.extend(std::iter::repeat_n('-', *width));
        text.push('+');
    }
    text.push('\n');
}

/// A line such as `|  1|hello|`.
pub(crate) fn push_line(cells: &[String], widths: &[usize], right: bool, text: &mut String) {
    text.push('|');
    for (cell, wanted) in cells.iter().zip(widths) {
        let padding = std::iter::repeat_n(' ', wanted.saturating_sub(width(cell)));
        if right {
            text.extend(padding);
            text.push_str(cell);
        } else {
            text.push_str(cell);
            text.extend(padding);
        }
        text.push('|');
    }
    text.push('\n');
}

#[cfg(test)]
mod tests;
