//! `memory`: a table in this process, named by the query's name, that batch queries can read while the query runs.
//!
//! In: rows. Out: a [`MemoryTable`] in the session's [`MemoryTables`]. Append and update add rows, complete replaces them;
//! under the continuous trigger rows of append and update are there the moment they exist. A table has a row limit; when it
//! is reached the query fails instead of filling memory. Rows don't survive the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{
    Collecting, Guarantee, OutputMode, Pace, Prepared, Sink, SinkContext, SinkProvider, SinkSpec, Writer, collected,
};
use crate::options::{OptionSpec, option};
use crate::{Error, Result};

const OPTIONS: &[OptionSpec] = &[option("maxRows", "10000000", "the query fails when its table would grow beyond")];
const MAX_ROWS: u64 = 10_000_000;

/// The memory tables of a session, by name. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct MemoryTables(Arc<Mutex<BTreeMap<String, MemoryTable>>>);

impl MemoryTables {
    /// The table of this name.
    pub fn get(&self, name: &str) -> Option<MemoryTable> {
        self.lock().get(name).cloned()
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Forgets the table of this name; true if there was one. A query that fills it goes on.
    pub fn remove(&self, name: &str) -> bool {
        self.lock().remove(name).is_some()
    }

    /// A new, empty table instead of the one that may have had the name.
    fn replace(&self, name: &str, schema: SchemaRef) -> MemoryTable {
        let table = MemoryTable { schema, rows: Arc::default() };
        self.lock().insert(name.to_owned(), table.clone());
        table
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, MemoryTable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows that a query has written. Clones are the same table.
#[derive(Debug, Clone)]
pub struct MemoryTable {
    schema: SchemaRef,
    rows: Arc<Mutex<Vec<RecordBatch>>>,
}

impl MemoryTable {
    /// Its columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The rows there are now.
    pub fn batches(&self) -> Vec<RecordBatch> {
        self.lock().clone()
    }

    /// The number of rows there are now.
    pub fn row_count(&self) -> u64 {
        count(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RecordBatch>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds rows, or puts them in place of all others.
    fn put(&self, new: Vec<RecordBatch>, replace: bool, most: u64) -> Result<()> {
        let mut rows = self.lock();
        let total = count(&new) + if replace { 0 } else { count(&rows) };
        if total > most {
            return Err(Error::outside(format!(
                "the memory table would have {total} rows, more than its limit of {most}"
            ))
            .hint("Raise option 'maxRows', or write to files."));
        }
        if replace {
            rows.clear();
        }
        rows.extend(new.into_iter().filter(|batch| batch.num_rows() > 0));
        Ok(())
    }
}

fn count(rows: &[RecordBatch]) -> u64 {
    rows.iter().map(|batch| batch.num_rows() as u64).sum()
}

/// The provider of `format("memory")`.
#[derive(Debug)]
pub struct Memory;

impl SinkProvider for Memory {
    fn names(&self) -> &'static [&'static str] {
        &["memory"]
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
        let most = spec.options.number("maxRows")?.unwrap_or(MAX_ROWS);
        let table = context.session.memory_tables().replace(&context.query, context.schema);
        let replace = context.mode == OutputMode::Complete;
        let eager = context.pace == Pace::Eager && !replace;
        Ok(Box::new(MemorySink { table, replace, eager, most, last: None }))
    }
}

struct MemorySink {
    table: MemoryTable,
    /// Complete mode.
    replace: bool,
    /// Rows go to the table at once.
    eager: bool,
    most: u64,
    last: Option<u64>,
}

impl Sink for MemorySink {
    fn description(&self) -> String {
        "MemorySink".into()
    }

    fn writer(&mut self, _worker: usize) -> Result<Box<dyn Writer>> {
        match self.eager {
            true => Ok(Box::new(Direct { table: self.table.clone(), most: self.most, rows: 0 })),
            false => Ok(Box::new(Collecting::default())),
        }
    }

    fn commit(&mut self, epoch: u64, prepared: Vec<Prepared>) -> Result<()> {
        if self.last.is_some_and(|last| epoch <= last) {
            return Ok(());
        }
        if !self.eager {
            self.table.put(collected(prepared), self.replace, self.most)?;
        }
        self.last = Some(epoch);
        Ok(())
    }

    fn last_committed(&mut self) -> Result<Option<u64>> {
        Ok(self.last)
    }
}

/// Puts rows into the table the moment they come.
struct Direct {
    table: MemoryTable,
    most: u64,
    rows: u64,
}

impl Writer for Direct {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.rows += rows.num_rows() as u64;
        self.table.put(vec![rows.clone()], false, self.most)
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Prepared> {
        Ok(Prepared { rows: std::mem::take(&mut self.rows), ..Prepared::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{context, rows, run};
    use super::*;

    fn spec(most: &str) -> SinkSpec {
        let mut spec = SinkSpec { format: "memory".into(), ..SinkSpec::default() };
        spec.options.set("maxRows", most);
        spec
    }

    #[test]
    fn append_adds_and_complete_replaces() {
        for (mode, expected) in [(OutputMode::Append, 5), (OutputMode::Update, 5), (OutputMode::Complete, 2)] {
            let context = context(mode);
            let mut sink = Memory.connect(&spec("100"), context.clone()).unwrap();
            run(sink.as_mut(), 0, &[rows(0..3)]).unwrap();
            run(sink.as_mut(), 1, &[rows(3..5)]).unwrap();
            run(sink.as_mut(), 1, &[rows(3..5)]).unwrap();
            assert_eq!(context.session.memory_tables().get("query").unwrap().row_count(), expected, "{mode:?}");
        }
    }

    #[test]
    fn o9_a_table_that_grows_too_large_fails_the_query() {
        let mut sink = Memory.connect(&spec("4"), context(OutputMode::Append)).unwrap();
        run(sink.as_mut(), 0, &[rows(0..3)]).unwrap();
        let error = run(sink.as_mut(), 1, &[rows(3..5)]).unwrap_err();
        assert!(error.message().contains("limit of 4"), "{error}");
    }

    #[test]
    fn continuous_rows_are_there_before_the_epoch_closes() {
        let context = SinkContext { pace: Pace::Eager, ..context(OutputMode::Append) };
        let mut sink = Memory.connect(&spec("100"), context.clone()).unwrap();
        sink.writer(0).unwrap().write(&rows(0..3)).unwrap();
        assert_eq!(context.session.memory_tables().get("query").unwrap().row_count(), 3);
    }
}
