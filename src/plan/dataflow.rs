//! The dataflow plan: what `explain()` prints, what a checkpoint fingerprints, what [`crate::render`] turns into a graph.
//!
//! In: made by [`super::lower`] from an optimized logical plan. A plain tree of nodes, each with its output schema; nothing
//! runs here. Invariant: `id`s are unique within a plan and depend only on the plan (an operator keeps its state across
//! restarts by its name).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::JoinType;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::PhysicalExpr;
use thalweg_operators::Pace;
use thalweg_operators::arbitrary::TimeMode;
use thalweg_operators::change::net::View;
use thalweg_operators::group::{AggregateCall, Mode, WindowSpec};
use thalweg_operators::lane::rank::Numbering;

use super::batch::kernels::Expand;
use super::scan::ScanTable;
use crate::sources::predicate::Predicate;
use crate::stateful::StateFunction;

/// A query as a graph of operators, ready to run.
#[derive(Clone)]
pub struct DataflowPlan {
    /// The sources, by the number that [`Kind::Scan`] carries.
    pub scans: Vec<Scan>,
    /// The `withWatermark`s, by the number that [`Kind::Watermark`] carries: delays in microseconds.
    pub watermarks: Vec<i64>,
    /// For each of them, which call of `withWatermark` it is: those of one call have one watermark together.
    pub watermark_calls: Vec<u64>,
    /// Static sides of joins, by the number that [`Kind::StaticJoin`] carries; run as batch queries when the query starts.
    pub statics: Vec<LogicalPlan>,
    /// The last operator.
    pub root: Node,
    /// The branch for late rows, if somebody wants them.
    pub late: Option<LatePlan>,
}

/// The branch of a query that gets the rows which operators drop because the watermark has passed them.
#[derive(Clone)]
pub struct LatePlan {
    /// The columns of late rows, as [`Kind::Late`] gives them.
    pub schema: SchemaRef,
    /// Per operator whose late rows are wanted, and per input: where each column of `schema` stands in the input's rows.
    pub taps: HashMap<String, Vec<Vec<Option<usize>>>>,
    /// The last operator of the branch.
    pub root: Node,
}

/// One source and the columns that are read from it.
#[derive(Clone)]
pub struct Scan {
    /// The source with its full schema.
    pub table: ScanTable,
    /// Which columns are delivered, rising.
    pub projection: Vec<usize>,
    /// The delivered columns.
    pub schema: SchemaRef,
    /// Conditions that all rows fulfil which are wanted; the source may leave out others.
    pub filters: Vec<Predicate>,
}

/// One operator and its inputs.
#[derive(Clone)]
pub struct Node {
    /// Unique name: kind and position, e.g. `aggregate-2`.
    pub id: String,
    /// What it does.
    pub kind: Kind,
    /// Its inputs.
    pub inputs: Vec<Node>,
    /// Its output columns; for a changelog the sign is the last.
    pub schema: SchemaRef,
    /// Whether its output is a changelog: rows with a sign ([`thalweg_operators::change`]), else its rows stand for ever.
    pub changelog: bool,
}

/// What an operator does.
#[derive(Clone)]
pub enum Kind {
    /// Reads source `n`.
    Scan(usize),
    /// Reads the late rows of all operators ([`DataflowPlan::late`]).
    Late,
    /// Stateless steps, fused into one operator.
    Map(Vec<Step>),
    /// `withWatermark` number `n` on a column.
    Watermark {
        /// Index into [`DataflowPlan::watermarks`].
        clock: usize,
        /// The event-time column.
        column: usize,
    },
    /// Rows of all inputs.
    Union,
    /// Grouped aggregation.
    Group(Group),
    /// Aggregation over session windows.
    Session(Session),
    /// First row of each key.
    Dedup(Dedup),
    /// A function of the program over each key's rows and state.
    Arbitrary(Arbitrary),
    /// The first `n` rows.
    Limit(usize),
    /// All rows of an epoch in order (complete mode).
    Sort(Sort),
    /// The last step of a changelog in update mode: what of its net changes the sink sees.
    Net(View),
    /// The last step in complete mode: keeps the table that its input describes, and gives it whole.
    Table,
    /// Aggregation over a changelog, in the differential lane.
    Reduce(Reduce),
    /// A join of changing tables, in the differential lane.
    TableJoin(Box<TableJoin>),
    /// Rows with their numbers in their partition, or the first of them; in the differential lane.
    Rank(Rank),
    /// Stream with static table.
    StaticJoin(StaticJoin),
    /// Stream with stream.
    Join(Box<Join>),
}

