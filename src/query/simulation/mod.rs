//! The simulator: queries that are killed, lose power, and meet full and failing disks, until they have read everything; then
//! what their sink holds must be the batch answer.
//!
//! ```text
//!  seed ─► query, input, partitions ─► the batch answer                                     (every SHARED seeds have these in common)
//!       └► output mode, driver, workers of each run, where batches end, what goes wrong where
//!            run ─► fault ─► run ─► fault ─► … ─► run without a fault ─► the last rows close what is open ─► compare
//! ```
//!
//! Behind the seed are: the input, the disk ([`crate::store::simulated`]), the clock ([`StepClock`], which moves whenever it is
//! read), where batches end, what the disk does at which operation, and which thread runs when ([`crate::threads::turns`]): driver,
//! workers, readers, writers of state take turns. So a seed that failed fails again, with the same turns: `THALWEG_SEED=n` plays
//! that one. Not behind it: tables of hashes, which list their rows in another order in each process.
//!
//! `THALWEG_SEEDS` says how many seeds are played (200; 5,000 in a step of CI), beginning with 1.

mod queries;
mod sink;
mod source;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::queries::{Output, QUERIES, Query};
use self::source::{BEGIN, Input};
use crate::clock::Clock;
use crate::prelude::*;
use crate::query::DataStreamWriter;
use crate::store::simulated::{Fault, SimulatedDisk, Spot, Step, Trouble};
use crate::threads::turns::{self, Trace};

pub(crate) use self::sink::Simulated as SimulatedSink;
pub(crate) use self::source::Simulated as SimulatedSource;

/// What source and sink are called in `format(...)`.
pub(crate) const NAME: &str = "simulated";

/// So many seeds have a query, an input and a batch answer in common.
const SHARED: u64 = 4;
/// Seeds that are played at the same time.
const THREADS: u64 = 4;
/// A query that takes so long is stuck.
const STUCK: Duration = Duration::from_secs(60);

fn hash(values: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    hasher.finish()
}

/// A generator of numbers.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(hash(("random", seed)))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = hash(self.0);
        self.0 % bound
    }

    fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.index(all.len())]
    }
}

/// A clock that moves by a millisecond whenever it is read.
struct StepClock(AtomicI64);

impl Clock for StepClock {
    fn wall_micros(&self) -> i64 {
        BEGIN + self.0.fetch_add(1, Ordering::AcqRel) * 1000
    }

    fn nanos(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel).unsigned_abs() * 1_000_000
    }
}

/// Who closes epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
    MicroBatch,
    Once,
    Continuous,
}

/// What several seeds have in common.
struct Scene {
    number: u64,
    query: &'static Query,
    partitions: [usize; 2],
    answer: Vec<String>,
}

impl Scene {
    fn new(number: u64) -> Result<Scene> {
        let mut random = Random::new(number);
        let query = &QUERIES[random.index(QUERIES.len())];
        let partitions = [1 + random.index(3), 1 + random.index(2)];
        let mut scene = Scene { number, query, partitions, answer: Vec::new() };
        let session = Session::builder().create();
        // Of the same scene there may be several at once.
        let (names, _inputs) = scene.inputs(&format!("batch {}", uuid::Uuid::new_v4()), 0);
        let table = |n: usize| queries::read(&session, &names[n], false);
        let rows = (query.batch)(&table(0)?, &table(1)?)?.collect()?;
        names.iter().for_each(|name| Input::discard(name));
        scene.answer = queries::result(Output::Append, &rows.into_iter().map(|rows| (0, rows)).collect::<Vec<_>>())?;
        Ok(scene)
    }

    /// Both inputs, and their names.
    fn inputs(&self, of: &str, seed: u64) -> ([String; 2], [Arc<Input>; 2]) {
        let names = [0, 1].map(|n| format!("{of}-{}-{n}", self.number));
        let content = |n: usize| hash((self.number, n));
        let inputs = [0, 1].map(|n| Input::register(&names[n], content(n), self.partitions[n], seed));
        (names, inputs)
    }
}

