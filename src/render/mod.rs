//! Dataflow plan → timely graph: the only place that names both.
//!
//! In: a [`DataflowPlan`] and what one worker has at hand ([`Worker`]: lanes, clocks, restored state, a writer). Out: a graph in
//! the worker's scope, from lanes to the sink. Every worker builds the same graph; a lane is alive on one of them only.

mod arbitrary;
mod join;
mod lane;
mod observer;
mod region;
mod sink;
mod stateful;
mod steps;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use thalweg_operators::driver::{Observer, Place, drive};
use thalweg_operators::exchange::Route;
use thalweg_operators::source::source;
use thalweg_operators::stateless::stateless;
use thalweg_operators::watermark::{EventClock, Watermark};
use thalweg_operators::{ChunkStream, Logic, Output, Pace, Time};
use timely::dataflow::Scope;
use timely::dataflow::operators::Concatenate;

use crate::clock::SharedClock;
use crate::functions::datetime::now::{BatchTime, WALL_CLOCK};
use crate::plan::dataflow::{DataflowPlan, Kind, Node};
use crate::{Error, Result};

pub(crate) use lane::{Gauge, Lane, LaneSender, Message, lane};
pub(crate) use observer::{Event, EventObserver};
pub(crate) use sink::SinkLogic;
pub(crate) use steps::conform;

/// What all workers of a query share.
pub(crate) struct Shared {
    /// The plan.
    pub plan: DataflowPlan,
    /// When results leave.
    pub pace: Pace,
    /// The first epoch.
    pub epoch: u64,
    /// The watermark taken as delivered before it.
    pub watermark: i64,
    /// One per `withWatermark`.
    pub clocks: Vec<Arc<EventClock>>,
    /// Static sides of joins.
    pub statics: Vec<RecordBatch>,
    /// Lanes of each scan: `(lane number, worker)`.
    pub lanes: Vec<Vec<(u32, usize)>>,
    /// State to start from, by operator.
    pub state: HashMap<String, Vec<RecordBatch>>,
    /// The clocks.
    pub clock: SharedClock,
    /// The time of the batch, if there are batches.
    pub batch_time: BatchTime,
}

impl Shared {
    /// Processing time, in microseconds since 1970: that of the batch, or the clock's.
    fn processing_time(&self) -> impl Fn() -> i64 + Send + 'static {
        let (clock, batch_time) = (self.clock.clone(), self.batch_time.clone());
        move || match batch_time.load(Ordering::Acquire) {
            WALL_CLOCK => clock.wall_micros(),
            batch => batch,
        }
    }
}

/// What one worker has.
pub(crate) struct Worker {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Its number.
    pub index: usize,
    /// Number of workers.
    pub peers: usize,
    /// Lanes alive here, by lane number.
    pub lanes: HashMap<u32, Lane>,
    /// Where failures and snapshots go.
    pub observer: Rc<EventObserver>,
}

impl Worker {
    /// Builds the graph, ending in `sink`.
    pub fn build(&mut self, scope: Scope<'_, Time>, sink: SinkLogic) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let rows = self.node(scope, &shared.plan.root)?;
        let place = self.place("sink");
        drive(place, vec![(rows, None)], sink);
        Ok(())
    }

    fn node<'scope>(&mut self, scope: Scope<'scope, Time>, node: &Node) -> Result<ChunkStream<'scope>> {
        if let Kind::Scan(scan) = node.kind {
            return self.scan(scope, node, scan);
        }
        if node.is_differential() {
            return self.region(scope, node);
        }
        let mut inputs = Vec::new();
        for input in &node.inputs {
            inputs.push(self.node(scope, input)?);
        }
        match &node.kind {
            Kind::Map(steps) => {
                let steps = steps.iter().map(steps::step).collect::<Result<_>>()?;
                Ok(stateless(first(inputs)?, &node.id, self.observer(), steps))
            }
            Kind::StaticJoin(join) => {
                let step = join::static_join(join, &self.shared.statics)?;
                let step = if node.changelog { region::signed(step) } else { step };
                Ok(stateless(first(inputs)?, &node.id, self.observer(), vec![step]))
            }
            Kind::Union => Ok(scope.concatenate(inputs)),
            Kind::Watermark { clock, column } => Ok(self.watermark(node, *clock, *column, first(inputs)?)),
            _ => self.stateful(node, inputs),
        }
    }

    fn scan<'scope>(&mut self, scope: Scope<'scope, Time>, node: &Node, scan: usize) -> Result<ChunkStream<'scope>> {
        let shared = Arc::clone(&self.shared);
        let streams = shared.lanes[scan].iter().map(|(lane, _)| {
            let feed = self.lanes.remove(lane).unwrap_or_else(Lane::absent);
            source(scope, &node.id, self.observer(), move |activator| feed.open(activator))
        });
        let streams: Vec<_> = streams.collect();
        Ok(scope.concatenate(streams))
    }

    fn watermark<'scope>(
        &self,
        node: &Node,
        clock: usize,
        column: usize,
        input: ChunkStream<'scope>,
    ) -> ChunkStream<'scope> {
        let delay = self.shared.plan.watermarks[clock];
        let partitions = self.partitions(node);
        let clock = Arc::clone(&self.shared.clocks[clock]);
        let logic = Watermark::new(column, delay, self.shared.pace, clock, &partitions);
        drive(self.place(&node.id), vec![(input, None)], logic)
    }

    /// Lanes on this worker of the scans below a node.
    fn partitions(&self, node: &Node) -> Vec<u32> {
        match node.kind {
            Kind::Scan(scan) => {
                let here = self.shared.lanes[scan].iter().filter(|(_, worker)| *worker == self.index);
                here.map(|(lane, _)| *lane).collect()
            }
            _ => node.inputs.iter().flat_map(|input| self.partitions(input)).collect(),
        }
    }

    fn stateful<'scope>(&self, node: &Node, inputs: Vec<ChunkStream<'scope>>) -> Result<ChunkStream<'scope>> {
        let context = stateful::Context { index: self.index, peers: self.peers, shared: &self.shared };
        let (mut logic, routes) = stateful::logic(node, &context)?;
        // What was delivered before a restart holds before the state comes back, so that nothing is closed twice.
        logic.on_watermark(&vec![self.shared.watermark; routes.len()], &mut Output::new(self.shared.pace))?;
        if let Some(state) = self.shared.state.get(&node.id) {
            logic.restore(stateful::own_groups(state, self.index, self.peers, &routes)?).map_err(Error::from)?;
        }
        let routes = routes.into_iter().map(|route| if self.peers > 1 { Some(route) } else { None });
        Ok(drive_boxed(self.place(&node.id), inputs.into_iter().zip(routes).collect(), logic))
    }

    fn place(&self, name: &str) -> Place {
        Place {
            name: name.to_owned(),
            pace: self.shared.pace,
            epoch: self.shared.epoch,
            watermark: self.shared.watermark,
            observer: self.observer(),
        }
    }

    fn observer(&self) -> Rc<dyn Observer> {
        self.observer.clone()
    }
}

fn drive_boxed<'scope>(
    place: Place,
    inputs: Vec<(ChunkStream<'scope>, Option<Route>)>,
    logic: Box<dyn Logic>,
) -> ChunkStream<'scope> {
    thalweg_operators::driver::drive_boxed(place, inputs, logic)
}

fn first<T>(inputs: Vec<T>) -> Result<T> {
    inputs.into_iter().next().ok_or_else(|| Error::internal("an operator has no input"))
}
