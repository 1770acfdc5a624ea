//! Planted secrets are in nothing that the engine says or keeps.

use super::*;

const PLANTED: &str = "hunter2-planted";

fn assert_absent(text: &str, place: &str) {
    assert!(!text.contains(PLANTED), "{place} shows the secret: {text}");
}

fn assert_absent_below(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_absent_below(&path);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert_absent(&String::from_utf8_lossy(&bytes), &path.display().to_string());
        }
    }
}

#[test]
#[ignore = "needs a Kafka broker"]
fn x05_secrets_are_not_in_plans_reports_errors_or_checkpoints() {
    let (from, to) = (shared().topic("secrets-in", 1), shared().topic("secrets-out", 1));
    shared().send(&from, 0, numbers(0..10));
    let folder = tempfile::tempdir().unwrap();
    let session = Session::builder().create();
    // Without a protocol that uses it the password is taken and not sent.
    let reader = shared().stream(&session, &from).option("kafka.sasl.password", PLANTED);
    let rows = reader.load().unwrap().select(["value"]).unwrap();
    let writer = shared().writer(&rows, &to).option("kafka.sasl.password", PLANTED).trigger(continuous());
    let query = writer.option("checkpointLocation", folder.path().to_string_lossy()).start().unwrap();
    query.process_all_available().unwrap();
    assert_absent(&format!("{}{:?}{:?}", query.explain(), query.status(), query.recent_progress()), "the query");
    query.stop().unwrap();
    assert_absent_below(folder.path());
    for options in [
        [("kafka.sasl.pasword", PLANTED), ("subscribe", "t")],
        [("kafka.sasl.jaas.config", PLANTED), ("subscribe", "t")],
        [("kafka.security.protocol", PLANTED), ("subscribe", "t")],
        [("kafka.sasl.password", PLANTED), ("subscrib", "t")],
    ] {
        let mut reader = session.read().format("kafka").option("kafka.bootstrap.servers", shared().servers);
        for (name, value) in options {
            reader = reader.option(name, value);
        }
        let error = reader.load().and_then(|rows| rows.count()).unwrap_err();
        assert_absent(&format!("{error} {error:?}"), "the error");
    }
}

/// Everything a job in a process of its own says, with all of its own logging.
fn said(text: &str, folder: &Path) -> String {
    let file = folder.join("job.sql");
    std::fs::write(&file, text).unwrap();
    let ran = command(&file).stdout(Stdio::piped()).env("RUST_LOG", "trace").output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
}

#[test]
#[ignore = "needs a Kafka broker"]
fn x05_secrets_are_not_in_logs() {
    let (from, to, servers) = (shared().topic("logs-in", 1), shared().topic("logs-out", 1), shared().servers);
    shared().send(&from, 0, numbers(0..10));
    let folder = tempfile::tempdir().unwrap();
    let job = |password: &str| {
        format!(
            "CREATE TABLE source USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{from}',
                 startingOffsets 'earliest', kafka.sasl.password {password});
             CREATE TABLE sink USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', topic '{to}',
                 kafka.sasl.password '{PLANTED}', trigger 'availableNow', checkpointLocation '{}');
             INSERT INTO sink SELECT value FROM STREAM source;",
            folder.path().join("checkpoint").display()
        )
    };
    let log = said(&job(&format!("'{PLANTED}'")), folder.path());
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "nothing was logged: {log}");
    assert_absent(&log, "the log");
    assert_eq!(shared().committed(&to, 1).len(), 10);
    assert_absent_below(&folder.path().join("checkpoint"));
    // A mistake beside the secret.
    let log = said(&job(&format!("'{PLANTED}' oops")), folder.path());
    assert!(log.contains("PARSE"), "{log}");
    assert_absent(&log, "the error");
}
