//! Lesson: late rows are not lost. The mean of each device, and beside it every reading that came too late for it.
//!
//! It teaches `late_rows`: the rows that a watermark has passed become a stream of their own, with all their columns, which
//! goes to another sink within the same query. It also teaches what the progress tells of a watermark: how it stands, and
//! the delay with which 99 of 100 rows would not have been late.
//!
//! ```text
//! cargo run --example late_rows
//! cargo run --example late_rows -- FOLDER
//! ```

use thalweg::prelude::*;

const SCHEMA: &str = "device STRING, time TIMESTAMP, temperature DOUBLE";

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "examples/data/sensors".into());
    let session = Session::builder().app_name("late_rows").config("spark.sql.session.timeZone", "UTC");
    let session = session.get_or_create();
    let readings = session.read_stream().schema(SCHEMA).option("maxFilesPerTrigger", 1).json(&folder)?;
    let means = readings
        .with_watermark("time", "3 minutes")?
        .group_by([window("time", "10 minutes"), col("device")])
        .agg([count("*").alias("readings"), round(avg("temperature"), 2).alias("mean")])?
        .select(["window.start", "device", "readings", "mean"])?;
    let writer = means.write_stream().format("console").option("truncate", false).trigger(Trigger::AvailableNow);
    // Nothing but the operator's name and the watermark is added; `temperature` is there although no window needs it as it is.
    let query = writer.late_rows(|late| {
        let late = late.select(["device", "time", "temperature", "_operator", "_watermark"])?;
        Ok(late.write_stream().format("memory").query_name("too_late"))
    });
    let query = query.start()?;
    query.await_termination()?;
    println!("came too late:");
    session.table("too_late")?.show()?;
    if let Some(stands) = query.last_progress().and_then(|progress| progress.watermarks.into_iter().next()) {
        let delay = stands.delay_ms_for_99_percent.unwrap_or_default();
        println!("watermark {}; a delay of {delay} ms would have kept 99 %", stands.watermark.unwrap_or_default());
    }
    Ok(())
}
