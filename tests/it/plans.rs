//! Plans of streaming queries as text, next to the query.
//!
//! They pin where the binder puts its own nodes: windows below the grouping, generators below the projection, watermarks
//! where they are said.

use thalweg::frame::functions::{count, session_window, sliding_window};
use thalweg::frame::{DataFrame, expr};
use thalweg::session::Session;

fn ticks() -> DataFrame {
    let session = Session::builder().create();
    session.sql("CREATE TABLE ticks USING rate").unwrap();
    session.sql("SELECT timestamp AS ts, value AS v FROM STREAM ticks").unwrap()
}

/// The names of the plan's nodes, from the output down.
fn nodes(frame: &DataFrame) -> Vec<String> {
    let text = frame.plan().display_indent().to_string();
    text.lines().map(|line| line.trim().split([':', ' ']).next().unwrap_or_default().to_string()).collect()
}

#[test]
fn a_window_lies_below_its_grouping() {
    let marked = ticks().with_watermark("ts", "1 minute").unwrap();
    let counted = marked.group_by([sliding_window("ts", "10 minutes", "5 minutes")]).agg([count("*")]).unwrap();
    assert_eq!(
        nodes(&counted),
        ["Projection", "Aggregate", "TimeWindow", "Watermark", "Projection", "SubqueryAlias", "TableScan"]
    );
    assert_eq!(counted.columns(), ["window", "count(1)"]);
    assert_eq!(counted.schema().field(0).metadata().get("spark.watermarkDelayMs").map(String::as_str), Some("60000"));
}

#[test]
fn a_windowed_aggregate_computes_its_windows_itself() {
    let marked = ticks().with_watermark("ts", "1 minute").unwrap();
    for keys in [
        vec![sliding_window("ts", "10 minutes", "5 minutes")],
        vec![sliding_window("ts", "10 minutes", "5 minutes"), expr("v")],
    ] {
        let counted = marked.group_by(keys).agg([count("*").alias("n")]).unwrap().select(["n"]).unwrap();
        let text = counted.explain_string();
        let (_, dataflow) = text.split_once("== Dataflow Plan").unwrap();
        assert!(dataflow.contains("window=600000000us/300000000us"), "{text}");
    }
}

#[test]
fn sessions_have_a_grouping_of_their_own() {
    let keys = [session_window("ts", "5 minutes"), expr("v % 3 AS k")];
    let counted = ticks().group_by(keys).agg([count("*").alias("n")]).unwrap();
    assert_eq!(nodes(&counted)[..3], ["Projection", "SessionAggregate", "SessionWindow"]);
    assert_eq!(counted.columns(), ["session_window", "k", "n"]);
}

#[test]
fn a_generator_lies_below_its_projection() {
    let made = ticks().select_expr(["v", "explode(array(v, v + 1)) AS w"]).unwrap();
    assert_eq!(nodes(&made)[..2], ["Projection", "Generate"]);
}

#[test]
fn distinct_is_a_deduplication_and_select_distinct_a_grouping() {
    let frame = ticks();
    assert_eq!(nodes(&frame.distinct().unwrap())[0], "Deduplicate");
    frame.create_or_replace_temp_view("t").unwrap();
    assert_eq!(nodes(&frame.session().sql("SELECT DISTINCT v FROM t").unwrap())[0], "Aggregate");
}

#[test]
fn a_watermark_of_a_static_table_is_no_node() {
    let session = Session::builder().create();
    let times = session.sql("SELECT TIMESTAMP '2024-03-01T12:00:00Z' AS ts").unwrap();
    assert!(!nodes(&times.with_watermark("ts", "1 minute").unwrap()).contains(&"Watermark".to_string()));
    assert!(times.with_watermark("ts", "-1 minute").is_err());
}

#[test]
fn an_element_of_a_split_text_is_made_without_the_list() {
    let session = Session::builder().create();
    session.sql("CREATE TABLE ticks USING rate").unwrap();
    let texts = session.sql("SELECT CAST(value AS STRING) AS t FROM STREAM ticks").unwrap();
    let parts = texts.select_expr(["t", "split(t, ',') AS part"]).unwrap();
    let dataflow = |frame: &DataFrame| frame.explain_string().split_once("== Dataflow Plan").unwrap().1.to_owned();
    let alone =
        parts.filter("part[1] <> 'a'").unwrap().select_expr(["part[0] AS a", "lower(part[2]) AS c", "t"]).unwrap();
    let (alone, whole) = (dataflow(&alone), dataflow(&parts.select_expr(["part[0]", "part"]).unwrap()));
    assert_eq!((alone.matches("part_of_split(").count(), alone.matches(" split(").count()), (3, 0), "{alone}");
    let pieces =
        dataflow(&texts.select_expr(["split(t, ', ') AS part"]).unwrap().select_expr(["part[0]", "part[1]"]).unwrap());
    assert_eq!(pieces.matches("split(").count(), 1, "{pieces}");
    assert!(whole.contains(" split(") || whole.contains("[split("), "{whole}");
}
