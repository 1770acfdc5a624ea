//! Lesson: a filter and a windowed count from Kafka to Kafka, exactly once.
//!
//! It teaches the Kafka source and sink, reading JSON out of a binary value, transactions (`deliveryGuarantee`), and what a
//! checkpoint is for: stop the program and start it again with the same folder, and no result comes twice.
//!
//! ```text
//! eval "$(tests/services/kafka up)"; export KAFKA_BOOTSTRAP_SERVERS
//! cargo run --example kafka_to_kafka
//! ```
//!
//! The program first writes some readings of sensors into the topic `readings`. Its checkpoint is `kafka_to_kafka` in the folder of temporary
//! files; with a new broker, delete it: a checkpoint belongs to the topics it was made with.

use thalweg::prelude::*;

fn main() -> Result<()> {
    let servers = std::env::var("KAFKA_BOOTSTRAP_SERVERS").unwrap_or_else(|_| "localhost:9092".into());
    let session = Session::builder().app_name("kafka_to_kafka").get_or_create();
    write_readings(&session, &servers)?;

    let records = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &servers)
        .option("subscribe", "readings")
        .option("startingOffsets", "earliest")
        .load()?;
    records.create_or_replace_temp_view("records")?;
    // One row a minute and sensor, when the minute is over.
    let minutes = session.sql(
        "SELECT r.sensor AS key, to_json(named_struct('from', window.start, 'mean', avg(r.celsius))) AS value
         FROM (SELECT r, r.at AS at FROM (SELECT from_json(CAST(value AS STRING), 'sensor STRING, at TIMESTAMP, celsius DOUBLE') AS r FROM records))
         WATERMARK at DELAY OF INTERVAL 10 SECONDS
         GROUP BY window(at, '1 minute'), r.sensor",
    )?;
    let folder = std::env::temp_dir().join("kafka_to_kafka");
    let query = minutes
        .write_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &servers)
        .option("topic", "minutes")
        .option("deliveryGuarantee", "exactly-once")
        .option("checkpointLocation", folder.to_string_lossy())
        .trigger(Trigger::AvailableNow)
        .start()?;
    query.await_termination()?;

    let written = session.read().format("kafka").option("kafka.bootstrap.servers", &servers);
    let written = written.option("subscribe", "minutes").option("kafka.isolation.level", "read_committed").load()?;
    written.select_expr(["CAST(key AS STRING) AS sensor", "CAST(value AS STRING) AS minute"])?.show()
}

/// Ten minutes of two sensors, as a batch.
fn write_readings(session: &Session, servers: &str) -> Result<()> {
    let readings = session.sql(
        "SELECT to_json(named_struct('sensor', concat('s', id % 2), 'at', timestamp_seconds(1700000000 + id * 5),
                                     'celsius', 20 + id % 7)) AS value
         FROM range(120)",
    )?;
    let writer = readings.write().format("kafka").mode("append");
    writer.option("kafka.bootstrap.servers", servers).option("topic", "readings").save()
}
