//! Runs a case of the corpus as a streaming query and writes down what its batches read and emitted.
//!
//! In: a case and the number of workers. Out: one [`Run`] for each `run` step of its script (one if there is none, one for a
//! live case), or the error that refused the query. Files appear as the script says, whole and with rising times. On demand
//! each run is broken off around every batch and goes on in a new session with another number of workers ([`Breaks`]).

use std::collections::{BTreeMap, BTreeSet};
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
use crate::compare::{json_rows, json_schema, same_rows};

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
    unless_stuck(move || Stage::new(case, vec![workers], Arc::new(|_, _| Break::None)).and_then(Stage::play))
}

/// As [`replay`], broken off where `breaks` says; the number of workers changes from leg to leg, 1, 2, 1, …
pub fn replay_broken(case: &Case, breaks: Breaks) -> Result<Vec<Run>> {
    let case = case.clone();
    unless_stuck(move || Stage::new(case, vec![1, 2], breaks).and_then(Stage::play))
}

/// How a query is broken off around a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// Not at all.
    None,
    /// Before the batch is committed: it runs again.
    Before,
    /// After the batch was committed, when the next one has been planned and nothing of that plan was written.
    After,
    /// As [`Break::After`], and the batch's commit is deleted by hand: it runs again.
    Uncommit,
}

/// How the batch of this number is broken off in this run of the script.
pub type Breaks = Arc<dyn Fn(usize, u64) -> Break + Send + Sync>;

/// The error that breaks a leg off.
const BROKEN_OFF: &str = "broken off by the test";

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

/// What a sink got: epochs and their rows.
pub type Delivered = Arc<Mutex<Vec<(u64, Vec<RecordBatch>)>>>;

/// What one run of the script is, over all its legs.
#[derive(Default)]
struct Tape {
    delivered: Vec<(u64, Vec<RecordBatch>)>,
    reports: BTreeMap<u64, Progress>,
    schema: Value,
    /// Batches around which it was broken off already.
    broken: BTreeSet<u64>,
    /// The batch behind which it is to be broken off, and how.
    waiting: Option<(u64, Break)>,
}

impl Tape {
    /// A batch comes to the sink.
    fn deliver(&mut self, epoch: u64, rows: Vec<RecordBatch>, how: Break) -> Result<()> {
        let broken_off = || Err(Error::outside(BROKEN_OFF));
        if self.waiting.is_some_and(|(waiting, _)| waiting < epoch) {
            return broken_off();
        }
        match how {
            Break::None => {}
            Break::Before if self.broken.insert(epoch) => return broken_off(),
            Break::Before => {}
            Break::After | Break::Uncommit if self.broken.insert(epoch) => self.waiting = Some((epoch, how)),
            Break::After | Break::Uncommit => {}
        }
        self.delivered.push((epoch, rows));
        Ok(())
    }
}

/// Where a case is played: its files, its checkpoint, and what was seen so far.
struct Stage {
    case: Case,
    /// Workers of the legs, over and over.
    workers: Vec<usize>,
    breaks: Breaks,
    /// Legs so far.
    legs: usize,
    folder: tempfile::TempDir,
    /// Files shown so far, by source.
    shown: BTreeMap<String, usize>,
    /// Files of each entry of a source's log.
    entries: BTreeMap<String, Vec<Vec<usize>>>,
    runs: Vec<Run>,
}

impl Stage {
    fn new(case: Case, workers: Vec<usize>, breaks: Breaks) -> Result<Stage> {
        let folder = tempfile::tempdir()?;
        case.make_folders(folder.path())?;
        let (shown, entries) = Default::default();
        let mut stage = Stage { case, workers, breaks, legs: 0, folder, shown, entries, runs: Vec::new() };
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
        let newest = self.numbers("commits")?.pop().ok_or_else(|| Error::internal("there is no commit to delete"))?;
        Ok(fs::remove_file(self.checkpoint().join("commits").join(newest.to_string()))?)
    }

