//! Lesson: event time. Mean temperature of each device over ten minutes, every five minutes.
//!
//! It teaches windows that slide (each reading lies in two of them), and the watermark: readings come out of order, so a
//! window is only final when the stream is three minutes past its end. In append mode a window is written once, when it is
//! final; its state is dropped then. The last line of the data is half an hour late: watch it being left out.
//!
//! ```text
//! cargo run --example sensor_windows
//! cargo run --example sensor_windows -- FOLDER
//! ```

use thalweg::prelude::*;

const SCHEMA: &str = "device STRING, time TIMESTAMP, temperature DOUBLE";

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "examples/data/sensors".into());
    let session = Session::builder().app_name("sensor_windows").config("spark.sql.session.timeZone", "UTC");
    let session = session.get_or_create();
    // One file a batch, so that there is something to see: each batch works with the watermark of those before it.
    let readings = session.read_stream().schema(SCHEMA).option("maxFilesPerTrigger", 1).json(&folder)?;
    let windows = readings
        .with_watermark("time", "3 minutes")?
        .group_by([sliding_window("time", "10 minutes", "5 minutes"), col("device")])
        .agg([count("*").alias("readings"), round(avg("temperature"), 2).alias("mean")])?
        .select(["window.start", "window.end", "device", "readings", "mean"])?;
    let writer = windows.write_stream().format("console").option("truncate", false).output_mode("append");
    let query = writer.trigger(Trigger::AvailableNow).start()?;
    query.await_termination()?;
    let progress = query.recent_progress();
    let late: u64 = progress.iter().flat_map(|p| &p.state_operators).map(|s| s.num_rows_dropped_by_watermark).sum();
    println!("readings left out because all their windows were closed already: {late}");
    Ok(())
}
