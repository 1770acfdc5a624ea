//! Ingest: moves what readers give into lanes, on the driver's thread or on threads of its own.
//!
//! A bounded range is pumped to its end; an unbounded read is pumped until the query stops, and whoever pumps carries the epochs
//! into the lanes, each with the place reached. That is a thread of the reader's own, or the worker's thread if it has nobody
//! else to wait for: a record then wakes one thread, not two.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::graph::Graph;
use crate::clock::{SharedClock, nanos_of};
use crate::render::{LaneSender, Message};
use crate::sources::{Offset, Reach, Read, Reader, Wake};
use crate::threads::{self, JoinHandle, Place};
use crate::{Error, Result};

/// Longest wait of a bounded read for data that is known to be there.
const BOUNDED_WAIT: Duration = Duration::from_millis(100);

/// Pumps bounded readers to their ends into the lanes of their scan. One reader runs on the calling thread; several in parallel.
/// `spread`: chunks of one reader may go to different lanes (nothing depends on the order of rows).
pub(crate) fn pump_all(
    readers: Vec<Box<dyn Reader>>,
    lanes: &[LaneSender],
    spread: bool,
    clock: &SharedClock,
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    if readers.len() <= 1 {
        return readers
            .into_iter()
            .enumerate()
            .try_for_each(|(i, reader)| pump(reader, lanes, i, spread, clock, stopped));
    }
    std::thread::scope(|scope| {
        let start = |(i, reader)| {
            let place = Place::reserve(&format!("reader {i}"));
            let own = place.clone();
            let body = move || {
                let _turns = own.enter();
                pump(reader, lanes, i, spread, clock, stopped)
            };
            (place, scope.spawn(body))
        };
        let (places, running): (Vec<_>, Vec<_>) = readers.into_iter().enumerate().map(start).unzip();
        places.iter().for_each(Place::wait_until_left);
        running
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(Error::internal("a reader panicked"))))
    })
}

fn pump(
    mut reader: Box<dyn Reader>,
    lanes: &[LaneSender],
    first: usize,
    spread: bool,
    clock: &SharedClock,
    stopped: &dyn Fn() -> bool,
) -> Result<()> {
    let mut lane = first % lanes.len();
    loop {
        match reader.next(BOUNDED_WAIT)? {
            Read::End => return Ok(()),
            Read::Idle if stopped() => return Ok(()),
            Read::Idle => {}
            read => {
                if !lanes[lane].send(Message::Data(read, clock.nanos()), stopped) {
                    return Ok(());
                }
                if spread {
                    lane = (lane + 1) % lanes.len();
                }
            }
        }
    }
}

/// What a reader's thread tells the driver.
pub(crate) enum Report {
    /// The reader closed an epoch at this place.
    Closed {
        /// Scan and reader.
        reader: (usize, usize),
        /// The epoch that begins now.
        epoch: u64,
        /// The place reached.
        offset: Offset,
    },
    /// Reading failed.
    Failed(Error),
}

/// Signals between the driver and the readers' threads of a continuous query.
#[derive(Default)]
pub(crate) struct Signals {
    /// The epoch that readers should be in.
    pub epoch: AtomicU64,
    /// Readers should end.
    pub stop: AtomicBool,
    /// The driver waits until there is nothing more to read.
    pub awaited: AtomicBool,
    /// Tells the driver that a reader has come to the end of its source, or found nothing while that is awaited.
    pub news: Option<Wake>,
}

/// How a reader waits.
pub(crate) struct Waiting {
    /// The clock it looks at.
    pub clock: SharedClock,
    /// How long it waits for data before it looks at its signals.
    pub wait: Duration,
    /// For how long after it had something it looks again and again instead, which saves waking it up and costs a processor.
    pub busy_poll: Duration,
    /// After which time without rows it is idle, if ever.
    pub idle_timeout: Option<Duration>,
}

