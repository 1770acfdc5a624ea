//! Lesson: from Kafka to Cassandra: statistics that keep themselves up to date in a table.
//!
//! It teaches update mode with a sink that upserts: a group that changes overwrites its row, so the table always shows the
//! newest result, and an epoch that runs again after a crash changes nothing.
//!
//! ```text
//! eval "$(tests/services/kafka up)"; export KAFKA_BOOTSTRAP_SERVERS
//! eval "$(tests/services/cassandra up)"; export CASSANDRA_CONTACT_POINTS
//! cargo run --features cassandra --example kafka_to_cassandra
//! ```
//!
//! The program first writes some readings of sensors into the topic `sensor_readings`, and makes the table `lessons.sensor_minutes`.
//! Its checkpoint is `kafka_to_cassandra` in the folder of temporary files; with a new broker, delete it.

use scylla::client::session_builder::SessionBuilder;
use thalweg::prelude::*;

const TABLES: &[&str] = &[
    "CREATE KEYSPACE IF NOT EXISTS lessons WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE IF NOT EXISTS lessons.sensor_minutes \
     (sensor text, minute timestamp, readings bigint, mean double, PRIMARY KEY (sensor, minute))",
];

fn main() -> Result<()> {
    let servers = std::env::var("KAFKA_BOOTSTRAP_SERVERS").unwrap_or_else(|_| "localhost:9092".into());
    let nodes = std::env::var("CASSANDRA_CONTACT_POINTS").unwrap_or_else(|_| "localhost:9042".into());
    make_tables(&nodes)?;
    let session = Session::builder()
        .app_name("kafka_to_cassandra")
        .config("spark.cassandra.connection.host", &nodes)
        .get_or_create();
    write_readings(&session, &servers)?;

    let records = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", &servers)
        .option("subscribe", "sensor_readings")
        .option("startingOffsets", "earliest")
        .load()?;
    records.create_or_replace_temp_view("records")?;
    // Columns are named like the table's.
    let minutes = session.sql(
        "SELECT r.sensor AS sensor, window.start AS minute, count(*) AS readings, avg(r.celsius) AS mean
         FROM (SELECT r, r.at AS at FROM (SELECT from_json(CAST(value AS STRING), 'sensor STRING, at TIMESTAMP, celsius DOUBLE') AS r FROM records))
         WATERMARK at DELAY OF INTERVAL 10 SECONDS
         GROUP BY window(at, '1 minute'), r.sensor",
    )?;
    let folder = std::env::temp_dir().join("kafka_to_cassandra");
    let query = minutes
        .write_stream()
        .format("org.apache.spark.sql.cassandra")
        .option("keyspace", "lessons")
        .option("table", "sensor_minutes")
        .option("checkpointLocation", folder.to_string_lossy())
        .output_mode("update")
        .trigger(Trigger::AvailableNow)
        .start()?;
    query.await_termination()?;

    let table =
        session.read().format("cassandra").option("keyspace", "lessons").option("table", "sensor_minutes").load()?;
    table.order_by(["sensor", "minute"])?.show()
}

/// Ten minutes of two sensors, as a batch.
fn write_readings(session: &Session, servers: &str) -> Result<()> {
    let readings = session.sql(
        "SELECT to_json(named_struct('sensor', concat('s', id % 2), 'at', timestamp_seconds(1700000000 + id * 5),
                                     'celsius', 20 + id % 7)) AS value
         FROM range(120)",
    )?;
    let writer = readings.write().format("kafka").mode("append");
    writer.option("kafka.bootstrap.servers", servers).option("topic", "sensor_readings").save()
}

/// What Cassandra's own tools would do; tables are not made by a write.
fn make_tables(node: &str) -> Result<()> {
    let outside = |error: &dyn std::fmt::Display| Error::outside(format!("no tables were made: {error}"));
    tokio::runtime::Runtime::new()?.block_on(async {
        let driver = SessionBuilder::new().known_node(node).build().await.map_err(|error| outside(&error))?;
        for cql in TABLES {
            driver.query_unpaged(*cql, ()).await.map_err(|error| outside(&error))?;
        }
        Ok(())
    })
}
