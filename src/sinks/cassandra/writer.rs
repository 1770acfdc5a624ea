//! One worker's rows as statements, with timestamps that let the last one win.
//!
//! In: rows of an epoch. Out: acknowledged writes, when [`Writer::prepare`] returns. The rows of a chunk are encoded in one
//! piece; those of one partition go together. In a changelog a row that is taken back is deleted, unless the same chunk writes
//! its key anew; deletions of a chunk come before its writes.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int8Type, Int64Type};
use thalweg_operators::change::RETRACT;

use super::flight::{Flight, Parcel};
use super::layout::{Layout, Number, Stamp};
use super::settings::Settings;
use crate::cassandra::convert::{self, Cells};
use crate::cassandra::encode::{Row, Rows};
use crate::clock::SharedClock;
use crate::sinks::{Prepared, Writer};
use crate::{Error, Result};

/// The protocol counts the statements of a batch in two bytes.
const MOST_STATEMENTS: usize = u16::MAX as usize;

/// Timestamps: the clock's microseconds when an epoch's first row comes, then one more for each row.
struct Stamps {
    clock: SharedClock,
    /// The next one; `None` before the epoch's first row.
    next: Option<i64>,
    last: i64,
}

impl Stamps {
    fn take(&mut self) -> i64 {
        let next = self.next.unwrap_or_else(|| self.clock.wall_micros().max(self.last + 1));
        (self.next, self.last) = (Some(next + 1), next);
        next
    }
}

/// How rows go together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grouping {
    by_partition: bool,
    bytes: usize,
    rows: Option<usize>,
    ignore_nulls: bool,
}

impl Grouping {
    pub(super) fn of(settings: &Settings) -> Grouping {
        Grouping {
            // A write with a condition stands alone.
            by_partition: settings.grouped && !settings.if_not_exists,
            bytes: settings.batch_bytes,
            rows: settings.batch_rows,
            ignore_nulls: settings.ignore_nulls,
        }
    }

    /// True if a batch of so many rows and bytes takes no row of so many bytes more.
    fn is_full(&self, rows: usize, bytes: usize, more: usize) -> bool {
        match self.rows {
            Some(most) => rows >= most,
            None => bytes + more > self.bytes || rows >= MOST_STATEMENTS,
        }
    }
}

/// A writer of one worker.
pub(super) struct CassandraWriter {
    layout: Arc<Layout>,
    grouping: Grouping,
    flight: Flight,
    stamps: Stamps,
    rows: u64,
}

impl CassandraWriter {
    pub(super) fn new(layout: Arc<Layout>, grouping: Grouping, flight: Flight, clock: SharedClock) -> CassandraWriter {
        CassandraWriter { layout, grouping, flight, stamps: Stamps { clock, next: None, last: 0 }, rows: 0 }
    }
}

impl Writer for CassandraWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let chunk = Chunk::of(&self.layout, rows)?;
        let bound = chunk.bind(&self.layout, &mut self.stamps, self.grouping.ignore_nulls);
        for parcel in bound.parcels(&self.grouping) {
            self.flight.start(parcel)?;
        }
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    fn prepare(&mut self, _epoch: u64) -> Result<Prepared> {
        self.flight.land()?;
        self.stamps.next = None;
        Ok(Prepared { rows: std::mem::take(&mut self.rows), ..Prepared::default() })
    }
}

/// The columns of a chunk, converted and checked.
struct Chunk {
    /// In the order of the layout's columns.
    columns: Vec<Box<dyn Cells>>,
    timestamps: Option<PrimitiveArray<Int64Type>>,
    ttls: Option<PrimitiveArray<Int64Type>>,
    signs: Option<PrimitiveArray<Int8Type>>,
    count: usize,
}

impl Chunk {
    fn of(layout: &Layout, rows: &RecordBatch) -> Result<Chunk> {
        let mut columns = Vec::with_capacity(layout.binds.len());
        for (n, bind) in layout.binds.iter().enumerate() {
            let array = rows.column(bind.from);
            if n < layout.key && array.null_count() > 0 {
                return Err(null_key(layout, &bind.to.name));
            }
            columns.push(convert::cells(array, &bind.to.cql, &bind.to.name)?);
        }
        let given = match layout.stamp {
            Stamp::Given(number) => Some(number),
            Stamp::Epoch | Stamp::Server => None,
        };
        let signs = layout.sign.and_then(|column| rows.column(column).as_primitive_opt::<Int8Type>().cloned());
        Ok(Chunk {
            columns,
            timestamps: numbers(given, rows)?,
            ttls: numbers(layout.ttl, rows)?,
            signs,
            count: rows.num_rows(),
        })
    }

    fn is_kept(&self, row: usize) -> bool {
        self.signs.as_ref().is_none_or(|signs| signs.value(row) != RETRACT)
    }

