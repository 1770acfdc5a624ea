//! The latency bench without a network: a thread pushes structs, a closure takes the results on the worker's thread.
//!
//! In: a schedule. Out: how long each update took from the moment its struct was pushed: there is no wire on which a late sender could
//! be told from a slow engine, and a timer that wakes the sender late is not the engine's. The query is that of the bench, under the
//! continuous driver.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use thalweg::clock::{SharedClock, SystemClock};
use thalweg::session::Session;
use thalweg::sinks::OutputMode;
use thalweg::sinks::foreach::{ForeachFunction, ForeachWriter, Row};
use thalweg::{Error, Result};

use super::super::measure::Driver;
use super::answers::Answers;
use super::sender::{SECOND, Schedule, Sender};
use super::{LEAD, PATIENCE};

#[derive(Serialize, Deserialize)]
struct Record {
    key: u64,
    val: u64,
}

/// Structs through a query whose worker looks for them again and again for so long before it sleeps.
pub(super) fn run(schedule: Schedule, busy_poll: &str) -> Result<Answers> {
    let session = Session::builder().config("thalweg.busyPoll", busy_poll).create();
    // What was pushed is kept until its epoch is committed, a second later.
    let (sender, records) = session.read_stream().items::<Record>(schedule.due_by(5 * SECOND))?;
    let counts = records.filter("val % 10 <> 0")?.group_by(["key"]).count()?;
    let clock = SystemClock::shared();
    let start = clock.nanos() + LEAD;
    let pushed: Arc<[AtomicU64]> = (0..schedule.total).map(|_| AtomicU64::new(0)).collect();
    let answers = Answers::new(schedule, start, |number| !Schedule::record(number).1.is_multiple_of(10));
    let taker = Taker { clock: clock.clone(), answers: Arc::new(Mutex::new(answers.since_handed(pushed.clone()))) };
    let sink = taker.clone();
    let writer = counts.write_stream().output_mode(OutputMode::Update).trigger(Driver::Continuous.trigger("1 second")?);
    let query = writer.foreach(ForeachFunction::new(move || sink.clone())).start()?;
    let push = |number: u64| {
        let (key, val) = Schedule::record(number);
        if let Some(pushed) = usize::try_from(number).ok().and_then(|at| pushed.get(at)) {
            pushed.store(clock.nanos(), Ordering::Release);
        }
        sender.send(&Record { key, val }).is_ok()
    };
    let sent = Sender::new(schedule, start, &clock).pace(|mut numbers| numbers.all(push));
    sender.close();
    query.await_termination_timeout(PATIENCE)?;
    query.stop()?;
    drop(query);
    let mut answers = taker.taken()?;
    answers.sent = sent;
    Ok(answers)
}

/// Notes when updates come.
#[derive(Clone)]
struct Taker {
    clock: SharedClock,
    answers: Arc<Mutex<Answers>>,
}

impl Taker {
    /// The answers, once nobody else has them.
    fn taken(self) -> Result<Answers> {
        let answers = Arc::into_inner(self.answers).ok_or_else(|| Error::internal("the bench's query still runs"))?;
        Ok(answers.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ForeachWriter for Taker {
    fn process(&mut self, row: &Row<'_>) -> Result<()> {
        let (key, count) = (row.get("key")?, row.get("count")?);
        let now = self.clock.nanos();
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).answer_key(key, count, now);
        Ok(())
    }
}
