//! The engine inside a program: values pushed from threads, closures in the middle, results as values, functions by name.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};
use serde::{Deserialize, Serialize};
use thalweg::functions::aggregate::Aggregator;
use thalweg::prelude::*;
use thalweg::query::Items;
use thalweg::sources::items::StreamSender;

/// Long enough for any machine; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    customer: String,
    amount: i64,
    note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    customer: String,
    cents: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Total {
    customer: String,
    total: i64,
}

fn order(customer: &str, amount: i64) -> Order {
    Order { customer: customer.into(), amount, note: None }
}

fn session() -> Session {
    Session::builder().create()
}

fn triggers() -> [Trigger; 2] {
    [Trigger::default(), Trigger::continuous("100 milliseconds").unwrap()]
}

fn orders(session: &Session, capacity: u64) -> (StreamSender<Order>, DataFrame) {
    session.read_stream().items::<Order>(capacity).unwrap()
}

/// The next value; fails where it does not come.
fn next<T: serde::de::DeserializeOwned>(items: &mut Items<T>) -> Result<T> {
    items.next_timeout(LONG).expect("a value comes")
}

#[test]
fn threads_push_and_totals_come_out() {
    for trigger in triggers() {
        let (sender, orders) = orders(&session(), 100_000);
        let totals = orders.group_by(["customer"]).agg([sum("amount").alias("total")]).unwrap();
        let writer = totals.write_stream().output_mode("update").trigger(trigger);
        let (query, items) = writer.start_items::<Total>(1024).unwrap();
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let sender = sender.clone();
                thread::spawn(move || {
                    (0..2_500).try_for_each(|n| sender.send(&order(&format!("c{}", n % 5), worker + 1)))
                })
            })
            .collect();
        drop(sender);
        workers.into_iter().for_each(|worker| worker.join().unwrap().unwrap());
        let mut last = std::collections::BTreeMap::new();
        for item in items {
            let item = item.unwrap();
            last.insert(item.customer, item.total);
        }
        assert_eq!(last.into_values().collect::<Vec<_>>(), [5_000; 5]);
        assert!(!query.is_active(), "the last sender has gone");
    }
}

#[test]
fn a_worker_that_polls_gives_each_value_and_hears_what_is_asked_of_it() {
    let session = Session::builder().config("thalweg.busyPoll", "1s").create();
    let (sender, orders) = orders(&session, 100);
    let writer = orders.select(["amount"]).unwrap().write_stream();
    let (query, mut items) = writer.trigger(Trigger::continuous("1 hour").unwrap()).start_items::<i64>(100).unwrap();
    for n in 0..20 {
        sender.send(&order("a", n)).unwrap();
        assert_eq!(next(&mut items).unwrap(), n);
    }
    sender.send(&order("a", 20)).unwrap();
    query.process_all_available().unwrap();
    assert_eq!(next(&mut items).unwrap(), 20);
    query.stop().unwrap();
}

#[test]
fn a_time_to_poll_is_checked() {
    for (text, told) in [("2s", "'0' to '1s' but is '2s'"), ("often", "Give a time such as '100us'")] {
        let session = Session::builder().config("thalweg.busyPoll", text).create();
        let (_sender, orders) = orders(&session, 1);
        let error = orders.write_stream().format("noop").start().err().unwrap();
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn a_full_stream_slows_the_sender_down() {
    let (sender, orders) = orders(&session(), 4);
    assert!((0..4).all(|n| sender.try_send(&order("a", n)).unwrap()));
    assert!(!sender.try_send(&order("a", 4)).unwrap(), "the stream is full");
    let (_query, items) = orders.select(["amount"]).unwrap().write_stream().start_items::<i64>(1).unwrap();
    let pusher = thread::spawn(move || (4..200).try_for_each(|n| sender.send(&order("a", n))));
    let found: Vec<i64> = items.map(|item| item.unwrap()).collect();
    pusher.join().unwrap().unwrap();
    assert_eq!(found, (0..200).collect::<Vec<_>>());
}

#[test]
fn tasks_push_and_wait_without_blocking_their_runtime() {
    let (sender, orders) = orders(&session(), 8);
    let (_query, mut items) = orders.write_stream().start_items::<Order>(1).unwrap();
    // One thread for both tasks: whoever blocks it stops the other.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(async {
        let push = async move {
            for n in 0..50 {
                sender.send_async(&order("a", n)).await.unwrap();
            }
        };
        let take = async {
            let mut found = Vec::new();
            while let Some(item) = items.next_async().await {
                found.push(item.unwrap().amount);
            }
            found
        };
        tokio::join!(push, take).1
    });
    assert_eq!(found, (0..50).collect::<Vec<_>>());
}

