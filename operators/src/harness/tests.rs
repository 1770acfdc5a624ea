//! The driver in real graphs: epochs in order, several workers, idle workers, held-back watermarks, failures.

use proptest::prelude::*;

use super::graph::{Ran, Script, ScriptEpoch, Step, run, run_fed};
use super::*;
use crate::dedup::{Dedup, Retention};
use crate::{Error, Time};

/// Counts rows per epoch and notes the calls: emits (epoch, rows, watermark as delivered) at each completion.
struct Ledger {
    rows: i64,
    total: i64,
    watermarks: Vec<i64>,
    last_epoch: Option<u64>,
    holdback: i64,
    /// Fails when a row with this value comes.
    poison: i64,
}

impl Ledger {
    fn new(holdback: i64) -> Self {
        Ledger { rows: 0, total: 0, watermarks: Vec::new(), last_epoch: None, holdback, poison: i64::MIN }
    }
}

impl Logic for Ledger {
    fn on_rows(&mut self, _: usize, chunk: Chunk, _: &mut Output) -> Result<()> {
        let rows = chunk.into_rows().into_iter().collect::<Vec<_>>();
        if long_rows(&rows).iter().any(|row| row[0] == Some(self.poison)) {
            return Err(Error::Internal("poison".into()));
        }
        self.rows += rows.iter().map(|rows| rows.num_rows() as i64).sum::<i64>();
        Ok(())
    }

    fn on_watermark(&mut self, watermarks: &[i64], _: &mut Output) -> Result<()> {
        assert!(self.watermarks.is_empty() || self.watermarks.iter().zip(watermarks).all(|(old, new)| old <= new));
        self.watermarks = watermarks.to_vec();
        Ok(())
    }

    fn on_complete(&mut self, epoch: u64, out: &mut Output) -> Result<()> {
        assert!(self.last_epoch.is_none_or(|last| last + 1 == epoch), "epochs come in order");
        self.last_epoch = Some(epoch);
        self.total += self.rows;
        let watermark = self.watermarks.iter().copied().min();
        out.rows(ints(&[("epoch", &[Some(epoch as i64)]), ("rows", &[Some(self.rows)]), ("watermark", &[watermark])]));
        self.rows = 0;
        Ok(())
    }

    fn output_watermark(&self, watermarks: &[i64]) -> i64 {
        watermarks.iter().copied().min().unwrap_or(NO_WATERMARK).saturating_sub(self.holdback)
    }

    fn snapshot(&mut self) -> Result<Vec<RecordBatch>> {
        Ok(vec![ints(&[("total", &[Some(self.total)])])])
    }

    fn restore(&mut self, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }
}

fn script(pace: Pace, workers: usize, ports: usize, epochs: Vec<ScriptEpoch>) -> Script {
    Script { workers, pace, routes: vec![Some(Route::Keys(vec![0])); ports], watermark: NO_WATERMARK, epochs }
}

/// One epoch: its watermark, and rows as (worker, port, value).
fn epoch(watermark: i64, ports: usize, rows: &[(usize, usize, i64)]) -> ScriptEpoch {
    let rows = rows.iter().map(|(worker, port, value)| (*worker, *port, ints(&[("v", &[Some(*value)])])));
    ScriptEpoch { watermarks: vec![watermark; ports], rows: rows.collect() }
}

/// Per epoch: rows seen by all workers, and the smallest watermark any of them completed it with.
fn ledger(ran: &Ran, epoch: u64) -> (i64, Option<i64>) {
    let rows = long_rows(&ran.rows_of(epoch));
    assert!(rows.iter().all(|row| row[0] == Some(epoch as i64)), "results carry their own epoch");
    (rows.iter().filter_map(|row| row[1]).sum(), rows.iter().map(|row| row[2]).min().flatten())
}