    /// The numbers in a folder of the checkpoint, rising.
    fn numbers(&self, folder: &str) -> Result<Vec<u64>> {
        let entries = fs::read_dir(self.checkpoint().join(folder))?.flatten();
        let mut numbers: Vec<u64> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Leaves the checkpoint as it was after the commit of this batch, or before it if that is to be deleted.
    fn go_back(&self, batch: u64, how: Break) -> Result<()> {
        let planned = self.numbers("offsets")?.into_iter().filter(|number| *number > batch);
        for number in planned {
            fs::remove_file(self.checkpoint().join("offsets").join(number.to_string()))?;
        }
        match how {
            Break::Uncommit => Ok(fs::remove_file(self.checkpoint().join("commits").join(batch.to_string()))?),
            _ => Ok(()),
        }
    }

    /// A session of its own, as after a restart of the whole program.
    fn session(&mut self, step: &Value) -> Session {
        let session = self.case.session();
        session.set_conf("thalweg.workers", self.workers[self.legs % self.workers.len()]);
        self.legs += 1;
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

    fn writer(&self, frame: DataFrame, step: &Value, tape: &Arc<Mutex<Tape>>) -> DataStreamWriter {
        let (tape, breaks, run) = (Arc::clone(tape), Arc::clone(&self.breaks), self.runs.len());
        let mode = step["outputMode"].as_str().unwrap_or_else(|| text(&self.case.json["outputMode"]));
        let writer = frame.write_stream().output_mode(mode);
        writer.option("checkpointLocation", self.checkpoint().display()).foreach_rows(move |rows, _, epoch| {
            tape.lock().expect("no holder panics").deliver(epoch, rows, breaks(run, epoch))
        })
    }

    /// Starts the query in a session of its own.
    fn start(&mut self, step: &Value, trigger: Trigger, tape: &Arc<Mutex<Tape>>) -> Result<StreamingQuery> {
        let session = self.session(step);
        let frame = self.frame(&session, step)?;
        tape.lock().expect("no holder panics").schema = json_schema(&frame);
        self.writer(frame, step, tape).trigger(trigger).start()
    }

    fn run(&mut self, step: &Value) -> Result<()> {
        let tape = Arc::default();
        loop {
            let query = match self.start(step, Trigger::AvailableNow, &tape) {
                // A later run may be refused: that is how it ends.
                Err(error) if !self.runs.is_empty() => {
                    self.runs.push(Run { error: Some(error), ..Run::default() });
                    return Ok(());
                }
                query => query?,
            };
            // Why it ended is asked below.
            let _ = query.await_termination();
            if !self.leg_ended(&query, &tape)? {
                return self.finish(&tape, query.exception());
            }
        }
    }

    /// Notes what a leg reported; true if another one follows.
    fn leg_ended(&self, query: &StreamingQuery, tape: &Mutex<Tape>) -> Result<bool> {
        let mut tape = tape.lock().expect("no holder panics");
        tape.reports.extend(query.recent_progress().into_iter().map(|report| (report.batch_id, report)));
        let error = query.exception();
        let broken_off = error.as_ref().is_some_and(|error| error.message().contains(BROKEN_OFF));
        match tape.waiting.take() {
            Some((batch, how)) if broken_off || error.is_none() => self.go_back(batch, how).map(|()| true),
            _ => Ok(broken_off),
        }
    }

    fn play_live(&mut self) -> Result<()> {
        let tape = Arc::default();
        let mut query = self.start(&Value::Null, Trigger::default(), &tape)?;
        for step in list(&self.case.json["script"].clone()) {
            if step["process"] != true {
                self.step(step)?;
                continue;
            }
            // A query that died tells why below.
            let _ = query.process_all_available();
            if self.workers.len() > 1 && query.is_active() {
                query.stop()?;
                self.leg_ended(&query, &tape)?;
                query = self.start(&Value::Null, Trigger::default(), &tape)?;
            }
        }
        query.stop()?;
        self.leg_ended(&query, &tape)?;
        self.finish(&tape, query.exception())
    }

    fn finish(&mut self, tape: &Mutex<Tape>, error: Option<Error>) -> Result<()> {
        let Tape { delivered, reports, schema, .. } = std::mem::take(&mut *tape.lock().expect("no holder panics"));
        let mut run = Run { schema, batches: Vec::new(), error };
        for (id, rows) in delivered {
            let rows = json_rows(&rows)?;
            if let Some(known) = run.batches.iter().find(|batch| batch.id == id) {
                self.check_same(known, &rows, &run.schema)?;
                continue;
            }
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

    /// A batch that runs again has the rows that it had.
    fn check_same(&self, known: &Batch, again: &[Value], schema: &Value) -> Result<()> {
        if same_rows(again, &known.rows, schema, self.case.json["ordered"] == true) {
            return Ok(());
        }
        Err(Error::internal(format!("batch {} had {:?} and has {again:?} when it runs again", known.id, known.rows)))
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
