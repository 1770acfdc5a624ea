//! Decoders and encoders of the text formats, over chunks in memory.

use arrow::array::RecordBatch;
use criterion::{Criterion, Throughput};
use thalweg::conf::Conf;
use thalweg::formats::frames::Splitter;
use thalweg::formats::{DecodeContext, Format, Frames, lookup};
use thalweg::options::Options;
use thalweg::show::{ShowOptions, table};
use thalweg::types::zone::Zone;

use crate::data::{self, ROWS};

const FORMATS: [&str; 2] = ["json", "csv"];

fn rows() -> RecordBatch {
    data::chunks(1, 1_000).remove(0)
}

fn format(name: &str) -> &'static dyn Format {
    lookup(name).expect("the format is in the list")
}

fn encoded(name: &str, rows: &RecordBatch) -> Vec<u8> {
    let encoder = format(name).encoder(rows.schema(), &Options::default(), &Conf::default());
    let mut out = Vec::new();
    encoder.and_then(|mut encoder| encoder.encode(rows, &mut out)).expect("the rows can be written");
    out
}

/// Bytes to rows: cutting into records, and building columns, all of them or one of four.
pub fn decode(criterion: &mut Criterion) {
    for name in FORMATS {
        let bytes = encoded(name, &rows());
        let mut group = criterion.benchmark_group(format!("decode {name}"));
        group.throughput(Throughput::Elements(ROWS as u64));
        group.bench_function("cut into records", |bencher| bencher.iter(|| frames(name, &bytes)));
        for (case, columns) in [("all columns", vec![0, 1, 2, 3]), ("one column", vec![0])] {
            let frames = frames(name, &bytes);
            let context = DecodeContext {
                schema: data::schema(),
                projection: columns,
                options: Options::default(),
                conf: Conf::default(),
                filters: Vec::new(),
            };
            let mut decoder = format(name).decoder(context).expect("the schema can be read");
            group.bench_function(case, |bencher| bencher.iter(|| decoder.decode(&frames)));
        }
        group.finish();
    }
}

fn frames(name: &str, bytes: &[u8]) -> Frames {
    let splitter = Splitter::new(format(name), &Options::default(), "bench");
    splitter.expect("the format has records").push(bytes)
}

/// Rows to bytes, and to the table of the console.
pub fn encode(criterion: &mut Criterion) {
    let rows = rows();
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(ROWS as u64));
    for name in FORMATS {
        group.bench_function(name, |bencher| bencher.iter(|| encoded(name, &rows)));
    }
    let options = ShowOptions { rows: ROWS, truncate: 20, zone: Zone::utc() };
    group.bench_function("console", |bencher| {
        bencher.iter(|| table(&rows.schema(), std::slice::from_ref(&rows), &options));
    });
    group.finish();
}
