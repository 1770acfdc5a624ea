//! State as a table, as Spark's sources `statestore` and `state-metadata` show it: `key`, `value`, `partition_id`.
//!
//! In: what the file `operators` says about how an operator's state is laid out, and its files after an epoch. Out: rows. Nothing is
//! changed and no lease is taken, so it may run beside the query; files that the query removes meanwhile are an error that says so.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StructArray};
use arrow::compute::{cast, filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef, UInt8Type};
use serde::{Deserialize, Serialize};

use super::operators::{self, StatefulOperator};
use super::record::StateRef;
use super::tools::Opened;
use crate::types::{self, structure};
use crate::{Error, Result};

/// The number of partitions of every operator's state: its key groups.
pub(crate) const PARTITIONS: i32 = thalweg_operators::keys::KEY_GROUPS as i32;

/// How an operator's state reads as a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateTable {
    /// `default`; for a join `left` or `right`.
    pub store: String,
    /// The columns of the key.
    pub key: Vec<StateColumn>,
    /// The columns of the value.
    pub value: Vec<StateColumn>,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateColumn {
    /// Its name.
    pub name: String,
    /// Its type, in Spark's words.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Where it is in rows of state.
    pub from: Place,
}

/// Where a column of the table is in rows of state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Place {
    /// A column.
    Column(usize),
    /// A field of a struct column; rows whose struct is null belong to another table.
    Field(usize, usize),
    /// The window that starts at a column's microseconds and is so long.
    Window(usize, i64),
    /// From one column's microseconds to another's.
    Span(usize, usize),
}

impl StateColumn {
    /// A column of a plan's type.
    pub fn new(name: impl Into<String>, data_type: &DataType, from: Place) -> Self {
        StateColumn { name: name.into(), data_type: types::sql_name(data_type), from }
    }

    /// A window.
    pub fn window(name: impl Into<String>, from: Place) -> Self {
        let bounds = structure([("start", types::timestamp()), ("end", types::timestamp())]);
        StateColumn::new(name, &bounds, from)
    }

    fn field(&self) -> Result<Field> {
        Ok(Field::new(&self.name, types::parse_type(&self.data_type)?, true))
    }

    fn of(&self, rows: &RecordBatch, wanted: &DataType) -> Result<ArrayRef> {
        let column = |at: usize| rows.columns().get(at).cloned().ok_or_else(foreign);
        let found = match self.from {
            Place::Column(at) => column(at)?,
            Place::Field(at, field) => {
                let column = column(at)?;
                let parts = column.as_struct_opt().ok_or_else(foreign)?;
                parts.columns().get(field).cloned().ok_or_else(foreign)?
            }
            Place::Window(start, length) => {
                let starts = micros(&column(start)?)?;
                span(&starts, &starts.unary(|start| start.saturating_add(length)), wanted)?
            }
            Place::Span(start, end) => span(&micros(&column(start)?)?, &micros(&column(end)?)?, wanted)?,
        };
        Ok(if found.data_type() == wanted { found } else { cast(&found, wanted)? })
    }
}

fn micros(column: &ArrayRef) -> Result<Int64Array> {
    column.as_primitive_opt::<Int64Type>().cloned().ok_or_else(foreign)
}

fn span(starts: &Int64Array, ends: &Int64Array, wanted: &DataType) -> Result<ArrayRef> {
    let DataType::Struct(fields) = wanted else { return Err(foreign()) };
    let bounds = [starts, ends].into_iter().zip(fields).map(|(bound, field)| Ok(cast(bound, field.data_type())?));
    Ok(Arc::new(StructArray::try_new(fields.clone(), bounds.collect::<Result<_>>()?, starts.nulls().cloned())?))
}

impl StateTable {
    /// `key`, `value`, `partition_id`.
    pub fn schema(&self) -> Result<SchemaRef> {
        let part = |columns: &[StateColumn]| -> Result<DataType> {
            Ok(DataType::Struct(columns.iter().map(StateColumn::field).collect::<Result<Fields>>()?))
        };
        Ok(Arc::new(Schema::new(vec![
            Field::new("key", part(&self.key)?, true),
            Field::new("value", part(&self.value)?, true),
            Field::new("partition_id", DataType::Int32, true),
        ])))
    }

    /// Rows of state as rows of the table.
    fn rows(&self, state: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let state = self.own(state)?;
        let groups = state.columns().first().and_then(|column| column.as_primitive_opt::<UInt8Type>());
        let groups = groups.ok_or_else(foreign)?;
        let partitions = Int32Array::from_iter_values(groups.values().iter().map(|group| i32::from(*group)));
        let columns = vec![
            part(&self.key, &state, schema.field(0))?,
            part(&self.value, &state, schema.field(1))?,
            Arc::new(partitions) as ArrayRef,
        ];
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }

    /// The rows of state that are this table's.
    fn own(&self, state: &RecordBatch) -> Result<RecordBatch> {
        let side = self.value.iter().find_map(|column| match column.from {
            Place::Field(at, _) => Some(at),
            _ => None,
        });
        match side {
            None => Ok(state.clone()),
            Some(at) => {
                let side = state.columns().get(at).ok_or_else(foreign)?;
                Ok(filter_record_batch(state, &is_not_null(side)?)?)
            }
        }
    }
}

