//! Grouped aggregation and session aggregation: keys, arguments, filters and closing times become columns of one projection.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan};
use datafusion::physical_expr::expressions::Column;
use thalweg_operators::group::{AggregateCall, Mode, WindowSpec};

use super::super::dataflow::{Group, Kind, Node, Reduce, Session, Step};
use super::super::grouping_sets::{self, event_time_key};
use super::super::nodes::{SessionAggregate, TimeWindow};
use super::late::{TapColumns, below_columns, tap_columns};
use super::{Lowering, arrow_schema, expression};
use crate::functions::aggregate::as_stream_aggregate;
use crate::{Error, Result};

impl Lowering {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Node> {
        if let Some(sets) = grouping_sets::sets(aggregate)? {
            return self.grouping_sets(aggregate, sets);
        }
        let Some((position, windowed, window)) = fusible_window(aggregate) else {
            let input = self.operand(&aggregate.input)?;
            return self.keyed(input, aggregate);
        };
        let input = self.operand(&window.input)?;
        if input.changelog {
            let rows = self.assign_windows(input, window, windowed.schema())?;
            let rows = self.select(rows, windowed.schema(), aggregate.input.schema())?;
            return self.keyed(rows, aggregate);
        }
        self.windowed(input, aggregate, position, window)
    }

    fn keyed(&mut self, input: Node, aggregate: &Aggregate) -> Result<Node> {
        let mut columns = Columns::new(aggregate.input.schema());
        let keys = columns.add_all(&aggregate.group_expr)?;
        let aggregates = columns.calls(&aggregate.aggr_expr)?;
        let schema = arrow_schema(&aggregate.schema);
        let closing = event_time_key(aggregate)?.map(|(_, key, data_type)| event_time(key.clone(), data_type));
        let time = closing.map(|closing| columns.add(&closing)).transpose()?;
        let group = Group { keys, aggregates, mode: self.group_mode(), time, window: None, lasting: false };
        let tap = tap_columns(&aggregate.input).map(|tap| columns.tapped(tap));
        Ok(self.group(input, columns, group, schema, tap))
    }

    /// The operator computes the windows itself, so that rows are not multiplied.
    fn windowed(&mut self, input: Node, aggregate: &Aggregate, position: usize, window: &TimeWindow) -> Result<Node> {
        let mut columns = Columns::new(window.input.schema());
        let others: Vec<Expr> =
            aggregate.group_expr.iter().enumerate().filter(|(i, _)| *i != position).map(|(_, e)| e.clone()).collect();
        let keys = columns.add_all(&others)?;
        let aggregates = columns.calls(&aggregate.aggr_expr)?;
        let column = columns.add(&window.time)?;
        let (length, slide, start) = (window.length, window.slide, window.start);
        let window_spec = WindowSpec { column, length, slide, start, position };
        let group =
            Group { keys, aggregates, mode: self.group_mode(), time: None, window: Some(window_spec), lasting: false };
        // The tap is above the window; below, its columns stand first.
        let tap = tap_columns(&aggregate.input).map(|tap| columns.tapped(TapColumns { first: 0, ..tap }));
        Ok(self.group(input, columns, group, arrow_schema(&aggregate.schema), tap))
    }

    fn group(&mut self, input: Node, columns: Columns<'_>, group: Group, schema: SchemaRef, tap: Tap) -> Node {
        let input = self.project(input, columns);
        self.grouped(input, group, schema, tap)
    }

    /// The operator behind its projected input: of the differential lane, if later rows may correct the input's.
    pub(super) fn grouped(&mut self, input: Node, group: Group, schema: SchemaRef, tap: Tap) -> Node {
        if input.changelog {
            let kind = Kind::Reduce(Reduce { keys: group.keys, aggregates: group.aggregates });
            return self.add_signed("reduce", kind, vec![input], schema, true);
        }
        let changelog = group.mode.is_changelog();
        let node = self.add_signed("aggregate", Kind::Group(group), vec![input], schema, changelog);
        self.tap(&node.id, vec![tap]);
        node
    }

    /// Those columns of rows that another schema has, in its order.
    fn select(&mut self, input: Node, from: &DFSchema, to: &DFSchemaRef) -> Result<Node> {
        let columns: Vec<Expr> = to.columns().into_iter().map(Expr::Column).collect();
        let step = Step::Project(expression::physical_all(&columns, from)?, arrow_schema(to));
        Ok(self.step(input, step, to))
    }

    pub(super) fn project(&mut self, input: Node, columns: Columns<'_>) -> Node {
        let (step, schema) = columns.into_step();
        self.step(input, step, &schema)
    }

