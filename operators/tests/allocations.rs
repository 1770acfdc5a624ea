//! No operator allocates per row: chunks of many rows cost a few allocations each, however many rows they have.
//!
//! In: chunks of [`ROWS`] rows with a number, a text, a time and a value. Out: the allocations of one operator while it takes several of
//! them, warmed up. What always holds: fewer than one for each [`ROWS_AN_ALLOCATION`] rows, for known keys and for new ones.

use std::sync::Arc;

use allocation_counter::measure;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thalweg_operators::aggregate::{AggregateFunction, Options};
use thalweg_operators::dedup::{Dedup, Retention};
use thalweg_operators::group::{AggregateCall, GroupSpec, Keyed, Mode, WindowSpec, Windowed};
use thalweg_operators::join::On;
use thalweg_operators::join::stream::{Join, JoinKind, JoinSide, StreamJoin};
use thalweg_operators::{Chunk, Logic, Output, Pace};

const ROWS: i64 = 8192;
const CHUNKS: i64 = 16;
const ROWS_AN_ALLOCATION: i64 = 16;
const SECOND: i64 = 1_000_000;

const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64),
        field("name", DataType::Utf8),
        field("time", TIME),
        field("value", DataType::Int64),
    ]))
}

/// Rows `number * ROWS` to `(number + 1) * ROWS`, with keys below `keys`; the texts are too long to lie in place.
fn rows(number: i64, keys: i64) -> RecordBatch {
    let all = || number * ROWS..(number + 1) * ROWS;
    let ids = Int64Array::from_iter_values(all().map(|row| row * 7919 % keys));
    let names = StringArray::from_iter_values(ids.values().iter().map(|id| format!("a name of some length, {id}")));
    let times = TimestampMicrosecondArray::from_iter_values(all().map(|row| row * SECOND / 1000));
    let columns: [ArrayRef; 4] =
        [Arc::new(ids), Arc::new(names), Arc::new(times), Arc::new(Int64Array::from_iter_values(all()))];
    RecordBatch::try_new(schema(), columns.into()).expect("columns of the schema")
}

/// Allocations while `operator` takes [`CHUNKS`] chunks from the `first` on; results are thrown away.
fn allocations(operator: &mut dyn Logic, ports: usize, first: i64, keys: i64) -> u64 {
    let chunks: Vec<RecordBatch> = (first..first + CHUNKS).map(|number| rows(number, keys)).collect();
    let mut out = Output::new(Pace::Eager);
    let run = || {
        for rows in chunks {
            for port in 0..ports {
                operator.on_rows(port, Chunk::new(rows.clone(), 1, 0), &mut out).expect("rows of the schema");
                out.take();
            }
        }
    };
    measure(run).count_total
}

fn few(what: &str, mut operator: impl Logic, ports: usize) {
    let most = (CHUNKS * ROWS / ROWS_AN_ALLOCATION) as u64;
    // The first chunks make tables; then the same keys come again; then new ones.
    allocations(&mut operator, ports, 0, 1000);
    let known = allocations(&mut operator, ports, CHUNKS, 1000);
    let new = allocations(&mut operator, ports, 2 * CHUNKS, i64::MAX);
    assert!(known < most, "{what}: {known} allocations for {} rows with known keys", CHUNKS * ROWS);
    assert!(new < most, "{what}: {new} allocations for {} rows with new keys", CHUNKS * ROWS);
}

fn spec(keys: &[usize], window: bool) -> GroupSpec {
    let call = |name: &str, args: &[usize]| {
        let types: Vec<DataType> = args.iter().map(|_| DataType::Int64).collect();
        let function = AggregateFunction::new(name, &types, Options::default()).expect("a known aggregate");
        AggregateCall { function, args: args.to_vec(), filter: None }
    };
    let input = schema();
    let bounds = vec![Field::new("start", TIME, true), Field::new("end", TIME, true)];
    let window = window.then(|| Field::new("window", DataType::Struct(bounds.into()), true));
    let kept = keys.iter().map(|key| input.field(*key).clone());
    let made = ["count", "sum", "max"].map(|name| Field::new(name, DataType::Int64, true));
    let output = Arc::new(Schema::new(window.into_iter().chain(kept).chain(made).collect::<Vec<_>>()));
    let aggregates = vec![call("count", &[]), call("sum", &[3]), call("max", &[3])];
    GroupSpec { keys: keys.to_vec(), aggregates, mode: Mode::Update, input, output, merges: false }
}

fn windows(length: i64, slide: i64) -> WindowSpec {
    WindowSpec { column: 2, length: length * SECOND, slide: slide * SECOND, start: 0, position: 0 }
}

#[test]
fn aggregations() {
    few("numbers", Keyed::new(spec(&[0], false), None, true).expect("keys"), 1);
    few("texts", Keyed::new(spec(&[1], false), None, true).expect("keys"), 1);
    few("several keys", Keyed::new(spec(&[0, 1], false), None, true).expect("keys"), 1);
}

#[test]
fn windowed_aggregations() {
    few("tumbling", Windowed::new(spec(&[0], true), windows(60, 60)), 1);
    few("tumbling, texts", Windowed::new(spec(&[1], true), windows(60, 60)), 1);
    few("sliding", Windowed::new(spec(&[0], true), windows(60, 20)), 1);
}

#[test]
fn deduplications() {
    few("for ever", Dedup::new(&schema(), vec![1], Retention::Forever).expect("keys"), 1);
    let by_time = Retention::EventTimeKey { event_time: 2 };
    few("with the event time", Dedup::new(&schema(), vec![0, 2], by_time).expect("keys"), 1);
}

#[test]
fn joins_of_streams() {
    let side = || JoinSide { schema: schema(), prefilter: None, event_time: None, evict: None };
    let joined: Vec<_> = schema().fields().iter().chain(schema().fields()).cloned().collect();
    let on = [0, 2].map(|column| On { left: column, right: column, null_safe: false });
    let join = StreamJoin {
        kind: JoinKind::Inner,
        on: on.into(),
        condition: None,
        joined: Arc::new(Schema::new(joined)),
        changelog: false,
        sides: [side(), side()],
        holdback: 0,
    };
    few("inner", Join::new(join).expect("keys"), 2);
}
