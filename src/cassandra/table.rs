//! A table of Cassandra: its columns in order and which of them are its key.
//!
//! In: what the driver knows of the keyspace. Out: [`Table`], its Arrow schema, and names as CQL writes them. Columns lie as
//! `SELECT *` gives them: partition key, clustering columns, then the static and the other ones, each by name.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use scylla::cluster::metadata::{Column, ColumnKind, Keyspace, Table as Told};

use super::options::TableName;
use super::types::CqlType;
use crate::options::nearest;
use crate::{Error, Result, types};

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableColumn {
    pub name: String,
    pub cql: CqlType,
}

/// A table's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub name: TableName,
    pub columns: Vec<TableColumn>,
    /// So many of the first columns are the partition key.
    pub partition_key: usize,
    /// So many of those that follow are the clustering columns.
    pub clustering: usize,
}

impl Table {
    /// The table or materialized view of this name.
    ///
    /// # Errors
    /// There is none; a column of a type that is not known.
    pub(crate) fn find(keyspace: &Keyspace, name: &TableName) -> Result<Table> {
        let view = || keyspace.views.get(&name.table).map(|view| &view.view_metadata);
        let told = keyspace.tables.get(&name.table).or_else(view);
        let known = || keyspace.tables.keys().chain(keyspace.views.keys()).map(String::as_str);
        Table::of(told.ok_or_else(|| no_table(name, known()))?, name)
    }

    fn of(told: &Told, name: &TableName) -> Result<Table> {
        let keys = told.partition_key.iter().chain(&told.clustering_key);
        let keys: Vec<&str> = keys.map(String::as_str).collect();
        let mut rest: Vec<(&str, &Column)> = told
            .columns
            .iter()
            .map(|(name, column)| (name.as_str(), column))
            .filter(|(name, _)| !keys.contains(name))
            .collect();
        rest.sort_by_key(|(name, column)| (column.kind != ColumnKind::Static, *name));
        let of_key = keys.iter().filter_map(|key| Some((*key, told.columns.get(*key)?)));
        let one = |(name, column): (&str, &Column)| {
            let cql = CqlType::of(&column.typ).map_err(|error| error.at(format!("column '{name}'")))?;
            Ok(TableColumn { name: name.to_owned(), cql })
        };
        Ok(Table {
            name: name.clone(),
            columns: of_key.chain(rest).map(one).collect::<Result<_>>()?,
            partition_key: told.partition_key.len(),
            clustering: told.clustering_key.len(),
        })
    }

    /// The columns in Spark's types.
    pub(crate) fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| types::field(&column.name, column.cql.data_type()));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The columns of the primary key.
    pub(crate) fn key(&self) -> &[TableColumn] {
        self.columns.get(..self.partition_key + self.clustering).unwrap_or_default()
    }

    /// True if it counts, so that a write that comes twice counts twice.
    pub(crate) fn counts(&self) -> bool {
        self.columns.iter().any(|column| column.cql == CqlType::Counter)
    }

    /// The full name as CQL writes it.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.name.keyspace), quoted(&self.name.table))
    }

    /// The partition key's columns as CQL writes them, with commas between.
    pub(crate) fn quoted_partition_key(&self) -> String {
        names(self.columns.get(..self.partition_key).unwrap_or_default())
    }
}

/// Names of columns as CQL writes them, with commas between.
pub(crate) fn names<'a>(columns: impl IntoIterator<Item = &'a TableColumn>) -> String {
    columns.into_iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ")
}

/// A name as CQL writes it, whatever its letters.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn no_table<'a>(name: &TableName, known: impl Iterator<Item = &'a str>) -> Error {
    let error =
        Error::query("TABLE_OR_VIEW_NOT_FOUND", format!("keyspace '{}' has no table '{}'", name.keyspace, name.table));
    match nearest(&name.table, known) {
        Some(near) => error.hint(format!("Did you mean '{near}'?")),
        None => error.hint("Tables are made with CQL's CREATE TABLE."),
    }
}

/// The error for a keyspace that is none of `known`.
pub(crate) fn no_keyspace(name: &str, known: &[String]) -> Error {
    let error = Error::query("SCHEMA_NOT_FOUND", format!("there is no keyspace '{name}'"));
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("Did you mean '{near}'?")),
        None => error.hint("Keyspaces are made with CQL's CREATE KEYSPACE."),
    }
}
