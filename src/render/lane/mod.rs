//! Lanes: how data gets from an ingest thread into a worker's graph.
//!
//! ```text
//!  ingest thread ── LaneSender ──► bounded channel ──► Lane (a Feed: a Maker decodes, runs the steps behind the scan) ──► source operator
//!                     │  └── wakes the worker             ▲ what hands have made, in its place
//!                     └── Backlog ──► Hand: a Maker on a worker that has nothing else to do, the lane's own among them
//! ```
//!
//! Invariants: the channel is bounded, so a slow graph slows its source down; a lane carries rows and epochs in order, whoever has
//! made them; decoding happens on workers, building only the columns that the query needs.

mod backlog;
mod maker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, TryRecvError, bounded};
use thalweg_operators::Chunk;
use thalweg_operators::source::{Fed, Feed};
use thalweg_operators::stateless::Step;
use timely::scheduling::SyncActivator;

use self::backlog::{Backlog, Slot};
pub(crate) use self::backlog::{Hand, Helper};
use self::maker::{Made, Maker};
use crate::formats::Decoder;
use crate::sources::Read;
use crate::threads;

/// Messages that may wait in a lane, for each worker that works on it. A message is at most about 1 MiB, of a file 128 KiB: what waits
/// should still be in the cache when the worker comes to it.
const DEPTH: usize = 4;

/// What travels through a lane.
pub(crate) enum Message {
    /// Something read, and when it was (nanoseconds of the query's clock).
    Data(Read, u64),
    /// Something read that any worker may work on: what becomes of it.
    Shared(Arc<Slot>),
    /// The partition has been idle for so long that watermarks need not wait for it.
    Quiet,
    /// Everything before this epoch has been sent.
    Epoch(u64),
    /// Nothing will follow.
    End,
}

/// Rows that a scan has delivered, counted where they enter the graph.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    rows: AtomicU64,
}

impl Gauge {
    /// Rows since the last call.
    pub fn take(&self) -> u64 {
        self.rows.swap(0, Ordering::AcqRel)
    }

    fn add(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::AcqRel);
    }
}

/// Wakes the operator that a lane ends in, once there is one.
#[derive(Clone, Default)]
struct Bell(Arc<OnceLock<Mutex<SyncActivator>>>);

impl Bell {
    fn hang(&self, activator: SyncActivator) {
        // An operator has one activator.
        let _ = self.0.set(Mutex::new(activator));
    }

    fn ring(&self) {
        if let Some(activator) = self.0.get() {
            // A worker that is gone needs no waking.
            let _ = activator.lock().unwrap_or_else(PoisonError::into_inner).activate();
        }
    }
}

/// The worker's end of a lane.
pub(crate) struct Lane {
    number: u32,
    messages: Option<Receiver<Message>>,
    bell: Bell,
    decoder: Option<Box<dyn Decoder>>,
    gauge: Arc<Gauge>,
    backlog: Option<Arc<Backlog>>,
}

/// The ingest thread's end of a lane.
///
/// Dropping it leaves the lane silent, not ended, and wakes the worker so that it notices if it should end.
pub(crate) struct LaneSender {
    /// `None` only while it is dropped.
    messages: Option<Sender<Message>>,
    bell: Bell,
    backlog: Option<Arc<Backlog>>,
}

/// A lane with this number; frames that travel on it are decoded by `decoder`. `helpers`: how many other workers may help with it.
pub(crate) fn lane(
    number: u32,
    decoder: Option<Box<dyn Decoder>>,
    gauge: Arc<Gauge>,
    helpers: usize,
) -> (LaneSender, Lane) {
    let (sender, receiver) = bounded(DEPTH * (1 + helpers));
    let bell = Bell::default();
    let backlog = (helpers > 0).then(Arc::<Backlog>::default);
    let lane = Lane { number, messages: Some(receiver), bell: bell.clone(), decoder, gauge, backlog: backlog.clone() };
    (LaneSender { messages: Some(sender), bell, backlog }, lane)
}

