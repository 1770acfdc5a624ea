//! Functions whose arguments are not cast: which types they take as they are.
//!
//! In: a call as written, its arguments bound. Out: nothing, or Spark's refusal. Most functions cast their arguments implicitly
//! ([`super::coerce`]); those listed here do not, apart from an untyped NULL. Argument positions beyond a list are free.

use arrow::datatypes::DataType;

use super::{Arg, Call, coerce};
use crate::Result;

/// What an argument may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Anything; the function itself looks at it.
    Any,
    /// Anything but an untyped NULL.
    Typed,
    /// STRING.
    Text,
    /// BOOLEAN.
    Flag,
    /// DATE.
    Day,
    /// TIMESTAMP, with or without a zone.
    Instant,
    /// INT.
    Int,
    /// TINYINT, SMALLINT or INT where the first argument is an array; anything where it is not.
    Place,
    /// A number.
    Number,
    /// INT or STRING.
    IntOrText,
    /// ARRAY; its elements become texts.
    Texts,
}

use Takes::{Any, Day, Flag, Instant, Int, IntOrText, Number, Place, Text, Texts, Typed};

/// Functions, with what each argument may be.
const EXACT: &[(&[&str], &[Takes])] = &[
    (&["get_json_object"], &[Text, Text]),
    (&["json_array_length", "json_object_keys", "parse_json", "try_parse_json", "soundex"], &[Text]),
    (&["from_json", "from_csv", "schema_of_json", "schema_of_csv"], &[Text]),
    (&["mask"], &[Text, Text, Text, Text, Text]),
    (&["parse_url", "try_parse_url", "str_to_map"], &[Text, Text, Text]),
    (&["unix_date"], &[Day]),
    (&["unix_micros", "unix_millis", "unix_seconds"], &[Instant]),
    (&["unix_timestamp", "to_unix_timestamp", "variant_get", "try_variant_get"], &[Any, Text]),
    (&["array_join"], &[Texts, Text, Text]),
    (&["array_repeat"], &[Any, Int]),
    (&["array_insert", "element_at", "try_element_at"], &[Any, Place]),
    (&["assert_true"], &[Flag]),
    (&["sort_array"], &[Any, Flag]),
    (&["format_number"], &[Number, IntOrText]),
    (&["array_sort", "filter", "transform", "exists", "any_match", "forall", "aggregate", "reduce"], &[Typed]),
    (&["array_append", "array_prepend", "bitmap_count"], &[Typed]),
    (&["zip_with"], &[Typed, Typed]),
];

impl Takes {
    fn accepts(self, given: &DataType) -> bool {
        if *given == DataType::Null {
            return self != Typed && self != Place;
        }
        match self {
            Any | Typed => true,
            Text => *given == DataType::Utf8,
            Flag => *given == DataType::Boolean,
            Day => *given == DataType::Date32,
            Instant => matches!(given, DataType::Timestamp(..)),
            Int => *given == DataType::Int32,
            Place => coerce::is_integral(given) && *given != DataType::Int64,
            Number => coerce::is_numeric(given),
            IntOrText => matches!(given, DataType::Int32 | DataType::Utf8),
            Texts => matches!(given, DataType::List(_)),
        }
    }

    fn required(self) -> &'static str {
        match self {
            Any | Typed => "another type",
            Text => "\"STRING\"",
            Flag => "\"BOOLEAN\"",
            Day => "\"DATE\"",
            Instant => "\"TIMESTAMP\"",
            Int => "\"INT\"",
            Place => "(\"TINYINT\" or \"SMALLINT\" or \"INT\")",
            Number => "\"NUMERIC\"",
            IntOrText => "(\"INT\" or \"STRING\")",
            Texts => "\"ARRAY<STRING>\"",
        }
    }
}

/// Refuses arguments of other types than the function takes.
///
/// # Errors
/// `DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE`.
pub(crate) fn check(call: &Call<'_>) -> Result<()> {
    let named = |names: &&[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(call.name));
    let Some((_, takes)) = EXACT.iter().find(|(names, _)| named(names)) else { return Ok(()) };
    for (arg, takes) in call.args.iter().zip(*takes) {
        let Arg::Value(expr) = arg else { continue };
        let takes = if *takes == Place && !is_array(call)? { Any } else { *takes };
        let given = call.type_of(expr)?;
        if !takes.accepts(&given) {
            return Err(coerce::unexpected(expr, &given, takes.required()));
        }
    }
    Ok(())
}

fn is_array(call: &Call<'_>) -> Result<bool> {
    match call.args.first() {
        Some(Arg::Value(expr)) => Ok(matches!(call.type_of(expr)?, DataType::List(_))),
        _ => Ok(false),
    }
}
