//! Joins of streams with static tables and with streams.
//!
//! Both sides are given their columns and behind them the key expressions that are no plain columns; the operator sees indexes
//! only, and a projection behind it leaves the helper columns out again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::{DFSchema, JoinType, NullEquality};
use datafusion::logical_expr::{Expr, ExprSchemable, Join as LogicalJoin, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_expr::PhysicalExpr;
use thalweg_operators::join::table::mark_field;

use super::super::dataflow::{Eviction, Join, Kind, Node, StaticJoin, Step, TableJoin};
use super::super::nodes::{QualifiedField, qualified_fields};
use super::super::scan::is_streaming;
use super::super::time_range::JoinTimes;
use super::aggregate::event_time;
use super::late::{TapColumns, tap_columns};
use super::{Lowering, arrow_schema, expression};
use crate::functions::conditional;
use crate::sinks::OutputMode;
use crate::{Error, Result};

/// One side of a join: its columns, then helper columns.
struct Side {
    /// Expressions behind the columns, with their names.
    extra: Vec<Expr>,
    schema: DFSchema,
    width: usize,
    /// Where the columns of late rows stand in what comes in, if somebody wants them; hidden ones are appended to the side.
    tap: Option<TapColumns>,
    /// Tells its helper columns from those of the other side.
    label: &'static str,
}

impl Side {
    fn new(schema: &DFSchema, label: &'static str) -> Self {
        Side { extra: Vec::new(), width: schema.fields().len(), tap: None, schema: schema.clone(), label }
    }

    /// Takes the columns of late rows along; after all others.
    fn tapped(&mut self, plan: &LogicalPlan) -> Result<()> {
        self.tap = tap_columns(plan);
        let Some(tap) = self.tap.as_ref().filter(|tap| tap.hidden) else { return Ok(()) };
        let mut fields = qualified_fields(&self.schema);
        let named = |(i, field): (usize, &FieldRef)| {
            let name = format!("_{}_late_{i}", self.label);
            (None, Arc::new(Field::new(name, field.data_type().clone(), true)) as FieldRef)
        };
        fields.extend(tap.fields.iter().enumerate().map(named));
        self.schema = DFSchema::new_with_metadata(fields, HashMap::new())?;
        Ok(())
    }

    /// Where the columns of late rows stand in the operator's input.
    fn late_places(&self) -> Option<(TapColumns, Vec<usize>)> {
        let tap = self.tap.clone()?;
        let first = if tap.hidden { self.width + self.extra.len() } else { tap.first };
        let places = (first..first + tap.fields.len()).collect();
        Some((tap, places))
    }

    /// Number of hidden columns behind the helper columns.
    fn hidden(&self) -> usize {
        self.tap.as_ref().filter(|tap| tap.hidden).map_or(0, |tap| tap.fields.len())
    }

    /// Index of an expression's column; made if it is not a column of the side.
    fn column(&mut self, expr: &Expr, base: &DFSchema) -> Result<usize> {
        if let Expr::Column(column) = expr {
            return Ok(base.index_of_column(column)?);
        }
        if let Some(known) = self.extra.iter().position(|known| known == expr) {
            return Ok(self.width + known);
        }
        self.extra.push(expr.clone());
        let field = expr.to_field(base)?.1;
        let name = format!("_{}_key_{}", self.label, self.extra.len());
        let mut fields = qualified_fields(&self.schema);
        fields.push((None, Arc::new(Field::new(name, field.data_type().clone(), true)) as FieldRef));
        self.schema = DFSchema::new_with_metadata(fields, HashMap::new())?;
        Ok(self.width + self.extra.len() - 1)
    }

    fn total(&self) -> usize {
        self.width + self.extra.len() + self.hidden()
    }
}

impl Lowering {
    pub(super) fn join(&mut self, join: &LogicalJoin) -> Result<Node> {
        match (is_streaming(&join.left), is_streaming(&join.right)) {
            (true, true) => self.stream_join(join),
            (stream_left, _) => self.static_join(join, stream_left),
        }
    }

    fn static_join(&mut self, join: &LogicalJoin, stream_left: bool) -> Result<Node> {
        let (mut left, mut right) = (Side::new(join.left.schema(), "left"), Side::new(join.right.schema(), "right"));
        let mut on = Vec::new();
        for (l, r) in &join.on {
            let pair = (left.column(l, join.left.schema())?, right.column(r, join.right.schema())?);
            on.push(if stream_left { pair } else { (pair.1, pair.0) });
        }
        let joined = joined_schema(&left, &right)?;
        let condition = join.filter.as_ref().map(|filter| expression::physical(filter, &joined)).transpose()?;
        let (stream, table) = if stream_left { (&join.left, &join.right) } else { (&join.right, &join.left) };
        let (stream_side, table_side) = if stream_left { (&left, &right) } else { (&right, &left) };
        let input = self.node(stream)?;
        let input = self.extend(input, stream_side, stream.schema())?;
        self.statics.push(extended_plan(table, table_side)?);
        let kind = Kind::StaticJoin(StaticJoin {
            table: self.statics.len() - 1,
            kind: join.join_type,
            stream_left,
            on,
            null_safe: join.null_equality == NullEquality::NullEqualsNull,
            condition,
            joined: arrow_schema(&joined),
        });
        self.joined(join, kind, vec![input], &left, &right)
    }

    fn stream_join(&mut self, join: &LogicalJoin) -> Result<Node> {
        let inputs = [self.operand(&join.left)?, self.operand(&join.right)?];
        if self.wants_tables(join, &inputs) {
            return self.table_join(join, inputs);
        }
        let times = JoinTimes::of(join, self.as_spark)?;
        let schemas = [join.left.schema(), join.right.schema()];
        let mut sides = [Side::new(schemas[0], "left"), Side::new(schemas[1], "right")];
        let mut on = Vec::new();
        for (l, r) in &join.on {
            on.push((sides[0].column(l, schemas[0])?, sides[1].column(r, schemas[1])?));
        }
        let mut event_times = [None, None];
        for i in 0..2 {
            event_times[i] =
                times.columns[i].map(|column| time_column(&mut sides[i], schemas[i], column)).transpose()?;
        }
        sides[0].tapped(&join.left)?;
        sides[1].tapped(&join.right)?;
        let evictions = [0, 1].map(|i| eviction(&times, i, join));
        let [evict_left, evict_right] = evictions;
        let joined = joined_schema(&sides[0], &sides[1])?;
        let (prefilters, condition) = split_condition(join, &sides, &joined)?;
        let kind = Kind::Join(Box::new(Join {
            kind: join.join_type,
            on,
            null_safe: join.null_equality == NullEquality::NullEqualsNull,
            condition,
            joined: arrow_schema(&joined),
            prefilters,
            times: event_times,
            evictions: [evict_left?, evict_right?],
            holdback: times.holdback(join.join_type),
        }));
        let inputs = self.extended(inputs, &sides, join)?;
        let node = self.joined(join, kind, inputs, &sides[0], &sides[1])?;
        let operator = if let Kind::Map(_) = node.kind { &node.inputs[0].id } else { &node.id };
        self.tap(&operator.clone(), sides.iter().map(Side::late_places).collect());
        Ok(node)
    }

    /// Whether a join is one of changing tables: because an input changes, or because its result does.
    fn wants_tables(&self, join: &LogicalJoin, inputs: &[Node; 2]) -> bool {
        let anti = matches!(join.join_type, JoinType::LeftAnti | JoinType::RightAnti | JoinType::RightSemi);
        let unkeyed = join.on.is_empty() || join.null_equality == NullEquality::NullEqualsNull;
        let changes = inputs.iter().any(|input| input.changelog);
        changes || (self.mode != OutputMode::Append && (anti || unkeyed))
    }

    fn table_join(&mut self, join: &LogicalJoin, inputs: [Node; 2]) -> Result<Node> {
        if join.null_aware {
            return Err(Error::unsupported("NOT IN over a stream is not supported where nulls may come")
                .hint("Use NOT EXISTS, or leave out nulls on both sides."));
        }
        let schemas = [join.left.schema(), join.right.schema()];
        let mut sides = [Side::new(schemas[0], "left"), Side::new(schemas[1], "right")];
        let mut on = Vec::new();
        for (l, r) in &join.on {
            on.push((sides[0].column(l, schemas[0])?, sides[1].column(r, schemas[1])?));
        }
        let joined = joined_schema(&sides[0], &sides[1])?;
        let condition = join.filter.as_ref().map(|filter| expression::physical(filter, &joined)).transpose()?;
        let kind = Kind::TableJoin(Box::new(TableJoin {
            kind: join.join_type,
            on,
            null_safe: join.null_equality == NullEquality::NullEqualsNull,
            condition,
            joined: arrow_schema(&joined),
        }));
        let inputs = self.extended(inputs, &sides, join)?;
        let inputs = inputs.into_iter().map(|input| self.signed(input, true)).collect();
        self.joined(join, kind, inputs, &sides[0], &sides[1])
    }

    /// Both inputs with their helper columns.
    fn extended(&mut self, inputs: [Node; 2], sides: &[Side; 2], join: &LogicalJoin) -> Result<Vec<Node>> {
        let plans = [&join.left, &join.right];
        let each = inputs.into_iter().zip(sides).zip(plans);
        each.map(|((input, side), plan)| self.extend(input, side, plan.schema())).collect()
    }

    /// Projects a side to its columns and helper columns.
    fn extend(&mut self, input: Node, side: &Side, base: &DFSchema) -> Result<Node> {
        if side.total() == side.width {
            return Ok(input);
        }
        let mut columns = expression::columns(base.as_arrow(), 0..side.width);
        columns.extend(expression::physical_all(&side.extra, base)?);
        if let Some(tap) = side.tap.as_ref().filter(|tap| tap.hidden) {
            columns.extend(expression::columns(&input.schema, tap.range()));
        }
        let step = Step::Project(columns, arrow_schema(&side.schema));
        Ok(self.step(input, step, &side.schema))
    }

    /// Outer joins of streams whose rows without match come before they are final.
    fn takes_back(&self, kind: &Kind) -> bool {
        let is_outer = |kind| matches!(kind, JoinType::Left | JoinType::Right | JoinType::Full);
        self.mode != OutputMode::Append && matches!(kind, Kind::Join(join) if is_outer(join.kind))
    }

    /// Adds the operator, and behind it the projection that leaves helper columns out.
    fn joined(&mut self, join: &LogicalJoin, kind: Kind, inputs: Vec<Node>, left: &Side, right: &Side) -> Result<Node> {
        let name = if matches!(kind, Kind::StaticJoin(_)) { "static-join" } else { "join" };
        let changelog = match kind {
            Kind::StaticJoin(_) => inputs.iter().any(|input| input.changelog),
            Kind::TableJoin(_) => true,
            _ => self.takes_back(&kind),
        };
        let shown = shown_fields(join.join_type, left, right);
        let schema: SchemaRef =
            Arc::new(arrow::datatypes::Schema::new(shown.iter().map(|(_, f)| f.clone()).collect::<Vec<_>>()));
        let node = self.add_signed(name, kind, inputs, nullable(&schema), changelog);
        if left.total() == left.width && right.total() == right.width {
            return Ok(Node { schema: super::signed_schema(arrow_schema(&join.schema), node.changelog), ..node });
        }
        let kept: Vec<usize> = kept_columns(join.join_type, left, right);
        let columns: Vec<Arc<dyn PhysicalExpr>> =
            kept.iter().flat_map(|&i| expression::columns(&schema, i..i + 1)).collect();
        let step = Step::Project(columns, arrow_schema(&join.schema));
        Ok(self.step(node, step, &join.schema))
    }
}

fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}

