//! What every source in [`ALL`](super::ALL) owes: the same rows however they are cut, again when read again, and without end.
//!
//! A new source needs a line in [`fixture`]; without one the test fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::*;
use crate::clock::ManualClock;

/// A context that reads the first `columns` columns, with a clock that stands at 2024-01-01.
pub(super) fn context(columns: usize) -> SourceContext {
    SourceContext {
        projection: (0..columns).collect(),
        filters: Vec::new(),
        conf: Conf::default(),
        log: None,
        clock: ManualClock::at(1_704_067_200_000_000),
        wake: Arc::new(|| ()),
    }
}

/// A streaming spec with options.
pub(super) fn spec(format: &str, options: &[(&str, &str)]) -> SourceSpec {
    let mut spec = SourceSpec { format: format.into(), streaming: true, ..SourceSpec::default() };
    for (name, value) in options {
        spec.options.set(*name, *value);
    }
    spec
}

/// A source under test: how to describe it and how to make more rows come.
pub(super) struct Fixture {
    /// What to read.
    pub(super) spec: SourceSpec,
    /// Makes the next rows exist; called several times.
    pub(super) produce: Box<dyn FnMut(&ManualClock)>,
    /// What must live as long as the source.
    pub(super) _keep: Box<dyn Any>,
}

fn fixture(name: &str) -> Option<Fixture> {
    match name {
        "text" => Some(file_fixture("text", |n| format!("line {n}\nanother {n}\n"))),
        "json" => Some(file_fixture("json", |n| format!("{{\"n\":{n}}}\n{{\"n\":{n}0}}\n"))),
        "csv" => Some(file_fixture("csv", |n| format!("{n}\n{n}0\n"))),
        "parquet" | "orc" => Some(columnar_fixture(name)),
        "socket" => Some(socket_fixture()),
        "rate" => Some(Fixture {
            spec: spec("rate", &[("rowsPerSecond", "7"), ("rampUpTime", "3s")]),
            produce: Box::new(|clock| clock.advance(Duration::from_secs(2))),
            _keep: Box::new(()),
        }),
        "rate-micro-batch" => Some(Fixture {
            spec: spec("rate-micro-batch", &[("rowsPerBatch", "5")]),
            produce: Box::new(|_| ()),
            _keep: Box::new(()),
        }),
        "memory" => Some(memory_fixture()),
        #[cfg(feature = "kafka")]
        "kafka" => Some(kafka::tests::fixture()),
        _ => None,
    }
}

/// A folder in which a file appears with each production, one second after the other.
fn file_fixture(format: &str, content: fn(u64) -> String) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_owned();
    let mut spec = spec(format, &[("path", folder.to_str().unwrap())]);
    spec.schema = (format != "text").then(|| {
        let fields = vec![crate::types::field("n", arrow::datatypes::DataType::Int64)];
        Arc::new(arrow::datatypes::Schema::new(fields))
    });
    let mut next = 0;
    let produce = move |_: &ManualClock| {
        file::tests::write(&folder.join(format!("{next}.{}", "txt")), content(next).as_bytes(), next);
        next += 1;
    };
    Fixture { spec, produce: Box::new(produce), _keep: Box::new(dir) }
}

/// The same with files that the format's own writer made.
fn columnar_fixture(format: &str) -> Fixture {
    let mut fixture = file_fixture(format, |_| String::new());
    let schema = fixture.spec.schema.clone().unwrap();
    let folder = std::path::PathBuf::from(fixture.spec.options.get("path").unwrap());
    let format = crate::formats::lookup(format).unwrap();
    let mut next = 0;
    fixture.produce = Box::new(move |_| {
        let path = folder.join(next.to_string());
        let values = arrow::array::Int64Array::from_iter_values((0..10_000).map(|n| n * 10 + next as i64));
        let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(values)]).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = format.file_writer(file, schema.clone(), &Options::default()).unwrap();
        writer.write(&rows).unwrap();
        writer.finish().unwrap();
        file::tests::touch(&path, next);
        next += 1;
    });
    fixture
}

fn socket_fixture() -> Fixture {
    use std::io::Write;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut peer = None;
    let mut line = 0;
    let produce = move |_: &ManualClock| {
        let peer = peer.get_or_insert_with(|| listener.accept().unwrap().0);
        writeln!(peer, "line {line}\nanother {line}").unwrap();
        line += 1;
    };
    Fixture {
        spec: spec("socket", &[("host", "127.0.0.1"), ("port", &port)]),
        produce: Box::new(produce),
        _keep: Box::new(()),
    }
}

fn memory_fixture() -> Fixture {
    let fields = vec![crate::types::field("n", arrow::datatypes::DataType::Int64)];
    let stream = memory::MemoryStream::new(Arc::new(arrow::datatypes::Schema::new(fields)));
    let spec = stream.spec();
    let mut next = 0;
    let produce = move |_: &ManualClock| {
        let values = arrow::array::Int64Array::from_iter_values(next..next + 3);
        stream.push(RecordBatch::try_new(stream.schema(), vec![Arc::new(values)]).unwrap()).unwrap();
        next += 3;
    };
    Fixture { spec, produce: Box::new(produce), _keep: Box::new(()) }
}

struct Bench {
    source: Box<dyn Source>,
    clock: Arc<ManualClock>,
    schema: SchemaRef,
}

