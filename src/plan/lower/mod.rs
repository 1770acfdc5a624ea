//! Logical plan → dataflow plan: names become column indexes, expressions become physical ones, adjacent stateless steps
//! fuse, and each stateful node gets what its operator needs to know (keys, closing times, eviction bounds).
//!
//! One function a node, one file a family; the match has one call per arm.

mod aggregate;
mod arbitrary;
mod changes;
mod expression;
mod fuse;
mod grouping_sets;
mod join;
mod late;
mod rank;
mod stateless;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{LogicalPlan, TableScan, Union};
use thalweg_operators::change::with_change;
use thalweg_operators::group::Mode;

use super::dataflow::{DataflowPlan, Dedup, Kind, Node, Scan, Step};
use super::nodes::{
    self, ArbitraryState, Deduplicate, Generate, LateTap, MapItems, SessionAggregate, SessionWindow, TimeWindow,
    Watermark,
};
use super::scan::scanned;
use crate::sinks::OutputMode;
use crate::{Error, Result};

/// What a query is to put out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which rows.
    pub mode: OutputMode,
    /// The rows of a changelog with their signs, as a last column, instead of what the sink would make of them.
    pub changelog: bool,
    /// Exactly what Spark gives: in complete mode rows that no aggregation keeps are given once.
    pub as_spark: bool,
}

impl From<OutputMode> for Wanted {
    fn from(mode: OutputMode) -> Self {
        Wanted { mode, changelog: false, as_spark: false }
    }
}

/// Lowers an optimized plan of a streaming query that is to put out `wanted`.
///
/// # Errors
/// Nodes that no operator runs yet; they say so.
pub fn lower(plan: &LogicalPlan, wanted: impl Into<Wanted>) -> Result<DataflowPlan> {
    let wanted = wanted.into();
    Ok(Lowering::new(wanted, None).plan(plan, wanted)?.0)
}

/// As [`lower`], with a branch for late rows: of a plan with taps ([`super::late::tap`]), the columns of late rows, and the
/// branch's plan with its output mode.
///
/// # Errors
/// As [`lower`], for both plans.
pub(crate) fn lower_with_late(
    plan: &LogicalPlan,
    wanted: Wanted,
    late: SchemaRef,
    branch: &LogicalPlan,
    branch_mode: OutputMode,
) -> Result<DataflowPlan> {
    let (mut lowered, lowering) = Lowering::new(wanted, Some(late)).plan(plan, wanted)?;
    late::branch(&mut lowered, lowering, branch, branch_mode.into())?;
    Ok(lowered)
}

/// Who reads a node's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consumer {
    /// The sink, maybe behind stateless steps: it is given the rows that changed, or the whole table.
    Sink,
    /// An operator with state: it has to know which rows are no longer true.
    Operator,
}

struct Lowering {
    mode: OutputMode,
    as_spark: bool,
    consumer: Consumer,
    scans: Vec<Scan>,
    watermarks: Vec<i64>,
    watermark_calls: Vec<u64>,
    statics: Vec<LogicalPlan>,
    nodes: usize,
    late: late::Late,
}

impl Lowering {
    fn new(wanted: Wanted, late: Option<SchemaRef>) -> Self {
        Lowering {
            mode: wanted.mode,
            as_spark: wanted.as_spark,
            consumer: if wanted.changelog { Consumer::Operator } else { Consumer::Sink },
            scans: Vec::new(),
            watermarks: Vec::new(),
            watermark_calls: Vec::new(),
            statics: Vec::new(),
            nodes: 0,
            late: late::Late { schema: late, ..late::Late::default() },
        }
    }

    fn plan(mut self, plan: &LogicalPlan, wanted: Wanted) -> Result<(DataflowPlan, Lowering)> {
        let root = self.node(plan)?;
        let root = self.finish(root, wanted)?;
        let (scans, watermarks, statics) = (self.scans.clone(), self.watermarks.clone(), self.statics.clone());
        let watermark_calls = self.watermark_calls.clone();
        Ok((DataflowPlan { scans, watermarks, watermark_calls, statics, root, late: None }, self))
    }

