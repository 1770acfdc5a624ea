//! The source's options and figures: where it begins and ends, which topics, headers, lag, partitions and their watermarks.

use rdkafka::message::{Header, OwnedHeaders};

use super::*;

#[test]
#[ignore = "needs a Kafka broker"]
fn lag_is_in_the_progress_and_in_the_group() {
    let name = shared().topic("lag", 1);
    shared().send(&name, 0, numbers(0..10));
    let session = Session::builder().create();
    let group = format!("{name}-group");
    let reader = session.read_stream().format("kafka").option("kafka.bootstrap.servers", shared().servers);
    let reader =
        reader.option("subscribe", &name).option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", 4);
    let rows = reader.option("commitOffsetsToGroup", &group).load().unwrap();
    let query = rows.write_stream().format("noop").trigger(Trigger::AvailableNow).start().unwrap();
    query.await_termination().unwrap();
    let lags: Vec<_> =
        query.recent_progress().iter().map(|p| p.sources[0].metrics["maxOffsetsBehindLatest"].clone()).collect();
    assert_eq!(lags, ["6", "2", "0"]);
    let consumer: BaseConsumer = shared().config().set("group.id", &group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&name, 0);
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        let told = consumer.committed_offsets(asked.clone(), LONG).unwrap();
        if told.elements()[0].offset() == Offset::Offset(10) {
            return;
        }
    }
    panic!("the group never saw offset 10");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn d17_aborted_records_are_not_read_and_trailing_markers_end_a_range() {
    let name = shared().topic("aborted", 1);
    let producer: BaseProducer = shared().config().set("transactional.id", &name).create().unwrap();
    producer.init_transactions(LONG).unwrap();
    for (value, commit) in [("1", true), ("2", false), ("3", true), ("4", false)] {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), str>::to(&name).payload(value)).map_err(|(error, _)| error).unwrap();
        producer.flush(LONG).unwrap();
        if commit { producer.commit_transaction(LONG) } else { producer.abort_transaction(LONG) }.unwrap();
    }
    let session = Session::builder().create();
    for trigger in [Trigger::AvailableNow, Trigger::Continuous(Duration::from_millis(100))] {
        let reader = session.read_stream().format("kafka").option("kafka.bootstrap.servers", shared().servers);
        let reader = reader.option("subscribe", &name).option("startingOffsets", "earliest");
        let rows = reader.option("kafka.isolation.level", "read_committed").load().unwrap();
        let writer = rows.select_expr(["CAST(value AS STRING) AS value"]).unwrap().write_stream().format("memory");
        let query = writer.query_name("aborted").trigger(trigger).start().unwrap();
        if trigger == Trigger::AvailableNow {
            query.await_termination().unwrap();
        } else {
            query.process_all_available().unwrap();
            query.stop().unwrap();
        }
        let rows: usize = session.table("aborted").unwrap().collect().unwrap().iter().map(|rows| rows.num_rows()).sum();
        assert_eq!(rows, 2, "{trigger:?}");
    }
}

/// Values of a batch read with these options.
fn batch(session: &Session, options: &[(&str, &str)]) -> Result<Vec<String>> {
    let mut reader = session.read().format("kafka").option("kafka.bootstrap.servers", shared().servers);
    for (name, value) in options {
        reader = reader.option(name, value);
    }
    let rows = reader.load()?.select_expr(["CAST(value AS STRING) AS value"])?.collect_rows()?;
    Ok(sorted(rows.iter().map(|row| row.get(0).unwrap().to_string()).collect()))
}

fn strings(range: std::ops::Range<i64>) -> Vec<String> {
    numbers(range).collect()
}

/// Records with times 1000, 2000, ... of this partition.
fn send_timed(topic: &str, partition: i32, values: std::ops::Range<i64>) {
    let producer: BaseProducer = shared().config().create().unwrap();
    for value in values {
        let text = value.to_string();
        let record = BaseRecord::<(), str>::to(topic).partition(partition).timestamp(value * 1000).payload(&text);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LONG).unwrap();
}