/// Amounts above 1 as lines of cents, each twice.
fn lines(orders: &DataFrame) -> DataFrame {
    let large = orders.filter_items(|order: &Order| order.amount > 1).unwrap();
    let mapped = large.map_items(|order: Order| Line { customer: order.customer, cents: order.amount * 100 }).unwrap();
    mapped.flat_map_items(|line: Line| [line.clone(), line]).unwrap()
}

#[test]
fn closures_run_under_both_drivers_and_in_batch() {
    let session = session();
    let expected: Vec<Line> = [2, 2, 3, 3].map(|amount| Line { customer: "a".into(), cents: amount * 100 }).into();
    for trigger in triggers() {
        let (sender, orders) = orders(&session, 100);
        sender.send_many(&[order("a", 1), order("a", 2), order("a", 3)]).unwrap();
        drop(sender);
        let (_query, items) = lines(&orders).write_stream().trigger(trigger).start_items::<Line>(8).unwrap();
        assert_eq!(items.collect::<Result<Vec<_>>>().unwrap(), expected);
    }
    let text = "SELECT 'a' AS customer, n AS amount, CAST(NULL AS STRING) AS note FROM VALUES (1L), (2L), (3L) AS t(n)";
    assert_eq!(lines(&session.sql(text).unwrap()).collect_as::<Line>().unwrap(), expected);
}

#[test]
fn closures_read_only_their_columns_and_mix_with_sql() {
    #[derive(Serialize, Deserialize)]
    struct Amount {
        #[serde(rename = "AMOUNT")]
        amount: i64,
    }
    let session = session();
    let frame = session.sql("SELECT id AS amount, id * 2 AS twice, 'x' AS rest FROM range(4)").unwrap();
    let odd = frame.filter_items(|row: &Amount| row.amount % 2 == 1).unwrap().select_expr(["sum(twice) AS s"]).unwrap();
    assert_eq!(odd.collect_as::<i64>().unwrap(), [8]);
    let texts = frame.select(["rest"]).unwrap().map_items(|rest: String| rest.len() as i64).unwrap();
    assert_eq!(texts.columns(), ["value"]);
    assert_eq!(texts.filter("value = 1").unwrap().count().unwrap(), 4);
}

#[test]
fn a_missing_column_is_told_before_anything_runs() {
    let frame = session().sql("SELECT 1 AS amout").unwrap();
    let error = frame.map_items(|order: Order| order).unwrap_err();
    assert_eq!(error.condition(), Some("UNRESOLVED_COLUMN.WITH_SUGGESTION"));
}

#[test]
fn o5_a_panic_ends_the_query_with_an_error() {
    for trigger in triggers() {
        let (sender, orders) = orders(&session(), 100);
        let mapped = orders.map_items(|order: Order| 10 / (order.amount - 3)).unwrap();
        let (query, mut items) = mapped.write_stream().trigger(trigger).start_items::<i64>(8).unwrap();
        sender.send(&order("a", 4)).unwrap();
        assert_eq!(next(&mut items).unwrap(), 10);
        sender.send(&order("a", 3)).unwrap();
        let error = next(&mut items).unwrap_err();
        assert_eq!(error.condition(), Some("FAILED_EXECUTE_UDF"));
        assert_eq!(error.place(), Some("map_items(Order -> i64)"));
        assert!(error.message().contains("divide by zero"), "{error}");
        assert!(items.next().is_none(), "the error is the last");
        assert_eq!(query.exception().unwrap().message(), error.message());
    }
}

#[test]
fn an_error_of_the_user_ends_the_query_with_its_text() {
    let frame = session().sql("SELECT 'x' AS customer, 1L AS amount").unwrap();
    let parse = |order: Order| order.customer.parse::<i64>();
    let error = frame.try_map_items(parse).unwrap().collect().unwrap_err();
    assert_eq!(error.condition(), Some("FAILED_EXECUTE_UDF"));
    assert!(error.message().contains("invalid digit found in string"), "{error}");
}

