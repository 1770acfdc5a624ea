//! Projections, filters, generators, window assignment, limit and sort.

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, FetchType, Filter, Limit, LogicalPlan, Projection, SkipType};
use datafusion::logical_expr::{Sort as LogicalSort, SortExpr};

use super::super::dataflow::{Kind, Node, Sort, Step};
use super::super::nodes::{Generate, MapItems, SessionWindow, TimeWindow};
use super::late::tap_columns;
use super::{Consumer, Lowering, arrow_schema, expression};
use crate::functions::conditional;
use crate::sinks::OutputMode;
use crate::{Error, Result};

/// What to sort by: a column, whether descending, whether nulls come first.
pub(super) type SortKeys = Vec<(usize, bool, bool)>;

impl Lowering {
    pub(super) fn projection(&mut self, projection: &Projection) -> Result<Node> {
        if let Some(below) = tap_columns(&projection.input) {
            return self.hiding_projection(projection, below);
        }
        let input = self.node(&projection.input)?;
        self.projected(input, projection)
    }

    /// The columns of a projection, of a node that stands for its input.
    fn projected(&mut self, input: Node, projection: &Projection) -> Result<Node> {
        let exprs = expression::physical_all(&projection.expr, projection.input.schema())?;
        let step = Step::Project(exprs, arrow_schema(&projection.schema));
        Ok(self.step(input, step, &projection.schema))
    }

    pub(super) fn filter(&mut self, filter: &Filter) -> Result<Node> {
        let input = match filter.input.as_ref() {
            LogicalPlan::Window(window) => self.window(window, Some(&filter.predicate))?,
            input => self.node(input)?,
        };
        let condition = conditional::in_order(filter.predicate.clone());
        let step = Step::Filter(expression::physical(&condition, filter.input.schema())?);
        Ok(self.step(input, step, filter.input.schema()))
    }

    pub(super) fn generate(&mut self, node: &Generate, plan: &LogicalPlan) -> Result<Node> {
        let input = self.node(&node.input)?;
        let step = Step::Expand(super::super::batch::kernels::generate(node)?);
        Ok(self.step(input, step, plan.schema()))
    }

    pub(super) fn time_window(&mut self, node: &TimeWindow, plan: &LogicalPlan) -> Result<Node> {
        let input = self.node(&node.input)?;
        self.assign_windows(input, node, plan.schema())
    }

    /// Adds the window column of rows that are already there.
    pub(super) fn assign_windows(&mut self, input: Node, node: &TimeWindow, schema: &DFSchema) -> Result<Node> {
        let step = Step::Expand(super::super::batch::kernels::time_window(node)?);
        Ok(self.step(input, step, schema))
    }

    pub(super) fn session_window(&mut self, node: &SessionWindow, plan: &LogicalPlan) -> Result<Node> {
        let input = self.node(&node.input)?;
        let step = Step::Expand(super::super::batch::kernels::session_window(node)?);
        Ok(self.step(input, step, plan.schema()))
    }

    pub(super) fn map_items(&mut self, node: &MapItems, plan: &LogicalPlan) -> Result<Node> {
        let input = self.node(&node.input)?;
        let step = Step::Expand(super::super::batch::kernels::map_items(node));
        Ok(self.step(input, step, plan.schema()))
    }

    /// Whether rows leave a step as corrections of those before, not as the whole table of an epoch.
    fn corrected(&self) -> bool {
        match self.mode {
            OutputMode::Append => false,
            OutputMode::Update => true,
            OutputMode::Complete => self.consumer == Consumer::Operator,
        }
    }

