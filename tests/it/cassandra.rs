//! Cassandra through the public door, against a real cluster at `CASSANDRA_CONTACT_POINTS`.
//!
//! Each test makes tables of its own. They are ignored unless asked for (`--include-ignored`), and fail without a cluster:
//! `tests/services/cassandra up` starts one.

#![allow(clippy::disallowed_methods, reason = "what is outside has its own time")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use scylla::client::session::Session as Driver;
use scylla::client::session_builder::SessionBuilder;
use thalweg::prelude::*;
use thalweg::sources::memory::MemoryStream;
use tokio::runtime::Runtime;

const LONG: Duration = Duration::from_secs(120);
const KEYSPACE: &str = "thalweg_it";

fn nodes() -> String {
    std::env::var("CASSANDRA_CONTACT_POINTS").expect("CASSANDRA_CONTACT_POINTS names a node; see tests/services")
}

/// The driver itself, to make tables and to look into them.
struct Outside {
    runtime: Runtime,
    driver: Driver,
}

static OUTSIDE: LazyLock<Outside> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let driver = runtime.block_on(SessionBuilder::new().known_node(nodes()).build()).unwrap();
    let outside = Outside { runtime, driver };
    outside.run(&format!(
        "CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    ));
    outside
});

impl Outside {
    fn run(&self, cql: &str) {
        self.runtime.block_on(self.driver.query_unpaged(cql, ())).unwrap_or_else(|error| panic!("{cql}: {error}"));
    }

    /// The first two columns of an answer, sorted: a text and a number.
    fn pairs(&self, cql: &str) -> Vec<(String, i64)> {
        let answer = self.runtime.block_on(self.driver.query_unpaged(cql, ())).unwrap().into_rows_result().unwrap();
        let mut rows: Vec<(String, i64)> = answer.rows().unwrap().map(|row| row.unwrap()).collect();
        rows.sort();
        rows
    }
}

/// A new table with these columns; `{}` in other statements stands for its full name.
fn table(name: &str, columns: &str) -> String {
    let name = format!("{name}_{}", uuid::Uuid::new_v4().simple());
    OUTSIDE.run(&format!("CREATE TABLE {KEYSPACE}.{name} ({columns})"));
    name
}

fn run(cql: &str, table: &str) {
    OUTSIDE.run(&cql.replace("{}", &format!("{KEYSPACE}.{table}")));
}

fn pairs(cql: &str, table: &str) -> Vec<(String, i64)> {
    OUTSIDE.pairs(&cql.replace("{}", &format!("{KEYSPACE}.{table}")))
}

fn session() -> Session {
    Session::builder().config("spark.cassandra.connection.host", nodes()).create()
}

fn read(session: &Session, table: &str) -> Result<DataFrame> {
    let reader = session.read().format("org.apache.spark.sql.cassandra").option("keyspace", KEYSPACE);
    reader.option("table", table).load()
}

fn save(rows: &DataFrame, table: &str, mode: &str, options: &[(&str, &str)]) -> Result<()> {
    let writer = rows.write().format("cassandra").option("keyspace", KEYSPACE).option("table", table).mode(mode);
    writer.options(options.iter().copied()).save()
}

fn numbers(rows: &DataFrame) -> Vec<i64> {
    let mut found: Vec<i64> = rows.collect_as().unwrap();
    found.sort_unstable();
    found
}

const ALL_TYPES: &str = "k int PRIMARY KEY, a ascii, t text, bl blob, b boolean, ti tinyint, si smallint, bi bigint, f float, \
    d double, de decimal, vi varint, ts timestamp, da date, tm time, u uuid, tu timeuuid, ip inet, du duration, l list<int>, \
    s set<text>, m map<text, int>, v vector<float, 3>, tup tuple<int, text>, fr frozen<list<frozen<map<int, text>>>>";

