//! A step written by the program: a function from rows to rows, without state (`map_items`, `filter_items`,
//! `flat_map_items`).
//!
//! In: rows. Out: what the function makes of them, under columns of its own or, for a filter, the input's. What always
//! holds: two steps are equal only if they share one function, and no condition moves from above the function to below it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{single, without_order};

/// Rows to rows.
type Run = dyn Fn(&RecordBatch) -> crate::Result<RecordBatch> + Send + Sync;

/// A function of the program, as the plan carries it.
pub struct ItemFunction {
    /// What `explain` prints, e.g. `map_items(Order -> Line)`.
    pub name: String,
    /// The columns of its input that it reads, if they are known.
    pub reads: Option<Vec<String>>,
    /// The columns it makes; none if it passes rows on as they are (or does not).
    pub makes: Option<SchemaRef>,
    /// The function. It finds columns by name, and may get more than it reads.
    pub run: Box<Run>,
}

impl fmt::Debug for ItemFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Applies a function of the program to the rows.
#[derive(Debug, Clone)]
pub struct MapItems {
    /// What comes in.
    pub input: Arc<LogicalPlan>,
    /// The function.
    pub function: Arc<ItemFunction>,
    schema: DFSchemaRef,
}

impl MapItems {
    /// Applies `function` to the rows of `input`.
    ///
    /// # Errors
    /// If the function makes two columns of one name.
    pub fn try_new(input: Arc<LogicalPlan>, function: Arc<ItemFunction>) -> Result<Self> {
        let schema = match &function.makes {
            Some(schema) => Arc::new(DFSchema::try_from(schema.as_ref().clone())?),
            None => Arc::clone(input.schema()),
        };
        Ok(Self { input, function, schema })
    }

    /// Indexes of the columns that the function reads; none if they are not known.
    fn read(&self) -> Option<Vec<usize>> {
        let place = |name: &String| self.input.schema().fields().iter().position(|field| field.name() == name);
        self.function.reads.as_ref()?.iter().map(place).collect()
    }
}

impl PartialEq for MapItems {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.function, &other.function) && self.input == other.input
    }
}

impl Eq for MapItems {}

impl Hash for MapItems {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.function).hash(state);
        self.input.hash(state);
    }
}

without_order!(MapItems);

impl UserDefinedLogicalNodeCore for MapItems {
    fn name(&self) -> &str {
        "MapItems"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "MapItems: {}", self.function.name)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        Self::try_new(single(inputs)?, Arc::clone(&self.function))
    }

    /// What the function reads; a filter's rows also need what is wanted of them.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = self.read()?;
        if self.function.makes.is_none() {
            needed.extend(output_columns);
        }
        if needed.is_empty() {
            return None;
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
