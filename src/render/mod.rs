//! Dataflow plan → timely graph: the only place that names both.
//!
//! In: a [`DataflowPlan`] and what one worker has at hand ([`Worker`]: lanes, clocks, restored state, a writer). Out: a graph in
//! the worker's scope, from lanes to the sink. Every worker builds the same graph; a lane is alive on one of them only.

mod arbitrary;
mod join;
mod lane;
mod late;
mod observer;
mod region;
mod sink;
mod stateful;
mod steps;
mod tables;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::RecordBatch;
use thalweg_operators::driver::{Chain, Observer, Place};
use thalweg_operators::keys::{Hashing, owner};
use thalweg_operators::source::Opening;
use thalweg_operators::stateless::{self, stateless};
use thalweg_operators::watermark::{EventClock, Untimed, Watermark, WatermarkSpec};
use thalweg_operators::{Output, Pace, Time};
use timely::dataflow::Scope;
use timely::dataflow::operators::Concatenate;

use crate::checkpoint::StateChain;
use crate::clock::SharedClock;
use crate::cold::{ColdFiles, goes_cold};
use crate::functions::datetime::now::BatchTime;
use crate::plan::dataflow::{DataflowPlan, Kind, Node, Step};
use crate::{Error, Result};
use late::LateStreams;

pub(crate) use lane::{Gauge, Hand, Helper, Lane, LaneSender, Message, lane};
pub(crate) use observer::{Event, EventObserver, Outcome};
pub(crate) use region::entrance;
pub(crate) use sink::SinkLogic;
pub(crate) use steps::conform;
pub(crate) use tables::StaticTable;

/// What all workers of a query share.
pub(crate) struct Shared {
    /// The plan.
    pub plan: DataflowPlan,
    /// When results leave.
    pub pace: Pace,
    /// The first epoch.
    pub epoch: u64,
    /// The watermark taken as delivered before it, at operators that have none of their own in `watermarks`.
    pub watermark: i64,
    /// Per operator, the watermarks of its inputs taken as delivered.
    pub watermarks: HashMap<String, Vec<i64>>,
    /// One per `withWatermark`.
    pub clocks: Vec<Arc<EventClock>>,
    /// Per `withWatermark`, how far ahead a row may be and still move it, in microseconds.
    pub skews: Vec<Option<i64>>,
    /// Static sides of joins.
    pub statics: Vec<Arc<StaticTable>>,
    /// Lanes of each scan: `(lane number, worker)`.
    pub lanes: Vec<Vec<(u32, usize)>>,
    /// How keys are hashed to key groups.
    pub hashing: Hashing,
    /// State to start from, by operator; nothing any more once the graph runs.
    pub state: RwLock<HashMap<String, Vec<RecordBatch>>>,
    /// State to start from of operators that keep it in files, by operator.
    pub chains: HashMap<String, StateChain>,
    /// Where state goes for which there is no memory.
    pub cold: Option<ColdFiles>,
    /// The clocks.
    pub clock: SharedClock,
    /// The time of the batch, if there are batches.
    pub batch_time: BatchTime,
}

impl Shared {
    /// The state an operator starts from.
    fn restored(&self, operator: &str) -> Option<Vec<RecordBatch>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).get(operator).cloned()
    }

    /// All operators have the state they start from.
    pub fn forget_restored(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Processing time, in microseconds since 1970: that of the batch, or the clock's.
    fn processing_time(&self) -> impl Fn() -> i64 + Send + 'static {
        let batch_time = self.batch_time.clone();
        move || batch_time.micros()
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
    /// Lanes, of others or its own, that this one may help with, by lane number.
    pub helpers: HashMap<u32, Helper>,
    /// The hands that it has in them.
    pub hands: Vec<Hand>,
    /// Where failures and snapshots go.
    pub observer: Rc<EventObserver>,
}