#[test]
#[ignore = "needs a Cassandra cluster"]
fn a_batch_copies_every_type() {
    let (from, to) = (table("types", ALL_TYPES), table("types_copy", ALL_TYPES));
    run(
        "INSERT INTO {} (k, a, t, bl, b, ti, si, bi, f, d, de, vi, ts, da, tm, u, tu, ip, du, l, s, m, v, tup, fr) VALUES (1, \
         'ascii', 'ä', 0x00ff, true, -128, -32768, 9223372036854775807, 1.5, -1e300, 12345.678, -123456789012345678901234567890, \
         '2024-02-29T12:34:56.789Z', '1969-12-31', '23:59:59.999999999', 123e4567-e89b-42d3-a456-426614174000, \
         1b4e28ba-2fa1-11d2-883f-0016d3cca427, '2001:db8::1', 1y2mo3d4h5m6s7ms8us9ns, [3, 1, 2], {'x', 'y'}, {'k': 7}, \
         [0.5, 1, -2], (7, 'seven'), [{1: 'one'}])",
        &from,
    );
    run("INSERT INTO {} (k, l) VALUES (2, [])", &from);
    let session = session();
    save(&read(&session, &from).unwrap(), &to, "append", &[]).unwrap();
    let json = |table: &str| {
        let cql = format!("SELECT JSON * FROM {KEYSPACE}.{table}");
        let rows = OUTSIDE.runtime.block_on(OUTSIDE.driver.query_unpaged(cql, ())).unwrap().into_rows_result().unwrap();
        let mut rows: Vec<String> = rows.rows::<(String,)>().unwrap().map(|row| row.unwrap().0).collect();
        rows.sort();
        // The scale of a decimal is 18 afterwards; its value is the same.
        rows.into_iter().map(|row| row.replace("12345.678000000000000000", "12345.678")).collect::<Vec<_>>()
    };
    assert_eq!(json(&to), json(&from));
    let shown = read(&session, &to).unwrap().filter("k = 1").unwrap().show_string(20, 0).unwrap();
    for part in ["2024-02-29 12:34:56.789", "1969-12-31", "86399999999999", "1y2mo3d4h5m6s7ms8us9ns", "2001:db8::1"] {
        assert!(shown.contains(part), "'{part}' is not in\n{shown}");
    }
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn a_users_type_is_a_struct() {
    OUTSIDE.run(&format!("CREATE TYPE IF NOT EXISTS {KEYSPACE}.address (street text, no int)"));
    let name = table("udt", "k int PRIMARY KEY, home frozen<address>, homes map<text, frozen<address>>");
    let session = session();
    let rows = session
        .sql("SELECT 1 AS k, named_struct('no', 5, 'street', 'Elm') AS home, map('old', named_struct('street', 'Oak')) AS homes")
        .unwrap();
    save(&rows, &name, "append", &[]).unwrap();
    let found = read(&session, &name).unwrap().select_expr(["to_json(struct(home, homes)) AS json"]).unwrap();
    let expected = r#"{"home":{"street":"Elm","no":5},"homes":{"old":{"street":"Oak"}}}"#;
    assert_eq!(found.collect_as::<String>().unwrap(), [expected]);
}

/// Whether a predicate holds for the row of a number.
type Holds = fn(i64) -> bool;

#[test]
#[ignore = "needs a Cassandra cluster"]
fn conditions_on_keys_are_handed_over_and_results_are_the_same() {
    let name = table("pushed", "p int, c int, v bigint, PRIMARY KEY (p, c)");
    let session = session();
    let rows = session.sql("SELECT CAST(id % 10 AS INT) AS p, CAST(id AS INT) AS c, id AS v FROM range(1000)").unwrap();
    save(&rows, &name, "error", &[]).unwrap();
    let all = read(&session, &name).unwrap();
    let cases: [(&str, bool, Holds); 7] = [
        ("p = 3", true, |n| n % 10 == 3),
        ("p IN (3, 4, 5, 6, 99)", true, |n| (3..7).contains(&(n % 10))),
        ("p = 3 OR p = 4", true, |n| matches!(n % 10, 3 | 4)),
        ("p = 3 AND c >= 100 AND c < 200", true, |n| n % 10 == 3 && (100..200).contains(&n)),
        ("c > 990", true, |n| n > 990),
        ("p = 3 AND v > 500", true, |n| n % 10 == 3 && n > 500),
        ("p + 1 = 4", false, |n| n % 10 == 3),
    ];
    for (condition, handed_over, holds) in cases {
        let found = all.filter(condition).unwrap();
        assert_eq!(found.explain_string().contains("filters=["), handed_over, "{condition}");
        let expected: Vec<i64> = (0..1000).filter(|n| holds(*n)).collect();
        assert_eq!(numbers(&found.select(["v"]).unwrap()), expected, "{condition}");
    }
    assert_eq!((all.count().unwrap(), all.filter("p = 7").unwrap().count().unwrap()), (1000, 100));
    let paged = session.read().format("cassandra").option("keyspace", KEYSPACE).option("table", &name);
    let paged = paged.option("spark.cassandra.input.fetch.sizeInRows", 7).option("spark.cassandra.input.splitCount", 3);
    assert_eq!(numbers(&paged.load().unwrap().select(["v"]).unwrap()), (0..1000).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn save_modes_keep_their_word() {
    let name = table("modes", "k text PRIMARY KEY, n bigint");
    let session = session();
    let rows = |sql: &str| session.sql(sql).unwrap();
    let one = rows("SELECT 'a' AS k, 1L AS n");
    save(&one, &name, "error", &[]).unwrap();
    assert_eq!(save(&one, &name, "error", &[]).unwrap_err().condition(), Some("TABLE_OR_VIEW_ALREADY_EXISTS"));
    save(&rows("SELECT 'b' AS k, 2L AS n"), &name, "ignore", &[]).unwrap();
    let found = || pairs("SELECT k, n FROM {}", &name);
    assert_eq!(found(), [("a".to_owned(), 1)]);
    save(&rows("SELECT 'a' AS k, 3L AS n UNION ALL SELECT 'c', 4L"), &name, "append", &[]).unwrap();
    assert_eq!(found(), [("a".to_owned(), 3), ("c".to_owned(), 4)]);
    let error = save(&one, &name, "overwrite", &[]).unwrap_err().to_string();
    assert!(error.contains("confirm.truncate"), "{error}");
    save(&one, &name, "overwrite", &[("confirm.truncate", "true")]).unwrap();
    assert_eq!(found(), [("a".to_owned(), 1)]);
    let kept = [("spark.cassandra.output.ifNotExists", "true")];
    save(&rows("SELECT 'a' AS k, 9L AS n UNION ALL SELECT 'd', 5L"), &name, "append", &kept).unwrap();
    assert_eq!(found(), [("a".to_owned(), 1), ("d".to_owned(), 5)]);
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn rows_live_and_are_dated_as_options_say() {
    let name = table("ttl", "k text PRIMARY KEY, n bigint");
    let session = session();
    let rows =
        session.sql("SELECT 'a' AS k, 1L AS n, 1000 AS life, 77L AS at UNION ALL SELECT 'b', 2L, 2000, 78L").unwrap();
    let options = [("spark.cassandra.output.ttl", "life"), ("spark.cassandra.output.timestamp", "at")];
    save(&rows, &name, "append", &options).unwrap();
    assert_eq!(pairs("SELECT k, writetime(n) FROM {}", &name), [("a".to_owned(), 77), ("b".to_owned(), 78)]);
    let cql = format!("SELECT k, ttl(n) FROM {KEYSPACE}.{name}");
    let rows = OUTSIDE.runtime.block_on(OUTSIDE.driver.query_unpaged(cql, ())).unwrap().into_rows_result().unwrap();
    for (key, left) in rows.rows::<(String, i32)>().unwrap().map(|row| row.unwrap()) {
        let life = if key == "a" { 1000 } else { 2000 };
        assert!((life - 500..=life).contains(&left), "{key}: {left}");
    }
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn errors_say_what_to_change() {
    let name = table("wrong", "k text PRIMARY KEY, n bigint");
    let session = session();
    let load = |options: &[(&str, &str)]| {
        let error = session.read().format("cassandra").options(options.iter().copied()).load().unwrap_err();
        error.to_string()
    };
    let near = &name[..name.len() - 1];
    assert!(load(&[("keyspace", KEYSPACE), ("table", near)]).contains(&format!("Did you mean '{name}'?")));
    let error = load(&[("keyspace", "thalweg_ot"), ("table", "t")]);
    assert!(error.contains("there is no keyspace 'thalweg_ot'") && error.contains(KEYSPACE), "{error}");
    assert!(load(&[("keyspace", KEYSPACE)]).contains("needs option 'table'"));
    let error = load(&[("keyspace", KEYSPACE), ("table", "t"), ("spark.cassandra.conection.host", "x")]);
    assert!(error.contains("'spark.cassandra.connection.host'"), "{error}");
    let rows = session.sql("SELECT 'a' AS k, 'x' AS n").unwrap();
    let error = save(&rows, &name, "append", &[]).unwrap_err().to_string();
    assert!(error.contains("n is STRING, the table's is bigint"), "{error}");
    let rows = session.sql("SELECT CAST(NULL AS STRING) AS k, 1L AS n").unwrap();
    assert_eq!(save(&rows, &name, "append", &[]).unwrap_err().condition(), Some("NOT_NULL_CONSTRAINT_VIOLATION"));
    let stream = session.read_stream().format("cassandra").option("keyspace", KEYSPACE).option("table", &name).load();
    assert_eq!(stream.unwrap_err().condition(), Some("STREAMED_OPERATOR_UNSUPPORTED_BY_DATA_SOURCE"));
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn n01_a_host_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reader = Session::default().read().format("cassandra").option("keyspace", "k").option("table", "t");
    let reader = reader.option("spark.cassandra.connection.host", free).option("spark.cassandra.auth.username", "me");
    let error = reader.option("spark.cassandra.auth.password", "hunter2").load().unwrap_err();
    assert_eq!(error.fault(), thalweg::error::Fault::Outside);
    let shown = format!("{error:?}");
    assert!(shown.contains(&free.to_string()) && !shown.contains("hunter2"), "{shown}");
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn sql_reads_and_writes_tables() {
    let (from, to) = (table("sql", "k text PRIMARY KEY, n bigint"), table("sql_copy", "k text PRIMARY KEY, n bigint"));
    run("INSERT INTO {} (k, n) VALUES ('a', 1)", &from);
    let session = session();
    for (name, table) in [("src", &from), ("dst", &to)] {
        let options =
            format!("OPTIONS (keyspace '{KEYSPACE}', table '{table}', spark.cassandra.output.batch.size.rows '2')");
        session.sql(&format!("CREATE TABLE {name} USING org.apache.spark.sql.cassandra {options}")).unwrap();
    }
    session.sql("INSERT INTO dst SELECT k, n + 1 AS n FROM src").unwrap();
    assert_eq!(pairs("SELECT k, n FROM {}", &to), [("a".to_owned(), 2)]);
}

fn words(words: &[&str]) -> RecordBatch {
    RecordBatch::try_from_iter([("word", Arc::new(StringArray::from(words.to_vec())) as ArrayRef)]).unwrap()
}

/// Counts of words, upserted under a trigger; the query stops and starts in between.
fn counts(trigger: Trigger, mode: &str) {
    let name = table("counts", "word text PRIMARY KEY, n bigint");
    let folder = tempfile::tempdir().unwrap();
    let session =
        Session::builder().config("spark.cassandra.connection.host", nodes()).config("thalweg.workers", "2").create();
    let stream = MemoryStream::new(words(&[]).schema());
    let start = || {
        let rows =
            session.read_stream().memory(&stream).unwrap().group_by(["word"]).agg([count("*").alias("n")]).unwrap();
        let writer = rows.write_stream().format("cassandra").option("keyspace", KEYSPACE).option("table", &name);
        let writer = writer.output_mode(mode).trigger(trigger);
        writer.option("checkpointLocation", folder.path().to_string_lossy()).start().unwrap()
    };
    let query = start();
    for _ in 0..3 {
        stream.push(words(&["a", "b", "a"])).unwrap();
    }
    query.process_all_available().unwrap();
    query.stop().unwrap();
    assert_eq!(pairs("SELECT word, n FROM {}", &name), [("a".to_owned(), 6), ("b".to_owned(), 3)], "{trigger:?}");
    let query = start();
    stream.push(words(&["a", "c"])).unwrap();
    query.process_all_available().unwrap();
    query.stop().unwrap();
    let expected = [("a".to_owned(), 7), ("b".to_owned(), 3), ("c".to_owned(), 1)];
    assert_eq!(pairs("SELECT word, n FROM {}", &name), expected, "{trigger:?} {mode}");
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn streams_upsert_under_both_drivers() {
    for mode in ["update", "complete"] {
        counts(Trigger::ProcessingTime(Duration::ZERO), mode);
        counts(Trigger::Continuous(Duration::from_millis(100)), mode);
    }
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn a_changelog_deletes_what_is_taken_back() {
    let name = table("changes", "word text PRIMARY KEY, n bigint");
    let session = session();
    let stream = MemoryStream::new(words(&[]).schema());
    session.read_stream().memory(&stream).unwrap().create_or_replace_temp_view("words").unwrap();
    // The word that comes most often, and nothing else.
    let rows =
        session.sql("SELECT word, count(*) AS n FROM words GROUP BY word ORDER BY n DESC, word LIMIT 1").unwrap();
    let writer = rows.write_stream().format("cassandra").option("keyspace", KEYSPACE).option("table", &name);
    let query = writer.output_mode("update").option("changelog", "true").start().unwrap();
    for (word, expected) in [("a", ("a", 1)), ("b", ("a", 1)), ("b", ("b", 2)), ("b", ("b", 3))] {
        stream.push(words(&[word])).unwrap();
        query.process_all_available().unwrap();
        assert_eq!(pairs("SELECT word, n FROM {}", &name), [(expected.0.to_owned(), expected.1)]);
    }
    query.stop().unwrap();
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn the_last_row_of_a_key_wins_within_an_epoch() {
    let name = table("last", "k text PRIMARY KEY, n bigint");
    let session = session();
    // Descending, so that the greatest value would win if the timestamps were equal.
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["k"; 500]));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..500).rev()));
    let batch = RecordBatch::try_from_iter([("k", keys), ("n", values)]).unwrap();
    let stream = MemoryStream::new(batch.schema());
    let rows = session.read_stream().memory(&stream).unwrap();
    let writer = rows.write_stream().format("cassandra").option("keyspace", KEYSPACE).option("table", &name);
    let query = writer.option("spark.cassandra.output.batch.grouping.key", "none").start().unwrap();
    stream.push(batch).unwrap();
    query.process_all_available().unwrap();
    query.stop().unwrap();
    assert_eq!(pairs("SELECT k, n FROM {}", &name), [("k".to_owned(), 0)]);
}

/// Lets bytes through to the cluster, or does not.
struct Gate {
    open: Arc<AtomicBool>,
    address: String,
}

impl Gate {
    fn new() -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let open = Arc::new(AtomicBool::new(true));
        let shared = Arc::clone(&open);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !shared.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(nodes()).unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to, open) = (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&shared));
                    std::thread::spawn(move || pass(from, to, &open));
                }
            }
        });
        Gate { open, address }
    }
}

