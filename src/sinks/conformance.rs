//! What every sink in [`ALL`](super::ALL) owes: epochs with and without rows, commits that may be repeated, and, if it promises
//! exactly-once, no doubled rows when an epoch is committed again from its notes alone or run again under a new run.
//!
//! A new sink needs a line in [`fixture`]; without one the test fails.

use std::collections::BTreeSet;
use std::ops::Range;

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Schema};

use super::*;
use crate::clock::ManualClock;
use crate::types::field;

/// Rows `n, "row n"`; the text is the column that Kafka calls for.
pub(super) fn rows(range: Range<i64>) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![field("n", DataType::Int64), field("value", DataType::Utf8)]));
    let texts = StringArray::from_iter_values(range.clone().map(|n| format!("row {n}")));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(range)), Arc::new(texts)]).unwrap()
}

/// A context for [`rows`], with two workers.
pub(super) fn context(mode: OutputMode) -> SinkContext {
    SinkContext {
        schema: rows(0..0).schema(),
        mode,
        pace: Pace::Epoch,
        workers: 2,
        query: "query".into(),
        checkpoint: Some("checkpoint".into()),
        interval: None,
        run_id: "run-1".into(),
        conf: Conf::default(),
        session: crate::session::Session::default(),
        clock: ManualClock::at(1_704_067_200_000_000),
    }
}

/// Writes an epoch: one batch a worker (at least one worker), and commits it.
pub(super) fn run(sink: &mut dyn Sink, epoch: u64, batches: &[RecordBatch]) -> Result<()> {
    let prepared = prepare(sink, epoch, batches)?;
    sink.commit(epoch, prepared)
}

/// Writes an epoch without committing it.
pub(super) fn prepare(sink: &mut dyn Sink, epoch: u64, batches: &[RecordBatch]) -> Result<Vec<Prepared>> {
    let mut prepared = Vec::new();
    for worker in 0..batches.len().max(1) {
        let mut writer = sink.writer(worker)?;
        writer.begin(epoch)?;
        batches.get(worker).map_or(Ok(()), |rows| writer.write(rows))?;
        prepared.push(writer.prepare(epoch)?);
    }
    Ok(prepared)
}

/// A sink under test.
struct Fixture {
    spec: SinkSpec,
    /// The values of column `n` that are visible, in order; for exactly-once sinks.
    visible: Option<Box<dyn Fn() -> Vec<i64>>>,
    _keep: Box<dyn Any>,
}

fn plain(spec: SinkSpec) -> Option<Fixture> {
    Some(Fixture { spec, visible: None, _keep: Box::new(()) })
}

fn fixture(name: &str) -> Option<Fixture> {
    let spec = SinkSpec { format: name.into(), ..SinkSpec::default() };
    match name {
        "noop" | "memory" => plain(spec),
        "console" => plain(SinkSpec { function: Some(Arc::new(console::ConsoleOutput::new(std::io::sink()))), ..spec }),
        "foreach_batch" | "foreachbatch" => {
            plain(SinkSpec { format: name.into(), ..foreach_batch::ForeachBatchFunction::new(|_, _, _| Ok(())).spec() })
        }
        "text" | "json" | "csv" | "parquet" | "orc" => Some(file_fixture(name)),
        #[cfg(feature = "kafka")]
        "kafka" => {
            let (spec, keep) = kafka::tests::fixture();
            Some(Fixture { spec, visible: None, _keep: keep })
        }
        #[cfg(feature = "cassandra")]
        "cassandra" | "org.apache.spark.sql.cassandra" => {
            let (spec, visible, keep) = cassandra::tests::fixture()?;
            Some(Fixture { spec, visible: Some(visible), _keep: keep })
        }
        "foreach" => plain(foreach::ForeachFunction::rows(|_| Ok(())).spec()),
        "channel" => {
            let (sender, receiver) = channel::channel(100);
            Some(Fixture { spec: sender.spec(), visible: None, _keep: Box::new(receiver) })
        }
        _ => None,
    }
}

/// A folder; what counts is what a batch read of it gives.
fn file_fixture(name: &str) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = SinkSpec { format: name.into(), ..SinkSpec::default() };
    spec.options.set("path", dir.path().to_str().unwrap());
    if name == "text" {
        spec.partition_by = vec!["n".into()];
    }
    let (format, path) = (name.to_owned(), dir.path().to_owned());
    let visible = move || file::tests::numbers(&format, &path);
    Fixture { spec, visible: Some(Box::new(visible)), _keep: Box::new(dir) }
}