#[test]
#[ignore = "needs a Kafka broker"]
fn batches_begin_and_end_where_options_say() {
    let name = shared().topic("bounds", 1);
    send_timed(&name, 0, 1_700_000_000..1_700_000_020);
    let session = Session::builder().create();
    let all = 1_700_000_000;
    let offsets = |n: i64| format!(r#"{{"{name}":{{"0":{n}}}}}"#);
    let read = |options: &[(&str, &str)]| {
        let mut given = vec![("subscribe", name.as_str())];
        given.extend(options);
        batch(&session, &given)
    };
    assert_eq!(read(&[]).unwrap(), strings(all..all + 20));
    let both = [("startingOffsets", &*offsets(5)), ("endingOffsets", &*offsets(8))];
    assert_eq!(read(&both).unwrap(), strings(all + 5..all + 8));
    assert_eq!(read(&[("endingOffsets", &offsets(-1))]).unwrap().len(), 20);
    assert_eq!(read(&[("startingTimestamp", "1700000015000")]).unwrap(), strings(all + 15..all + 20));
    assert_eq!(read(&[("endingTimestamp", "1700000015000")]).unwrap(), strings(all..all + 15));
    let times = format!(r#"{{"{name}":{{"0":1700000018000}}}}"#);
    assert_eq!(read(&[("startingOffsetsByTimestamp", &times)]).unwrap(), strings(all + 18..all + 20));
    assert_eq!(read(&[("endingOffsetsByTimestamp", &times)]).unwrap(), strings(all..all + 18));
    let late = [("startingTimestamp", "1900000000000")];
    assert!(read(&late).unwrap_err().to_string().contains("startingOffsetsByTimestampStrategy"));
    let latest = [late[0], ("startingOffsetsByTimestampStrategy", "latest")];
    assert_eq!(read(&latest).unwrap(), Vec::<String>::new());
}

#[test]
#[ignore = "needs a Kafka broker"]
fn topics_are_chosen_in_three_ways() {
    let (one, two) = (shared().topic("chosen", 2), shared().topic("chosen", 1));
    shared().send(&one, 0, numbers(0..5));
    shared().send(&one, 1, numbers(5..10));
    shared().send(&two, 0, numbers(10..15));
    let session = Session::builder().create();
    assert_eq!(batch(&session, &[("subscribe", &format!("{one}, {two}"))]).unwrap(), strings(0..15));
    assert_eq!(batch(&session, &[("assign", &format!(r#"{{"{one}":[1]}}"#))]).unwrap(), strings(5..10));
    let pattern = format!("({one}|{two})");
    assert_eq!(batch(&session, &[("subscribePattern", &pattern)]).unwrap(), strings(0..15));
    let error = batch(&session, &[("subscribe", "there-is-no-such-topic")]).unwrap_err();
    assert_eq!(error.condition(), Some("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn headers_go_through_and_null_stays_null() {
    let (from, to) = (shared().topic("headers-in", 1), shared().topic("headers-out", 1));
    let producer: BaseProducer = shared().config().create().unwrap();
    let headers = OwnedHeaders::new().insert(Header { key: "a", value: Some("1") });
    let headers = headers.insert(Header { key: "b", value: None::<&str> });
    let record = BaseRecord::to(&from).key("k").payload("v").headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.send(BaseRecord::<str, str>::to(&from).key("tombstone")).map_err(|(error, _)| error).unwrap();
    producer.flush(LONG).unwrap();
    let session = Session::builder().create();
    let rows = shared().stream(&session, &from).option("includeHeaders", true).load().unwrap();
    let rows = rows.select(["key", "value", "headers"]).unwrap();
    let query = shared().writer(&rows, &to).trigger(Trigger::AvailableNow).start().unwrap();
    query.await_termination().unwrap();
    let reader = session.read().format("kafka").option("kafka.bootstrap.servers", shared().servers);
    let written = reader.option("subscribe", &to).option("includeHeaders", true).load().unwrap();
    let told = "concat_ws('|', CAST(key AS STRING), coalesce(CAST(value AS STRING), 'null'), coalesce(headers[0].key, '-'), \
                coalesce(CAST(headers[0].value AS STRING), '-'), coalesce(headers[1].key, '-'), \
                coalesce(CAST(headers[1].value AS STRING), '-')) AS told";
    let rows = written.order_by(["offset"]).unwrap().select_expr([told]).unwrap().collect_rows().unwrap();
    let told: Vec<_> = rows.iter().map(|row| row.get(0).unwrap().to_string()).collect();
    assert_eq!(told, ["k|v|a|1|b|-", "tombstone|null|-|-|-|-"]);
}

#[test]
#[ignore = "needs a Kafka broker"]
fn lag_in_seconds_is_that_of_the_partition_with_the_oldest_records() {
    let name = shared().topic("seconds", 2);
    send_timed(&name, 0, 1_700_000_000..1_700_000_010);
    let session = Session::builder().create();
    let reader = shared().stream(&session, &name).option("maxOffsetsPerTrigger", 4);
    let query = reader.load().unwrap().write_stream().format("noop").trigger(Trigger::AvailableNow).start().unwrap();
    query.await_termination().unwrap();
    let seconds: Vec<f64> = query
        .recent_progress()
        .iter()
        .map(|progress| progress.sources[0].metrics["secondsBehindLatest"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(seconds[0] > 60_000_000.0 && seconds.last() == Some(&0.0), "{seconds:?}");
}

/// Windows of 10 s over two partitions, of which one has nothing to say.
#[test]
#[ignore = "needs a Kafka broker"]
fn t05_a_partition_that_is_idle_holds_the_watermark_until_its_timeout() {
    let (from, to) = (shared().topic("idle-in", 2), shared().topic("idle-out", 1));
    shared().send(&from, 0, numbers(0..100));
    shared().send(&from, 1, numbers(0..1));
    let session = Session::builder().config("thalweg.workers", 2).create();
    let start = |timeout: &str| {
        let rows = shared().stream(&session, &from).option("idleTimeout", timeout).load().unwrap();
        let times = rows.select_expr(["timestamp_seconds(CAST(CAST(value AS STRING) AS BIGINT)) AS ts"]).unwrap();
        let counts = times.with_watermark("ts", "0 seconds").unwrap();
        let counts = counts.group_by([window("ts", "10 seconds")]).count().unwrap();
        let values = counts.select_expr(["CAST(unix_seconds(window.start) AS STRING) AS value"]).unwrap();
        shared().writer(&values, &to).output_mode("append").trigger(continuous()).start().unwrap()
    };
    let query = start("off");
    query.process_all_available().unwrap();
    let held = query.last_progress().unwrap().watermarks[0].clone();
    assert!(held.held_by.is_some_and(|holder| holder.ends_with("[1]")), "{:?}", query.last_progress());
    query.stop().unwrap();
    assert_eq!(shared().committed(&to, 1), Vec::<String>::new());
    let query = start("200 ms");
    wait_for("the windows", || shared().committed(&to, 1).len() == 9);
    query.stop().unwrap();
}

#[test]
#[ignore = "needs a Kafka broker"]
fn a_pattern_finds_topics_that_are_made_later() {
    let name = unique("later");
    let to = shared().topic("later-out", 1);
    shared().make(NewTopic::new(&format!("{name}-a"), 1, TopicReplication::Fixed(1)));
    shared().send(&format!("{name}-a"), 0, numbers(0..5));
    for driver in drivers() {
        let session = Session::builder().create();
        let reader = session.read_stream().format("kafka").option("kafka.bootstrap.servers", shared().servers);
        let reader = reader.option("subscribePattern", format!("{name}-.*")).option("startingOffsets", "earliest");
        let rows = reader.option("partitionDiscoveryInterval", "200ms").load().unwrap().select(["value"]).unwrap();
        let query = shared().writer(&rows, &to).trigger(driver).start().unwrap();
        query.process_all_available().unwrap();
        let before = shared().committed(&to, 1).len();
        let added = shared().make(NewTopic::new(&unique(&format!("{name}-b")), 1, TopicReplication::Fixed(1)));
        shared().send(&added, 0, numbers(5..10));
        wait_for("the new topic's records", || shared().committed(&to, 1).len() == before + 5);
        query.stop().unwrap();
    }
}

/// Rows of each batch that had some.
fn batches(query: &StreamingQuery) -> Vec<i64> {
    let rows = query.recent_progress().into_iter().map(|progress| progress.num_input_rows as i64);
    rows.filter(|rows| *rows > 0).collect()
}

#[test]
#[ignore = "needs a Kafka broker"]
fn a_batch_waits_for_enough_records_or_long_enough() {
    let name = shared().topic("enough", 1);
    let session = Session::builder().create();
    let start = |delay: &str| {
        let reader =
            shared().stream(&session, &name).option("minOffsetsPerTrigger", 10).option("maxTriggerDelay", delay);
        reader.load().unwrap().write_stream().format("noop").start().unwrap()
    };
    shared().send(&name, 0, numbers(0..5));
    let query = start("1h");
    wait_for("the first batch", || batches(&query) == [5]);
    shared().send(&name, 0, numbers(5..8));
    // What another query has read in several batches meanwhile, this one has seen.
    let other = shared().stream(&session, &name).option("maxOffsetsPerTrigger", 1).load().unwrap();
    let other = other.write_stream().format("noop").start().unwrap();
    other.process_all_available().unwrap();
    other.stop().unwrap();
    shared().send(&name, 0, numbers(8..15));
    wait_for("the second batch", || batches(&query).len() > 1);
    assert_eq!(batches(&query), [5, 10]);
    query.stop().unwrap();
    let query = start("1s");
    wait_for("the first batch", || batches(&query) == [15]);
    shared().send(&name, 0, numbers(15..18));
    wait_for("the delay", || batches(&query) == [15, 3]);
    query.stop().unwrap();
}

#[test]
#[ignore = "needs a Kafka broker"]
fn a_group_may_be_given_by_name() {
    let name = shared().topic("group", 1);
    shared().send(&name, 0, numbers(0..10));
    let session = Session::builder().create();
    let group = unique("group");
    let reader =
        shared().stream(&session, &name).option("kafka.group.id", &group).option("commitOffsetsToGroup", &group);
    let query = reader.load().unwrap().write_stream().format("noop").trigger(Trigger::AvailableNow).start().unwrap();
    query.await_termination().unwrap();
    let consumer: BaseConsumer = shared().config().set("group.id", &group).create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&name, 0);
    wait_for("the group's offset", || {
        consumer.committed_offsets(asked.clone(), LONG).unwrap().elements()[0].offset() == Offset::Offset(10)
    });
    let groups = consumer.fetch_group_list(Some(&group), LONG).unwrap();
    assert!(groups.groups().iter().all(|group| group.members().is_empty()), "nobody is a member");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n03_bounds_that_are_not_there_are_named_by_their_option() {
    let name = shared().topic("beyond", 1);
    shared().send(&name, 0, numbers(0..10));
    let session = Session::builder().create();
    let beyond = format!(r#"{{"{name}":{{"0":99}}}}"#);
    for (option, condition) in
        [("startingOffsets", "START_OFFSET_RESET"), ("endingOffsets", "COULD_NOT_READ_OFFSET_RANGE")]
    {
        let given = [("subscribe", name.as_str()), (option, beyond.as_str())];
        let error = batch(&session, &given).unwrap_err();
        assert_eq!(error.condition(), Some(format!("KAFKA_DATA_LOSS.{condition}").as_str()), "{error}");
        assert!(error.message().contains(option), "{error}");
        let rows = batch(&session, &[given[0], given[1], ("failOnDataLoss", "false")]).unwrap();
        assert_eq!(rows, strings(if option == "endingOffsets" { 0..10 } else { 10..10 }));
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn questions_are_asked_as_often_as_options_say() {
    let name = shared().topic("asked", 1);
    shared().send(&name, 0, numbers(0..10));
    let session = Session::builder().create();
    let read = |more: &[(&str, &str)]| batch(&session, &[&[("subscribe", name.as_str())], more].concat());
    assert_eq!(read(&[("fetchOffset.numRetries", "0"), ("fetchOffset.retryIntervalMs", "1")]).unwrap(), strings(0..10));
    for option in ["fetchOffset.numRetries", "fetchOffset.retryIntervalMs"] {
        let error = read(&[(option, "often")]).unwrap_err().to_string();
        assert!(error.contains(option), "{error}");
    }
    // The answer is the same however often the question is: three pauses of 300 ms, and no more.
    let nobody = format!(r#"{{"{name}":[7]}}"#);
    let given = [("assign", nobody.as_str()), ("fetchOffset.numRetries", "3"), ("fetchOffset.retryIntervalMs", "300")];
    let begun = Instant::now();
    let error = batch(&session, &given).unwrap_err();
    assert_eq!(error.condition(), Some("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(900) && begun.elapsed() < LONG, "{:?}", begun.elapsed());
}
