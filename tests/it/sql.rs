//! SQL and DataFrame calls over a few rows at hand: what the corpus does not cover.
//!
//! A query's rows are compared as the text that `show` prints, sorted by the query itself.

use std::sync::Arc;

use thalweg::frame::functions::{count, explode, split, sum, window};
use thalweg::frame::{DataFrame, Window, call_function, col, expr, lit, when};
use thalweg::session::Session;
use thalweg::sources::memory::MemoryStream;

/// A session with the views `people` and `orders`.
fn session() -> Session {
    let session = Session::builder().create();
    let people = "SELECT * FROM VALUES (1, 'ann', 'x y'), (2, 'bob', 'z'), (3, 'cid', NULL) AS p(id, name, tags)";
    session.sql(people).unwrap().create_or_replace_temp_view("people").unwrap();
    let orders = "SELECT * FROM VALUES (1, 10), (1, 20), (2, 5), (9, 7) AS o(id, amount)";
    session.sql(orders).unwrap().create_or_replace_temp_view("orders").unwrap();
    session
}

/// The rows as lines of cells.
fn lines(frame: &DataFrame) -> Vec<String> {
    let text = frame.show_string(100, 0).unwrap();
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(1);
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ")).collect()
}

#[track_caller]
fn check(query: &str, expected: &[&str]) {
    let frame = session().sql(query).unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(lines(&frame), expected, "{query}\n{}", frame.explain_string());
}

#[track_caller]
fn check_refused(query: &str, condition: &str) {
    let error = session().sql(query).expect_err(query);
    assert_eq!(error.condition(), Some(condition), "{query}: {error}");
}

#[test]
fn joins() {
    check(
        "SELECT name, amount FROM people p JOIN orders o ON p.id = o.id ORDER BY amount",
        &["bob 5", "ann 10", "ann 20"],
    );
    check("SELECT * FROM people JOIN orders USING (id) WHERE amount > 10", &["1 ann x y 20"]);
    check("SELECT id, amount FROM people NATURAL FULL JOIN orders WHERE id > 2 ORDER BY id", &["3 NULL", "9 7"]);
    check("SELECT id FROM people p LEFT ANTI JOIN orders o ON p.id = o.id", &["3"]);
    check("SELECT count(*) FROM people, orders", &["12"]);
    check("SELECT a.id, b.id FROM people a JOIN people b ON a.id = b.id + 1 ORDER BY a.id", &["2 1", "3 2"]);
}

#[test]
fn subqueries() {
    check("SELECT name FROM people WHERE id IN (SELECT id FROM orders) ORDER BY name", &["ann", "bob"]);
    check("SELECT name FROM people p WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.id = p.id)", &["cid"]);
    check("SELECT max(amount) - (SELECT min(amount) FROM orders) FROM orders", &["15"]);
    check("WITH big AS (SELECT id FROM orders WHERE amount > 6) SELECT id FROM big ORDER BY id DESC", &["9", "1", "1"]);
}

#[test]
fn grouping() {
    check("SELECT id, sum(amount) AS s FROM orders GROUP BY id HAVING s > 6 ORDER BY s DESC", &["1 30", "9 7"]);
    check("SELECT id FROM orders GROUP BY id ORDER BY count(*) DESC, id LIMIT 1", &["1"]);
    check("SELECT id % 2 AS odd, count(*) FROM orders GROUP BY odd ORDER BY 1", &["0 1", "1 3"]);
    check("SELECT id, sum(amount) FROM orders GROUP BY ROLLUP (id) ORDER BY id", &["NULL 42", "1 30", "2 5", "9 7"]);
    check("SELECT DISTINCT id FROM orders ORDER BY id", &["1", "2", "9"]);
    check_refused("SELECT id, amount FROM orders GROUP BY id", "MISSING_AGGREGATION");
    check_refused("SELECT id, count(*) FROM orders", "MISSING_GROUP_BY");
    check_refused("SELECT sum(count(*)) FROM orders", "NESTED_AGGREGATE_FUNCTION");
}

