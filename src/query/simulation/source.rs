//! The simulation's source: rows in partitions whose order is fixed, taken in pieces that the seed draws.
//!
//! In: an [`Input`] by its name. Out: its rows, again and again from any offset, as a replayable source must. Where a batch ends
//! depends on the seed and on how often the query was started: only what the checkpoint recorded makes a batch the same again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use serde_json::json;

use super::{NAME, Random, hash};
use crate::conf::Conf;
use crate::formats::Decoder;
use crate::options::{OptionSpec, option};
use crate::sources::{
    Limit, Offset, Read, Reader, Source, SourceContext, SourceProvider, SourceSpec, whole_number, wrong_offset,
};
use crate::{Error, Result, threads, types};

/// Event time of the first row, in microseconds.
pub(super) const BEGIN: i64 = 1_704_067_200_000_000;
/// The rows are at most so much out of order.
const DISORDER: u64 = 3_000_000;
/// From a row to the next, on average.
const PACE: i64 = 500_000;

/// The rows of one source.
pub(super) struct Input {
    partitions: Vec<RecordBatch>,
    /// Of each partition's rows, their places in the order of all.
    places: Vec<Vec<u64>>,
    seed: u64,
    /// The last row of each partition, far in the future, can be read.
    open: AtomicBool,
    boots: AtomicU64,
}

static INPUTS: Mutex<BTreeMap<String, Arc<Input>>> = Mutex::new(BTreeMap::new());

fn inputs() -> MutexGuard<'static, BTreeMap<String, Arc<Input>>> {
    INPUTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Input {
    /// Rows drawn by `content`, in partitions, taken in pieces drawn by `seed`; known by `name` from now on.
    pub(super) fn register(name: &str, content: u64, partitions: usize, seed: u64) -> Arc<Input> {
        let mut random = Random::new(content);
        let rows = 20 + random.below(40);
        let mut parts: Vec<Vec<(String, i64, i64)>> = vec![Vec::new(); partitions];
        let mut places = vec![Vec::new(); partitions];
        for place in 0..rows {
            let part = random.index(partitions);
            let time = BEGIN + place as i64 * PACE + random.below(DISORDER) as i64;
            parts[part].push((format!("k{}", random.below(5)), time, random.below(20) as i64));
            places[part].push(place);
        }
        for (part, places) in parts.iter_mut().zip(&mut places) {
            part.push((format!("closing {content:x}"), BEGIN + 1_800_000_000, 0));
            places.push(rows);
        }
        let partitions = parts.iter().map(|rows| table(rows)).collect();
        let input = Input { partitions, places, seed, open: AtomicBool::new(false), boots: AtomicU64::new(0) };
        let input = Arc::new(input);
        inputs().insert(name.to_owned(), input.clone());
        input
    }

    pub(super) fn named(name: &str) -> Arc<Input> {
        inputs()[name].clone()
    }

    pub(super) fn discard(name: &str) {
        inputs().remove(name);
    }

    /// Lets the last rows be read.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Rows of a partition that can be read.
    fn end(&self, part: usize) -> usize {
        self.partitions[part].num_rows() - usize::from(!self.open.load(Ordering::Acquire))
    }
}

fn table(rows: &[(String, i64, i64)]) -> RecordBatch {
    let keys = StringArray::from_iter_values(rows.iter().map(|row| &row.0));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC");
    let values = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(times), Arc::new(values)];
    RecordBatch::try_new(schema().unwrap(), columns).unwrap()
}

fn schema() -> Result<SchemaRef> {
    types::parse_ddl("k STRING, ts TIMESTAMP, v BIGINT")
}

pub(crate) struct Simulated;

impl SourceProvider for Simulated {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        const OPTIONS: &[OptionSpec] = &[option("name", "", "of the input")];
        vec![OPTIONS]
    }

    fn schema(&self, _: &SourceSpec, _: &Conf) -> Result<SchemaRef> {
        schema()
    }

    fn connect(&self, spec: &SourceSpec, _: SchemaRef, context: SourceContext) -> Result<Box<dyn Source>> {
        let name = spec.options.require("name", "the simulation's source")?;
        let input = inputs().get(name).cloned().ok_or_else(|| Error::invalid(format!("no input '{name}'")))?;
        let boot = input.boots.fetch_add(1, Ordering::AcqRel);
        Ok(Box::new(Parts { input, boot, projection: context.projection }))
    }
}

