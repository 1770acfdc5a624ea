//! The continuous driver against the micro-batch driver: the same rows, in chunks of random sizes, give the same final result.
//!
//! In: the corpus' legal streaming queries. Each reads its rows from memory streams, sorted by event time so that none is late
//! under either driver: once in micro-batches, then continuously with several numbers of workers. Append queries must print
//! the same rows in all, update queries the same last row for each key, complete queries the same last table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use serde_json::Value;
use thalweg::query::{StreamingQuery, Trigger};
use thalweg::session::Session;
use thalweg::sources::memory::MemoryStream;
use thalweg::{Error, Result};

use crate::case::{self, Case, list, text};
use crate::compare::{json_rows, same_rows};
use crate::keys::key_columns;
use crate::replay::{Delivered, unless_stuck};

/// Queries whose result depends on when rows arrive, with the reason.
const DEPENDS_ON_ARRIVAL: &[(&str, &str)] = &[
    ("aggregation/histogram_numeric", "rows that come at once make a histogram of their own, which is then merged in"),
    ("dedup/within_watermark", "duplicates further apart than the delay are known only until the watermark passes"),
    ("event_time/pre_epoch_rows", "rows before 1970 are late only in micro-batches, whose first watermark is 1970"),
    ("programs/ads_left_outer", "each side is judged by the watermark of the other, not by that of the whole query"),
    ("mode_combinations/join_then_limit_append", "a limit keeps the rows that come first"),
    ("mode_combinations/union_agg_stream_complete", "rows beside an aggregation are given in the epoch they arrive in"),
    ("mode_combinations/union_agg_stream_update", "rows beside an aggregation have the keys of its rows"),
];

#[test]
fn aggregation() {
    check("aggregation");
}

#[test]
fn dedup() {
    check("dedup");
}

#[test]
fn event_time() {
    check("event_time");
}

#[test]
fn programs() {
    check("programs");
}

#[test]
fn stateless() {
    check("stateless");
}

#[test]
fn joins_and_mode_combinations() {
    check("stream_join");
    check("mode_combinations");
}

fn check(area: &str) {
    let cases = case::all();
    let of_area = || cases.iter().filter(|case| case.area() == area);
    let (legal, other): (Vec<&Case>, Vec<&Case>) = of_area().partition(|case| why_not(case).is_none());
    for case in other {
        println!("not compared: {} ({})", case.name, why_not(case).unwrap_or_default());
    }
    let first = seed();
    let seeded = legal.iter().zip(first..);
    let failures: Vec<String> = seeded.filter_map(|(case, seed)| difference(case, seed)).collect();
    println!("continuous {area}: {} passed, {} failed", legal.len() - failures.len(), failures.len());
    assert!(failures.is_empty(), "{} cases of {area} differ:\n{}", failures.len(), failures.join("\n"));
}

