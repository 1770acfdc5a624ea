//! The `thalweg` command through its binary: what it prints, where, and its exit codes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the command in the root of the repository.
fn thalweg(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn script(folder: &Path, sql: &str) -> String {
    let file = folder.join("job.sql");
    std::fs::File::create(&file).unwrap().write_all(sql.as_bytes()).unwrap();
    file.to_string_lossy().into_owned()
}

#[test]
fn the_example_counts_words() {
    let ran = thalweg(&["run", "examples/word_count.sql"]);
    let (output, errors) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{errors}");
    assert!(output.contains("|   the|   19|"), "{output}");
    assert!(errors.contains("word_count: ended"), "{errors}");
}

#[test]
fn an_error_tells_file_line_column_and_condition() {
    let folder = tempfile::tempdir().unwrap();
    let file = script(folder.path(), "-- first\nSELECT 1;\n\n  SELECT nope FROM range(3);\nSELECT 3;\n");
    let ran = thalweg(&["run", &file]);
    assert_eq!(ran.status.code(), Some(1));
    let errors = text(&ran.stderr);
    let begin = format!("{file}:4:3: error: [UNRESOLVED_COLUMN.WITH_SUGGESTION]");
    assert!(errors.starts_with(&begin), "{errors}");
    assert!(errors.contains("hint: "), "{errors}");
    assert!(text(&ran.stdout).contains("|1  |"), "statements before the error have run");
    assert!(!text(&ran.stdout).contains("|3  |"), "statements after the error have not");
}

#[test]
fn a_syntax_error_tells_its_own_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = script(folder.path(), "SELECT 1;\nSELECT 1\n  FROM (SELECT 2));\n");
    let ran = thalweg(&["run", &file]);
    assert_eq!(ran.status.code(), Some(1));
    let errors = text(&ran.stderr);
    assert!(errors.starts_with(&format!("{file}:3:")), "{errors}");
    assert!(errors.contains("[PARSE_SYNTAX_ERROR]"), "{errors}");
}

#[test]
fn a_stream_without_a_sink_is_told_what_to_do() {
    let ran = thalweg(&["sql", "-e", "CREATE TABLE r USING rate; SELECT * FROM STREAM r"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(text(&ran.stderr).contains("INSERT INTO out SELECT"), "{}", text(&ran.stderr));
}

#[test]
fn sql_prints_tables_and_json() {
    let table = thalweg(&["sql", "-e", "SELECT id, id * 2 AS twice FROM range(2)"]);
    assert_eq!(text(&table.stdout), "+---+-----+\n|id |twice|\n+---+-----+\n|0  |0    |\n|1  |2    |\n+---+-----+\n");
    let json = thalweg(&["sql", "--json", "-e", "SELECT 1 AS a, NULL AS b, array('x;y') AS c;"]);
    assert_eq!(text(&json.stdout), "{\"a\":1,\"b\":null,\"c\":[\"x;y\"]}\n");
}

#[test]
fn settings_reach_the_session() {
    let zone = ["sql", "--set", "spark.sql.session.timeZone=Asia/Tokyo", "-e", "SELECT timestamp_millis(0) AS t"];
    assert!(text(&thalweg(&zone).stdout).contains("1970-01-01 09:00:00"));
    assert_eq!(thalweg(&["sql", "--set", "novalue", "-e", "SELECT 1"]).status.code(), Some(2));
}

#[test]
fn errors_of_json_runs_are_json() {
    let ran = thalweg(&["sql", "--json", "-e", "SELECT nope"]);
    let error: serde_json::Value = serde_json::from_slice(&ran.stderr).unwrap();
    assert!(error["error"]["condition"].as_str().unwrap().starts_with("UNRESOLVED_COLUMN"), "{error}");
    assert_eq!(error["error"]["place"], "sql:1:1");
}

#[test]
fn a_failing_query_fails_the_job_and_stops_the_others() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "1\nx\n").unwrap();
    let sql = format!(
        "CREATE TABLE endless USING rate;\nCREATE TABLE lines USING text OPTIONS (path '{}');\n\
         CREATE TABLE out USING noop;\nINSERT INTO out SELECT * FROM STREAM endless;\n\
         INSERT INTO out SELECT CAST(value AS INT) FROM STREAM lines;\n",
        folder.path().display()
    );
    let jobs = tempfile::tempdir().unwrap();
    let file = script(jobs.path(), &sql);
    let ran = thalweg(&["run", &file]);
    assert_eq!(ran.status.code(), Some(1));
    let errors = text(&ran.stderr);
    assert!(errors.contains(&format!("{file}:5:1: error: [CAST_INVALID_INPUT]")), "{errors}");
}

#[test]
fn the_latency_bench_reports_all_engines() {
    let ran = thalweg(&["bench", "latency", "--rates", "200", "--seconds", "1", "--warm", "0", "--json"]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let engines: Vec<_> = rows.iter().map(|row| row["engine"].as_str().unwrap()).collect();
    assert_eq!(
        engines,
        [
            "tcp echo",
            "in process",
            "in process, polls",
            "continuous",
            "continuous, checkpoint",
            "micro-batch",
            "micro-batch, checkpoint"
        ]
    );
    for row in rows {
        assert_eq!(row["due"], row["answered"], "{row}");
        assert!(row["p50_us"].as_u64().unwrap() > 0 && row["max_us"].as_u64() >= row["p50_us"].as_u64(), "{row}");
    }
}

#[test]
fn the_wordcount_bench_counts_all_words() {
    let ran = thalweg(&["bench", "wordcount", "--words", "3000", "--repeat", "1", "--json"]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let drivers: Vec<_> = report["rows"].as_array().unwrap().iter().map(|row| row["driver"].clone()).collect();
    assert_eq!(drivers, ["continuous", "micro-batch"]);
}