/// One seed.
struct Trial<'a> {
    scene: &'a Scene,
    seed: u64,
    random: Random,
    output: Output,
    /// Drivers of the runs, over and over.
    drivers: Vec<Driver>,
    disk: SimulatedDisk,
    name: String,
    inputs: [String; 2],
    clock: Arc<StepClock>,
    /// What happened.
    story: String,
}

/// What a seed's runs met.
#[derive(Debug, Default, PartialEq, Eq)]
struct Met {
    runs: u64,
    /// Turns of threads, and a hash of which they were and of what they did to the disk; the same whenever the same seeds are played.
    turns: u64,
    trace: u64,
    faults: BTreeMap<String, u64>,
}

impl Met {
    fn add(&mut self, other: Met) {
        self.runs += other.runs;
        self.turns += other.turns;
        // Whichever seed ends first.
        self.trace = self.trace.wrapping_add(other.trace);
        other.faults.into_iter().for_each(|(fault, count)| *self.faults.entry(fault).or_default() += count);
    }
}

/// Where something may go wrong. The first names below the stores' roots: those of a checkpoint, and `parts` and `log` of the sink.
const PLACES: [&str; 9] = ["offsets", "offsets", "commits", "commits", "state", "parts", "log", "sums", "leases"];

fn fault(random: &mut Random) -> Fault {
    let about = random.one_of(&PLACES);
    let removed = ["offsets", "commits", "state"].contains(&about);
    let steps = [Step::Create, Step::Write, Step::Sync, Step::Name, Step::SyncFolder, Step::Remove];
    let step = steps[random.index(if removed { 6 } else { 5 })];
    let kinds =
        [Trouble::Kill, Trouble::Kill, Trouble::PowerLoss, Trouble::PowerLoss, Trouble::Full, Trouble::SyncFails];
    let trouble = match (random.one_of(&kinds), step) {
        (Trouble::Full, Step::Create | Step::Write) => Trouble::Full,
        (Trouble::SyncFails, Step::Sync | Step::SyncFolder) => Trouble::SyncFails,
        (Trouble::Full | Trouble::SyncFails, _) => Trouble::PowerLoss,
        (other, _) => other,
    };
    let most = if about == "leases" { 1 } else { 1 + random.below(6) };
    Fault { spot: Spot { about: about.into(), step, passes: random.below(most) }, trouble }
}

impl<'a> Trial<'a> {
    /// `of` tells plays of one seed apart that run at the same time.
    fn new(scene: &'a Scene, seed: u64, of: &str) -> Self {
        let mut random = Random::new(seed);
        let output = random.one_of(scene.query.outputs);
        let name = format!("{seed}-{of}");
        // Batches take partitions in one order of time, continuous readers don't: what one left may be late for the other.
        let may_change = !scene.query.timed || scene.partitions == [1, 1];
        let one = random.one_of(&[Driver::MicroBatch, Driver::Continuous]);
        let drivers = match random.below(4) {
            0 if may_change => vec![Driver::MicroBatch, Driver::Continuous],
            1 if one == Driver::MicroBatch => vec![Driver::MicroBatch, Driver::Once],
            _ => vec![one],
        };
        let (inputs, _) = scene.inputs(&name, seed);
        let (disk, clock) = (SimulatedDisk::new(&name, seed), Arc::new(StepClock(AtomicI64::new(1))));
        Trial { scene, seed, random, output, drivers, disk, name, inputs, clock, story: String::new() }
    }

    /// Plays the seed to its end.
    ///
    /// # Errors
    /// The story of a divergence.
    fn play(self) -> Result<Met, String> {
        let (game, disk) = (turns::begin(self.seed), self.disk.clone());
        let met = self.play_in_turns()?;
        let Trace { turns, hash: order } = game.end();
        Ok(Met { turns, trace: hash((order, disk.trace())), ..met })
    }

