//! Queries as things to manage: listeners, the manager of a session, stopping, failing, and what `start` refuses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg::prelude::*;
use thalweg::query::progress::Progress;
use thalweg::query::{DataStreamWriter, QueryStarted, QueryTerminated, StreamingQueryListener};
use thalweg::sources::items::StreamSender;

/// Long enough for any machine; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(120);

fn session() -> Session {
    Session::builder().create()
}

fn numbers(session: &Session) -> (StreamSender<i64>, DataFrame) {
    session.read_stream().items::<i64>(100).unwrap()
}

/// A query that fails on 0.
fn fragile(session: &Session, name: &str) -> (StreamSender<i64>, StreamingQuery) {
    let (sender, numbers) = numbers(session);
    let divided = numbers.map_items(|n: i64| 10 / n).unwrap();
    (sender, divided.write_stream().format("noop").query_name(name).start().unwrap())
}

#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn add(&self, note: String) {
        self.0.lock().unwrap().push(note);
    }
}

impl StreamingQueryListener for Notes {
    fn on_query_started(&self, started: &QueryStarted) {
        self.add(format!("started {}", started.name.as_deref().unwrap_or("?")));
    }

    fn on_query_progress(&self, progress: &Progress) {
        self.add(format!("progress {}", progress.num_input_rows));
    }

    fn on_query_terminated(&self, terminated: &QueryTerminated) {
        self.add(format!("terminated {}", terminated.exception.is_some()));
    }
}

#[test]
fn a_listener_hears_of_a_query_from_start_to_end() {
    let session = session();
    let notes = Arc::new(Notes::default());
    let id = session.streams().add_listener(notes.clone());
    let (sender, query) = fragile(&session, "heard");
    sender.send_many(&[1, 2]).unwrap();
    query.process_all_available().unwrap();
    sender.send(&0).unwrap();
    assert!(session.streams().await_any_termination_timeout(LONG).is_err());
    let heard = notes.0.lock().unwrap().clone();
    assert_eq!(heard.first().unwrap(), "started heard");
    assert!(heard.contains(&"progress 2".to_owned()), "{heard:?}");
    assert_eq!(heard.last().unwrap(), "terminated true");
    assert_eq!(session.streams().list_listeners(), [id]);
    session.streams().remove_listener(id);
    assert!(session.streams().list_listeners().is_empty());
    let (_sender, other) = fragile(&session, "unheard");
    other.stop().unwrap();
    assert_eq!(notes.0.lock().unwrap().len(), heard.len());
}

#[test]
fn a_report_says_how_long_each_phase_of_a_batch_took() {
    let session = session();
    let (sender, query) = fragile(&session, "timed");
    sender.send(&1).unwrap();
    query.process_all_available().unwrap();
    let report = query.last_progress().unwrap();
    query.stop().unwrap();
    let phases: Vec<&String> = report.duration_ms.keys().collect();
    let expected =
        ["addBatch", "commitOffsets", "getBatch", "latestOffset", "queryPlanning", "triggerExecution", "walCommit"];
    assert_eq!(phases, expected);
}

#[test]
fn a_failed_query_does_not_disturb_another() {
    let session = session();
    let (bad, failing) = fragile(&session, "failing");
    let (good, going) = fragile(&session, "going");
    bad.send(&0).unwrap();
    let error = failing.await_termination().unwrap_err();
    assert_eq!(error.condition(), Some("FAILED_EXECUTE_UDF"));
    assert_eq!(failing.exception().unwrap().message(), error.message());
    assert!(!failing.is_active());
    failing.stop().unwrap();
    good.send(&5).unwrap();
    going.process_all_available().unwrap();
    assert!(going.is_active() && going.exception().is_none());
    going.stop().unwrap();
    going.stop().unwrap();
    going.await_termination().unwrap();
}

#[test]
fn the_manager_knows_what_runs_and_what_has_ended() {
    let session = session();
    let streams = session.streams();
    let ((_a, first), (_b, second)) = (fragile(&session, "first"), fragile(&session, "second"));
    let mut active: Vec<String> = streams.active().iter().filter_map(|query| query.name().map(Into::into)).collect();
    active.sort();
    assert_eq!(active, ["first", "second"]);
    assert_eq!(streams.get(first.id()).unwrap().run_id(), first.run_id());
    let taken = numbers(&session).1.write_stream().format("noop").query_name("first").start().unwrap_err();
    assert!(taken.message().contains("'first'"), "{taken}");
    first.stop().unwrap();
    streams.await_any_termination().unwrap();
    assert!(streams.get(first.id()).is_none());
    streams.reset_terminated();
    assert!(!streams.await_any_termination_timeout(Duration::ZERO).unwrap());
    second.stop().unwrap();
    assert!(streams.await_any_termination_timeout(LONG).unwrap());
    assert!(streams.active().is_empty());
}

#[test]
fn a_query_ends_when_its_results_are_not_taken_any_more() {
    let session = session();
    let (sender, numbers) = numbers(&session);
    let (query, items) = numbers.write_stream().start_items::<i64>(4).unwrap();
    drop(items);
    sender.send(&1).unwrap();
    assert!(query.await_termination_timeout(LONG).unwrap());
    assert!(query.exception().is_none());
}

/// What `start` says to a changed writer.
fn refused(change: impl FnOnce(DataStreamWriter) -> DataStreamWriter) -> Error {
    let (_sender, numbers) = numbers(&session());
    change(numbers.write_stream().format("console")).start().unwrap_err()
}

#[test]
fn what_is_misspelt_is_answered_with_the_nearest_name() {
    let cases: [(Error, &str); 5] = [
        (refused(|writer| writer.format("parket")), "'parquet'"),
        (refused(|writer| writer.option("trunkate", "false")), "'truncate'"),
        (refused(|writer| writer.output_mode("apend")), "'append'"),
        (session().read_stream().format("raet").load().unwrap_err(), "'rate'"),
        (session().read_stream().format("rate").option("rowPerSecond", 1).load().unwrap_err(), "'rowsPerSecond'"),
    ];
    for (error, near) in cases {
        assert!(error.to_string().contains(&format!("Did you mean {near}?")), "{error}");
    }
}

#[test]
fn what_a_query_cannot_do_is_refused_with_a_condition() {
    let strict = Session::builder().config("spark.sql.streaming.unsupportedOperationCheck", true).create();
    let (_sender, stream) = numbers(&strict);
    let modes = stream.write_stream().format("console").output_mode("complete").start().unwrap_err();
    assert_eq!(modes.condition(), Some("STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION"));
    let unknown = refused(|writer| writer.output_mode("all of it"));
    assert_eq!(unknown.condition(), Some("STREAMING_OUTPUT_MODE.INVALID"));
    let no_stream = session().range(0, 3, 1).unwrap().write_stream().format("noop").start().unwrap_err();
    assert_eq!(no_stream.condition(), Some("WRITE_STREAM_NOT_ALLOWED"));
    let (_sender, numbers) = numbers(&session());
    assert!(numbers.write_stream().start().unwrap_err().to_string().contains("no sink"));
    assert!(numbers.collect().is_err(), "a stream has to be started");
}
