//! `rate`: rows `(timestamp TIMESTAMP, value BIGINT)` at a steady pace; for trying things out and for load tests.
//!
//! In: the clock. Out: value 0, 1, 2, … at `rowsPerSecond`, each with the instant it is due. A value's timestamp depends on
//! the value alone, never on how the stream is cut, so a range can be read again and gives the same rows. The offset is
//! Spark's: full seconds since the stream was created (the instant is kept in the checkpoint); within a second, which only
//! a continuous read stops at, it is `{"value":n}`.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::pause::Pause;
use super::{Limit, Offset, Read, Reader, Source, SourceContext, SourceProvider, SourceSpec};
use crate::clock::SharedClock;
use crate::conf::Conf;
use crate::formats::Decoder;
use crate::options::{OptionSpec, Options, option};
use crate::store::Folder;
use crate::types::{field, timestamp};
use crate::{Error, Result};

const MAX_ROWS: u64 = thalweg_operators::chunk::MAX_ROWS as u64;

const OPTIONS: &[OptionSpec] = &[
    option("rowsPerSecond", "1", "rows per second"),
    option("rampUpTime", "0s", "how long until the full speed is reached, e.g. 5s"),
    option("numPartitions", "1", "a hint; the rows are the same whatever it says"),
];

/// The columns of both rate sources.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![field("timestamp", timestamp()), field("value", DataType::Int64)]))
}

/// Rows of `(timestamp, value)`, projected.
pub(super) fn rows(projection: &[usize], rows: impl Iterator<Item = (i64, i64)>) -> Result<RecordBatch> {
    let (micros, values): (Vec<i64>, Vec<i64>) = rows.unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(values.len()));
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"));
    let columns = [times, Arc::new(Int64Array::from(values))];
    let chosen = projection.iter().filter_map(|column| columns.get(*column).cloned()).collect();
    Ok(RecordBatch::try_new_with_options(Arc::new(schema().project(projection)?), chosen, &options)?)
}

/// A number that must be at least `least`.
pub(super) fn at_least(options: &Options, name: &str, least: i64, default: i64) -> Result<i64> {
    match options.number(name)?.unwrap_or(default) {
        value if value >= least => Ok(value),
        _ => Err(options.wrong(name, &format!("a whole number of at least {least}"))),
    }
}

/// The provider of `format("rate")`.
#[derive(Debug)]
pub struct Rate;

impl SourceProvider for Rate {
    fn names(&self) -> &'static [&'static str] {
        &["rate"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        vec![OPTIONS]
    }

    fn schema(&self, spec: &SourceSpec, _conf: &Conf) -> Result<SchemaRef> {
        super::check_options(self, spec)?;
        super::refuse_schema(spec)?;
        Speed::of(&spec.options)?;
        Ok(schema())
    }

    fn connect(&self, spec: &SourceSpec, _: SchemaRef, context: SourceContext) -> Result<Box<dyn Source>> {
        let now = context.clock.wall_micros().div_euclid(1000);
        Ok(Box::new(RateSource {
            speed: Speed::of(&spec.options)?,
            created: creation_time(context.log.as_ref(), now)?,
            clock: context.clock,
            projection: context.projection.into(),
            last: now,
            goal: None,
        }))
    }

    fn batch(&self) -> bool {
        false
    }
}

/// The instant (milliseconds) the stream was created: from the checkpoint, or now.
fn creation_time(log: Option<&Folder>, now: i64) -> Result<i64> {
    let Some(log) = log else { return Ok(now) };
    let Some(text) = log.read_text("0")? else {
        log.write("0", format!("v1\n{now}").as_bytes())?;
        return Ok(now);
    };
    text.strip_prefix("v1\n")
        .and_then(|millis| millis.trim().parse().ok())
        .ok_or_else(|| Error::outside("the creation time of the rate source is damaged").at(log.place("0")))
}

/// How many values have come after how long.
#[derive(Debug, Clone, Copy)]
struct Speed {
    rows_per_second: i64,
    ramp_up_seconds: i64,
}

