//! Static sides of joins: read once, or again from time to time.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use thalweg::clock::ManualClock;
use thalweg::prelude::*;
use thalweg::sources::memory::MemoryStream;

use crate::compare::json_rows;
use crate::late::{readings, session};

fn write(folder: &Path, file: &str, rows: &[(&str, i64)]) {
    let lines: String =
        rows.iter().map(|(device, limit)| format!("{{\"d\":\"{device}\",\"most\":{limit}}}\n")).collect();
    std::fs::write(folder.join(file), lines).unwrap();
}

fn table(session: &Session) -> Vec<Value> {
    let mut rows = json_rows(&session.table("t").unwrap().collect().unwrap()).unwrap();
    rows.sort_by_key(Value::to_string);
    rows
}

/// What two readings are joined with, before and after the table's file has changed and an interval has passed.
fn joined(trigger: Trigger, interval: Option<&str>) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let session = session();
    interval.iter().for_each(|interval| session.set_conf("thalweg.staticRefreshInterval", interval));
    write(folder.path(), "a.json", &[("a", 1)]);
    let limits = session.read().schema("d STRING, most BIGINT").json(folder.path().to_str().unwrap()).unwrap();
    limits.create_or_replace_temp_view("limits").unwrap();
    let stream = MemoryStream::new(readings(&session, &[("a", "00:00:00", 0)]).schema());
    session.read_stream().memory(&stream).unwrap().create_or_replace_temp_view("readings").unwrap();
    let query = "SELECT device, CAST(value AS BIGINT) AS value, most FROM readings LEFT JOIN limits ON device = d";
    let clock = ManualClock::at(0);
    let writer = session.sql(query).unwrap().write_stream().format("memory").query_name("t").trigger(trigger);
    let query = writer.clock(clock.clone()).start().unwrap();
    let push = |value| {
        stream.push(readings(&session, &[("a", "10:00:00", value)])).unwrap();
        clock.advance(Duration::from_millis(60));
        query.process_all_available().unwrap();
    };
    push(1);
    write(folder.path(), "b.json", &[("a", 2)]);
    push(2);
    clock.advance(Duration::from_secs(10));
    query.process_all_available().unwrap();
    push(3);
    query.stop().unwrap();
    table(&session)
}

fn triggers() -> [Trigger; 2] {
    [Trigger::default(), Trigger::continuous("50 milliseconds").unwrap()]
}

#[test]
fn a_table_is_read_again_when_its_interval_has_passed() {
    let expected = [json!(["a", 1, 1]), json!(["a", 2, 1]), json!(["a", 3, 1]), json!(["a", 3, 2])];
    for trigger in triggers() {
        assert_eq!(joined(trigger, Some("10 seconds")), expected, "{trigger:?}");
    }
}

#[test]
fn without_an_interval_a_table_stays_as_it_was() {
    let expected = [json!(["a", 1, 1]), json!(["a", 2, 1]), json!(["a", 3, 1])];
    for (trigger, interval) in triggers().into_iter().zip([None, Some("off")]) {
        assert_eq!(joined(trigger, interval), expected, "{trigger:?}");
    }
}

#[test]
fn a_table_joined_with_results_that_are_corrected_cannot_be_refreshed() {
    let session = session();
    session.set_conf("thalweg.staticRefreshInterval", "1 minute");
    session.sql("SELECT 1 AS n, 'one' AS name").unwrap().create_or_replace_temp_view("names").unwrap();
    let stream = MemoryStream::new(readings(&session, &[("a", "00:00:00", 0)]).schema());
    session.read_stream().memory(&stream).unwrap().create_or_replace_temp_view("readings").unwrap();
    let text = "SELECT name, count(*) AS c FROM (SELECT device, count(*) AS n FROM readings GROUP BY device) d \
                JOIN names ON d.n = names.n GROUP BY name";
    let started = session.sql(text).unwrap().write_stream().format("noop").output_mode("update").start();
    let error = started.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("staticRefreshInterval"), "{error}");
}
