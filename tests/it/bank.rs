//! The bank: accounts, random transfers between them, and balances as a chain of aggregations over changing tables.
//!
//! Money neither appears nor vanishes: at every epoch that is emitted, the balances sum up to 0, under the continuous driver, with
//! 1 and 4 workers that read transfers from four partitions. Other things are emitted along (how much was moved, how many accounts
//! there are), so that each epoch has something to say. `THALWEG_TRANSFERS` sets how many transfers are made.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use serde_json::{Value, json};
use thalweg::prelude::*;
use thalweg::sources::memory::MemoryStream;

use crate::changelog::{Random, Table};
use crate::replay::unless_stuck;

const ACCOUNTS: u64 = 100;
const PARTITIONS: usize = 4;
const A_PUSH: usize = 500;

/// Both legs of a transfer in one aggregation, and the total over it.
const LEGS: &str = "SELECT sum(balance) AS total, sum(abs(balance)) AS moved, count(*) AS accounts FROM \
    (SELECT leg.account AS account, sum(leg.delta) AS balance FROM \
     (SELECT explode(array(named_struct('account', source, 'delta', -amount), \
                           named_struct('account', target, 'delta', amount))) AS leg FROM transfers) GROUP BY leg.account)";

/// The same by branch of the bank: three levels.
const BRANCHES: &str = "SELECT sum(balance) AS total, sum(moved) AS moved, sum(accounts) AS accounts FROM \
    (SELECT account % 10 AS branch, sum(balance) AS balance, sum(abs(balance)) AS moved, count(*) AS accounts FROM \
     (SELECT leg.account AS account, sum(leg.delta) AS balance FROM \
      (SELECT explode(array(named_struct('account', source, 'delta', -amount), \
                            named_struct('account', target, 'delta', amount))) AS leg FROM transfers) GROUP BY leg.account) \
     GROUP BY account % 10)";

/// In the usual run of the tests.
const TRANSFERS: usize = 100_000;

fn transfers() -> usize {
    std::env::var("THALWEG_TRANSFERS").ok().and_then(|count| count.parse().ok()).unwrap_or(TRANSFERS)
}

fn schema() -> SchemaRef {
    let fields = ["source", "target", "amount"].map(|name| Field::new(name, DataType::Int64, true));
    Arc::new(Schema::new(fields.to_vec()))
}

/// What is known without the engine: each account's balance.
struct Book {
    random: Random,
    balances: Vec<i64>,
}

impl Book {
    fn transfers(&mut self) -> RecordBatch {
        let mut column = |limit: u64| (0..A_PUSH).map(|_| self.random.below(limit) as i64).collect::<Vec<i64>>();
        let (source, target, amount) = (column(ACCOUNTS), column(ACCOUNTS), column(1000));
        for at in 0..A_PUSH {
            self.balances[source[at] as usize] -= amount[at];
            self.balances[target[at] as usize] += amount[at];
        }
        let columns = [source, target, amount].map(|column| Arc::new(Int64Array::from(column)) as ArrayRef);
        RecordBatch::try_new(schema(), columns.to_vec()).unwrap()
    }

    fn answer(&self) -> Value {
        json!([0, self.balances.iter().map(|balance| balance.abs()).sum::<i64>(), ACCOUNTS])
    }
}

/// The table after each epoch, and what it should be in the end.
fn run(sql: &str, workers: usize, count: usize) -> Result<(Vec<Vec<String>>, Value)> {
    let session = Session::builder().config("thalweg.workers", workers).create();
    let stream = MemoryStream::builder(schema()).partitions(PARTITIONS).build();
    session.read_stream().memory(&stream)?.create_or_replace_temp_view("transfers")?;
    let seen = Arc::new(Mutex::new((Table::default(), Vec::new())));
    let kept = seen.clone();
    let writer = session.sql(sql)?.write_stream().output_mode("update").option("changelog", "true");
    let writer = writer.foreach_rows(move |rows, _, _| {
        let mut kept = kept.lock().expect("no holder panics");
        kept.0.apply(&rows);
        let now = kept.0.rows();
        if kept.1.last() != Some(&now) {
            kept.1.push(now);
        }
        Ok(())
    });
    let query = writer.trigger(Trigger::Continuous(Duration::from_millis(10))).start()?;
    let mut book = Book { random: Random(42 + workers as u64), balances: vec![0; ACCOUNTS as usize] };
    for push in 0..count.div_ceil(A_PUSH) {
        stream.push_to(push % PARTITIONS, book.transfers())?;
        if push % 20 == 0 {
            query.process_all_available()?;
        }
    }
    query.process_all_available()?;
    query.stop()?;
    let epochs = std::mem::take(&mut seen.lock().unwrap().1);
    Ok((epochs, book.answer()))
}

fn check(sql: &'static str) {
    for workers in [1, 4] {
        let (epochs, answer) = match transfers() {
            few @ ..=TRANSFERS => unless_stuck(move || run(sql, workers, few)),
            many => run(sql, workers, many),
        }
        .unwrap();
        println!("{workers} workers: {} different tables", epochs.len());
        // An epoch that closes before the first transfer has no total.
        for table in epochs.iter().skip_while(|table| table.is_empty() || table[0].starts_with("[null,null,")) {
            let row: Value = serde_json::from_str(&table[0]).unwrap();
            assert_eq!((table.len(), &row[0]), (1, &json!(0)), "money came from nowhere: {table:?}");
        }
        let last = epochs.last().and_then(|table| serde_json::from_str::<Value>(table.first()?).ok());
        assert_eq!(last, Some(answer), "{workers} workers");
        assert!(epochs.len() > 2, "everything came in one epoch");
    }
}

#[test]
fn the_balances_of_both_legs_sum_up_to_nothing_at_every_epoch() {
    check(LEGS);
}

#[test]
fn three_levels_of_balances_sum_up_to_nothing_at_every_epoch() {
    check(BRANCHES);
}

/// Without the changelog: the one row that update mode gives in an epoch is a true total, on several workers too.
#[test]
fn upserts_are_true_totals() {
    let totals = unless_stuck(|| {
        let session = Session::builder().config("thalweg.workers", 4).create();
        let stream = MemoryStream::builder(schema()).partitions(PARTITIONS).build();
        session.read_stream().memory(&stream)?.create_or_replace_temp_view("transfers")?;
        let totals = Arc::new(Mutex::new(Vec::new()));
        let kept = totals.clone();
        let writer = session.sql(LEGS)?.write_stream().output_mode("update").foreach_rows(move |rows, _, _| {
            let of = |rows: &RecordBatch| rows.column(0).as_primitive::<Int64Type>().values().to_vec();
            kept.lock().expect("no holder panics").extend(rows.iter().flat_map(of));
            Ok(())
        });
        let query = writer.trigger(Trigger::Continuous(Duration::from_millis(10))).start()?;
        let mut book = Book { random: Random(7), balances: vec![0; ACCOUNTS as usize] };
        for push in 0..40 {
            stream.push_to(push % PARTITIONS, book.transfers())?;
        }
        query.process_all_available()?;
        query.stop()?;
        let totals = totals.lock().expect("no holder panics").clone();
        Ok(totals)
    })
    .unwrap();
    assert!(!totals.is_empty() && totals.iter().all(|total| *total == 0), "{totals:?}");
}
