//! Runs a case of the corpus as a streaming query and writes down what its batches read and emitted.
//!
//! In: a case and the number of workers. Out: one [`Run`] for each `run` step of its script (one if there is none, one for a
//! live case), or the error that refused the query. Files appear as the script says, whole and with rising times.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use arrow::array::RecordBatch;
use serde_json::{Value, json};
use thalweg::frame::DataFrame;
use thalweg::query::progress::{Progress, SourceProgress};
use thalweg::query::{DataStreamWriter, StreamingQuery, Trigger};
use thalweg::session::Session;
use thalweg::{Error, Result};

use crate::case::{self, Case, list, text};
use crate::compare::{json_rows, json_schema};

/// No case needs as long as this: a query that does is stuck.
const STUCK: Duration = Duration::from_secs(40);

/// One run of a query on the case's checkpoint.
#[derive(Debug, Default)]
pub struct Run {
    /// Its output columns.
    pub schema: Value,
    /// The batches delivered to the sink, in order.
    pub batches: Vec<Batch>,
    /// Why it died, if it did.
    pub error: Option<Error>,
}

/// One delivered batch.
#[derive(Debug)]
pub struct Batch {
    /// Its number.
    pub id: u64,
    /// Indexes of the files taken, by source.
    pub input: BTreeMap<String, Value>,
    /// The watermark in force.
    pub watermark: Option<String>,
    /// Its rows.
    pub rows: Vec<Value>,
}

/// Replays a case; an error means that the query was refused before any batch.
pub fn replay(case: &Case, workers: usize) -> Result<Vec<Run>> {
    let case = case.clone();
    unless_stuck(move || Stage::new(case, workers).and_then(Stage::play))
}

/// Does something on a thread of its own; an error if it takes too long or panics.
pub fn unless_stuck<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more if it took too long.
        let _ = sender.send(work());
    });
    receiver.recv_timeout(STUCK).unwrap_or_else(|error| {
        let what = match error {
            mpsc::RecvTimeoutError::Timeout => "the query is stuck",
            mpsc::RecvTimeoutError::Disconnected => "the replay panicked",
        };
        Err(Error::internal(what))
    })
}

/// What the sink got: epochs and their rows.
pub type Delivered = Arc<Mutex<Vec<(u64, Vec<RecordBatch>)>>>;

/// Where a case is played: its files, its checkpoint, and what was seen so far.
struct Stage {
    case: Case,
    workers: usize,
    folder: tempfile::TempDir,
    /// Files shown so far, by source.
    shown: BTreeMap<String, usize>,
    /// Files of each entry of a source's log.
    entries: BTreeMap<String, Vec<Vec<usize>>>,
    runs: Vec<Run>,
}

impl Stage {
    fn new(case: Case, workers: usize) -> Result<Stage> {
        let folder = tempfile::tempdir()?;
        case.make_folders(folder.path())?;
        let (shown, entries) = Default::default();
        let mut stage = Stage { case, workers, folder, shown, entries, runs: Vec::new() };
        for source in stage.sources(|source| source["static"] == true) {
            stage.show(&source, usize::MAX)?;
        }
        Ok(stage)
    }

    fn sources(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        list(&self.case.json["sources"]).iter().filter(|source| wanted(source)).cloned().collect()
    }

    /// Makes the next `count` files of a source visible.
    fn show(&mut self, source: &Value, count: usize) -> Result<()> {
        let name = text(&source["name"]).to_owned();
        let from = self.shown.get(&name).copied().unwrap_or(0);
        let until = from.saturating_add(count).min(list(&source["files"]).len());
        for index in from..until {
            self.case.write_file(self.folder.path(), source, index)?;
        }
        self.shown.insert(name, until);
        Ok(())
    }

    fn play(mut self) -> Result<Vec<Run>> {
        if self.case.json["live"] == true {
            self.play_live()?;
            return Ok(self.runs);
        }
        let whole = json!([{"addFiles": "all"}, {"run": true}]);
        let script = if self.case.json["script"].is_null() { whole } else { self.case.json["script"].clone() };
        list(&script).iter().try_for_each(|step| self.step(step))?;
        Ok(self.runs)
    }

    fn step(&mut self, step: &Value) -> Result<()> {
        if !step["addFiles"].is_null() {
            self.add_files(&step["addFiles"])
        } else if !step["run"].is_null() {
            self.run(&step["run"])
        } else if step["deleteLastCommit"] == true {
            self.delete_last_commit()
        } else if step["deleteCheckpoint"] == true {
            Ok(fs::remove_dir_all(self.checkpoint())?)
        } else {
            Err(Error::internal(format!("the corpus has the unknown step {step}")))
        }
    }

    /// `{source: count}`, where `"all"` or null is the rest; or `"all"` for every stream.
    fn add_files(&mut self, files: &Value) -> Result<()> {
        for source in self.sources(|source| source["static"] != true) {
            let count = match files {
                Value::Object(counts) => counts.get(text(&source["name"])).map(count_of),
                _ => Some(usize::MAX),
            };
            count.map_or(Ok(()), |count| self.show(&source, count))?;
        }
        Ok(())
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.path().join(".checkpoint")
    }

