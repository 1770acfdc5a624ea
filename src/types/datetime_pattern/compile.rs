//! From the text of a pattern to items, with the checks of Spark and of Java.

use super::{Field, Item, Need, OffsetStyle, Pattern, Sign};
use crate::{Error, Result};

/// Compiles a pattern; `reading` refuses letters that Spark only prints.
pub(super) fn compile(text: &str, reading: bool) -> Result<Vec<Item>> {
    check(text, reading).and_then(|()| Compiler::run(text)).map_err(|fault| fault.into_error(text))
}

/// Why a pattern is refused.
enum Fault {
    WeekBased(char),
    Letter(char),
    Length(char),
    Other(String),
}

impl Fault {
    fn into_error(self, pattern: &str) -> Error {
        let (condition, why) = match &self {
            Fault::WeekBased(letter) => ("", format!("week-based letter '{letter}'")),
            Fault::Letter(letter) => ("INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER", format!("letter '{letter}'")),
            Fault::Length(letter) => ("INVALID_DATETIME_PATTERN.LENGTH", format!("too many letters '{letter}'")),
            Fault::Other(why) => ("INVALID_DATETIME_PATTERN.WITH_SUGGESTION", why.clone()),
        };
        if legacy_accepts(pattern) {
            let condition = "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION";
            return Error::query(condition, format!("the datetime pattern '{pattern}' is not supported: {why}"))
                .hint("Use the letters of Spark's datetime patterns; for weeks use extract().");
        }
        if let Fault::WeekBased(_) = self {
            let condition = "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_WEEK_BASED_PATTERN";
            return Error::query(condition, format!("the datetime pattern '{pattern}' is not supported: {why}"))
                .hint("Use extract() for weeks.");
        }
        Error::query(condition, format!("the datetime pattern '{pattern}' is not valid: {why}"))
    }
}

/// Whether Java's old `SimpleDateFormat`, which Spark 2.4 used, understands the pattern.
fn legacy_accepts(pattern: &str) -> bool {
    let parts: Vec<&str> = pattern.split('\'').collect();
    let unquoted_fits = |part: &str| {
        let letters_known = part.chars().all(|c| !c.is_ascii_alphabetic() || "GyYMLwWDdFEuaHkKhmsSzZX".contains(c));
        letters_known && !part.contains("XXXX")
    };
    parts.len() % 2 == 1 && parts.iter().step_by(2).all(|part| unquoted_fits(part))
}

/// What Spark refuses before Java sees the pattern.
fn check(pattern: &str, reading: bool) -> Result<(), Fault> {
    for part in pattern.split('\'').step_by(2) {
        if let Some(letter) = part.chars().find(|c| "YWwuec".contains(*c)) {
            return Err(Fault::WeekBased(letter));
        }
        let forbidden = |c: &char| "ABnNp".contains(*c) || (reading && "EFqQ".contains(*c));
        if let Some(letter) = part.chars().find(forbidden) {
            return Err(Fault::Letter(letter));
        }
        let too_long = ["GGGGG", "MMMMM", "LLLLL", "EEEEE", "QQQQQ", "qqqqq", "yyyyyyy"];
        if let Some(run) = too_long.iter().find(|run| part.contains(**run)) {
            return Err(Fault::Length(run.chars().next().unwrap_or('y')));
        }
    }
    Ok(())
}

/// Compiles items; optional sections under construction are on a stack.
struct Compiler {
    /// Items of the pattern and of each open section; the last one is being filled.
    open: Vec<Vec<Item>>,
    /// Where in the innermost list the first of a row of adjacent numbers is.
    first_number: Option<usize>,
    with_era: bool,
}

