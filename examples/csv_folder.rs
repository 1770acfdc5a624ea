//! Lesson: watch a folder of CSV files, write a folder of CSV files, and never count a file twice.
//!
//! It teaches file sources (a streaming source wants a schema; files must appear whole, so write them elsewhere and rename
//! them into the folder), append mode, and the checkpoint: the query remembers there what it has read. The lesson runs
//! the query twice; the second run finds that nothing is new. Put another file into the folder and run it again.
//!
//! ```text
//! cargo run --example csv_folder                       from examples/data/orders to target/lessons/orders
//! cargo run --example csv_folder -- FOLDER TARGET      folders of your own with the same columns
//! ```

use thalweg::prelude::*;

const SCHEMA: &str = "id INT, day DATE, good STRING, pieces INT, amount DECIMAL(10,2)";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "examples/data/orders".into());
    let target = arguments.next().unwrap_or_else(|| "target/lessons/orders".into());
    let session = Session::builder().app_name("csv_folder").get_or_create();
    for run in ["first", "second"] {
        println!("{run} run: {} orders read", copy_orders(&session, &folder, &target)?);
    }
    let written = session.read().schema("id INT, good STRING, total DECIMAL(20,2)").option("header", true);
    written.csv(&target)?.order_by(["id"])?.show()
}

/// Runs until all files there are have been read; gives the number of rows that this run read.
fn copy_orders(session: &Session, folder: &str, target: &str) -> Result<u64> {
    // In these files a quote inside quotes is doubled; Spark's default is a backslash before it.
    let files = session.read_stream().schema(SCHEMA).option("header", true).option("escape", "\"");
    let orders = files.option("maxFilesPerTrigger", 1).csv(folder)?;
    let totals = orders.filter("amount IS NOT NULL")?.select_expr(["id", "good", "pieces * amount AS total"])?;
    let writer = totals.write_stream().format("csv").option("header", true).output_mode("append");
    let writer = writer.option("checkpointLocation", format!("{target}.checkpoint"));
    let query = writer.trigger(Trigger::AvailableNow).start_path(target)?;
    query.await_termination()?;
    Ok(query.recent_progress().iter().map(|progress| progress.num_input_rows).sum())
}
