//! Brokers that die, fall silent, lose a leader or refuse us, under running queries.

use super::*;

fn copy(session: &Session, source: &Cluster, sink: &Cluster, from: &str, to: &str, trigger: Trigger) -> StreamingQuery {
    let rows = source.stream(session, from).load().unwrap().select(["value"]).unwrap();
    sink.writer(&rows, to).trigger(trigger).start().unwrap()
}

/// Waits until `to` has the numbers below `end`; no number twice.
fn wait_for_all(cluster: &Cluster, query: &StreamingQuery, to: &str, end: i64) {
    wait_for("the copies", || {
        assert!(query.is_active(), "{:?}", query.exception());
        cluster.committed(to, 1).len() as i64 >= end
    });
    assert_eq!(sorted(cluster.committed(to, 1)), numbers(0..end).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n01_n02_n10_a_broker_that_goes_and_comes_back_costs_and_doubles_nothing() {
    let own = Own::start("1", "");
    let cluster = &own.cluster;
    for driver in drivers() {
        let (from, to) = (cluster.topic("outage-in", 1), cluster.topic("outage-out", 1));
        cluster.send(&from, 0, numbers(0..1000));
        let session = Session::builder().create();
        let query = copy(&session, cluster, cluster, &from, &to, driver);
        wait_for_all(cluster, &query, &to, 1000);
        own.kill("1");
        wait_for("the status", || query.status().message.starts_with("RECONNECTING"));
        own.revive("1");
        cluster.send(&from, 0, numbers(1000..2000));
        wait_for_all(cluster, &query, &to, 2000);
        wait_for("the status", || !query.status().message.starts_with("RECONNECTING"));
        // Stopped while records flow.
        std::thread::scope(|scope| {
            scope.spawn(|| cluster.send(&from, 0, numbers(2000..60_000)));
            own.kill("1");
            own.revive("1");
        });
        wait_for_all(cluster, &query, &to, 60_000);
        query.stop().unwrap();
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n01_a_query_gives_up_when_the_cluster_stays_away() {
    let own = Own::start("1", "");
    let cluster = &own.cluster;
    let name = cluster.topic("away", 1);
    for driver in drivers() {
        let session = Session::builder().create();
        let rows = cluster.stream(&session, &name).option("maxRetryTime", "3s").load().unwrap();
        let query = rows.write_stream().format("noop").trigger(driver).start().unwrap();
        query.process_all_available().unwrap();
        own.kill("1");
        let error = failure(&query);
        assert!(error.to_string().contains("maxRetryTime"), "{error}");
        own.revive("1");
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n12_a_broker_that_falls_silent_is_waited_for() {
    let own = Own::start("1", "");
    let cluster = &own.cluster;
    let (from, to) = (cluster.topic("silent-in", 1), cluster.topic("silent-out", 1));
    let session = Session::builder().create();
    let query = copy(&session, cluster, cluster, &from, &to, continuous());
    cluster.send(&from, 0, numbers(0..100));
    wait_for_all(cluster, &query, &to, 100);
    own.script(&["pause", "1"]);
    pause(Duration::from_secs(3));
    assert!(query.is_active());
    own.script(&["resume", "1"]);
    cluster.send(&from, 0, numbers(100..200));
    wait_for_all(cluster, &query, &to, 200);
    query.stop().unwrap();
}

#[test]
#[ignore = "needs a Kafka broker"]
fn o01_a_sink_that_is_down_holds_up_its_own_query_only() {
    let own = Own::start("1", "");
    for driver in drivers() {
        let (from, to, near) =
            (shared().topic("down-in", 1), own.cluster.topic("down-out", 1), shared().topic("near", 1));
        let session = Session::builder().create();
        let far = copy(&session, &shared(), &own.cluster, &from, &to, driver);
        let other = copy(&session, &shared(), &shared(), &from, &near, driver);
        shared().send(&from, 0, numbers(0..1000));
        wait_for_all(&own.cluster, &far, &to, 1000);
        own.kill("1");
        shared().send(&from, 0, numbers(1000..20_000));
        wait_for_all(&shared(), &other, &near, 20_000);
        assert!(far.is_active(), "{:?}", far.exception());
        own.revive("1");
        wait_for_all(&own.cluster, &far, &to, 20_000);
        other.stop().unwrap();
        far.stop().unwrap();
    }
}

/// A listener that asks for a password; user and password are `reader` and `right`.
fn with_passwords() -> String {
    let (port, host) = (Own::port(), "127.0.0.1");
    let secured = port + 200;
    format!(
        "listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{},SASL://{host}:{secured}
advertised.listeners=PLAINTEXT://{host}:{port},SASL://{host}:{secured}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_reader=\"right\";",
        port + 100
    )
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n07_a_wrong_password_fails_at_once_and_is_not_shown() {
    let own = Own::start("1", &with_passwords());
    let name = own.cluster.topic("secured", 1);
    own.cluster.send(&name, 0, numbers(0..10));
    let session = Session::builder().create();
    let read = |password: &str| {
        let login = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"reader\" password=\"{password}\";"
        );
        let reader = session.read().format("kafka").option("kafka.sasl.jaas.config", login);
        let reader = reader.option("kafka.bootstrap.servers", format!("127.0.0.1:{}", Own::port() + 200));
        let reader = reader.option("kafka.security.protocol", "SASL_PLAINTEXT").option("kafka.sasl.mechanism", "PLAIN");
        // Far beyond the limit of this test: an answer must not wait for it.
        let reader = reader.option("kafka.default.api.timeout.ms", 100 * LONG.as_millis());
        reader.option("subscribe", &name).load()?.count()
    };
    assert_eq!(read("right").unwrap(), 10);
    let error = read("hunter2-wrong").unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("credentials") && !text.contains("hunter2"), "{text}");
}

/// A partition that is away is not idle: it holds the watermark, and is named.
fn watermark_waits_for_the_lonely(own: &Own, session: &Session, topic: &str) {
    let rows = own.cluster.stream(session, topic).option("idleTimeout", "5 seconds").load().unwrap();
    let times = rows.select_expr(["timestamp_seconds(CAST(CAST(value AS STRING) AS BIGINT)) AS ts"]).unwrap();
    let counts =
        times.with_watermark("ts", "0 seconds").unwrap().group_by([window("ts", "10 seconds")]).count().unwrap();
    let writer = counts.write_stream().format("noop").output_mode("append").trigger(continuous());
    let query = writer.start().unwrap();
    query.process_all_available().unwrap();
    own.kill("1");
    wait_for("the status", || {
        let progress = query.last_progress().unwrap();
        let standing = &progress.watermarks[0];
        // The others have been idle for long.
        standing.idle_partitions.len() == 2 && standing.held_by.as_ref().is_some_and(|holder| holder.ends_with("[0]"))
    });
    pause(Duration::from_secs(7));
    assert_eq!(query.last_progress().unwrap().watermarks[0].idle_partitions.len(), 2, "{:?}", query.last_progress());
    own.revive("1");
    query.stop().unwrap();
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n02_n06_a_leader_that_dies_and_a_partition_that_stays_away() {
    let own = Own::start("3", "");
    let cluster = &own.cluster;
    let copies = unique("leader-in");
    let replicas: &[&[i32]] = &[&[1, 2, 3]];
    let from = cluster.make(NewTopic::new(&copies, 1, TopicReplication::Variable(replicas)));
    let target = unique("leader-out");
    let to = cluster.make(NewTopic::new(&target, 1, TopicReplication::Variable(replicas)));
    let lonely = unique("lonely");
    let lonely = cluster.make(NewTopic::new(&lonely, 3, TopicReplication::Variable(&[&[1], &[2], &[3]])));
    let session = Session::builder().create();
    for (turn, driver) in (0..).zip(drivers()) {
        let query = copy(&session, cluster, cluster, &from, &to, driver);
        let base = turn * 10_000;
        cluster.send(&from, 0, numbers(base..base + 5000));
        let before = if turn == 0 { 5000 } else { 10_000 + 15_000 };
        wait_for_copies("the copies", cluster, &to, &query, before);
        own.kill("1");
        cluster.send(&from, 0, numbers(base + 5000..base + 10_000));
        wait_for_copies("the copies after the leader died", cluster, &to, &query, before + 5000);
        assert!(query.is_active(), "{:?}", query.exception());
        query.stop().unwrap();
        assert_eq!(cluster.committed(&to, 1).len(), before + 5000, "nothing twice");
        own.revive("1");
    }
    (0..3).for_each(|p| cluster.send(&lonely, p, numbers(0..10)));
    watermark_waits_for_the_lonely(&own, &session, &lonely);
    for (turn, driver) in (0..).zip(drivers()) {
        let table = format!("lonely_{turn}");
        let rows = cluster.stream(&session, &lonely).load().unwrap();
        let rows = rows.select_expr(["CAST(value AS STRING) AS value", "partition", "timestamp"]).unwrap();
        let query = rows.write_stream().format("memory").query_name(&table).trigger(driver).start().unwrap();
        query.process_all_available().unwrap();
        let before = count(&session, &table);
        own.kill("1");
        cluster.send(&lonely, 1, numbers(10..20));
        cluster.send(&lonely, 2, numbers(10..20));
        wait_for("the partitions that are there", || count(&session, &table) == before + 20);
        own.revive("1");
        cluster.send(&lonely, 0, numbers(10..20));
        wait_for("the partition that came back", || count(&session, &table) == before + 30);
        query.stop().unwrap();
    }
}
