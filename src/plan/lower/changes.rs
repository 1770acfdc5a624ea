//! Changelog edges in the plan: how the sign passes stateless steps, and the last step before the sink.
//!
//! In: nodes whose output is a changelog, and what the query is to put out. Out: nodes whose schema ends in the sign, or rows as
//! the sink wants them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use thalweg_operators::change::net::View;
use thalweg_operators::change::{INSERT, RETRACT, inserted, of_sign, retracted, with_change, without_change};

use super::super::batch::kernels::Expand;
use super::super::dataflow::{Kind, Node, Step};
use super::{Lowering, Wanted};
use crate::sinks::OutputMode;
use crate::{Error, Result};

impl Lowering {
    /// Adds what makes of the last node's rows what the sink is to be given.
    pub(super) fn finish(&mut self, root: Node, wanted: Wanted) -> Result<Node> {
        match (wanted.mode, wanted.changelog) {
            (OutputMode::Complete, true) => Err(Error::invalid("option 'changelog' has no meaning in complete mode")
                .hint("Use update mode: complete mode gives the whole table each time.")),
            (_, true) => {
                let root = self.signed(root, true);
                Ok(self.last("changes", Kind::Net(View::Changelog), root))
            }
            (OutputMode::Complete, false) => Ok(self.whole(root)),
            (_, false) if root.changelog => Ok(self.last("upserts", Kind::Net(View::Upserts), root)),
            _ => Ok(root),
        }
    }

    /// In complete mode: the whole table each epoch, kept if the node gives changes of it.
    pub(super) fn whole(&mut self, node: Node) -> Node {
        if node.changelog || !(self.as_spark || is_whole(&node)) { self.last("table", Kind::Table, node) } else { node }
    }

    fn last(&mut self, name: &str, kind: Kind, root: Node) -> Node {
        let changelog = matches!(kind, Kind::Net(View::Changelog));
        let bare = if root.changelog { without_change(&root.schema) } else { root.schema.clone() };
        self.add_signed(name, kind, vec![root], bare, changelog)
    }

    /// Append-only rows as a changelog of insertions, where one is wanted.
    pub(super) fn signed(&mut self, mut node: Node, changelog: bool) -> Node {
        if !changelog || node.changelog {
            return node;
        }
        let schema = with_change(&node.schema);
        let mut columns = super::expression::columns(&node.schema, 0..node.schema.fields().len());
        columns.push(Arc::new(Literal::new(ScalarValue::Int8(Some(INSERT)))));
        let step = Step::Project(columns, schema.clone());
        if let Kind::Map(steps) = &mut node.kind {
            steps.push(step);
            return Node { schema, changelog: true, ..node };
        }
        self.nodes += 1;
        let id = format!("map-{}", self.nodes - 1);
        Node { id, kind: Kind::Map(vec![step]), inputs: vec![node], schema, changelog: true }
    }
}

/// Whether a node puts out its whole table each epoch, as aggregations do in complete mode.
fn is_whole(node: &Node) -> bool {
    use thalweg_operators::group::Mode::Complete;
    match &node.kind {
        Kind::Group(group) => group.mode == Complete,
        Kind::Session(session) => session.mode == Complete,
        Kind::Sort(_) | Kind::Table => true,
        Kind::Map(_) | Kind::StaticJoin(_) | Kind::Union | Kind::Dedup(_) => node.inputs.iter().all(is_whole),
        _ => false,
    }
}

/// The step as it is over a changelog: `input` is its input's schema, the sign last.
pub(super) fn with_sign(step: Step, input: &SchemaRef) -> Step {
    match step {
        Step::Filter(condition) => Step::Filter(condition),
        Step::Project(mut columns, schema) => {
            let last = input.fields().len().saturating_sub(1);
            columns.push(Arc::new(Column::new(input.field(last).name(), last)) as Arc<dyn PhysicalExpr>);
            Step::Project(columns, with_change(&schema))
        }
        Step::Expand(kernel) => Step::Expand(Arc::new(Signed(kernel))),
    }
}

/// A kernel over a changelog: what it makes of a row has the row's sign.
struct Signed(Arc<dyn Expand>);

impl Expand for Signed {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn expand(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let gone = retracted(&self.0.expand(&of_sign(rows, RETRACT)?)?)?;
        let come = inserted(&self.0.expand(&of_sign(rows, INSERT)?)?)?;
        Ok(concat_batches(&come.schema(), [&gone, &come])?)
    }

    fn reading(&self, columns: &[usize]) -> Option<Arc<dyn Expand>> {
        self.0.reading(columns).map(|kernel| Arc::new(Signed(kernel)) as Arc<dyn Expand>)
    }
}
