//! `statestore` and `state-metadata`: the state of a query, read from its checkpoint as tables; batch only.
//!
//! In: the checkpoint's place as `path`, which operator, which epoch. Out: rows `key`, `value`, `partition_id`; or a row an operator
//! and store. The query may be running: what is read is the state after a committed epoch.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use serde_json::json;

use super::{Limit, Offset, Read, Reader, Source, SourceContext, SourceProvider, SourceSpec};
use crate::checkpoint::{PARTITIONS, StateReader};
use crate::conf::Conf;
use crate::formats::Decoder;
use crate::options::{OptionSpec, Options, option};
use crate::types::field;
use crate::{Error, Result};

/// Tries to read the newest epoch while the query goes on and removes old files.
const TRIES: usize = 5;
const MAX_ROWS: usize = thalweg_operators::chunk::MAX_ROWS;

const STORE_OPTIONS: &[OptionSpec] = &[
    option("path", "", "the checkpoint"),
    option("batchId", "", "the epoch after which the state is read; the newest committed one by default"),
    option("operatorId", "0", "which operator, counted from the sources on; see state-metadata"),
    option("storeName", "default", "which of the operator's stores; see state-metadata"),
    option("joinSide", "none", "the side of a stream-stream join: left or right"),
];

const METADATA_OPTIONS: &[OptionSpec] = &[option("path", "", "the checkpoint")];

/// The provider of `format("statestore")`.
pub(super) static STATE_STORE: Provider = Provider(What::Rows);
/// The provider of `format("state-metadata")`.
pub(super) static STATE_METADATA: Provider = Provider(What::Operators);

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Rows,
    Operators,
}

/// The provider of one of the two sources.
#[derive(Debug)]
pub struct Provider(What);

impl SourceProvider for Provider {
    fn names(&self) -> &'static [&'static str] {
        if self.0 == What::Rows { &["statestore"] } else { &["state-metadata"] }
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        vec![if self.0 == What::Rows { STORE_OPTIONS } else { METADATA_OPTIONS }]
    }

    fn schema(&self, spec: &SourceSpec, _: &Conf) -> Result<SchemaRef> {
        super::check_options(self, spec)?;
        super::refuse_schema(spec)?;
        if spec.streaming {
            let name = self.names().first().copied().unwrap_or_default();
            return Err(Error::unsupported(format!("source '{name}' cannot be read as a stream")));
        }
        match self.0 {
            What::Operators => Ok(metadata_schema()),
            What::Rows => Wanted::of(&spec.options)?.schema(),
        }
    }

    fn connect(&self, spec: &SourceSpec, schema: SchemaRef, context: SourceContext) -> Result<Box<dyn Source>> {
        let rows = match self.0 {
            What::Operators => vec![metadata(&location(&spec.options)?)?],
            What::Rows => Wanted::of(&spec.options)?.read()?,
        };
        let projection: Arc<[usize]> = context.projection.into();
        let source = StateSource {
            description: format!("{}[{}]", spec.format, location(&spec.options)?),
            schema,
            rows,
            projection,
        };
        Ok(Box::new(source))
    }
}

fn location(options: &Options) -> Result<String> {
    options.require("path", "the checkpoint of a query").map(str::to_owned)
}

/// Which state is asked for.
struct Wanted {
    location: String,
    epoch: Option<u64>,
    operator: usize,
    store: String,
}

impl Wanted {
    fn of(options: &Options) -> Result<Wanted> {
        let number = |name: &str| -> Result<Option<u64>> {
            let Some(number) = options.number::<i64>(name)? else { return Ok(None) };
            let wrong =
                || Error::query("STDS_INVALID_OPTION_VALUE.IS_NEGATIVE", format!("option '{name}' is {number}"));
            u64::try_from(number).map(Some).map_err(|_| wrong())
        };
        let side = options.get("joinSide").map(str::to_ascii_lowercase).filter(|side| side != "none");
        let store = match (side, options.get("storeName")) {
            (Some(side), None) if ["left", "right"].contains(&side.as_str()) => side,
            (Some(_), None) => return Err(options.wrong("joinSide", "left, right or none")),
            (Some(_), Some(_)) => {
                let message = "options 'joinSide' and 'storeName' cannot be given together";
                return Err(Error::query("STDS_CONFLICT_OPTIONS", message));
            }
            (None, store) => store.unwrap_or("default").to_owned(),
        };
        Ok(Wanted {
            location: location(options)?,
            epoch: number("batchId")?,
            operator: usize::try_from(number("operatorId")?.unwrap_or(0)).unwrap_or(usize::MAX),
            store,
        })
    }

