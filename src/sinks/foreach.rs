//! `foreach`: a user's object or function gets each row.
//!
//! In: rows. Out: calls of a [`ForeachWriter`], one object a worker: for each epoch `open(worker, epoch)`, then, if it said true,
//! `process` for each row and `flush` behind those that came together, then `close` with the error if there was one. Under the continuous trigger rows are processed the
//! moment they come. At least once: after a crash an epoch may come again under the same number, which `open` can refuse. A
//! panic ends the query with an error that names the epoch, nothing else.

mod row;

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;

pub use self::row::{FromValue, Row};
use super::{Guarantee, OutputMode, Pace, Prepared, Sink, SinkContext, SinkProvider, SinkSpec, Writer};
use crate::options::OptionSpec;
use crate::{Error, Result};

const CONDITION: &str = "FOREACH_USER_FUNCTION_ERROR";

/// What a user does with rows: Spark's `ForeachWriter`.
pub trait ForeachWriter: Send {
    /// Rows of an epoch follow; `partition` is the worker's number. False: they are skipped (they were written before).
    ///
    /// # Errors
    /// End the query.
    fn open(&mut self, _partition: u64, _epoch: u64) -> Result<bool> {
        Ok(true)
    }

    /// Takes one row.
    ///
    /// # Errors
    /// End the query, after [`ForeachWriter::close`].
    fn process(&mut self, row: &Row<'_>) -> Result<()>;

    /// No more rows are at hand: whoever gathers them should let them go. Called behind the rows that came together, at the latest
    /// at the end of an epoch, before [`ForeachWriter::close`].
    ///
    /// # Errors
    /// End the query, after [`ForeachWriter::close`].
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// The epoch's rows are through, or one failed.
    ///
    /// # Errors
    /// End the query.
    fn close(&mut self, _error: Option<&Error>) -> Result<()> {
        Ok(())
    }
}

type Factory = dyn Fn() -> Box<dyn ForeachWriter> + Send + Sync;

/// What [`SinkSpec::function`] carries for this sink: makes one [`ForeachWriter`] for each worker.
#[derive(Clone)]
pub struct ForeachFunction(Arc<Factory>);

impl ForeachFunction {
    /// Each worker gets what `make` returns.
    pub fn new<W: ForeachWriter + 'static>(make: impl Fn() -> W + Send + Sync + 'static) -> Self {
        ForeachFunction(Arc::new(move || Box::new(make())))
    }

    /// A function that is called with each row.
    pub fn rows(function: impl Fn(&Row<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        let function: Arc<RowFunction> = Arc::new(function);
        Self::new(move || Each(Arc::clone(&function)))
    }

    /// What `write_stream` needs to call it.
    pub fn spec(self) -> SinkSpec {
        SinkSpec { format: "foreach".into(), function: Some(Arc::new(self)), ..SinkSpec::default() }
    }
}

impl fmt::Debug for ForeachFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeachFunction")
    }
}

type RowFunction = dyn Fn(&Row<'_>) -> Result<()> + Send + Sync;

struct Each(Arc<RowFunction>);

impl ForeachWriter for Each {
    fn process(&mut self, row: &Row<'_>) -> Result<()> {
        (self.0)(row)
    }
}

/// The provider of `foreach(...)`.
#[derive(Debug)]
pub struct Foreach;

impl SinkProvider for Foreach {
    fn names(&self) -> &'static [&'static str] {
        &["foreach"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        Vec::new()
    }

    fn modes(&self) -> &'static [OutputMode] {
        &[OutputMode::Append, OutputMode::Update, OutputMode::Complete]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn connect(&self, spec: &SinkSpec, context: SinkContext) -> Result<Box<dyn Sink>> {
        super::check_options(self, spec)?;
        let function = super::function::<ForeachFunction>(spec, "foreach")?;
        Ok(Box::new(ForeachSink { function: function.as_ref().clone(), eager: context.pace == Pace::Eager }))
    }
}

struct ForeachSink {
    function: ForeachFunction,
    eager: bool,
}

impl Sink for ForeachSink {
    fn description(&self) -> String {
        "ForeachWriterTable".into()
    }

    fn writer(&mut self, worker: usize) -> Result<Box<dyn Writer>> {
        let user = super::guarded(CONDITION, "foreach", || Ok((self.function.0)()))?;
        Ok(Box::new(Caller {
            user,
            worker: worker as u64,
            eager: self.eager,
            epoch: None,
            open: None,
            held: Vec::new(),
            rows: 0,
        }))
    }

    fn commit(&mut self, _epoch: u64, _prepared: Vec<Prepared>) -> Result<()> {
        Ok(())
    }
}

/// Calls one worker's user object.
struct Caller {
    user: Box<dyn ForeachWriter>,
    worker: u64,
    eager: bool,
    /// The epoch of the rows that come, as far as it is known.
    epoch: Option<u64>,
    /// Whether the user opened the epoch, and wants its rows.
    open: Option<bool>,
    /// Rows that wait for their epoch's number.
    held: Vec<RecordBatch>,
    rows: u64,
}

/// Where a user's function is called; it has words only if they are needed.
struct Place {
    epoch: u64,
    worker: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "foreach, batch {}, partition {}", self.epoch, self.worker)
    }
}

