//! Chains of state files: what is written comes back, is put together in time, and goes when nobody needs it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use thalweg_operators::snapshot;

use super::*;

const OPERATOR: &str = "aggregate-1";

struct Stage {
    dir: tempfile::TempDir,
    run: &'static str,
}

impl Stage {
    fn new() -> Stage {
        Stage { dir: tempfile::tempdir().unwrap(), run: "1111-x" }
    }

    fn files(&self) -> StateFiles {
        StateFiles::new(Folder::local(self.dir.path(), true), self.run)
    }

    fn writer(&self, from: Option<&StateRef>, rules: Rules) -> StateWriter {
        StateWriter::start(self.files(), HashMap::new(), from, rules).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let all = self.files().list_files().unwrap();
        all.iter().flat_map(|(folder, names)| names.iter().map(move |name| format!("{folder}/{name}"))).collect()
    }
}

/// Rows `(key, value)`.
fn rows(rows: impl IntoIterator<Item = (i64, i64)>) -> RecordBatch {
    let (keys, values): (Vec<i64>, Vec<i64>) = rows.into_iter().unzip();
    let field = |name| Field::new(name, DataType::Int64, false);
    let schema = Arc::new(Schema::new(vec![field("key"), field("value")]));
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from(keys)), Arc::new(Int64Array::from(values))];
    RecordBatch::try_new(schema, columns).unwrap()
}

fn whole(of: &[(i64, i64)]) -> EpochState {
    let state = OperatorState { batches: vec![rows(of.iter().copied())], changes: false };
    HashMap::from([(OPERATOR.to_owned(), state), ("dedup-2".to_owned(), OperatorState::default())])
}

fn changes(of: &[(i64, i64)]) -> EpochState {
    let batches = match of {
        [] => Vec::new(),
        of => vec![snapshot::changed(&rows(of.iter().copied()), &[0]).unwrap()],
    };
    HashMap::from([(OPERATOR.to_owned(), OperatorState { batches, changes: true })])
}

fn write(writer: &StateWriter, epoch: u64, state: EpochState) -> StateRef {
    writer.begin(epoch, state, || {}).unwrap();
    writer.finish().unwrap()
}

fn read(stage: &Stage, state: &StateRef) -> Vec<(i64, i64)> {
    let mut all = Vec::new();
    for batch in stage.files().read(state).unwrap().remove(OPERATOR).unwrap_or_default() {
        let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values().to_vec();
        all.extend(column(0).into_iter().zip(column(1)));
    }
    all.sort_unstable();
    all
}

#[test]
fn c12_what_another_run_writes_for_the_same_epoch_changes_nothing() {
    let mut stage = Stage::new();
    let ours = write(&stage.writer(None, Rules::new(10)), 4, whole(&[(1, 2)]));
    assert_eq!(ours.folder, "4-1111");
    assert_eq!(stage.names(), ["4-1111/aggregate-1"]);
    stage.run = "2222-y";
    write(&stage.writer(None, Rules::new(10)), 4, whole(&[(1, 3)]));
    assert_eq!(read(&stage, &ours), [(1, 2)]);
}

#[test]
fn changes_make_a_chain_that_goes_on_after_a_restart() {
    let stage = Stage::new();
    let writer = stage.writer(None, Rules::new(10));
    let first = write(&writer, 0, changes(&[(1, 10), (2, 20)]));
    let second = write(&writer, 1, changes(&[(2, 21)]));
    let third = write(&writer, 2, changes(&[]));
    assert_eq!(second.chains, third.chains, "an epoch without changes writes nothing");
    drop(writer);
    let fourth = write(&stage.writer(Some(&third), Rules::new(10)), 3, changes(&[(3, 30)]));
    assert_eq!(fourth.chains[OPERATOR].len(), 3);
    assert_eq!(read(&stage, &first), [(1, 10), (2, 20)]);
    assert_eq!(read(&stage, &fourth), [(1, 10), (2, 21), (3, 30)]);
    let whole = write(&stage.writer(Some(&fourth), Rules::new(10)), 4, whole(&[(7, 7)]));
    assert_eq!(whole.chains[OPERATOR].len(), 1, "a whole snapshot needs nothing before it");
    assert_eq!(read(&stage, &whole), [(7, 7)]);
}

#[test]
fn a_small_state_is_put_together_at_once() {
    let stage = Stage::new();
    let writer = stage.writer(None, Rules::new(3));
    for epoch in 0..20 {
        let state = write(&writer, epoch, changes(&[(epoch as i64 % 4, epoch as i64), (100 + epoch as i64, 1)]));
        let chain = &state.chains[OPERATOR];
        assert!(chain.len() <= 3, "{chain:?}");
        assert_eq!(read(&stage, &state).len(), 4.min(epoch as usize + 1) + epoch as usize + 1);
    }
}

