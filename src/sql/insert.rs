//! Rows of a query as a table takes them: the columns of INSERT by position, by name, or by a list.
//!
//! In: a query's plan, and the columns that a table was declared with. Out: a plan with just these columns, in their order and of their types;
//! columns that the statement leaves out are null. Values are converted where Spark's store assignment (ANSI) does so: between
//! numbers, between dates and timestamps, and from anything simple to STRING. A table that was declared without columns takes
//! rows as they are, or under the names of the list.

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};

use super::resolve::unresolved;
use crate::conf::Conf;
use crate::frame::DataFrame;
use crate::functions::cast::{Mode, cast};
use crate::types::sql_name;
use crate::{Error, Result, types};

/// Which column of the query goes into which column of the table.
pub(super) enum Columns {
    /// The first into the first.
    ByPosition,
    /// Those of one name.
    ByName,
    /// The first into the first of these; the others are null.
    Listed(Vec<String>),
}

/// A frame with the columns of a table of its session, by position.
///
/// # Errors
/// As [`fitted`].
pub(crate) fn fitted_frame(frame: &DataFrame, table: &str) -> Result<DataFrame> {
    let session = frame.session();
    let declared = session.catalog().declared(table);
    let plan = fitted(frame.plan().clone(), &Columns::ByPosition, table, declared.as_ref(), &session.conf())?;
    Ok(DataFrame::new(session.clone(), plan))
}

/// The plan with the columns of a table.
///
/// # Errors
/// `INSERT_COLUMN_ARITY_MISMATCH.*`, `INCOMPATIBLE_DATA_FOR_TABLE.*`, and names in the list that the table does not have or that are there
/// twice.
pub(super) fn fitted(
    plan: LogicalPlan,
    columns: &Columns,
    table: &str,
    declared: Option<&SchemaRef>,
    conf: &Conf,
) -> Result<LogicalPlan> {
    let schema = match (declared, columns) {
        (Some(schema), _) => schema,
        (None, Columns::Listed(names)) => return renamed(plan, names, table),
        (None, _) => return Ok(plan),
    };
    let places = places(plan.schema(), columns, table, schema)?;
    let as_it_is = |(at, (place, field)): (usize, (&Option<usize>, &std::sync::Arc<Field>))| {
        let given = plan.schema().fields().get(at);
        *place == Some(at)
            && given.is_some_and(|given| given.name() == field.name() && given.data_type() == field.data_type())
    };
    let count = plan.schema().fields().len();
    if count == places.len() && places.iter().zip(schema.fields()).enumerate().all(as_it_is) {
        return Ok(plan);
    }
    let one = |(place, field): (Option<usize>, &std::sync::Arc<Field>)| match place {
        Some(at) => stored(plan.schema(), at, field, table, conf),
        None => Ok(lit(ScalarValue::try_from(field.data_type())?).alias(field.name())),
    };
    let exprs = places.into_iter().zip(schema.fields()).map(one).collect::<Result<Vec<_>>>()?;
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}

/// The columns of the query under these names.
fn renamed(plan: LogicalPlan, names: &[String], table: &str) -> Result<LogicalPlan> {
    let given = plan.schema().fields().len();
    if given != names.len() {
        return Err(arity(given > names.len(), plan.schema(), names, table));
    }
    let one = |(at, name)| Expr::Column(Column::from(plan.schema().qualified_field(at))).alias(name);
    let exprs: Vec<Expr> = names.iter().enumerate().map(one).collect();
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}