#[test]
fn set_operations() {
    check("SELECT id FROM people UNION SELECT id FROM orders ORDER BY id", &["1", "2", "3", "9"]);
    check("SELECT id FROM people EXCEPT SELECT id FROM orders", &["3"]);
    check("SELECT id FROM people INTERSECT SELECT id FROM orders ORDER BY id", &["1", "2"]);
    check_refused("SELECT id, name FROM people UNION SELECT id FROM orders", "NUM_COLUMNS_MISMATCH");
}

#[test]
fn generators_and_windows() {
    check("SELECT id, explode(split(tags, ' ')) AS t FROM people ORDER BY id, t", &["1 x", "1 y", "2 z"]);
    check(
        "SELECT id, t FROM people LATERAL VIEW OUTER explode(split(tags, ' ')) v AS t WHERE id > 1",
        &["2 z", "3 NULL"],
    );
    check(
        "SELECT id, amount, row_number() OVER (PARTITION BY id ORDER BY amount DESC) AS r FROM orders ORDER BY id, r",
        &["1 20 1", "1 10 2", "2 5 1", "9 7 1"],
    );
    check(
        "SELECT explode(array(1, 2)) AS a, explode(array('x', 'y')) AS b ORDER BY ALL",
        &["1 x", "1 y", "2 x", "2 y"],
    );
    check_refused("SELECT explode(explode(array(array(1))))", "UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS");
    check_refused("SELECT id FROM people WHERE explode(array(1)) = 1", "UNSUPPORTED_GENERATOR.OUTSIDE_SELECT");
}

#[test]
fn what_queries_cannot_refer_to_is_said() {
    let lateral = "SELECT t.x, s.m FROM VALUES (1), (2) AS t(x), \
                   LATERAL (SELECT max(u.y) AS m FROM VALUES (1), (2) AS u(y) WHERE u.y < t.x) s";
    let error = session().sql(lateral).and_then(|frame| frame.collect()).unwrap_err().to_string();
    assert!(error.contains("LATERAL subquery refers to 't.x'"), "{error}");
    let recursive = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r";
    let error = session().sql(recursive).unwrap_err().to_string();
    assert!(error.contains("WITH RECURSIVE is not supported"), "{error}");
}

#[test]
fn subqueries_that_stand_for_values() {
    check("SELECT id, (SELECT max(id) FROM orders) AS m FROM people WHERE id = 1", &["1 9"]);
    check("SELECT id IN (SELECT id FROM orders) AS i FROM people ORDER BY id LIMIT 1", &["true"]);
    check("SELECT EXISTS (SELECT 1 FROM orders WHERE id = 77) AS e", &["false"]);
    let several = session().sql("SELECT (SELECT id FROM orders)").unwrap().collect().unwrap_err();
    assert_eq!(several.condition(), Some("SCALAR_SUBQUERY_TOO_MANY_ROWS"));
    check_refused(
        "SELECT (SELECT id, amount FROM orders LIMIT 1)",
        "INVALID_SUBQUERY_EXPRESSION.SCALAR_SUBQUERY_RETURN_MORE_THAN_ONE_OUTPUT_COLUMN",
    );
    check_refused("VALUES (1, 2), (3)", "INVALID_INLINE_TABLE.NUM_COLUMNS_MISMATCH");
}

