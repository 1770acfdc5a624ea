//! `console`: prints rows on standard output, in Spark's look.
//!
//! In: rows. Out: under the micro-batch trigger a table an epoch, headed `Batch: N`; under the continuous trigger one header
//! and then each row the moment it comes (complete mode: a table an epoch). When the reader of the output has gone (a closed
//! pipe), the query ends cleanly. Output can be directed elsewhere with a [`ConsoleOutput`].

use std::io::{ErrorKind, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{
    Collecting, Guarantee, OutputMode, Pace, Prepared, Sink, SinkContext, SinkProvider, SinkSpec, Writer, collected,
};
use crate::options::{OptionSpec, Options, option};
use crate::show::{self, ShowOptions};
use crate::types::zone::Zone;
use crate::{Error, Result};

const OPTIONS: &[OptionSpec] = &[
    option("numRows", "20", "most rows to print of an epoch"),
    option("truncate", "true", "true: cells of at most 20 characters; false: whole cells; or a number"),
];

/// Where the console sink prints, instead of standard output: what [`SinkSpec::function`] may carry.
#[derive(Clone)]
pub struct ConsoleOutput(Arc<Mutex<Box<dyn Write + Send>>>);

impl ConsoleOutput {
    /// Prints into `output`.
    pub fn new(output: impl Write + Send + 'static) -> Self {
        ConsoleOutput(Arc::new(Mutex::new(Box::new(output))))
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints a text at once and whole.
    fn print(&self, text: &str) -> Result<()> {
        let mut output = self.lock();
        output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(|cause| match cause.kind() {
            ErrorKind::BrokenPipe => super::closed("the console").caused_by(cause),
            _ => Error::from(cause),
        })
    }
}

/// The provider of `format("console")`.
#[derive(Debug)]
pub struct Console;

impl SinkProvider for Console {
    fn names(&self) -> &'static [&'static str] {
        &["console"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        vec![OPTIONS]
    }

    fn modes(&self) -> &'static [OutputMode] {
        &[OutputMode::Append, OutputMode::Update, OutputMode::Complete]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn connect(&self, spec: &SinkSpec, context: SinkContext) -> Result<Box<dyn Sink>> {
        super::check_options(self, spec)?;
        let given = spec.function.clone().and_then(|output| output.downcast::<ConsoleOutput>().ok());
        let output = given.map_or_else(|| ConsoleOutput::new(std::io::stdout()), |output| output.as_ref().clone());
        let options = show_options(&spec.options, context.conf.time_zone())?;
        let eager = context.pace == Pace::Eager && context.mode != OutputMode::Complete;
        Ok(Box::new(ConsoleSink { output, options, schema: context.schema, eager }))
    }
}

fn show_options(options: &Options, zone: &str) -> Result<ShowOptions> {
    let truncate = match options.get("truncate").map(str::to_ascii_lowercase).as_deref() {
        None | Some("true") => 20,
        Some("false") => 0,
        Some(_) => options.number("truncate")?.unwrap_or(20),
    };
    Ok(ShowOptions { rows: options.number("numRows")?.unwrap_or(20), truncate, zone: Zone::parse(zone)? })
}

struct ConsoleSink {
    output: ConsoleOutput,
    options: ShowOptions,
    schema: SchemaRef,
    /// Rows are printed the moment they come.
    eager: bool,
}

impl Sink for ConsoleSink {
    fn description(&self) -> String {
        let ShowOptions { rows, truncate, .. } = &self.options;
        format!("ConsoleTable[numRows={rows}, truncate={truncate}]")
    }

    fn writer(&mut self, worker: usize) -> Result<Box<dyn Writer>> {
        if !self.eager {
            return Ok(Box::new(Collecting::default()));
        }
        let names = self.schema.fields().iter().map(|field| field.name().clone()).collect();
        let widths = show::widths(&[names], self.schema.fields().len());
        let printer = RowPrinter { output: self.output.clone(), options: self.options.clone(), widths, rows: 0 };
        if worker == 0 {
            printer.header(&self.schema)?;
        }
        Ok(Box::new(printer))
    }

    fn commit(&mut self, epoch: u64, prepared: Vec<Prepared>) -> Result<()> {
        if prepared.iter().all(|prepared| prepared.payload.is_none()) {
            return Ok(());
        }
        let table = show::table(&self.schema, &collected(prepared), &self.options)?;
        let rule = "-------------------------------------------";
        self.output.print(&format!("{rule}\nBatch: {epoch}\n{rule}\n{table}\n"))
    }
}

/// Prints rows as they come, without a frame at the end.
struct RowPrinter {
    output: ConsoleOutput,
    options: ShowOptions,
    widths: Vec<usize>,
    rows: u64,
}

impl RowPrinter {
    fn header(&self, schema: &SchemaRef) -> Result<()> {
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut text = String::new();
        show::push_rule(&self.widths, &mut text);
        show::push_line(&names, &self.widths, self.options.truncate > 0, &mut text);
        show::push_rule(&self.widths, &mut text);
        self.output.print(&text)
    }
}

impl Writer for RowPrinter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows() as u64;
        let mut text = String::new();
        for cells in show::rows(rows, &self.options)? {
            show::push_line(&cells, &self.widths, self.options.truncate > 0, &mut text);
        }
        self.output.print(&text)
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Prepared> {
        Ok(Prepared { rows: std::mem::take(&mut self.rows), ..Prepared::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{context, rows, run};
    use super::*;

    /// Keeps what is printed; breaks after so many bytes.
    #[derive(Clone, Default)]
    struct Paper {
        text: Arc<Mutex<String>>,
        closed: bool,
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.closed {
                return Err(ErrorKind::BrokenPipe.into());
            }
            self.text.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn spec(paper: &Paper) -> SinkSpec {
        let output: Arc<dyn std::any::Any + Send + Sync> = Arc::new(ConsoleOutput::new(paper.clone()));
        SinkSpec { format: "console".into(), function: Some(output), ..SinkSpec::default() }
    }

    #[test]
    fn a_batch_looks_as_in_spark() {
        let paper = Paper::default();
        let mut sink = Console.connect(&spec(&paper), context(OutputMode::Append)).unwrap();
        run(sink.as_mut(), 3, &[rows(0..2)]).unwrap();
        let expected = "\
-------------------------------------------
Batch: 3
-------------------------------------------
+---+-----+
|  n|value|
+---+-----+
|  0|row 0|
|  1|row 1|
+---+-----+

";
        assert_eq!(*paper.text.lock().unwrap(), expected);
    }

    #[test]
    fn continuous_rows_are_printed_the_moment_they_come() {
        let paper = Paper::default();
        let context = SinkContext { pace: Pace::Eager, ..context(OutputMode::Append) };
        let mut sink = Console.connect(&spec(&paper), context).unwrap();
        let mut writer = sink.writer(0).unwrap();
        writer.write(&rows(0..1)).unwrap();
        let expected = "+---+-----+\n|  n|value|\n+---+-----+\n|  0|row 0|\n";
        assert_eq!(*paper.text.lock().unwrap(), expected);
    }

    #[test]
    fn o8_a_closed_console_ends_the_query_cleanly() {
        let paper = Paper { closed: true, ..Paper::default() };
        let mut sink = Console.connect(&spec(&paper), context(OutputMode::Append)).unwrap();
        assert_eq!(run(sink.as_mut(), 0, &[rows(0..2)]).unwrap_err().condition(), Some(super::super::CLOSED));
    }
}
