//! Which column of the rows goes to which column of the table, and the statements for it.
//!
//! In: the schema of the rows, the table, the settings. Out: [`Layout`]: checked before anything runs, with errors that name the
//! columns. All columns of the primary key come first in a statement's values.

use arrow::datatypes::{DataType, SchemaRef};
use thalweg_operators::change::CHANGE;

use super::settings::{PerRow, Settings};
use crate::cassandra::convert::fits;
use crate::cassandra::table::{Table, TableColumn, names, quoted};
use crate::options::nearest;
use crate::{Error, Result, types};

/// A column of the rows and the table's column that it goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bind {
    /// Which column of the rows.
    pub from: usize,
    /// Where it goes.
    pub to: TableColumn,
}

/// Where a number that each row needs comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// It is the same for all rows.
    Fixed(i64),
    /// It stands in this column of the rows.
    Column(usize),
}

/// The timestamp of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    /// Rising from the epoch's beginning.
    Epoch,
    /// As the user says.
    Given(Number),
    /// Cassandra's own: writes with a condition.
    Server,
}

/// How rows become statements.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The full name of the table, for errors.
    pub table: String,
    /// The primary key's columns first.
    pub binds: Vec<Bind>,
    /// So many of the first are the partition key ...
    pub partition_key: usize,
    /// ... and so many the primary key.
    pub key: usize,
    pub stamp: Stamp,
    pub ttl: Option<Number>,
    /// The column of signs, if the rows are a changelog.
    pub sign: Option<usize>,
    pub insert: String,
    pub delete: String,
}

impl Layout {
    /// Finds and checks the columns.
    ///
    /// # Errors
    /// Columns that the table does not have, or of other types; columns of its key that the rows do not have; a table of counters.
    pub(super) fn of(schema: &SchemaRef, table: &Table, settings: &Settings) -> Result<Layout> {
        if table.counts() {
            return Err(Error::unsupported(format!(
                "{} has counters, which can't be written twice with one result",
                table.name
            ))
            .hint("Compute the sums in the query and write them to a table with bigint columns."));
        }
        let sign = schema.fields().iter().position(|field| field.name() == CHANGE);
        let per_row = |given: &Option<PerRow>| given.as_ref().map(|given| number(given, schema)).transpose();
        let (ttl, timestamp) = (per_row(&settings.ttl)?, per_row(&settings.timestamp)?);
        let apart = [sign, column(ttl), column(timestamp)];
        let mut binds = binds(schema, table, |n| apart.contains(&Some(n)))?;
        check_key(table, &binds)?;
        binds.sort_by_key(|bind| table.columns.iter().position(|column| column.name == bind.to.name));
        let stamp = match timestamp {
            _ if settings.if_not_exists => Stamp::Server,
            Some(number) => Stamp::Given(number),
            None => Stamp::Epoch,
        };
        let layout = Layout {
            table: table.name.to_string(),
            insert: insert(table, &binds, settings.if_not_exists, ttl.is_some()),
            delete: delete(table, stamp),
            binds,
            partition_key: table.partition_key,
            key: table.key().len(),
            stamp,
            ttl,
            sign,
        };
        if layout.sign.is_some() && stamp == Stamp::Server {
            return Err(Error::invalid("a changelog can't be written with a condition")
                .hint("Leave out 'spark.cassandra.output.ifNotExists'."));
        }
        Ok(layout)
    }
}

fn column(number: Option<Number>) -> Option<usize> {
    match number {
        Some(Number::Column(column)) => Some(column),
        _ => None,
    }
}

fn number(given: &PerRow, schema: &SchemaRef) -> Result<Number> {
    let name = match given {
        PerRow::Fixed(number) => return Ok(Number::Fixed(*number)),
        PerRow::Column(name) => name,
    };
    let found = schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(name));
    let found = found.ok_or_else(|| missing(name, schema))?;
    match schema.field(found).data_type() {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Ok(Number::Column(found)),
        other => {
            let what = types::sql_name(other);
            Err(Error::invalid(format!("column '{name}' is {what}; a timestamp or time to live is a whole number")))
        }
    }
}