/// A reader that is pumped until the query stops.
pub(crate) struct Running {
    pumped: Pumped,
    interrupt: Option<Arc<dyn Fn() + Send + Sync>>,
    looks: Arc<AtomicU64>,
}

/// Turns of a loop that does nothing between two looks of a reader that polls, about a tenth of a microsecond.
const BETWEEN_POLLS: usize = 8;

/// The count of looks of a reader that has come to the end of its source: it need not look any more.
const ENDED: u64 = u64::MAX;

/// Who pumps a reader.
enum Pumped {
    /// A thread of its own.
    Alone(Option<JoinHandle<()>>),
    /// The worker; nothing is ever sent, the other end is gone when it has ended.
    ByWorker(Receiver<Infallible>),
}

impl Running {
    /// Starts pumping on a thread.
    pub fn start(mut pump: Pump) -> Result<Self> {
        let (interrupt, looks) = (pump.reader.interrupt(), pump.looks.clone());
        let name = format!("thalweg-read-{}-{}", pump.number.0, pump.number.1);
        let thread = threads::spawn(&name, move || pump.run())?;
        Ok(Running { pumped: Pumped::Alone(Some(thread)), interrupt, looks })
    }

    /// Lets the only worker of `graph` pump.
    pub fn board(pump: Pump, graph: &Graph) -> Self {
        let (interrupt, looks) = (pump.reader.interrupt(), pump.looks.clone());
        let (aboard, left) = bounded(0);
        graph.board(Guest { pump, _aboard: aboard });
        Running { pumped: Pumped::ByWorker(left), interrupt, looks }
    }

    /// How often it has looked and found nothing.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Acquire)
    }

    /// Makes a waiting reader look again, at its source and its signals.
    pub fn interrupt(&self) {
        if let Some(interrupt) = &self.interrupt {
            interrupt();
        }
    }

    /// Waits for the end of pumping.
    pub fn join(&mut self) {
        self.interrupt();
        match &mut self.pumped {
            // A panic has been reported by the thread's own guard.
            Pumped::Alone(thread) => drop(thread.take().map(JoinHandle::join)),
            Pumped::ByWorker(left) => drop(threads::receive(left, None)),
        }
    }
}

/// A pump on its way to the worker, or there.
pub(super) struct Guest {
    pump: Pump,
    /// Tells the driver by its end that the pump has ended.
    _aboard: Sender<Infallible>,
}

impl Guest {
    /// Hands over what there is or waits for it, at most so long; false when it has ended.
    pub fn turn(&mut self, wait: Option<Duration>) -> bool {
        let wait = wait.map_or(self.pump.wait, |wait| wait.min(self.pump.wait));
        self.pump.guarded(|pump| pump.turn(wait))
    }
}

/// Moves what a reader gives into its lanes.
pub(super) struct Pump {
    reader: Box<dyn Reader>,
    number: (usize, usize),
    lanes: Vec<LaneSender>,
    lane: usize,
    signals: Arc<Signals>,
    clock: SharedClock,
    reports: Sender<Report>,
    wait: Duration,
    busy_poll: Duration,
    /// When the reader had something last.
    found: u64,
    looks: Arc<AtomicU64>,
    epoch: u64,
    activity: Activity,
    ended: bool,
}

/// How long a partition has had nothing, on a clock that runs only while it could have been read: not while the lane is full,
/// and of a time in which nobody looked (the process was stopped, the machine slept) at most a quarter of the timeout.
struct Activity {
    /// Nanoseconds after which the partition is idle; `None` for never.
    timeout: Option<u64>,
    rested: u64,
    /// Rest since it was last sure that the partition could be read.
    open: u64,
    told: bool,
}

impl Activity {
    fn new(timeout: Option<Duration>) -> Self {
        let timeout = timeout.map(|timeout| nanos_of(timeout).max(4));
        Activity { timeout, rested: 0, open: 0, told: false }
    }

    fn found(&mut self) {
        (self.rested, self.open) = (0, 0);
        self.told = false;
    }

