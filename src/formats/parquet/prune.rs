//! Which rows of a Parquet file a query may want, as the file's statistics tell.
//!
//! ```text
//!  conditions of the query ─┬─► least and greatest values of row groups ─┐
//!                           └─► least and greatest values of pages ──────┴─► ranges of rows to read
//! ```
//!
//! In: the file's metadata and the query's conditions on single columns. Out: ranges of row numbers, rising and apart. What always holds: no row
//! is left out that fulfils all conditions; statistics that are missing, or cannot be compared, leave out nothing.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, BooleanArray, Scalar};
use arrow::compute::kernels::cmp::{gt, gt_eq, lt, lt_eq};
use arrow::compute::{and_kleene, sort};
use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use crate::formats::DecodeContext;
use crate::formats::adapt::{adapt_column, find};
use crate::sources::predicate::{Predicate, Test};

/// Of more values only the least and the greatest are compared, as in Spark (`spark.sql.parquet.pushdown.inFilterThreshold`).
const MOST_VALUES: usize = 10;

/// Numbers of rows.
pub(super) type Rows = Range<u64>;

/// How many rows the file has.
pub(super) fn row_count(file: &ArrowReaderMetadata) -> u64 {
    file.metadata().row_groups().iter().map(rows_of).sum()
}

/// How many rows a row group has.
pub(super) fn rows_of(group: &RowGroupMetaData) -> u64 {
    group.num_rows().max(0).unsigned_abs()
}

/// Those of the `rows` of a file that the query may want.
pub(super) fn wanted(file: &ArrowReaderMetadata, context: &DecodeContext, rows: &Rows) -> Vec<Rows> {
    let all = Some(rows.clone()).filter(|rows| !rows.is_empty()).into_iter().collect();
    let conditions = context.filters.iter().filter_map(|filter| Condition::new(filter, &context.schema, file));
    conditions.fold(all, |rows, condition| {
        let groups = condition.groups().map_or(rows.clone(), |groups| both(&rows, &groups));
        condition.pages().map_or(groups.clone(), |pages| both(&groups, &pages))
    })
}

/// What two ranges share.
pub(super) fn overlap(one: &Rows, other: &Rows) -> Option<Rows> {
    let shared = one.start.max(other.start)..one.end.min(other.end);
    (!shared.is_empty()).then_some(shared)
}

/// What two lists of ranges share.
fn both(left: &[Rows], right: &[Rows]) -> Vec<Rows> {
    let (mut left, mut right, mut shared) = (left.iter().peekable(), right.iter().peekable(), Vec::new());
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        shared.extend(overlap(one, other));
        if one.end <= other.end {
            left.next()
        } else {
            right.next()
        };
    }
    shared
}

/// A least and a greatest value.
type Span = (Scalar<ArrayRef>, Scalar<ArrayRef>);

/// A condition on a column that the file has statistics of.
struct Condition<'a> {
    test: Test,
    spans: Vec<Span>,
    /// The column as the query declares it.
    declared: &'a FieldRef,
    metadata: &'a ParquetMetaData,
    /// Which leaf of the file it is.
    leaf: usize,
    statistics: StatisticsConverter<'a>,
}

impl<'a> Condition<'a> {
    fn new(predicate: &Predicate, declared: &'a Schema, file: &'a ArrowReaderMetadata) -> Option<Self> {
        let declared = declared.fields().get(predicate.column)?;
        let own = file.schema().field(find(file.schema().fields(), declared.name())?);
        let statistics = StatisticsConverter::try_new(own.name(), file.schema(), file.parquet_schema()).ok()?;
        Some(Condition {
            test: predicate.test,
            spans: spans(predicate).filter(|_| is_ordered(declared.data_type()))?,
            declared,
            metadata: file.metadata(),
            leaf: statistics.parquet_column_index()?,
            statistics,
        })
    }

