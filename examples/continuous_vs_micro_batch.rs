//! The same query under both drivers: how long a record takes from its arrival to the result that it changed.
//!
//! A thread sends records one by one; the query counts them per key in update mode. Run it in release mode for real figures:
//! `cargo run --release --example continuous_vs_micro_batch`.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use thalweg::prelude::*;
use thalweg::sources::memory::MemoryStream;

const RECORDS: i64 = 2_000;
const PAUSE: Duration = Duration::from_micros(500);

fn main() -> Result<()> {
    let session = Session::builder().app_name("continuous_vs_micro_batch").get_or_create();
    println!("{RECORDS} records, one each {PAUSE:?}; milliseconds from arrival to result");
    println!("{:<28} {:>10} {:>10} {:>10}", "driver", "p50", "p99", "p99.9");
    measure(&session, "continuous", Trigger::continuous("200 milliseconds")?)?;
    measure(&session, "micro-batch (as soon as possible)", Trigger::default())?;
    measure(&session, "micro-batch (every 100 ms)", Trigger::processing_time("100 milliseconds")?)
}

fn measure(session: &Session, label: &str, trigger: Trigger) -> Result<()> {
    let schema =
        Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, true), Field::new("n", DataType::Int64, true)]));
    let stream = MemoryStream::new(schema.clone());
    let counts = session.read_stream().memory(&stream)?.filter("n % 10 <> 0")?.group_by(["key"]).count()?;
    let query = counts.write_stream().format("noop").output_mode("update").trigger(trigger).start()?;
    for n in 0..RECORDS {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![n % 100])), Arc::new(Int64Array::from(vec![n]))];
        stream.push(RecordBatch::try_new(schema.clone(), columns)?)?;
        std::thread::park_timeout(PAUSE);
    }
    query.process_all_available()?;
    query.stop()?;
    let worst = |pick: fn(&thalweg::query::progress::Latency) -> u64| {
        query
            .recent_progress()
            .iter()
            .filter(|p| p.sink.num_output_rows > 0)
            .map(|p| pick(&p.latency))
            .max()
            .unwrap_or(0) as f64
            / 1000.0
    };
    let (p50, p99, p999) = (worst(|l| l.p50_micros), worst(|l| l.p99_micros), worst(|l| l.p999_micros));
    println!("{label:<28} {p50:>10.3} {p99:>10.3} {p999:>10.3}");
    Ok(())
}
