//! Generators (`explode`, `posexplode`, `inline`, `stack`, `json_tuple`, ...): each row becomes none or several rows.
//!
//! In: rows. Out: for each row that the generator makes of an input row, the input's columns and then the generator's.
//! With `outer`, a row for which the generator makes nothing stays, with nulls.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{DFSchemaRef, Result, TableReference, internal_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::{extended, passing, single, without_order};

/// Applies a generator to each row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Generate {
    /// What comes in.
    pub input: Arc<LogicalPlan>,
    /// The call of the generator's marker function.
    pub generator: Expr,
    /// Keep rows for which the generator makes nothing.
    pub outer: bool,
    /// Qualifier of the generator's columns.
    pub qualifier: Option<TableReference>,
    /// The generator's columns.
    pub fields: Vec<FieldRef>,
    schema: DFSchemaRef,
}

impl Generate {
    /// Applies `generator`, whose columns are called as in `fields`.
    ///
    /// # Errors
    /// If a new column has the qualified name of one of the input's.
    pub fn try_new(
        input: Arc<LogicalPlan>,
        generator: Expr,
        outer: bool,
        qualifier: Option<TableReference>,
        fields: Vec<FieldRef>,
    ) -> Result<Self> {
        let more = fields.iter().map(|field| (qualifier.clone(), Arc::clone(field))).collect();
        let schema = extended(&input, more)?;
        Ok(Self { input, generator, outer, qualifier, fields, schema })
    }
}

without_order!(Generate);

impl UserDefinedLogicalNodeCore for Generate {
    fn name(&self) -> &str {
        "Generate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![self.generator.clone()]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.fields.iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let names: Vec<_> = self.fields.iter().map(|field| field.name().as_str()).collect();
        let outer = if self.outer { ", outer" } else { "" };
        write!(f, "Generate: {} AS [{}]{outer}", self.generator, names.join(", "))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([generator]) = <[Expr; 1]>::try_from(exprs) else {
            return internal_err!("a generator node has one expression");
        };
        Self::try_new(single(inputs)?, generator, self.outer, self.qualifier.clone(), self.fields.clone())
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        passing(output_columns, self.input.schema().fields().len())
    }
}