    /// Nothing was found for so long; true if the partition is idle from now on.
    fn rest(&mut self, nanos: u64, reach: Reach) -> bool {
        let Some(timeout) = self.timeout.filter(|_| !self.told) else { return false };
        self.open += nanos.min(timeout / 4);
        match reach {
            Reach::Open => return false,
            Reach::Lost => self.open = 0,
            Reach::Sure => self.rested += std::mem::take(&mut self.open),
        }
        self.told = self.rested >= timeout - timeout % 4;
        self.told
    }
}

impl Pump {
    /// Will read from `reader`, which has this number (of the scan, within it), into `lanes`.
    pub fn new(
        reader: Box<dyn Reader>,
        number: (usize, usize),
        lanes: Vec<LaneSender>,
        signals: Arc<Signals>,
        reports: Sender<Report>,
        waiting: Waiting,
    ) -> Self {
        let Waiting { clock, wait, busy_poll, idle_timeout } = waiting;
        // Read here and not on the thread: an epoch that is asked for before the thread runs must be answered, too.
        let epoch = signals.epoch.load(Ordering::Acquire);
        let (looks, activity) = (Arc::default(), Activity::new(idle_timeout));
        let (lane, ended, found) = (0, false, clock.nanos());
        Pump {
            reader,
            number,
            lanes,
            lane,
            signals,
            clock,
            reports,
            wait,
            busy_poll,
            found,
            looks,
            epoch,
            activity,
            ended,
        }
    }

    fn run(&mut self) {
        while self.guarded(|pump| pump.turn(pump.wait)) {}
    }

