//! `rate-micro-batch`: the same number of rows `(timestamp TIMESTAMP, value BIGINT)` in each batch, without any clock.
//!
//! In: nothing. Out: `rowsPerBatch` rows a batch, all with the batch's timestamp, which starts at `startTimestamp` and moves
//! by `advanceMillisPerBatch`. The offset is Spark's, e.g. `{"offset":20,"timestamp":2000}`: how many rows, and the timestamp
//! of the next batch. A continuous read gives one batch's rows after the other as fast as they are taken.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;

use super::rate::{at_least, rows, schema};
use super::{Limit, Offset, Read, Reader, Source, SourceContext, SourceProvider, SourceSpec, whole_number};
use crate::conf::Conf;
use crate::formats::Decoder;
use crate::options::{OptionSpec, Options, option};
use crate::{Error, Result};

const MAX_ROWS: u64 = thalweg_operators::chunk::MAX_ROWS as u64;

const OPTIONS: &[OptionSpec] = &[
    option("rowsPerBatch", "", "rows in each batch; required"),
    option("startTimestamp", "0", "timestamp of the first batch, in milliseconds since 1970"),
    option("advanceMillisPerBatch", "1000", "how far the timestamp moves from batch to batch"),
    option("numPartitions", "1", "a hint; the rows are the same whatever it says"),
];

/// The provider of `format("rate-micro-batch")`.
#[derive(Debug)]
pub struct RateMicroBatch;

impl SourceProvider for RateMicroBatch {
    fn names(&self) -> &'static [&'static str] {
        &["rate-micro-batch"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        vec![OPTIONS]
    }

    fn schema(&self, spec: &SourceSpec, _conf: &Conf) -> Result<SchemaRef> {
        super::check_options(self, spec)?;
        super::refuse_schema(spec)?;
        Batches::of(&spec.options)?;
        Ok(schema())
    }

    fn connect(&self, spec: &SourceSpec, _: SchemaRef, context: SourceContext) -> Result<Box<dyn Source>> {
        let batches = Batches::of(&spec.options)?;
        Ok(Box::new(Generator { batches, projection: context.projection.into(), goal: None }))
    }

    fn batch(&self) -> bool {
        false
    }
}

/// What each batch holds.
#[derive(Debug, Clone, Copy)]
struct Batches {
    rows: u64,
    start_millis: i64,
    advance_millis: i64,
}

impl Batches {
    fn of(options: &Options) -> Result<Batches> {
        options.require("rowsPerBatch", "source 'rate-micro-batch'")?;
        at_least(options, "numPartitions", 1, 1)?;
        Ok(Batches {
            rows: at_least(options, "rowsPerBatch", 1, 1)?.unsigned_abs(),
            start_millis: at_least(options, "startTimestamp", 0, 0)?,
            advance_millis: at_least(options, "advanceMillisPerBatch", 0, 1000)?,
        })
    }

    fn initial(self) -> Place {
        Place { offset: 0, timestamp: self.start_millis, done: 0 }
    }

    /// The place one batch further (the rest of a batch that a continuous read left half done).
    fn after(self, place: Place) -> Result<Place> {
        let offset = place.offset.checked_add(self.rows - place.done);
        let timestamp = place.timestamp.checked_add(self.advance_millis);
        match (offset, timestamp) {
            (Some(offset), Some(timestamp)) => Ok(Place { offset, timestamp, done: 0 }),
            _ => Err(Error::invalid("source 'rate-micro-batch' has counted beyond 64 bits")),
        }
    }
}

/// How many rows came, the timestamp of the next row, and how many of its batch's rows came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    offset: u64,
    timestamp: i64,
    done: u64,
}

impl Place {
    fn parse(offset: &Offset) -> Result<Place> {
        let part = |name| offset.get(name).map(whole_number).transpose();
        match (part("offset")?, part("timestamp")?) {
            (Some(rows), Some(timestamp)) => Ok(Place {
                offset: rows,
                timestamp: i64::try_from(timestamp).map_err(|_| super::wrong_offset(offset))?,
                done: part("done")?.unwrap_or(0),
            }),
            _ => Err(super::wrong_offset(offset)),
        }
    }