/// A stateless step.
#[derive(Clone)]
pub enum Step {
    /// Keeps rows for which the expression is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// Computes the columns of the schema.
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// An extension node without state: explode, window assignment. The kernel is the batch engine's.
    Expand(Arc<dyn Expand>),
}

/// Grouped aggregation: the input is projected to keys, arguments, filters, closing time.
#[derive(Clone)]
pub struct Group {
    /// Key columns of the input.
    pub keys: Vec<usize>,
    /// The aggregates.
    pub aggregates: Vec<AggregateCall>,
    /// Which groups are emitted.
    pub mode: Mode,
    /// Column with each row's closing time, if an event time is among the keys.
    pub time: Option<usize>,
    /// Windows the operator computes itself.
    pub window: Option<WindowSpec>,
    /// Whether some groups have no closing time: those of grouping sets without the event time.
    pub lasting: bool,
}

/// Aggregation over a changelog: the input is projected to keys, arguments, filters.
#[derive(Clone)]
pub struct Reduce {
    /// Key columns of the input.
    pub keys: Vec<usize>,
    /// The aggregates.
    pub aggregates: Vec<AggregateCall>,
}

/// A join of changing tables.
#[derive(Clone)]
pub struct TableJoin {
    /// As in the logical plan.
    pub kind: JoinType,
    /// Equal columns: (left, right).
    pub on: Vec<(usize, usize)>,
    /// `<=>` instead of `=`.
    pub null_safe: bool,
    /// The rest of the condition, over left then right columns.
    pub condition: Option<Arc<dyn PhysicalExpr>>,
    /// Left then right columns, for the condition.
    pub joined: SchemaRef,
}

/// Numbers rows per partition: the input's leading columns, then the numbers, come out.
#[derive(Clone)]
pub struct Rank {
    /// Columns whose rows are numbered together.
    pub partition: Vec<usize>,
    /// Column, descending, nulls first.
    pub order: Vec<(usize, bool, bool)>,
    /// The numbers wanted.
    pub numberings: Vec<Numbering>,
    /// Keeps only rows up to this number.
    pub keep: Option<(Numbering, u64)>,
    /// Rows left out at the start of each partition.
    pub skip: u64,
}

/// Session windows: the input is projected to keys, start, end, arguments.
#[derive(Clone)]
pub struct Session {
    /// Key columns of the input.
    pub keys: Vec<usize>,
    /// Columns with the start and the end of each row's own session.
    pub bounds: (usize, usize),
    /// The aggregates.
    pub aggregates: Vec<AggregateCall>,
    /// Where the session stands among the output columns.
    pub position: usize,
    /// Which sessions are emitted.
    pub mode: Mode,
}

/// Deduplication.
#[derive(Clone)]
pub struct Dedup {
    /// Key columns.
    pub keys: Vec<usize>,
    /// The event-time column, if the input has one.
    pub time: Option<usize>,
    /// `dropDuplicatesWithinWatermark`: how long a key lives, in microseconds.
    pub within: Option<i64>,
}

/// A function of the program over state.
#[derive(Clone)]
pub struct Arbitrary {
    /// Key columns.
    pub keys: Vec<usize>,
    /// The function.
    pub(crate) function: Arc<StateFunction>,
    /// The event-time column, if the input has one.
    pub event_time: Option<usize>,
    /// The event-time column of the output, if it has one.
    pub emits_time: Option<usize>,
    /// What is there before the first row comes.
    pub initial: Option<InitialState>,
}

