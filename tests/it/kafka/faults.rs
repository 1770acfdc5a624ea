//! What a broker may do to a query while it is up: records that age out, topics that change, refused records, other producers.

use rdkafka::admin::NewPartitions;

use super::*;

#[test]
#[ignore = "needs a Kafka broker"]
fn n05_a_partition_added_while_running_is_read_from_its_start() {
    let (from, to) = (shared().topic("grown-in", 1), shared().topic("grown-out", 1));
    shared().send(&from, 0, numbers(0..10));
    let session = Session::builder().create();
    let reader = session.read_stream().format("kafka").option("kafka.bootstrap.servers", shared().servers);
    let reader = reader.option("subscribe", &from).option("startingOffsets", "earliest");
    let rows = reader.option("partitionDiscoveryInterval", "200ms").load().unwrap().select(["value"]).unwrap();
    let writer =
        rows.write_stream().format("kafka").option("kafka.bootstrap.servers", shared().servers).option("topic", &to);
    let query = writer.trigger(Trigger::Continuous(Duration::from_millis(100))).start().unwrap();
    query.process_all_available().unwrap();
    let more = NewPartitions::new(&from, 2);
    futures::executor::block_on(shared().admin().create_partitions([&more], &AdminOptions::new())).unwrap();
    shared().send(&from, 1, numbers(10..20));
    let begun = Instant::now();
    while shared().committed(&to, 1).len() < 20 && begun.elapsed() < LONG {
        query.process_all_available().unwrap();
    }
    query.stop().unwrap();
    assert_eq!(sorted(shared().committed(&to, 1)), numbers(0..20).collect::<Vec<_>>());
}

/// Deletes a topic and makes it anew, with these numbers.
fn make_anew(name: &str, values: std::ops::Range<i64>) {
    delete(name);
    let new = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    wait_for("the new topic", || {
        let made = futures::executor::block_on(shared().admin().create_topics([&new], &AdminOptions::new())).unwrap();
        made.into_iter().all(|made| made.is_ok())
    });
    shared().send(name, 0, numbers(values));
}

