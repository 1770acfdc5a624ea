//! Lesson: from topic to topic: key and value as strings, a mean for each key, written whenever it has changed (update mode).
//!
//! It teaches the Kafka source and sink, `CAST(... AS STRING)` of what Kafka holds as bytes, the output mode `update`, and what a
//! checkpoint is for: start the program again, and the means go on from where they were. With the argument `exactly-once` each epoch is
//! one transaction: what a crash interrupted is never seen twice by readers at `read_committed`.
//!
//! ```text
//! eval "$(tests/services/kafka up)"; export KAFKA_BOOTSTRAP_SERVERS
//! cargo run --example kafka_to_kafka
//! cargo run --example kafka_to_kafka exactly-once
//! ```
//!
//! The program first writes some readings of sensors into the topic `temperatures`. Its checkpoint is `kafka_to_kafka` in the folder of temporary
//! files; with a new broker, delete it: a checkpoint belongs to the topics it was made with.

use thalweg::prelude::*;

fn main() -> Result<()> {
    let servers = std::env::var("KAFKA_BOOTSTRAP_SERVERS").unwrap_or_else(|_| "localhost:9092".into());
    let guarantee = std::env::args().nth(1).unwrap_or_else(|| "at-least-once".into());
    let session = Session::builder().app_name("kafka_to_kafka").get_or_create();
    write_readings(&session, &servers)?;

    let records = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &servers)
        .option("subscribe", "temperatures")
        .option("startingOffsets", "earliest")
        .load()?;
    let readings = records.select_expr(["CAST(key AS STRING) AS sensor", "CAST(value AS STRING) AS celsius"])?;
    readings.create_or_replace_temp_view("readings")?;
    let means = session.sql(
        "SELECT sensor AS key, to_json(named_struct('readings', count(*), 'mean', avg(CAST(celsius AS DOUBLE)))) AS value
         FROM readings GROUP BY sensor",
    )?;
    let folder = std::env::temp_dir().join("kafka_to_kafka");
    let query = means
        .write_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &servers)
        .option("topic", "means")
        .option("deliveryGuarantee", guarantee)
        .option("checkpointLocation", folder.to_string_lossy())
        .output_mode("update")
        .trigger(Trigger::AvailableNow)
        .start()?;
    query.await_termination()?;

    let written = session.read().format("kafka").option("kafka.bootstrap.servers", &servers);
    let written = written.option("subscribe", "means").option("kafka.isolation.level", "read_committed").load()?;
    written.select_expr(["CAST(key AS STRING) AS sensor", "CAST(value AS STRING) AS mean"])?.show_with(100, 0)
}

/// Readings of two sensors, as a batch.
fn write_readings(session: &Session, servers: &str) -> Result<()> {
    let readings =
        session.sql("SELECT concat('s', id % 2) AS key, CAST(20 + id % 7 AS STRING) AS value FROM range(120)")?;
    let writer = readings.write().format("kafka").mode("append");
    writer.option("kafka.bootstrap.servers", servers).option("topic", "temperatures").save()
}
