//! The sink's output modes, and rows that say themselves where they go.

use super::*;

/// Counts values; a row says `value=count`.
fn counts(session: &Session, from: &str) -> DataFrame {
    let rows = shared().stream(session, from).load().unwrap().select_expr(["CAST(value AS STRING) AS word"]).unwrap();
    let counts = rows.group_by(["word"]).count().unwrap();
    counts.select_expr(["word AS key", "concat(word, '=', CAST(count AS STRING)) AS value"]).unwrap()
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

/// What is in the topic after each of two batches, in any order.
fn written(mode: &str, guarantee: &str) -> [Vec<String>; 2] {
    let (from, to) = (shared().topic("words", 1), shared().topic("counts", 1));
    let session = Session::builder().create();
    let folder = tempfile::tempdir().unwrap();
    [["a", "b", "a"].as_slice(), ["a"].as_slice()].map(|words| {
        shared().send(&from, 0, texts(words));
        let writer =
            shared().writer(&counts(&session, &from), &to).output_mode(mode).option("deliveryGuarantee", guarantee);
        let writer = writer.option("checkpointLocation", folder.path().to_string_lossy());
        writer.trigger(Trigger::AvailableNow).start().unwrap().await_termination().unwrap();
        let mut found = shared().committed(&to, 1);
        found.sort();
        found
    })
}

#[test]
#[ignore = "needs a Kafka broker"]
fn update_mode_writes_what_has_changed() {
    for guarantee in ["at-least-once", "exactly-once"] {
        let [first, second] = written("update", guarantee);
        assert_eq!(first, ["a=2", "b=1"]);
        assert_eq!(second, ["a=2", "a=3", "b=1"]);
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn complete_mode_writes_all_rows_each_time() {
    for guarantee in ["at-least-once", "exactly-once"] {
        let [first, second] = written("complete", guarantee);
        assert_eq!(first, ["a=2", "b=1"]);
        assert_eq!(second, ["a=2", "a=3", "b=1", "b=1"]);
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn a_continuous_query_in_update_mode_ends_at_the_right_counts() {
    let (from, to) = (shared().topic("words", 1), shared().topic("counts", 1));
    let session = Session::builder().create();
    let query =
        shared().writer(&counts(&session, &from), &to).output_mode("update").trigger(continuous()).start().unwrap();
    for _ in 0..3 {
        shared().send(&from, 0, texts(&["a", "b", "a"]));
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
    let found = shared().committed(&to, 1);
    let last = |word: &str| found.iter().rfind(|count| count.starts_with(word)).cloned();
    assert_eq!((last("a"), last("b")), (Some("a=6".to_owned()), Some("b=3".to_owned())));
}

#[test]
#[ignore = "needs a Kafka broker"]
fn rows_may_name_their_topic_and_partition() {
    let from = shared().topic("spread-in", 1);
    let to = [shared().topic("spread-even", 3), shared().topic("spread-odd", 3)];
    shared().send(&from, 0, numbers(0..60));
    for driver in drivers() {
        let session = Session::builder().create();
        let rows = shared().stream(&session, &from).load().unwrap();
        let rows = rows.select_expr(["CAST(CAST(value AS STRING) AS INT) AS n"]).unwrap();
        let topic = format!("if(n % 2 = 0, '{}', '{}') AS topic", to[0], to[1]);
        let rows = rows.select_expr(["CAST(n AS STRING) AS value", &topic, "n % 3 AS partition"]).unwrap();
        let writer = rows.write_stream().format("kafka").option("kafka.bootstrap.servers", shared().servers);
        let query = writer.trigger(driver).start().unwrap();
        query.process_all_available().unwrap();
        query.stop().unwrap();
    }
    let session = Session::builder().create();
    for (rest, topic) in to.iter().enumerate() {
        let reader = session.read().format("kafka").option("kafka.bootstrap.servers", shared().servers);
        let rows = reader.option("subscribe", topic).load().unwrap();
        let right = format!(
            "CAST(CAST(value AS STRING) AS INT) % 2 = {rest} AND CAST(CAST(value AS STRING) AS INT) % 3 = partition"
        );
        let right = rows.filter(right.as_str()).unwrap();
        assert_eq!((rows.count().unwrap(), right.count().unwrap()), (60, 60), "thirty by each driver");
    }
}
