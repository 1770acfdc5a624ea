//! Lesson: weekly influenza reports by region, from CSV files.
//!
//! It teaches what to do about holes in data (`nullValue`; sums skip NULL), grouping by several columns, computing with
//! aggregates, and update mode: only groups that a batch changed are written. Each file is one batch here.
//!
//! ```text
//! cargo run --example influenza
//! cargo run --example influenza -- FOLDER
//! ```

use thalweg::prelude::*;

const SCHEMA: &str = "year INT, week INT, region STRING, laboratory STRING, tested INT, positive INT";

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "examples/data/influenza".into());
    let session = Session::builder().app_name("influenza").get_or_create();
    let files = session.read_stream().schema(SCHEMA).option("header", true).option("nullValue", "N/A");
    let reports = files.option("maxFilesPerTrigger", 1).csv(&folder)?;
    let weekly = reports.group_by(["year", "week", "region"]).agg([
        sum("positive").alias("positive"),
        sum("tested").alias("tested"),
        expr("round(100.0 * sum(positive) / sum(tested), 1)").alias("percent"),
    ])?;
    let writer = weekly.write_stream().format("console").option("numRows", 40).output_mode("update");
    writer.trigger(Trigger::AvailableNow).start()?.await_termination()
}
