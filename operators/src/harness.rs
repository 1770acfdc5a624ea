//! Runs a [`Logic`] in tests, step by step and without a graph: push rows, move the watermark, close the epoch, look.
//!
//! In: rows per port, split over a number of instances by the same routes as in a graph. Out: what the instances emitted, and
//! their state, which can be restored into another number of instances: from the changes of each epoch, where an operator gives them,
//! after a look whether these come to what a whole snapshot says. [`graph::run`] runs the same in a real graph.
//! What always holds: a pace means the same as in [`crate::driver`] (under [`Pace::Epoch`] watermarks act at the close).

pub mod graph;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::driver::{Late, StateMetrics};
use crate::exchange::Route;
use crate::keys::Hashing;
use crate::time::NO_WATERMARK;
use crate::{Chunk, Logic, Output, Pace, Result, keys, snapshot};

struct Instance<L> {
    logic: L,
    out: Output,
}

/// Several instances of one operator, as on several workers, stepped by hand.
pub struct Harness<L> {
    make: Box<dyn Fn() -> Result<L>>,
    pace: Pace,
    routes: Vec<Option<Route>>,
    hashing: Hashing,
    instances: Vec<Instance<L>>,
    epoch: u64,
    /// What the instances last heard, and what they will hear when the epoch closes.
    delivered: Vec<i64>,
    pending: Vec<i64>,
    emitted: Vec<RecordBatch>,
    late: Vec<Late>,
    /// The changes of each epoch so far, if the operator gives changes.
    chain: Option<Vec<Vec<RecordBatch>>>,
}

impl<L: Logic> Harness<L> {
    /// `instances` operators made by `make`, with one route per input (`None`: everything to the first).
    ///
    /// # Panics
    /// If `make` fails, or without instances.
    pub fn new(
        pace: Pace,
        routes: Vec<Option<Route>>,
        instances: usize,
        make: impl Fn() -> Result<L> + 'static,
    ) -> Self {
        let ports = routes.len();
        let mut harness = Harness {
            make: Box::new(make),
            pace,
            routes,
            // Both kinds of checkpoints are gone on from, so both are tested.
            hashing: if instances.is_multiple_of(2) { Hashing::Xxhash64 } else { Hashing::Folded },
            instances: Vec::new(),
            epoch: 0,
            delivered: vec![NO_WATERMARK; ports],
            pending: vec![NO_WATERMARK; ports],
            emitted: Vec::new(),
            late: Vec::new(),
            chain: None,
        };
        harness.instances = harness.start(instances).expect("the operator can be made");
        harness.track();
        assert!(!harness.instances.is_empty(), "a harness needs an instance");
        harness
    }

    fn start(&self, instances: usize) -> Result<Vec<Instance<L>>> {
        (0..instances)
            .map(|_| {
                let mut logic = (self.make)()?;
                logic.hash_by(self.hashing);
                Ok(Instance { logic, out: Output::new(self.pace).with_late() })
            })
            .collect()
    }

    /// From now on changes are collected, if the operator gives them.
    fn track(&mut self) {
        let tracks: Vec<bool> = self.instances.iter_mut().map(|instance| instance.logic.tracks_changes()).collect();
        if tracks.contains(&true) {
            self.chain.get_or_insert_default();
        }
    }

    fn collect_changes(&mut self) -> Result<()> {
        let Some(chain) = &mut self.chain else { return Ok(()) };
        let changes: Result<Vec<_>> = self.instances.iter_mut().map(|instance| instance.logic.changes()).collect();
        chain.push(changes?.into_iter().flatten().collect());
        Ok(())
    }

    /// Rows arrive at input `port`. An instance that takes picked rows gets them so, unless they are all.
    pub fn push(&mut self, port: usize, rows: RecordBatch) -> Result<()> {
        for (instance, chunk) in split(&rows, self.routes[port].as_ref(), self.hashing, self.instances.len())? {
            let Instance { logic, out } = &mut self.instances[instance];
            let chunk = if logic.takes_picks() { chunk } else { chunk.whole() };
            logic.on_rows(port, chunk, out)?;
        }
        self.collect();
        Ok(())
    }