/// Spark 4.3 gives the same, also where a null leaves open whether a row is equal.
#[test]
fn subqueries_that_look_at_the_row_around_them() {
    let ids = "SELECT p.id, $ AS it FROM people p ORDER BY p.id";
    let check_each = |value: &str, expected: [&str; 3]| check(&ids.replace('$', value), &expected);
    check_each("EXISTS (SELECT 1 FROM orders o WHERE o.id = p.id)", ["1 true", "2 true", "3 false"]);
    check_each("NOT EXISTS (SELECT o.amount FROM orders o WHERE o.amount < p.id)", ["1 true", "2 true", "3 true"]);
    check_each(
        "p.id IN (SELECT CAST(o.id AS BIGINT) FROM orders o WHERE o.amount <> p.id)",
        ["1 true", "2 true", "3 false"],
    );
    check_each("p.id NOT IN (SELECT nullif(o.id, 9) FROM orders o)", ["1 false", "2 false", "3 false"]);
    check_each("p.id IN (SELECT nullif(o.id, 9) FROM orders o)", ["1 true", "2 true", "3 false"]);
    check_each("(p.id, p.name) IN (SELECT o.id, 'ann' FROM orders o)", ["1 true", "2 false", "3 false"]);
    check_each("(SELECT max(o.amount) FROM orders o WHERE o.id = p.id)", ["1 20", "2 5", "3 NULL"]);
    check_each("(SELECT count(*) FROM orders o WHERE o.id > p.id)", ["1 2", "2 1", "3 1"]);
    check_each("(SELECT o.amount FROM orders o WHERE o.id >= p.id ORDER BY o.amount LIMIT 1)", ["1 5", "2 5", "3 7"]);
    check_each("(SELECT p.id + 1)", ["1 2", "2 3", "3 4"]);
    check_each(
        "EXISTS (SELECT o.id FROM orders o WHERE o.id > p.id UNION SELECT 1 WHERE p.id > 8)",
        ["1 true", "2 true", "3 true"],
    );
    check("SELECT id FROM people p WHERE name = 'cid' OR id IN (SELECT id FROM orders WHERE amount > 6)", &["1", "3"]);
    check("SELECT sum(CASE WHEN EXISTS (SELECT 1 FROM orders o WHERE o.id = p.id) THEN 1 END) FROM people p", &["2"]);
    check(
        "SELECT p.id FROM people p JOIN orders o ON p.id = o.id AND EXISTS (SELECT 1 FROM orders b WHERE b.id > p.id + 6)",
        &["1", "1", "2"],
    );
    let several = session().sql("SELECT (SELECT o.id FROM orders o WHERE o.id >= p.id) FROM people p");
    assert_eq!(several.unwrap().collect().unwrap_err().condition(), Some("SCALAR_SUBQUERY_TOO_MANY_ROWS"));
    check_refused(
        "SELECT id FROM people WHERE id IN (SELECT id, amount FROM orders)",
        "DATATYPE_MISMATCH.IN_SUBQUERY_LENGTH_MISMATCH",
    );
    check_refused(
        "SELECT id FROM people WHERE id IN (SELECT array(id) FROM orders)",
        "DATATYPE_MISMATCH.IN_SUBQUERY_DATA_TYPE_MISMATCH",
    );
}

#[test]
fn subqueries_over_tables_are_asked_for_each_row_of_a_stream() {
    let session = session();
    let ids = session.sql("SELECT id FROM people").unwrap();
    let stream = MemoryStream::new(ids.schema());
    session.read_stream().memory(&stream).unwrap().create_or_replace_temp_view("incoming").unwrap();
    let select = "SELECT i.id, EXISTS (SELECT 1 FROM orders o WHERE o.id = i.id) AS ordered, \
                  (SELECT count(*) FROM orders o WHERE o.id > i.id) AS more \
                  FROM incoming i WHERE i.id > 2 OR i.id IN (SELECT id FROM orders)";
    let query = session.sql(select).unwrap().write_stream().format("memory").query_name("answers").start().unwrap();
    ids.collect().unwrap().into_iter().for_each(|rows| stream.push(rows).unwrap());
    query.process_all_available().unwrap();
    query.stop().unwrap();
    let answers = session.sql("SELECT * FROM answers ORDER BY id").unwrap();
    assert_eq!(lines(&answers), ["1 true 2", "2 true 1", "3 false 1"]);
    let over_stream = session.sql("SELECT (SELECT max(id) FROM incoming) FROM people").unwrap_err();
    assert_eq!(over_stream.condition(), Some("INVALID_SUBQUERY_EXPRESSION.STREAMING_QUERY"));
}