    fn schema(&self) -> Result<SchemaRef> {
        StateReader::open(&self.location)?.table(self.operator, &self.store)?.1.schema()
    }

    /// The rows. A running query may have removed the files of what was the newest epoch a moment ago.
    fn read(&self) -> Result<Vec<RecordBatch>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let reader = StateReader::open(&self.location)?;
            let (operator, table) = reader.table(self.operator, &self.store)?;
            let epoch = self.epoch.map_or_else(|| reader.newest(), Ok)?;
            match reader.rows(epoch, operator, table) {
                Err(_) if self.epoch.is_none() && tries < TRIES && reader.newest()? > epoch => {}
                read => return read,
            }
        }
    }
}

fn metadata_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        field("operatorId", DataType::Int32),
        field("operatorName", DataType::Utf8),
        field("stateStoreName", DataType::Utf8),
        field("numPartitions", DataType::Int32),
        field("minBatchId", DataType::Int64),
        field("maxBatchId", DataType::Int64),
    ]))
}

fn metadata(location: &str) -> Result<RecordBatch> {
    let stores = StateReader::open(location)?.operators()?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(stores.iter().map(|store| Some(store.id)).collect::<Int32Array>()),
        Arc::new(stores.iter().map(|store| Some(store.name.as_str())).collect::<StringArray>()),
        Arc::new(stores.iter().map(|store| Some(store.store.as_str())).collect::<StringArray>()),
        Arc::new(Int32Array::from_value(PARTITIONS, stores.len())),
        Arc::new(stores.iter().map(|store| Some(store.min_batch)).collect::<Int64Array>()),
        Arc::new(stores.iter().map(|store| Some(store.max_batch)).collect::<Int64Array>()),
    ];
    Ok(RecordBatch::try_new(metadata_schema(), columns)?)
}

/// State that has been read: rows handed over once.
struct StateSource {
    description: String,
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
    projection: Arc<[usize]>,
}

impl Source for StateSource {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn latest(&mut self, from: Option<&Offset>, _: Limit) -> Result<Option<Offset>> {
        Ok(from.is_none().then(|| json!(0)))
    }

    fn read(&mut self, _: Option<&Offset>, _: Option<&Offset>) -> Result<Vec<Box<dyn Reader>>> {
        let projected = Arc::new(self.schema.project(&self.projection)?);
        let mut pieces = Vec::new();
        for rows in &self.rows {
            let columns = self.projection.iter().filter_map(|column| rows.columns().get(*column).cloned()).collect();
            let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            let rows = RecordBatch::try_new_with_options(projected.clone(), columns, &count)?;
            let starts = (0..rows.num_rows()).step_by(MAX_ROWS);
            pieces.extend(starts.map(|start| rows.slice(start, MAX_ROWS.min(rows.num_rows() - start))));
        }
        Ok(vec![Box::new(StateRows(pieces.into_iter()))])
    }

    fn decoder(&self) -> Result<Option<Box<dyn Decoder>>> {
        Ok(None)
    }

    fn freeze(&mut self) -> Result<()> {
        Ok(())
    }
}

struct StateRows(std::vec::IntoIter<RecordBatch>);

impl Reader for StateRows {
    fn next(&mut self, _: Duration) -> Result<Read> {
        Ok(self.0.next().map_or(Read::End, Read::Rows))
    }

    fn offset(&self) -> Offset {
        json!(0)
    }
}
