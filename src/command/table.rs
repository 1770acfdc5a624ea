//! Plain tables and numbers for people: progress and benches.
//!
//! In: cells. Out: lines; the first column to the left, the others to the right, two blanks between.

use std::fmt::Write as _;

/// Adds the lines; the first row is a header, bold if `bold`.
pub(super) fn push(rows: &[Vec<String>], bold: bool, text: &mut String) {
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |column: usize| rows.iter().filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for (number, cells) in rows.iter().enumerate() {
        let bold = bold && number == 0;
        text.push_str(if bold { "\x1b[1m" } else { "" });
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push_str(if bold { "\x1b[0m\n" } else { "\n" });
    }
}

/// 1234567 → `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds in the unit that reads best; `-` for none.
pub(super) fn micros(micros: u64) -> String {
    match micros {
        0 => "-".to_owned(),
        1..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// Bytes in the unit that reads best.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 12, 123, 1_234, 1_234_567].map(grouped), ["0", "12", "123", "1,234", "1,234,567"]);
    }

    #[test]
    fn units_suit_the_size() {
        assert_eq!([0, 999, 1_500, 2_500_000].map(micros), ["-", "999 us", "1.5 ms", "2.5 s"]);
        assert_eq!([5, 1_500, 2_000_000].map(bytes), ["5 B", "1.5 kB", "2.0 MB"]);
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["a", "bb"], ["ccc", "1"]].map(|row| row.map(str::to_owned).to_vec());
        let mut text = String::new();
        push(&rows, false, &mut text);
        assert_eq!(text, "a    bb\nccc   1\n");
    }
}