#[test]
fn a_statement_with_something_wrong_behind_it_has_no_effect() {
    let session = session();
    let dir = tempfile::tempdir().unwrap();
    let create = format!("CREATE TABLE kept USING csv OPTIONS (path '{}') AS SELECT 1 AS a", dir.path().display());
    assert_eq!(session.sql(&format!("{create} UNKNOWN CLAUSE")).unwrap_err().condition(), Some("PARSE_SYNTAX_ERROR"));
    assert!(session.table("kept").is_err());
    session.sql(&create).unwrap();
    for wrong in [
        "INSERT OVERWRITE kept SELECT 9 AS a UNKNOWN CLAUSE",
        "DROP TABLE kept UNKNOWN",
        "CREATE OR REPLACE VIEW kept AS SELECT 3 UNKNOWN CLAUSE",
    ] {
        assert_eq!(session.sql(wrong).unwrap_err().condition(), Some("PARSE_SYNTAX_ERROR"), "{wrong}");
        assert_eq!(lines(&session.sql("SELECT * FROM kept").unwrap()), ["1"], "{wrong}");
    }
}

#[test]
fn tables_say_how_they_are_written() {
    let session = session();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let table = format!(
        "CREATE TABLE parts (id INT, name STRING) USING json OPTIONS (path '{path}') PARTITIONED BY (name) COMMENT 'it\\'s'"
    );
    session.sql(&table).unwrap();
    session.sql("INSERT INTO parts SELECT id, name FROM people").unwrap();
    assert!(dir.path().join("name=ann").is_dir());
    assert_eq!(lines(&session.sql("SELECT id FROM parts WHERE name = 'bob'").unwrap()), ["2"]);
    assert_eq!(lines(&session.sql(&format!("SELECT count(*) FROM json.`{path}`")).unwrap()), ["3"]);
    session.sql("CREATE TABLE out USING console OPTIONS (outputMode 'complete')").unwrap();
    let forgotten = session.sql("INSERT INTO out SELECT id FROM people").unwrap_err();
    assert!(forgotten.to_string().contains("FROM STREAM"), "{forgotten}");
}

#[test]
fn samples_of_calls_and_of_streams() {
    check("SELECT count(*) FROM range(200) TABLESAMPLE (10 ROWS)", &["10"]);
    let session = session();
    session.sql("CREATE TABLE ticks USING rate").unwrap();
    assert!(
        session
            .sql("SELECT * FROM STREAM ticks TABLESAMPLE (10 PERCENT)")
            .unwrap_err()
            .to_string()
            .contains("sampling")
    );
}

#[test]
fn a_column_may_be_called_all() {
    check("SELECT size(all), filter( all , x -> x > 1) FROM (SELECT array(1, 2) AS all)", &["2 [2]"]);
    check("SELECT count(ALL id), count(ALL 1) FROM people", &["3 3"]);
}

#[test]
fn lambdas_over_values_of_which_columns_are_left_out() {
    check("SELECT exists(a, x -> x = 2) FROM VALUES (1, 'a', array(1, 2)) t(id, k, a)", &["true"]);
}

#[test]
fn the_event_time_of_the_watermark_clause_has_a_name() {
    let session = session();
    session.sql("CREATE TABLE ticks USING rate").unwrap();
    let named = "SELECT * FROM STREAM ticks WATERMARK timestamp + INTERVAL 1 HOUR AS ts DELAY OF INTERVAL 5 MINUTES";
    let named = session.sql(named).unwrap();
    assert_eq!(named.columns(), ["timestamp", "value", "ts"]);
    assert!(named.schema().field(2).metadata().contains_key("spark.watermarkDelayMs"));
    let unnamed = "SELECT * FROM STREAM ticks WATERMARK timestamp + INTERVAL 1 HOUR DELAY OF INTERVAL 5 MINUTES";
    assert_eq!(session.sql(unnamed).unwrap_err().condition(), Some("REQUIRES_EXPLICIT_NAME_IN_WATERMARK_CLAUSE"));
}

#[test]
fn aliases_of_the_same_list() {
    check("SELECT id + 1 AS a, a * 2 AS b FROM people ORDER BY b DESC LIMIT 1", &["4 8"]);
}

#[test]
fn equal_names_are_allowed_until_used() {
    let session = session();
    let both = session.sql("SELECT 1 AS x, 2 AS x").unwrap();
    assert_eq!(both.columns(), ["x", "x"]);
    assert_eq!(lines(&both), ["1 2"]);
    assert_eq!(both.select(["x"]).unwrap_err().condition(), Some("AMBIGUOUS_REFERENCE"));
}

