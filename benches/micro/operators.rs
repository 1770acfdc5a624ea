//! Stateful operators: each chunk is pushed into one instance, which keeps its state from chunk to chunk.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use criterion::{BatchSize, Criterion, Throughput};
use thalweg_operators::aggregate::{AggregateFunction, Options};
use thalweg_operators::dedup::{Dedup, Retention};
use thalweg_operators::event_time;
use thalweg_operators::group::{AggregateCall, GroupSpec, Keyed, Mode, WindowSpec, Windowed};
use thalweg_operators::harness::Harness;
use thalweg_operators::join::On;
use thalweg_operators::join::stream::{Evict, Join, JoinKind, JoinSide, StreamJoin};
use thalweg_operators::keys::Hashing;
use thalweg_operators::{Logic, Pace};

use crate::data::{self, ID, NAME, ROWS, SECOND, TIME, VALUE};

/// Chunks of one run.
const CHUNKS: usize = 16;

/// Runs `chunks` through a new operator for each sample; a second's epoch closes after each chunk.
fn run<L: Logic + 'static>(
    criterion: &mut Criterion,
    (group, case): (&str, &str),
    chunks: &[RecordBatch],
    make: impl Fn() -> thalweg_operators::Result<L> + Copy + 'static,
) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements((chunks.len() * ROWS) as u64)).sample_size(10);
    group.bench_function(case, |bencher| {
        let start = || Harness::new(Pace::Epoch, vec![None], 1, make);
        bencher.iter_batched_ref(start, |harness| push(harness, chunks), BatchSize::PerIteration);
    });
    group.finish();
}

fn push<L: Logic>(harness: &mut Harness<L>, chunks: &[RecordBatch]) -> Vec<RecordBatch> {
    for (second, chunk) in chunks.iter().enumerate() {
        harness.push(0, chunk.clone()).expect("the rows fit the operator");
        harness.watermark(&[second as i64 * SECOND]).expect("the operator takes watermarks");
        harness.close().expect("the epoch closes");
    }
    harness.take()
}

/// `count(*)` and `avg(value)` by these keys.
fn counted(keys: Vec<usize>, mode: Mode, window: bool) -> GroupSpec {
    let call = |name: &str, args: Vec<usize>| {
        let types: Vec<DataType> = args.iter().map(|arg| data::schema().field(*arg).data_type().clone()).collect();
        let function = AggregateFunction::new(name, &types, Options::default()).expect("the aggregate exists");
        AggregateCall { function, args, filter: None }
    };
    let aggregates = vec![call("count", vec![ID]), call("avg", vec![VALUE])];
    let mut fields: Vec<Field> = keys.iter().map(|key| data::schema().field(*key).clone()).collect();
    if window {
        let part = |name| Field::new(name, data::schema().field(TIME).data_type().clone(), true);
        fields.insert(0, Field::new("window", DataType::Struct(vec![part("start"), part("end")].into()), true));
    }
    fields.extend(
        ["count", "avg"]
            .iter()
            .zip(&aggregates)
            .map(|(name, call)| Field::new(*name, call.function.return_type().clone(), true)),
    );
    GroupSpec { keys, aggregates, mode, input: data::schema(), output: Arc::new(Schema::new(fields)), merges: false }
}

/// Hash aggregation by an integer and by a string, few keys and many.
pub fn group_by_key(criterion: &mut Criterion) {
    for (size, keys) in [("1k", 1_000), ("1M", 1_000_000)] {
        let chunks = data::chunks(CHUNKS, keys);
        let by = |column: usize| Keyed::new(counted(vec![column], Mode::Update, false), None, false);
        run(criterion, ("group by int", size), &chunks, move || by(ID));
        run(criterion, ("group by string", size), &chunks, move || by(NAME));
    }
}

/// Hashing keys to key groups, in each of the ways: numbers, names of one length or nearly, words of 2 to 10 letters.
pub fn key_groups(criterion: &mut Criterion) {
    let rows = data::chunks(1, 1_000_000).remove(0);
    let names = rows.column(NAME).as_string::<i32>();
    let words =
        names.iter().flatten().enumerate().map(|(row, name)| &name[name.len().saturating_sub(2 + row * 7 % 9)..]);
    let words: ArrayRef = Arc::new(StringArray::from_iter_values(words));
    let mut group = criterion.benchmark_group("key groups");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (case, column) in [("int", rows.column(ID)), ("name", rows.column(NAME)), ("word", &words)] {
        for hashing in [Hashing::Xxhash64, Hashing::Folded] {
            let (columns, mut hashes) = ([column.clone()], Vec::new());
            group.bench_function(format!("{case}, {hashing:?}"), |bencher| {
                bencher.iter(|| hashing.hash(&columns, ROWS, &mut hashes).expect("the column can be hashed"));
            });
        }
    }
    group.finish();
}

/// Windows of 10 s by id: each second stands in one window, or in ten that share slices.
pub fn windows(criterion: &mut Criterion) {
    let chunks = data::chunks(CHUNKS, 1_000);
    for (case, slide) in [("tumbling", 10), ("sliding by 1 s", 1)] {
        let window = WindowSpec { column: TIME, length: 10 * SECOND, slide: slide * SECOND, start: 0, position: 0 };
        run(criterion, ("window", case), &chunks, move || {
            Ok(Windowed::new(counted(vec![ID], Mode::Append, true), window))
        });
    }
}

/// Ids that come again within ten seconds.
pub fn dedup(criterion: &mut Criterion) {
    for (size, keys) in [("1k", 1_000), ("1M", 1_000_000)] {
        let retention = Retention::Within { event_time: TIME, delay: 10 * SECOND };
        let chunks = data::chunks(CHUNKS, keys);
        run(criterion, ("dedup within watermark", size), &chunks, move || {
            Dedup::new(&data::schema(), vec![ID], retention)
        });
    }
}

/// Two streams by id, each forgetting rows after two seconds.
pub fn join(criterion: &mut Criterion) {
    let chunks = data::chunks(CHUNKS, 100_000);
    let mut group = criterion.benchmark_group("stream join");
    group.throughput(Throughput::Elements((2 * chunks.len() * ROWS) as u64)).sample_size(10);
    group.bench_function("inner", |bencher| {
        let start = || Harness::new(Pace::Epoch, vec![None, None], 1, || Join::new(by_id()));
        bencher.iter_batched_ref(start, |harness| push_both(harness, &chunks), BatchSize::PerIteration);
    });
    group.finish();
}

fn push_both(harness: &mut Harness<Join>, chunks: &[RecordBatch]) -> Vec<RecordBatch> {
    for (second, chunk) in chunks.iter().enumerate() {
        harness.push(0, chunk.clone()).expect("the rows fit the left side");
        harness.push(1, chunk.clone()).expect("the rows fit the right side");
        harness.watermark(&[second as i64 * SECOND; 2]).expect("the join takes watermarks");
        harness.close().expect("the epoch closes");
    }
    harness.take()
}

fn by_id() -> StreamJoin {
    let side = || JoinSide {
        schema: data::schema(),
        prefilter: None,
        event_time: Some(event_time::column(TIME)),
        evict: Some(Evict { value: event_time::column(TIME), delay: 2 * SECOND }),
    };
    StreamJoin {
        kind: JoinKind::Inner,
        on: vec![On { left: ID, right: ID, null_safe: false }],
        condition: None,
        joined: twice(&data::schema()),
        sides: [side(), side()],
        holdback: 0,
        changelog: false,
    }
}

fn twice(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().chain(schema.fields());
    Arc::new(Schema::new(fields.map(|field| field.as_ref().clone()).collect::<Vec<_>>()))
}
