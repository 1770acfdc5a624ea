//! `show(vertical)`: one line per value, for rows with many columns.
//!
//! In: names and the texts of cells as [`crate::show`] makes them. Out: the text that Spark prints. Tables with a frame are
//! [`crate::show::table`]'s.

use arrow::array::{Array, ArrayRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The rows, one line per value.
pub(super) fn vertical(names: &[String], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return "(0 rows)\n".to_string();
    }
    let width = |text: &String| text.chars().count();
    let name_width = names.iter().map(width).max().unwrap_or(0).max(3);
    let cell_width = rows.iter().flatten().map(width).max().unwrap_or(0).max(3);
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let title = format!("-RECORD {number}");
        text.push_str(&format!("{title:-<width$}\n", width = name_width + cell_width + 5));
        for (name, cell) in names.iter().zip(row) {
            text.push_str(&format!(" {name:<name_width$} | {cell:<cell_width$} \n"));
        }
    }
    text
}

/// A value as Arrow prints it, for `Debug`.
pub(super) fn plain_text(column: &ArrayRef, place: usize) -> String {
    if column.is_null(place) {
        return "null".to_string();
    }
    match ArrayFormatter::try_new(column, &FormatOptions::default()) {
        Ok(formatter) => formatter.value(place).to_string(),
        Err(error) => format!("<{error}>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_a_line() {
        let text = vertical(&["k".to_string()], &[vec!["1".to_string()]]);
        assert_eq!(text, "-RECORD 0--\n k   | 1   \n");
    }
}