    pub(super) fn session_aggregate(&mut self, node: &SessionAggregate, plan: &LogicalPlan) -> Result<Node> {
        let input = self.operand(&node.input)?;
        super::append_only(&input, "a session window")?;
        let mut columns = Columns::new(node.input.schema());
        let session = Expr::Column(node.session.clone());
        let keys = columns.add_all(&node.keys)?;
        let start = columns.add(&get_field(session.clone(), "start"))?;
        let end = columns.add(&get_field(session, "end"))?;
        let aggregates = columns.calls(&node.aggregates)?;
        let position = node.keys.len();
        let session = Session { keys, bounds: (start, end), aggregates, position, mode: self.session_mode() };
        let tap = tap_columns(&node.input).map(|tap| columns.tapped(tap));
        let input = self.project(input, columns);
        let changelog = session.mode.is_changelog();
        let schema = arrow_schema(plan.schema());
        let node = self.add_signed("session", Kind::Session(session), vec![input], schema, changelog);
        self.tap(&node.id, vec![tap]);
        Ok(node)
    }
}

impl Lowering {
    /// Sessions that merge have to be taken back, so that update mode is a changelog, too.
    fn session_mode(&self) -> Mode {
        match self.group_mode() {
            Mode::Update => Mode::Changelog { closes: true },
            mode => mode,
        }
    }
}

/// The tap's columns and where they stand in an operator's input.
pub(super) type Tap = Option<(TapColumns, Vec<usize>)>;

/// Columns of the projection below a stateful operator; equal expressions share a column.
pub(super) struct Columns<'a> {
    schema: &'a DFSchema,
    exprs: Vec<Expr>,
    physical: Vec<Arc<dyn datafusion::physical_expr::PhysicalExpr>>,
    fields: Vec<Field>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(schema: &'a DFSchema) -> Self {
        Columns { schema, exprs: Vec::new(), physical: Vec::new(), fields: Vec::new() }
    }

    pub(super) fn add(&mut self, expr: &Expr) -> Result<usize> {
        let expr = expr.clone().unalias();
        if let Some(known) = self.exprs.iter().position(|known| *known == expr) {
            return Ok(known);
        }
        let field = expr.to_field(self.schema)?.1;
        let name = format!("c{}", self.fields.len());
        self.fields.push(Field::new(name, field.data_type().clone(), true).with_metadata(field.metadata().clone()));
        self.physical.push(expression::physical(&expr, self.schema)?);
        self.exprs.push(expr);
        Ok(self.exprs.len() - 1)
    }

    /// Adds the columns of a tap, as they stand in the rows that come in.
    pub(super) fn tapped(&mut self, tap: TapColumns) -> (TapColumns, Vec<usize>) {
        let places = tap.range().zip(&tap.fields).map(|(index, field)| self.plain(index, field)).collect();
        (tap, places)
    }

    /// Adds the column with this index of the rows that come in, which the logical plan need not know; after all others.
    fn plain(&mut self, index: usize, field: &Field) -> usize {
        let name = format!("c{}", self.fields.len());
        self.physical.push(Arc::new(Column::new(field.name(), index)));
        self.fields.push(Field::new(name, field.data_type().clone(), true));
        self.fields.len() - 1
    }

    fn add_all(&mut self, exprs: &[Expr]) -> Result<Vec<usize>> {
        exprs.iter().map(|expr| self.add(expr)).collect()
    }

    pub(super) fn calls(&mut self, exprs: &[Expr]) -> Result<Vec<AggregateCall>> {
        exprs.iter().map(|expr| self.call(expr)).collect()
    }

    fn call(&mut self, expr: &Expr) -> Result<AggregateCall> {
        let Some(found) = as_stream_aggregate(expr) else {
            return Err(Error::unsupported(format!("aggregate '{expr}' can't be kept for a stream")));
        };
        let args = self.add_all(&found.args)?;
        let filter = found.filter.as_ref().map(|filter| self.add(filter)).transpose()?;
        Ok(AggregateCall { function: found.function, args, filter })
    }

    fn into_step(self) -> (Step, DFSchema) {
        let schema = Arc::new(Schema::new(self.fields));
        let named = DFSchema::try_from(schema.as_ref().clone()).expect("columns have unique names");
        (Step::Project(self.physical, schema), named)
    }
}

/// The window below, with its plan, if it is the key of this place and nothing else refers to it.
fn fusible_window(aggregate: &Aggregate) -> Option<(usize, &LogicalPlan, &TimeWindow)> {
    let windowed = below_columns(&aggregate.input);
    let LogicalPlan::Extension(extension) = windowed else { return None };
    let window = extension.node.as_any().downcast_ref::<TimeWindow>()?;
    let column = window.column();
    let is_window = |expr: &Expr| *expr == Expr::Column(column.clone());
    let position = aggregate.group_expr.iter().position(is_window)?;
    let others = aggregate.group_expr.iter().enumerate().filter(|(i, _)| *i != position).map(|(_, expr)| expr);
    let refers = others.chain(&aggregate.aggr_expr).any(|expr| expr.column_refs().contains(&column));
    (!refers).then_some((position, windowed, window))
}

/// An event-time column as a time: windows count by their end.
pub(super) fn event_time(expr: Expr, data_type: &DataType) -> Expr {
    match data_type {
        DataType::Struct(_) => get_field(expr, "end"),
        _ => expr,
    }
}
