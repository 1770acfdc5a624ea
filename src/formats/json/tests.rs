//! What reading and writing JSON gives, rule by rule; expectations are Spark's.

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use proptest::prelude::*;

use super::*;
use crate::formats::condition::tests::{kept, wanted};
use crate::formats::frames::Splitter;
use crate::types::{parse_ddl, parse_type_or_schema, sql_name};

fn options(pairs: &[(&str, &str)]) -> Options {
    let mut options = Options::default();
    pairs.iter().for_each(|(name, value)| options.set(*name, value));
    options
}

fn decode_only(ddl: &str, projection: &[usize], pairs: &[(&str, &str)], text: &str) -> Result<RecordBatch> {
    let options = options(pairs);
    let mut splitter = Splitter::new(&Json, &options, "file.json")?;
    let schema = parse_ddl(ddl)?;
    let context =
        DecodeContext { schema, projection: projection.into(), options, conf: Conf::default(), filters: Vec::new() };
    let mut decoder = Json.decoder(context)?;
    let chunks = [splitter.push(text.as_bytes()), splitter.finish()];
    let batches: Result<Vec<_>> = chunks.iter().map(|frames| decoder.decode(frames)).collect();
    let batches = batches?;
    Ok(arrow::compute::concat_batches(&batches[0].schema(), &batches)?)
}

fn decode(ddl: &str, pairs: &[(&str, &str)], text: &str) -> Result<RecordBatch> {
    let all: Vec<usize> = (0..parse_ddl(ddl)?.fields().len()).collect();
    decode_only(ddl, &all, pairs, text)
}