    fn play_in_turns(mut self) -> Result<Met, String> {
        let mut met = Met::default();
        let faults = 1 + self.random.below(3);
        let _ =
            write!(self.story, "{} {:?} of {:?} partitions", self.scene.query.name, self.output, self.scene.partitions);
        for run in 0..=faults {
            let fault = (run < faults).then(|| fault(&mut self.random));
            self.run(fault, &mut met)?;
        }
        if self.scene.query.timed && self.output == Output::Append {
            let inputs = self.inputs.clone();
            inputs.iter().for_each(|name| Input::named(name).open());
            self.run(None, &mut met)?;
        }
        self.compare()?;
        SimulatedDisk::discard(&self.name);
        self.inputs.iter().for_each(|name| Input::discard(name));
        Ok(met)
    }

    fn location(&self, folder: &str) -> String {
        format!("{NAME}://{}/{folder}", self.name)
    }

    /// One run, until it has read all there is or dies.
    fn run(&mut self, fault: Option<Fault>, met: &mut Met) -> Result<(), String> {
        let driver = match (self.drivers[met.runs as usize % self.drivers.len()], &fault) {
            // One batch is not all there is if it is one that runs again.
            (Driver::Once, None) => Driver::MicroBatch,
            (driver, _) => driver,
        };
        let workers = 1 + self.random.below(3);
        met.runs += 1;
        let planned =
            fault.as_ref().map_or_else(String::new, |fault| format!(", {:?} at {:?}", fault.trouble, fault.spot));
        let _ = write!(self.story, "\n  {driver:?}, {workers} workers{planned}");
        self.disk.arm(fault);
        let ended = self.writer(driver, workers).and_then(|writer| drive(writer, driver));
        let happened = self.disk.restart();
        let _ = write!(self.story, ": {}", ended.as_ref().map_or_else(ToString::to_string, |()| "ended".into()));
        if let Some(trouble) = happened {
            *met.faults.entry(format!("{trouble:?}")).or_default() += 1;
        }
        match (ended, happened) {
            (Err(error), None) => Err(self.diverged(&format!("a run failed although nothing went wrong: {error}"))),
            (Err(error), Some(_)) if error.fault() == crate::error::Fault::Internal => {
                Err(self.diverged(&format!("an error of the disk was taken for one of the engine: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn writer(&self, driver: Driver, workers: u64) -> Result<DataStreamWriter> {
        let session = Session::builder()
            .config("thalweg.workers", workers)
            .config("thalweg.idleTimeout", "off")
            .config("spark.sql.streaming.minBatchesToRetain", 2)
            .create();
        let stream = |n: usize| queries::read(&session, &self.inputs[n], true);
        let frame = (self.scene.query.stream)(&stream(0)?, &stream(1)?)?;
        let writer = frame.write_stream().format(NAME).clock(self.clock.clone());
        let writer = writer.option("folder", self.location("out")).option("checkpointLocation", self.location("ck"));
        let trigger = match driver {
            Driver::MicroBatch => Trigger::AvailableNow,
            Driver::Once => Trigger::Once,
            Driver::Continuous => Trigger::continuous("6 milliseconds")?,
        };
        let writer = writer.trigger(trigger);
        Ok(match self.output {
            Output::Append => writer.output_mode(OutputMode::Append),
            Output::Update(_) => writer.output_mode(OutputMode::Update),
            Output::Changes => writer.output_mode(OutputMode::Update).option("changelog", true),
            Output::Complete => writer.output_mode(OutputMode::Complete),
        })
    }

    fn compare(&self) -> Result<(), String> {
        let failed = |error: Error| self.diverged(&format!("the output cannot be read: {error}"));
        let epochs = sink::committed(&self.location("out")).map_err(failed)?;
        let found = queries::result(self.output, &epochs).map_err(failed)?;
        if found != self.scene.answer {
            let without = |all: &[String], some: &[String]| {
                let mut left = some.to_vec();
                let missing = |row: &&String| {
                    left.iter().position(|other| other == *row).map(|at| left.swap_remove(at)).is_none()
                };
                all.iter().filter(missing).cloned().collect::<Vec<_>>().join("\n      ")
            };
            let (lost, extra) = (without(&self.scene.answer, &found), without(&found, &self.scene.answer));
            return Err(self.diverged(&format!("  lost:\n      {lost}\n  too much:\n      {extra}")));
        }
        let findings = crate::checkpoint::verify(&self.location("ck")).map_err(failed)?;
        match findings.iter().find(|finding| finding.error) {
            Some(finding) => Err(self.diverged(&format!("the checkpoint is damaged: {finding:?}"))),
            None => Ok(()),
        }
    }

    fn diverged(&self, how: &str) -> String {
        format!("seed {}: {}\n{how}", self.seed, self.story)
    }
}

/// Runs a query until it has read all there is; an error is how it died.
fn drive(writer: DataStreamWriter, driver: Driver) -> Result<()> {
    let query = writer.start()?;
    if driver == Driver::Continuous {
        query.process_all_available()?;
        // What the watermark of the last rows has closed comes out in an epoch of its own.
        query.process_all_available()?;
        query.stop()?;
    }
    match query.await_termination_timeout(STUCK)? {
        true => Ok(()),
        false => Err(Error::internal("the query is stuck")),
    }
}

/// Plays the seeds of a scene.
fn play_scene(number: u64, seeds: impl Iterator<Item = u64>) -> (Met, Vec<String>) {
    let (mut met, mut divergences) = (Met::default(), Vec::new());
    let scene = match Scene::new(number) {
        Ok(scene) => scene,
        Err(error) => {
            let divergence = format!("scene {number} has no batch answer: {error}");
            println!("{divergence}\n");
            return (met, vec![divergence]);
        }
    };
    for seed in seeds {
        match Trial::new(&scene, seed, "once").play() {
            Ok(more) => met.add(more),
            Err(divergence) => {
                println!("{divergence}\n");
                divergences.push(divergence);
            }
        }
    }
    (met, divergences)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn all_seeds_give_the_batch_answer() {
    let one = number("THALWEG_SEED");
    let seeds = if one.is_some() { 1 } else { number("THALWEG_SEEDS").unwrap_or(200) };
    let next = AtomicU64::new(0);
    let found = Mutex::new((Met::default(), Vec::new()));
    let work = || loop {
        let scene = next.fetch_add(1, Ordering::Relaxed);
        let of_scene = |n: &u64| (1..=seeds).contains(n);
        let (met, divergences) = match one {
            Some(_) if scene > 0 => return,
            Some(seed) => play_scene(seed / SHARED, std::iter::once(seed)),
            None if scene * SHARED > seeds => return,
            None => play_scene(scene, (scene * SHARED..(scene + 1) * SHARED).filter(of_scene)),
        };
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.0.add(met);
        found.1.extend(divergences);
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let (met, divergences) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let Met { runs, turns, trace, faults } = met;
    println!("{seeds} seeds, {runs} runs, {turns} turns ({trace:016x}), {faults:?}: {} divergences", divergences.len());
    assert!(divergences.is_empty(), "{} divergences, printed above", divergences.len());
    assert!(one.is_some() || faults.len() == 4, "not all kinds of faults happened: {faults:?}");
}

#[test]
fn a_seed_replays_a_run() {
    let play = |seed: u64| {
        let scene = Scene::new(seed / SHARED).unwrap();
        Trial::new(&scene, seed, "again").play().unwrap()
    };
    let all: Vec<Met> = (1..=24).map(play).collect();
    assert_eq!(all, (1..=24).map(play).collect::<Vec<_>>());
}
