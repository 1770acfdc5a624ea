//! Operators in a row as one operator of timely's.
//!
//! In: streams, and logics that stand one behind the other with nothing between them: no exchange, no second input, no second reader. Out:
//! one operator of timely's. A row goes through all of them in one call; as operators of their own each would cost a channel, a
//! wake-up and a round of progress, which is more than most do with a small chunk.
//!
//! What always holds: each logic sees what it would see in an operator of its own, in the same order: the chunks of the one before it,
//! then how far that one has got. Only the last one's promise is a capability.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;
use timely::progress::frontier::MutableAntichain;

use super::stepper::{Alarm, Front, Stepper, Way};
use super::{LateShape, Logic, Place};
use crate::exchange::{Route, pact};
use crate::time::{NO_WATERMARK, Time};
use crate::{Chunk, ChunkStream};

/// A stream, with operators behind it that are not in the graph yet, because others may follow in the same one.
pub struct Chain<'scope> {
    inputs: Vec<(ChunkStream<'scope>, Option<Route>)>,
    /// One input and nothing behind it is that stream.
    links: Vec<(Place, Box<dyn Logic>)>,
}

impl<'scope> From<ChunkStream<'scope>> for Chain<'scope> {
    fn from(stream: ChunkStream<'scope>) -> Self {
        Chain { inputs: vec![(stream, None)], links: Vec::new() }
    }
}

impl<'scope> Chain<'scope> {
    /// `logic` behind these inputs, each with its route (`None`: rows stay on their worker).
    pub fn behind(inputs: Vec<(Chain<'scope>, Option<Route>)>, place: Place, logic: Box<dyn Logic>) -> Self {
        let mut inputs = inputs;
        match inputs.as_slice() {
            [(_, None)] => inputs.remove(0).0.then(place, logic),
            _ => {
                let inputs = inputs.into_iter().map(|(input, route)| (input.build(), route)).collect();
                Chain { inputs, links: vec![(place, logic)] }
            }
        }
    }

    /// The same with `logic` at its end.
    #[must_use]
    pub fn then(mut self, place: Place, logic: Box<dyn Logic>) -> Self {
        self.links.push((place, logic));
        self
    }

    /// Puts it into the graph; the results of the last operator.
    pub fn build(self) -> ChunkStream<'scope> {
        self.build_with_late(None).0
    }

    /// [`Chain::build`], with the stream of the last operator's late rows if there is a shape for them.
    pub fn build_with_late(self, shape: Option<LateShape>) -> (ChunkStream<'scope>, Option<ChunkStream<'scope>>) {
        let Chain { mut inputs, mut links } = self;
        if links.is_empty() {
            return (inputs.swap_remove(0).0, None);
        }
        let scope = inputs[0].0.scope();
        let mut builder = OperatorBuilder::new(name(&links), scope);
        let address = builder.operator_info().address;
        for (place, logic) in &mut links {
            logic.wakes_by(scope.worker().sync_activator_for(address.to_vec()));
            place.observer.listens(&place.name, scope.worker().sync_activator_for(address.to_vec()));
        }
        let pulls: Vec<Pull<'static>> =
            inputs.into_iter().map(|(stream, route)| pull(&mut builder, stream, route)).collect();
        let (results, stream) = output(&mut builder);
        let (late, late_stream) = shape.as_ref().map(|_| output(&mut builder)).unzip();
        let alarm = || Alarm::new(scope.worker().activator_for(address.clone()));
        let steppers = steppers(links, pulls.len(), shape, alarm);
        builder.build(move |capabilities| {
            let mut capabilities = capabilities.into_iter();
            let results = Port { output: results, capability: capabilities.next() };
            let late = late.map(|output| Port { output, capability: capabilities.next() });
            let mut running = Running { pulls, steppers, fronts: Vec::new(), results, late };
            move |frontiers| running.step(frontiers)
        });
        (stream, late_stream)
    }
}

fn name(links: &[(Place, Box<dyn Logic>)]) -> String {
    links.iter().map(|(place, _)| place.name.as_str()).collect::<Vec<_>>().join(" | ")
}

