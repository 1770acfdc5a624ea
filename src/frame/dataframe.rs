//! `DataFrame`: a query under construction.
//!
//! In: Spark's transformations. Out: a new DataFrame over a larger plan; the old one stays as it is. Nothing runs until
//! an action (`collect`, `show`, `count`, `write`) or, on a stream, `write_stream().start()`.

mod actions;
mod transform;
mod typed;

pub(super) use transform::items;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;

use super::column::{Column, expr};
use crate::Result;
use crate::io::DataFrameWriter;
use crate::plan::scan::is_streaming;
use crate::session::Session;
use crate::sql::binder::Binder;
use crate::sql::join::On;
use crate::types;

/// A query over static data or streams. Cheap to clone.
#[derive(Clone)]
pub struct DataFrame {
    session: Session,
    plan: Arc<LogicalPlan>,
}

impl DataFrame {
    pub(crate) fn new(session: Session, plan: LogicalPlan) -> Self {
        Self { session, plan: Arc::new(plan) }
    }

    /// The session it belongs to.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Its logical plan.
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    pub(super) fn bound(&self, bind: impl FnOnce(&Binder<'_>, LogicalPlan) -> Result<LogicalPlan>) -> Result<Self> {
        let plan = self.session.with_binder(|binder| bind(binder, self.plan.as_ref().clone()))?;
        Ok(Self::new(self.session.clone(), plan))
    }

    /// Its columns.
    pub fn schema(&self) -> SchemaRef {
        let fields = self.plan.schema().fields().clone();
        Arc::new(Schema::new(fields))
    }

    /// The names of its columns.
    pub fn columns(&self) -> Vec<String> {
        self.plan.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// The names and types of its columns, types as Spark's short names (`bigint`).
    pub fn dtypes(&self) -> Vec<(String, String)> {
        let fields = self.plan.schema().fields().iter();
        fields.map(|field| (field.name().clone(), types::column_type_name(field))).collect()
    }

    /// Writes the result of a streaming query while it runs.
    pub fn write_stream(&self) -> crate::query::DataStreamWriter {
        crate::query::DataStreamWriter::new(self.clone())
    }

    /// True if some of its sources never ends.
    pub fn is_streaming(&self) -> bool {
        is_streaming(&self.plan)
    }

    /// Writes its rows to a sink, once.
    pub fn write(&self) -> DataFrameWriter {
        DataFrameWriter::new(self.clone())
    }

    /// Names it for SQL, in place of what had the name before.
    ///
    /// # Errors
    /// None today; a name may be refused later.
    pub fn create_or_replace_temp_view(&self, name: &str) -> Result<()> {
        self.session.catalog().add_view(name, self.plan.as_ref().clone(), true)
    }

    /// Names it for SQL.
    ///
    /// # Errors
    /// `TEMP_TABLE_OR_VIEW_ALREADY_EXISTS` if the name is taken.
    pub fn create_temp_view(&self, name: &str) -> Result<()> {
        self.session.catalog().add_view(name, self.plan.as_ref().clone(), false)
    }
}

impl std::fmt::Debug for DataFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns: Vec<String> = self.dtypes().into_iter().map(|(name, kind)| format!("{name}: {kind}")).collect();
        write!(f, "DataFrame[{}]", columns.join(", "))
    }
}

/// A condition: a column, or the text of an SQL expression.
pub trait Condition {
    /// The condition as a column.
    fn into_condition(self) -> Column;
}

impl Condition for Column {
    fn into_condition(self) -> Column {
        self
    }
}

impl Condition for &Column {
    fn into_condition(self) -> Column {
        self.clone()
    }
}

impl Condition for &str {
    fn into_condition(self) -> Column {
        expr(self)
    }
}

impl Condition for String {
    fn into_condition(self) -> Column {
        expr(&self)
    }
}

/// What a join compares: a condition, or columns that both sides have.
#[derive(Debug, Clone)]
pub enum JoinOn {
    /// A condition over both sides.
    Condition(Box<Column>),
    /// Columns of the same name are equal, and come once in the result.
    Using(Vec<String>),
}

impl JoinOn {
    fn resolve(self) -> Result<On> {
        Ok(match self {
            JoinOn::Condition(condition) => On::Condition(Box::new(condition.tree()?)),
            JoinOn::Using(columns) => On::Using(columns),
        })
    }
}

impl From<Column> for JoinOn {
    fn from(condition: Column) -> Self {
        JoinOn::Condition(Box::new(condition))
    }
}

impl From<&str> for JoinOn {
    fn from(column: &str) -> Self {
        JoinOn::Using(vec![column.to_string()])
    }
}

impl<const N: usize> From<[&str; N]> for JoinOn {
    fn from(columns: [&str; N]) -> Self {
        JoinOn::Using(columns.map(str::to_string).into())
    }
}

impl From<&[&str]> for JoinOn {
    fn from(columns: &[&str]) -> Self {
        JoinOn::Using(columns.iter().map(ToString::to_string).collect())
    }
}

impl From<Vec<String>> for JoinOn {
    fn from(columns: Vec<String>) -> Self {
        JoinOn::Using(columns)
    }
}
