//! A job: statements in order, and the streaming queries they start.
//!
//! In: a text of SQL. Out: results on standard output, progress on standard error. A job ends when all its queries have
//! ended; it fails with the first statement or query that fails, after it has stopped the other queries. A signal stops all
//! queries after the epoch in progress.
//!
//! ```text
//!  listener (driver threads) ─┐
//!  signals ───────────────────┴─► events ─► Job (this thread): places, display, end
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use thalweg::query::progress::Progress;
use thalweg::query::{QueryStarted, QueryTerminated, StreamingQueryListener};
use thalweg::session::Session;

use super::display::Display;
use super::output::{Failure, Style, show};
use super::script::{Script, Statement};
use super::signals;

/// How often the display is refreshed.
const TICK: Duration = Duration::from_secs(1);

/// What a job hears of.
enum Event {
    Started(QueryStarted),
    Progress(Box<Progress>),
    Ended(QueryTerminated),
    Signal,
}

/// Sends what it hears to the job.
struct Ear(Sender<Event>);

impl Ear {
    fn tell(&self, event: Event) {
        // The job has gone only when the process is ending.
        let _ = self.0.send(event);
    }
}

impl StreamingQueryListener for Ear {
    fn on_query_started(&self, started: &QueryStarted) {
        self.tell(Event::Started(started.clone()));
    }

    fn on_query_progress(&self, progress: &Progress) {
        self.tell(Event::Progress(Box::new(progress.clone())));
    }

    fn on_query_terminated(&self, terminated: &QueryTerminated) {
        self.tell(Event::Ended(terminated.clone()));
    }
}

/// A job that runs.
pub(super) struct Job {
    session: Session,
    /// What places in errors begin with: the file's name.
    file: String,
    style: Style,
    events: Receiver<Event>,
    display: Display,
    /// run id → place of the statement that started it, of queries that have not ended.
    running: BTreeMap<String, String>,
    stopping: bool,
    failed: Option<Failure>,
}

/// Runs all statements of a script and waits for the queries they start.
///
/// # Errors
/// The first failure of a statement or query.
pub(super) fn run(session: &Session, file: &str, script: &Script, style: Style) -> Result<(), Failure> {
    let mut job = Job::new(session, file, style)?;
    for statement in &script.statements {
        if let Err(failure) = job.statement(statement) {
            job.fail(failure);
        }
        if job.stopping {
            break;
        }
    }
    job.wait();
    job.failed.map_or(Ok(()), Err)
}

impl Job {
    fn new(session: &Session, file: &str, style: Style) -> Result<Self, Failure> {
        let (sender, events) = unbounded();
        session.streams().add_listener(Arc::new(Ear(sender.clone())));
        signals::on_first(move || Ear(sender).tell(Event::Signal))?;
        Ok(Job {
            session: session.clone(),
            file: file.to_owned(),
            style,
            events,
            display: Display::new(style),
            running: BTreeMap::new(),
            stopping: false,
            failed: None,
        })
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), Failure> {
        let ran = self.session.sql(&statement.in_place()).and_then(|frame| show(&frame, self.style));
        let (line, column) = (statement.line, statement.column);
        while let Ok(event) = self.events.try_recv() {
            self.hear(event, &format!("{}:{line}:{column}", self.file));
        }
        ran.map_err(|error| {
            let (line, column) = statement.place_of(&error);
            Failure { place: Some(format!("{}:{line}:{column}", self.file)), style: self.style, error }
        })
    }

    /// Waits until no query runs.
    fn wait(&mut self) {
        while !self.running.is_empty() {
            match self.events.recv_timeout(TICK) {
                Ok(event) => self.hear(event, ""),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let queries = self.session.streams();
            self.display.refresh(|run| queries.active().into_iter().find(|query| query.run_id() == run));
        }
        self.display.finish();
    }

    fn hear(&mut self, event: Event, place: &str) {
        match event {
            Event::Started(started) => {
                self.display.started(&started);
                self.running.insert(started.run_id, place.to_owned());
            }
            Event::Progress(progress) => self.display.progress(*progress),
            Event::Ended(ended) => self.ended(ended),
            Event::Signal => {
                self.display.note("stopping; once more to abort");
                self.stop();
            }
        }
    }

    fn ended(&mut self, ended: QueryTerminated) {
        self.display.ended(&ended);
        let place = self.running.remove(&ended.run_id).filter(|place| !place.is_empty());
        if let Some(error) = ended.exception {
            self.fail(Failure { place, style: self.style, error });
        }
    }

    /// Keeps the first failure and stops what still runs.
    fn fail(&mut self, failure: Failure) {
        self.failed.get_or_insert(failure);
        self.stop();
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.session.streams().active().iter().for_each(thalweg::query::StreamingQuery::request_stop);
    }
}