impl LaneSender {
    /// Sends and wakes the worker. Waits while the lane is full; gives up, returning false, once `stopped` says so or the
    /// worker is gone.
    pub fn send(&self, message: Message, stopped: &dyn Fn() -> bool) -> bool {
        let Some(messages) = &self.messages else { return false };
        let mut message = match (&self.backlog, message) {
            // The worker has more than it is at.
            (Some(backlog), Message::Data(read, ingest)) if !messages.is_empty() => {
                Message::Shared(backlog.add(read, ingest))
            }
            (_, message) => message,
        };
        loop {
            match threads::send(messages, message, Some(Duration::from_millis(50))) {
                Ok(()) => {
                    self.bell.ring();
                    threads::chance();
                    return true;
                }
                Err(SendTimeoutError::Disconnected(_)) => return false,
                Err(SendTimeoutError::Timeout(_)) if stopped() => return false,
                Err(SendTimeoutError::Timeout(back)) => message = back,
            }
        }
    }
}

impl Drop for LaneSender {
    fn drop(&mut self) {
        self.messages = None;
        self.bell.ring();
    }
}

impl Lane {
    /// The lane as the workers see it on which it is not alive.
    pub fn absent() -> Self {
        let gauge = Arc::default();
        Lane { number: 0, messages: None, bell: Bell::default(), decoder: None, gauge, backlog: None }
    }

    /// What a worker needs to help with this lane, by a decoder of its own; `None` if nobody may.
    pub fn helper(&self, decoder: Option<Box<dyn Decoder>>) -> Option<Helper> {
        Some(Helper::new(self.number, self.backlog.clone()?, self.bell.clone(), decoder))
    }

    /// Becomes the feed of a source operator, with the steps right behind the scan.
    pub fn open(self, steps: Vec<Step>, activator: SyncActivator) -> Box<dyn Feed> {
        // What was sent before the operator existed is found by its first poll.
        self.bell.hang(activator);
        Box::new(self.reading(steps))
    }

    fn reading(self, steps: Vec<Step>) -> OpenLane {
        let maker = Maker::new(self.number, self.decoder, steps);
        let (number, messages, gauge) = (self.number, self.messages, self.gauge);
        OpenLane { number, messages, gauge, maker, awaited: None, made: Made::default() }
    }
}

/// A lane as it is read.
struct OpenLane {
    number: u32,
    messages: Option<Receiver<Message>>,
    gauge: Arc<Gauge>,
    maker: Maker,
    /// What comes next, if a hand has it.
    awaited: Option<Arc<Slot>>,
    /// What comes first.
    made: Made,
}

impl OpenLane {
    /// Takes what comes next; something to hand over now, or nothing if it only lies ready then.
    fn advance(&mut self) -> thalweg_operators::Result<Option<Fed>> {
        if let Some(slot) = self.awaited.take() {
            return self.wait_for(slot);
        }
        let Some(messages) = &self.messages else { return Ok(Some(Fed::End)) };
        match messages.try_recv() {
            Ok(Message::Data(read, ingest)) => {
                self.maker.make(read, ingest, &mut self.made)?;
                self.gauge.add(self.made.rows);
            }
            Ok(Message::Shared(slot)) => self.awaited = Some(slot),
            Ok(Message::Quiet) => return Ok(Some(Fed::Rows(Chunk::quiet(self.number)))),
            Ok(Message::Epoch(epoch)) => return Ok(Some(Fed::Epoch(epoch))),
            Ok(Message::End) => return Ok(Some(Fed::End)),
            // A reader that has gone has not said that nothing follows: windows must not close because a query stops.
            Err(TryRecvError::Disconnected | TryRecvError::Empty) => return Ok(Some(Fed::Idle)),
        }
        Ok(None)
    }

    /// Takes what lies in the slot. Until something does, this worker has better things to do: if it has not, its hand is in the lane, too.
    fn wait_for(&mut self, slot: Arc<Slot>) -> thalweg_operators::Result<Option<Fed>> {
        let Some(made) = slot.take() else {
            self.awaited = Some(slot);
            return Ok(Some(Fed::Idle));
        };
        self.made = made?;
        self.gauge.add(self.made.rows);
        Ok(None)
    }
}

