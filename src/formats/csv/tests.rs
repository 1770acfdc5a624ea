//! What reading and writing CSV gives, rule by rule; expectations are Spark's.

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::DataType;

use super::*;
use crate::formats::condition::tests::{kept, wanted};
use crate::formats::frames::Splitter;
use crate::formats::json::ToJson;
use crate::types::{parse_ddl, parse_type_or_schema, sql_name};

fn options(pairs: &[(&str, &str)]) -> Options {
    let mut options = Options::default();
    pairs.iter().for_each(|(name, value)| options.set(*name, value));
    options
}

/// Decodes a file cut into these blocks.
fn decode_blocks(ddl: &str, projection: &[usize], pairs: &[(&str, &str)], blocks: &[&str]) -> Result<RecordBatch> {
    let options = options(pairs);
    let mut splitter = Splitter::new(&Csv, &options, "file.csv")?;
    let schema = parse_ddl(ddl)?;
    let context =
        DecodeContext { schema, projection: projection.into(), options, conf: Conf::default(), filters: Vec::new() };
    let mut decoder = Csv.decoder(context)?;
    let mut batches = Vec::new();
    for block in blocks {
        batches.push(decoder.decode(&splitter.push(block.as_bytes()))?);
    }
    batches.push(decoder.decode(&splitter.finish())?);
    Ok(arrow::compute::concat_batches(&batches[0].schema(), &batches)?)
}

fn decode(ddl: &str, pairs: &[(&str, &str)], text: &str) -> Result<RecordBatch> {
    let all: Vec<usize> = (0..parse_ddl(ddl)?.fields().len()).collect();
    decode_blocks(ddl, &all, pairs, &[text])
}

/// Rows as JSON with nulls.
fn shown(rows: &RecordBatch) -> Vec<String> {
    let structs: ArrayRef = std::sync::Arc::new(arrow::array::StructArray::from(rows.clone()));
    let writer =
        ToJson::new(structs.data_type(), &options(&[("ignoreNullFields", "false")]), &Conf::default()).unwrap();
    writer.convert(&structs).unwrap().iter().map(|text| text.unwrap().to_owned()).collect()
}

fn check(ddl: &str, pairs: &[(&str, &str)], text: &str, expected: &[&str]) {
    assert_eq!(shown(&decode(ddl, pairs, text).unwrap()), expected, "{text}");
}

#[test]
fn a_header_and_quotes() {
    check(
        "name STRING, age INT, note STRING",
        &[("header", "true")],
        "name,age,note\nAnn,30,\"a, b\"\nBob,,\"say \\\"hi\\\"\"\n\"\",7,x\nCy,9\n\n Ed , 5 , y \n",
        &[
            r#"{"name":"Ann","age":30,"note":"a, b"}"#,
            r#"{"name":"Bob","age":null,"note":"say \"hi\""}"#,
            r#"{"name":null,"age":7,"note":"x"}"#,
            r#"{"name":"Cy","age":9,"note":null}"#,
            r#"{"name":" Ed ","age":null,"note":" y "}"#,
        ],
    );
}

