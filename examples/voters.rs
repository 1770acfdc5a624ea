//! Lesson: statistics over nested JSON, with DataFrame calls and with SQL.
//!
//! It teaches nested schemas and how their fields are reached (`person.age`), several aggregates at once, temporary views
//! of streams, and complete mode: each time the whole result table is written, which is why it may be sorted.
//!
//! ```text
//! cargo run --example voters
//! cargo run --example voters -- FOLDER
//! ```

use thalweg::prelude::*;

const SCHEMA: &str = "id STRING, person STRUCT<gender: STRING, age: INT>, party STRING, \
                      address STRUCT<county: STRING, zip: STRING>";

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "examples/data/voters".into());
    let session = Session::builder().app_name("voters").get_or_create();
    let voters = session.read_stream().schema(SCHEMA).json(&folder)?;

    println!("By gender and party:");
    let groups = voters.group_by([col("person.gender"), coalesce([col("party"), lit("none")]).alias("party")]);
    let statistics = groups.agg([
        count("*").alias("voters"),
        round(avg("person.age"), 1).alias("mean_age"),
        min("person.age").alias("youngest"),
        max("person.age").alias("oldest"),
    ])?;
    print_table(&statistics.order_by(["gender", "party"])?)?;

    println!("By decades since the right to vote:");
    voters.create_or_replace_temp_view("voters")?;
    print_table(&session.sql(
        "SELECT cast((person.age - 18) / 10 AS INT) AS decade, count(*) AS voters
         FROM voters GROUP BY cast((person.age - 18) / 10 AS INT) ORDER BY decade",
    )?)
}

/// Prints the whole result when all files there are have been read.
fn print_table(result: &DataFrame) -> Result<()> {
    let writer = result.write_stream().format("console").output_mode("complete");
    writer.trigger(Trigger::AvailableNow).start()?.await_termination()
}