fn left_only(kind: JoinType) -> bool {
    matches!(kind, JoinType::LeftSemi | JoinType::LeftAnti)
}

fn right_only(kind: JoinType) -> bool {
    matches!(kind, JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark)
}

/// The operator's output fields.
fn shown_fields(kind: JoinType, left: &Side, right: &Side) -> Vec<QualifiedField> {
    let (left, right) = (qualified_fields(&left.schema), qualified_fields(&right.schema));
    match kind {
        JoinType::LeftMark => left.into_iter().chain([(None, mark_field())]).collect(),
        kind if left_only(kind) => left,
        kind if right_only(kind) => right,
        _ => left.into_iter().chain(right).collect(),
    }
}

/// Which of the operator's output columns are no helper columns.
fn kept_columns(kind: JoinType, left: &Side, right: &Side) -> Vec<usize> {
    match kind {
        JoinType::LeftMark => (0..left.width).chain([left.total()]).collect(),
        kind if left_only(kind) => (0..left.width).collect(),
        kind if right_only(kind) => (0..right.width).collect(),
        _ => (0..left.width).chain(left.total()..left.total() + right.width).collect(),
    }
}

fn joined_schema(left: &Side, right: &Side) -> Result<DFSchema> {
    let fields = qualified_fields(&left.schema).into_iter().chain(qualified_fields(&right.schema)).collect();
    Ok(DFSchema::new_with_metadata(fields, HashMap::new())?)
}

