//! `transformWithState`, `flatMapGroupsWithState`, `mapGroupsWithState`: a function of the program over each key's rows and
//! state.
//!
//! In: rows, and maybe a static table of initial state. Out: what the function makes, under columns of its own. What always
//! holds: two nodes are equal only if they share one function, and no condition moves from above the function to below it.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{WATERMARK_DELAY, event_time_index, qualified_fields, watermark_delay_millis, without_order};
use crate::stateful::{StateFunction, TimeMode};

/// Calls a function for each key.
#[derive(Debug, Clone)]
pub struct ArbitraryState {
    /// What comes in.
    pub input: Arc<LogicalPlan>,
    /// The key: columns of the input.
    pub keys: Vec<Column>,
    /// Rows that are there before the first row comes, and their key columns.
    pub initial: Option<(Arc<LogicalPlan>, Vec<Column>)>,
    /// The output column that is event time, with the watermark of the input.
    pub event_time: Option<String>,
    /// The function.
    pub(crate) function: Arc<StateFunction>,
    schema: DFSchemaRef,
}

impl ArbitraryState {
    /// Calls `function` for each combination of the columns `keys` of `input`.
    ///
    /// # Errors
    /// If the function makes two columns of one name.
    pub(crate) fn try_new(
        input: Arc<LogicalPlan>,
        keys: Vec<Column>,
        initial: Option<(Arc<LogicalPlan>, Vec<Column>)>,
        event_time: Option<String>,
        function: Arc<StateFunction>,
    ) -> Result<Self> {
        let delay = event_time_index(input.schema()).and_then(|at| watermark_delay_millis(input.schema().field(at)));
        let mut fields = qualified_fields(&DFSchema::try_from(function.makes.as_ref().clone())?);
        for (_, field) in fields.iter_mut().filter(|(_, field)| Some(field.name()) == event_time.as_ref()) {
            let mark = delay.map(|delay| (WATERMARK_DELAY.to_owned(), delay.to_string()));
            *field = Arc::new(field.as_ref().clone().with_metadata(mark.into_iter().collect()));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(Self { input, keys, initial, event_time, function, schema })
    }

    /// Where the key columns are among the input's columns.
    ///
    /// # Errors
    /// If a rewrite lost a column, which would be a bug.
    pub fn key_indexes(&self) -> Result<Vec<usize>> {
        indexes(&self.input, &self.keys)
    }

    /// Where the key columns of the initial state are among its columns.
    ///
    /// # Errors
    /// If a rewrite lost a column, which would be a bug.
    pub fn initial_key_indexes(&self) -> Result<Vec<usize>> {
        self.initial.as_ref().map_or(Ok(Vec::new()), |(plan, keys)| indexes(plan, keys))
    }

    /// Whether it looks at event times, so that rows behind the watermark are dropped.
    pub fn drops_late_rows(&self) -> bool {
        self.function.time == TimeMode::EventTime && event_time_index(self.input.schema()).is_some()
    }

    /// Indexes of the columns that the function reads; none if they are not known.
    fn read(&self) -> Option<Vec<usize>> {
        let place = |name: &String| self.input.schema().fields().iter().position(|field| field.name() == name);
        self.function.reads.as_ref()?.iter().map(place).collect()
    }
}

fn indexes(plan: &LogicalPlan, columns: &[Column]) -> Result<Vec<usize>> {
    columns.iter().map(|column| plan.schema().index_of_column(column)).collect()
}

impl PartialEq for ArbitraryState {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.function, &other.function)
            && (&self.input, &self.keys, &self.initial, &self.event_time)
                == (&other.input, &other.keys, &other.initial, &other.event_time)
    }
}

impl Eq for ArbitraryState {}

impl Hash for ArbitraryState {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.function).hash(state);
        (&self.input, &self.keys).hash(state);
    }
}

without_order!(ArbitraryState);

impl UserDefinedLogicalNodeCore for ArbitraryState {
    fn name(&self) -> &str {
        "ArbitraryState"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        let initial = self.initial.as_ref().map(|(plan, _)| plan.as_ref());
        std::iter::once(self.input.as_ref()).chain(initial).collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.iter().cloned().map(Expr::Column).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
        write!(f, "ArbitraryState: {} by [{}], time={:?}", self.function.name, keys.join(", "), self.function.time)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let keys = exprs.into_iter().map(|expr| match expr {
            Expr::Column(column) => Ok(column),
            other => internal_err!("a key of a state became '{other}'"),
        });
        let keys = keys.collect::<Result<_>>()?;
        let mut inputs = inputs.into_iter().map(Arc::new);
        let Some(input) = inputs.next() else {
            return internal_err!("a node of state was given no input");
        };
        let initial = match (&self.initial, inputs.next()) {
            (Some((_, keys)), Some(plan)) => Some((plan, keys.clone())),
            (None, None) => None,
            _ => return internal_err!("a node of state was given another number of inputs"),
        };
        Self::try_new(input, keys, initial, self.event_time.clone(), Arc::clone(&self.function))
    }

    /// What the function reads, the keys, and the event time, by which late rows are known. The initial state is read whole.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = self.read()?;
        needed.extend(self.key_indexes().ok()?);
        needed.extend(event_time_index(self.input.schema()));
        needed.sort_unstable();
        needed.dedup();
        let initial = self.initial.as_ref().map(|(plan, _)| (0..plan.schema().fields().len()).collect());
        Some(std::iter::once(needed).chain(initial).collect())
    }
}
