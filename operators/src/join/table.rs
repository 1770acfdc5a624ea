//! Stream × static table: the table is indexed once, and each chunk of the stream looks its rows up. A table may be renewed.
//!
//! In: chunks of the stream. Out: joined rows, or the rows of the stream that have (no) match, or say whether they have one. What always holds: every chunk
//! is joined on its own with one version of the table, so the step is stateless; joined rows are made in blocks, so that memory
//! is bounded by the result.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use super::keys::SideKeys;
use super::{Condition, On, holds, joined, nullable, with_nulls};
use crate::Result;
use crate::chunk::MAX_ROWS;
use crate::keys::{ABSENT, KeyTable, pick};
use crate::stateless::Step;

/// What a row of the stream becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableJoinKind {
    /// One row per match.
    Inner,
    /// One row per match, or one with nulls for the table's columns: left outer with the stream on the left, right outer
    /// with the stream on the right.
    Outer,
    /// Itself, if there is a match.
    Semi,
    /// Itself, if there is no match.
    Anti,
    /// Itself, and behind it whether there is a match.
    Mark,
}

/// A join of a stream with a table.
pub struct TableJoin {
    /// What a row of the stream becomes.
    pub kind: TableJoinKind,
    /// Whether the stream is the left side.
    pub stream_left: bool,
    /// Equal columns; none for a cross join or a join by condition alone.
    pub on: Vec<On>,
    /// The rest of the condition, over `joined` rows.
    pub condition: Option<Condition>,
    /// Left columns, then right columns.
    pub joined: SchemaRef,
}

/// Gives a new version of the table if there is one; asked before each chunk, so it should be quick to say no.
pub type Renewal = Box<dyn FnMut() -> Option<RecordBatch>>;

/// The step that joins chunks of the stream with `table`, and with what `renewal` gives from then on.
///
/// # Errors
/// Keys that have no equality or are no columns; the step fails with what the condition fails with.
pub fn table_join(join: TableJoin, table: RecordBatch, mut renewal: Renewal) -> Result<Step> {
    let mut probe = Probe::new(join, table)?;
    Ok(Box::new(move |rows| {
        if let Some(table) = renewal() {
            probe.lookup = Lookup::new(&probe.table_keys, table)?;
        }
        probe.join(rows)
    }))
}

struct Probe {
    join: TableJoin,
    stream_keys: SideKeys,
    table_keys: SideKeys,
    lookup: Lookup,
    groups: Vec<u32>,
}

/// One version of the table, with its rows by key.
struct Lookup {
    table: RecordBatch,
    index: KeyTable,
    /// Rows of the table by group: `rows[starts[group]..starts[group + 1]]`.
    starts: Vec<u32>,
    rows: Vec<u32>,
}

impl Lookup {
    fn new(keys: &SideKeys, table: RecordBatch) -> Result<Self> {
        let mut index = keys.table(&table.schema())?;
        let mut groups = Vec::new();
        keys.insert(&mut index, &table, &mut groups)?;
        let (starts, rows) = by_group(&groups, index.group_count());
        Ok(Lookup { table, index, starts, rows })
    }

    fn candidates(&self, group: u32) -> &[u32] {
        let end = |group: u32| self.starts.get(group as usize + 1).copied();
        match (group, end(group)) {
            (ABSENT, _) | (_, None) => &[],
            (group, Some(end)) => &self.rows[Range { start: self.starts[group as usize] as usize, end: end as usize }],
        }
    }
}

impl Probe {
    fn new(mut join: TableJoin, table: RecordBatch) -> Result<Self> {
        join.joined = nullable(&join.joined);
        let left: Vec<usize> = join.on.iter().map(|on| on.left).collect();
        let right: Vec<usize> = join.on.iter().map(|on| on.right).collect();
        let null_safe: Vec<bool> = join.on.iter().map(|on| on.null_safe).collect();
        let (stream, fixed) = if join.stream_left { (left, right) } else { (right, left) };
        let table_keys = SideKeys::new(fixed, null_safe.clone());
        let lookup = Lookup::new(&table_keys, table)?;
        Ok(Probe { join, stream_keys: SideKeys::new(stream, null_safe), table_keys, lookup, groups: Vec::new() })
    }

