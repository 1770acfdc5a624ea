//! CSV records to rows, under the parse mode.
//!
//! In: frames: lines, or whole files with `multiLine`. Out: a record batch of the wanted columns, found by position. A record
//! with too few or too many fields, or with a value of a wrong type, is malformed but keeps what is good. If only some
//! columns are wanted, only their fields are looked at, as in Spark; a row that the query does not want is left at its first value that
//! says so. Blank lines, comments and the header give no row.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::options::{ReadOptions, prunes_columns};
use super::split::{Field, Fields, Unreadable, is_idle};
use super::values::{append, check_type};
use crate::formats::condition::{Condition, conditions};
use crate::formats::mode::{Mode, malformed};
use crate::formats::rows::Rows;
use crate::formats::{DecodeContext, Decoder, Frames};
use crate::{Error, Result};

/// The decoder of format `csv`.
pub(crate) struct CsvDecoder {
    options: ReadOptions,
    record: Record,
    /// The names of the data columns, to compare with a header.
    names: Vec<String>,
    /// The file whose header has not come yet, though its first lines have.
    header_due: Option<Arc<str>>,
}

/// Builds the rows of single records.
pub(crate) struct Record {
    pub(crate) rows: Rows,
    /// For each built column the position of its field.
    positions: Vec<usize>,
    /// How many fields a record must have; none if it does not matter.
    expected: Option<usize>,
    /// So many of the first fields are looked at.
    wanted: usize,
    /// Nothing of a record is wanted but that it is there.
    only_count: bool,
    fields: Vec<Field>,
    buffer: Vec<u8>,
    /// What the query wants of rows.
    conditions: Vec<Condition>,
    /// How many rows it does not want, since somebody asked.
    left_out: usize,
}

