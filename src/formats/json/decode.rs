//! JSON records to rows, under the parse mode.
//!
//! In: frames. Out: a record batch of the wanted columns. A blank record gives no row, an object one, an array of objects
//! one each. A record with a syntax error is malformed as a whole; one with a value of a wrong type keeps its other
//! values; a row that the query does not want for the value of one member is not built; what is kept of an object that breaks off says `broken`. Whatever a record does, the next one starts clean: rows are cut back to where the record began.

use arrow::array::RecordBatch;

use super::broken::kept;
use super::options::ReadOptions;
use super::scan::{Kind, Malformed, Scanner, Token};
use super::shape::{Members, Outcome, Reading};
use crate::Result;
use crate::formats::condition::{Condition, Found, conditions};
use crate::formats::mode::{Mode, malformed};
use crate::formats::rows::Rows;
use crate::formats::{DecodeContext, Decoder, Frames};

/// The decoder of format `json`.
pub(crate) struct JsonDecoder {
    options: ReadOptions,
    members: Members,
    rows: Rows,
    scratch: Vec<u8>,
    /// What the query wants of rows.
    conditions: Vec<Condition>,
    /// How many rows it does not want, since somebody asked.
    left_out: usize,
}

/// Why a record counts as malformed although its grammar is right.
const WRONG_TYPE: &str = "a value does not fit the type of its field";

impl JsonDecoder {
    /// A decoder of what the context wants.
    pub(crate) fn new(context: &DecodeContext) -> Result<JsonDecoder> {
        let rows = Rows::new(context)?;
        let (options, fields) = (ReadOptions::of(&context.options, &context.conf)?, rows.data_fields());
        let members = Members::new(&fields)?;
        let conditions = conditions(context, &fields, options.mode);
        Ok(JsonDecoder { options, members, rows, scratch: Vec::new(), conditions, left_out: 0 })
    }

    /// Appends the rows of one record; `Err` if it gives none because it is malformed.
    fn append(&mut self, record: &[u8]) -> Result<Outcome, Malformed> {
        let mut scanner = Scanner::new(record, self.options.syntax);
        if scanner.at_object()? {
            return self.append_object(record, scanner, true);
        }
        match scanner.root()? {
            None => Ok(Outcome::Good),
            Some(root) if root.kind == Kind::Array => self.append_array(record, root),
            Some(_) => Err(Malformed("neither an object nor an array")),
        }
    }

    /// Appends the row of the object that starts at the scanner, if it may be wanted. It is checked completely before anything is appended.
    /// One of several objects in a record is always built: what is wrong with it is the others' affair, too.
    fn append_object(&mut self, record: &[u8], mut scanner: Scanner<'_>, alone: bool) -> Result<Outcome, Malformed> {
        let (syntax, times) = (self.options.syntax, &self.options.times);
        let mut reading = Reading { bytes: record, syntax, times, scratch: &mut self.scratch };
        self.members.locate(&mut scanner, &mut reading, 0)?;
        let found = |column: usize| found(self.members.places().get(column), record);
        if alone && self.conditions.iter().any(|condition| condition.refuses(found(condition.column))) {
            self.left_out += 1;
            return Ok(Outcome::Good);
        }
        let outcome = self.members.build(&mut self.rows.columns, &mut reading);
        self.rows.end_row();
        Ok(outcome)
    }

    fn append_array(&mut self, record: &[u8], array: Token) -> Result<Outcome, Malformed> {
        let mut outcome = Outcome::Good;
        let syntax = self.options.syntax;
        Scanner::within(record, array, syntax).elements(0, |element| {
            let appended = match element.kind {
                Kind::Object => self.append_object(record, Scanner::within(record, element, syntax), false),
                _ => Ok(Outcome::Bad),
            };
            match appended {
                Ok(Outcome::Good) => {}
                Ok(Outcome::Partial) => outcome = Outcome::Partial,
                Ok(Outcome::Bad) | Err(_) => outcome = Outcome::Bad,
            }
            outcome != Outcome::Bad
        })?;
        if outcome == Outcome::Bad { Err(Malformed("an array with something else than objects")) } else { Ok(outcome) }
    }

    fn decode_record(&mut self, frames: &Frames, i: usize) -> Result<()> {
        let (record, first) = (frames.record(i), self.rows.len());
        let appended = match frames.is_cut(i) {
            true => Err(Malformed("longer than maxRecordBytes")),
            false => self.append(record),
        };
        let reason = match appended {
            Ok(Outcome::Good) => {
                self.rows.end_record(first, None);
                return Ok(());
            }
            Ok(_) => WRONG_TYPE,
            Err(Malformed(reason)) => {
                self.rows.truncate(first);
                reason
            }
        };
        self.malformed_record(frames, i, first, reason)
    }

    /// Appends what is kept of a broken object; false if that is nothing.
    fn append_kept(&mut self, frames: &Frames, i: usize) -> bool {
        let kept = if frames.is_cut(i) { None } else { kept(frames.record(i), &self.members, self.options.syntax) };
        kept.is_some_and(|text| self.append(&text).is_ok())
    }

    fn malformed_record(&mut self, frames: &Frames, i: usize, first: usize, reason: &str) -> Result<()> {
        match self.options.mode {
            Mode::FailFast => {
                self.rows.truncate(first);
                return Err(malformed(frames.record(i), frames.position(i), reason));
            }
            Mode::DropMalformed => self.rows.truncate(first),
            Mode::Permissive => {
                if self.rows.len() == first && !self.append_kept(frames, i) {
                    self.rows.push_nulls();
                }
                self.rows.end_record(first, Some(frames.record(i)));
            }
        }
        Ok(())
    }
}

/// What stands at the place of a member.
fn found<'a>(member: Option<&Token>, record: &'a [u8]) -> Found<'a> {
    match member {
        Some(Token { kind: Kind::Absent | Kind::Null, .. }) => Found::Null,
        Some(Token { kind: Kind::Integer, number: Some(number), .. }) => Found::Whole(*number),
        Some(token) if token.kind == Kind::Plain => Found::Text(token.of(record)),
        _ => Found::Other,
    }
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, frames: &Frames) -> Result<RecordBatch> {
        Rows::check_size(frames)?;
        self.rows.truncate(0);
        for i in 0..frames.len() {
            self.decode_record(frames, i)?;
        }
        self.rows.finish()
    }

    fn left_out(&mut self) -> usize {
        std::mem::take(&mut self.left_out)
    }
}