/// A static table with state to begin with.
#[derive(Clone)]
pub struct InitialState {
    /// Index into [`DataflowPlan::statics`].
    pub table: usize,
    /// Its key columns.
    pub keys: Vec<usize>,
}

/// Order of an epoch's rows.
#[derive(Clone)]
pub struct Sort {
    /// Column, descending, nulls first.
    pub keys: Vec<(usize, bool, bool)>,
    /// At most this many rows.
    pub limit: Option<usize>,
    /// Rows left out at the start.
    pub offset: usize,
    /// Number of leading columns that are kept (the rest are sort keys only).
    pub width: usize,
}

/// A join of a stream with a static table.
#[derive(Clone)]
pub struct StaticJoin {
    /// Index into [`DataflowPlan::statics`].
    pub table: usize,
    /// As in the logical plan.
    pub kind: JoinType,
    /// True if the stream is the left side.
    pub stream_left: bool,
    /// Equal columns: (stream side, static side).
    pub on: Vec<(usize, usize)>,
    /// `<=>` instead of `=`.
    pub null_safe: bool,
    /// The rest of the condition, over left then right columns.
    pub condition: Option<Arc<dyn PhysicalExpr>>,
    /// Left then right columns, for the condition.
    pub joined: SchemaRef,
}

/// A join of two streams.
#[derive(Clone)]
pub struct Join {
    /// As in the logical plan.
    pub kind: JoinType,
    /// Equal columns: (left, right).
    pub on: Vec<(usize, usize)>,
    /// Null equals null (`<=>`).
    pub null_safe: bool,
    /// The rest of the condition, over left then right columns.
    pub condition: Option<Arc<dyn PhysicalExpr>>,
    /// Left then right columns, for the condition.
    pub joined: SchemaRef,
    /// Per side: conditions on that side alone; a row that fails them matches nothing.
    pub prefilters: [Option<Arc<dyn PhysicalExpr>>; 2],
    /// Per side: the event-time column by which late rows are judged.
    pub times: [Option<usize>; 2],
    /// Per side: when a stored row can match nothing any more.
    pub evictions: [Option<Eviction>; 2],
    /// How far the output's watermark stays behind the inputs', in microseconds.
    pub holdback: i64,
}

/// A stored row can be forgotten when `value <= watermark - delay`.
#[derive(Clone)]
pub struct Eviction {
    /// The stored row's time in microseconds (a timestamp expression over the side's columns).
    pub value: Arc<dyn PhysicalExpr>,
    /// Microseconds the threshold stays behind the watermark (may be negative).
    pub delay: i64,
}

impl Group {
    /// Whether each worker may first aggregate the rows that it has, before the exchange: nothing leaves before the epoch is over, no group
    /// closes, and results do not depend on the order of rows.
    pub fn has_halves(&self, pace: Pace) -> bool {
        let waits = pace == Pace::Epoch || self.mode == Mode::Complete;
        let is_timed = self.time.is_some() || self.window.is_some();
        waits && !is_timed && self.aggregates.iter().all(|call| call.function.commutes())
    }
}

impl DataflowPlan {
    /// All nodes, inputs before the nodes that read them.
    pub fn nodes(&self) -> Vec<&Node> {
        let mut nodes = Vec::new();
        self.root.walk(&mut |node| nodes.push(node));
        self.late.iter().for_each(|late| late.root.walk(&mut |node| nodes.push(node)));
        nodes
    }

    /// True if some operator can use a batch that only moves the watermark.
    pub fn wants_no_data_batches(&self) -> bool {
        !self.watermarks.is_empty() && self.nodes().iter().any(|node| node.wants_no_data_batches())
    }