impl Caller {
    fn place(&self, epoch: u64) -> Place {
        Place { epoch, worker: self.worker }
    }

    /// Opens the epoch if it is not open.
    fn open(&mut self, epoch: u64) -> Result<bool> {
        if let Some(wanted) = self.open {
            return Ok(wanted);
        }
        let place = self.place(epoch);
        let wanted = super::guarded(CONDITION, place, || self.user.open(self.worker, epoch))?;
        self.open = Some(wanted);
        Ok(wanted)
    }

    fn process(&mut self, rows: &RecordBatch, epoch: u64) -> Result<()> {
        if !self.open(epoch)? {
            return Ok(());
        }
        let place = self.place(epoch);
        let user = &mut self.user;
        let processed = super::guarded(CONDITION, place, || {
            row::each(rows, |row| user.process(row))?;
            user.flush()
        });
        if let Err(error) = &processed {
            self.close(epoch, Some(error))?;
        }
        processed
    }

    fn close(&mut self, epoch: u64, error: Option<&Error>) -> Result<()> {
        self.open = None;
        let place = self.place(epoch);
        super::guarded(CONDITION, place, || self.user.close(error))
    }
}

impl Writer for Caller {
    fn begin(&mut self, epoch: u64) -> Result<()> {
        self.epoch = Some(epoch);
        Ok(())
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows() as u64;
        match self.epoch {
            Some(epoch) if self.eager => self.process(rows, epoch),
            _ => {
                self.held.push(rows.clone());
                Ok(())
            }
        }
    }

    fn prepare(&mut self, epoch: u64) -> Result<Prepared> {
        self.open(epoch)?;
        for rows in std::mem::take(&mut self.held) {
            self.process(&rows, epoch)?;
        }
        self.close(epoch, None)?;
        self.epoch = Some(epoch + 1);
        Ok(Prepared { rows: std::mem::take(&mut self.rows), ..Prepared::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::conformance::{context, prepare, rows, run};
    use super::*;

    type Calls = Arc<Mutex<Vec<String>>>;

    /// Notes what is called; skips epoch 9; fails on row 3.
    struct Notes(Calls);

    impl ForeachWriter for Notes {
        fn open(&mut self, partition: u64, epoch: u64) -> Result<bool> {
            self.0.lock().unwrap().push(format!("open {partition} {epoch}"));
            Ok(epoch != 9)
        }

        fn process(&mut self, row: &Row<'_>) -> Result<()> {
            let (n, text) = (row.get::<i64>("n")?, row.get::<&str>("value")?);
            self.0.lock().unwrap().push(format!("{n} {text}"));
            if n == 3 { Err(Error::invalid("three")) } else { Ok(()) }
        }

        fn flush(&mut self) -> Result<()> {
            self.0.lock().unwrap().push("flush".into());
            Ok(())
        }

        fn close(&mut self, error: Option<&Error>) -> Result<()> {
            self.0.lock().unwrap().push(format!("close {}", error.map_or("well", Error::message)));
            Ok(())
        }
    }

    fn sink(pace: Pace) -> (Box<dyn Sink>, Calls) {
        let calls = Calls::default();
        let keep = Arc::clone(&calls);
        let spec = ForeachFunction::new(move || Notes(Arc::clone(&keep))).spec();
        (Foreach.connect(&spec, SinkContext { pace, ..context(OutputMode::Append) }).unwrap(), calls)
    }

    #[test]
    fn opens_processes_and_closes_each_epoch() {
        let (mut sink, calls) = sink(Pace::Epoch);
        run(sink.as_mut(), 5, &[rows(0..2)]).unwrap();
        assert_eq!(*calls.lock().unwrap(), ["open 0 5", "0 row 0", "1 row 1", "flush", "close well"]);
    }

    #[test]
    fn an_epoch_can_be_skipped() {
        let (mut sink, calls) = sink(Pace::Epoch);
        run(sink.as_mut(), 9, &[rows(0..2)]).unwrap();
        assert_eq!(*calls.lock().unwrap(), ["open 0 9", "close well"]);
    }

    #[test]
    fn continuous_rows_are_processed_the_moment_they_come() {
        let (mut sink, calls) = sink(Pace::Eager);
        let mut writer = sink.writer(1).unwrap();
        writer.begin(7).unwrap();
        writer.write(&rows(0..1)).unwrap();
        assert_eq!(*calls.lock().unwrap(), ["open 1 7", "0 row 0", "flush"]);
    }

    #[test]
    fn o5_an_error_closes_and_says_where() {
        let (mut sink, calls) = sink(Pace::Epoch);
        let error = prepare(sink.as_mut(), 0, &[rows(2..5)]).err().unwrap();
        assert_eq!(error.condition(), Some("FOREACH_USER_FUNCTION_ERROR"));
        assert_eq!(error.place(), Some("foreach, batch 0, partition 0"));
        assert_eq!(calls.lock().unwrap().last().unwrap(), "close three");
    }

    #[test]
    fn o5_a_panic_becomes_an_error() {
        let spec = ForeachFunction::rows(|_| panic!("no luck")).spec();
        let mut sink = Foreach.connect(&spec, context(OutputMode::Append)).unwrap();
        let error = run(sink.as_mut(), 0, &[rows(0..1)]).unwrap_err();
        assert!(error.message().contains("no luck"), "{error}");
    }
}