/// The static plan with its helper columns.
fn extended_plan(plan: &LogicalPlan, side: &Side) -> Result<LogicalPlan> {
    if side.extra.is_empty() {
        return Ok(plan.clone());
    }
    let columns = qualified_fields(plan.schema())
        .into_iter()
        .map(|(qualifier, field)| Expr::Column(datafusion::common::Column::new(qualifier, field.name())));
    let named = side.schema.fields().iter().skip(side.width);
    let extra = side.extra.iter().zip(named).map(|(expr, field)| expr.clone().alias(field.name()));
    Ok(LogicalPlanBuilder::from(plan.clone()).project(columns.chain(extra).collect::<Vec<_>>())?.build()?)
}

/// The column with a side's event time as a timestamp; a window counts by its end.
fn time_column(side: &mut Side, base: &DFSchema, column: usize) -> Result<usize> {
    let (qualifier, field) = base.qualified_field(column);
    let expr = Expr::Column(datafusion::common::Column::new(qualifier.cloned(), field.name()));
    match field.data_type() {
        DataType::Struct(_) => side.column(&event_time(expr, field.data_type()), base),
        _ => Ok(column),
    }
}

/// When a stored row of side `i` can match nothing any more.
fn eviction(times: &JoinTimes, i: usize, join: &LogicalJoin) -> Result<Option<Eviction>> {
    if let Some(key) = times.keys[0].or(times.keys[1]) {
        // Spark: a watermark on one side's key column bounds both sides by the key's value.
        let (left, right) = &join.on[key];
        let expr = if i == 0 { left } else { right };
        let base = if i == 0 { join.left.schema() } else { join.right.schema() };
        let time = event_time(expr.clone(), &expr.get_type(base)?);
        return Ok(Some(Eviction { value: expression::physical(&time, base)?, delay: 0 }));
    }
    let base = if i == 0 { join.left.schema() } else { join.right.schema() };
    // Spark: a side without event time of its own is kept for ever, though it is bounded.
    let (Some(bound), Some(_)) = (times.bound(i, base), times.columns[i]) else { return Ok(None) };
    let time = Expr::Column(bound.time);
    let value = expression::physical(&event_time(time.clone(), &time.get_type(base)?), base)?;
    Ok(Some(Eviction { value, delay: bound.delay }))
}