#[test]
fn the_header_is_found_behind_comments_in_any_block() {
    let pairs = [("header", "true"), ("comment", "#")];
    let rows = decode_blocks("a INT", &[0], &pairs, &["# one\n", "\n", "a\n1\n", "2\n"]).unwrap();
    assert_eq!(shown(&rows), [r#"{"a":1}"#, r#"{"a":2}"#]);
}

#[test]
fn a_header_must_match_if_the_schema_is_not_enforced() {
    let pairs = [("header", "true"), ("enforceSchema", "false")];
    assert_eq!(decode("a INT, b INT", &pairs, "A,b\n1,2\n").unwrap().num_rows(), 1);
    let error = decode("a INT, b INT", &pairs, "b,a\n1,2\n").unwrap_err();
    assert_eq!(error.place(), Some("file.csv:1"));
}

const PEOPLE: &str = "a,1\nb,x\nc,2,extra\nd\ne,99999999999\n";

#[test]
fn d05_malformed_records_keep_what_is_good() {
    check(
        "name STRING, age INT, _corrupt_record STRING",
        &[],
        PEOPLE,
        &[
            r#"{"name":"a","age":1,"_corrupt_record":null}"#,
            r#"{"name":"b","age":null,"_corrupt_record":"b,x"}"#,
            r#"{"name":"c","age":2,"_corrupt_record":"c,2,extra"}"#,
            r#"{"name":"d","age":null,"_corrupt_record":"d"}"#,
            r#"{"name":"e","age":null,"_corrupt_record":"e,99999999999"}"#,
        ],
    );
}

#[test]
fn d05_malformed_records_are_dropped_or_fail() {
    check("name STRING, age INT", &[("mode", "DROPMALFORMED")], PEOPLE, &[r#"{"name":"a","age":1}"#]);
    let error = decode("name STRING, age INT", &[("mode", "FAILFAST")], PEOPLE).unwrap_err();
    assert_eq!(error.condition(), Some("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION"));
    assert_eq!(error.place(), Some("file.csv:2"));
}

#[test]
fn only_wanted_fields_are_looked_at() {
    let mode = [("mode", "DROPMALFORMED")];
    let names = decode_blocks("name STRING, age INT", &[0], &mode, &[PEOPLE]).unwrap();
    assert_eq!(names.num_rows(), 5);
    assert_eq!(decode_blocks("name STRING, age INT", &[], &mode, &[PEOPLE]).unwrap().num_rows(), 5);
}

#[test]
fn d06_types_by_java_rules() {
    check(
        "b BOOLEAN, l BIGINT, d DECIMAL(6,2), t TIMESTAMP, f DOUBLE",
        &[],
        concat!(
            "true,9223372036854775807,1234.565,2024-01-01T10:00:00Z,NaN\n",
            "FALSE,-1,0.1,2024-01-01 10:00:00,Inf\n",
            "yes,9223372036854775808,99999.99,2024-01-01,1e400\n",
            "false,1.0,-5,bad,-Infinity\n"
        ),
        &[
            r#"{"b":true,"l":9223372036854775807,"d":1234.57,"t":"2024-01-01T10:00:00.000Z","f":"NaN"}"#,
            r#"{"b":false,"l":-1,"d":0.10,"t":"2024-01-01T10:00:00.000Z","f":"Infinity"}"#,
            r#"{"b":null,"l":null,"d":null,"t":"2024-01-01T00:00:00.000Z","f":"Infinity"}"#,
            r#"{"b":false,"l":null,"d":-5.00,"t":null,"f":"-Infinity"}"#,
        ],
    );
}

#[test]
fn dates_by_pattern() {
    check(
        "d DATE, t TIMESTAMP, x DOUBLE, s STRING",
        &[("sep", ";"), ("dateFormat", "dd/MM/yyyy"), ("timestampFormat", "yyyy-MM-dd HH.mm"), ("nullValue", "NA")],
        "31/12/2023;2023-12-31 23.59;1.5;NA\n2024-02-01;2024-02-01 10:00;3;c\n;;;\"\"\n",
        &[
            r#"{"d":"2023-12-31","t":"2023-12-31T23:59:00.000Z","x":1.5,"s":null}"#,
            r#"{"d":null,"t":null,"x":3.0,"s":"c"}"#,
            r#"{"d":null,"t":null,"x":null,"s":""}"#,
        ],
    );
}

#[test]
fn blanks_and_comments() {
    let pairs = [("comment", "#"), ("ignoreLeadingWhiteSpace", "true"), ("ignoreTrailingWhiteSpace", "true")];
    check(
        "a STRING, b INT",
        &pairs,
        "# head\n x , 1\ny,2 \n#z,3\n\" q \",4\n",
        &[r#"{"a":"x","b":1}"#, r#"{"a":"y","b":2}"#, r#"{"a":" q ","b":4}"#],
    );
}

#[test]
fn records_may_span_lines() {
    let text = "a,b\r\n1,\"x\r\ny\"\r\n2,z,more\r\n";
    check(
        "a INT, b STRING, _corrupt_record STRING",
        &[("header", "true"), ("multiLine", "true")],
        text,
        &[r#"{"a":1,"b":"x\ny","_corrupt_record":null}"#, r#"{"a":2,"b":"z","_corrupt_record":"2,z,more"}"#],
    );
}

#[test]
fn d03_a_record_over_the_limit_is_malformed() {
    check(
        "a STRING, b INT",
        &[("maxRecordBytes", "5")],
        "aaaaaaaa,1\nb,2\n",
        &[r#"{"a":null,"b":null}"#, r#"{"a":"b","b":2}"#],
    );
}

#[test]
fn d05_unreadable_records_end_the_query() {
    assert!(decode("a STRING", &[("maxColumns", "1")], "a,b\n").is_err());
    assert!(decode("a ARRAY<INT>", &[], "").is_err());
}

fn encode(ddl: &str, pairs: &[(&str, &str)], texts: &[&str]) -> String {
    let from = decode(ddl, &[("nullValue", "NULL")], &texts.join("\n")).unwrap();
    let mut encoder = Csv.encoder(from.schema(), &options(pairs), &Conf::default()).unwrap();
    let mut out = encoder.header().unwrap();
    encoder.encode(&from, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn writing_quotes_only_what_needs_it() {
    let ddl = "a STRING, `b,c` DOUBLE";
    assert_eq!(encode(ddl, &[("header", "true")], &["x,1.5"]), "a,\"b,c\"\nx,1.5\n");
    assert_eq!(encode(ddl, &[], &["\"a,b\",NULL"]), "\"a,b\",\n");
    assert_eq!(encode(ddl, &[], &["\"\",1"]), "\"\",1.0\n");
    assert_eq!(encode(ddl, &[], &[" x ,1e10"]), "x,1.0E10\n");
    assert_eq!(encode(ddl, &[], &["say \"hi\",1"]), "\"say \\\"hi\\\"\",1.0\n");
    assert_eq!(encode(ddl, &[("escapeQuotes", "false")], &["say \"hi\",1"]), "say \"hi\",1.0\n");
    assert_eq!(encode(ddl, &[("quoteAll", "true")], &["x,NULL", "\"\",1"]), "\"x\",\"\"\n\"\",\"1.0\"\n");
    assert_eq!(encode(ddl, &[], &["#x,1"]), "\"#x\",1.0\n");
    assert_eq!(encode(ddl, &[("nullValue", "NA"), ("emptyValue", "EMPTY")], &["\"\",NULL"]), "EMPTY,NA\n");
    assert_eq!(
        encode("d DATE, t TIMESTAMP", &[("dateFormat", "dd/MM/yyyy")], &["2024-02-29,2024-02-29 01:02:03.5"]),
        "29/02/2024,2024-02-29T01:02:03.500Z\n"
    );
}

fn from_csv(text: Option<&str>, schema: &str, pairs: &[(&str, &str)]) -> Result<Option<String>> {
    let data_type = parse_type_or_schema(schema)?;
    let reader = FromCsv::new(&data_type, &options(pairs), &Conf::default())?;
    let values = reader.convert(&StringArray::from(vec![text]))?;
    let writer = ToJson::new(&data_type, &options(&[("ignoreNullFields", "false")]), &Conf::default())?;
    let texts = writer.convert(&values)?;
    Ok(texts.is_valid(0).then(|| texts.value(0).to_owned()))
}

#[test]
fn from_csv_reads_structs() {
    let check = |text: &str, schema: &str, pairs: &[(&str, &str)], expected: &str| {
        assert_eq!(from_csv(Some(text), schema, pairs).unwrap().as_deref(), Some(expected), "{text}");
    };
    check("1,x,2.5", "a INT, b STRING, c DOUBLE", &[], r#"{"a":1,"b":"x","c":2.5}"#);
    check("1,,", "a INT, b STRING, c DOUBLE", &[], r#"{"a":1,"b":null,"c":null}"#);
    check("26/08/2015", "d DATE", &[("dateFormat", "dd/MM/yyyy")], r#"{"d":"2015-08-26"}"#);
    check("x", "a INT", &[], r#"{"a":null}"#);
    check("", "a INT", &[], r#"{"a":null}"#);
    check("1|\"a|b\"", "a INT, b STRING", &[("sep", "|")], r#"{"a":1,"b":"a|b"}"#);
    assert_eq!(from_csv(None, "a INT", &[]).unwrap(), None);
    assert!(from_csv(Some("x"), "a INT", &[("mode", "FAILFAST")]).is_err());
    assert!(from_csv(Some("1"), "ARRAY<INT>", &[]).is_err());
}

#[test]
fn to_csv_writes_structs() {
    let data_type = parse_type_or_schema("a INT, b STRING, c STRING").unwrap();
    let reader = crate::formats::json::FromJson::new(&data_type, &Options::default(), &Conf::default()).unwrap();
    let values = reader.convert(&StringArray::from(vec![r#"{"a":1,"b":"x,y"}"#])).unwrap();
    let lines = ToCsv::new(&data_type, &Options::default(), &Conf::default()).unwrap().convert(&values).unwrap();
    assert_eq!(lines.value(0), "1,\"x,y\",");
}

#[test]
fn schemas_are_inferred() {
    let of = |text: &str| sql_name(&schema_of_csv(text, &Options::default(), &Conf::default()).unwrap());
    assert_eq!(of("1,abc,2.5"), "STRUCT<_c0: INT, _c1: STRING, _c2: DOUBLE>");
    assert_eq!(
        of("3000000000,12345678901234567890,2024-01-01,2024-01-01 10:00:00,TRUE,"),
        "STRUCT<_c0: BIGINT, _c1: DECIMAL(20,0), _c2: DATE, _c3: TIMESTAMP, _c4: BOOLEAN, _c5: STRING>"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.csv");
    std::fs::write(&file, "x,y,\n1,2,a\n2,2.5,\n").unwrap();
    let infer = |pairs: &[(&str, &str)]| {
        let schema = Csv.infer_schema(std::slice::from_ref(&file), &options(pairs), &Conf::default()).unwrap();
        sql_name(&DataType::Struct(schema.fields().clone()))
    };
    assert_eq!(infer(&[("header", "true"), ("inferSchema", "true")]), "STRUCT<x: INT, y: DOUBLE, _c2: STRING>");
    assert_eq!(infer(&[]), "STRUCT<_c0: STRING, _c1: STRING, _c2: STRING>");
}

proptest::proptest! {
    #[test]
    fn d05_arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(proptest::prelude::prop_oneof![
            proptest::sample::select(&b"1a,\"\\\n\r #"[..]), proptest::prelude::any::<u8>()], 0..60),
        lines in proptest::sample::select(vec!["true", "false"]),
    ) {
        let options = options(&[("multiLine", lines), ("header", "true")]);
        let mut splitter = Splitter::new(&Csv, &options, "test").unwrap();
        let schema = parse_ddl("a INT, b STRING, _corrupt_record STRING").unwrap();
        let context = DecodeContext { schema, projection: vec![0, 1, 2], options, conf: Conf::default(), filters: Vec::new() };
        let mut decoder = Csv.decoder(context).unwrap();
        for frames in [splitter.push(&bytes), splitter.finish()] {
            decoder.decode(&frames).unwrap();
        }
    }
}

fn field() -> impl proptest::strategy::Strategy<Value = &'static str> {
    proptest::sample::select(
        &["5", "-3", " 7", "+5", "5.0", "99999999999", "", "\"\"", "x", "\"x\"", "\"5\"", "\u{e9}", "null"][..],
    )
}

proptest::proptest! {
    /// What the query's filter lets through is the same, and so is the number of rows that were read.
    #[test]
    fn a_decoder_leaves_out_only_what_the_query_drops(
        records in proptest::collection::vec(proptest::collection::vec(field(), 0..5), 0..12),
        which in 0usize..8,
        mode in proptest::sample::select(&["PERMISSIVE", "DROPMALFORMED"][..]),
    ) {
        let text: String = records.iter().map(|fields| fields.join(",") + "\n").collect();
        let kept = |filtered| kept(&Csv, which, filtered, &[("mode", mode)], &text);
        proptest::prop_assert_eq!(kept(true), kept(false));
    }
}

#[test]
fn rows_that_the_query_does_not_want_are_left_at_the_first_value_that_says_so() {
    let filters = vec![wanted().remove(0).0];
    let (schema, options, conf) = (parse_ddl("a INT, b STRING").unwrap(), Options::default(), Conf::default());
    let mut decoder = Csv.decoder(DecodeContext { schema, projection: vec![0, 1], options, conf, filters }).unwrap();
    let rows = decoder.decode(&Splitter::lines("test").push(b"4,x\n5,y\n,z\n")).unwrap();
    assert_eq!(shown(&rows), [r#"{"a":5,"b":"y"}"#]);
    assert_eq!(decoder.left_out(), 2);
}

#[test]
fn a_row_that_is_left_out_of_a_cut_file_is_counted_once() {
    let rows = |filters| {
        let options = options(&[("multiLine", "true"), ("maxRecordBytes", "8")]);
        let mut splitter = Splitter::new(&Csv, &options, "file.csv").unwrap();
        let (schema, conf) = (parse_ddl("a INT, b STRING").unwrap(), Conf::default());
        let mut decoder =
            Csv.decoder(DecodeContext { schema, projection: vec![0, 1], options, conf, filters }).unwrap();
        let frames = [splitter.push(b"1,a\n5,b\n7,c\n"), splitter.finish()];
        frames.iter().map(|frames| decoder.decode(frames).unwrap().num_rows() + decoder.left_out()).sum::<usize>()
    };
    assert_eq!(rows(vec![wanted().remove(0).0]), rows(Vec::new()));
}
