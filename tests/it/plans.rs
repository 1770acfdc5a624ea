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

/// The rest of a plan as text behind the line that begins the dataflow.
fn dataflow(sql: &str) -> String {
    let ticks = ticks();
    // Each has a watermark of its own.
    for name in ["bid", "other"] {
        ticks.with_watermark("ts", "1 minute").unwrap().create_or_replace_temp_view(name).unwrap();
    }
    let text = ticks.session().sql(sql).unwrap().explain_string();
    text.split_once("== Dataflow Plan (Append").unwrap_or_else(|| panic!("{text}")).1.to_string()
}

const BIDS: &str = "(SELECT v, upper(CAST(v AS STRING)) AS k, ts, window(ts, '1 minute') AS own FROM bid)";

#[test]
fn rows_joined_with_the_best_value_of_their_group_are_one_aggregation() {
    for sql in [
        "SELECT r.k, most FROM {bids} r JOIN (SELECT window, max(v) AS most FROM bid GROUP BY window(ts, '1 minute')) ON own = window AND v = most",
        "SELECT own, k FROM (SELECT window AS w, min(v) AS least FROM bid GROUP BY window(ts, '1 minute')) JOIN {bids} ON least = v AND w = own",
        "SELECT r.k, r.v, t.w FROM {bids} r, (SELECT window w, upper(CAST(v AS STRING)) k, max(v) m FROM bid GROUP BY window(ts, '1 minute'), upper(CAST(v AS STRING))) t WHERE r.own = t.w AND r.k = t.k AND r.v = t.m",
    ] {
        let text = dataflow(&sql.replace("{bids}", BIDS));
        assert!(!text.contains("join") && text.contains("rows_with_m"), "{text}");
        assert!(text.contains("window=60000000us"), "the windows are the aggregation's: {text}");
    }
}

#[test]
fn other_joins_with_an_extreme_stay_joins() {
    let join = |rows: &str, tops: &str, on: &str| format!("SELECT r.v FROM {rows} r JOIN ({tops}) t ON {on}");
    let tops = "SELECT window, max(v) AS most FROM bid GROUP BY window(ts, '1 minute')";
    for sql in [
        join(BIDS, &tops.replace("bid", "other"), "own = window AND v = most"),
        join(BIDS, &tops.replace("max", "sum"), "own = window AND v = most"),
        join(BIDS, &tops.replace("max(v)", "max(-v)"), "own = window AND v = most"),
        join(BIDS, tops, "own = window AND v = most + 1"),
        join(BIDS, tops, "own = window AND v >= most"),
        join(BIDS, tops, "own = window AND k = most"),
        join(BIDS, &tops.replace("1 minute", "2 minutes"), "own = window AND v = most"),
        join(BIDS, &tops.replace("bid", "bid WHERE v > 3"), "own = window AND v = most"),
        join(&BIDS.replace("bid", "bid WHERE v > 3"), tops, "own = window AND v = most"),
        join(BIDS, tops, "own = window AND v = most AND k < '3'"),
        join(&BIDS.replace("v,", "v, rand() AS x,"), tops, "own = window AND v = most").replace("r.v", "r.v, x"),
        join(
            &BIDS.replace("upper(CAST(v AS STRING))", "v + rand()"),
            &tops.replace("max(v)", "max(v + rand())"),
            "own = window AND k = most",
        ),
        join(BIDS, tops, "own = window AND v = most").replace("r.v", "r.v, r.ts"),
        // Rows without a value are not computed in the join.
        join(&BIDS.replace("v,", "v, 10 / v AS x,"), tops, "own = window AND v = most").replace("r.v", "r.v, x"),
        join(
            &BIDS.replace("v,", "CAST(v AS DOUBLE) AS v,"),
            &tops.replace("v", "CAST(v AS DOUBLE)"),
            "own = window AND v = most",
        ),
    ] {
        let text = dataflow(&sql);
        assert!(text.contains("join"), "{sql}\n{text}");
    }
}
