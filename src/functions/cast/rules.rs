//! Which casts there are, and which of them may fail on some data.

use arrow::datatypes::{DataType, IntervalUnit};

use super::Mode;
use crate::functions::coerce::{
    is_ansi_interval, is_datetime, is_decimal, is_floating, is_integral, is_numeric, is_string, type_name,
};
use crate::types::is_variant;
use crate::variant::can_become;
use crate::{Error, Result};

/// Refuses a cast that does not exist in this mode.
///
/// # Errors
/// `DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION`, `.CAST_WITH_CONF_SUGGESTION`, `.CAST_WITH_FUNC_SUGGESTION`.
pub(super) fn check(from: &DataType, to: &DataType, mode: Mode) -> Result<()> {
    let ansi = mode != Mode::Legacy;
    if exists(from, to, ansi) {
        return Ok(());
    }
    let message = format!("cannot cast {} to {}", type_name(from), type_name(to));
    if let Some(function) = suggestion(from, to).filter(|_| ansi) {
        return Err(Error::query("DATATYPE_MISMATCH.CAST_WITH_FUNC_SUGGESTION", message)
            .hint(format!("Use {function} instead.")));
    }
    if ansi && exists(from, to, false) {
        return Err(Error::query("DATATYPE_MISMATCH.CAST_WITH_CONF_SUGGESTION", message)
            .hint("Set spark.sql.ansi.enabled to false to allow it."));
    }
    Err(Error::query("DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION", message))
}

fn suggestion(from: &DataType, to: &DataType) -> Option<&'static str> {
    match (from, to) {
        (DataType::Date32, to) if is_numeric(to) => Some("UNIX_DATE"),
        (from, DataType::Date32) if is_numeric(from) => Some("DATE_FROM_UNIX_DATE"),
        _ => None,
    }
}

fn exists(from: &DataType, to: &DataType, ansi: bool) -> bool {
    match (from, to) {
        _ if from == to || *from == DataType::Null || *to == DataType::Utf8 => true,
        (from, to) if is_variant(from) => {
            !is_variant(to) && !matches!(to, DataType::Interval(_) | DataType::Duration(_) | DataType::Null)
        }
        (from, to) if is_variant(to) => can_become(from, false),
        (DataType::List(a), DataType::List(b)) | (DataType::Map(a, _), DataType::Map(b, _)) => {
            exists(a.data_type(), b.data_type(), ansi)
        }
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| exists(a.data_type(), b.data_type(), ansi))
        }
        (from, to) if is_string(from) => is_target_of_text(to),
        (from, to) => plain(from, to, ansi),
    }
}

fn is_target_of_text(to: &DataType) -> bool {
    is_numeric(to)
        || is_datetime(to)
        || is_ansi_interval(to)
        || matches!(to, DataType::Boolean | DataType::Binary | DataType::Interval(_))
}

fn plain(from: &DataType, to: &DataType, ansi: bool) -> bool {
    let is_bool = |data_type: &DataType| *data_type == DataType::Boolean;
    let is_timestamp = |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, Some(_)));
    match (from, to) {
        (from, to) if is_numeric(from) && (is_numeric(to) || is_bool(to) || is_timestamp(to)) => true,
        (from, to) if is_bool(from) => is_numeric(to) || (!ansi && is_timestamp(to)),
        (from, to) if is_datetime(from) && is_datetime(to) => true,
        (from, to) if is_timestamp(from) => is_numeric(to) || (!ansi && is_bool(to)),
        (from, DataType::Binary) if is_integral(from) => !ansi,
        (DataType::Date32, to) => !ansi && (is_numeric(to) || is_bool(to)),
        (DataType::Duration(_), to) | (DataType::Interval(IntervalUnit::YearMonth), to) => {
            is_integral(to) || is_decimal(to)
        }
        (from, DataType::Duration(_) | DataType::Interval(IntervalUnit::YearMonth)) => {
            is_integral(from) || is_decimal(from)
        }
        _ => false,
    }
}

/// Whether a value may be refused under ANSI.
pub(super) fn may_fail(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (from, _) if is_variant(from) => true,
        (DataType::Null, _) | (_, DataType::Utf8 | DataType::Boolean) if !is_string(from) => false,
        (_, DataType::Float32 | DataType::Float64) if !is_string(from) => false,
        (from, to) if is_integral(from) && is_integral(to) => from.primitive_width() > to.primitive_width(),
        (from, to) if is_integral(from) && is_decimal(to) => true,
        (DataType::Boolean, to) => is_decimal(to),
        (from, to) if is_datetime(from) && is_datetime(to) => false,
        (from, to) if is_floating(from) && is_integral(to) => true,
        _ => true,
    }
}
