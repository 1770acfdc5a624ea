//! The simulation's sink: exactly once, in the way of the file sink, on a simulated disk.
//!
//! In: rows. Out: a durable part for each worker and epoch, which counts once the log names it. [`committed`] reads what counts.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};

use super::NAME;
use crate::filelog::{CompactLog, Upkeep};
use crate::options::{OptionSpec, option};
use crate::sinks::{Guarantee, OutputMode, Pace, Prepared, Sink, SinkContext, SinkProvider, SinkSpec, Writer};
use crate::store::{Folder, Put};
use crate::{Error, Result};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    epoch: u64,
    name: String,
}

fn log(folder: &Folder) -> Result<CompactLog<Part>> {
    CompactLog::open(folder.folder("log"), Upkeep { interval: 4, delete_after: Some(Duration::ZERO) })
}

/// The rows that count, by epoch.
pub(super) fn committed(location: &str) -> Result<Vec<(u64, RecordBatch)>> {
    let folder = Folder::open(location)?;
    let mut found = Vec::new();
    for part in log(&folder)?.all()? {
        let bytes = folder.folder("parts").read_bare(&part.name)?;
        let bytes = bytes.ok_or_else(|| Error::outside(format!("part '{}' is lost", part.name)))?;
        for rows in StreamReader::try_new(bytes.as_slice(), None)? {
            found.push((part.epoch, rows?));
        }
    }
    Ok(found)
}

pub(crate) struct Simulated;

impl SinkProvider for Simulated {
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        const OPTIONS: &[OptionSpec] = &[option("folder", "", "where it writes")];
        vec![OPTIONS]
    }

    fn modes(&self) -> &'static [OutputMode] {
        &[OutputMode::Append, OutputMode::Update, OutputMode::Complete]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn connect(&self, spec: &SinkSpec, context: SinkContext) -> Result<Box<dyn Sink>> {
        let folder = Folder::open(spec.options.require("folder", "the simulation's sink")?)?;
        folder.folder("log").settle(&[])?;
        Ok(Box::new(Parts { log: log(&folder)?, folder, eager: context.pace == Pace::Eager }))
    }
}

struct Parts {
    folder: Folder,
    log: CompactLog<Part>,
    eager: bool,
}

impl Sink for Parts {
    fn description(&self) -> String {
        "Simulated".into()
    }

    fn writer(&mut self, worker: usize) -> Result<Box<dyn Writer>> {
        Ok(Box::new(PartWriter { folder: self.folder.folder("parts"), worker, rows: Vec::new() }))
    }

    fn commit(&mut self, epoch: u64, prepared: Vec<Prepared>) -> Result<()> {
        let names = prepared.iter().filter_map(|prepared| prepared.note.as_str());
        let parts: Vec<Part> = names.map(|name| Part { epoch, name: name.to_owned() }).collect();
        if self.log.latest().is_some_and(|latest| epoch <= latest) {
            let listed: Vec<String> = self.log.all()?.into_iter().map(|part| part.name).collect();
            let unlisted = parts.iter().filter(|part| !listed.contains(&part.name));
            return unlisted.into_iter().try_for_each(|part| self.folder.folder("parts").delete(&part.name));
        }
        if parts.is_empty() && self.eager {
            return Ok(());
        }
        self.log.add(epoch, parts, |_| true)
    }
}

struct PartWriter {
    folder: Folder,
    worker: usize,
    rows: Vec<RecordBatch>,
}

impl Writer for PartWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() > 0 {
            self.rows.push(rows.clone());
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: u64) -> Result<Prepared> {
        let Some(first) = self.rows.first() else { return Ok(Prepared::default()) };
        let mut bytes = Vec::new();
        let mut writer = StreamWriter::try_new(&mut bytes, &first.schema())?;
        self.rows.iter().try_for_each(|rows| writer.write(rows))?;
        writer.finish()?;
        drop(writer);
        let name = format!("{epoch}-{}-{}", self.worker, uuid::Uuid::new_v4());
        self.folder.put_bare(&name, &bytes, Put::New)?;
        let rows = self.rows.drain(..).map(|rows| rows.num_rows() as u64).sum();
        Ok(Prepared { rows, note: name.into(), payload: None })
    }
}