struct Parts {
    input: Arc<Input>,
    boot: u64,
    projection: Vec<usize>,
}

impl Parts {
    fn counts(&self, offset: Option<&Offset>) -> Result<Vec<usize>> {
        let Some(offset) = offset else { return Ok(vec![0; self.input.partitions.len()]) };
        let count = |part: usize| match offset.get(part.to_string()) {
            Some(count) => Ok(usize::try_from(whole_number(count)?).unwrap_or(usize::MAX)),
            None => Err(wrong_offset(offset)),
        };
        (0..self.input.partitions.len()).map(count).collect()
    }
}

impl Source for Parts {
    fn description(&self) -> String {
        "Simulated".into()
    }

    fn latest(&mut self, from: Option<&Offset>, limit: Limit) -> Result<Option<Offset>> {
        let counts = self.counts(from)?;
        let left = |part: &usize| counts[*part] < self.input.end(*part);
        let next = (0..counts.len()).filter(left).map(|part| self.input.places[part][counts[part]]).min();
        let Some(next) = next else { return Ok(None) };
        let piece = 1 + hash((self.input.seed, self.boot, next)) % 15;
        let until = if limit == Limit::Everything { u64::MAX } else { next + piece };
        let end = |part: usize| {
            let reached = self.input.places[part].iter().take_while(|place| **place < until).count();
            reached.clamp(counts[part], self.input.end(part))
        };
        Ok(Some((0..counts.len()).map(|part| (part.to_string(), json!(end(part)))).collect()))
    }

    fn partitions(&mut self, _: Option<&Offset>) -> Result<usize> {
        Ok(self.input.partitions.len())
    }

    fn read(&mut self, from: Option<&Offset>, to: Option<&Offset>) -> Result<Vec<Box<dyn Reader>>> {
        let from = self.counts(from)?;
        let to = to.map(|to| self.counts(Some(to))).transpose()?;
        let reader = |part: usize| -> Box<dyn Reader> {
            let (input, projection) = (Arc::clone(&self.input), self.projection.clone());
            let (at, to) = (from[part], to.as_ref().map(|to| to[part]));
            Box::new(Part { input, boot: self.boot, projection, part, at, to, rested: false })
        };
        Ok((0..from.len()).map(reader).collect())
    }

    fn decoder(&self) -> Result<Option<Box<dyn Decoder>>> {
        Ok(None)
    }

    fn freeze(&mut self) -> Result<()> {
        Ok(())
    }

    fn join_offsets(&self, parts: Vec<Offset>) -> Result<Offset> {
        let numbered = parts.into_iter().enumerate();
        Ok(numbered.map(|(part, offset)| (part.to_string(), offset)).collect())
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }
}

struct Part {
    input: Arc<Input>,
    boot: u64,
    projection: Vec<usize>,
    part: usize,
    at: usize,
    to: Option<usize>,
    rested: bool,
}

impl Reader for Part {
    fn next(&mut self, _wait: Duration) -> Result<Read> {
        let end = self.to.unwrap_or_else(|| self.input.end(self.part));
        let chance = hash((self.input.seed, self.boot, self.part, self.at));
        if self.at >= end && self.to.is_some() {
            return Ok(Read::End);
        }
        let rests = self.to.is_none() && !self.rested && chance.is_multiple_of(3);
        if self.at >= end || rests {
            self.rested = true;
            threads::rest(Duration::from_micros(500));
            return Ok(Read::Idle);
        }
        self.rested = false;
        let count = (1 + (chance >> 8) as usize % 6).min(end - self.at);
        let rows = self.input.partitions[self.part].slice(self.at, count).project(&self.projection)?;
        self.at += count;
        Ok(Read::Rows(rows))
    }

    fn offset(&self) -> Offset {
        json!(self.at)
    }

    /// Who waits for all there is does not mind that it rests.
    fn behind(&self) -> bool {
        self.at < self.input.end(self.part)
    }
}
