//! Event times of rows, and the one rule of lateness: a row is late when its event time is at or below the watermark.
//!
//! In: rows, and where their event time is found: a timestamp column, or a window column, whose event time is its end.
//! Out: microseconds since 1970. What always holds: a null event time is never late.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{filter_record_batch, min};
use arrow::datatypes::{DataType, TimestampMicrosecondType};

use crate::time::NO_WATERMARK;
use crate::{Error, Result};

/// Computes the event time of each row.
pub type EventTime = Box<dyn Fn(&RecordBatch) -> Result<TimestampMicrosecondArray> + Send>;

/// The event time is in column `index`: a microsecond timestamp, or a window, of which the end counts.
pub fn column(index: usize) -> EventTime {
    Box::new(move |rows| match rows.columns().get(index) {
        Some(column) => times(column),
        None => Err(Error::Internal(format!("there is no event-time column {index}"))),
    })
}

/// The event times in a timestamp or window column.
///
/// # Errors
/// A column of another type.
pub fn times(column: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    match column.data_type() {
        DataType::Struct(_) => window_ends(column),
        _ => match column.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => Ok(times.clone()),
            None => Err(Error::Internal(format!("an event time is {} instead of a timestamp", column.data_type()))),
        },
    }
}

fn window_ends(column: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let window = column.as_struct();
    let ends = window.column_by_name("end").and_then(|ends| ends.as_primitive_opt::<TimestampMicrosecondType>());
    let ends = ends.ok_or_else(|| Error::Internal("a window has no end".into()))?;
    let nulls = NullBuffer::union(window.nulls(), ends.nulls());
    Ok(TimestampMicrosecondArray::new(ends.values().clone(), nulls))
}

/// The rows that are not late, and how many were.
///
/// # Errors
/// Whatever `time` fails with.
pub fn drop_late(rows: RecordBatch, time: &EventTime, watermark: i64) -> Result<(RecordBatch, u64)> {
    if watermark == NO_WATERMARK {
        return Ok((rows, 0));
    }
    let times = time(&rows)?;
    if min(&times).is_none_or(|smallest| smallest > watermark) {
        return Ok((rows, 0));
    }
    let in_time = |row| times.is_null(row) || times.value(row) > watermark;
    let kept = BooleanArray::new(BooleanBuffer::collect_bool(times.len(), in_time), None);
    let kept = filter_record_batch(&rows, &kept)?;
    let dropped = rows.num_rows() - kept.num_rows();
    Ok((kept, dropped as u64))
}

/// The rows that are not late, and those that are, if there are any.
///
/// # Errors
/// Whatever `time` fails with.
pub fn split_late(rows: RecordBatch, time: &EventTime, watermark: i64) -> Result<(RecordBatch, Option<RecordBatch>)> {
    let (kept, dropped) = drop_late(rows.clone(), time, watermark)?;
    if dropped == 0 {
        return Ok((kept, None));
    }
    let times = time(&rows)?;
    let late = |row| times.is_valid(row) && times.value(row) <= watermark;
    let late = BooleanArray::new(BooleanBuffer::collect_bool(times.len(), late), None);
    Ok((kept, Some(filter_record_batch(&rows, &late)?)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StructArray;
    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    fn batch(times: Vec<Option<i64>>) -> RecordBatch {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
        RecordBatch::try_from_iter_with_nullable([("ts", times, true)]).unwrap()
    }

    #[test]
    fn the_watermark_itself_is_late_and_null_never_is() {
        let (kept, dropped) = drop_late(batch(vec![Some(9), Some(10), Some(11), None]), &column(0), 10).unwrap();
        assert_eq!((kept.num_rows(), dropped), (2, 2));
        let (kept, dropped) = drop_late(batch(vec![Some(i64::MIN)]), &column(0), NO_WATERMARK).unwrap();
        assert_eq!((kept.num_rows(), dropped), (1, 0));
    }

    #[test]
    fn the_event_time_of_a_window_is_its_end() {
        let end: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5, 6]));
        let field = Arc::new(Field::new("end", DataType::Timestamp(TimeUnit::Microsecond, None), true));
        let window = StructArray::new(vec![field].into(), vec![end], Some(NullBuffer::from(vec![true, false])));
        let ends = times(&(Arc::new(window) as ArrayRef)).unwrap();
        assert_eq!(ends, TimestampMicrosecondArray::from(vec![Some(5), None]));
    }
}