#[test]
fn every_worker_completes_and_snapshots_every_epoch_also_without_rows() {
    let epochs = vec![epoch(5, 1, &[(0, 0, 1)]), epoch(6, 1, &[]), epoch(7, 1, &[(2, 0, 1), (2, 0, 1)])];
    for pace in [Pace::Epoch, Pace::Eager] {
        let ran = run(script(pace, 3, 1, epochs.clone()), |_| Ledger::new(0));
        assert_eq!(ran.failures, Vec::<String>::new());
        assert_eq!((0..3).map(|epoch| ledger(&ran, epoch).0).collect::<Vec<_>>(), [1, 0, 2]);
        for worker in 0..3 {
            let mine: Vec<u64> = ran.snapshots.iter().filter(|s| s.0 == worker).map(|s| s.1).collect();
            assert_eq!(mine, [0, 1, 2]);
        }
        assert_eq!(ran.frontier.map(|time| time.epoch), Some(3));
    }
}

#[test]
fn an_epoch_closes_with_the_watermark_fixed_for_it() {
    let epochs = vec![epoch(10, 2, &[(0, 0, 1)]), epoch(20, 2, &[(1, 1, 2)]), epoch(20, 2, &[])];
    let ran = run(script(Pace::Epoch, 2, 2, epochs), |_| Ledger::new(0));
    let seen: Vec<Option<i64>> = (0..3).map(|epoch| ledger(&ran, epoch).1).collect();
    assert_eq!(seen, [Some(10), Some(20), Some(20)]);
}

#[test]
fn the_next_operator_sees_the_watermark_held_back() {
    for pace in [Pace::Epoch, Pace::Eager] {
        let ran = run(script(pace, 2, 1, vec![epoch(100, 1, &[(0, 0, 1)]), epoch(200, 1, &[])]), |_| Ledger::new(30));
        assert_eq!(ran.frontier, Some(Time::new(2, 170)), "{pace:?}");
    }
}

#[test]
fn the_slowest_input_decides() {
    let two = |left, right| ScriptEpoch { watermarks: vec![left, right], rows: Vec::new() };
    let ran = run(script(Pace::Epoch, 2, 2, vec![two(10, 3), two(20, 4)]), |_| Ledger::new(0));
    assert_eq!(ran.frontier, Some(Time::new(2, 4)));
    assert_eq!(ledger(&ran, 1).1, Some(4));
}

#[test]
fn a_failure_keeps_its_epoch_from_completing() {
    let epochs = vec![epoch(1, 1, &[(0, 0, 1)]), epoch(2, 1, &[(1, 0, 13), (0, 0, 2)]), epoch(3, 1, &[(0, 0, 3)])];
    let ran = run(script(Pace::Epoch, 2, 1, epochs), |_| Ledger { poison: 13, ..Ledger::new(0) });
    assert_eq!(ran.failures, ["internal error: poison"]);
    assert_eq!(ran.frontier.map(|time| time.epoch), Some(1));
    assert_eq!(ledger(&ran, 0).0, 1);
}

#[test]
fn a_recovered_watermark_is_known_before_the_first_row() {
    let late = with_times(ints(&[("k", &[Some(1), Some(2)]), ("ts", &[Some(10), Some(11)])]), &[1]);
    let schema = late.schema();
    let rows = vec![(0, 0, late)];
    let mut script = script(Pace::Epoch, 1, 1, vec![ScriptEpoch { watermarks: vec![10], rows }]);
    script.watermark = 10;
    let ran = run(script, move |_| {
        Dedup::new(&schema, vec![0], Retention::ForeverInTime { event_time: 1 }).expect("numbers are keys")
    });
    assert_eq!(long_rows(&ran.rows_of(0)), [[Some(2), Some(11)]]);
}