impl Record {
    /// Builds what the context wants.
    pub(crate) fn new(context: &DecodeContext, options: &ReadOptions) -> Result<Record> {
        let rows = Rows::new(context)?;
        rows.data_fields().iter().try_for_each(|field| check_type(field.name(), field.data_type()))?;
        let is_data = |at: &usize| *context.schema.field(*at).name() != options.corrupt_column;
        let data: Vec<usize> = (0..context.schema.fields().len()).filter(is_data).collect();
        let wanted = context.projection.iter().filter(|at| is_data(at));
        let positions: Vec<usize> = wanted.map(|at| data.partition_point(|other| other < at)).collect();
        let prunes = prunes_columns(context, options)?;
        let only_some = prunes && positions.len() < data.len();
        let last = positions.iter().max().map_or(0, |last| last + 1);
        Ok(Record {
            only_count: prunes && positions.is_empty(),
            expected: if only_some { None } else { Some(data.len()) },
            wanted: if only_some { last } else { usize::MAX },
            conditions: conditions(context, &rows.data_fields(), options.mode),
            left_out: 0,
            positions,
            rows,
            fields: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Appends the row of the record whose fields were split, if it may be wanted; false if it is malformed.
    fn append(&mut self, text: &[u8], options: &ReadOptions) -> bool {
        let first = self.rows.len();
        let mut good = self.expected.is_none_or(|expected| self.fields.len() == expected);
        for (at, (column, position)) in self.rows.columns.iter_mut().zip(&self.positions).enumerate() {
            let field = self.fields.get(*position).copied().unwrap_or(Field::Missing);
            let value = Fields::value(field, text, &self.buffer, &options.texts.empty);
            if !append(column, value, &options.texts) {
                column.push_null();
                good = false;
            }
            let refuses = |condition: &Condition| condition.column == at && condition.refuses(column.last());
            if self.conditions.iter().any(refuses) {
                self.rows.truncate(first);
                self.left_out += 1;
                return true;
            }
        }
        self.rows.end_row();
        good
    }

    /// Splits and appends one record; `None` if the text holds none.
    pub(crate) fn append_text(&mut self, text: &[u8], options: &ReadOptions) -> Result<Option<bool>, Unreadable> {
        let mut fields = Fields::new(text, &options.syntax, &mut self.buffer).wanting(self.wanted);
        let found = fields.next_record(&mut self.fields)?;
        Ok(found.map(|_| self.append(text, options)))
    }
}

impl CsvDecoder {
    /// A decoder of what the context wants.
    pub(crate) fn new(context: &DecodeContext) -> Result<CsvDecoder> {
        let options = ReadOptions::of(&context.options, &context.conf)?;
        let names = context.schema.fields().iter().map(|field| field.name().clone());
        Ok(CsvDecoder {
            record: Record::new(context, &options)?,
            names: names.filter(|name| *name != options.corrupt_column).collect(),
            options,
            header_due: None,
        })
    }

    fn decode_line(&mut self, frames: &Frames, i: usize) -> Result<()> {
        let line = frames.record(i);
        if is_idle(line, &self.options.syntax) {
            return Ok(());
        }
        if self.header_due.take().is_some() {
            return self.check_header(line, frames, i);
        }
        if self.record.only_count {
            self.record.rows.end_row();
            return Ok(());
        }
        if frames.is_cut(i) {
            return self.malformed_record(line, self.record.rows.len(), frames, i, "longer than maxRecordBytes");
        }
        let first = self.record.rows.len();
        match self.record.append_text(line, &self.options) {
            Ok(None) => Ok(()),
            Ok(Some(good)) => self.end_record(line, first, good, frames, i),
            Err(unreadable) => Err(fatal(unreadable, frames, i)),
        }
    }

    fn decode_file(&mut self, frames: &Frames, i: usize) -> Result<()> {
        let (text, syntax) = (frames.record(i), self.options.syntax.clone());
        let mut buffer = std::mem::take(&mut self.record.buffer);
        let mut at = 0;
        loop {
            let mut records = Fields::new(&text[at..], &syntax, &mut buffer);
            let found = records.next_record(&mut self.record.fields).map_err(|error| fatal(error, frames, i))?;
            let Some((start, end)) = found else { break };
            let (piece, first) = (&text[at..], self.record.rows.len());
            at += end;
            if self.header_due.take().is_some() {
                self.check_header(&piece[start..end], frames, i)?;
                continue;
            }
            std::mem::swap(&mut buffer, &mut self.record.buffer);
            let before = self.record.left_out;
            let good = self.record.append(piece, &self.options);
            std::mem::swap(&mut buffer, &mut self.record.buffer);
            let good = good && (!frames.is_cut(i) || self.record.left_out > before);
            self.end_record(&piece[start..end], first, good, frames, i)?;
        }
        self.record.buffer = buffer;
        Ok(())
    }

    /// Compares a header with the schema, if that is asked for.
    fn check_header(&mut self, line: &[u8], frames: &Frames, i: usize) -> Result<()> {
        if self.options.enforce_schema {
            return Ok(());
        }
        let header = header_names(line, &self.options).map_err(|error| fatal(error, frames, i))?;
        let same =
            header.len() == self.names.len() && header.iter().zip(&self.names).all(|(a, b)| a.eq_ignore_ascii_case(b));
        if same {
            return Ok(());
        }
        Err(Error::data(
            "CSV_HEADER_MISMATCH",
            format!("the header is '{}' but the schema has '{}'", header.join(", "), self.names.join(", ")),
        )
        .at(frames.position(i))
        .hint("Set option 'enforceSchema' to true to go by position."))
    }

    fn end_record(&mut self, text: &[u8], first: usize, good: bool, frames: &Frames, i: usize) -> Result<()> {
        if good {
            self.record.rows.end_record(first, None);
            return Ok(());
        }
        self.malformed_record(text, first, frames, i, "the fields do not fit the schema")
    }

    fn malformed_record(&mut self, text: &[u8], first: usize, frames: &Frames, i: usize, reason: &str) -> Result<()> {
        let rows = &mut self.record.rows;
        match self.options.mode {
            Mode::FailFast => return Err(malformed(text, frames.position(i), reason)),
            Mode::DropMalformed => rows.truncate(first),
            Mode::Permissive => {
                if rows.len() == first {
                    rows.push_nulls();
                }
                rows.end_record(first, Some(text));
            }
        }
        Ok(())
    }

    /// Whether the header of these frames' file is still to come.
    fn expect_header(&mut self, frames: &Frames) {
        let starts = frames.first_line == 1 && self.options.header;
        let continues = self.header_due.as_ref() == Some(&frames.place);
        self.header_due = (starts || continues).then(|| frames.place.clone());
    }
}

/// The names in a header line.
pub(crate) fn header_names(line: &[u8], options: &ReadOptions) -> Result<Vec<String>, Unreadable> {
    let (mut buffer, mut fields) = (Vec::new(), Vec::new());
    Fields::new(line, &options.syntax, &mut buffer).next_record(&mut fields)?;
    let values = fields.iter().map(|field| Fields::value(*field, line, &buffer, &options.texts.empty));
    Ok(values.map(|value| String::from_utf8_lossy(value.unwrap_or_default()).into_owned()).collect())
}

fn fatal(Unreadable(reason): Unreadable, frames: &Frames, i: usize) -> Error {
    Error::data("MALFORMED_CSV_RECORD", format!("malformed CSV record: {reason}")).at(frames.position(i))
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, frames: &Frames) -> Result<RecordBatch> {
        Rows::check_size(frames)?;
        self.record.rows.truncate(0);
        self.expect_header(frames);
        for i in 0..frames.len() {
            if self.options.syntax.line_ends { self.decode_file(frames, i)? } else { self.decode_line(frames, i)? }
        }
        self.record.rows.finish()
    }

    fn left_out(&mut self) -> usize {
        std::mem::take(&mut self.record.left_out)
    }
}