    /// True if a `withWatermark` stands over another.
    pub fn redefines_watermark(&self) -> bool {
        let over = |node: &Node| {
            let mut count = 0;
            node.walk(&mut |below| count += usize::from(matches!(below.kind, Kind::Watermark { .. })));
            matches!(node.kind, Kind::Watermark { .. }) && count > 1
        };
        self.nodes().into_iter().any(over)
    }

    /// True if some operator may want an epoch at a processing time.
    pub fn wants_epochs_in_time(&self) -> bool {
        let in_time = |kind: &Kind| matches!(kind, Kind::Arbitrary(a) if a.function.time == TimeMode::ProcessingTime);
        self.nodes().iter().any(|node| in_time(&node.kind))
    }

    /// True if results that leave at this pace depend on the order of rows, so that a source must not be read by several workers at once.
    pub fn depends_on_order(&self, pace: Pace) -> bool {
        self.nodes().iter().any(|node| match &node.kind {
            Kind::Group(group) => !group.has_halves(pace),
            Kind::Dedup(_) | Kind::Limit(_) | Kind::Session(_) | Kind::Arbitrary(_) => true,
            _ => false,
        })
    }
}

impl Node {
    fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Node)) {
        self.inputs.iter().for_each(|input| input.walk(visit));
        visit(self);
    }

    /// Whether the node runs in the differential lane.
    pub fn is_differential(&self) -> bool {
        matches!(self.kind, Kind::Reduce(_) | Kind::TableJoin(_) | Kind::Rank(_))
    }

    /// Whether the node keeps nothing: its rows are made of one input row each, on the worker where that is.
    pub fn is_stateless(&self) -> bool {
        matches!(self.kind, Kind::Map(_) | Kind::Union | Kind::StaticJoin(_))
    }

    /// Whether there is a `withWatermark` at or below the node.
    pub fn has_watermark(&self) -> bool {
        matches!(self.kind, Kind::Watermark { .. }) || self.inputs.iter().any(Node::has_watermark)
    }

    fn wants_no_data_batches(&self) -> bool {
        match &self.kind {
            // Spark's: also if no event time is among the keys.
            Kind::Group(group) => group.mode.closes() && self.has_watermark(),
            Kind::Session(session) => session.mode.closes(),
            Kind::Dedup(dedup) => dedup.time.is_some(),
            Kind::Join(join) => join.evictions.iter().any(Option::is_some),
            Kind::Arbitrary(state) => state.function.time == TimeMode::EventTime,
            _ => false,
        }
    }

    fn describe(&self, plan: &DataflowPlan) -> String {
        match &self.kind {
            Kind::Scan(n) => describe_scan(&plan.scans[*n]),
            Kind::Map(steps) => steps.iter().map(Step::describe).collect::<Vec<_>>().join(" | "),
            Kind::Watermark { clock, column } => {
                format!("column={}, delay={}us", self.schema.field(*column).name(), plan.watermarks[*clock])
            }
            Kind::Union | Kind::Late => String::new(),
            Kind::Group(group) => describe_group(group),
            Kind::Session(session) => format!("mode={:?}", session.mode),
            Kind::Dedup(dedup) => format!("keys={:?}", dedup.keys),
            Kind::Arbitrary(state) => describe_arbitrary(state),
            Kind::Limit(n) => format!("n={n}"),
            Kind::Sort(sort) => format!("keys={:?}, limit={:?}", sort.keys, sort.limit),
            Kind::Net(view) => format!("view={view:?}"),
            Kind::Table => String::new(),
            Kind::Reduce(reduce) => format!("keys={:?}, aggregates={}", reduce.keys, reduce.aggregates.len()),
            Kind::TableJoin(join) => format!("{:?} on {:?}", join.kind, join.on),
            Kind::Rank(rank) => format!("partition={:?}, {:?}, keep={:?}", rank.partition, rank.numberings, rank.keep),
            Kind::StaticJoin(join) => format!("{:?} on {:?}", join.kind, join.on),
            Kind::Join(join) => format!("{:?} on {:?}", join.kind, join.on),
        }
    }

    /// For a node that keeps state: which lane runs it, and what bounds its state.
    fn describe_state(&self) -> Option<String> {
        let bound = match &self.kind {
            Kind::Group(group) => bound_of_group(group),
            Kind::Session(session) if session.mode.closes() => "bounded by watermark and gap",
            Kind::Session(_) => WHOLE_TABLE,
            Kind::Dedup(Dedup { within: Some(_), .. }) => "bounded by watermark and delay",
            Kind::Dedup(Dedup { time: Some(time), keys, .. }) if keys.contains(time) => "bounded by watermark",
            Kind::Dedup(_) => "unbounded because no event time is among the keys",
            Kind::Join(join) => bound_of_join(join),
            Kind::Table => WHOLE_TABLE,
            Kind::Arbitrary(_) => "bounded by what the function removes",
            _ if self.is_differential() => "unbounded because what was given may be taken back at any time",
            _ => return None,
        };
        let lane = if self.is_differential() { "differential" } else { "hash" };
        Some(format!("lane={lane}, state {bound}"))
    }
}