    /// The inputs' watermarks rise; they never fall.
    pub fn watermark(&mut self, watermarks: &[i64]) -> Result<()> {
        self.pending = self.pending.iter().zip(watermarks).map(|(old, new)| *old.max(new)).collect();
        match self.pace {
            Pace::Eager => self.deliver(),
            Pace::Epoch => Ok(()),
        }
    }

    fn deliver(&mut self) -> Result<()> {
        if self.delivered != self.pending {
            self.delivered = self.pending.clone();
            for Instance { logic, out } in &mut self.instances {
                logic.on_watermark(&self.delivered, out)?;
            }
            self.collect();
        }
        Ok(())
    }

    /// The epoch closes.
    pub fn close(&mut self) -> Result<()> {
        self.deliver()?;
        for Instance { logic, out } in &mut self.instances {
            logic.on_complete(self.epoch, out)?;
        }
        self.epoch += 1;
        self.collect();
        self.collect_changes()
    }

    /// Takes the rows emitted since the last call.
    pub fn take(&mut self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.emitted)
    }

    /// Takes the rows that came too late since the last call.
    pub fn take_late(&mut self) -> Vec<Late> {
        std::mem::take(&mut self.late)
    }

    /// The state of all instances; call it after [`Harness::close`].
    pub fn state(&mut self) -> Result<Vec<RecordBatch>> {
        let states: Result<Vec<_>> = self.instances.iter_mut().map(|instance| instance.logic.snapshot()).collect();
        Ok(states?.into_iter().flatten().collect())
    }

    /// Starts afresh from the state with another number of instances, as after a crash.
    ///
    /// # Panics
    /// If the changes so far do not come to what a whole snapshot says.
    pub fn restart(&mut self, instances: usize) -> Result<()> {
        self.collect_changes()?;
        let mut state = self.state()?;
        if let Some(chain) = &mut self.chain {
            let merged = snapshot::coalesced(snapshot::merged(std::mem::take(chain))?)?;
            assert_eq!(texts(&merged), texts(&state), "the changes of all epochs are not the whole state");
            state.clone_from(&merged);
            *chain = vec![merged];
        }
        self.instances = self.start(instances)?;
        for (index, Instance { logic, out }) in self.instances.iter_mut().enumerate() {
            // What was delivered holds before the state comes back, so that nothing is closed twice.
            if self.delivered.iter().any(|watermark| *watermark != NO_WATERMARK) {
                logic.on_watermark(&self.delivered, out)?;
            }
            logic.restore(snapshot::owned(&state, index, instances)?)?;
        }
        self.collect();
        self.track();
        Ok(())
    }

    /// Metrics of all instances together, since the last call.
    pub fn metrics(&mut self) -> StateMetrics {
        let metrics = self.instances.iter_mut().map(|instance| instance.logic.metrics());
        metrics.fold(StateMetrics::default(), |mut total, more| {
            total += more;
            total
        })
    }

    /// Whether something holds of every instance.
    pub fn each(&self, check: impl Fn(&L) -> bool) -> bool {
        self.instances.iter().all(|instance| check(&instance.logic))
    }

    fn collect(&mut self) {
        let emitted = self.instances.iter_mut().flat_map(|instance| instance.out.take());
        self.emitted.extend(emitted.filter_map(Chunk::into_rows));
        self.late.extend(self.instances.iter_mut().flat_map(|instance| instance.out.take_late()));
    }
}

/// All rows as sorted texts, whatever their types.
fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let mut texts = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns: Vec<ArrayFormatter<'_>> = columns.collect::<Result<_, _>>().expect("columns can be printed");
        let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|");
        texts.extend((0..batch.num_rows()).map(row));
    }
    texts.sort();
    texts
}