fn missing(name: &str, schema: &SchemaRef) -> Error {
    let error = Error::query("UNRESOLVED_COLUMN.WITH_SUGGESTION", format!("the rows have no column '{name}'"));
    match nearest(name, schema.fields().iter().map(|field| field.name().as_str())) {
        Some(near) => error.hint(format!("Did you mean '{near}'?")),
        None => error,
    }
}

/// Finds the table's column for each of the rows' but those that stand apart.
fn binds(schema: &SchemaRef, table: &Table, apart: impl Fn(usize) -> bool) -> Result<Vec<Bind>> {
    let (mut binds, mut unknown, mut unfit) = (Vec::<Bind>::new(), Vec::new(), Vec::new());
    for (from, field) in schema.fields().iter().enumerate().filter(|(n, _)| !apart(*n)) {
        let Some(to) = find(table, field.name()) else {
            unknown.push(field.name().as_str());
            continue;
        };
        if !fits(field.data_type(), &to.cql) {
            unfit.push(format!(
                "{} is {}, the table's is {}",
                field.name(),
                types::sql_name(field.data_type()),
                to.cql
            ));
        }
        if binds.iter().any(|bind| bind.to == *to) {
            return Err(Error::query("COLUMN_ALREADY_EXISTS", format!("column '{}' is there twice", field.name())));
        }
        binds.push(Bind { from, to: to.clone() });
    }
    if !unknown.is_empty() {
        return Err(no_columns(table, &unknown));
    }
    if !unfit.is_empty() {
        return Err(Error::query(
            "INCOMPATIBLE_DATA_FOR_TABLE.CANNOT_SAFELY_CAST",
            format!("columns do not fit {}: {}", table.name, unfit.join("; ")),
        )
        .hint("Cast them in the query."));
    }
    Ok(binds)
}

/// The table's column of this name; of names that differ in case only, the one that is the same.
fn find<'a>(table: &'a Table, name: &str) -> Option<&'a TableColumn> {
    let exact = table.columns.iter().find(|column| column.name == name);
    exact.or_else(|| table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
}

fn no_columns(table: &Table, unknown: &[&str]) -> Error {
    let known: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    Error::query(
        "INCOMPATIBLE_DATA_FOR_TABLE.EXTRA_COLUMNS",
        format!("{} has no columns {}", table.name, unknown.join(", ")),
    )
    .hint(format!("It has {}. Rename or leave out the others with select(...).", known.join(", ")))
}

fn check_key(table: &Table, binds: &[Bind]) -> Result<()> {
    let has = |column: &&TableColumn| binds.iter().any(|bind| bind.to.name == column.name);
    let missing: Vec<&str> =
        table.key().iter().filter(|column| !has(column)).map(|column| column.name.as_str()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::query(
        "INCOMPATIBLE_DATA_FOR_TABLE.CANNOT_FIND_DATA",
        format!("the rows lack columns of the primary key of {}: {}", table.name, missing.join(", ")),
    )
    .hint("A row of Cassandra can only be written with its whole primary key."))
}

fn insert(table: &Table, binds: &[Bind], if_not_exists: bool, ttl: bool) -> String {
    let markers = vec!["?"; binds.len()].join(", ");
    let columns = names(binds.iter().map(|bind| &bind.to));
    let using = match (if_not_exists, ttl) {
        (true, false) => " IF NOT EXISTS",
        (true, true) => " IF NOT EXISTS USING TTL ?",
        (false, false) => " USING TIMESTAMP ?",
        (false, true) => " USING TIMESTAMP ? AND TTL ?",
    };
    format!("INSERT INTO {} ({columns}) VALUES ({markers}){using}", table.quoted())
}

