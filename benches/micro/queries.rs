//! Expressions through the front door: a static query without sources or sinks.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use criterion::{Criterion, Throughput};
use thalweg::session::Session;

use crate::data::{Numbers, ROWS};

/// Words of a line.
const WORDS: usize = 12;

fn lines() -> RecordBatch {
    let mut numbers = Numbers(7);
    let mut line = || (0..WORDS).map(|_| format!("word{} ", numbers.below(5_000))).collect::<String>();
    let lines = StringArray::from_iter_values((0..ROWS).map(|_| line()));
    let schema = Schema::new(vec![Field::new("value", DataType::Utf8, true)]);
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(lines)]).expect("the column fits the schema")
}

/// Word count: split, explode, and the count of each word.
pub fn words(criterion: &mut Criterion) {
    let session = Session::builder().create();
    let lines = lines();
    let view = session.create_data_frame(lines.schema(), vec![lines]).expect("the rows fit the schema");
    view.create_or_replace_temp_view("lines").expect("the name is free");
    let mut group = criterion.benchmark_group("words");
    group.throughput(Throughput::Elements((ROWS * WORDS) as u64)).sample_size(20);
    for (case, query) in [
        ("split and explode", "SELECT explode(split(value, ' ')) AS word FROM lines"),
        ("count", "SELECT word, count(*) FROM (SELECT explode(split(value, ' ')) AS word FROM lines) GROUP BY word"),
    ] {
        let query = session.sql(query).expect("the query is right");
        group.bench_function(case, |bencher| bencher.iter(|| query.collect()));
    }
    group.finish();
}
