//! What goes in comes out; damaged bytes are told, not fallen over. Spark's own results are in `tests/conformance`.

use super::*;
use crate::types::zone::Zone;

fn built(json: &str) -> (Vec<u8>, Vec<u8>) {
    let mut builder = Builder::default();
    parse(json, &mut builder).unwrap();
    (builder.metadata(), builder.value().to_vec())
}

fn json_of((metadata, value): &(Vec<u8>, Vec<u8>)) -> Option<String> {
    let mut text = String::new();
    json_text(&Value::new(metadata, value), &Zone::utc(), &mut text)?;
    Some(text)
}

#[test]
fn json_comes_back_with_names_in_order() {
    for (json, back) in [
        (r#"{"b":1,"a":[1,2.50,"x",null,true]}"#, r#"{"a":[1,2.5,"x",null,true],"b":1}"#),
        (r#"{"c":{"b":{"a":-5e3}},"d":""}"#, r#"{"c":{"b":{"a":-5000.0}},"d":""}"#),
        ("[[],{},[[0]]]", "[[],{},[[0]]]"),
        ("[127,128,-32769,2147483648,9223372036854775808]", "[127,128,-32769,2147483648,9223372036854775808]"),
    ] {
        assert_eq!(json_of(&built(json)).unwrap(), back);
    }
}

/// The bytes that the specification of the encoding gives for this object.
#[test]
fn the_encoding_is_the_open_one() {
    let (metadata, value) = built(r#"{"b":true,"a":300}"#);
    assert_eq!(metadata, [0x01, 2, 0, 1, 2, b'b', b'a']);
    assert_eq!(value, [0x02, 2, 1, 0, 1, 0, 4, 1 << 2, 4 << 2, 0x2c, 0x01]);
}

#[test]
fn long_objects_arrays_and_texts_have_wider_headers() {
    let fields: Vec<String> = (0..300).map(|at| format!(r#""f{at:03}":{at}"#)).collect();
    let object = format!("{{{}}}", fields.join(","));
    let bytes = built(&object);
    assert_eq!(json_of(&bytes).unwrap(), object);
    let path = Path::parse("$.f299").unwrap();
    let found = path.find(Value::new(&bytes.0, &bytes.1)).unwrap();
    assert!(matches!(found.item(), Some(Item::Integer(299))));
    let array = format!("[{}]", vec![format!("\"{}\"", "x".repeat(1000)); 300].join(","));
    assert_eq!(json_of(&built(&array)).unwrap(), array);
}

#[test]
fn equal_names_and_broken_texts_are_refused() {
    let problem = |json| parse(json, &mut Builder::default()).unwrap_err();
    assert_eq!(problem(r#"{"a":{"x":1,"x":2}}"#), Problem::DuplicateKey("x".into()));
    for broken in ["", "{", "[1,]", "nul", "'a'", "NaN"] {
        assert!(matches!(problem(broken), Problem::Malformed(_)), "{broken}");
    }
}

#[test]
fn paths() {
    for bad in ["", "a", "$.", "$[x]", "$[-1]", "$['']", "$..a", "$.a["] {
        assert_eq!(Path::parse(bad), None, "{bad}");
    }
    let bytes = built(r#"{"a b":[{"c":7}]}"#);
    for (path, found) in [("$", r#"{"a b":[{"c":7}]}"#), ("$['a b'][0].c", "7"), ("$[\"a b\"]", r#"[{"c":7}]"#)] {
        let value = Path::parse(path).unwrap().find(Value::new(&bytes.0, &bytes.1)).unwrap();
        let mut text = String::new();
        json_text(&value, &Zone::utc(), &mut text).unwrap();
        assert_eq!(text, found);
    }
}

proptest::proptest! {
    #[test]
    fn damaged_bytes_never_panic(
        metadata in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..20),
        value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
    ) {
        let value_of = Value::new(&metadata, &value);
        let _ = json_text(&value_of, &Zone::utc(), &mut String::new());
        let _ = schema_text(&value_of);
        let _ = Builder::default().copy(&value_of);
    }

    #[test]
    fn one_wrong_byte_never_panics(at in 0usize..60, byte in proptest::prelude::any::<u8>()) {
        let (metadata, mut value) = built(r#"{"a":[1,2.5,"text",{"b":null}],"c":1e5,"d":"another text"}"#);
        let at = at % value.len();
        value[at] = byte;
        let _ = json_of(&(metadata, value));
    }
}
