//! Time and session windows in batch: adds the window column, merges sessions per key.
//!
//! In: rows and the physical expressions of time, gap and keys. Out: rows with a struct `start`, `end`. Times are
//! microseconds; arithmetic that leaves the range of TIMESTAMP is an error, not a wrap.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DurationMicrosecondArray, Int64Array, PrimitiveArray, RecordBatch, StructArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{concat_batches, take_arrays};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, FieldRef, IntervalMonthDayNanoType, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::row::{RowConverter, SortField};
use datafusion::physical_plan::PhysicalExpr;

use super::deduplicate::normalized;
use super::kernels::Expand;
use super::step::Step;
use crate::functions::call::evaluate;
use crate::plan::nodes::Windows;
use crate::{Error, Result};

/// Assigns each row to the windows its time lies in, latest first; rows without a time vanish.
pub(super) struct TimeWindowKernel {
    pub(super) time: Arc<dyn PhysicalExpr>,
    pub(super) windows: Windows,
    pub(super) schema: SchemaRef,
}

impl Expand for TimeWindowKernel {
    fn describe(&self) -> String {
        let Windows { length, slide, start } = self.windows;
        format!("window {} length={length} us slide={slide} us start={start} us", self.time)
    }

    fn expand(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let times = micros(&evaluate(&self.time, rows)?)?;
        let (mut picks, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (row, time) in (0u32..).zip(&times) {
            let Some(time) = time else { continue };
            for start in starts_of(time, self.windows)? {
                picks.push(row);
                starts.push(start);
                ends.push(add(start, self.windows.length)?);
            }
        }
        with_window(rows, UInt32Array::from(picks), starts, ends, &self.schema)
    }
}

/// Starts of the windows that hold `time`, latest first.
fn starts_of(time: i64, windows: Windows) -> Result<impl Iterator<Item = i64>> {
    let Windows { length, slide, start } = windows;
    let past = time.checked_sub(start).ok_or_else(out_of_range)?.rem_euclid(slide);
    let last = time.checked_sub(past).ok_or_else(out_of_range)?;
    last.checked_sub(length).ok_or_else(out_of_range)?;
    let count = (length - past + slide - 1) / slide;
    Ok((0..count).map(move |index| last - index * slide))
}

/// Gives each row the session it would make alone; rows without time or with no positive gap vanish.
pub(super) struct SessionWindowKernel {
    pub(super) time: Arc<dyn PhysicalExpr>,
    pub(super) gap: Arc<dyn PhysicalExpr>,
    pub(super) schema: SchemaRef,
}

impl Expand for SessionWindowKernel {
    fn describe(&self) -> String {
        format!("session window {} gap={}", self.time, self.gap)
    }

    fn expand(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let times = micros(&evaluate(&self.time, rows)?)?;
        let gaps = gap_micros(&evaluate(&self.gap, rows)?)?;
        let (mut picks, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (time, gap)) in (0u32..).zip(times.iter().zip(&gaps)) {
            if let (Some(time), Some(gap @ 1..)) = (time, gap) {
                picks.push(row);
                starts.push(time);
                ends.push(add(time, gap)?);
            }
        }
        with_window(rows, UInt32Array::from(picks), starts, ends, &self.schema)
    }
}

/// Replaces each row's own session by the merged session of its key.
pub(super) struct MergeSessionsStep {
    pub(super) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) session: usize,
    pub(super) schema: SchemaRef,
    pub(super) kept: Vec<RecordBatch>,
}

impl Step for MergeSessionsStep {
    fn push(&mut self, rows: RecordBatch) -> Result<RecordBatch> {
        self.kept.push(rows);
        Ok(RecordBatch::new_empty(Arc::clone(&self.schema)))
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        let rows = concat_batches(&self.schema, &std::mem::take(&mut self.kept))?;
        let sessions = rows.column(self.session).as_struct();
        let (mut starts, mut ends) = (values(sessions, 0), values(sessions, 1));
        let keys = self.keys.iter().map(|key| Ok(normalized(&evaluate(key, &rows)?))).collect::<Result<Vec<_>>>()?;
        merge(&key_groups(&keys, rows.num_rows())?, &mut starts, &mut ends);
        let mut columns = rows.columns().to_vec();
        columns[self.session] = window_array(self.schema.field(self.session).data_type(), starts, ends)?;
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }
}