    /// All rows as values of statements: first what is deleted, then what is written.
    fn bind(&self, layout: &Layout, stamps: &mut Stamps, unset: bool) -> Bound {
        let mut deleted = Rows::default();
        if self.signs.is_some() {
            self.bind_deleted(layout, stamps, &mut deleted);
        }
        let mut written = Rows::default();
        for row in (0..self.count).filter(|row| self.is_kept(*row)) {
            written.push(self.columns.iter().map(AsRef::as_ref), row, layout.partition_key, unset);
            match layout.stamp {
                Stamp::Epoch => written.extend_long(stamps.take()),
                Stamp::Given(number) => written.extend_long(value(number, self.timestamps.as_ref(), row)),
                Stamp::Server => {}
            }
            if let Some(ttl) = layout.ttl {
                // Beyond Cassandra's limit of 20 years it says so itself.
                written.extend_int(i32::try_from(value(ttl, self.ttls.as_ref(), row)).unwrap_or(i32::MAX));
            }
        }
        Bound { deleted: Arc::new(deleted), written: Arc::new(written) }
    }

    /// Keys that are taken back and not written again.
    fn bind_deleted(&self, layout: &Layout, stamps: &mut Stamps, deleted: &mut Rows) {
        let key = || self.columns.iter().take(layout.key).map(AsRef::as_ref);
        let mut keys = Rows::default();
        (0..self.count).for_each(|row| keys.push(key(), row, layout.partition_key, false));
        let kept: HashSet<&[u8]> = (0..self.count).filter(|row| self.is_kept(*row)).map(|row| keys.row(row)).collect();
        for row in (0..self.count).filter(|row| !self.is_kept(*row) && !kept.contains(keys.row(*row))) {
            let stamp = match layout.stamp {
                Stamp::Given(number) => value(number, self.timestamps.as_ref(), row),
                Stamp::Epoch | Stamp::Server => stamps.take(),
            };
            deleted.push_after(stamp, key(), row, layout.partition_key);
        }
    }
}

fn null_key(layout: &Layout, name: &str) -> Error {
    Error::data(
        "NOT_NULL_CONSTRAINT_VIOLATION",
        format!("a row has a null in column '{name}' of {}'s primary key", layout.table),
    )
    .hint("Leave such rows out, e.g. with filter(\"... IS NOT NULL\").")
}

/// The column that says a number for each row.
fn numbers(number: Option<Number>, rows: &RecordBatch) -> Result<Option<PrimitiveArray<Int64Type>>> {
    let Some(Number::Column(column)) = number else { return Ok(None) };
    let array = cast(rows.column(column), &DataType::Int64)?.as_primitive::<Int64Type>().clone();
    if array.null_count() > 0 || array.iter().flatten().any(|value| value < 0) {
        let name = rows.schema().field(column).name().clone();
        return Err(Error::data("CAST_INVALID_INPUT", format!("column '{name}' has a null or a negative number"))
            .hint("A timestamp or a time to live is needed for each row."));
    }
    Ok(Some(array))
}

fn value(number: Number, column: Option<&PrimitiveArray<Int64Type>>, row: usize) -> i64 {
    match (number, column) {
        (Number::Fixed(value), _) => value,
        (Number::Column(_), Some(column)) => column.value(row),
        (Number::Column(_), None) => 0,
    }
}

/// The values of a chunk's statements.
struct Bound {
    deleted: Arc<Rows>,
    written: Arc<Rows>,
}

impl Bound {
    /// Rows that go together: of one partition, up to the limits.
    fn parcels(&self, grouping: &Grouping) -> Vec<Parcel> {
        let all = [(&self.deleted, false), (&self.written, true)];
        let mut rows: Vec<(Row, bool)> = all
            .into_iter()
            .flat_map(|(rows, kept)| (0..rows.len()).map(move |row| (Row { rows: Arc::clone(rows), row }, kept)))
            .collect();
        if !grouping.by_partition {
            return rows.into_iter().map(|row| Parcel { rows: vec![row] }).collect();
        }
        rows.sort_by(|(a, _), (b, _)| a.key().cmp(b.key()));
        let mut parcels: Vec<Parcel> = Vec::new();
        let mut bytes = 0;
        for row in rows {
            let more = row.0.len();
            let joins = parcels.last().and_then(|parcel| parcel.rows.last().map(|last| (parcel.rows.len(), last)));
            let joins =
                joins.is_some_and(|(count, last)| last.0.key() == row.0.key() && !grouping.is_full(count, bytes, more));
            match parcels.last_mut() {
                Some(parcel) if joins => {
                    parcel.rows.push(row);
                    bytes += more;
                }
                _ => {
                    parcels.push(Parcel { rows: vec![row] });
                    bytes = more;
                }
            }
        }
        parcels
    }
}

#[cfg(test)]
mod tests;