/// The timestamp comes first in a deletion.
fn delete(table: &Table, stamp: Stamp) -> String {
    let using = if stamp == Stamp::Server { "" } else { " USING TIMESTAMP ?" };
    let key: Vec<String> = table.key().iter().map(|column| format!("{} = ?", quoted(&column.name))).collect();
    format!("DELETE FROM {}{using} WHERE {}", table.quoted(), key.join(" AND "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;
    use crate::cassandra::options::TableName;
    use crate::cassandra::types::CqlType;
    use crate::conf::Conf;
    use crate::sinks::SinkSpec;
    use crate::types::field;

    fn table() -> Table {
        let column = |name: &str, cql| TableColumn { name: name.into(), cql };
        let columns = vec![
            column("k", CqlType::Text),
            column("Day", CqlType::Date),
            column("n", CqlType::Int),
            column("at", CqlType::BigInt),
        ];
        let name = TableName { keyspace: "ks".into(), table: "t".into() };
        Table { name, columns, partition_key: 1, clustering: 1 }
    }

    fn layout(columns: &[(&str, DataType)], options: &[(&str, &str)]) -> Result<Layout> {
        let schema = Schema::new(columns.iter().map(|(name, t)| field(*name, t.clone())).collect::<Vec<_>>());
        let mut spec = SinkSpec::default();
        spec.options.set("table", "t");
        spec.options.set("keyspace", "ks");
        options.iter().for_each(|(name, value)| spec.options.set(*name, *value));
        Layout::of(&Arc::new(schema), &table(), &Settings::of(&spec, &Conf::default())?)
    }

    const DAY: (&str, DataType) = ("day", DataType::Date32);
    const KEY: (&str, DataType) = ("k", DataType::Utf8);

    #[test]
    fn columns_are_found_by_name_and_the_key_comes_first() {
        let found = layout(&[("n", DataType::Int64), DAY, KEY], &[]).unwrap();
        assert_eq!(found.binds.iter().map(|bind| bind.from).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(found.insert, r#"INSERT INTO "ks"."t" ("k", "Day", "n") VALUES (?, ?, ?) USING TIMESTAMP ?"#);
        assert_eq!(found.delete, r#"DELETE FROM "ks"."t" USING TIMESTAMP ? WHERE "k" = ? AND "Day" = ?"#);
    }

    #[test]
    fn columns_may_say_how_long_a_row_lives() {
        let options = [("spark.cassandra.output.ttl", "life"), ("spark.cassandra.output.timestamp", "5")];
        let found = layout(&[KEY, DAY, ("life", DataType::Int32)], &options).unwrap();
        assert_eq!((found.ttl, found.stamp), (Some(Number::Column(2)), Stamp::Given(Number::Fixed(5))));
        assert_eq!((found.binds.len(), found.insert.ends_with("USING TIMESTAMP ? AND TTL ?")), (2, true));
        let error = layout(&[KEY, DAY, ("lfe", DataType::Int32)], &options).unwrap_err();
        assert!(error.to_string().contains("'lfe'"), "{error}");
    }

    #[test]
    fn o04_columns_that_do_not_fit_are_named() {
        let condition = |columns: &[(&str, DataType)]| {
            let error = layout(columns, &[]).unwrap_err();
            (error.condition().unwrap_or_default().to_owned(), error.to_string())
        };
        let (name, text) = condition(&[KEY, DAY, ("x", DataType::Int32), ("y", DataType::Int32)]);
        assert!(name.ends_with("EXTRA_COLUMNS") && text.contains("x, y"), "{text}");
        let (name, text) = condition(&[KEY, DAY, ("n", DataType::Utf8)]);
        assert!(name.ends_with("CANNOT_SAFELY_CAST") && text.contains("n is STRING, the table's is int"), "{text}");
        let (name, text) = condition(&[KEY]);
        assert!(name.ends_with("CANNOT_FIND_DATA") && text.contains("Day"), "{text}");
        assert_eq!(condition(&[KEY, DAY, ("DAY", DataType::Date32)]).0, "COLUMN_ALREADY_EXISTS");
    }

    #[test]
    fn a_changelog_has_signs_and_no_conditions() {
        let columns = [KEY, DAY, (CHANGE, DataType::Int8)];
        assert_eq!(layout(&columns, &[]).unwrap().sign, Some(2));
        assert!(layout(&columns, &[("spark.cassandra.output.ifNotExists", "true")]).is_err());
    }
}