fn each(mut test: impl FnMut(&'static str, &dyn SinkProvider, Fixture)) {
    for provider in ALL {
        for name in provider.names() {
            match fixture(name) {
                Some(fixture) => test(name, *provider, fixture),
                // The one sink with nothing that could stand in for its cluster.
                None => assert!(crate::sources::is_cassandra(name), "sink '{name}' has no fixture"),
            }
        }
    }
}

/// What a restart has: the notes, without payload.
fn from_notes(prepared: &[Prepared]) -> Vec<Prepared> {
    prepared.iter().map(|prepared| Prepared { note: prepared.note.clone(), ..Prepared::default() }).collect()
}

#[test]
fn every_sink_takes_every_mode_it_names_and_epochs_without_rows() {
    each(|name, provider, fixture| {
        for mode in provider.modes() {
            for pace in [Pace::Epoch, Pace::Eager] {
                let mut sink = provider.connect(&fixture.spec, SinkContext { pace, ..context(*mode) }).unwrap();
                run(sink.as_mut(), 0, &[rows(0..3), rows(3..5)]).unwrap();
                run(sink.as_mut(), 1, &[]).unwrap();
                assert!(!sink.description().is_empty(), "{name}");
                sink.close(None);
            }
        }
    });
}

#[test]
fn every_prepared_counts_its_rows() {
    each(|name, provider, fixture| {
        let mut sink = provider.connect(&fixture.spec, context(provider.modes()[0])).unwrap();
        let prepared = prepare(sink.as_mut(), 0, &[rows(0..3), rows(3..5)]).unwrap();
        assert_eq!(prepared.iter().map(|prepared| prepared.rows).collect::<Vec<_>>(), [3, 2], "{name}");
    });
}

#[test]
fn k12_k14_a_commit_can_be_repeated_from_its_notes() {
    each(|name, provider, fixture| {
        let mut sink = provider.connect(&fixture.spec, context(provider.modes()[0])).unwrap();
        let prepared = prepare(sink.as_mut(), 0, &[rows(0..3)]).unwrap();
        let notes = from_notes(&prepared);
        sink.commit(0, prepared).unwrap();
        sink.commit(0, from_notes(&notes)).unwrap();
        drop(sink);
        let mut again = provider.connect(&fixture.spec, context(provider.modes()[0])).unwrap();
        again.commit(0, notes).unwrap();
        if let Some(visible) = &fixture.visible {
            assert_eq!(visible(), [0, 1, 2], "{name}");
        }
    });
}

#[test]
fn k9_k10_an_epoch_that_was_prepared_but_not_committed_runs_again() {
    each(|name, provider, fixture| {
        let mut sink = provider.connect(&fixture.spec, context(provider.modes()[0])).unwrap();
        drop(prepare(sink.as_mut(), 0, &[rows(0..3)]).unwrap());
        drop(sink);
        let context = SinkContext { run_id: "run-2".into(), ..context(provider.modes()[0]) };
        let mut again = provider.connect(&fixture.spec, context).unwrap();
        run(again.as_mut(), 0, &[rows(0..3)]).unwrap();
        if let Some(visible) = &fixture.visible {
            assert_eq!(visible(), [0, 1, 2], "{name}");
        }
    });
}

#[test]
fn every_sink_refuses_unknown_options() {
    each(|name, provider, mut fixture| {
        fixture.spec.options.set("noSuchOptionAnywhere", "1");
        let error = provider.connect(&fixture.spec, context(provider.modes()[0])).err().unwrap();
        assert!(error.message().contains("noSuchOptionAnywhere"), "{name}: {error}");
    });
}

#[test]
fn exactly_once_sinks_can_be_checked() {
    each(|name, provider, fixture| {
        assert!(provider.guarantee() != Guarantee::ExactlyOnce || fixture.visible.is_some(), "{name}");
    });
}

#[test]
fn names_are_unique_and_found() {
    let mut seen = BTreeSet::new();
    for name in ALL.iter().flat_map(|provider| provider.names()) {
        assert!(seen.insert(name), "'{name}' twice");
        assert!(lookup(&name.to_uppercase()).is_ok());
    }
    assert_eq!(lookup("consle").err().unwrap().condition(), Some("DATA_SOURCE_NOT_FOUND"));
}