/// The last one gives late rows their shape.
fn steppers(
    links: Vec<(Place, Box<dyn Logic>)>,
    ports: usize,
    mut shape: Option<LateShape>,
    alarm: impl Fn() -> Alarm,
) -> Vec<Stepper> {
    let count = links.len();
    let one = |(at, (place, logic))| {
        let shape = if at + 1 == count { shape.take() } else { None };
        Stepper::new(place, logic, if at == 0 { ports } else { 1 }, shape, alarm())
    };
    links.into_iter().enumerate().map(one).collect()
}

type Pull<'a> = Box<dyn FnMut(&mut dyn FnMut(Time, Chunk)) + 'a>;

fn pull<'scope>(
    builder: &mut OperatorBuilder<'scope, Time>,
    stream: ChunkStream<'scope>,
    route: Option<Route>,
) -> Pull<'static> {
    match route {
        Some(route) => input(builder, stream, pact(route)),
        None => input(builder, stream, Pipeline),
    }
}

fn input<'scope, P: ParallelizationContract<Time, Chunk>>(
    builder: &mut OperatorBuilder<'scope, Time>,
    stream: ChunkStream<'scope>,
    pact: P,
) -> Pull<'static> {
    let mut handle = builder.new_input_connection(stream, pact, Vec::<(usize, Antichain<_>)>::new());
    Box::new(move |accept| handle.for_each(|time, chunk| accept(*time.time(), std::mem::take(chunk))))
}

type Outputs = OutputBuilder<Time, CapacityContainerBuilder<Chunk>>;

/// An output whose capabilities the driver alone decides on.
fn output<'scope>(builder: &mut OperatorBuilder<'scope, Time>) -> (Outputs, ChunkStream<'scope>) {
    let (output, stream) = builder.new_output_connection::<Chunk, _>(Vec::<(usize, Antichain<_>)>::new());
    (OutputBuilder::from(output), stream)
}

/// An output and what it may still send.
struct Port {
    output: Outputs,
    capability: Option<Capability<Time>>,
}

impl Port {
    fn send(&mut self, time: Time, mut chunk: Chunk) {
        self.hold(Some(time));
        if let Some(capability) = &self.capability {
            self.output.activate().session(capability).give_container(&mut chunk);
        }
    }

    /// Nothing below `time` will be sent any more.
    fn hold(&mut self, time: Option<Time>) {
        match (&mut self.capability, time) {
            (Some(capability), Some(time)) if time != *capability.time() => capability.downgrade(&time),
            (Some(_), Some(_)) => {}
            _ => self.capability = None,
        }
    }
}

/// The time that late rows carry.
fn epoch_alone(time: Time) -> Time {
    Time::new(time.epoch, NO_WATERMARK)
}

/// A chain in the graph.
struct Running {
    pulls: Vec<Pull<'static>>,
    steppers: Vec<Stepper>,
    /// How far the inputs of the operator in turn have got.
    fronts: Vec<Front>,
    results: Port,
    late: Option<Port>,
}

impl Running {
    fn step(&mut self, frontiers: &[MutableAntichain<Time>]) {
        let Running { pulls, steppers, fronts, results, late } = self;
        let Some((last, before)) = steppers.split_last_mut() else { return };
        let first = before.first_mut().unwrap_or(&mut *last);
        for (port, pull) in pulls.iter_mut().enumerate() {
            pull(&mut |time, chunk| first.accept(port, time.epoch, chunk));
        }
        fronts.clear();
        fronts.extend(frontiers.iter().map(Front::of_frontier));
        for at in 0..before.len() {
            let (done, behind) = before.split_at_mut(at + 1);
            let (one, next) = (&mut done[at], behind.first_mut().unwrap_or(&mut *last));
            one.step(fronts, |_, time, chunk| next.accept(0, time.epoch, chunk));
            fronts.clear();
            fronts.push(Front::of(one.held().iter()));
        }
        last.step(fronts, |way, time, chunk| match (way, late.as_mut()) {
            (Way::Late, Some(late)) => late.send(epoch_alone(time), chunk),
            _ => results.send(time, chunk),
        });
        results.hold(last.held());
        if let Some(late) = late {
            late.hold(last.held().map(epoch_alone));
        }
    }
}
