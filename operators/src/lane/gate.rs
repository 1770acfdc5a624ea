//! Where a region begins: gives rows their tick, and ends ticks.
//!
//! In: the chunks of all the region's inputs, in outer time; the ticks of the other workers. Out: the same chunks at
//! `(epoch, tick)`. Under [`Pace::Eager`] a tick ends as soon as its rows have been handed over, under [`Pace::Epoch`] with the
//! epoch. What must always hold: no output depends on an input's time (an empty summary), the gate holds one capability an output
//! and only raises it; a worker without rows follows the ticks of the others, which are broadcast, or it would hold them up.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Capability, ConnectLoop, Feedback};
use timely::dataflow::{Scope, Stream};
use timely::progress::Antichain;
use timely::progress::frontier::MutableAntichain;

use super::{Fine, FineStream, Place};
use crate::chunk::MAX_ROWS;
use crate::time::Unchanged;
use crate::{Chunk, Pace};

/// A tick that a worker has ended, and when the oldest of its rows had entered the engine.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
struct News {
    time: Fine,
    ingest: u64,
}

/// When the oldest rows of each tick entered the engine; shared by gate and exit of a worker.
#[derive(Clone, Default)]
pub(super) struct Arrivals(Rc<RefCell<BTreeMap<Fine, u64>>>);

impl Arrivals {
    fn note(&self, time: Fine, ingest: u64) {
        if ingest != 0 {
            let mut known = self.0.borrow_mut();
            let first = known.entry(time).or_insert(ingest);
            *first = ingest.min(*first);
        }
    }

    /// The instant for results of `time` (0: unknown); those before it are forgotten.
    pub fn take(&self, time: Fine) -> u64 {
        let mut known = self.0.borrow_mut();
        let later = known.split_off(&time);
        *known = later;
        known.get(&time).copied().unwrap_or(0)
    }
}

/// An empty connection: the gate's outputs do not follow from its inputs' times.
fn unconnected() -> Vec<(usize, Antichain<Unchanged>)> {
    Vec::new()
}

type Sender = OutputBuilder<Fine, CapacityContainerBuilder<Chunk>>;
type Receiver = Box<dyn FnMut(&mut dyn FnMut(u64, Chunk))>;

/// Puts the gate before `inputs`; with each input the rows that it held before the restart, which enter at tick 0.
pub(super) fn gate<'scope>(
    scope: Scope<'scope, Fine>,
    place: &Place,
    inputs: Vec<(FineStream<'scope>, Vec<RecordBatch>)>,
) -> (Vec<FineStream<'scope>>, Arrivals) {
    let mut builder = OperatorBuilder::new(format!("{}-gate", place.name), scope);
    let arrivals = Arrivals::default();
    let mut core = Core::new(place, arrivals.clone());
    let (mut receivers, mut senders, mut streams): (Vec<Receiver>, Vec<Sender>, _) =
        (Vec::new(), Vec::new(), Vec::new());
    for (stream, held) in inputs {
        let mut handle = builder.new_input_connection(stream, Pipeline, unconnected());
        receivers.push(Box::new(move |accept| {
            handle.for_each(|time, chunk| accept(time.time().epoch, std::mem::take(chunk)));
        }));
        core.held.push(held);
        core.waiting.push(VecDeque::new());
    }
    let ports = receivers.len();
    let shared = scope.peers() > 1 && place.pace == Pace::Eager;
    let (feedback, news_in) = scope.feedback::<Vec<News>>(Unchanged);
    let mut news_in = builder.new_input_connection(news_in, Pipeline, unconnected());
    for _ in 0..ports {
        let (output, stream) = builder.new_output_connection::<Chunk, _>(unconnected());
        senders.push(OutputBuilder::from(output));
        streams.push(stream);
    }
    let (news_out, news) = builder.new_output_connection::<Vec<News>, _>(unconnected());
    let mut news_out: OutputBuilder<Fine, CapacityContainerBuilder<Vec<News>>> = OutputBuilder::from(news_out);
    builder.build(move |capabilities| {
        core.capabilities = capabilities;
        if !shared {
            core.capabilities.truncate(ports);
        }
        move |frontiers| {
            for (port, receive) in receivers.iter_mut().enumerate() {
                receive(&mut |epoch, chunk| core.waiting[port].push_back((epoch, chunk)));
            }
            news_in.for_each(|_, news| news.drain(..).for_each(|news| core.hear(news)));
            let ended = core.step(&frontiers[..ports], |port, capability, chunk| {
                senders[port].activate().session(capability).give_container(chunk);
            });
            if let (Some(capability), false) = (core.capabilities.get(ports), ended.is_empty()) {
                let mut output = news_out.activate();
                let mut session = output.session(capability);
                ended.into_iter().for_each(|news| session.give(news));
            }
            core.raise();
        }
    });
    connect(news, feedback);
    (streams, arrivals)
}

