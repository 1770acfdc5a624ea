//! Joins of changing tables.
//!
//! In: two changelogs with equal keys and a condition. Out: the changelog of their join. Inner joins are differential's; what a
//! side has no match for is that side less what matched. What always holds: rows are multisets (n × m duplicates give n·m rows),
//! null keys match nothing unless the key is null-safe, and a condition that is null is not met.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use differential_dataflow::AsCollection;
use differential_dataflow::operators::ThresholdTotal;
use differential_dataflow::operators::arrange::{Arranged, TraceAgent};
use differential_dataflow::trace::implementations::ValSpine;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::generic::Operator;

use super::updates::{Updates, chunks, keyed, whole};
use super::{Fine, FineStream, Place};
use crate::change::rows::RowBytes;
use crate::change::short::Bytes;
use crate::change::{append, batch, negate, split};
use crate::join::{Condition, On, holds};
use crate::stateless::stateless;
use crate::{Error, Result};

/// Which rows come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pairs.
    Inner,
    /// Pairs, and rows of the left side without one.
    Left,
    /// Pairs, and rows of the right side without one.
    Right,
    /// Pairs, and rows of both sides without one.
    Full,
    /// Rows of the left side with a pair.
    LeftSemi,
    /// Rows of the left side without one.
    LeftAnti,
    /// Rows of the right side with a pair.
    RightSemi,
    /// Rows of the right side without one.
    RightAnti,
}

impl Kind {
    fn pairs(self) -> bool {
        matches!(self, Kind::Inner | Kind::Left | Kind::Right | Kind::Full)
    }

    /// Whether what side `side` has no match for comes out.
    fn unmatched(self, side: usize) -> bool {
        match side {
            0 => matches!(self, Kind::Left | Kind::Full | Kind::LeftAnti),
            _ => matches!(self, Kind::Right | Kind::Full | Kind::RightAnti),
        }
    }

    /// Whether what side `side` has a match for comes out, once.
    fn matched(self, side: usize) -> bool {
        matches!((self, side), (Kind::LeftSemi, 0) | (Kind::RightSemi, 1))
    }
}

/// What to join.
pub struct Spec {
    /// Which rows come out.
    pub kind: Kind,
    /// Equal columns.
    pub on: Vec<On>,
    /// The rest of the condition, over left then right columns.
    pub condition: Option<Condition>,
    /// Schemas of the sides, without sign.
    pub sides: [SchemaRef; 2],
    /// Left then right columns.
    pub joined: SchemaRef,
}

/// Rows of one side under their keys.
type Side<'scope> = Arranged<'scope, TraceAgent<ValSpine<Bytes, Bytes, Fine, i64>>>;
/// Pairs of rows.
type Pairs<'scope> = Updates<'scope, (Bytes, Bytes)>;

/// Joins two streams.
///
/// # Errors
/// Rows that have no equality.
pub fn join<'scope>(
    left: FineStream<'scope>,
    right: FineStream<'scope>,
    place: &Place,
    spec: Spec,
) -> Result<FineStream<'scope>> {
    let streams = [left, right];
    let by_keys = spec.condition.is_none();
    let kind = spec.kind;
    let columns = [spec.on.iter().map(|on| on.left).collect::<Vec<_>>(), spec.on.iter().map(|on| on.right).collect()];
    let mut rows = Vec::new();
    for side in [0, 1] {
        let solid = spec.on.iter().zip(&columns[side]).filter(|(on, _)| !on.null_safe).map(|(_, column)| *column);
        rows.push(keyed(streams[side].clone(), place, &spec.sides[side], &columns[side], solid.collect())?);
    }
    let arranged =
        [rows[0].clone().arrange_by_key_named("Arrange: left"), rows[1].clone().arrange_by_key_named("Arrange: right")];
    let pairs = (kind.pairs() || !by_keys).then(|| pairs(&arranged, place, &spec)).transpose()?;
    let mut results = Vec::new();
    if let (true, Some(pairs)) = (kind.pairs(), &pairs) {
        results.push(joined_rows(pairs.clone(), place, &spec)?);
    }
    for side in [0, 1] {
        if !kind.unmatched(side) && !kind.matched(side) {
            continue;
        }
        let matched = match &pairs {
            Some(pairs) if !by_keys => matched_by_pairs(pairs, &streams[side], place, &spec.sides[side], side)?,
            _ => matched_by_keys(&arranged[side], rows[1 - side].clone()),
        };
        let decode = RowBytes::new(spec.sides[side].clone())?;
        let matched = chunks(matched, place, move |rows| decode.decode(rows.iter().map(|row| &***row)));
        results.push(match kind.matched(side) {
            true => matched,
            false => unmatched(streams[side].clone(), matched, place, &spec, side),
        });
    }
    let first = results.pop().ok_or_else(|| Error::Internal("a join without result".into()))?;
    Ok(results.into_iter().fold(first, |all, more| all.concat(more)))
}