fn delete(name: &str) {
    futures::executor::block_on(shared().admin().delete_topics(&[name], &AdminOptions::new())).unwrap();
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n04_a_topic_made_anew_is_not_read_as_if_it_were_the_old_one() {
    let session = Session::builder().create();
    // With fewer records than were read, and with more.
    for (name, end) in [("fewer", 10), ("more", 150)] {
        let name = shared().topic(name, 1);
        shared().send(&name, 0, numbers(0..100));
        let folder = tempfile::tempdir().unwrap();
        read_all(&session, &name, folder.path(), true).unwrap();
        make_anew(&name, 1000..1000 + end);
        let error = read_all(&session, &name, folder.path(), true).unwrap_err();
        assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED"), "{error}");
        assert!(error.message().contains(&format!("{name}-0")), "{error}");
        read_all(&session, &name, folder.path(), false).unwrap();
        // Of the longer one all is read. Of the shorter one nothing is known but that it is shorter.
        assert_eq!(count(&session, &name), if end == 150 { 150 } else { 0 });
        shared().send(&name, 0, numbers(0..7));
        read_all(&session, &name, folder.path(), true).unwrap();
        assert_eq!(count(&session, &name), 7, "it is the log that was read");
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n04_a_continuous_query_knows_a_topic_made_anew() {
    let name = shared().topic("anew-continuous", 1);
    shared().send(&name, 0, numbers(0..100));
    let folder = tempfile::tempdir().unwrap();
    let session = Session::builder().create();
    let start = |loss_fails: bool| {
        let reader = shared().stream(&session, &name).option("failOnDataLoss", loss_fails);
        let rows = reader.load().unwrap().select_expr(["CAST(value AS STRING) AS value"]).unwrap();
        let writer = rows.write_stream().format("memory").query_name(&name).trigger(continuous());
        writer.option("checkpointLocation", folder.path().to_string_lossy()).start()
    };
    let query = start(true).unwrap();
    query.process_all_available().unwrap();
    query.stop().unwrap();
    make_anew(&name, 1000..1150);
    let error = start(true).and_then(|query| query.await_termination()).unwrap_err();
    assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.PARTITION_OFFSET_CHANGED"), "{error}");
    for rows in [150, 0] {
        let query = start(false).unwrap();
        query.process_all_available().unwrap();
        query.stop().unwrap();
        assert_eq!(count(&session, &name), rows, "first all that is new, then it is the log that was read");
    }
}

/// Records of transactions, with the brokers' own records between, and what has aged out, are no sign of another log.
#[test]
#[ignore = "needs a Kafka broker"]
fn n04_control_records_and_records_that_aged_out_are_no_other_log() {
    let name = shared().topic("same", 1);
    let producer: BaseProducer = shared().config().set("transactional.id", &name).create().unwrap();
    producer.init_transactions(LONG).unwrap();
    let write = |value: &str, commit: bool| {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), str>::to(&name).payload(value)).map_err(|(error, _)| error).unwrap();
        producer.flush(LONG).unwrap();
        if commit { producer.commit_transaction(LONG) } else { producer.abort_transaction(LONG) }.unwrap();
    };
    let session = Session::builder().create();
    let folder = tempfile::tempdir().unwrap();
    let read = || {
        let reader = shared().stream(&session, &name).option("kafka.isolation.level", "read_committed");
        let rows = reader.load()?.select_expr(["CAST(value AS STRING) AS value"])?;
        let writer = rows.write_stream().format("memory").query_name(&name).trigger(Trigger::AvailableNow);
        writer.option("checkpointLocation", folder.path().to_string_lossy()).start()?.await_termination()?;
        Ok::<_, Error>(count(&session, &name))
    };
    write("1", true);
    write("2", false);
    assert_eq!(read().unwrap(), 1);
    write("3", true);
    assert_eq!(read().unwrap(), 1);
    // All that was read ages out; nothing that was not.
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&name, 0, Offset::Offset(6)).unwrap();
    futures::executor::block_on(shared().admin().delete_records(&before, &AdminOptions::new())).unwrap();
    write("4", true);
    assert_eq!(read().unwrap(), 1);
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n04_a_deleted_topic_is_a_loss_or_is_left_out() {
    for driver in drivers() {
        let (kept, gone) = (shared().topic("kept", 1), shared().topic("gone", 1));
        for topic in [&kept, &gone] {
            shared().send(topic, 0, numbers(0..10));
        }
        let session = Session::builder().create();
        let folder = tempfile::tempdir().unwrap();
        let start = |loss_fails: bool| {
            let reader = shared().stream(&session, &format!("{kept},{gone}")).option("failOnDataLoss", loss_fails);
            let rows = reader.load().unwrap().select_expr(["CAST(value AS STRING) AS value"]).unwrap();
            let writer = rows.write_stream().format("memory").query_name("left").trigger(driver);
            writer.option("checkpointLocation", folder.path().to_string_lossy()).start()
        };
        let query = start(false).unwrap();
        query.process_all_available().unwrap();
        assert_eq!(count(&session, "left"), 20);
        delete(&gone);
        // While it runs.
        shared().send(&kept, 0, numbers(10..20));
        wait_for("the kept topic's records", || count(&session, "left") == 30);
        query.stop().unwrap();
        assert!(query.exception().is_none(), "{:?}", query.exception());
        // With the checkpoint that still has it, or not any more.
        shared().send(&kept, 0, numbers(20..30));
        let query = start(false).unwrap();
        wait_for("the kept topic's records", || count(&session, "left") == 10);
        query.stop().unwrap();
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n04_a_deleted_topic_ends_the_query_as_documented() {
    for driver in drivers() {
        let (name, to) = (shared().topic("ended-in", 1), shared().topic("ended-out", 1));
        shared().send(&name, 0, numbers(0..10));
        let session = Session::builder().create();
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            let rows = shared().stream(&session, &name).load().unwrap().select(["value"]).unwrap();
            let writer = shared().writer(&rows, &to).trigger(driver);
            writer.option("checkpointLocation", folder.path().to_string_lossy()).start()
        };
        let query = start().unwrap();
        query.process_all_available().unwrap();
        delete(&name);
        let error = failure(&query);
        assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.PARTITIONS_DELETED"), "{driver:?}: {error}");
        let error = start().and_then(|query| query.await_termination()).unwrap_err();
        assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.PARTITIONS_DELETED"), "{driver:?}: {error}");
    }
}

/// Reads a topic into a table until there is no more.
fn read_all(session: &Session, name: &str, folder: &Path, loss_fails: bool) -> Result<()> {
    let reader = shared().stream(session, name).option("failOnDataLoss", loss_fails);
    let rows = reader.load()?.select_expr(["CAST(value AS STRING) AS value"])?;
    let writer = rows.write_stream().format("memory").query_name(name).trigger(Trigger::AvailableNow);
    writer.option("checkpointLocation", folder.to_string_lossy()).start()?.await_termination()
}

/// A topic whose records 10 to 49 aged out before the query that read those before could read them, and that query's checkpoint.
fn aged(session: &Session, name: &str) -> (String, tempfile::TempDir) {
    let name = shared().topic(name, 1);
    let folder = tempfile::tempdir().unwrap();
    shared().send(&name, 0, numbers(0..10));
    read_all(session, &name, folder.path(), true).unwrap();
    shared().send(&name, 0, numbers(10..100));
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&name, 0, Offset::Offset(50)).unwrap();
    futures::executor::block_on(shared().admin().delete_records(&before, &AdminOptions::new())).unwrap();
    (name, folder)
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n03_records_that_aged_out_are_an_error_or_skipped() {
    let session = Session::builder().create();
    let (name, folder) = aged(&session, "aged");
    let error = read_all(&session, &name, folder.path(), true).unwrap_err();
    assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.COULD_NOT_READ_OFFSET_RANGE"), "{error}");
    assert!(error.message().contains("offsets 10 to 99"), "{error}");
    read_all(&session, &name, folder.path(), false).unwrap();
    assert_eq!(count(&session, &name), 50, "what is left; the table is that of this run");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n03_a_continuous_query_names_the_records_that_aged_out() {
    let session = Session::builder().create();
    let (name, folder) = aged(&session, "aged-continuous");
    let rows =
        shared().stream(&session, &name).load().unwrap().select_expr(["CAST(value AS STRING) AS value"]).unwrap();
    let writer = rows.write_stream().format("memory").query_name(&name).trigger(continuous());
    let query = writer.option("checkpointLocation", folder.path().to_string_lossy()).start().unwrap();
    let error = failure(&query);
    assert_eq!(error.condition(), Some("KAFKA_DATA_LOSS.COULD_NOT_READ_OFFSET_RANGE"), "{error}");
    assert!(error.message().contains("from 10 on"), "{error}");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n08_a_query_is_no_member_of_its_group() {
    let name = shared().topic("member", 2);
    shared().send(&name, 0, numbers(0..10));
    let session = Session::builder().create();
    let prefix = unique("n08");
    let rows = shared().stream(&session, &name).option("groupIdPrefix", &prefix).load().unwrap();
    let query = rows.write_stream().format("noop").trigger(continuous()).start().unwrap();
    query.process_all_available().unwrap();
    let consumer: BaseConsumer = shared().config().create().unwrap();
    let groups = consumer.fetch_group_list(None, LONG).unwrap();
    let members = groups.groups().iter().filter(|group| group.name().starts_with(&prefix)).map(|g| g.members().len());
    assert_eq!(members.sum::<usize>(), 0);
    query.stop().unwrap();
}

/// A copy that writes exactly once.
fn exactly_once(session: &Session, from: &str, to: &str, folder: &Path) -> DataStreamWriter {
    let rows = shared().stream(session, from).load().unwrap().select(["value"]).unwrap();
    let writer = shared().writer(&rows, to).option("deliveryGuarantee", "exactly-once");
    writer.option("checkpointLocation", folder.to_string_lossy())
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n09_a_query_whose_transactions_were_taken_over_fails() {
    for driver in drivers() {
        let (from, to) = (shared().topic("fenced-in", 1), shared().topic("fenced-out", 1));
        shared().send(&from, 0, numbers(0..10));
        let folder = tempfile::tempdir().unwrap();
        let session = Session::builder().create();
        let query = exactly_once(&session, &from, &to, folder.path()).trigger(driver).start().unwrap();
        query.process_all_available().unwrap();
        for turn in 0..2 {
            let id = format!("thalweg-{}-{turn}", query.id());
            let thief: BaseProducer = shared().config().set("transactional.id", id).create().unwrap();
            thief.init_transactions(LONG).unwrap();
        }
        shared().send(&from, 0, numbers(10..20));
        let error = failure(&query);
        assert!(error.to_string().contains("taken over"), "{error}");
        assert_eq!(shared().committed(&to, 1).len(), 10);
        // The next run takes the transactions back and goes on.
        let query = exactly_once(&session, &from, &to, folder.path()).trigger(driver).start().unwrap();
        query.process_all_available().unwrap();
        query.stop().unwrap();
        assert_eq!(sorted(shared().committed(&to, 1)), numbers(0..20).collect::<Vec<_>>());
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n09_a_transaction_timeout_that_brokers_refuse_is_found_at_the_start() {
    let (from, to) = (shared().topic("timeout-in", 1), shared().topic("timeout-out", 1));
    let folder = tempfile::tempdir().unwrap();
    let session = Session::builder().create();
    let writer = exactly_once(&session, &from, &to, folder.path()).option("kafka.transaction.timeout.ms", 3_600_000);
    let error = writer.start().and_then(|query| query.await_termination()).unwrap_err();
    assert!(error.to_string().contains("transaction.max.timeout.ms"), "{error}");
}

/// Readers of the progress topic must not stop before their own record because another query died with an open transaction.
#[test]
#[ignore = "needs a Kafka broker"]
fn k14_a_foreign_transaction_on_the_progress_topic_hides_no_progress() {
    let (from, to) = (shared().topic("hidden-in", 1), shared().topic("hidden-out", 1));
    let progress = shared().topic("hidden-progress", 1);
    let folder = tempfile::tempdir().unwrap();
    let session = Session::builder().create();
    let writer = || exactly_once(&session, &from, &to, folder.path()).option("progressTopic", &progress);
    let query = writer().start().unwrap();
    shared().send(&from, 0, numbers(0..10));
    query.process_all_available().unwrap();
    let other: BaseProducer = shared().config().set("transactional.id", &to).create().unwrap();
    other.init_transactions(LONG).unwrap();
    other.begin_transaction().unwrap();
    other.send(BaseRecord::to(&progress).key("other").payload("{\"epoch\":1}")).map_err(|(error, _)| error).unwrap();
    other.flush(LONG).unwrap();
    shared().send(&from, 0, numbers(10..20));
    query.process_all_available().unwrap();
    query.stop().unwrap();
    // As if the process had died between the transaction and its note in the log.
    let commits = folder.path().join("commits");
    let names = std::fs::read_dir(&commits).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let newest = names.filter_map(|name| name.parse::<u64>().ok()).max().unwrap();
    std::fs::remove_file(commits.join(newest.to_string())).unwrap();
    std::thread::scope(|scope| {
        let again = scope.spawn(|| writer().trigger(Trigger::AvailableNow).start()?.await_termination());
        pause(Duration::from_secs(2));
        other.abort_transaction(LONG).unwrap();
        again.join().unwrap().unwrap();
    });
    assert_eq!(sorted(shared().committed(&to, 1)), numbers(0..20).collect::<Vec<_>>());
}

/// A topic that takes no large records.
fn narrow(name: &str) -> String {
    let name = unique(name);
    shared().make(NewTopic::new(&name, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "2000"))
}

/// Small values and one that is too large.
fn with_a_large_one(name: &str) -> String {
    let from = shared().topic(name, 1);
    let large: String = (0..4000).map(|n| char::from(b'a' + (n * 7 % 26) as u8)).collect();
    shared().send(&from, 0, numbers(0..10).chain([large]).chain(numbers(10..20)));
    from
}

#[test]
#[ignore = "needs a Kafka broker"]
fn o02_a_record_that_the_topic_refuses_ends_the_query_and_is_named() {
    for driver in drivers() {
        let (from, to) = (with_a_large_one("large-in"), narrow("large-out"));
        let session = Session::builder().create();
        let rows = shared().stream(&session, &from).load().unwrap().select(["value"]).unwrap();
        let query = shared().writer(&rows, &to).trigger(driver).start().unwrap();
        let error = failure(&query);
        assert!(error.to_string().contains(&to) && error.to_string().contains("too large"), "{error}");
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn o03_of_an_epoch_that_was_refused_in_part_nothing_is_seen() {
    for driver in drivers() {
        let (from, to) = (with_a_large_one("part-in"), narrow("part-out"));
        let folder = tempfile::tempdir().unwrap();
        let session = Session::builder().create();
        let query = exactly_once(&session, &from, &to, folder.path()).trigger(driver).start().unwrap();
        let error = failure(&query);
        assert!(error.to_string().contains("too large"), "{error}");
        assert_eq!(shared().committed(&to, 1), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn o04_columns_that_do_not_fit_are_named_before_anything_runs() {
    let (from, to) = (shared().topic("columns-in", 1), shared().topic("columns-out", 1));
    let session = Session::builder().create();
    let rows = shared().stream(&session, &from).load().unwrap();
    for (columns, told) in [("offset AS value", "value attribute type"), ("value, offset AS partition", "partition")] {
        let columns: Vec<&str> = columns.split(", ").collect();
        let writer = shared().writer(&rows.select_expr(columns).unwrap(), &to);
        let error = writer.start().and_then(|query| query.await_termination()).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn o05_a_function_that_panics_over_kafka_rows_ends_its_query_alone() {
    let (from, to) = (shared().topic("panic-in", 1), shared().topic("panic-out", 1));
    shared().send(&from, 0, numbers(0..10));
    let session = Session::builder().create();
    let rows = shared().stream(&session, &from).load().unwrap().select(["value"]).unwrap();
    let copy = shared().writer(&rows, &to).trigger(continuous()).start().unwrap();
    let bad = rows.write_stream().foreach_batch(|_, _| panic!("no")).start().unwrap();
    assert!(failure(&bad).to_string().contains("panicked"), "{:?}", bad.exception());
    copy.process_all_available().unwrap();
    copy.stop().unwrap();
    assert_eq!(shared().committed(&to, 1).len(), 10);
}