    fn join(&mut self, rows: RecordBatch) -> Result<RecordBatch> {
        let mut groups = std::mem::take(&mut self.groups);
        self.stream_keys.lookup(&self.lookup.index, &rows, &mut groups)?;
        let result = match (self.join.kind, &self.join.condition) {
            (TableJoinKind::Semi | TableJoinKind::Anti | TableJoinKind::Mark, None) => {
                let matched = BooleanBuffer::collect_bool(groups.len(), |row| groups[row] != ABSENT);
                self.choose(&rows, matched)
            }
            _ => self.match_rows(&rows, &groups),
        };
        self.groups = groups;
        result
    }

    /// Semi, anti and mark: the stream's own rows.
    fn choose(&self, rows: &RecordBatch, matched: BooleanBuffer) -> Result<RecordBatch> {
        let chosen = match self.join.kind {
            TableJoinKind::Mark => return marked(rows, matched),
            TableJoinKind::Semi => matched,
            _ => !&matched,
        };
        Ok(filter_record_batch(rows, &BooleanArray::new(chosen, None))?)
    }

    fn match_rows(&self, rows: &RecordBatch, groups: &[u32]) -> Result<RecordBatch> {
        let mut matches = Matches { rows, matched: vec![false; rows.num_rows()], joined: Vec::new() };
        let (mut stream, mut table) = (Vec::new(), Vec::new());
        for (row, group) in groups.iter().enumerate() {
            for candidates in self.lookup.candidates(*group).chunks(MAX_ROWS) {
                stream.resize(stream.len() + candidates.len(), row as u32);
                table.extend_from_slice(candidates);
                if stream.len() >= MAX_ROWS {
                    self.flush(&mut stream, &mut table, &mut matches)?;
                }
            }
        }
        self.flush(&mut stream, &mut table, &mut matches)?;
        self.finish(matches)
    }

    /// Joins the pairs collected so far.
    fn flush(&self, stream: &mut Vec<u32>, table: &mut Vec<u32>, matches: &mut Matches<'_>) -> Result<()> {
        if stream.is_empty() {
            return Ok(());
        }
        let (of_stream, of_table) =
            (UInt32Array::from(std::mem::take(stream)), UInt32Array::from(std::mem::take(table)));
        let streamed = pick(matches.rows.columns(), &of_stream)?;
        let fixed = pick(self.lookup.table.columns(), &of_table)?;
        let mut pairs = joined(&self.join.joined, streamed, fixed, self.join.stream_left)?;
        let mut matched = of_stream;
        if let Some(condition) = &self.join.condition {
            let mask = holds(condition, &pairs)?;
            pairs = filter_record_batch(&pairs, &mask)?;
            matched = mask.values().set_indices().map(|pair| matched.value(pair)).collect::<Vec<u32>>().into();
        }
        matched.values().iter().for_each(|row| matches.matched[*row as usize] = true);
        if matches!(self.join.kind, TableJoinKind::Inner | TableJoinKind::Outer) {
            matches.joined.push(pairs);
        }
        Ok(())
    }

    fn finish(&self, mut matches: Matches<'_>) -> Result<RecordBatch> {
        let matched = BooleanBuffer::from(matches.matched);
        match self.join.kind {
            TableJoinKind::Semi | TableJoinKind::Anti | TableJoinKind::Mark => {
                return self.choose(matches.rows, matched);
            }
            TableJoinKind::Outer if matched.count_set_bits() < matched.len() => {
                let alone = filter_record_batch(matches.rows, &BooleanArray::new(!&matched, None))?;
                matches.joined.push(with_nulls(&self.join.joined, &alone, self.join.stream_left)?);
            }
            TableJoinKind::Inner | TableJoinKind::Outer => {}
        }
        match matches.joined.as_slice() {
            [single] => Ok(single.clone()),
            several => Ok(concat_batches(&self.join.joined, several)?),
        }
    }
}