fn values(sessions: &StructArray, field: usize) -> Vec<i64> {
    sessions.column(field).as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

/// A number for each row, the same for rows of one key.
fn key_groups(keys: &[ArrayRef], rows: usize) -> Result<Vec<usize>> {
    if keys.is_empty() {
        return Ok(vec![0; rows]);
    }
    let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
    let encoded = RowConverter::new(fields)?.convert_columns(keys)?;
    let mut numbers = hashbrown::HashMap::new();
    Ok(encoded
        .iter()
        .map(|key| {
            let next = numbers.len();
            *numbers.entry(key.owned()).or_insert(next)
        })
        .collect())
}

/// Joins sessions of one group that overlap or touch.
fn merge(groups: &[usize], starts: &mut [i64], ends: &mut [i64]) {
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|row| (groups[*row], starts[*row]));
    for run in order.chunk_by(|a, b| groups[*a] == groups[*b]) {
        let mut first = 0;
        while first < run.len() {
            let (start, mut end, mut next) = (starts[run[first]], ends[run[first]], first + 1);
            while next < run.len() && starts[run[next]] <= end {
                end = end.max(ends[run[next]]);
                next += 1;
            }
            for row in &run[first..next] {
                (starts[*row], ends[*row]) = (start, end);
            }
            first = next;
        }
    }
}

fn micros(times: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    match times.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Ok(times.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<&str>))
        }
        other => Err(Error::internal(format!("the time of a window has type {other}"))),
    }
}

fn gap_micros(gaps: &ArrayRef) -> Result<Int64Array> {
    match gaps.data_type() {
        DataType::Duration(TimeUnit::Microsecond) => {
            let gaps: &DurationMicrosecondArray = gaps.as_primitive::<DurationMicrosecondType>();
            Ok(PrimitiveArray::new(gaps.values().clone(), gaps.nulls().cloned()))
        }
        DataType::Interval(_) if gaps.as_primitive_opt::<IntervalMonthDayNanoType>().is_some() => {
            let gaps = gaps.as_primitive::<IntervalMonthDayNanoType>();
            Ok(gaps.unary(|gap| i64::from(gap.days) * 86_400_000_000 + gap.nanoseconds / 1000))
        }
        other => Err(Error::internal(format!("the gap of a session has type {other}"))),
    }
}

fn add(time: i64, length: i64) -> Result<i64> {
    time.checked_add(length).ok_or_else(out_of_range)
}

fn out_of_range() -> Error {
    Error::data("DATETIME_OVERFLOW", "a window's bound lies outside the range of TIMESTAMP")
}

/// The picked rows with the window column behind.
fn with_window(
    rows: &RecordBatch,
    picks: UInt32Array,
    starts: Vec<i64>,
    ends: Vec<i64>,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let mut columns = take_arrays(rows.columns(), &picks, None)?;
    columns.push(window_array(schema.field(schema.fields().len() - 1).data_type(), starts, ends)?);
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn window_array(data_type: &DataType, starts: Vec<i64>, ends: Vec<i64>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = data_type else {
        return Err(Error::internal(format!("a window column has type {data_type}")));
    };
    let typed = |values: Vec<i64>, field: Option<&FieldRef>| -> ArrayRef {
        let zone = match field.map(|field| field.data_type()) {
            Some(DataType::Timestamp(_, zone)) => zone.clone(),
            _ => None,
        };
        Arc::new(TimestampMicrosecondArray::from(values).with_timezone_opt(zone))
    };
    let columns = vec![typed(starts, fields.first()), typed(ends, fields.get(1))];
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(time: i64, length: i64, slide: i64, start: i64) -> Vec<i64> {
        starts_of(time, Windows { length, slide, start }).unwrap().collect()
    }

    #[test]
    fn sliding_windows_come_latest_first() {
        assert_eq!(starts(12, 10, 5, 0), [10, 5]);
        assert_eq!(starts(10, 10, 5, 0), [10, 5]);
        assert_eq!(starts(12, 10, 10, 3), [3]);
    }

    #[test]
    fn windows_that_end_before_the_time_are_left_out() {
        assert_eq!(starts(9, 7, 5, 0), [5]);
        assert_eq!(starts(6, 7, 5, 0), [5, 0]);
    }

    #[test]
    fn times_before_1970_lie_in_windows_that_begin_before_them() {
        assert_eq!(starts(-1, 10, 10, 0), [-10]);
    }

    #[test]
    fn sessions_that_touch_become_one() {
        let (mut starts, mut ends) = (vec![0, 20, 10, 15], vec![10, 30, 20, 16]);
        merge(&[0, 0, 0, 1], &mut starts, &mut ends);
        assert_eq!((starts, ends), (vec![0, 0, 0, 15], vec![30, 30, 30, 16]));
    }
}