    fn write(self) -> Offset {
        let mut text = serde_json::json!({"offset": self.offset, "timestamp": self.timestamp});
        if self.done > 0 {
            text["done"] = self.done.into();
        }
        text
    }
}

struct Generator {
    batches: Batches,
    projection: Arc<[usize]>,
    /// Where reading ends (trigger available now: one batch).
    goal: Option<Option<Place>>,
}

impl Generator {
    fn place(&self, offset: Option<&Offset>) -> Result<Place> {
        offset.map_or(Ok(self.batches.initial()), Place::parse)
    }
}

impl Source for Generator {
    fn description(&self) -> String {
        let Batches { rows, start_millis, advance_millis } = self.batches;
        format!(
            "RatePerMicroBatchStream[rowsPerBatch={rows}, numPartitions=1, startTimestamp={start_millis}, \
             advanceMsPerBatch={advance_millis}]"
        )
    }

    fn latest(&mut self, from: Option<&Offset>, _limit: Limit) -> Result<Option<Offset>> {
        let start = self.place(from)?;
        let next = self.batches.after(start)?;
        let end = match &mut self.goal {
            Some(goal) => *goal.get_or_insert(next),
            None => next,
        };
        Ok((end.offset > start.offset).then(|| end.write()))
    }

    fn read(&mut self, from: Option<&Offset>, to: Option<&Offset>) -> Result<Vec<Box<dyn Reader>>> {
        let end = to.map(Place::parse).transpose()?.map_or(u64::MAX, |place| place.offset);
        let place = self.place(from)?;
        Ok(vec![Box::new(GeneratorReader {
            batches: self.batches,
            projection: Arc::clone(&self.projection),
            place,
            end,
        })])
    }

    fn decoder(&self) -> Result<Option<Box<dyn Decoder>>> {
        Ok(None)
    }

    fn freeze(&mut self) -> Result<()> {
        self.goal = Some(None);
        Ok(())
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }
}

struct GeneratorReader {
    batches: Batches,
    projection: Arc<[usize]>,
    place: Place,
    end: u64,
}

impl Reader for GeneratorReader {
    fn next(&mut self, _wait: Duration) -> Result<Read> {
        let Place { offset, timestamp, done } = self.place;
        if offset >= self.end {
            return Ok(Read::End);
        }
        let count = MAX_ROWS.min(self.batches.rows - done).min(self.end - offset);
        let micros = timestamp.saturating_mul(1000);
        let rows = rows(&self.projection, (offset..offset + count).map(|value| (micros, value.cast_signed())))?;
        self.place = match done + count == self.batches.rows {
            true => self.batches.after(self.place)?,
            false => Place { offset: offset + count, done: done + count, ..self.place },
        };
        Ok(Read::Rows(rows))
    }

    fn offset(&self) -> Offset {
        self.place.write()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::context;
    use super::*;

    #[test]
    fn batches_and_offsets_are_sparks() {
        let mut spec = SourceSpec { format: "rate-micro-batch".into(), ..SourceSpec::default() };
        spec.options.set("rowsPerBatch", 10);
        spec.options.set("startTimestamp", 1000);
        spec.options.set("advanceMillisPerBatch", 50);
        let mut source = RateMicroBatch.connect(&spec, schema(), context(2)).unwrap();
        let first = source.latest(None, Limit::Options).unwrap().unwrap();
        assert_eq!(first.to_string(), r#"{"offset":10,"timestamp":1050}"#);
        let mut readers = source.read(Some(&first), None).unwrap();
        let Read::Rows(second) = readers[0].next(Duration::ZERO).unwrap() else { panic!("rows") };
        let expected = rows(&[0, 1], (10..20).map(|value| (1_050_000, value))).unwrap();
        assert_eq!(second, expected);
    }
}
