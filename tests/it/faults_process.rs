//! Faults of a process with many queries (ids as in `docs/faults.md`): one that fails, panics or hangs, and what the others
//! feel of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use thalweg::checkpoint;
use thalweg::prelude::*;
use thalweg::sources::memory::MemoryStream;

const LONG: Duration = Duration::from_secs(120);

fn stream() -> MemoryStream {
    MemoryStream::new(thalweg::types::parse_ddl("n BIGINT").unwrap())
}

fn push(stream: &MemoryStream, values: std::ops::Range<i64>) {
    let rows = RecordBatch::try_new(stream.schema(), vec![Arc::new(Int64Array::from_iter_values(values))]).unwrap();
    stream.push(rows).unwrap();
}

/// A query that adds up what reached its sink.
fn adding(session: &Session, stream: &MemoryStream, trigger: Trigger) -> (StreamingQuery, Arc<AtomicU64>) {
    let seen = Arc::new(AtomicU64::new(0));
    let into = Arc::clone(&seen);
    let frame = session.read_stream().memory(stream).unwrap().filter("n % 2 = 0").unwrap();
    let writer = frame.write_stream().trigger(trigger).foreach_rows(move |rows, _, _| {
        let rows: usize = rows.iter().map(RecordBatch::num_rows).sum();
        into.fetch_add(rows as u64, Ordering::AcqRel);
        Ok(())
    });
    (writer.start().unwrap(), seen)
}

#[test]
fn p02_of_200_queries_a_bad_one_holds_up_no_other() {
    let session = Session::builder().config("spark.sql.streaming.stopTimeout", 60_000).create();
    // One hangs in its sink, one fails.
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (bad, broken) = (stream(), stream());
    let hangs = session.read_stream().memory(&bad).unwrap().write_stream().foreach_rows(move |_, _, _| {
        // Ends when the test lets go of its end.
        let _ = released.lock().unwrap().recv();
        Ok(())
    });
    let hangs = hangs.start().unwrap();
    let fails = session.read_stream().memory(&broken).unwrap().select_expr(["n div 0 AS x"]).unwrap();
    let fails = fails.write_stream().format("noop").start().unwrap();
    let shared = stream();
    let triggers = [Trigger::default(), Trigger::continuous("1 second").unwrap()];
    let good: Vec<_> = (0..198).map(|n| adding(&session, &shared, triggers[n % 2])).collect();
    push(&bad, 0..1);
    push(&broken, 0..1);
    push(&shared, 0..100);
    assert!(fails.await_termination_timeout(LONG).is_err());
    for (query, seen) in &good {
        query.process_all_available().unwrap();
        assert_eq!(seen.load(Ordering::Acquire), 50);
    }
    assert!(hangs.is_active());
    good.iter().for_each(|(query, _)| query.request_stop());
    good.iter().for_each(|(query, _)| query.stop().unwrap());
    drop(release);
    hangs.stop().unwrap();
    assert!(session.streams().active().is_empty());
}

#[test]
fn p07_a_panicking_worker_ends_its_query_alone_and_the_checkpoint_stays_good() {
    let dir = tempfile::tempdir().unwrap();
    let location = dir.path().join("ck").display().to_string();
    let folder = dir.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    let file = |n: i64| {
        let lines: String = (n * 10..n * 10 + 10).map(|value| format!("{{\"n\":{value}}}\n")).collect();
        std::fs::write(folder.join(format!("{n}.json")), lines).unwrap();
    };
    (0..3).for_each(file);
    let counted = Arc::new(Mutex::new(std::collections::BTreeMap::new()));
    let run = |panics_at: i64| {
        let session = Session::builder().config("thalweg.workers", 2).create();
        let check = move |columns: &[arrow::array::ArrayRef]| {
            let values = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&columns[0]);
            assert!(!values.values().contains(&panics_at), "the value {panics_at} came");
            Ok(columns[0].clone())
        };
        session.register_udf("check", ["BIGINT"], "BIGINT", check).unwrap();
        let reader = session.read_stream().format("json").schema("n BIGINT").option("maxFilesPerTrigger", 1);
        let frame = reader.load_path(folder.to_str().unwrap()).unwrap().select_expr(["check(n) AS n"]).unwrap();
        let frame = frame.group_by(["n"]).agg([expr("count(*) AS c")]).unwrap();
        let counted = Arc::clone(&counted);
        let writer = frame.write_stream().output_mode("update").trigger(Trigger::AvailableNow);
        let writer = writer.option("checkpointLocation", &location).foreach_rows(move |rows, _, epoch| {
            let rows: usize = rows.iter().map(RecordBatch::num_rows).sum();
            counted.lock().unwrap().insert(epoch, rows);
            Ok(())
        });
        writer.start().unwrap().await_termination()
    };
    let (bystander, other) = (stream(), Session::builder().create());
    let (query, seen) = adding(&other, &bystander, Trigger::default());
    let error = run(25).unwrap_err();
    assert!(error.to_string().contains("the value 25 came"), "{error}");
    push(&bystander, 0..10);
    query.process_all_available().unwrap();
    assert_eq!(seen.load(Ordering::Acquire), 5);
    query.stop().unwrap();
    assert!(checkpoint::verify(&location).unwrap().iter().all(|found| !found.error));
    run(-1).unwrap();
    assert_eq!(counted.lock().unwrap().values().copied().collect::<Vec<_>>(), [10, 10, 10]);
}