/// The rows for each instance, as the exchange would split them.
fn split(rows: &RecordBatch, route: Option<&Route>, hashing: Hashing, instances: usize) -> Result<Vec<(usize, Chunk)>> {
    let chunk = Chunk::new(rows.clone(), 1, 0);
    let Some(Route::Keys(columns)) = route else { return Ok(vec![(0, chunk)]) };
    let columns: Vec<ArrayRef> = columns.iter().map(|column| rows.column(*column).clone()).collect();
    let mut hashes = Vec::new();
    hashing.hash(&columns, rows.num_rows(), &mut hashes)?;
    let mut parts = Vec::new();
    for instance in 0..instances {
        let mine = |row: &u32| keys::owner(keys::key_group(hashes[*row as usize]), instances) == instance;
        let mine = UInt32Array::from_iter_values((0..rows.num_rows() as u32).filter(mine));
        let all = mine.len() == rows.num_rows();
        parts.push((instance, if all { chunk.clone() } else { chunk.picked(mine) }));
    }
    parts.retain(|(_, chunk)| !chunk.is_empty());
    Ok(parts)
}

/// Rows of nullable 64-bit integers, by column name.
///
/// # Panics
/// If the columns are of different lengths.
pub fn ints(columns: &[(&str, &[Option<i64>])]) -> RecordBatch {
    let column = |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let columns = columns.iter().map(|(name, values)| (*name, column(values), true));
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

/// The same rows with columns `times` as microsecond timestamps.
///
/// # Panics
/// If they are no numbers.
pub fn with_times(rows: RecordBatch, times: &[usize]) -> RecordBatch {
    let timestamp = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let schema = rows.schema();
    let columns = rows.columns().iter().enumerate().map(|(index, column)| {
        let column = match times.contains(&index) {
            true => cast(column, &timestamp).expect("a number is a timestamp"),
            false => column.clone(),
        };
        (schema.field(index).name().clone(), column, true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length")
}

/// All rows as numbers, in order; columns must be numbers or timestamps.
///
/// # Panics
/// For other columns.
pub fn long_rows(batches: &[RecordBatch]) -> Vec<Vec<Option<i64>>> {
    let mut rows = Vec::new();
    for batch in batches {
        let longs = |column: &ArrayRef| cast(column, &DataType::Int64).expect("a number or timestamp");
        let columns: Vec<ArrayRef> = batch.columns().iter().map(longs).collect();
        let row = |row: usize| columns.iter().map(|c| c.as_primitive::<Int64Type>()).map(|c| value(c, row)).collect();
        rows.extend((0..batch.num_rows()).map(row));
    }
    rows
}

fn value(column: &Int64Array, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| column.value(row))
}

/// All rows as numbers, sorted: equal for equal multisets.
///
/// # Panics
/// As [`long_rows`].
pub fn long_multiset(batches: &[RecordBatch]) -> Vec<Vec<Option<i64>>> {
    let mut rows = long_rows(batches);
    rows.sort();
    rows
}

/// The table that a changelog of whole numbers builds up.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<Vec<Option<i64>>, i64>);

impl Changes {
    /// Applies rows whose last column is the sign, each batch in order. False if a row was taken back that was not there.
    pub fn apply(&mut self, batches: &[RecordBatch]) -> bool {
        let mut sound = true;
        for mut row in long_rows(batches) {
            let sign = row.pop().flatten().unwrap_or(0);
            let count = self.0.entry(row).or_default();
            *count += sign;
            sound &= *count >= 0;
        }
        self.0.retain(|_, count| *count != 0);
        sound
    }

    /// The rows of the table, sorted.
    pub fn rows(&self) -> Vec<Vec<Option<i64>>> {
        let repeated = self.0.iter().flat_map(|(row, count)| (0..*count).map(move |_| row.clone()));
        repeated.collect()
    }
}