fn part(columns: &[StateColumn], state: &RecordBatch, field: &Field) -> Result<ArrayRef> {
    let DataType::Struct(fields) = field.data_type() else { return Err(foreign()) };
    let arrays = columns.iter().zip(fields).map(|(column, field)| column.of(state, field.data_type()));
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    let built = StructArray::try_new_with_length(fields.clone(), arrays, None, state.num_rows())?;
    Ok(Arc::new(built))
}

fn foreign() -> Error {
    Error::outside("the state is laid out in another way than the checkpoint's file 'operators' says")
}

/// An operator as `state-metadata` shows it.
#[derive(Debug, Clone)]
pub(crate) struct OperatorInfo {
    /// Its number, from the sources on.
    pub id: i32,
    /// Its kind, in Spark's words.
    pub name: String,
    /// A store of it.
    pub store: String,
    /// The oldest epoch whose state is kept.
    pub min_batch: i64,
    /// The newest.
    pub max_batch: i64,
}

/// A checkpoint whose state is read.
pub(crate) struct StateReader {
    opened: Opened,
    operators: Vec<StatefulOperator>,
}

impl StateReader {
    /// The checkpoint at a place.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(location: &str) -> Result<Self> {
        let opened = Opened::new(location)?;
        let operators = operators::read(&opened.root)?.unwrap_or_default();
        Ok(StateReader { operators: operators.into_iter().filter(|o| !o.tables.is_empty()).collect(), opened })
    }

    /// The operators with state and their stores.
    ///
    /// # Errors
    /// Folders that can't be listed.
    pub fn operators(&self) -> Result<Vec<OperatorInfo>> {
        let (mut oldest, mut newest) = (-1, -1);
        for epoch in self.opened.commits.numbers()? {
            if self.state(epoch).is_ok_and(|state| self.opened.state.is_there(&state).unwrap_or(false)) {
                let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
                oldest = if oldest < 0 { epoch } else { oldest };
                newest = epoch;
            }
        }
        let stores = self.operators.iter().zip(0..).flat_map(|(operator, id)| {
            let one = move |table: &StateTable| OperatorInfo {
                id,
                name: spark_name(&operator.kind).to_owned(),
                store: table.store.clone(),
                min_batch: oldest,
                max_batch: newest,
            };
            operator.tables.iter().map(one)
        });
        Ok(stores.collect())
    }

    /// A store of an operator.
    ///
    /// # Errors
    /// `STDS_INVALID_OPTION_VALUE` if there is none of that number and name.
    pub fn table(&self, operator: usize, store: &str) -> Result<(&StatefulOperator, &StateTable)> {
        let Some(found) = self.operators.get(operator) else {
            let message =
                format!("there is no operator {operator} with state; the checkpoint has {}", self.operators.len());
            return Err(Error::query("STDS_INVALID_OPTION_VALUE", message));
        };
        let table = found.tables.iter().find(|table| table.store == store);
        let known = || found.tables.iter().map(|table| table.store.as_str()).collect::<Vec<_>>().join("', '");
        table.map(|table| (found, table)).ok_or_else(|| {
            let message =
                format!("operator {operator} ({}) has no state store '{store}', but '{}'", found.name, known());
            Error::query("STDS_INVALID_OPTION_VALUE", message)
        })
    }

    /// The newest committed epoch.
    ///
    /// # Errors
    /// `STDS_NO_PARTITION_DISCOVERED_IN_STATE_STORE` if there is none.
    pub fn newest(&self) -> Result<u64> {
        let none = || {
            let message = format!("no epoch of the checkpoint '{}' is committed", self.opened.root.place(""));
            Error::query("STDS_COMMITTED_BATCH_UNAVAILABLE", message)
        };
        self.opened.commits.numbers()?.last().copied().ok_or_else(none)
    }

    /// The rows of a store after an epoch.
    ///
    /// # Errors
    /// An epoch that is not committed or whose state is not kept any more.
    pub fn rows(&self, epoch: u64, operator: &StatefulOperator, table: &StateTable) -> Result<Vec<RecordBatch>> {
        let state = self.state(epoch)?;
        let schema = table.schema()?;
        let chain = state.chains.get(&operator.name).map(Vec::as_slice).unwrap_or_default();
        let rows = self.opened.state.read_chain(chain).map_err(|error| {
            error.hint("The state of the newest epochs alone is kept; a running query removes that of older ones.")
        })?;
        rows.iter().map(|rows| table.rows(rows, &schema)).collect()
    }

    fn state(&self, epoch: u64) -> Result<StateRef> {
        let missing = || {
            Error::query("STDS_INVALID_OPTION_VALUE", format!("epoch {epoch} is not committed, or not kept any more"))
        };
        Ok(self.opened.commit(epoch)?.ok_or_else(missing)?.state.unwrap_or_default())
    }
}

/// What Spark calls a kind of operator.
fn spark_name(kind: &str) -> &str {
    match kind {
        "aggregate" => "stateStoreSave",
        "session" => "sessionWindowStateStoreSaveExec",
        "dedup" => "dedupe",
        "join" => "symmetricHashJoin",
        "limit" => "globalLimit",
        "transform" => "transformWithStateExec",
        "groups" => "flatMapGroupsWithState",
        other => other,
    }
}