    pub(super) fn limit(&mut self, limit: &Limit) -> Result<Node> {
        let (skip, fetch) = bounds(limit)?;
        let corrected = self.corrected();
        let mut input = match limit.input.as_ref() {
            LogicalPlan::Sort(sort) if corrected => return self.first_rows(sort, skip, fetch),
            // Sorted by what is not shown: the projection between leaves the order, and so the first rows, as they are.
            LogicalPlan::Projection(shown) if corrected => match shown.input.as_ref() {
                LogicalPlan::Sort(sort) => {
                    let first = self.first_rows(sort, skip, fetch)?;
                    return self.projected(first, shown);
                }
                _ => self.operand(&limit.input)?,
            },
            // An aggregation below gives corrections, which are no rows to count.
            input if corrected => self.operand(input)?,
            input => self.node(input)?,
        };
        let schema = input.schema.clone();
        if self.mode == OutputMode::Complete && !corrected {
            input = self.whole(input);
        }
        if let (Kind::Sort(sort), Some(n)) = (&mut input.kind, fetch) {
            sort.limit = Some(sort.limit.map_or(n, |known| known.min(n)));
            sort.offset += skip;
            return Ok(input);
        }
        match (self.mode, fetch) {
            (OutputMode::Complete, fetch) if !corrected => {
                let width = input.schema.fields().len();
                let schema = input.schema.clone();
                let kind = Kind::Sort(Sort { keys: Vec::new(), limit: fetch, offset: skip, width });
                Ok(self.add("limit", kind, vec![input], schema))
            }
            (_, fetch) if input.changelog => self.any_rows(input, skip, fetch),
            (_, Some(n)) if skip == 0 => Ok(self.add("limit", Kind::Limit(n), vec![input], schema)),
            _ => Err(Error::unsupported("OFFSET on a stream is not supported")),
        }
    }

    pub(super) fn sort(&mut self, sort: &LogicalSort) -> Result<Node> {
        if self.corrected() && sort.fetch.is_none() && self.consumer == Consumer::Operator {
            // The order of rows that go into an operator says nothing.
            return self.node(&sort.input);
        }
        if self.corrected() {
            return self.first_rows(sort, 0, None);
        }
        let input = self.node(&sort.input)?;
        let input = self.whole(input);
        let schema = arrow_schema(sort.input.schema());
        let width = schema.fields().len();
        let (input, keys) = self.sort_keys(input, &sort.expr, sort.input.schema(), width)?;
        let kind = Kind::Sort(Sort { keys, limit: sort.fetch, offset: 0, width });
        Ok(self.add("sort", kind, vec![input], schema))
    }

    /// Appends the sort keys as columns behind the `width` columns of the rows.
    pub(super) fn sort_keys(
        &mut self,
        input: Node,
        keys: &[SortExpr],
        schema: &DFSchema,
        width: usize,
    ) -> Result<(Node, SortKeys)> {
        let exprs: Vec<Expr> = keys.iter().map(|key| key.expr.clone()).collect();
        let mut columns = expression::columns(schema.as_arrow(), 0..width);
        columns.extend(expression::physical_all(&exprs, schema)?);
        let mut fields: Vec<_> = arrow_schema(schema).fields().iter().cloned().collect();
        for (n, column) in columns[width..].iter().enumerate() {
            let data_type = column.data_type(schema.as_arrow())?;
            fields.push(std::sync::Arc::new(arrow::datatypes::Field::new(format!("_sort_{n}"), data_type, true)));
        }
        let extended: SchemaRef = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
        let as_df = DFSchema::try_from(extended.as_ref().clone())?;
        let node = self.step(input, Step::Project(columns, extended), &as_df);
        let order = keys.iter().enumerate().map(|(n, key)| (width + n, !key.asc, key.nulls_first)).collect();
        Ok((node, order))
    }
}

fn bounds(limit: &Limit) -> Result<(usize, Option<usize>)> {
    let SkipType::Literal(skip) = limit.get_skip_type()? else {
        return Err(Error::unsupported("an OFFSET that is not a number is not supported on a stream"));
    };
    let FetchType::Literal(fetch) = limit.get_fetch_type()? else {
        return Err(Error::unsupported("a LIMIT that is not a number is not supported on a stream"));
    };
    Ok((skip, fetch))
}

/// The last step's output gets the names of `schema`.
pub(super) fn rename_last(steps: &mut [Step], schema: &SchemaRef) {
    if let Some(Step::Project(_, last)) = steps.last_mut() {
        *last = schema.clone();
    }
}
