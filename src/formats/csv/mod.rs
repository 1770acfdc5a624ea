//! Format `csv`: one record per line, or records over several lines with `multiLine`; columns go by position.
//!
//! The parts: [`split`] finds fields, [`values`] reads them, [`decode`] applies the parse mode and the header, [`encode`]
//! writes, [`infer`] guesses schemas, [`convert`] is all of this for `from_csv` and `to_csv`.

mod convert;
mod decode;
mod encode;
mod infer;
mod options;
mod split;
mod values;

use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;

pub use convert::{FromCsv, ToCsv, schema_of_csv};

use super::{DecodeContext, Decoder, Encoder, FileWriter, Format, Framing, Parts, not_columnar};
use crate::Result;
use crate::conf::Conf;
use crate::options::{OptionSpec, Options};

/// The format.
pub struct Csv;

impl Format for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn options(&self) -> &'static [OptionSpec] {
        options::OPTIONS
    }

    fn framing(&self, options: &Options) -> Result<Framing> {
        Ok(if options.flag("multiLine", false)? { Framing::Whole } else { Framing::Lines })
    }

    fn infer_schema(&self, files: &[PathBuf], options: &Options, conf: &Conf) -> Result<SchemaRef> {
        infer::infer_schema(self, files, options, conf)
    }

    fn uses_filters(&self) -> bool {
        true
    }

    fn decoder(&self, context: DecodeContext) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(decode::CsvDecoder::new(&context)?))
    }

    fn open_file(&self, _path: &Path, _context: DecodeContext, _rows: Range<u64>) -> Result<Parts> {
        Err(not_columnar(self))
    }

    fn encoder(&self, schema: SchemaRef, options: &Options, conf: &Conf) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(encode::CsvEncoder::new(schema, options, conf)?))
    }

    fn file_writer(&self, _file: std::fs::File, _schema: SchemaRef, _options: &Options) -> Result<Box<dyn FileWriter>> {
        Err(not_columnar(self))
    }
}

#[cfg(test)]
mod tests;