/// What a worker has ended is heard by all.
fn connect<'scope>(
    news: Stream<'scope, Fine, Vec<News>>,
    feedback: timely::dataflow::operators::core::feedback::Handle<'scope, Fine, Vec<News>>,
) {
    news.broadcast().connect_loop(feedback);
}

/// The gate without its ports.
struct Core {
    eager: bool,
    time: Fine,
    started: bool,
    held: Vec<Vec<RecordBatch>>,
    /// Chunks that have arrived, by port, with their epochs.
    waiting: Vec<VecDeque<(u64, Chunk)>>,
    /// One an output, then one for news; empty once all inputs have ended.
    capabilities: Vec<Capability<Fine>>,
    arrivals: Arrivals,
    ended: bool,
}

impl Core {
    fn new(place: &Place, arrivals: Arrivals) -> Self {
        Core {
            eager: place.pace == Pace::Eager,
            time: Fine::new(place.epoch, 0),
            started: false,
            held: Vec::new(),
            waiting: Vec::new(),
            capabilities: Vec::new(),
            arrivals,
            ended: false,
        }
    }

    /// Another worker (or this one) has ended a tick.
    fn hear(&mut self, news: News) {
        self.time.tick = self.time.tick.max(news.time.tick + 1);
        self.arrivals.note(news.time, news.ingest);
    }

    /// Hands over what belongs to the epochs that the inputs have reached; the ticks that ended with it.
    fn step(
        &mut self,
        frontiers: &[MutableAntichain<Fine>],
        mut send: impl FnMut(usize, &Capability<Fine>, &mut Chunk),
    ) -> Vec<News> {
        if self.capabilities.is_empty() {
            return Vec::new();
        }
        self.start(&mut send);
        let open = frontiers.iter().flat_map(|frontier| frontier.frontier().iter().map(|time| time.epoch).min()).min();
        let mut ended = Vec::new();
        loop {
            ended.extend(self.release(&mut send));
            let more = self.waiting.iter().any(|chunks| !chunks.is_empty());
            match open {
                Some(epoch) if epoch > self.time.epoch => self.time.epoch += 1,
                None if more => self.time.epoch += 1,
                Some(_) => break,
                None => {
                    self.ended = true;
                    break;
                }
            }
            self.raise_rows();
        }
        ended
    }

    /// What was there before the restart enters at tick 0.
    fn start(&mut self, send: &mut impl FnMut(usize, &Capability<Fine>, &mut Chunk)) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.raise_rows();
        for (port, held) in std::mem::take(&mut self.held).into_iter().enumerate() {
            for rows in held {
                for start in (0..rows.num_rows()).step_by(MAX_ROWS) {
                    let piece = rows.slice(start, MAX_ROWS.min(rows.num_rows() - start));
                    send(port, &self.capabilities[port], &mut Chunk::new(piece, 0, 0));
                }
            }
        }
        self.time.tick = self.time.tick.max(1);
        self.raise_rows();
    }

    /// Sends the rows of the epoch in progress. Under the continuous driver that ends the tick.
    fn release(&mut self, send: &mut impl FnMut(usize, &Capability<Fine>, &mut Chunk)) -> Option<News> {
        let mut ingest = None;
        for (port, waiting) in self.waiting.iter_mut().enumerate() {
            while waiting.front().is_some_and(|(epoch, _)| *epoch <= self.time.epoch) {
                let Some((_, mut chunk)) = waiting.pop_front() else { break };
                ingest = Some(oldest(ingest, chunk.ingest));
                send(port, &self.capabilities[port], &mut chunk);
            }
        }
        let news = News { time: self.time, ingest: ingest? };
        self.arrivals.note(news.time, news.ingest);
        if !self.eager {
            return None;
        }
        self.time.tick += 1;
        self.raise_rows();
        Some(news)
    }

    fn raise_rows(&mut self) {
        let time = self.time;
        let ports = self.waiting.len();
        self.capabilities.iter_mut().take(ports).for_each(|capability| capability.downgrade(&time));
    }

    /// Raises all capabilities to the tick in progress; without inputs there is none any more.
    fn raise(&mut self) {
        if self.ended {
            self.capabilities.clear();
        }
        let time = self.time;
        self.capabilities.iter_mut().for_each(|capability| capability.downgrade(&time));
    }
}

/// The older of two instants, 0 being unknown.
fn oldest(known: Option<u64>, other: u64) -> u64 {
    match known {
        None | Some(0) => other,
        Some(known) if other == 0 => known,
        Some(known) => known.min(other),
    }
}
