//! Lesson: a ranking that keeps itself up to date.
//!
//! It teaches results that later rows correct: Spark refuses a ranking of running totals on a stream, for it would have to take rows
//! back. Here each change reaches the sink as a pair: the row that no longer holds with `_change` -1, and the row that now does
//! with +1. Whoever applies them in order always has the right table; this lesson does, and prints it after each batch.
//!
//! ```text
//! cargo run --example top_k                    the two best-selling products of each shop, purchase by purchase
//! cargo run --example top_k -- --changes       the changelog itself
//! ```

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use thalweg::prelude::*;

#[derive(Serialize, Deserialize)]
struct Sale {
    shop: String,
    product: String,
    amount: i64,
}

/// A row of the changelog.
#[derive(Debug, Deserialize)]
struct Change {
    shop: String,
    place: i32,
    product: String,
    total: i64,
    #[serde(rename = "_change")]
    change: i8,
}

const TOP: &str = "
    SELECT shop, place, product, total
    FROM (SELECT *, row_number() OVER (PARTITION BY shop ORDER BY total DESC, product) AS place
          FROM (SELECT shop, product, sum(amount) AS total FROM sales GROUP BY shop, product))
    WHERE place <= 2";

const SALES: [(&str, &str, i64); 5] =
    [("north", "tea", 3), ("north", "rice", 2), ("south", "tea", 1), ("north", "salt", 4), ("south", "tea", 2)];

fn main() -> Result<()> {
    let show_changes = std::env::args().any(|argument| argument == "--changes");
    let session = Session::builder().app_name("top_k").get_or_create();
    let (sender, sales) = session.read_stream().items::<Sale>(100)?;
    sales.create_or_replace_temp_view("sales")?;
    let writer = session.sql(TOP)?.write_stream().output_mode("update").option("changelog", "true");
    let table = Mutex::new(BTreeMap::new());
    let writer = writer.foreach_batch(move |rows, _| {
        let changes: Vec<Change> = rows.collect_as()?;
        if show_changes {
            changes.iter().for_each(|change| println!("{change:?}"));
        }
        apply(&mut table.lock().unwrap_or_else(std::sync::PoisonError::into_inner), &changes);
        Ok(())
    });
    let query = writer.start()?;
    for (shop, product, amount) in SALES {
        println!("-- {amount} of {product} in the {shop}");
        sender.send(&Sale { shop: shop.into(), product: product.into(), amount })?;
        query.process_all_available()?;
    }
    query.stop()
}

/// Takes back and puts in, then prints what there is.
fn apply(table: &mut BTreeMap<(String, i32), (String, i64)>, changes: &[Change]) {
    for change in changes.iter().filter(|change| change.change < 0) {
        table.remove(&(change.shop.clone(), change.place));
    }
    for change in changes.iter().filter(|change| change.change > 0) {
        table.insert((change.shop.clone(), change.place), (change.product.clone(), change.total));
    }
    for ((shop, place), (product, total)) in table.iter() {
        println!("   {shop} {place}. {product}: {total}");
    }
}