/// The pairs with equal keys that meet the condition.
fn pairs<'scope>(sides: &[Side<'scope>; 2], place: &Place, spec: &Spec) -> Result<Pairs<'scope>> {
    let equal = sides[0].clone().join_core(sides[1].clone(), |_, l: &Bytes, r: &Bytes| Some((l.clone(), r.clone())));
    let Some(condition) = spec.condition.clone() else { return Ok(equal) };
    let joined = Joined::new(spec)?;
    let place = place.clone();
    type Update = ((Bytes, Bytes), Fine, i64);
    let met =
        equal.inner.unary::<CapacityContainerBuilder<Vec<Update>>, _, _, _>(Pipeline, "Condition", move |_, _| {
            move |input, output| {
                input.for_each(|time, updates: &mut Vec<Update>| {
                    let met = joined.rows(updates.len(), updates.iter().map(|(pair, _, _)| pair));
                    let Some(met) = place.check(met.and_then(|rows| holds(&condition, &rows))) else { return };
                    let mut session = output.session(&time);
                    let met = updates.drain(..).enumerate().filter(|(row, _)| met.value(*row));
                    met.for_each(|(_, update)| session.give(update));
                });
            }
        });
    Ok(met.as_collection())
}

/// Pairs as rows of the joined schema.
struct Joined {
    sides: [RowBytes; 2],
    schema: SchemaRef,
}

impl Joined {
    fn new(spec: &Spec) -> Result<Self> {
        let [left, right] = &spec.sides;
        Ok(Joined { sides: [RowBytes::new(left.clone())?, RowBytes::new(right.clone())?], schema: spec.joined.clone() })
    }

    fn rows<'a>(&self, count: usize, pairs: impl Iterator<Item = &'a (Bytes, Bytes)>) -> Result<RecordBatch> {
        let (left, right): (Vec<&[u8]>, Vec<&[u8]>) = pairs.map(|(l, r)| (&**l, &**r)).unzip();
        let mut columns: Vec<ArrayRef> = self.sides[0].decode(left.into_iter())?.columns().to_vec();
        columns.extend_from_slice(self.sides[1].decode(right.into_iter())?.columns());
        batch(self.schema.clone(), columns, count)
    }
}

fn joined_rows<'scope>(pairs: Pairs<'scope>, place: &Place, spec: &Spec) -> Result<FineStream<'scope>> {
    let joined = Joined::new(spec)?;
    Ok(chunks(pairs, place, move |pairs| joined.rows(pairs.len(), pairs.iter().copied())))
}

/// The rows of a side whose key the other side has.
fn matched_by_keys<'scope>(side: &Side<'scope>, other: Updates<'scope, (Bytes, Bytes)>) -> Updates<'scope, Bytes> {
    let keys = present(other.map(|(key, _)| key)).arrange_by_self_named("Arrange: keys");
    side.clone().join_core(keys, |_, row: &Bytes, ()| Some(row.clone()))
}

/// The rows of a side that are in a pair.
fn matched_by_pairs<'scope>(
    pairs: &Pairs<'scope>,
    stream: &FineStream<'scope>,
    place: &Place,
    schema: &SchemaRef,
    side: usize,
) -> Result<Updates<'scope, Bytes>> {
    let rows = pairs.clone().map(move |(left, right)| if side == 0 { left } else { right });
    let rows = present(rows).arrange_by_self_named("Arrange: matched");
    let all = whole(stream.clone(), place, schema)?.arrange_by_self_named("Arrange: rows");
    Ok(all.join_core(rows, |row: &Bytes, (), ()| Some(row.clone())))
}

/// What is there at all, once.
fn present<'scope, D: differential_dataflow::ExchangeData + std::hash::Hash>(
    all: Updates<'scope, D>,
) -> Updates<'scope, D> {
    all.threshold_total(|_, count| i64::from(*count > 0))
}

/// A side less what matched, with nulls for the other side where pairs come out, too.
fn unmatched<'scope>(
    stream: FineStream<'scope>,
    matched: FineStream<'scope>,
    place: &Place,
    spec: &Spec,
    side: usize,
) -> FineStream<'scope> {
    let gone = stateless(matched, "Negate", place.observer.clone(), vec![Box::new(|rows| negate(&rows))]);
    let left = stream.concat(gone);
    if !spec.kind.pairs() {
        return left;
    }
    let schema = spec.joined.clone();
    let pad = move |rows: RecordBatch| padded(&rows, &schema, side);
    stateless(left, "Pad", place.observer.clone(), vec![Box::new(pad)])
}

/// Rows of one side, with signs, as joined rows.
fn padded(rows: &RecordBatch, schema: &SchemaRef, side: usize) -> Result<RecordBatch> {
    let (rows, signs) = split(rows)?;
    let width = rows.num_columns();
    let other = schema.fields().len().saturating_sub(width);
    let nulls = |fields: &[arrow::datatypes::FieldRef]| -> Vec<ArrayRef> {
        fields.iter().map(|field| new_null_array(field.data_type(), rows.num_rows())).collect()
    };
    let own = rows.columns().to_vec();
    let columns: Vec<ArrayRef> = match side {
        0 => own.into_iter().chain(nulls(&schema.fields()[width..])).collect(),
        _ => nulls(&schema.fields()[..other]).into_iter().chain(own).collect(),
    };
    append(&batch(Arc::clone(schema), columns, rows.num_rows())?, signs)
}
