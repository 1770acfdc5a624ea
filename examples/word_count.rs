//! Lesson 1: count words.
use thalweg::prelude::*;

fn main() -> thalweg::Result<()> {
    let session = Session::builder().app_name("word_count").get_or_create();
    let path = std::env::args().nth(1).unwrap_or_else(|| "examples/data/words".into());
    let lines = session.read_stream().text(&path)?;
    let words = lines.select_expr(["explode(split(lower(value), ' ')) AS word"])?;
    let counts = words.group_by(["word"]).count()?;
    let query = counts.write_stream().format("console").output_mode("update").trigger(Trigger::AvailableNow).start()?;
    println!("{}", query.explain());
    query.await_termination()?;
    println!("{}", query.last_progress().map(|p| p.pretty_json()).unwrap_or_default());
    Ok(())
}