fn bench(provider: &dyn SourceProvider, fixture: &Fixture) -> Bench {
    let conf = Conf::default();
    let schema = provider.schema(&fixture.spec, &conf).unwrap();
    let clock = ManualClock::at(1_704_067_200_000_000);
    let context = SourceContext { clock: clock.clone(), ..context(schema.fields().len()) };
    let source = provider.connect(&fixture.spec, Arc::clone(&schema), context).unwrap();
    Bench { source, clock, schema }
}

impl Bench {
    /// The newest offset once there is one after `from`.
    fn latest(&mut self, from: Option<&Offset>) -> Offset {
        loop {
            match self.source.latest(from, Limit::Options).unwrap() {
                Some(offset) if Some(&offset) != from => return offset,
                _ => std::thread::yield_now(),
            }
        }
    }

    /// The rows of a range, or the first `most` rows without end.
    fn rows(&mut self, from: Option<&Offset>, to: Option<&Offset>, most: usize) -> RecordBatch {
        let mut found = vec![RecordBatch::new_empty(Arc::clone(&self.schema))];
        let mut decoder = self.source.decoder().unwrap();
        for mut reader in self.source.read(from, to).unwrap() {
            while found.iter().map(RecordBatch::num_rows).sum::<usize>() < most {
                match reader.next(Duration::from_secs(1)).unwrap() {
                    Read::Rows(rows) => found.push(rows),
                    Read::Part(part) => found.push(part.rows),
                    Read::Frames(frames) => found.push(decoder.as_mut().unwrap().decode(&frames).unwrap()),
                    Read::Idle => {}
                    Read::End => break,
                }
            }
        }
        concat_batches(&self.schema, &found).unwrap()
    }
}

/// The offsets after each of three productions.
fn offsets(bench: &mut Bench, produce: &mut dyn FnMut(&ManualClock)) -> Vec<Offset> {
    let mut offsets: Vec<Offset> = Vec::new();
    for _ in 0..3 {
        produce(&bench.clock);
        let offset = bench.latest(offsets.last());
        offsets.push(offset);
    }
    offsets
}

fn cuts_and_repetitions_give_the_same_rows(provider: &dyn SourceProvider, mut fixture: Fixture) {
    let name = provider.names()[0];
    let mut bench = bench(provider, &fixture);
    let offsets = offsets(&mut bench, &mut fixture.produce);
    let last = offsets.last();
    let whole = bench.rows(None, last, usize::MAX);
    assert!(whole.num_rows() > 0, "{name}");
    assert_eq!(bench.rows(None, last, usize::MAX), whole, "{name}: read again");
    let mut pieces = Vec::new();
    let mut from = None;
    for to in &offsets {
        pieces.push(bench.rows(from, Some(to), usize::MAX));
        from = Some(to);
    }
    assert_eq!(concat_batches(&bench.schema, &pieces).unwrap(), whole, "{name}: cut at {offsets:?}");
}

fn an_unbounded_read_gives_the_same_rows(provider: &dyn SourceProvider, mut bounded: Fixture, mut unbounded: Fixture) {
    let name = provider.names()[0];
    let mut bench = self::bench(provider, &bounded);
    let last = offsets(&mut bench, &mut bounded.produce).pop();
    let expected = bench.rows(None, last.as_ref(), usize::MAX);
    let mut bench = self::bench(provider, &unbounded);
    (0..3).for_each(|_| (unbounded.produce)(&bench.clock));
    let found = bench.rows(None, None, expected.num_rows());
    assert_eq!(found.slice(0, expected.num_rows().min(found.num_rows())), expected, "{name}");
}

/// True for a source that gives streams; Cassandra's and a checkpoint's state only give batches.
fn streams(name: &str) -> bool {
    !is_cassandra(name) && !["statestore", "state-metadata"].contains(&name)
}

#[test]
fn every_source_keeps_the_contract() {
    for provider in ALL {
        for name in provider.names().iter().filter(|name| streams(name)) {
            let make = || fixture(name).unwrap_or_else(|| panic!("source '{name}' has no fixture"));
            cuts_and_repetitions_give_the_same_rows(*provider, make());
            an_unbounded_read_gives_the_same_rows(*provider, make(), make());
        }
    }
}

#[test]
fn every_source_refuses_unknown_options() {
    for provider in ALL {
        for name in provider.names() {
            let fixture = streams(name).then(|| fixture(name).unwrap());
            let mut spec = fixture.as_ref().map_or_else(|| spec(name, &[]), |fixture| fixture.spec.clone());
            spec.options.set("noSuchOptionAnywhere", "1");
            let error = provider.schema(&spec, &Conf::default()).unwrap_err();
            assert!(error.message().contains("noSuchOptionAnywhere"), "{name}: {error}");
        }
    }
}

#[test]
fn names_are_unique_and_found() {
    let mut seen = BTreeSet::new();
    for name in ALL.iter().flat_map(|provider| provider.names()) {
        assert!(seen.insert(name), "'{name}' twice");
        assert!(lookup(&name.to_uppercase()).is_ok());
    }
    let error = lookup("sockets").err().unwrap();
    assert_eq!(error.condition(), Some("DATA_SOURCE_NOT_FOUND"));
    assert!(error.to_string().contains("'socket'"), "{error}");
}