    fn node(&mut self, plan: &LogicalPlan) -> Result<Node> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::SubqueryAlias(alias) => self.renamed(&alias.input, &alias.schema),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Window(window) => self.window(window, None),
            LogicalPlan::Extension(extension) => self.extension(extension.node.as_any(), plan),
            other => Err(unsupported(other)),
        }
    }

    fn extension(&mut self, node: &dyn std::any::Any, plan: &LogicalPlan) -> Result<Node> {
        if let Some(node) = node.downcast_ref::<Watermark>() {
            self.watermark(node, plan)
        } else if let Some(node) = node.downcast_ref::<Deduplicate>() {
            self.deduplicate(node)
        } else if let Some(node) = node.downcast_ref::<Generate>() {
            self.generate(node, plan)
        } else if let Some(node) = node.downcast_ref::<TimeWindow>() {
            self.time_window(node, plan)
        } else if let Some(node) = node.downcast_ref::<SessionWindow>() {
            self.session_window(node, plan)
        } else if let Some(node) = node.downcast_ref::<SessionAggregate>() {
            self.session_aggregate(node, plan)
        } else if let Some(node) = node.downcast_ref::<MapItems>() {
            self.map_items(node, plan)
        } else if let Some(node) = node.downcast_ref::<ArbitraryState>() {
            self.arbitrary_state(node)
        } else if let Some(node) = node.downcast_ref::<LateTap>() {
            self.node(&node.input)
        } else {
            Err(unsupported(plan))
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Node> {
        let table = scanned(scan).filter(|table| table.is_streaming()).ok_or_else(|| {
            Error::unsupported(format!("static table '{}' is used where only a stream can run", scan.table_name))
                .hint("Join it with a stream instead.")
        })?;
        if super::late::is_late(&table) {
            return self.late_rows(scan, table.schema);
        }
        let projection = scan.projection.clone().unwrap_or_else(|| (0..table.schema.fields().len()).collect());
        let schema = Arc::new(table.schema.project(&projection)?);
        // The filter above the scan stays where it is.
        let filters = table.predicates(&scan.filters);
        self.scans.push(Scan { table, projection, schema: schema.clone(), filters });
        Ok(self.add("scan", Kind::Scan(self.scans.len() - 1), Vec::new(), schema))
    }

    fn watermark(&mut self, node: &Watermark, plan: &LogicalPlan) -> Result<Node> {
        let input = self.node(&node.input)?;
        append_only(&input, "withWatermark")?;
        self.watermarks.push(node.delay_micros);
        self.watermark_calls.push(node.call);
        let kind = Kind::Watermark { clock: self.watermarks.len() - 1, column: node.index()? };
        Ok(self.add("watermark", kind, vec![input], arrow_schema(plan.schema())))
    }

    /// Over an aggregation it sees what the sink would: the rows that update or complete mode gives in an epoch, as in Spark.
    fn deduplicate(&mut self, node: &Deduplicate) -> Result<Node> {
        let input = match aggregates(&node.input) && self.consumer == Consumer::Sink {
            true => self.node(&node.input)?,
            false => self.operand(&node.input)?,
        };
        append_only(&input, "dropDuplicates")?;
        let keys = node.indexes()?;
        let is_time = |key: &usize| nodes::watermark_delay_millis(node.input.schema().field(*key)).is_some();
        // An event time among the keys closes them; any other one only tells late rows.
        let time = keys.iter().copied().find(is_time).or_else(|| nodes::event_time_index(node.input.schema()));
        let delay = time.and_then(|i| nodes::watermark_delay_millis(node.input.schema().field(i)));
        let within = node.within_watermark.then_some(delay.unwrap_or(0) * 1000);
        let kind = Kind::Dedup(Dedup { keys, time, within });
        let (schema, wide) = (arrow_schema(node.input.schema()), input.schema.clone());
        let mut dedup = self.add("dedup", kind, vec![input], schema.clone());
        let Some(columns) = late::tap_columns(&node.input) else { return Ok(dedup) };
        let (places, hidden) = (columns.range().collect(), columns.hidden);
        self.tap(&dedup.id, vec![Some((columns, places))]);
        if !hidden {
            return Ok(dedup);
        }
        dedup.schema = wide;
        let shown = expression::columns(&dedup.schema, 0..schema.fields().len());
        Ok(self.step(dedup, Step::Project(shown, schema), node.input.schema()))
    }

    fn union(&mut self, union: &Union) -> Result<Node> {
        // Whole tables and rows are united as changes of one table.
        let mixed = union.inputs.iter().any(|input| aggregates(input)) && !union.inputs.iter().all(|i| aggregates(i));
        let as_changes = mixed && self.mode == OutputMode::Complete && !self.as_spark;
        let lower =
            |lowering: &mut Self, input| if as_changes { lowering.operand(input) } else { lowering.node(input) };
        let inputs = union.inputs.iter().map(|input| lower(self, input)).collect::<Result<Vec<_>>>()?;
        let schema = arrow_schema(&union.schema);
        let inputs = inputs.into_iter().map(|input| self.relabel(input, &schema)).collect::<Result<Vec<_>>>()?;
        let changelog = inputs.iter().any(|input| input.changelog);
        let inputs = inputs.into_iter().map(|input| self.signed(input, changelog)).collect();
        Ok(self.add_signed("union", Kind::Union, inputs, schema, changelog))
    }

    /// The same rows under another schema (names, metadata): columns are moved, not computed.
    fn renamed(&mut self, input: &LogicalPlan, schema: &DFSchema) -> Result<Node> {
        let mut node = self.node(input)?;
        node.schema = signed_schema(arrow_schema(schema), node.changelog);
        if let Kind::Map(steps) = &mut node.kind {
            stateless::rename_last(steps, &node.schema);
        }
        Ok(node)
    }

    fn relabel(&mut self, node: Node, schema: &SchemaRef) -> Result<Node> {
        let signed = signed_schema(schema.clone(), node.changelog);
        if node.schema == signed {
            return Ok(node);
        }
        let to = DFSchema::try_from(schema.as_ref().clone())?;
        let columns = expression::columns(&node.schema, 0..schema.fields().len());
        let step = Step::Project(columns, schema.clone());
        let mut node = self.step(node, step, &to);
        node.schema = signed;
        Ok(node)
    }

    /// Adds a stateless step behind `input`, fused with the steps before it. `schema`: the step's output, without sign; a sign
    /// passes on.
    fn step(&mut self, mut input: Node, step: Step, schema: &DFSchema) -> Node {
        let schema = signed_schema(arrow_schema(schema), input.changelog);
        let step = if input.changelog { changes::with_sign(step, &input.schema) } else { step };
        if let (Kind::Map(steps), [source]) = (&mut input.kind, input.inputs.as_slice()) {
            fuse::append(steps, step, &source.schema);
            input.schema = schema;
            return input;
        }
        let changelog = input.changelog;
        let mut steps = Vec::new();
        fuse::append(&mut steps, step, &input.schema);
        let kind = Kind::Map(steps);
        self.nodes += 1;
        Node { id: format!("map-{}", self.nodes - 1), kind, inputs: vec![input], schema, changelog }
    }

    /// Adds an operator with append-only output.
    fn add(&mut self, name: &str, kind: Kind, inputs: Vec<Node>, schema: SchemaRef) -> Node {
        self.add_signed(name, kind, inputs, schema, false)
    }

    /// Adds an operator; `schema` is without sign.
    fn add_signed(&mut self, name: &str, kind: Kind, inputs: Vec<Node>, schema: SchemaRef, changelog: bool) -> Node {
        self.nodes += 1;
        let schema = signed_schema(schema, changelog);
        Node { id: format!("{name}-{}", self.nodes - 1), kind, inputs, schema, changelog }
    }

    /// The node of a plan whose rows go into an operator with state.
    fn operand(&mut self, plan: &LogicalPlan) -> Result<Node> {
        let before = std::mem::replace(&mut self.consumer, Consumer::Operator);
        let node = self.node(plan);
        self.consumer = before;
        node
    }

    fn group_mode(&self) -> Mode {
        match (self.mode, self.consumer) {
            (OutputMode::Append, _) => Mode::Append,
            (OutputMode::Update, Consumer::Sink) => Mode::Update,
            (OutputMode::Complete, Consumer::Sink) => Mode::Complete,
            (OutputMode::Update, Consumer::Operator) => Mode::Changelog { closes: true },
            (OutputMode::Complete, Consumer::Operator) => Mode::Changelog { closes: false },
        }
    }
}

/// Whether there is an aggregation of a stream in a plan.
fn aggregates(plan: &LogicalPlan) -> bool {
    super::check::streaming_nodes(plan).iter().any(|node| super::check::is_aggregation(node))
}

/// The schema of rows, with a sign behind if they are a changelog's.
fn signed_schema(schema: SchemaRef, changelog: bool) -> SchemaRef {
    if changelog { with_change(&schema) } else { schema }
}

/// Refuses a changelog where an operator counts on rows that stand for ever.
fn append_only(input: &Node, what: &str) -> Result<()> {
    if !input.changelog {
        return Ok(());
    }
    Err(Error::query(
        "_LEGACY_ERROR_TEMP_3102",
        format!("{what} over rows that later rows may correct is not supported"),
    )
    .hint("Apply it below the aggregation or join, or use append mode."))
}

/// The Arrow schema with every column nullable, as streams have it.
pub(crate) fn arrow_schema(schema: &DFSchema) -> SchemaRef {
    let nullable = |field: &Arc<arrow::datatypes::Field>| field.as_ref().clone().with_nullable(true);
    Arc::new(Schema::new(schema.fields().iter().map(nullable).collect::<Vec<_>>()))
}

fn unsupported(plan: &LogicalPlan) -> Error {
    Error::unsupported(format!("no streaming operator runs this step yet: {}", plan.display()))
}