/// Rows written back as JSON with nulls, one per line.
fn written(rows: &RecordBatch) -> Vec<String> {
    let mut out = Vec::new();
    let mut encoder =
        Json.encoder(rows.schema(), &options(&[("ignoreNullFields", "false")]), &Conf::default()).unwrap();
    encoder.encode(rows, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

pub(super) fn check(ddl: &str, pairs: &[(&str, &str)], text: &str, expected: &[&str]) {
    assert_eq!(written(&decode(ddl, pairs, text).unwrap()), expected, "{text}");
}

#[test]
fn malformed_records_are_rows_of_nulls() {
    check(
        "a INT, b STRING",
        &[],
        "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\nnot json\n[]\n{}\n\"\"\n  \n",
        &[r#"{"a":1,"b":"x"}"#, NULLS, NULLS, NULLS, NULLS],
    );
    check(
        "a INT, b STRING",
        &[],
        "{\"a\":\"text\",\"b\":5}\n{\"a\":1.7,\"b\":{\"c\":1}}\n{\"a\":3,\"b\":null}",
        &[r#"{"a":null,"b":"5"}"#, r#"{"a":null,"b":"{\"c\":1}"}"#, r#"{"a":3,"b":null}"#],
    );
}

const NULLS: &str = r#"{"a":null,"b":null}"#;

#[test]
fn d01_half_a_record_leaves_nothing_behind() {
    check("a INT, b STRING", &[], "{\"a\":2,\"b\":\"half\n{\"b\":\"x\"}\n", &[NULLS, r#"{"a":null,"b":"x"}"#]);
}

#[test]
fn d02_the_last_of_equal_names_wins_and_names_are_case_sensitive() {
    check("a INT, b STRING", &[], r#"{"a":1,"b":"x","a":2}"#, &[r#"{"a":2,"b":"x"}"#]);
    check("a INT, b STRING", &[], r#"{"A":1,"\u0062":"x"}"#, &[r#"{"a":null,"b":"x"}"#]);
}

#[test]
fn d02_arrays_of_objects_are_rows() {
    check("a INT", &[], r#"[{"a":1},{"a":2}]"#, &[r#"{"a":1}"#, r#"{"a":2}"#]);
    check("a INT", &[], r#"[{"a":1},2]"#, &[r#"{"a":null}"#]);
    check("a INT", &[], r#"[{"a":1},{"a":2"#, &[r#"{"a":null}"#]);
    check("a INT", &[], r#"{"a":4}{"a":5}"#, &[r#"{"a":4}"#]);
}

#[test]
fn malformed_records_go_to_their_column() {
    let text =
        "{\"a\":1,\"b\":\"x\",\"c\":1}\n{\"a\":\"bad\",\"b\":\"kept\"}\n{broken\n{\"a\":9999999999,\"c\":\"NaN\"}\n";
    check(
        "a INT, b STRING, c DOUBLE, _corrupt_record STRING",
        &[],
        text,
        &[
            r#"{"a":1,"b":"x","c":1.0,"_corrupt_record":null}"#,
            r#"{"a":null,"b":"kept","c":null,"_corrupt_record":"{\"a\":\"bad\",\"b\":\"kept\"}"}"#,
            r#"{"a":null,"b":null,"c":null,"_corrupt_record":"{broken"}"#,
            r#"{"a":null,"b":null,"c":"NaN","_corrupt_record":"{\"a\":9999999999,\"c\":\"NaN\"}"}"#,
        ],
    );
    let error = decode("a INT, bad INT", &[("columnNameOfCorruptRecord", "bad")], "").unwrap_err();
    assert_eq!(error.condition(), Some("INVALID_CORRUPT_RECORD_TYPE"));
}

#[test]
fn malformed_records_are_dropped_or_fail() {
    let text = "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\n{\"a\":\"q\",\"b\":\"z\"}\n{\"a\":3}\n";
    check("a INT, b STRING", &[("mode", "dropmalformed")], text, &[r#"{"a":1,"b":"x"}"#, r#"{"a":3,"b":null}"#]);
    let error = decode("a INT, b STRING", &[("mode", "FAILFAST")], text).unwrap_err();
    assert_eq!(error.condition(), Some("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION"));
    assert_eq!(error.place(), Some("file.json:2"));
}

#[test]
fn d03_a_record_over_the_limit_is_malformed() {
    check(
        "a INT, b STRING",
        &[("maxRecordBytes", "20")],
        "{\"a\":1}\n{\"a\":2,\"b\":\"much too long\"}\n{\"a\":3}\n",
        &[r#"{"a":1,"b":null}"#, NULLS, r#"{"a":3,"b":null}"#],
    );
}

#[test]
fn d06_scalars_by_spark_rules() {
    let ddl = "s STRING, t TIMESTAMP, d DATE, m DECIMAL(8,3), b BOOLEAN, l BIGINT, y BINARY";
    check(
        ddl,
        &[],
        concat!(
            r#"{"s":1.50,"t":"2024-01-01T00:00:00.5+02:00","d":"2024-02-29","m":12.3456,"b":true,"l":5,"y":"aGk="}"#,
            "\n",
            r#"{"s":true,"t":"2024-01-01 01:02","d":"2024-1-5","m":"7","b":"true","l":"5"}"#,
            "\n",
            r#"{"s":[1, 2],"t":1704067200,"d":19000,"m":123456789,"b":1,"l":5.0}"#,
        ),
        &[
            r#"{"s":"1.50","t":"2023-12-31T22:00:00.500Z","d":"2024-02-29","m":12.346,"b":true,"l":5,"y":"aGk="}"#,
            r#"{"s":"true","t":"2024-01-01T01:02:00.000Z","d":"2024-01-05","m":7.000,"b":null,"l":null,"y":null}"#,
            r#"{"s":"[1, 2]","t":"2024-01-01T00:00:00.000Z","d":null,"m":null,"b":null,"l":null,"y":null}"#,
        ],
    );
    check("a TINYINT, b SMALLINT", &[], r#"{"a":128,"b":-32768}"#, &[r#"{"a":null,"b":-32768}"#]);
    check("a DOUBLE, b FLOAT", &[], r#"{"a":1e999,"b":"-INF"}"#, &[r#"{"a":"Infinity","b":"-Infinity"}"#]);
    check("a DATE, b DATE", &[], r#"{"a":"0000-00-00","b":""}"#, &[NULLS]);
}

#[test]
fn nested_values_keep_what_is_good() {
    let ddl = "id BIGINT, who STRUCT<first: STRING, zip: INT>, nums ARRAY<INT>, m MAP<STRING, INT>";
    check(
        ddl,
        &[],
        concat!(
            r#"{"id":1,"who":{"first":"A","x":[{}]},"nums":[1,null],"m":{"k":1,"j":null},"extra":true}"#,
            "\n",
            r#"{"who":{"zip":"bad","first":"B"},"nums":[1,"x"],"m":{"k":"x"},"id":2}"#,
            "\n",
            r#"{"who":null,"nums":{},"m":[]}"#,
        ),
        &[
            r#"{"id":1,"who":{"first":"A","zip":null},"nums":[1,null],"m":{"k":1,"j":null}}"#,
            r#"{"id":2,"who":{"first":"B","zip":null},"nums":null,"m":null}"#,
            r#"{"id":null,"who":null,"nums":null,"m":null}"#,
        ],
    );
}

#[test]
fn only_wanted_columns_are_built() {
    let text = "{\"a\":1,\"b\":\"x\",\"c\":\"not a number\"}\n[{},{}]\n";
    let rows = decode_only("a INT, b STRING, c INT", &[1], &[("mode", "FAILFAST")], text).unwrap();
    assert_eq!(written(&rows), [r#"{"b":"x"}"#, r#"{"b":null}"#, r#"{"b":null}"#]);
    assert_eq!(decode_only("a INT, b STRING", &[], &[], text).unwrap().num_rows(), 3);
}

#[test]
fn a_file_can_be_one_value() {
    check("a INT", &[("multiLine", "true")], "[\n {\"a\":\n 1},\n {\"a\": 2}\n]\n", &[r#"{"a":1}"#, r#"{"a":2}"#]);
    check("a INT", &[("multiLine", "true")], "", &[]);
}

#[test]
fn strings_are_escaped_as_in_jackson() {
    check("a STRING", &[], r#"{"a":"q\" b\\ n\n \u001f é /"}"#, &[r#"{"a":"q\" b\\ n\n \u001F é /"}"#]);
}

fn from_json(text: Option<&str>, schema: &str, pairs: &[(&str, &str)]) -> Result<Option<String>> {
    let data_type = parse_type_or_schema(schema)?;
    let reader = FromJson::new(&data_type, &options(pairs), &Conf::default())?;
    let values: ArrayRef = reader.convert(&StringArray::from(vec![text]))?;
    assert_eq!(values.data_type(), &data_type);
    let null_fields = options(&[("ignoreNullFields", "false")]);
    let texts = ToJson::new(&data_type, &null_fields, &Conf::default())?.convert(&values)?;
    Ok(texts.is_valid(0).then(|| texts.value(0).to_owned()))
}

#[test]
fn from_json_reads_structs_lists_and_maps() {
    let check = |text: &str, schema: &str, pairs: &[(&str, &str)], expected: Option<&str>| {
        assert_eq!(from_json(Some(text), schema, pairs).unwrap().as_deref(), expected, "{text}");
    };
    check(r#"{"a":1,"b":"x"}"#, "a INT, b STRING", &[], Some(r#"{"a":1,"b":"x"}"#));
    check(r#"{"a":"1"}"#, "a INT", &[], Some(r#"{"a":null}"#));
    check(r#"{"a":1"#, "a INT", &[], Some(r#"{"a":null}"#));
    check("[1,2]", "ARRAY<INT>", &[], Some("[1,2]"));
    check("[1,\"x\"]", "ARRAY<INT>", &[], None);
    check(r#"{"k":1,"j":2}"#, "MAP<STRING,INT>", &[], Some(r#"{"k":1,"j":2}"#));
    check(r#"[{"a":1},{"a":2}]"#, "ARRAY<STRUCT<a: INT>>", &[], Some(r#"[{"a":1},{"a":2}]"#));
    check(r#"{"a":1}"#, "ARRAY<STRUCT<a: INT>>", &[], Some(r#"[{"a":1}]"#));
    check(r#"[{"a":1}]"#, "a INT", &[], Some(r#"{"a":null}"#));
    check("", "a INT", &[], None);
    check("null", "a INT", &[], Some(r#"{"a":null}"#));
    check(r#"{"t":"26/08/2015"}"#, "t DATE", &[("dateFormat", "dd/MM/yyyy")], Some(r#"{"t":"2015-08-26"}"#));
    let corrupt = [("columnNameOfCorruptRecord", "_c")];
    check(r#"{"a":1,"_c":2"#, "a INT, _c STRING", &corrupt, Some(r#"{"a":null,"_c":"{\"a\":1,\"_c\":2"}"#));
    check(r#"{"d":12345.678}"#, "d DECIMAL(6,1)", &[], Some(r#"{"d":12345.7}"#));
    assert_eq!(from_json(None, "a INT", &[]).unwrap(), None);
    let error = from_json(Some(r#"{"a":1"#), "a INT", &[("mode", "FAILFAST")]).unwrap_err();
    assert_eq!(error.condition(), Some("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION"));
    assert!(from_json(Some("1"), "INT", &[]).is_err());
}

#[test]
fn to_json_leaves_null_fields_out() {
    let data_type = parse_type_or_schema("a INT, b DECIMAL(10,7), c DOUBLE").unwrap();
    let reader = FromJson::new(&data_type, &Options::default(), &Conf::default()).unwrap();
    let values = reader.convert(&StringArray::from(vec![r#"{"b":1e-7,"c":"NaN"}"#])).unwrap();
    let texts = ToJson::new(&data_type, &Options::default(), &Conf::default()).unwrap().convert(&values).unwrap();
    assert_eq!(texts.value(0), r#"{"b":1E-7,"c":"NaN"}"#);
}

#[test]
fn schemas_are_inferred() {
    let of = |text: &str| schema_of_json(text, &Options::default(), &Conf::default()).map(|t| sql_name(&t));
    assert_eq!(
        of(r#"{"a":1,"b":[1.5,2],"c":{"d":null}}"#).unwrap(),
        "STRUCT<a: BIGINT, b: ARRAY<DOUBLE>, c: STRUCT<d: STRING>>"
    );
    assert_eq!(of(r#"[{"a":1},{"b":"x"}]"#).unwrap(), "ARRAY<STRUCT<a: BIGINT, b: STRING>>");
    assert_eq!(of("12345678901234567890").unwrap(), "DECIMAL(20,0)");
    assert!(of("{").is_err());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.json");
    std::fs::write(&file, "{\"b\":1,\"a\":true}\n{\"b\":1.5}\n{broken\n").unwrap();
    let schema = Json.infer_schema(&[file], &Options::default(), &Conf::default()).unwrap();
    assert_eq!(
        sql_name(&DataType::Struct(schema.fields().clone())),
        "STRUCT<_corrupt_record: STRING, a: BOOLEAN, b: DOUBLE>"
    );
    let error = Json.infer_schema(&[], &Options::default(), &Conf::default()).unwrap_err();
    assert_eq!(error.condition(), Some("UNABLE_TO_INFER_SCHEMA"));
}

proptest::proptest! {
    #[test]
    fn d01_arbitrary_bytes_never_panic(bytes in proptest::collection::vec(proptest::prelude::prop_oneof![
        proptest::sample::select(&b"{}[]:,\"ab\\u01e-.tfn\n"[..]), proptest::prelude::any::<u8>()], 0..80)) {
        let schema = parse_ddl("a INT, b STRUCT<a: STRING, b: ARRAY<DOUBLE>>, _corrupt_record STRING").unwrap();
        let context = DecodeContext { schema, projection: vec![0, 1, 2], options: Options::default(), conf: Conf::default(), filters: Vec::new() };
        let mut splitter = Splitter::lines("test");
        let mut decoder = Json.decoder(context).unwrap();
        for frames in [splitter.push(&bytes), splitter.finish()] {
            decoder.decode(&frames).unwrap();
        }
    }
}

/// Members, broken records and arrays of records.
fn record() -> impl Strategy<Value = String> {
    let value = prop::sample::select(
        &[
            "5",
            "-3",
            "7",
            "5.0",
            "99999999999",
            "null",
            "\"x\"",
            "\"5\"",
            "\"\"",
            "\"\\u0078\"",
            "\"\u{e9}\"",
            "true",
            "[5]",
            "{\"c\":5}",
        ][..],
    );
    let member = (prop::sample::select(&["a", "b", "c", "z"][..]), value);
    let object = prop::collection::vec(member, 0..4).prop_map(|members| {
        let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    });
    let array = prop::collection::vec(object.clone(), 1..3).prop_map(|objects| format!("[{}]", objects.join(",")));
    let broken = object.clone().prop_map(|object| object.replace('}', ""));
    prop_oneof![8 => object, 1 => array, 1 => broken]
}

proptest! {
    /// What the query's filter lets through is the same, and so is the number of rows that were read.
    #[test]
    fn a_decoder_leaves_out_only_what_the_query_drops(
        records in prop::collection::vec(record(), 0..12),
        which in 0usize..8,
        mode in prop::sample::select(&["PERMISSIVE", "DROPMALFORMED"][..]),
    ) {
        let text = records.join("\n") + "\n";
        let kept = |filtered| kept(&Json, which, filtered, &[("mode", mode)], &text);
        prop_assert_eq!(kept(true), kept(false));
    }
}

#[test]
fn rows_that_the_query_does_not_want_are_not_built() {
    let schema = parse_ddl("a INT, b STRING").unwrap();
    let (options, conf) = (Options::default(), Conf::default());
    let filters = vec![wanted().remove(0).0];
    let mut decoder = Json.decoder(DecodeContext { schema, projection: vec![0, 1], options, conf, filters }).unwrap();
    let records = "{\"a\":4}\n{\"a\":5,\"b\":\"x\"}\n{\"b\":\"y\"}\n{\"a\":\"5\"}\n";
    let rows = decoder.decode(&Splitter::lines("test").push(records.as_bytes())).unwrap();
    assert_eq!(written(&rows), [r#"{"a":5,"b":"x"}"#, r#"{"a":null,"b":null}"#]);
    assert_eq!(decoder.left_out(), 2);
}
