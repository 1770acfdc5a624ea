//! A Rust service with a streaming query inside: worker threads push orders as structs, the query totals them under the
//! continuous trigger, and the service takes the results as structs. No broker, no files.
//!
//! Run it in release mode for real figures: `cargo run --release --example embedded`.

use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg::prelude::*;
use thalweg::sources::items::StreamSender;

const WORKERS: u64 = 4;
const ORDERS_OF_EACH: u64 = 500;
const PAUSE: Duration = Duration::from_millis(1);

#[derive(Serialize, Deserialize)]
struct Order {
    customer: String,
    cents: u64,
    count: u32,
    voucher: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Sale {
    customer: String,
    cents: u64,
}

#[derive(Debug, Deserialize)]
struct Total {
    customer: String,
    sales: u64,
    cents: u64,
}

/// Business logic stays Rust: a closure over structs.
fn sale(order: Order) -> Sale {
    let discount = if order.voucher.is_some() { 10 } else { 0 };
    let cents = order.cents * u64::from(order.count) * (100 - discount) / 100;
    Sale { customer: order.customer, cents }
}

/// What each worker does with what comes in.
fn work(worker: u64, sender: &StreamSender<Order>) -> Result<()> {
    for n in 0..ORDERS_OF_EACH {
        let order = Order {
            customer: format!("customer {}", (worker + n) % 10),
            cents: 100 + n,
            count: 1 + (n % 3) as u32,
            voucher: (n % 5 == 0).then(|| "SUMMER".to_owned()),
        };
        sender.send(&order)?;
        thread::park_timeout(PAUSE);
    }
    Ok(())
}

fn main() -> Result<()> {
    let session = Session::builder().app_name("embedded").get_or_create();
    let (sender, orders) = session.read_stream().items::<Order>(10_000)?;
    let sales = orders.filter_items(|order: &Order| order.count > 0)?.map_items(sale)?;
    let totals = sales.group_by(["customer"]).agg([count("*").alias("sales"), sum("cents").alias("cents")])?;
    let writer = totals.write_stream().output_mode("update").trigger(Trigger::continuous("200 milliseconds")?);
    let (query, results) = writer.start_items::<Total>(1_000)?;

    let workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let sender = sender.clone();
            thread::spawn(move || work(worker, &sender))
        })
        .collect();
    drop(sender); // when the last worker is done the stream ends, and with it the query

    let mut updates = 0_u64;
    for total in results {
        let total = total?;
        updates += 1;
        if total.sales % 50 == 0 {
            println!("{}: {} sales, {:.2}", total.customer, total.sales, total.cents as f64 / 100.0);
        }
    }
    for worker in workers {
        worker.join().map_err(|_| Error::internal("a worker panicked"))??;
    }
    println!("{updates} updates of totals from {} orders", WORKERS * ORDERS_OF_EACH);
    for progress in query.recent_progress().iter().filter(|progress| progress.sink.num_output_rows > 0) {
        let latency = progress.latency;
        println!(
            "epoch {}: {} rows, microseconds from arrival to result: p50 {}, p99 {}",
            progress.batch_id, progress.num_input_rows, latency.p50_micros, latency.p99_micros
        );
    }
    Ok(())
}