impl Compiler {
    fn run(pattern: &str) -> Result<Vec<Item>, Fault> {
        let with_era = pattern.split('\'').step_by(2).any(|part| part.contains('G'));
        let mut compiler = Compiler { open: vec![Vec::new()], first_number: None, with_era };
        let mut rest = pattern.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\'' => compiler.literal(&quoted(&mut rest)?),
                '[' => compiler.start_section(),
                ']' => compiler.end_section()?,
                '{' | '}' | '#' => return Err(Fault::Other(format!("reserved character '{c}'"))),
                c if c.is_ascii_alphabetic() => {
                    let mut count = 1;
                    while rest.next_if_eq(&c).is_some() {
                        count += 1;
                    }
                    compiler.letters(c, count)?;
                }
                c => compiler.literal(c.encode_utf8(&mut [0; 4])),
            }
        }
        while compiler.open.len() > 1 {
            compiler.end_section()?;
        }
        Ok(compiler.open.pop().unwrap_or_default())
    }

    fn push(&mut self, item: Item) {
        self.first_number = None;
        if let Some(items) = self.open.last_mut() {
            items.push(item);
        }
    }

    fn literal(&mut self, text: &str) {
        if let Some(Item::Literal(before)) = self.open.last_mut().and_then(|items| items.last_mut()) {
            before.push_str(text);
            self.first_number = None;
        } else {
            self.push(Item::Literal(text.to_owned()));
        }
    }

    fn start_section(&mut self) {
        self.first_number = None;
        self.open.push(Vec::new());
    }

    fn end_section(&mut self) -> Result<(), Fault> {
        if self.open.len() < 2 {
            return Err(Fault::Other("']' without '['".to_owned()));
        }
        let section = self.open.pop().unwrap_or_default();
        self.push(Item::Optional(section));
        Ok(())
    }

    /// Adds a number; a row of numbers without anything between shares the digits: fixed widths are set aside first.
    fn number(&mut self, field: Field, least: usize, most: usize, sign: Sign) {
        let fixed = least == most && sign == Sign::Never;
        let first = self.first_number;
        let adjacent = fixed && first.is_some();
        if let Some(Item::Number { reserved, adjacent, .. }) =
            first.and_then(|at| self.open.last_mut().and_then(|items| items.get_mut(at)))
        {
            if fixed {
                *reserved += most;
            } else {
                *adjacent = true;
            }
        }
        let at = self.open.last().map(Vec::len);
        self.push(Item::Number { field, least, most, sign, reserved: 0, adjacent });
        self.first_number = if fixed && first.is_some() { first } else { at };
    }

    fn letters(&mut self, letter: char, count: usize) -> Result<(), Fault> {
        match letter {
            'y' => self.year(count),
            'G' => self.push(Item::Name(Field::Era, count == 4)),
            'M' | 'L' => self.number_or_name(Field::Month, count),
            'Q' | 'q' => self.number_or_name(Field::Quarter, count),
            'E' => self.push(Item::Name(Field::Weekday, count == 4)),
            'D' => self.day_of_year(count)?,
            'F' => self.counted(Field::AlignedDay, letter, count, 1)?,
            'a' if count == 1 => self.push(Item::Name(Field::HalfDay, false)),
            'S' if count <= 9 => self.push(Item::Fraction(count)),
            'V' if count == 2 => self.push(Item::ZoneId),
            'z' | 'v' if count <= 4 => self.push(Item::ZoneName(count == 4)),
            'O' if matches!(count, 1 | 4) => self.push(Item::LocalizedOffset(count == 4)),
            'Z' if count == 4 => self.push(Item::LocalizedOffset(true)),
            'Z' if count <= 5 => self.push(Item::Offset(zulu(count))),
            'X' | 'x' if count <= 5 => self.push(Item::Offset(offset_style(letter, count))),
            'd' | 'H' | 'k' | 'K' | 'h' | 'm' | 's' => self.counted(time_field(letter), letter, count, 2)?,
            'a' | 'S' | 'V' | 'z' | 'v' | 'O' | 'Z' | 'X' | 'x' => {
                return Err(Fault::Other(format!("a wrong number of letters '{letter}'")));
            }
            other => return Err(Fault::Other(format!("unknown letter '{other}'"))),
        }
        Ok(())
    }

    fn year(&mut self, count: usize) {
        let field = if self.with_era { Field::YearOfEra } else { Field::Year };
        match count {
            2 => self.push(Item::ShortYear),
            1 | 3 => self.number(field, count, 19, Sign::Negative),
            _ => self.number(field, count, 19, Sign::WhenWide),
        }
    }

    fn number_or_name(&mut self, field: Field, count: usize) {
        match count {
            1 => self.number(field, 1, 19, Sign::Negative),
            2 => self.number(field, 2, 2, Sign::Never),
            _ => self.push(Item::Name(field, count == 4)),
        }
    }

    fn day_of_year(&mut self, count: usize) -> Result<(), Fault> {
        match count {
            1 => self.number(Field::DayOfYear, 1, 19, Sign::Negative),
            2 | 3 => self.number(Field::DayOfYear, count, 3, Sign::Never),
            _ => return Err(Fault::Length('D')),
        }
        Ok(())
    }

    fn counted(&mut self, field: Field, letter: char, count: usize, most: usize) -> Result<(), Fault> {
        match count {
            1 => self.number(field, 1, 19, Sign::Negative),
            2 if most == 2 => self.number(field, 2, 2, Sign::Never),
            _ => return Err(Fault::Length(letter)),
        }
        Ok(())
    }
}

/// Reads up to the closing quote; two quotes are one, also `''` alone.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, Fault> {
    if rest.next_if_eq(&'\'').is_some() {
        return Ok("'".to_owned());
    }
    let mut text = String::new();
    while let Some(c) = rest.next() {
        match c {
            '\'' if rest.next_if_eq(&'\'').is_some() => text.push('\''),
            '\'' => return Ok(text),
            c => text.push(c),
        }
    }
    Err(Fault::Other("a quote is not closed".to_owned()))
}

fn time_field(letter: char) -> Field {
    match letter {
        'd' => Field::Day,
        'H' => Field::Hour,
        'k' => Field::ClockHour,
        'K' => Field::HalfHour,
        'h' => Field::ClockHalfHour,
        'm' => Field::Minute,
        _ => Field::Second,
    }
}

fn zulu(count: usize) -> OffsetStyle {
    match count {
        5 => OffsetStyle { colon: true, minutes: Need::Always, seconds: Need::NotZero, zero: "Z" },
        _ => OffsetStyle { colon: false, minutes: Need::Always, seconds: Need::Never, zero: "+0000" },
    }
}

fn offset_style(letter: char, count: usize) -> OffsetStyle {
    let colon = matches!(count, 3 | 5);
    let zero = match (letter, count) {
        ('X', _) => "Z",
        (_, 1) => "+00",
        _ if colon => "+00:00",
        _ => "+0000",
    };
    let minutes = if count == 1 { Need::NotZero } else { Need::Always };
    OffsetStyle { colon, minutes, seconds: if count > 3 { Need::NotZero } else { Need::Never }, zero }
}

impl std::str::FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Pattern> {
        Pattern::parse(text)
    }
}
