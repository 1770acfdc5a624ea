//! Format `json`: one JSON value per line, or one per file with `multiLine`.
//!
//! The parts: [`scan`] finds and checks values, [`shape`] builds the wanted ones, [`broken`] says what is kept of a record that
//! breaks off, [`decode`] applies the parse mode,
//! [`encode`] writes, [`infer`] guesses schemas, [`convert`] is all of this for `from_json` and `to_json`.

mod broken;
mod convert;
mod decode;
pub(crate) mod encode;
mod infer;
mod options;
mod pretty;
pub(crate) mod scan;
mod shape;

use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;

pub use convert::{FromJson, ToJson, schema_of_json};

use super::{DecodeContext, Decoder, Encoder, FileWriter, Format, Framing, Parts, not_columnar};
use crate::Result;
use crate::conf::Conf;
use crate::options::{OptionSpec, Options};

/// The format.
pub struct Json;

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
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
        Ok(Box::new(decode::JsonDecoder::new(&context)?))
    }

    fn open_file(&self, _path: &Path, _context: DecodeContext, _rows: Range<u64>) -> Result<Parts> {
        Err(not_columnar(self))
    }

    fn encoder(&self, schema: SchemaRef, options: &Options, conf: &Conf) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(encode::JsonEncoder::new(&schema, options, conf)?))
    }

    fn file_writer(&self, _file: std::fs::File, _schema: SchemaRef, _options: &Options) -> Result<Box<dyn FileWriter>> {
        Err(not_columnar(self))
    }
}

#[cfg(test)]
mod tests;