/// Rows, and behind them whether they have a match.
fn marked(rows: &RecordBatch, matched: BooleanBuffer) -> Result<RecordBatch> {
    let fields = rows.schema_ref().fields().iter().cloned().chain([mark_field()]).collect::<Vec<_>>();
    let mark: ArrayRef = Arc::new(BooleanArray::new(matched, None));
    let columns = rows.columns().iter().cloned().chain([mark]).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The column behind the rows of [`TableJoinKind::Mark`].
pub fn mark_field() -> FieldRef {
    Arc::new(Field::new("mark", DataType::Boolean, false))
}

/// The matches of one chunk.
struct Matches<'a> {
    rows: &'a RecordBatch,
    matched: Vec<bool>,
    joined: Vec<RecordBatch>,
}

/// Row numbers sorted by group, and where each group starts.
fn by_group(groups: &[u32], group_count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; group_count + 1];
    groups.iter().filter(|group| **group != ABSENT).for_each(|group| starts[*group as usize + 1] += 1);
    for group in 0..group_count {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut rows = vec![0; starts[group_count] as usize];
    for (row, group) in groups.iter().enumerate().filter(|(_, group)| **group != ABSENT) {
        let place = &mut next[*group as usize];
        rows[*place as usize] = row as u32;
        *place += 1;
    }
    (starts, rows)
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::compute::cast;
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;
    use crate::harness::{ints, long_multiset};

    type Row = (Option<i64>, Option<i64>);

    fn batch(names: [&str; 2], rows: &[Row]) -> RecordBatch {
        let first: Vec<_> = rows.iter().map(|row| row.0).collect();
        let second: Vec<_> = rows.iter().map(|row| row.1).collect();
        ints(&[(names[0], &first), (names[1], &second)])
    }

    /// `v < w`, where the stream's v is the column at `v`.
    fn less(v: usize, w: usize) -> Condition {
        std::rc::Rc::new(move |rows| {
            let (v, w) = (rows.column(v).as_primitive::<Int64Type>(), rows.column(w).as_primitive::<Int64Type>());
            Ok(v.iter().zip(w).map(|(v, w)| Some(v? < w?)).collect())
        })
    }

    fn oracle(
        stream: &[Row],
        table: &[Row],
        kind: TableJoinKind,
        keyed: bool,
        null_safe: bool,
        less: bool,
    ) -> Vec<Vec<Option<i64>>> {
        let matches = |s: &Row, t: &Row| {
            let keys = !keyed || (s.0 == t.0 && (null_safe || s.0.is_some()));
            keys && (!less || s.1.zip(t.1).is_some_and(|(v, w)| v < w))
        };
        let mut out = Vec::new();
        for s in stream {
            let found: Vec<&Row> = table.iter().filter(|t| matches(s, t)).collect();
            match kind {
                TableJoinKind::Semi if !found.is_empty() => out.push(vec![s.0, s.1]),
                TableJoinKind::Anti if found.is_empty() => out.push(vec![s.0, s.1]),
                TableJoinKind::Outer if found.is_empty() => out.push(vec![s.0, s.1, None, None]),
                TableJoinKind::Semi | TableJoinKind::Anti => {}
                TableJoinKind::Mark => out.push(vec![s.0, s.1, Some(i64::from(!found.is_empty()))]),
                _ => out.extend(found.iter().map(|t| vec![s.0, s.1, t.0, t.1])),
            }
        }
        out.sort();
        out
    }

    /// The mark as a number.
    fn numbered(rows: &RecordBatch) -> RecordBatch {
        let columns: Vec<Int64Array> = rows
            .columns()
            .iter()
            .map(|column| cast(column, &DataType::Int64).unwrap().as_primitive::<Int64Type>().clone())
            .collect();
        let columns: Vec<Vec<_>> = columns.iter().map(|column| column.iter().collect()).collect();
        ints(&[("k", &columns[0]), ("v", &columns[1]), ("mark", &columns[2])])
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        prop::collection::vec((prop::option::of(0i64..4), prop::option::of(0i64..5)), 0..20)
    }

    proptest! {
        #[test]
        fn agrees_with_two_loops(stream in rows(), table in rows(), kind in 0usize..5, stream_left: bool, keyed: bool, null_safe: bool, with_condition: bool) {
            let kind = [TableJoinKind::Inner, TableJoinKind::Outer, TableJoinKind::Semi, TableJoinKind::Anti, TableJoinKind::Mark][kind];
            let (s, t) = (batch(["k", "v"], &stream), batch(["tk", "w"], &table));
            let (left, right) = if stream_left { (s.schema(), t.schema()) } else { (t.schema(), s.schema()) };
            let fields: Vec<_> = left.fields().iter().chain(right.fields()).cloned().collect();
            let on = if keyed { vec![On { left: 0, right: 0, null_safe }] } else { Vec::new() };
            let condition = with_condition.then(|| if stream_left { less(1, 3) } else { less(3, 1) });
            let joined = Arc::new(Schema::new(fields));
            let mut step = table_join(TableJoin { kind, stream_left, on, condition, joined }, t, Box::new(|| None)).unwrap();
            let mut result = step(s).unwrap();
            if kind == TableJoinKind::Mark {
                result = numbered(&result);
            }
            if !stream_left && result.num_columns() == 4 {
                result = result.project(&[2, 3, 0, 1]).unwrap();
            }
            prop_assert_eq!(long_multiset(&[result]), oracle(&stream, &table, kind, keyed, null_safe, with_condition));
        }
    }

    #[test]
    fn a_large_cross_join_is_made_in_blocks() {
        let many: Vec<Row> = (0..300).map(|v| (Some(v), Some(v))).collect();
        let (s, t) = (batch(["k", "v"], &many), batch(["tk", "w"], &many));
        let fields: Vec<_> = s.schema().fields().iter().chain(t.schema().fields()).cloned().collect();
        let joined = Arc::new(Schema::new(fields));
        let condition: Option<Condition> = Some(std::rc::Rc::new(|rows| {
            assert!(rows.num_rows() < 2 * MAX_ROWS);
            Ok(vec![true; rows.num_rows()].into())
        }));
        let join = TableJoin { kind: TableJoinKind::Inner, stream_left: true, on: Vec::new(), condition, joined };
        assert_eq!(table_join(join, t, Box::new(|| None)).unwrap()(s).unwrap().num_rows(), 90_000);
    }

    #[test]
    fn a_renewed_table_is_looked_up_from_the_next_chunk_on() {
        let (s, before) = (batch(["k", "v"], &[(Some(1), Some(7))]), batch(["tk", "w"], &[(Some(1), Some(10))]));
        let after = batch(["tk", "w"], &[(Some(1), Some(20)), (Some(1), Some(30))]);
        let fields: Vec<_> = s.schema().fields().iter().chain(before.schema().fields()).cloned().collect();
        let on = vec![On { left: 0, right: 0, null_safe: false }];
        let joined = Arc::new(Schema::new(fields));
        let join = TableJoin { kind: TableJoinKind::Inner, stream_left: true, on, condition: None, joined };
        let mut versions = vec![None, Some(after), None].into_iter();
        let mut step = table_join(join, before, Box::new(move || versions.next().flatten())).unwrap();
        let mut looked_up = || {
            let joined = step(s.clone()).unwrap();
            joined.column(3).as_primitive::<Int64Type>().values().to_vec()
        };
        assert_eq!([looked_up(), looked_up(), looked_up()], [vec![10], vec![20, 30], vec![20, 30]]);
    }
}
