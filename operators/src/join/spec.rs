//! What a join of two streams is told: which rows it gives, its condition, and when each side forgets rows.

use arrow::datatypes::SchemaRef;

use super::{Condition, On};
use crate::event_time::EventTime;

pub(super) const LEFT: usize = 0;
pub(super) const RIGHT: usize = 1;

/// Which rows a join of two streams gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// Pairs that match.
    Inner,
    /// Also left rows without match, with nulls.
    LeftOuter,
    /// Also right rows without match, with nulls.
    RightOuter,
    /// Also rows of both sides without match, with nulls.
    FullOuter,
    /// Left rows that match something, once.
    LeftSemi,
}

impl JoinKind {
    /// Whether rows without match of this side are printed.
    pub(super) fn preserves(self, side: usize) -> bool {
        match self {
            JoinKind::Inner | JoinKind::LeftSemi => false,
            JoinKind::LeftOuter => side == LEFT,
            JoinKind::RightOuter => side == RIGHT,
            JoinKind::FullOuter => true,
        }
    }
}

/// One input of a join.
pub struct JoinSide {
    /// Its columns.
    pub schema: SchemaRef,
    /// A condition on this side alone, over its rows: a row that fails it matches nothing.
    pub prefilter: Option<Condition>,
    /// The event time by which late rows are judged, if the side has a watermark.
    pub event_time: Option<EventTime>,
    /// When a stored row can match nothing any more; `None`: never.
    pub evict: Option<Evict>,
}

/// A stored row can match nothing any more once `value <= watermark - delay`, with the watermark of the other side (or the
/// only watermark there is). A row whose value is null stays for ever.
pub struct Evict {
    /// The row's time.
    pub value: EventTime,
    /// Microseconds by which the threshold stays behind the watermark; may be negative.
    pub delay: i64,
}

/// A join of two streams.
pub struct StreamJoin {
    /// Which rows it gives.
    pub kind: JoinKind,
    /// Equal columns.
    pub on: Vec<On>,
    /// The rest of the condition, over `joined` rows.
    pub condition: Option<Condition>,
    /// Left columns, then right columns; also the schema of the result, except for a left semi join.
    pub joined: SchemaRef,
    /// An outer join whose rows without match come at once and are taken back when their first match comes; the result has
    /// a sign behind its columns ([`crate::change`]). Otherwise they come when they can match nothing any more.
    pub changelog: bool,
    /// Left and right.
    pub sides: [JoinSide; 2],
    /// Microseconds by which the result's watermark stays behind the inputs'.
    pub holdback: i64,
}