impl Worker {
    /// Builds the graph, ending in the first of `sinks`; the branch for late rows, if there is one, ends in the second.
    pub fn build(&mut self, scope: Scope<'_, Time>, sinks: Vec<SinkLogic>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let late_root = shared.plan.late.as_ref().map(|late| &late.root);
        let mut late = LateStreams::default();
        for ((n, sink), root) in sinks.into_iter().enumerate().zip([&shared.plan.root].into_iter().chain(late_root)) {
            let (root, last) = last_steps(root)?;
            let rows = self.node(scope, root, &mut late)?;
            let name = if n == 0 { "sink" } else { "late-sink" };
            rows.then(self.place(name, 1), Box::new(sink.after(last))).build();
        }
        Ok(())
    }

    fn node<'scope>(
        &mut self,
        scope: Scope<'scope, Time>,
        node: &Node,
        late: &mut LateStreams<'scope>,
    ) -> Result<Chain<'scope>> {
        match node.kind {
            Kind::Scan(scan) => return self.scan(scope, node, scan, &[]),
            Kind::Late => return Ok(late.take(scope).into()),
            _ => {}
        }
        if node.is_differential() {
            return Ok(self.region(scope, node, late)?.into());
        }
        if let (Kind::Map(steps), [Node { kind: Kind::Scan(scan), .. }]) = (&node.kind, node.inputs.as_slice()) {
            return self.scan(scope, node, *scan, steps);
        }
        let mut inputs: Vec<Chain<'scope>> = Vec::new();
        for input in &node.inputs {
            inputs.push(self.node(scope, input, late)?);
        }
        match &node.kind {
            Kind::Map(steps) => self.stateless(node, first(inputs)?, steps::all(steps)?),
            Kind::StaticJoin(join) => {
                let step = join::static_join(join, &self.shared.statics)?;
                let step = if node.changelog { region::signed(step) } else { step };
                self.stateless(node, first(inputs)?, vec![step])
            }
            Kind::Union => {
                let rows = inputs.into_iter().zip(&node.inputs);
                let rows: Vec<_> = rows.map(|(rows, input)| self.united(node, input, rows).build()).collect();
                Ok(scope.concatenate(rows).into())
            }
            Kind::Watermark { clock, column } => Ok(self.watermark(node, *clock, *column, first(inputs)?)),
            _ => self.stateful(node, inputs, late),
        }
    }

    fn stateless<'scope>(
        &self,
        node: &Node,
        rows: Chain<'scope>,
        steps: Vec<stateless::Step>,
    ) -> Result<Chain<'scope>> {
        Ok(stateless(rows.build(), &node.id, self.observer(), steps).into())
    }

    /// The lanes of a scan, each with the steps right behind it.
    fn scan<'scope>(
        &mut self,
        scope: Scope<'scope, Time>,
        node: &Node,
        scan: usize,
        behind: &[Step],
    ) -> Result<Chain<'scope>> {
        let shared = Arc::clone(&self.shared);
        let mut sources = Vec::new();
        for (lane, _) in &shared.lanes[scan] {
            let feed = self.lanes.remove(lane).unwrap_or_else(Lane::absent);
            if let Some(helper) = self.helpers.remove(lane) {
                let waker = scope.worker().sync_activator_for(scope.addr().to_vec());
                self.hands.push(helper.begin(steps::all(behind)?, waker));
            }
            let steps = steps::all(behind)?;
            sources.push(Opening::new(scope, &node.id, self.observer(), move |waker| feed.open(steps, waker)));
        }
        match sources.pop() {
            Some(only) if sources.is_empty() && self.peers == 1 => Ok(only.into()),
            last => Ok(scope.concatenate(sources.into_iter().chain(last).map(Opening::build)).into()),
        }
    }

    fn watermark<'scope>(&self, node: &Node, clock: usize, column: usize, input: Chain<'scope>) -> Chain<'scope> {
        let wall = self.shared.clock.clone();
        let spec = WatermarkSpec {
            column,
            delay: self.shared.plan.watermarks[clock],
            pace: self.shared.pace,
            partitions: self.partitions(node),
            skew: self.shared.skews[clock],
            now: Box::new(move || wall.wall_micros()),
        };
        let logic = Watermark::new(spec, Arc::clone(&self.shared.clocks[clock]));
        input.then(self.place(&node.id, 1), Box::new(logic))
    }

    /// An input of a union: without a watermark of its own it goes by that of the others, as in Spark.
    fn united<'scope>(&self, union: &Node, input: &Node, rows: Chain<'scope>) -> Chain<'scope> {
        if input.has_watermark() || !union.has_watermark() {
            return rows;
        }
        rows.then(self.place(&format!("{}-untimed", input.id), 1), Box::new(Untimed))
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

    fn stateful<'scope>(
        &self,
        node: &Node,
        inputs: Vec<Chain<'scope>>,
        late: &mut LateStreams<'scope>,
    ) -> Result<Chain<'scope>> {
        let context = stateful::Context { index: self.index, peers: self.peers, shared: &self.shared };
        let (mut logic, routes) = stateful::logic(node, &context)?;
        logic.hash_by(self.shared.hashing);
        if let Some(cold) = self.shared.cold.as_ref().filter(|_| goes_cold(node))
            && !logic.goes_cold(cold.cold(&node.id, self.index)?)?
        {
            return Err(Error::internal(format!("'{}' keeps all of its state in memory", node.id)));
        }
        let place = self.place(&node.id, routes.len());
        // What was delivered before a restart holds before the state comes back, so that nothing is closed twice.
        logic.on_watermark(&place.watermarks, &mut Output::new(self.shared.pace))?;
        if let Some(state) = self.shared.restored(&node.id) {
            logic.restore(stateful::own_groups(&state, self.index, self.peers, &routes)?).map_err(Error::from)?;
        }
        if let Some(chain) = self.shared.chains.get(&node.id) {
            let own = |group: u8| owner(usize::from(group), self.peers) == self.index;
            chain.each(own, |state| Ok(logic.restore(state)?))?;
        }
        let stays = self.peers == 1 || (matches!(node.kind, Kind::Net(_)) && !stateful::is_scattered(node));
        let inputs = match stateful::before_exchange(node, &context)? {
            Some(half) => vec![first(inputs)?.then(self.place(&format!("{}-partial", node.id), 1), half)],
            None => inputs,
        };
        let routes = routes.into_iter().map(|route| (!stays).then_some(route));
        let rows = Chain::behind(inputs.into_iter().zip(routes).collect(), place, logic);
        let Some(shape) = self.shared.plan.late.as_ref().and_then(|late| late::shape(late, &node.id)) else {
            return Ok(rows);
        };
        let (rows, late_rows) = rows.build_with_late(Some(shape));
        late.add(late_rows);
        Ok(rows.into())
    }

    /// The place of an operator with this number of inputs.
    fn place(&self, name: &str, inputs: usize) -> Place {
        let shared = &self.shared;
        Place {
            name: name.to_owned(),
            pace: shared.pace,
            epoch: shared.epoch,
            watermarks: shared.watermarks.get(name).cloned().unwrap_or_else(|| vec![shared.watermark; inputs]),
            hashing: shared.hashing,
            observer: self.observer(),
        }
    }

    fn observer(&self) -> Rc<dyn Observer> {
        self.observer.clone()
    }
}

/// Steps that stand right before a sink run in it; those behind a source run there.
fn last_steps(root: &Node) -> Result<(&Node, Vec<stateless::Step>)> {
    match (&root.kind, root.inputs.as_slice()) {
        (Kind::Map(steps), [input]) if !root.is_differential() && !matches!(input.kind, Kind::Scan(_)) => {
            Ok((input, steps::all(steps)?))
        }
        _ => Ok((root, Vec::new())),
    }
}

fn first<T>(inputs: Vec<T>) -> Result<T> {
    inputs.into_iter().next().ok_or_else(|| Error::internal("an operator has no input"))
}