impl Feed for OpenLane {
    fn next(&mut self) -> thalweg_operators::Result<Fed> {
        loop {
            if let Some(chunk) = self.made.chunks.pop_front() {
                return Ok(Fed::Rows(chunk));
            }
            if let Some(fed) = self.advance()? {
                return Ok(fed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    fn row(value: i64) -> Message {
        let column: ArrayRef = Arc::new(Int64Array::from_value(value, 1));
        let rows = RecordBatch::try_from_iter([("value", column)]).expect("one column");
        Message::Data(Read::Rows(rows), 1)
    }

    /// What comes out, as numbers: a row's, or an epoch's with its sign turned.
    fn number(fed: &Fed) -> Option<i64> {
        match fed {
            Fed::Rows(chunk) => Some(chunk.rows()?.column(0).as_primitive::<Int64Type>().value(0)),
            Fed::Epoch(epoch) => Some(-(*epoch as i64)),
            Fed::Idle | Fed::End => None,
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Move {
        Row,
        Epoch,
        Read,
        Help(usize),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![3 => Just(Move::Row), 1 => Just(Move::Epoch), 2 => Just(Move::Read), 2 => (0..2usize).prop_map(Move::Help)];
        prop::collection::vec(one, 0..60)
    }

    proptest! {
        /// Whoever works on them, rows and epochs come out as they went in.
        #[test]
        fn a_lane_keeps_its_order_whoever_helps(moves in moves()) {
            let (sender, lane) = lane(3, None, Arc::default(), 2);
            let gauge = lane.gauge.clone();
            let helper = |_| lane.helper(None).expect("it may be helped with").hand(Vec::new());
            let mut hands: Vec<Hand> = (0..2).map(helper).collect();
            let mut lane = lane.reading(Vec::new());
            let (mut sent, mut read) = (Vec::new(), Vec::new());
            let mut next = 0;
            for step in moves {
                match step {
                    Move::Read => read.extend(lane.next().ok().as_ref().and_then(number)),
                    Move::Help(hand) => drop(hands[hand].help()),
                    // As many as surely have room: the test has no second thread.
                    Move::Row | Move::Epoch if sent.len() - read.len() >= DEPTH * 3 => {}
                    Move::Row | Move::Epoch => {
                        next += 1;
                        let is_row = matches!(step, Move::Row);
                        let message = if is_row { row(next) } else { Message::Epoch(next as u64) };
                        prop_assert!(sender.send(message, &|| false));
                        sent.push(if is_row { next } else { -next });
                    }
                }
            }
            while hands[0].help() {}
            while let Some(number) = lane.next().ok().as_ref().and_then(number) {
                read.push(number);
            }
            let rows = sent.iter().filter(|number| **number > 0).count();
            prop_assert_eq!(read, sent);
            prop_assert_eq!(gauge.take(), rows as u64);
        }
    }

    #[test]
    fn a_failure_comes_in_its_place_and_what_is_not_made_yet_is_not_waited_for() {
        let failing: fn() -> Vec<Step> = || {
            vec![Box::new(|rows: RecordBatch| match rows.column(0).as_primitive::<Int64Type>().value(0) {
                3 => Err(thalweg_operators::Error::Internal("three".into())),
                _ => Ok(rows),
            })]
        };
        let (sender, lane) = lane(0, None, Arc::default(), 1);
        let mut hand = lane.helper(None).expect("it may be helped with").hand(failing());
        let mut lane = lane.reading(failing());
        (1..=4).for_each(|value| assert!(sender.send(row(value), &|| false)));
        assert_eq!(number(&lane.next().unwrap()), Some(1), "nothing was before it");
        assert!(matches!(lane.next(), Ok(Fed::Idle)), "the worker may have better things to do");
        assert!(hand.help() && hand.help() && hand.help() && !hand.help());
        assert_eq!(number(&lane.next().unwrap()), Some(2));
        assert_eq!(lane.next().err().map(|error| error.to_string()), Some("internal error: three".to_owned()));
        assert_eq!(number(&lane.next().unwrap()), Some(4));
        assert!(matches!(lane.next(), Ok(Fed::Idle)));
    }
}
