//! Lesson: which words were said in which five minutes?
//!
//! It teaches grouping by a window of time and something else, and shows what the output modes mean with windows: update
//! (the default here) writes a window's counts whenever they change; append writes them once, when the watermark has passed
//! the window; complete writes all windows, for ever, so their state is never dropped.
//!
//! ```text
//! cargo run --example windowed_word_count
//! cargo run --example windowed_word_count -- append
//! cargo run --example windowed_word_count -- complete
//! ```

use thalweg::prelude::*;

fn main() -> Result<()> {
    let mode = std::env::args().nth(1).unwrap_or_else(|| "update".into());
    let session = Session::builder().app_name("windowed_word_count").config("spark.sql.session.timeZone", "UTC");
    let files = session.get_or_create().read_stream().schema("time TIMESTAMP, sentence STRING").option("header", true);
    let spoken = files.option("maxFilesPerTrigger", 1).csv("examples/data/spoken")?;
    let words = spoken
        .with_watermark("time", "2 minutes")?
        .select([col("time"), explode(split("sentence", " ")).alias("word")])?;
    let counts = words.group_by([window("time", "5 minutes"), col("word")]).count()?;
    let answer = counts.select(["window.start", "window.end", "word", "count"])?;
    let writer = answer.write_stream().format("console").option("numRows", 100).output_mode(mode.as_str());
    writer.trigger(Trigger::AvailableNow).start()?.await_termination()
}
