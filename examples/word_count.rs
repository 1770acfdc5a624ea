//! Lesson 1: count words, continuously.
//!
//! It teaches the shape of every streaming query: read a stream, say what you want as if it were a table, choose where the
//! result goes and under which trigger, start. The query below runs under the continuous driver: each line goes through
//! the moment it is read, there are no batches. With `--micro-batch` the very same query runs as Spark would run it.
//!
//! ```text
//! cargo run --example word_count                                   the texts in examples/data/words
//! cargo run --example word_count -- FOLDER                         your own folder of text files
//! cargo run --example word_count -- --micro-batch                  the same, batch by batch
//! cargo run --example word_count -- socket localhost 9999          lines typed into `nc -lk 9999`, until Ctrl-C
//! ```

use thalweg::prelude::*;

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let micro_batch = arguments.iter().any(|argument| argument == "--micro-batch");
    arguments.retain(|argument| argument != "--micro-batch");
    let trigger = if micro_batch { Trigger::AsSoonAsPossible } else { Trigger::continuous("1 second")? };
    let session = Session::builder().app_name("word_count").get_or_create();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["socket", host, port] => count_lines_of_socket(&session, host, port, trigger),
        [folder] => count_files(&session, folder, trigger),
        _ => count_files(&session, "examples/data/words", trigger),
    }
}

/// The query of this lesson: lines in, words with their counts out.
fn word_counts(lines: &DataFrame) -> Result<DataFrame> {
    let words = lines.select_expr([r"explode(split(lower(value), '[^a-z]+')) AS word"])?;
    words.filter("word <> ''")?.group_by(["word"]).count()
}

/// Keeps the counts in a table in memory, which other queries of the session can read while this one runs.
fn count_files(session: &Session, folder: &str, trigger: Trigger) -> Result<()> {
    let counts = word_counts(&session.read_stream().text(folder)?)?;
    let writer = counts.write_stream().format("memory").query_name("word_counts").output_mode("complete");
    let query = writer.trigger(trigger).start()?;
    // A streaming query watches its folder for ever. This lesson stops when it has read what is there.
    query.process_all_available()?;
    session.sql("SELECT word, count FROM word_counts ORDER BY count DESC, word LIMIT 10")?.show()?;
    query.stop()
}

/// Prints each word's new count the moment a line changed it.
fn count_lines_of_socket(session: &Session, host: &str, port: &str, trigger: Trigger) -> Result<()> {
    let lines = session.read_stream().format("socket").option("host", host).option("port", port).load()?;
    let writer = word_counts(&lines)?.write_stream().format("console").output_mode("update");
    writer.trigger(trigger).start()?.await_termination()
}