    fn delete_last_commit(&self) -> Result<()> {
        let commits = fs::read_dir(self.checkpoint().join("commits"))?.flatten();
        let numbered =
            commits.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u64>().ok()?, entry.path())));
        let (_, newest) = numbered.max().ok_or_else(|| Error::internal("there is no commit to delete"))?;
        Ok(fs::remove_file(newest)?)
    }

    /// A session of its own, as after a restart of the whole program.
    fn session(&self, step: &Value) -> Session {
        let session = self.case.session();
        session.set_conf("thalweg.workers", self.workers);
        session.set_conf("spark.sql.streaming.numRecentProgressUpdates", 10_000);
        for (key, value) in step["conf"].as_object().into_iter().flatten() {
            session.set_conf(key, text(value));
        }
        session
    }

    fn frame(&self, session: &Session, step: &Value) -> Result<DataFrame> {
        self.case.register(session, self.folder.path(), true)?;
        let query = if step["query"].is_null() { &self.case.json["query"] } else { &step["query"] };
        case::query(session, query)
    }

    fn writer(&self, frame: DataFrame, step: &Value, delivered: &Delivered) -> DataStreamWriter {
        let delivered = Arc::clone(delivered);
        let mode = step["outputMode"].as_str().unwrap_or_else(|| text(&self.case.json["outputMode"]));
        let writer = frame.write_stream().output_mode(mode);
        writer.option("checkpointLocation", self.checkpoint().display()).foreach_rows(move |rows, _, epoch| {
            delivered.lock().expect("no holder panics").push((epoch, rows));
            Ok(())
        })
    }

    fn run(&mut self, step: &Value) -> Result<()> {
        let session = self.session(step);
        let frame = self.frame(&session, step)?;
        let (schema, delivered) = (json_schema(&frame), Delivered::default());
        let query = self.writer(frame, step, &delivered).trigger(Trigger::AvailableNow).start()?;
        // Why it ended is asked below.
        let _ = query.await_termination();
        self.finish(schema, &query, &delivered)
    }

    fn play_live(&mut self) -> Result<()> {
        let session = self.session(&Value::Null);
        let frame = self.frame(&session, &Value::Null)?;
        let (schema, delivered) = (json_schema(&frame), Delivered::default());
        let query = self.writer(frame, &Value::Null, &delivered).start()?;
        for step in list(&self.case.json["script"].clone()) {
            match step["process"] == true {
                // A query that died tells why below.
                true => drop(query.process_all_available()),
                false => self.step(step)?,
            }
        }
        query.stop()?;
        self.finish(schema, &query, &delivered)
    }

    fn finish(&mut self, schema: Value, query: &StreamingQuery, delivered: &Delivered) -> Result<()> {
        let delivered = std::mem::take(&mut *delivered.lock().expect("no holder panics"));
        let reports: BTreeMap<u64, Progress> =
            query.recent_progress().into_iter().map(|report| (report.batch_id, report)).collect();
        let mut run = Run { schema, batches: Vec::new(), error: query.exception() };
        for (id, rows) in delivered {
            let rows = json_rows(&rows)?;
            let Some(report) = reports.get(&id) else {
                return Err(Error::internal(format!("batch {id} has no progress report")));
            };
            let watermark = report.event_time.get("watermark").map(|watermark| text(watermark).to_owned());
            let input = self.input(report)?;
            run.batches.push(Batch { id, input, watermark, rows });
        }
        self.runs.push(run);
        Ok(())
    }

    /// Which files a batch took from each source.
    fn input(&mut self, report: &Progress) -> Result<BTreeMap<String, Value>> {
        let mut input: BTreeMap<String, Vec<Vec<usize>>> = BTreeMap::new();
        for source in &report.sources {
            let (name, files) = self.files(source)?;
            input.entry(name).or_default().push(files);
        }
        let agreed = input.into_iter().map(|(name, mut readers)| {
            readers.dedup();
            let value = if readers.len() == 1 { json!(readers[0]) } else { json!(readers) };
            (name, value)
        });
        Ok(agreed.filter(|(_, files)| !list(files).is_empty()).collect())
    }

    /// A reader's source and the files of its range of the log.
    fn files(&mut self, report: &SourceProgress) -> Result<(String, Vec<usize>)> {
        let reads = |source: &Value| report.description.contains(&format!("/{}]", text(&source["name"])));
        let sources = self.sources(|source| source["static"] != true && reads(source));
        let source = sources.first().ok_or_else(|| Error::internal(format!("who is '{}'?", report.description)))?;
        let name = text(&source["name"]).to_owned();
        let per_entry =
            source["options"]["maxFilesPerTrigger"].as_str().and_then(|text| text.parse().ok()).unwrap_or(1);
        let place = |offset: &Value| offset["logOffset"].as_u64().map_or(0, |entry| entry as usize + 1);
        let (from, to) = (place(&report.start_offset), place(&report.end_offset));
        let entries = self.entries.entry(name.clone()).or_default();
        while entries.len() < to {
            let next = entries.iter().map(Vec::len).sum();
            let shown = self.shown.get(&name).copied().unwrap_or(0);
            entries.push((next..shown.min(next + per_entry)).collect());
        }
        Ok((name, entries.get(from..to).map(<[_]>::concat).unwrap_or_default()))
    }
}

fn count_of(count: &Value) -> usize {
    count.as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX)
}