const WHOLE_TABLE: &str = "unbounded because complete mode gives the whole table";

fn bound_of_join(join: &Join) -> &'static str {
    match join.evictions.each_ref().map(Option::is_some) {
        [true, true] => "bounded by watermark and range of time",
        [true, false] => "unbounded because nothing limits what right rows can still match",
        [false, true] => "unbounded because nothing limits what left rows can still match",
        [false, false] => "unbounded because no watermark and range of time limit what can still match",
    }
}

fn bound_of_group(group: &Group) -> &'static str {
    match (group.mode.closes(), group.window.is_some(), group.time.is_some()) {
        (false, _, _) => WHOLE_TABLE,
        _ if group.lasting => "unbounded because a grouping set lacks the event time",
        (true, true, _) => "bounded by watermark and window",
        (true, false, true) => "bounded by watermark",
        (true, false, false) => "unbounded because no event time with a watermark is among the keys",
    }
}

fn describe_scan(scan: &Scan) -> String {
    let names: Vec<&str> = scan.schema.fields().iter().map(|field| field.name().as_str()).collect();
    format!("{} ({}) columns=[{}]", scan.table.name, scan.table.source.format, names.join(", "))
}

fn describe_arbitrary(state: &Arbitrary) -> String {
    let function = &state.function;
    format!("{} keys={:?}, time={:?}, mode={:?}", function.name, state.keys, function.time, function.mode)
}

fn describe_group(group: &Group) -> String {
    let window = group.window.map(|w| format!(", window={}us/{}us", w.length, w.slide)).unwrap_or_default();
    format!("keys={:?}, mode={:?}{window}", group.keys, group.mode)
}

impl Step {
    fn describe(&self) -> String {
        match self {
            Step::Filter(condition) => format!("filter {condition}"),
            Step::Project(exprs, _) => {
                format!("project [{}]", exprs.iter().map(|e| e.to_string()).collect::<Vec<_>>().join(", "))
            }
            Step::Expand(kernel) => kernel.describe(),
        }
    }
}

impl fmt::Display for DataflowPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_node(&self.root, self, 0, f)?;
        let Some(late) = &self.late else { return Ok(()) };
        let mut operators: Vec<&str> = late.taps.keys().map(String::as_str).collect();
        operators.sort_unstable();
        writeln!(f, "late rows of {}:", operators.join(", "))?;
        write_node(&late.root, self, 1, f)
    }
}

fn write_node(node: &Node, plan: &DataflowPlan, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let edge = if node.changelog { "changelog" } else { "append-only" };
    let parts = [Some(node.describe(plan)), node.describe_state(), Some(format!("-> {edge}"))];
    let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    writeln!(f, "{:indent$}{} {}", "", node.id, parts.join(", "), indent = depth * 2)?;
    node.inputs.iter().try_for_each(|input| write_node(input, plan, depth + 1, f))
}