/// Where the interleavings of an area begin: `THALWEG_SEED`, else 0.
fn seed() -> u64 {
    std::env::var("THALWEG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

/// Why the drivers need not agree on a case.
fn why_not(case: &Case) -> Option<&'static str> {
    let json = &case.json;
    if json["kind"] != "stream" || json["expect"]["runs"].is_null() {
        return Some("it ends with an error");
    }
    if !json["script"].is_null() {
        return Some("it is about restarts and arrival");
    }
    if json["conf"]["spark.sql.streaming.multipleWatermarkPolicy"] == "max" {
        return Some("under the policy max a side that is behind is late");
    }
    DEPENDS_ON_ARRIVAL.iter().find(|(name, _)| *name == case.name).map(|(_, reason)| *reason)
}

fn difference(case: &Case, seed: u64) -> Option<String> {
    // Each number of workers has chunks and an order of its own.
    let ran = |trigger, workers: usize| {
        let (case, seed) = (case.clone(), seed.wrapping_add(1_000_003 * workers as u64));
        unless_stuck(move || Play::new(case, workers, seed)?.run(trigger))
    };
    let wanted = match ran(Trigger::AvailableNow, 1) {
        Ok(epochs) => outcome(case, epochs),
        Err(error) => return Some(format!("  {}: in micro-batches: {error}", case.name)),
    };
    let every = Trigger::Continuous(Duration::from_millis(30));
    let compare = |workers| match ran(every, workers) {
        Err(error) => Some(format!("  {} ({workers} workers): {error}", case.name)),
        Ok(epochs) => {
            let rows = outcome(case, epochs);
            let same = same_rows(&rows, &wanted, &case.json["expect"]["schema"], case.json["ordered"] == true);
            (!same).then(|| format!("  {} ({workers} workers, seed {seed}): {rows:?}\n    not {wanted:?}", case.name))
        }
    };
    (1..=4).find_map(compare)
}

/// The final result of what was printed.
fn outcome(case: &Case, epochs: Vec<Vec<Value>>) -> Vec<Value> {
    match text(&case.json["outputMode"]) {
        "complete" => epochs.into_iter().next_back().unwrap_or_default(),
        "update" => last_of_each_key(epochs, key_columns(case).as_deref()),
        _ => epochs.into_iter().flatten().collect(),
    }
}

/// The last row of each key. Without aggregates there are no keys: every row counts.
pub fn last_of_each_key(epochs: Vec<Vec<Value>>, keys: Option<&[usize]>) -> Vec<Value> {
    let mut last = BTreeMap::new();
    for (n, row) in epochs.into_iter().flatten().enumerate() {
        let key: Vec<String> = keys.unwrap_or_default().iter().map(|key| row[*key].to_string()).collect();
        let every_row = if keys.is_none() { n } else { 0 };
        last.insert((every_row, key), row);
    }
    last.into_values().collect()
}

/// One run of a case on memory streams.
struct Play {
    case: Case,
    session: Session,
    folder: tempfile::TempDir,
    streams: BTreeMap<String, (MemoryStream, RecordBatch)>,
    random: u64,
}

impl Play {
    fn new(case: Case, workers: usize, seed: u64) -> Result<Play> {
        let folder = tempfile::tempdir()?;
        case.write_all(folder.path())?;
        let session = case.session();
        session.set_conf("thalweg.workers", workers);
        session.set_conf("spark.sql.streaming.noDataMicroBatches.enabled", true);
        let mut streams = BTreeMap::new();
        for source in list(&case.json["sources"]).iter().filter(|source| source["static"] != true) {
            let rows = case::source_frame(&session, source, folder.path(), true)?;
            let rows = in_time_order(concat_batches(&rows.schema(), &rows.collect()?)?)?;
            streams.insert(text(&source["name"]).to_owned(), (MemoryStream::new(rows.schema()), rows));
        }
        Ok(Play { case, session, folder, streams, random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 })
    }

    /// The rows that the sink got, by epoch.
    fn run(mut self, trigger: Trigger) -> Result<Vec<Vec<Value>>> {
        let continuous = matches!(trigger, Trigger::Continuous(_));
        if !continuous {
            self.feed()?;
        }
        let delivered = Delivered::default();
        let query = self.start(trigger, &delivered)?;
        if continuous {
            self.feed()?;
            query.process_all_available()?;
            query.stop()?;
        }
        query.await_termination()?;
        let epochs = std::mem::take(&mut *delivered.lock().expect("no holder panics"));
        epochs.iter().map(|(_, rows)| json_rows(rows)).collect()
    }

    fn start(&self, trigger: Trigger, delivered: &Delivered) -> Result<StreamingQuery> {
        self.case.register_with(&self.session, |source| match self.streams.get(text(&source["name"])) {
            Some((stream, _)) => self.session.read_stream().memory(stream),
            None => case::source_frame(&self.session, source, self.folder.path(), true),
        })?;
        let delivered = Arc::clone(delivered);
        let writer = self.case.query(&self.session)?.write_stream().output_mode(text(&self.case.json["outputMode"]));
        let writer = writer.foreach_rows(move |rows, _, epoch| {
            delivered.lock().expect("no holder panics").push((epoch, rows));
            Ok(())
        });
        writer.trigger(trigger).start()
    }

    /// Pushes all rows, in chunks of random sizes from streams in random order.
    fn feed(&mut self) -> Result<()> {
        let mut left: Vec<(MemoryStream, RecordBatch)> = self.streams.values().cloned().collect();
        while !left.is_empty() {
            let place = self.below(left.len());
            let (stream, rows) = &left[place];
            let size = (1 + self.random as usize % 9).min(rows.num_rows());
            stream.push(rows.slice(0, size))?;
            let rest = rows.slice(size, rows.num_rows() - size);
            left[place].1 = rest;
            left.retain(|(_, rows)| rows.num_rows() > 0);
        }
        Ok(())
    }

    /// The next random number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % limit
    }
}

/// The rows by their first timestamp column, nulls first; equal times stay in order.
fn in_time_order(rows: RecordBatch) -> Result<RecordBatch> {
    let schema = rows.schema();
    let is_time = |column: usize| matches!(schema.field(column).data_type(), DataType::Timestamp(_, Some(_)));
    let Some(column) = (0..rows.num_columns()).find(|column| is_time(*column)) else { return Ok(rows) };
    let times = rows.column(column).as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.ok_or_else(|| Error::internal("a timestamp is not in microseconds"))?;
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_by_key(|row| times.is_valid(*row as usize).then(|| times.value(*row as usize)));
    Ok(take_record_batch(&rows, &UInt32Array::from(order))?)
}
