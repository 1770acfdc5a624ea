//! Lesson: statistics over records of Kafka: groups, age buckets, and windows that slide.
//!
//! It teaches how a binary value becomes columns (`from_json`), grouping by an expression, windows over the time that Kafka gave
//! each record, and complete mode: each time the whole result table is written, which is why it may be sorted.
//!
//! ```text
//! eval "$(tests/services/kafka up)"; export KAFKA_BOOTSTRAP_SERVERS
//! cat examples/data/voters/*.json | tests/services/kafka produce voters     # Kafka's console producer, a line a record
//! cargo run --example kafka_voters
//! cargo run --example kafka_voters -- --follow       # goes on until it is stopped: produce more, and watch
//! ```

use thalweg::prelude::*;

const SCHEMA: &str = "id STRING, person STRUCT<gender: STRING, age: INT>, party STRING, \
                      address STRUCT<county: STRING, zip: STRING>";

const AGES: &str = "CASE WHEN person.age < 30 THEN '18 to 29' WHEN person.age < 45 THEN '30 to 44'
                         WHEN person.age < 65 THEN '45 to 64' ELSE '65 and older' END";

fn main() -> Result<()> {
    let follow = std::env::args().any(|argument| argument == "--follow");
    let servers = std::env::var("KAFKA_BOOTSTRAP_SERVERS").unwrap_or_else(|_| "localhost:9092".into());
    let session = Session::builder().app_name("kafka_voters").get_or_create();

    let records = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", servers)
        .option("subscribe", "voters")
        .option("startingOffsets", "earliest")
        .load()?;
    let parsed = records.select([col("timestamp"), from_json(col("value").cast("STRING"), SCHEMA).alias("voter")])?;
    let voters = parsed.select(["timestamp", "voter.*"])?;

    let groups = voters.group_by([col("person.gender"), coalesce([col("party"), lit("none")]).alias("party")]);
    let statistics = groups.agg([
        count("*").alias("voters"),
        round(avg("person.age"), 1).alias("mean_age"),
        min("person.age").alias("youngest"),
        max("person.age").alias("oldest"),
    ])?;
    let ages = voters.with_column("ages", expr(AGES))?.group_by(["ages"]).count()?;
    let windows = voters.group_by([sliding_window("timestamp", "10 minutes", "5 minutes"), col("party")]).count()?;

    let tables = [
        ("By gender and party:", statistics.order_by(["gender", "party"])?),
        ("By age:", ages.order_by(["ages"])?),
        ("By ten minutes, every five:", windows.order_by(["window.start", "party"])?),
    ];
    let mut running = Vec::new();
    for (title, table) in tables {
        println!("{title}");
        let trigger = if follow { Trigger::continuous("1 second")? } else { Trigger::AvailableNow };
        let writer = table.write_stream().format("console").output_mode("complete").trigger(trigger);
        let query = writer.option("truncate", false).query_name(title.trim_end_matches(':')).start()?;
        if follow {
            running.push(query);
        } else {
            query.await_termination()?;
        }
    }
    running.iter().try_for_each(StreamingQuery::await_termination)
}