fn double(columns: &[ArrayRef]) -> Result<ArrayRef> {
    let doubled: Int64Array = columns[0].as_primitive::<Int64Type>().unary(|n| n * 2);
    Ok(Arc::new(doubled))
}

#[test]
fn functions_are_called_from_sql_and_columns() {
    let session = session();
    session.register_udf("double", ["BIGINT"], "BIGINT", double).unwrap();
    let frame = session.sql("SELECT DOUBLE(id) AS n FROM range(3) WHERE double(id) > 1").unwrap();
    assert_eq!(frame.collect_as::<i64>().unwrap(), [2, 4]);
    let (sender, orders) = orders(&session, 100);
    sender.send(&order("a", 4)).unwrap();
    drop(sender);
    let doubled = orders.select([call_udf("double", [col("amount")]).alias("n")]).unwrap();
    let (_query, items) = doubled.write_stream().start_items::<i64>(8).unwrap();
    assert_eq!(items.collect::<Result<Vec<_>>>().unwrap(), [8]);
}

#[test]
fn a_function_is_checked() {
    let session = session();
    session.register_udf("double", ["BIGINT"], "BIGINT", double).unwrap();
    session.register_udf("short", ["BIGINT"], "BIGINT", |columns| Ok(columns[0].slice(0, 0))).unwrap();
    session.register_udf("wrong", ["BIGINT"], "STRING", double).unwrap();
    session.register_udf("broken", ["BIGINT"], "BIGINT", |_| panic!("no luck")).unwrap();
    let condition = |text: &str| {
        let error = session.sql(text).and_then(|frame| frame.collect()).unwrap_err();
        error.condition().unwrap_or_default().to_owned()
    };
    assert_eq!(condition("SELECT double(1, 2)"), "WRONG_NUM_ARGS.WITHOUT_SUGGESTION");
    assert_eq!(condition("SELECT dubble(1)"), "UNRESOLVED_ROUTINE");
    for name in ["short", "wrong", "broken"] {
        assert_eq!(condition(&format!("SELECT {name}(id) FROM range(2)")), "FAILED_EXECUTE_UDF", "{name}");
    }
    assert!(session.register_udf("odd", ["NO TYPE"], "BIGINT", double).is_err());
}

/// The product of its argument.
struct Times;

impl Aggregator for Times {
    type Buffer = Option<i64>;

    fn name(&self) -> &str {
        "times"
    }

    fn argument_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn return_type(&self) -> DataType {
        DataType::Int64
    }

    fn reduce(&self, buffer: &mut Option<i64>, args: &[ArrayRef], row: usize) -> Result<()> {
        *buffer = Some(buffer.unwrap_or(1) * args[0].as_primitive::<Int64Type>().value(row));
        Ok(())
    }

    fn merge(&self, buffer: &mut Option<i64>, other: Option<i64>) -> Result<()> {
        *buffer = Some(buffer.unwrap_or(1) * other.unwrap_or(1));
        Ok(())
    }

    fn finish(&self, buffer: &Option<i64>) -> Result<datafusion::common::ScalarValue> {
        Ok(datafusion::common::ScalarValue::Int64(*buffer))
    }
}

#[test]
fn aggregates_of_the_program_run_in_batch_and_on_streams() {
    let session = session();
    session.register_udaf(Times);
    assert_eq!(session.sql("SELECT times(id + 1) AS p FROM range(4)").unwrap().collect_as::<i64>().unwrap(), [24]);
    let (sender, orders) = orders(&session, 100);
    sender.send_many(&[order("a", 3), order("b", 2), order("a", 5)]).unwrap();
    drop(sender);
    let products = orders.group_by(["customer"]).agg([call_udf("times", [col("amount")]).alias("total")]).unwrap();
    let (_query, items) = products.write_stream().output_mode("complete").start_items::<Total>(8).unwrap();
    let mut found = items.collect::<Result<Vec<_>>>().unwrap();
    found.sort();
    let total = |customer: &str, total| Total { customer: customer.into(), total };
    assert_eq!(found, [total("a", 15), total("b", 2)]);
}