/// Passes bytes on until one side closes or the gate is shut.
fn pass(mut from: TcpStream, mut to: TcpStream, open: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = vec![0; 65536];
    while open.load(Ordering::SeqCst) {
        match from.read(&mut buffer) {
            Ok(0) => break,
            // It was shut while this was waited for.
            Ok(_) if !open.load(Ordering::SeqCst) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_err() => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    [from, to].iter().for_each(|end| drop(end.shutdown(std::net::Shutdown::Both)));
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn o01_a_cluster_that_is_away_for_a_while_holds_the_query_back() {
    let gate = Gate::new();
    let name = table("away", "word text PRIMARY KEY, n bigint");
    let session = Session::builder().create();
    let stream = MemoryStream::new(words(&[]).schema());
    let rows = session.read_stream().memory(&stream).unwrap().group_by(["word"]).agg([count("*").alias("n")]).unwrap();
    let writer = rows.write_stream().format("cassandra").option("keyspace", KEYSPACE).option("table", &name);
    let writer = writer.option("spark.cassandra.connection.host", &gate.address);
    let query = writer.output_mode("update").trigger(Trigger::Continuous(Duration::from_millis(100))).start().unwrap();
    stream.push(words(&["a"])).unwrap();
    query.process_all_available().unwrap();
    gate.open.store(false, Ordering::SeqCst);
    stream.push(words(&["a", "b"])).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        assert!(query.is_active(), "{:?}", query.exception());
        std::thread::yield_now();
    }
    assert_eq!(pairs("SELECT word, n FROM {}", &name), [("a".to_owned(), 1)]);
    gate.open.store(true, Ordering::SeqCst);
    query.process_all_available().unwrap();
    query.stop().unwrap();
    assert_eq!(pairs("SELECT word, n FROM {}", &name), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn o02_a_row_that_is_rejected_fails_the_query_once() {
    let name = table("rejected", "k text PRIMARY KEY, n bigint");
    let session = session();
    // Cassandra takes no empty partition key.
    let rows = session.sql("SELECT '' AS k, 1L AS n").unwrap();
    let begun = Instant::now();
    let error = save(&rows, &name, "append", &[]).unwrap_err();
    assert_eq!(error.condition(), Some("CASSANDRA_STATEMENT_REFUSED"), "{error}");
    assert!(error.message().contains(&name) && begun.elapsed() < LONG, "{error}");
}

/// A continuous aggregation over numbered files, as the command runs it.
fn job(folder: &Path, table: &str, file: &Path) {
    let (input, checkpoint, host) = (folder.join("in"), folder.join("checkpoint"), nodes());
    let text = format!(
        "CREATE TABLE source (n BIGINT) USING csv OPTIONS (path '{}');
         CREATE TABLE sink USING cassandra OPTIONS (spark.cassandra.connection.host '{host}', keyspace '{KEYSPACE}', table '{table}',
             outputMode 'update', trigger 'continuous 50 milliseconds', queryName 'job', checkpointLocation '{}');
         INSERT INTO sink SELECT CAST(n % 10 AS STRING) AS k, sum(n) AS n FROM STREAM source GROUP BY n % 10;",
        input.display(),
        checkpoint.display()
    );
    std::fs::create_dir_all(input).unwrap();
    std::fs::write(file, text).unwrap();
}

fn engine(file: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.args(["run", &file.to_string_lossy()]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
#[ignore = "needs a Cassandra cluster"]
fn k09_o03_killed_ten_times_the_table_is_as_if_it_had_run_once() {
    let name = table("killed", "k text PRIMARY KEY, n bigint");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("job.sql");
    job(folder.path(), &name, &file);
    let rounds: i64 = std::env::var("THALWEG_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let expected = |last: i64| {
        let sum = |k: i64| (0..last).filter(|n| n % 10 == k).sum::<i64>();
        (0..10).map(|k| (k.to_string(), sum(k))).collect::<Vec<_>>()
    };
    let add = |piece: i64| {
        let text: String = (piece * 100..(piece + 1) * 100).map(|n| format!("{n}\n")).collect();
        let hidden = folder.path().join(format!("{piece}.tmp"));
        std::fs::write(&hidden, text).unwrap();
        std::fs::rename(hidden, folder.path().join(format!("in/{piece}.csv"))).unwrap();
    };
    for round in 0..rounds {
        add(round * 2);
        let mut child = engine(&file);
        // It dies a different time after its first rows of the round have arrived, or while it still reads them.
        let begun = Instant::now();
        let wanted = expected((round * 2 + 1) * 100);
        while pairs("SELECT k, n FROM {}", &name) != wanted && begun.elapsed() < LONG {
            assert!(child.try_wait().unwrap().is_none(), "the job ended");
        }
        add(round * 2 + 1);
        let reached = begun.elapsed();
        while begun.elapsed() < reached + Duration::from_millis(30 * round as u64) {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = engine(&file);
    let (begun, wanted) = (Instant::now(), expected(rounds * 200));
    while pairs("SELECT k, n FROM {}", &name) != wanted && begun.elapsed() < LONG {
        assert!(child.try_wait().unwrap().is_none(), "the job ended");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(pairs("SELECT k, n FROM {}", &name), wanted);
}

/// What the node's certificates lie in; see `tests/services/cassandra`.
#[cfg(feature = "cassandra-tls")]
fn certificate(name: &str) -> String {
    let folder =
        std::env::var("CASSANDRA_TLS").expect("CASSANDRA_TLS names the folder of certificates; see tests/services");
    Path::new(&folder).join(name).to_string_lossy().into_owned()
}

/// Copies a row over encrypted connections with these options.
#[cfg(feature = "cassandra-tls")]
fn copied_encrypted(options: &[(&str, &str)]) -> Result<Vec<String>> {
    let name = table("encrypted", "k text PRIMARY KEY, n bigint");
    let options = options.iter().map(|(name, value)| (format!("spark.cassandra.connection.ssl.{name}"), *value));
    let options = options.chain([("spark.cassandra.connection.ssl.enabled".to_owned(), "true")]);
    let mut builder = Session::builder().config("spark.cassandra.connection.host", nodes());
    for (name, value) in options {
        builder = builder.config(&name, value);
    }
    let session = builder.create();
    save(&session.sql("SELECT 'a' AS k, 7L AS n")?, &name, "append", &[])?;
    read(&session, &name)?.select_expr(["concat(k, n)"])?.collect_as()
}

#[cfg(feature = "cassandra-tls")]
#[test]
#[ignore = "needs a Cassandra cluster"]
fn connections_are_encrypted_to_nodes_that_are_trusted() {
    let (node, client, stranger) = (certificate("node.pem"), certificate("client.pem"), certificate("stranger.pem"));
    let trusting = |authority: &str, keys: &str, more: &[(&str, &str)]| {
        let options = [("trustStore.path", authority), ("clientAuth.enabled", "true"), ("keyStore.path", keys)];
        copied_encrypted(&[&options, more].concat())
    };
    let row = ["a7"];
    assert_eq!(trusting(&node, &client, &[]).unwrap(), row);
    let old = [("protocol", "TLSv1.2"), ("enabledAlgorithms", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")];
    assert_eq!(trusting(&node, &client, &old).unwrap(), row);
    // Nobody whom we trust has signed the node's certificate: neither the stranger nor an authority of the system.
    assert!(trusting(&stranger, &client, &[]).is_err());
    assert!(copied_encrypted(&[("clientAuth.enabled", "true"), ("keyStore.path", &client)]).is_err());
    // The node does not trust the stranger, nor those who do not say who they are.
    assert!(trusting(&node, &stranger, &[]).is_err());
    assert!(copied_encrypted(&[("trustStore.path", &node)]).is_err());
}

#[cfg(feature = "cassandra-tls")]
#[test]
#[ignore = "needs a Cassandra cluster"]
fn what_is_wrong_with_certificates_is_said_by_the_option() {
    let node = certificate("node.pem");
    for (options, expected) in [
        (vec![("trustStore.path", "/nowhere.pem")], "trustStore.path"),
        (vec![("trustStore.path", node.as_str()), ("trustStore.type", "JKS")], "trustStore.type"),
        (vec![("trustStore.path", &node), ("clientAuth.enabled", "true")], "keyStore.path"),
        (vec![("trustStore.path", &node), ("enabledAlgorithms", "NONE")], "TLS_AES_128_GCM_SHA256"),
        (vec![("trustStore.path", &node), ("protocol", "SSLv3")], "TLSv1.3"),
    ] {
        let error = copied_encrypted(&options).unwrap_err().to_string();
        assert!(error.contains(expected), "{options:?}: {error}");
    }
}