#[test]
fn statements() {
    let session = session();
    session.sql("CREATE OR REPLACE TEMPORARY VIEW big (i, a) AS SELECT * FROM orders WHERE amount > 6").unwrap();
    assert_eq!(lines(&session.sql("SELECT sum(a) FROM big").unwrap()), ["37"]);
    session.sql("SET spark.sql.session.timeZone = Europe/Paris").unwrap();
    assert_eq!(session.get_conf("spark.sql.session.timeZone").as_deref(), Some("Europe/Paris"));
    assert_eq!(lines(&session.sql("DESCRIBE big").unwrap()), ["i int NULL", "a int NULL"]);
    assert_eq!(lines(&session.sql("SHOW VIEWS").unwrap()).len(), 3);
    session.sql("DROP VIEW big").unwrap();
    assert_eq!(session.sql("SELECT * FROM big").unwrap_err().condition(), Some("TABLE_OR_VIEW_NOT_FOUND"));
    assert_eq!(session.sql("SELECT 1 SELECT 2").unwrap_err().condition(), Some("PARSE_SYNTAX_ERROR"));
}

#[test]
fn streams_in_sql_carry_their_watermark() {
    let session = session();
    session.sql("CREATE TABLE ticks USING rate OPTIONS (rowsPerSecond 5)").unwrap();
    let frame = session
        .sql("SELECT e.value, e.timestamp AS t FROM STREAM ticks WATERMARK timestamp DELAY OF INTERVAL 5 MINUTES AS e")
        .unwrap();
    assert!(frame.is_streaming());
    let marked = |frame: &DataFrame| frame.schema().field(1).metadata().get("spark.watermarkDelayMs").cloned();
    assert_eq!(marked(&frame).as_deref(), Some("300000"));
    let lost = frame.select([col("value"), (col("t") + expr("INTERVAL 1 DAY")).alias("t")]).unwrap();
    assert_ne!(marked(&lost).as_deref(), Some("300000"));
    assert!(frame.collect().is_err());
}

#[test]
fn data_frame_calls() {
    let session = session();
    let (people, orders) = (session.table("people").unwrap(), session.table("orders").unwrap());
    let words = people.select([col("id"), explode(split("tags", " ")).alias("word")]).unwrap();
    assert_eq!(words.count().unwrap(), 3);
    let totals = orders.group_by(["id"]).agg([sum("amount").alias("total"), count("*").alias("n")]).unwrap();
    let joined = people.join(&totals, "id", "left_outer").unwrap().order_by([col("id")]).unwrap();
    assert_eq!(lines(&joined.select(["name", "total", "n"]).unwrap()), ["ann 30 2", "bob 5 1", "cid NULL NULL"]);
    let sized = orders.select([when(col("amount").gt(9), "big").otherwise("small").alias("size"), lit(1).alias("one")]);
    assert_eq!(sized.unwrap().group_by(["size"]).count().unwrap().filter("size = 'big'").unwrap().count().unwrap(), 1);
    let ranked = call_function("rank", Vec::<&str>::new()).over(Window::partition_by(["id"]).order_by([col("amount")]));
    assert_eq!(orders.with_column("r", ranked).unwrap().filter(col("r").eq_to(2)).unwrap().count().unwrap(), 1);
    let renamed = people.with_column_renamed("name", "who").unwrap().drop(["tags"]).unwrap();
    assert_eq!(renamed.columns(), ["id", "who"]);
    assert_eq!(people.union_by_name(&orders, true).unwrap().count().unwrap(), 7);
    assert_eq!(orders.drop_duplicates(&["id"]).unwrap().count().unwrap(), 3);
}

#[test]
fn windows_of_rows_at_hand() {
    let session = session();
    let times = session.sql("SELECT TIMESTAMP '2024-03-01T12:07:00Z' AS ts").unwrap();
    let counted = times.group_by([window("ts", "10 minutes")]).count().unwrap();
    assert_eq!(lines(&counted.select_expr(["window.start", "count"]).unwrap()), ["2024-03-01 12:00:00 1"]);
}