/// For each column of the table its column of the query, if it has one.
fn places(query: &DFSchema, columns: &Columns, table: &str, schema: &SchemaRef) -> Result<Vec<Option<usize>>> {
    let given = query.fields().len();
    let names = match columns {
        Columns::ByPosition => schema.fields().iter().map(|field| field.name().clone()).collect(),
        Columns::Listed(names) => names.clone(),
        Columns::ByName => query.fields().iter().map(|field| field.name().clone()).collect(),
    };
    let mut places = vec![None; schema.fields().len()];
    for (at, name) in names.iter().enumerate() {
        let found = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
        let to = found.ok_or_else(|| unknown(name, columns, table, schema))?;
        if places[to].replace(at).is_some() {
            return Err(twice(name, columns, table));
        }
    }
    match given.cmp(&names.len()) {
        std::cmp::Ordering::Equal => Ok(places),
        other => Err(arity(other.is_gt(), query, &names, table)),
    }
}

fn unknown(name: &str, columns: &Columns, table: &str, schema: &SchemaRef) -> Error {
    match (columns, DFSchema::try_from(schema.as_ref().clone())) {
        (Columns::Listed(_), Ok(schema)) => unresolved(&[name], &schema),
        _ => incompatible("EXTRA_COLUMNS", table, &format!("it has no column `{name}`")),
    }
}

fn twice(name: &str, columns: &Columns, table: &str) -> Error {
    match columns {
        Columns::ByName => {
            incompatible("AMBIGUOUS_COLUMN_NAME", table, &format!("the rows have column `{name}` twice"))
        }
        _ => Error::query("COLUMN_ALREADY_EXISTS", format!("the column `{name}` is there twice")),
    }
}

fn incompatible(kind: &str, table: &str, why: &str) -> Error {
    let condition = format!("INCOMPATIBLE_DATA_FOR_TABLE.{kind}");
    Error::query(condition, format!("the rows do not fit the table `{table}`: {why}"))
}

fn arity(more: bool, query: &DFSchema, names: &[String], table: &str) -> Error {
    let kind = if more { "TOO_MANY_DATA_COLUMNS" } else { "NOT_ENOUGH_DATA_COLUMNS" };
    let quoted = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let given: Vec<String> = query.fields().iter().map(|field| field.name().clone()).collect();
    Error::query(
        format!("INSERT_COLUMN_ARITY_MISMATCH.{kind}"),
        format!("cannot write to `{table}`: its columns are {}, the query's {}", quoted(names), quoted(&given)),
    )
    .hint("Name the columns to write behind the table: INSERT INTO t (a, b) SELECT ...")
}

/// A column of the query as the table keeps it.
fn stored(query: &DFSchema, at: usize, field: &Field, table: &str, conf: &Conf) -> Result<Expr> {
    let column = Expr::Column(Column::from(query.qualified_field(at)));
    let from = query.field(at).data_type();
    if !is_storable(from, field.data_type()) {
        let (from, to) = (sql_name(from), sql_name(field.data_type()));
        let why = format!("cannot safely cast `{}` \"{from}\" to \"{to}\"", field.name());
        return Err(incompatible("CANNOT_SAFELY_CAST", table, &why).hint("Cast it in the query."));
    }
    Ok(cast(column, field.data_type(), Mode::Ansi, query, conf)?.alias(field.name()))
}

/// Whether a value of one type may be stored as another: `Cast.canANSIStoreAssign` of Spark.
fn is_storable(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, List, Null, Struct, Timestamp, Utf8};
    match (from, to) {
        _ if from == to => true,
        (Null, _) => true,
        (List(from), List(to)) => is_storable(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => {
            let pairs = || from.iter().zip(to.iter());
            from.len() == to.len() && pairs().all(|(from, to)| is_storable(from.data_type(), to.data_type()))
        }
        (DataType::Map(..), DataType::Map(..)) => {
            let types = types::map_types(from).zip(types::map_types(to));
            types.is_some_and(|((key, value), (to_key, to_value))| {
                is_storable(key.data_type(), to_key.data_type()) && is_storable(value.data_type(), to_value.data_type())
            })
        }
        (_, Utf8) => !from.is_nested() && !types::is_variant(from),
        (Date32 | Timestamp(..), Date32 | Timestamp(..)) => true,
        _ => from.is_numeric() && to.is_numeric(),
    }
}