    /// Does it; false if that was the last, also because it failed, which the driver hears.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<bool>) -> bool {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(self)));
        let error = match done {
            Ok(Ok(more)) => return more,
            Ok(Err(error)) => error,
            Err(_) => Error::internal("a reader panicked"),
        };
        // A driver that is gone hears nothing.
        let _ = self.reports.send(Report::Failed(error));
        false
    }

    /// Carries a new epoch on, then hands over what there is or waits for it; false once the query stops.
    fn turn(&mut self, wait: Duration) -> Result<bool> {
        let stops = self.signals.stop.load(Ordering::Acquire);
        self.follow_epoch();
        if !stops {
            self.read(wait)?;
        }
        Ok(!stops)
    }

    fn read(&mut self, wait: Duration) -> Result<()> {
        let before = self.clock.nanos();
        if self.ended {
            threads::rest(wait);
            self.rest(before);
            return Ok(());
        }
        match self.next(wait)? {
            Read::Idle => self.rest(before),
            Read::End => {
                self.ended = true;
                self.looks.store(ENDED, Ordering::Release);
                self.tell();
            }
            read => {
                self.activity.found();
                self.send(read);
            }
        }
        Ok(())
    }

    /// What the reader has, or gets within the wait. For some time after it had something last, this polls.
    fn next(&mut self, wait: Duration) -> Result<Read> {
        if self.busy_poll.is_zero() {
            return self.reader.next(wait);
        }
        let (begun, wait) = (self.clock.nanos(), nanos_of(wait));
        let until = begun.saturating_add(wait).min(self.found.saturating_add(nanos_of(self.busy_poll)));
        let mut now = begun;
        while now < until {
            match self.reader.next(Duration::ZERO)? {
                Read::Idle if self.is_called() => return Ok(Read::Idle),
                Read::Idle => (0..BETWEEN_POLLS).for_each(|_| std::hint::spin_loop()),
                read => return Ok(self.noted(read)),
            }
            now = self.clock.nanos();
        }
        let rest = wait.saturating_sub(now.saturating_sub(begun));
        let read = self.reader.next(Duration::from_nanos(rest))?;
        Ok(self.noted(read))
    }

    /// Remembers when there was something.
    fn noted(&mut self, read: Read) -> Read {
        if !matches!(read, Read::Idle) {
            self.found = self.clock.nanos();
        }
        read
    }

    /// Whether the driver wants something that can be had at once; a reader that waits is told so by an interruption.
    fn is_called(&self) -> bool {
        let Signals { epoch, stop, awaited, .. } = &*self.signals;
        let is_asked = awaited.load(Ordering::Acquire) && !self.reader.behind();
        is_asked || epoch.load(Ordering::Acquire) != self.epoch || stop.load(Ordering::Acquire)
    }

    /// There was nothing since `before`.
    fn rest(&mut self, before: u64) {
        if self.activity.rest(self.clock.nanos().saturating_sub(before), self.reader.reach()) {
            let stopped = || self.signals.stop.load(Ordering::Acquire);
            self.lanes.iter().for_each(|lane| {
                lane.send(Message::Quiet, &stopped);
            });
        }
        if !self.ended && !self.reader.behind() {
            self.looks.fetch_add(1, Ordering::AcqRel);
            if self.signals.awaited.load(Ordering::Acquire) {
                self.tell();
            }
        }
    }

    fn tell(&self) {
        self.signals.news.iter().for_each(|tell| tell());
    }

    fn send(&mut self, read: Read) {
        let message = Message::Data(read, self.clock.nanos());
        let signals = self.signals.clone();
        self.lanes[self.lane].send(message, &|| signals.stop.load(Ordering::Acquire));
        self.lane = (self.lane + 1) % self.lanes.len();
    }

    /// Carries the epoch the driver asks for into the lanes.
    fn follow_epoch(&mut self) {
        let epoch = self.signals.epoch.load(Ordering::Acquire);
        if epoch <= self.epoch {
            return;
        }
        self.epoch = epoch;
        for lane in &self.lanes {
            lane.send(Message::Epoch(epoch), &|| false);
        }
        let offset = self.reader.offset();
        let _ = self.reports.send(Report::Closed { reader: self.number, epoch, offset });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::render::lane;

    struct Nothing;

    impl Reader for Nothing {
        fn next(&mut self, _: Duration) -> Result<Read> {
            Ok(Read::Idle)
        }

        fn offset(&self) -> Offset {
            serde_json::json!(7)
        }
    }

    fn pump(signals: &Arc<Signals>, reports: Sender<Report>) -> Pump {
        let nothing = Duration::ZERO;
        let waiting = Waiting { clock: ManualClock::at(0), wait: nothing, busy_poll: nothing, idle_timeout: None };
        // The lane's other end is gone: what is sent into it is lost.
        let (sender, _) = lane(0, None, Arc::default(), 0);
        Pump::new(Box::new(Nothing), (0, 0), vec![sender], signals.clone(), reports, waiting)
    }

    #[test]
    fn t05_a_partition_is_idle_after_time_in_which_it_could_be_read_for_sure() {
        let mut activity = Activity::new(Some(Duration::from_nanos(100)));
        let mut rest = |times: usize, reach| (0..times).any(|_| activity.rest(25, reach));
        assert!(!rest(3, Reach::Sure));
        assert!(!rest(9, Reach::Open), "nobody knows yet");
        assert!(!rest(1, Reach::Lost), "all of that was in vain");
        assert!(rest(1, Reach::Sure));
        assert!(!rest(1, Reach::Sure), "it is told once");
        activity.found();
        let mut rest = |times: usize, reach| (0..times).any(|_| activity.rest(25, reach));
        assert!(!rest(4, Reach::Open));
        assert!(rest(1, Reach::Sure), "it could be read all the time");
    }

    #[test]
    fn an_epoch_that_is_asked_for_before_the_thread_runs_is_answered() {
        let (signals, (sender, reports)) = (Arc::new(Signals::default()), crossbeam_channel::unbounded());
        let mut pump = pump(&signals, sender);
        signals.epoch.store(1, Ordering::Release);
        signals.stop.store(true, Ordering::Release);
        pump.run();
        let Ok(Report::Closed { epoch, offset, .. }) = reports.try_recv() else { panic!("the epoch is not answered") };
        assert_eq!((epoch, offset), (1, serde_json::json!(7)));
    }
}