#[test]
fn rows_as_values_of_the_program() {
    #[derive(serde::Deserialize, PartialEq, Debug)]
    struct Order {
        id: i32,
        amount: i32,
    }
    let orders: Vec<Order> = session()
        .table("orders")
        .unwrap()
        .order_by([col("id"), col("amount")])
        .unwrap()
        .limit(1)
        .unwrap()
        .collect_as()
        .unwrap();
    assert_eq!(orders, [Order { id: 1, amount: 10 }]);
    let schema = Arc::new(arrow::datatypes::Schema::empty());
    assert_eq!(session().create_data_frame(schema, Vec::new()).unwrap().count().unwrap(), 0);
}

#[test]
fn parts_of_json_and_variant_become_rows_and_columns() {
    check("SELECT json_tuple('{\"a\":1,\"b\":{\"c\":[2]}}', 'b', 'x', 'a')", &["{\"c\":[2]} NULL 1"]);
    check("SELECT id, t FROM people LATERAL VIEW json_tuple('{\"a\":true}', 'a') AS t WHERE id = 2", &["2 true"]);
    let variant = "parse_json('{\"b\":[1,\"x\"],\"a\":null}')";
    check(
        &format!("SELECT pos, key, value FROM variant_explode({variant}) ORDER BY pos"),
        &["0 a null", "1 b [1,\"x\"]"],
    );
    check(
        &format!("SELECT v:b[0]::INT + 1, v:b[1]::STRING, v:nothing.at.all FROM (SELECT {variant} AS v)"),
        &["2 x NULL"],
    );
    check_refused(&format!("SELECT {variant} < {variant}"), "DATATYPE_MISMATCH.INVALID_ORDERING_TYPE");
}

#[test]
fn pipes() {
    check(
        "FROM orders |> WHERE amount > 5 |> AGGREGATE sum(amount) AS s, count(*) AS n GROUP BY id |> ORDER BY id",
        &["1 30 2", "9 7 1"],
    );
    check("FROM people |> EXTEND id * 2 AS twice |> SET name = upper(name) |> DROP tags |> LIMIT 1", &["1 ANN 2"]);
    check("SELECT id FROM orders |> JOIN people USING (id) |> SELECT name |> ORDER BY name", &["ann", "ann", "bob"]);
    check("FROM people |> AS p |> SELECT p.id |> UNION ALL (VALUES (7)) |> ORDER BY id", &["1", "2", "3", "7"]);
    check("SELECT 1 AS a, 2 AS b |> UNION ALL BY NAME (SELECT 4 AS b, 3 AS a) |> ORDER BY a", &["1 2", "3 4"]);
    check(
        "SELECT 1 AS a, 2 AS b |> UNION BY NAME (SELECT 2 AS b, 1 AS a), (SELECT 4 AS b, 3 AS a) |> ORDER BY a",
        &["1 2", "3 4"],
    );
    check("SELECT 1 AS a, 2 AS b |> UNION DISTINCT BY NAME (SELECT 2 AS b, 1 AS a)", &["1 2"]);
    check_refused("SELECT 1 AS a INTERSECT BY NAME SELECT 1 AS a", "PARSE_SYNTAX_ERROR");
    check_refused("FROM people", "PARSE_SYNTAX_ERROR");
    check_refused("FROM people |> SELECT sum(id)", "PIPE_OPERATOR_CONTAINS_AGGREGATE_FUNCTION");
}

#[test]
fn qualified_and_sampled_rows() {
    let best = "SELECT id, amount FROM orders QUALIFY row_number() OVER (PARTITION BY id ORDER BY amount DESC) = 1 ORDER BY id";
    check(best, &["1 20", "2 5", "9 7"]);
    check("SELECT count(*) FROM orders TABLESAMPLE (100 PERCENT)", &["4"]);
    check("SELECT count(*) FROM orders TABLESAMPLE (3 ROWS)", &["3"]);
    check(
        "SELECT p.id, o.amount FROM people p, LATERAL (SELECT amount FROM orders o WHERE o.id = p.id AND amount > 9) o ORDER BY 2",
        &["1 10", "1 20"],
    );
}