/// Keys and the worker they arrive at, by epoch.
fn arrivals() -> impl Strategy<Value = Vec<Vec<(usize, i64)>>> {
    prop::collection::vec(prop::collection::vec((0usize..3, 0i64..12), 0..12), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The first row of each key leaves in the epoch in which it came, on any number of workers.
    #[test]
    fn rows_are_absorbed_in_the_order_of_epochs(arrivals in arrivals(), workers in 1usize..4, eager: bool) {
        let pace = if eager { Pace::Eager } else { Pace::Epoch };
        let epochs = arrivals.iter().enumerate().map(|(at, rows)| {
            let rows: Vec<_> = rows.iter().map(|(worker, key)| (worker % workers, 0, *key)).collect();
            epoch(at as i64, 1, &rows)
        });
        let schema = ints(&[("v", &[])]).schema();
        let ran = run(script(pace, workers, 1, epochs.collect()), move |_| {
            Dedup::new(&schema, vec![0], Retention::Forever).expect("numbers are keys")
        });
        let mut known = std::collections::BTreeSet::new();
        for (at, rows) in arrivals.iter().enumerate() {
            let new: std::collections::BTreeSet<i64> = rows.iter().map(|row| row.1).filter(|key| !known.contains(key)).collect();
            let expected: Vec<Vec<Option<i64>>> = new.iter().map(|key| vec![Some(*key)]).collect();
            prop_assert_eq!(long_multiset(&ran.rows_of(at as u64)), expected);
            known.extend(new);
        }
        let last = arrivals.len() as u64 - 1;
        let states = ran.states.get(&("logic".to_owned(), last)).cloned().unwrap_or_default();
        prop_assert_eq!(states.iter().map(RecordBatch::num_rows).sum::<usize>(), known.len());
    }
}

/// Chunks and pauses of a feed, with the epochs that begin in between.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rows = prop::collection::vec(0i64..12, 1..4).prop_map(|values| {
        let values: Vec<Option<i64>> = values.into_iter().map(Some).collect();
        Some(Step::Rows(ints(&[("v", &values)])))
    });
    // Nothing stands for the beginning of the next epoch.
    let step = prop_oneof![4 => rows, 1 => Just(Some(Step::Idle)), 2 => Just(None)];
    prop::collection::vec(step, 0..80).prop_map(|steps| {
        let mut epoch = 0;
        let mut next = || {
            epoch += 1;
            Step::Epoch(epoch)
        };
        steps.into_iter().map(|step| step.unwrap_or_else(&mut next)).collect()
    })
}

/// What a run came to: rows by epoch, the state of each operator after each epoch, failures, how far it got.
type Outcome = (Vec<Vec<Vec<Option<i64>>>>, BTreeMap<(String, u64), Vec<String>>, Vec<String>, Option<Time>);

fn outcome(ran: &Ran, epochs: u64) -> Outcome {
    let rows = (0..=epochs).map(|epoch| long_rows(&ran.rows_of(epoch))).collect();
    let states = ran.states.iter().map(|(at, state)| (at.clone(), texts(state))).collect();
    (rows, states, ran.failures.clone(), ran.frontier)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A source at the beginning of a chain does what it does as an operator of its own, also if it fails.
    #[test]
    fn a_chain_that_begins_with_its_source_is_the_source_and_the_chain(steps in steps(), fails in 0usize..160) {
        let mut steps = steps;
        if fails < steps.len() {
            steps.insert(fails, Step::Fail);
        }
        // A query ends when its last epoch is complete, not before.
        steps.push(Step::Idle);
        let make = || -> Vec<Box<dyn Logic>> {
            let schema = ints(&[("v", &[])]).schema();
            let dedup = Dedup::new(&schema, vec![0], Retention::Forever).expect("numbers are keys");
            vec![Box::new(dedup), Box::new(Ledger::new(0))]
        };
        let epochs = steps.iter().filter(|step| matches!(step, Step::Epoch(_))).count() as u64;
        let [together, apart] = [false, true].map(|apart| outcome(&run_fed(steps.clone(), apart, make), epochs));
        prop_assert_eq!(&together, &apart);
        prop_assert_eq!(together.2.len(), usize::from(steps.iter().any(|step| matches!(step, Step::Fail))));
    }
}
