//! Copies of topics: batch, both drivers, both guarantees, restarts.

use super::*;

#[test]
#[ignore = "needs a Kafka broker"]
fn a_batch_reads_everything_once_and_writes_it() {
    let (from, to) = (shared().topic("batch-in", 3), shared().topic("batch-out", 2));
    (0..3).for_each(|p| shared().send(&from, p, numbers(i64::from(p) * 100..i64::from(p) * 100 + 50)));
    let session = Session::builder().create();
    let reader = session.read().format("kafka").option("kafka.bootstrap.servers", shared().servers);
    let rows = reader.option("subscribe", &from).load().unwrap();
    let writer = rows.select(["key", "value"]).unwrap().write().format("kafka").mode("append");
    writer.option("kafka.bootstrap.servers", shared().servers).option("topic", &to).save().unwrap();
    let expected: Vec<String> = numbers(0..50).chain(numbers(100..150)).chain(numbers(200..250)).collect();
    assert_eq!(sorted(shared().committed(&to, 2)), expected);
}

fn copies(trigger: Trigger, guarantee: &str, workers: &str) {
    let (from, to) = (shared().topic("copy-in", 3), shared().topic("copy-out", 2));
    (0..3).for_each(|p| shared().send(&from, p, numbers(i64::from(p) * 1000..i64::from(p) * 1000 + 100)));
    let folder = tempfile::tempdir().unwrap();
    let session = Session::builder().config("thalweg.workers", workers).create();
    let start = || {
        let rows = shared().stream(&session, &from).load().unwrap().select_expr(["key", "value"]).unwrap();
        let writer = rows
            .write_stream()
            .format("kafka")
            .option("kafka.bootstrap.servers", shared().servers)
            .option("topic", &to);
        let writer = writer.option("deliveryGuarantee", guarantee).trigger(trigger);
        writer.option("checkpointLocation", folder.path().to_string_lossy()).start().unwrap()
    };
    let query = start();
    query.process_all_available().unwrap();
    query.stop().unwrap();
    (0..3).for_each(|p| shared().send(&from, p, numbers(i64::from(p) * 1000 + 100..i64::from(p) * 1000 + 150)));
    let query = start();
    query.process_all_available().unwrap();
    query.stop().unwrap();
    let expected: Vec<String> = (0..3).flat_map(|p| numbers(p * 1000..p * 1000 + 150)).collect();
    assert_eq!(sorted(shared().committed(&to, 2)), expected);
}

#[test]
#[ignore = "needs a Kafka broker"]
fn micro_batches_copy_and_go_on_after_a_restart() {
    copies(Trigger::ProcessingTime(Duration::ZERO), "at-least-once", "2");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn a_continuous_query_copies_and_goes_on_after_a_restart() {
    copies(Trigger::Continuous(Duration::from_millis(200)), "at-least-once", "2");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn transactions_copy_under_both_drivers() {
    copies(Trigger::ProcessingTime(Duration::ZERO), "exactly-once", "2");
    copies(Trigger::Continuous(Duration::from_millis(200)), "exactly-once", "3");
}