#[test]
fn parameters() {
    let session = session();
    let named = session.sql_with_args(
        "SELECT name FROM people WHERE id = :id OR name = :name ORDER BY 1",
        [("id", lit(1)), ("name", lit("x' OR true --"))],
    );
    assert_eq!(lines(&named.unwrap()), ["ann"]);
    let positional = session.sql_with_positions("SELECT id + ? FROM people WHERE id < ? ORDER BY 1", [lit(10), lit(3)]);
    assert_eq!(lines(&positional.unwrap()), ["11", "12"]);
    let missing = session.sql("SELECT :id").expect_err("there is no value");
    assert_eq!(missing.condition(), Some("UNBOUND_SQL_PARAMETER"));
    let column = session.sql_with_args("SELECT :id", [("id", col("id"))]).expect_err("a column is no constant");
    assert_eq!(column.condition(), Some("INVALID_SQL_ARG"));
}

#[test]
fn a_table_of_files_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let session = session();
    let path = folder.path().join("t").to_string_lossy().into_owned();
    session.sql(&format!("CREATE TABLE t (id INT, amount INT) USING json OPTIONS (path '{path}')")).unwrap();
    session.sql("INSERT INTO t SELECT * FROM orders").unwrap();
    session.sql("INSERT OVERWRITE TABLE t SELECT * FROM orders WHERE id = 2").unwrap();
    assert_eq!(lines(&session.sql("SELECT * FROM t").unwrap()), ["2 5"]);
    let own = session.sql("INSERT OVERWRITE t SELECT * FROM t").expect_err("it reads what it overwrites");
    assert_eq!(own.condition(), Some("UNSUPPORTED_OVERWRITE.TABLE"));
}

#[test]
fn a_table_of_files_is_not_overwritten_by_a_query_that_reads_it_under_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let session = session();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    session.sql(&format!("CREATE TABLE t (id INT, amount INT) USING json OPTIONS (path '{}')", path("t"))).unwrap();
    session.sql("INSERT INTO t SELECT 2 AS id, 5 AS amount").unwrap();
    std::os::unix::fs::symlink(path("t"), path("link")).unwrap();
    std::fs::create_dir(path("t2")).unwrap();
    let spellings = [
        path("./t"),
        path("t/../t"),
        path("link"),
        path("?"),
        path("link/*.json"),
        format!("file://{}", path("link")),
        path(""),
    ];
    let reader = || session.read().format("json").schema("id INT, amount INT");
    let several = reader().load_paths([path("t2"), path("link")]).unwrap();
    let one = spellings.iter().map(|spelling| reader().load_path(spelling).unwrap());
    for frame in one.chain([several]) {
        let refused = frame.write().mode("overwrite").insert_into("t").expect_err("it reads what it overwrites");
        assert_eq!(refused.condition(), Some("UNSUPPORTED_OVERWRITE.TABLE"), "{refused}");
    }
    assert_eq!(lines(&session.sql("SELECT * FROM t").unwrap()), ["2 5"]);
    reader().load_path(&path("t2")).unwrap().write().mode("overwrite").insert_into("t").unwrap();
    assert!(lines(&session.sql("SELECT * FROM t").unwrap()).is_empty());
}

/// Tables of JSON files in a folder: `t` and `u` are declared with columns, `v` is not.
fn tables_in(folder: &tempfile::TempDir) -> Session {
    let session = session();
    for (table, columns) in [("t", "(id INT, amount INT)"), ("u", "(id INT, name STRING, d DATE)"), ("v", "")] {
        let path = folder.path().join(table).display().to_string();
        session.sql(&format!("CREATE TABLE {table} {columns} USING json OPTIONS (path '{path}')")).unwrap();
    }
    session
}

fn json_of(session: &Session, table: &str) -> Vec<String> {
    let rows = session.sql(&format!("SELECT to_json(struct(*)) FROM {table}")).unwrap();
    let mut rows: Vec<String> = rows.collect_as().unwrap();
    rows.sort();
    rows
}

fn pair((id, amount): (i32, i32)) -> String {
    format!("{{\"id\":{id},\"amount\":{amount}}}")
}