impl Speed {
    fn of(options: &Options) -> Result<Speed> {
        let rows_per_second = at_least(options, "rowsPerSecond", 1, 1)?;
        at_least(options, "numPartitions", 1, 1)?;
        let ramp_up_seconds = match options.get("rampUpTime") {
            None => 0,
            Some(text) => seconds(text).ok_or_else(|| options.wrong("rampUpTime", "a time such as '5s' or '2m'"))?,
        };
        if ramp_up_seconds > i64::MAX / rows_per_second {
            return Err(Error::query("INCORRECT_RAMP_UP_RATE", "'rampUpTime' is too long for this 'rowsPerSecond'"));
        }
        Ok(Speed { rows_per_second, ramp_up_seconds })
    }

    /// The first value after this many full seconds.
    ///
    /// While ramping up, second `s` gives `step * s` rows, as in Spark.
    fn value_at(self, seconds: i64) -> i64 {
        let step = (self.rows_per_second / (self.ramp_up_seconds + 1)).max(1);
        let ramp = i128::from(seconds.min(self.ramp_up_seconds));
        let rows = i128::from(step) * ramp * (ramp + 1) / 2
            + i128::from(self.rows_per_second) * i128::from((seconds - self.ramp_up_seconds).max(0));
        i64::try_from(rows).unwrap_or(i64::MAX)
    }

    /// The second in which this value is due: the largest `s` with `value_at(s) <= value`.
    fn second_of(self, value: i64) -> i64 {
        let ramped = self.value_at(self.ramp_up_seconds);
        if value >= ramped {
            return self.ramp_up_seconds + (value - ramped) / self.rows_per_second;
        }
        let (mut low, mut high) = (0, self.ramp_up_seconds);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.value_at(middle) <= value { low = middle } else { high = middle }
        }
        low
    }

    /// When a value is due, in milliseconds since the creation.
    fn due(self, value: i64) -> i64 {
        let second = self.second_of(value);
        let (first, next) = (self.value_at(second), self.value_at(second + 1));
        let within = (i128::from(value - first) * 2000 + i128::from(next - first)) / (2 * i128::from(next - first));
        second * 1000 + i64::try_from(within).unwrap_or(0)
    }

    /// The first value that is not due after this many milliseconds.
    fn value_after(self, millis: i64) -> i64 {
        if millis < 0 {
            return 0;
        }
        let (first, next) = (self.value_at(millis / 1000), self.value_at(millis / 1000 + 1));
        let share = i128::from(next - first) * i128::from(millis % 1000) / 1000;
        let mut value = first + i64::try_from(share).unwrap_or(0);
        while value < next && self.due(value) <= millis {
            value += 1;
        }
        value
    }
}

/// Whole seconds of a time text.
fn seconds(text: &str) -> Option<i64> {
    crate::options::parse_time(text, "s").and_then(|time| i64::try_from(time.as_secs()).ok())
}

struct RateSource {
    speed: Speed,
    /// Milliseconds since 1970.
    created: i64,
    clock: SharedClock,
    projection: Arc<[usize]>,
    /// The latest time seen (milliseconds), so that a clock that goes back takes nothing back.
    last: i64,
    /// The second at which reading ends (trigger available now).
    goal: Option<i64>,
}

impl RateSource {
    /// Full seconds since the creation.
    fn seconds(&mut self) -> i64 {
        self.last = self.last.max(self.clock.wall_micros().div_euclid(1000));
        (self.last - self.created).max(0) / 1000
    }

    /// The first value after an offset.
    fn value(&self, offset: Option<&Offset>) -> Result<i64> {
        let Some(offset) = offset else { return Ok(0) };
        let number = super::whole_number(offset.get("value").unwrap_or(offset))?;
        let number = i64::try_from(number).map_err(|_| super::wrong_offset(offset))?;
        Ok(if offset.is_object() { number } else { self.speed.value_at(number) })
    }
}

impl Source for RateSource {
    fn description(&self) -> String {
        let Speed { rows_per_second, ramp_up_seconds } = self.speed;
        format!("RateStreamV2[rowsPerSecond={rows_per_second}, rampUpTimeSeconds={ramp_up_seconds}, numPartitions=1]")
    }

