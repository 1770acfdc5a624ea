//! Grouping by `session_window`: per key, sessions that overlap or touch become one, and its rows are aggregated.
//!
//! In: rows with a session column made by [`super::SessionWindow`]. Out: the keys, the merged session, the aggregates,
//! in this order; column names are those of the expressions.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{single, without_order};

/// Merges sessions per key and aggregates them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionAggregate {
    /// What comes in.
    pub input: Arc<LogicalPlan>,
    /// The other grouping expressions; may be empty in batch queries.
    pub keys: Vec<Expr>,
    /// The session column of the input.
    pub session: Column,
    /// The aggregate functions' calls.
    pub aggregates: Vec<Expr>,
    schema: DFSchemaRef,
}

impl SessionAggregate {
    /// Groups `input` by `keys` and the session column.
    ///
    /// # Errors
    /// If an expression has no type over the input, or two output columns have one qualified name.
    pub fn try_new(input: Arc<LogicalPlan>, keys: Vec<Expr>, session: Column, aggregates: Vec<Expr>) -> Result<Self> {
        let window = Expr::Column(session.clone());
        let columns = keys.iter().chain([&window]).chain(&aggregates);
        let fields = columns.map(|expr| expr.to_field(input.schema().as_ref())).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(Self { input, keys, session, aggregates, schema })
    }

    /// Where the session column is among the input's columns.
    ///
    /// # Errors
    /// If a rewrite lost the column, which would be a bug.
    pub fn session_index(&self) -> Result<usize> {
        self.input.schema().index_of_column(&self.session)
    }
}

without_order!(SessionAggregate);

impl UserDefinedLogicalNodeCore for SessionAggregate {
    fn name(&self) -> &str {
        "SessionAggregate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// The keys, the session column, the aggregates.
    fn expressions(&self) -> Vec<Expr> {
        let session = Expr::Column(self.session.clone());
        self.keys.iter().cloned().chain([session]).chain(self.aggregates.iter().cloned()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let list = |exprs: &[Expr]| exprs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "SessionAggregate: keys=[{}], session={}", list(&self.keys), self.session)?;
        write!(f, ", aggregates=[{}]", list(&self.aggregates))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut exprs = exprs.into_iter();
        let keys = exprs.by_ref().take(self.keys.len()).collect();
        let Some(Expr::Column(session)) = exprs.next() else {
            return internal_err!("the session column became something else");
        };
        Self::try_new(single(inputs)?, keys, session, exprs.collect())
    }

    /// Only what the expressions name, which the caller adds.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![Vec::new()])
    }
}