/// Spark 4.3 gave these answers.
#[test]
fn rows_are_inserted_by_position_by_name_or_by_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let session = tables_in(&folder);
    for statement in [
        "INSERT INTO t SELECT 2, 5",
        "INSERT INTO t SELECT 7 AS amount, 8 AS id",
        "INSERT INTO t (amount, id) SELECT 1, 2",
        "INSERT INTO t BY NAME SELECT 3 AS amount, 4 AS id",
        "INSERT INTO t SELECT 10L, 11.6",
        "INSERT INTO t (amount) (SELECT 12)",
        "INSERT INTO t (SELECT 20, 20)",
        "INSERT INTO t VALUES (21, 21), (22, 22)",
        "INSERT INTO u SELECT 1, 2, timestamp'2024-01-02 03:04:05'",
        "INSERT INTO u SELECT 1, true, NULL",
        "INSERT INTO u (id, name) VALUES (5, 'five')",
        "INSERT INTO v (a, b) SELECT 1, 'x'",
    ] {
        session.sql(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let mut expected: Vec<String> =
        [(2, 5), (7, 8), (2, 1), (4, 3), (10, 11), (20, 20), (21, 21), (22, 22)].map(pair).to_vec();
    expected.push("{\"amount\":12}".to_owned());
    expected.sort();
    assert_eq!(json_of(&session, "t"), expected);
    let expected = [
        "{\"id\":1,\"name\":\"2\",\"d\":\"2024-01-02\"}",
        "{\"id\":1,\"name\":\"true\"}",
        "{\"id\":5,\"name\":\"five\"}",
    ];
    assert_eq!(json_of(&session, "u"), expected);
    assert_eq!(json_of(&session, "v"), ["{\"a\":1,\"b\":\"x\"}"]);
}

/// Spark 4.3 gave these conditions.
#[test]
fn rows_that_do_not_fit_a_table_are_not_inserted() {
    let folder = tempfile::tempdir().unwrap();
    let session = tables_in(&folder);
    for (statement, condition) in [
        ("INSERT INTO t SELECT 1", "INSERT_COLUMN_ARITY_MISMATCH.NOT_ENOUGH_DATA_COLUMNS"),
        ("INSERT INTO t SELECT 1, 2, 3", "INSERT_COLUMN_ARITY_MISMATCH.TOO_MANY_DATA_COLUMNS"),
        ("INSERT INTO t (id, amount) SELECT 1", "INSERT_COLUMN_ARITY_MISMATCH.NOT_ENOUGH_DATA_COLUMNS"),
        ("INSERT INTO t SELECT '9', 1", "INCOMPATIBLE_DATA_FOR_TABLE.CANNOT_SAFELY_CAST"),
        ("INSERT INTO u SELECT true, 'x', NULL", "INCOMPATIBLE_DATA_FOR_TABLE.CANNOT_SAFELY_CAST"),
        ("INSERT INTO t (nope) SELECT 12", "UNRESOLVED_COLUMN.WITH_SUGGESTION"),
        ("INSERT INTO t (id, id) SELECT 12, 13", "COLUMN_ALREADY_EXISTS"),
        ("INSERT INTO t BY NAME SELECT 3 AS amount, 4 AS nope", "INCOMPATIBLE_DATA_FOR_TABLE.EXTRA_COLUMNS"),
    ] {
        let error = session.sql(statement).unwrap_err();
        assert_eq!(error.condition(), Some(condition), "{statement}: {error}");
    }
}

#[test]
fn frames_are_inserted_by_position_and_overwrite_no_path_that_they_read() {
    let folder = tempfile::tempdir().unwrap();
    let session = tables_in(&folder);
    let path = folder.path().join("t").display().to_string();
    let doubled = session.sql("SELECT 30, 31").unwrap();
    doubled.write().insert_into("t").unwrap();
    assert!(json_of(&session, "t").contains(&pair((30, 31))));
    let read = session.read().json(&path).unwrap();
    let error = read.write().mode("overwrite").json(&path).unwrap_err();
    assert_eq!(error.condition(), Some("UNSUPPORTED_OVERWRITE.PATH"), "{error}");
    assert!(json_of(&session, "t").contains(&pair((30, 31))), "nothing was cleared");
}