    /// As in Spark, the first batch comes at once and has no rows.
    fn latest(&mut self, from: Option<&Offset>, _limit: Limit) -> Result<Option<Offset>> {
        let seconds = self.goal.unwrap_or_else(|| self.seconds());
        let news = match from {
            None => true,
            Some(from) => self.speed.value_at(seconds) > self.value(Some(from))?,
        };
        Ok(news.then(|| Offset::from(seconds)))
    }

    fn read(&mut self, from: Option<&Offset>, to: Option<&Offset>) -> Result<Vec<Box<dyn Reader>>> {
        let to = to.map(|to| self.value(Some(to))).transpose()?;
        Ok(vec![Box::new(RateReader {
            speed: self.speed,
            created: self.created,
            clock: Arc::clone(&self.clock),
            projection: Arc::clone(&self.projection),
            next: self.value(from)?,
            to,
            pause: Pause::default(),
        })])
    }

    fn decoder(&self) -> Result<Option<Box<dyn Decoder>>> {
        Ok(None)
    }

    fn freeze(&mut self) -> Result<()> {
        self.goal = Some(self.seconds());
        Ok(())
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }
}

struct RateReader {
    speed: Speed,
    created: i64,
    clock: SharedClock,
    projection: Arc<[usize]>,
    next: i64,
    to: Option<i64>,
    pause: Pause,
}

impl RateReader {
    /// Milliseconds since the creation.
    fn age(&self) -> i64 {
        self.clock.wall_micros().div_euclid(1000) - self.created
    }

    /// Waits until the next value is due, at most `wait`.
    fn wait_until_due(&self, wait: Duration) {
        let missing = self.speed.due(self.next) - self.age();
        if missing > 0 {
            self.pause.sleep(wait.min(Duration::from_millis(missing.unsigned_abs())));
        }
    }
}

impl Reader for RateReader {
    fn next(&mut self, wait: Duration) -> Result<Read> {
        if self.to.is_some_and(|to| self.next >= to) {
            return Ok(Read::End);
        }
        if self.to.is_none() {
            self.wait_until_due(wait);
        }
        let end = self.to.unwrap_or_else(|| self.speed.value_after(self.age()));
        let end = end.min(self.next.saturating_add_unsigned(MAX_ROWS));
        if end <= self.next {
            return Ok(Read::Idle);
        }
        let (speed, created) = (self.speed, self.created);
        let values = (self.next..end).map(|value| ((created + speed.due(value)) * 1000, value));
        let rows = rows(&self.projection, values)?;
        self.next = end;
        Ok(Read::Rows(rows))
    }

    fn is_light(&self) -> bool {
        true
    }

    fn offset(&self) -> Offset {
        let second = self.speed.second_of(self.next);
        if self.speed.value_at(second) == self.next {
            return Offset::from(second);
        }
        [("value".to_owned(), Offset::from(self.next))].into_iter().collect()
    }

    fn interrupt(&self) -> Option<Arc<dyn Fn() + Send + Sync>> {
        Some(self.pause.interrupter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_up_as_spark_does() {
        let speed = Speed { rows_per_second: 10, ramp_up_seconds: 4 };
        let values: Vec<i64> = (0..7).map(|second| speed.value_at(second)).collect();
        assert_eq!(values, [0, 2, 6, 12, 20, 30, 40]);
    }

    #[test]
    fn values_come_when_they_are_due() {
        let speed = Speed { rows_per_second: 3, ramp_up_seconds: 0 };
        assert_eq!((0..5).map(|value| speed.due(value)).collect::<Vec<_>>(), [0, 333, 667, 1000, 1333]);
        for speed in [speed, Speed { rows_per_second: 1000, ramp_up_seconds: 7 }] {
            for millis in 0..9000 {
                let value = speed.value_after(millis);
                assert!(speed.due(value) > millis && (value == 0 || speed.due(value - 1) <= millis), "at {millis}");
            }
        }
    }
}