#[test]
fn a_large_state_is_put_together_beside_the_flow() {
    let stage = Stage::new();
    let rules = Rules { small: 0, ..Rules::new(3) };
    let writer = stage.writer(None, rules);
    let mut shortest = usize::MAX;
    let mut last = StateRef::default();
    for epoch in 0..200 {
        last = write(&writer, epoch, changes(&[(epoch as i64 % 4, epoch as i64)]));
        if last.chains[OPERATOR].iter().any(|file| file.whole) {
            shortest = shortest.min(last.chains[OPERATOR].len());
        }
    }
    assert!(shortest < 100, "no snapshot was taken up");
    assert_eq!(read(&stage, &last), [(0, 196), (1, 197), (2, 198), (3, 199)]);
}

#[test]
fn a_state_that_is_put_together_to_many_files_is_the_same() {
    let stage = Stage::new();
    let rules = Rules { small: 0, part: 1, ..Rules::new(2) };
    let writer = stage.writer(None, rules);
    let (mut most, mut last) = (0, StateRef::default());
    for epoch in 0..200 {
        last = write(&writer, epoch, changes(&[(epoch as i64 % 4, epoch as i64), (50, 1)]));
        most = most.max(last.chains[OPERATOR].iter().filter(|file| file.whole).count());
    }
    assert!(most > 1, "it was put together to {most} files");
    assert_eq!(read(&stage, &last), [(0, 196), (1, 197), (2, 198), (3, 199), (50, 1)]);
    let chain = StateChain::of(&stage.files(), &last, OPERATOR).unwrap();
    let mut rows = 0;
    let count = |state: Vec<RecordBatch>| {
        rows += state.iter().map(RecordBatch::num_rows).sum::<usize>();
        Ok(())
    };
    chain.each(|_| true, count).unwrap();
    assert_eq!(rows, 5);
}

#[test]
fn c14_files_that_nobody_needs_go() {
    let stage = Stage::new();
    let writer = stage.writer(None, Rules::new(3));
    let mut purge = Purge::default();
    let mut states: Vec<StateRef> = Vec::new();
    for epoch in 0..12 {
        states.push(write(&writer, epoch, changes(&[(epoch as i64, 1)])));
        let newest: Vec<&StateRef> = states.iter().rev().take(3).collect();
        purge.remove(&stage.files(), epoch.saturating_sub(2), &newest).unwrap();
        newest.iter().for_each(|state| assert!(stage.files().is_there(state).unwrap()));
        assert!(stage.names().len() <= 6, "{:?}", stage.names());
    }
    // A later run finds what an earlier one left.
    let newest = states.last().unwrap();
    Purge::default().remove(&stage.files(), 11, &[newest]).unwrap();
    let mut needed: Vec<String> = newest.files().map(|file| file.file.clone()).collect();
    needed.sort();
    assert_eq!(stage.names(), needed);
}

#[test]
fn k07_c03_a_torn_changed_or_missing_file_is_named() {
    let stage = Stage::new();
    let writer = stage.writer(None, Rules::new(10));
    write(&writer, 4, changes(&(0..100).map(|n| (n, n)).collect::<Vec<_>>()));
    let written = write(&writer, 5, changes(&[(1, 2)]));
    let path = stage.dir.path().join("4-1111/aggregate-1");
    let bytes = std::fs::read(&path).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 4;
    for damaged in [&bytes[..0], &bytes[..3], &bytes[..bytes.len() - 1], &flipped] {
        std::fs::write(&path, damaged).unwrap();
        let error = stage.files().read(&written).unwrap_err();
        assert!(error.message().contains("4-1111/aggregate-1"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(stage.files().read(&written).unwrap_err().message().contains("missing"));
    assert!(!stage.files().is_there(&written).unwrap());
}

#[test]
fn k16_a_fold_that_fails_leaves_the_chain() {
    let stage = Stage::new();
    let writer = stage.writer(None, Rules::new(2));
    let first = write(&writer, 0, changes(&[(1, 1)]));
    write(&writer, 1, changes(&[(2, 2)]));
    let path = stage.dir.path().join(&first.chains[OPERATOR][0].file);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, "junk").unwrap();
    let third = write(&writer, 2, changes(&[(3, 3)]));
    assert_eq!(third.chains[OPERATOR].len(), 3);
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(read(&stage, &third), [(1, 1), (2, 2), (3, 3)]);
}

#[test]
fn an_error_comes_with_its_epoch_and_done_is_called() {
    let stage = Stage::new();
    std::fs::write(stage.dir.path().join("5-1111"), "in the way").unwrap();
    let writer = stage.writer(None, Rules::new(10));
    let (done, called) = crossbeam_channel::bounded(1);
    writer.begin(5, whole(&[(1, 1)]), move || done.send(()).unwrap()).unwrap();
    called.recv().unwrap();
    assert!(writer.is_done());
    assert!(writer.finish().is_err());
}
