//! Operators in a row as one operator of timely's.
//!
//! In: streams or one feed, and logics that stand one behind the other with nothing between them: no exchange, no second input, no second
//! reader. Out: one operator of timely's. A row goes through all of them in one call; as operators of their own each would cost a channel, a
//! wake-up and a round of progress, which is more than most do with a small chunk.
//!
//! What always holds: each logic sees what it would see in an operator of its own, in the same order: the chunks of the one before it,
//! then how far that one has got. Only the last one's promise is a capability.

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;
use timely::progress::frontier::MutableAntichain;

use super::stepper::{Alarm, Front, Stepper, Way};
use super::{LateShape, Logic, Place};
use crate::exchange::{Route, pact};
use crate::keys::Hashing;
use crate::source::{Fed, Opening, Source};
use crate::time::{NO_WATERMARK, Time};
use crate::{Chunk, ChunkStream};

/// A stream, with operators behind it that are not in the graph yet, because others may follow in the same one.
pub struct Chain<'scope> {
    inputs: Inputs<'scope>,
    /// One input and nothing behind it is that stream.
    links: Vec<(Place, Box<dyn Logic>)>,
}

/// Where the rows of the first operator come from.
enum Inputs<'scope> {
    Streams(Vec<(ChunkStream<'scope>, Option<Route>)>),
    /// A source that no other worker has: only its own epochs count, as if a capability had them.
    Source(Opening<'scope>),
}

impl<'scope> From<ChunkStream<'scope>> for Chain<'scope> {
    fn from(stream: ChunkStream<'scope>) -> Self {
        Chain { inputs: Inputs::Streams(vec![(stream, None)]), links: Vec::new() }
    }
}

/// The source of a graph with one worker. With more, those that have no rows follow the epochs of the others, which a stream carries.
impl<'scope> From<Opening<'scope>> for Chain<'scope> {
    fn from(source: Opening<'scope>) -> Self {
        Chain { inputs: Inputs::Source(source), links: Vec::new() }
    }
}

impl<'scope> Inputs<'scope> {
    fn scope(&self) -> Scope<'scope, Time> {
        match self {
            Inputs::Streams(streams) => streams[0].0.scope(),
            Inputs::Source(source) => source.scope(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Inputs::Streams(streams) => streams.len(),
            Inputs::Source(_) => 1,
        }
    }

    /// The one stream.
    fn stream(self) -> ChunkStream<'scope> {
        match self {
            Inputs::Streams(mut streams) => streams.swap_remove(0).0,
            Inputs::Source(source) => source.build(),
        }
    }

    /// As inputs of an operator.
    fn open(self, builder: &mut OperatorBuilder<'scope, Time>, hashing: Hashing) -> Intake {
        match self {
            Inputs::Streams(streams) => Intake::Streams(
                streams.into_iter().map(|(stream, route)| pull(builder, stream, route, hashing)).collect(),
            ),
            Inputs::Source(source) => {
                let address = builder.operator_info().address;
                Intake::Source { source: source.open(&address), epoch: Some(0) }
            }
        }
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
                Chain { inputs: Inputs::Streams(inputs), links: vec![(place, logic)] }
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
        let Chain { inputs, mut links } = self;
        let Some(hashing) = links.first().map(|(place, _)| place.hashing) else { return (inputs.stream(), None) };
        let scope = inputs.scope();
        let mut builder = OperatorBuilder::new(name(&inputs, &links), scope);
        let address = builder.operator_info().address;
        for (place, logic) in &mut links {
            logic.wakes_by(scope.worker().sync_activator_for(address.to_vec()));
            place.observer.listens(&place.name, scope.worker().sync_activator_for(address.to_vec()));
        }
        let ports = inputs.count();
        let mut intake = inputs.open(&mut builder, hashing);
        let (results, stream) = output(&mut builder);
        let (late, late_stream) = shape.as_ref().map(|_| output(&mut builder)).unzip();
        let alarm = || Alarm::new(scope.worker().activator_for(address.clone()));
        let steppers = steppers(links, ports, shape, alarm);
        builder.build(move |capabilities| {
            let mut capabilities = capabilities.into_iter();
            let results = Port { output: results, capability: capabilities.next() };
            let late = late.map(|output| Port { output, capability: capabilities.next() });
            let mut running = Running { steppers, fronts: Vec::new(), results, late };
            move |frontiers| intake.step(&mut running, frontiers)
        });
        (stream, late_stream)
    }
}

fn name(inputs: &Inputs<'_>, links: &[(Place, Box<dyn Logic>)]) -> String {
    let source = match inputs {
        Inputs::Streams(_) => None,
        Inputs::Source(source) => Some(source.name()),
    };
    source.into_iter().chain(links.iter().map(|(place, _)| place.name.as_str())).collect::<Vec<_>>().join(" | ")
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
    hashing: Hashing,
) -> Pull<'static> {
    match route {
        Some(route) => input(builder, stream, pact(route, hashing)),
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

/// The inputs of a chain in the graph.
enum Intake {
    Streams(Vec<Pull<'static>>),
    Source {
        source: Source,
        /// The epoch in progress; `None` once the source has ended.
        epoch: Option<u64>,
    },
}

impl Intake {
    /// Has the operators take what there is.
    fn step(&mut self, running: &mut Running, frontiers: &[MutableAntichain<Time>]) {
        match self {
            Intake::Streams(pulls) => {
                for (port, pull) in pulls.iter_mut().enumerate() {
                    pull(&mut |time, chunk| running.accept(port, time.epoch, chunk));
                }
                running.step(frontiers.iter().map(Front::of_frontier));
            }
            Intake::Source { source, epoch } => take_from(source, epoch, running),
        }
    }
}

/// Has the operators take what the source has, a chunk at a time, while it is still in the cache; under [`super::Pace::Eager`] a watermark acts
/// behind each. They are called also if there is nothing, because an alarm or a question may have woken them.
fn take_from(source: &mut Source, epoch: &mut Option<u64>, running: &mut Running) {
    let mut stepped = false;
    source.poll(|fed| {
        match fed {
            Fed::Rows(chunk) => epoch.map_or((), |epoch| running.accept(0, epoch, chunk)),
            Fed::Epoch(next) => *epoch = epoch.map(|_| next),
            Fed::End => *epoch = None,
            Fed::Idle => {}
        }
        running.step([Front::of_epoch(*epoch)]);
        stepped = true;
    });
    if !stepped {
        running.step([Front::of_epoch(*epoch)]);
    }
}

/// A chain in the graph.
struct Running {
    steppers: Vec<Stepper>,
    /// How far the inputs of the operator in turn have got.
    fronts: Vec<Front>,
    results: Port,
    late: Option<Port>,
}

impl Running {
    /// Takes a chunk from an input.
    fn accept(&mut self, port: usize, epoch: u64, chunk: Chunk) {
        if let Some(first) = self.steppers.first_mut() {
            first.accept(port, epoch, chunk);
        }
    }

    /// Does what there is to do, with the inputs at these places.
    fn step(&mut self, inputs: impl IntoIterator<Item = Front>) {
        let Running { steppers, fronts, results, late } = self;
        let Some((last, before)) = steppers.split_last_mut() else { return };
        fronts.clear();
        fronts.extend(inputs);
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