    /// The rows of row groups that may fulfil it.
    fn groups(&self) -> Option<Vec<Rows>> {
        let groups = self.metadata.row_groups();
        // Old writers compared texts, and numbers without sign, as if they had one.
        let mut statistics = groups.iter().filter_map(|group| group.column(self.leaf).statistics());
        if statistics.any(|own| own.is_min_max_deprecated()) {
            return None;
        }
        let (least, greatest) = (self.statistics.row_group_mins(groups), self.statistics.row_group_maxes(groups));
        Some(kept(groups.iter().map(rows_of), &self.may_hold(&least.ok()?, &greatest.ok()?)?))
    }

    /// The rows of pages that may fulfil it.
    fn pages(&self) -> Option<Vec<Rows>> {
        let (values, places) = (self.metadata.column_index()?, self.metadata.offset_index()?);
        let groups: Vec<usize> = (0..self.metadata.num_row_groups()).collect();
        let has_pages = |group: &usize| {
            let of_group = places.get(*group).and_then(|columns| columns.get(self.leaf));
            let index = values.get(*group).and_then(|columns| columns.get(self.leaf));
            index.is_some() && of_group.is_some_and(|pages| !pages.page_locations().is_empty())
        };
        if !groups.iter().all(has_pages) {
            return None;
        }
        let least = self.statistics.data_page_mins(values, places, &groups).ok()?;
        let greatest = self.statistics.data_page_maxes(values, places, &groups).ok()?;
        let counts = self.statistics.data_page_row_counts(places, self.metadata.row_groups(), &groups).ok()??;
        let keep = self.may_hold(&least, &greatest)?;
        (keep.len() == counts.len()).then(|| kept(counts.values().iter().copied(), &keep))
    }

    /// For each pair of bounds whether a value between them may fulfil the condition; none if that cannot be told.
    fn may_hold(&self, least: &ArrayRef, greatest: &ArrayRef) -> Option<Vec<bool>> {
        let adapted = |bounds| adapt_column(bounds, self.declared).ok();
        let (least, greatest) = (adapted(least)?, adapted(greatest)?);
        let mut keep = vec![false; least.len()];
        for span in &self.spans {
            let holds = self.compared(&least, &greatest, span).ok()?;
            let may_hold = |at: usize| holds.is_null(at) || holds.value(at);
            keep.iter_mut().enumerate().for_each(|(at, keep)| *keep |= may_hold(at));
        }
        Some(keep)
    }

    fn compared(
        &self,
        least: &ArrayRef,
        greatest: &ArrayRef,
        (first, last): &Span,
    ) -> Result<BooleanArray, ArrowError> {
        match self.test {
            Test::In => and_kleene(&lt_eq(least, last)?, &gt_eq(greatest, first)?),
            Test::Less => lt(least, last),
            Test::LessOrEqual => lt_eq(least, last),
            Test::Greater => gt(greatest, first),
            Test::GreaterOrEqual => gt_eq(greatest, first),
        }
    }
}

/// What the column is compared with: spans of one value each, or one of all if they are many.
fn spans(predicate: &Predicate) -> Option<Vec<Span>> {
    let (values, count) = (&predicate.values, predicate.values.len());
    let span = |values: &ArrayRef, from, to| (Scalar::new(values.slice(from, 1)), Scalar::new(values.slice(to, 1)));
    if count <= MOST_VALUES {
        return Some((0..count).map(|value| span(values, value, value)).collect());
    }
    let sorted = sort(values, None).ok()?;
    Some(vec![span(&sorted, 0, count - 1)])
}

/// Whether Arrow, Parquet and Spark agree on the order of such values.
fn is_ordered(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Utf8 | DataType::Date32 | DataType::Timestamp(..))
}

/// The rows of units of so many rows each, of those that are kept; neighbours are one range.
fn kept(counts: impl Iterator<Item = u64>, keep: &[bool]) -> Vec<Rows> {
    let (mut ranges, mut at): (Vec<Rows>, u64) = (Vec::new(), 0);
    for (count, keep) in counts.zip(keep) {
        let unit = at..at + count;
        at = unit.end;
        match ranges.last_mut() {
            _ if !keep || unit.is_empty() => {}
            Some(last) if last.end == unit.start => last.end = unit.end,
            _ => ranges.push(unit),
        }
    }
    ranges
}