type Prefilters = [Option<Arc<dyn PhysicalExpr>>; 2];

/// Conditions on one side alone, and the rest over both sides.
fn split_condition(
    join: &LogicalJoin,
    sides: &[Side; 2],
    joined: &DFSchema,
) -> Result<(Prefilters, Option<Arc<dyn PhysicalExpr>>)> {
    let (mut of_side, mut rest) = ([Vec::new(), Vec::new()], Vec::new());
    for conjunct in join.filter.iter().cloned().flat_map(conditional::conjuncts) {
        let columns = conjunct.column_refs();
        let within = |schema: &DFSchema| columns.iter().all(|column| schema.has_column(column));
        match (within(join.left.schema()), within(join.right.schema())) {
            (true, false) => of_side[0].push(conjunct),
            (false, true) => of_side[1].push(conjunct),
            _ => rest.push(conjunct),
        }
    }
    let physical = |exprs: Vec<Expr>, schema: &DFSchema| -> Result<Option<Arc<dyn PhysicalExpr>>> {
        conditional::all_of(exprs).map(|expr| expression::physical(&expr, schema)).transpose()
    };
    let [left, right] = of_side;
    let prefilters = [physical(left, &sides[0].schema)?, physical(right, &sides[1].schema)?];
    Ok((prefilters, physical(rest, joined)?))
}
