//! Lesson: which words were said in which five minutes?
//!
//! It teaches grouping by a window of time and something else, and shows what the output modes mean with windows: update
//! (the default here) writes a window's counts whenever they change; append writes them once, when the watermark has passed
//! the window; complete writes all windows, for ever, so their state is never dropped.
//!
//! With a host and a port it counts what somebody types there, in windows of half a minute every 15 seconds: the words of the time at
//! which they came, ordered by window, the whole table each time.
//!
//! ```text
//! cargo run --example windowed_word_count
//! cargo run --example windowed_word_count -- append
//! cargo run --example windowed_word_count -- complete
//! nc -lk 9999                                               in another terminal, to type into
//! cargo run --example windowed_word_count -- localhost 9999
//! ```

use thalweg::prelude::*;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let session = Session::builder().app_name("windowed_word_count").config("spark.sql.session.timeZone", "UTC");
    let session = session.get_or_create();
    match arguments.as_slice() {
        [host, port] => typed(&session, host, port),
        [mode] => recorded(&session, mode),
        _ => recorded(&session, "update"),
    }
}

/// Sentences from files, with the time at which they were said.
fn recorded(session: &Session, mode: &str) -> Result<()> {
    let files = session.read_stream().schema("time TIMESTAMP, sentence STRING").option("header", true);
    let spoken = files.option("maxFilesPerTrigger", 1).csv("examples/data/spoken")?;
    let words = spoken
        .with_watermark("time", "2 minutes")?
        .select([col("time"), explode(split("sentence", " ")).alias("word")])?;
    let counts = words.group_by([window("time", "5 minutes"), col("word")]).count()?;
    let answer = counts.select(["window.start", "window.end", "word", "count"])?;
    let writer = answer.write_stream().format("console").option("numRows", 100).output_mode(mode);
    writer.trigger(Trigger::AvailableNow).start()?.await_termination()
}

/// Lines from a socket, with the time at which they came.
fn typed(session: &Session, host: &str, port: &str) -> Result<()> {
    let socket = session.read_stream().format("socket").option("host", host).option("port", port);
    let lines = socket.option("includeTimestamp", true).load()?;
    let words = lines.select([col("timestamp"), explode(split("value", " ")).alias("word")])?;
    let counts = words.group_by([sliding_window("timestamp", "30 seconds", "15 seconds"), col("word")]).count()?;
    let answer = counts.order_by([col("window.start"), col("word")])?;
    let writer = answer.write_stream().format("console").option("truncate", false).output_mode("complete");
    writer.start()?.await_termination()
}
