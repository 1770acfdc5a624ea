//! Spark's types as Arrow types, and their texts.
//!
//! TIMESTAMP is `Timestamp(Microsecond, "UTC")`, TIMESTAMP_NTZ is `Timestamp(Microsecond, None)`, STRING is `Utf8`,
//! BINARY is `Binary`, DECIMAL(p,s) is `Decimal128`, DATE is `Date32`, day-time intervals are `Duration(Microsecond)`,
//! year-month intervals `Interval(YearMonth)`, calendar intervals `Interval(MonthDayNano)`, VOID is `Null`.
//! Every column is nullable, as in a Spark stream.
