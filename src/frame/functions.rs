//! Spark's functions for columns, by name: `upper("name")`, `count("*")`, `window("ts", "10 minutes")`.
//!
//! In: columns (a text is a column's name) and plain values where Spark takes plain values. Out: a column with a call.
//! Every function of SQL can be called with [`super::call_function`]; here are those that programs use by name. Whether a
//! function exists and its arguments fit is checked when the column is used.

use super::column::{Column, IntoOperand, call_function, col, expr, lit};

/// Functions without arguments.
macro_rules! nullary {
    ($($name:ident)*) => {$(
        #[doc = concat!("Spark's `", stringify!($name), "()`.")]
        pub fn $name() -> Column {
            call_function(stringify!($name), std::iter::empty::<Column>())
        }
    )*};
}

/// Functions of one column.
macro_rules! unary {
    ($($name:ident)*) => {$(
        #[doc = concat!("Spark's `", stringify!($name), "(column)`.")]
        pub fn $name(column: impl Into<Column>) -> Column {
            call_function(stringify!($name), [column.into()])
        }
    )*};
}

/// Functions of two columns.
macro_rules! binary {
    ($($name:ident)*) => {$(
        #[doc = concat!("Spark's `", stringify!($name), "(left, right)`.")]
        pub fn $name(left: impl Into<Column>, right: impl Into<Column>) -> Column {
            call_function(stringify!($name), [left.into(), right.into()])
        }
    )*};
}

/// Functions of any number of columns.
macro_rules! variadic {
    ($($name:ident)*) => {$(
        #[doc = concat!("Spark's `", stringify!($name), "(columns...)`.")]
        pub fn $name(columns: impl IntoIterator<Item = impl Into<Column>>) -> Column {
            call_function(stringify!($name), columns)
        }
    )*};
}

/// Functions of a column and plain values.
macro_rules! with_values {
    ($($name:ident ( $($value:ident),* );)*) => {$(
        #[doc = concat!("Spark's `", stringify!($name), "(column, ", stringify!($($value),*), ")`.")]
        pub fn $name(column: impl Into<Column>, $($value: impl IntoOperand),*) -> Column {
            call_function(stringify!($name), [column.into(), $($value.into_operand()),*])
        }
    )*};
}

/// A call of a function by name, one registered with [`crate::session::Session::register_udf`] or Spark's own.
pub fn call_udf(name: &str, columns: impl IntoIterator<Item = impl Into<Column>>) -> Column {
    call_function(name, columns)
}

nullary! {
    current_timestamp current_date now rand randn uuid pi e input_file_name monotonically_increasing_id
    current_user current_database row_number rank dense_rank percent_rank cume_dist
}

unary! {
    lower upper trim ltrim rtrim length char_length octet_length bit_length reverse initcap ascii base64 unbase64 hex unhex
    md5 sha1 crc32 soundex
    abs sqrt cbrt exp expm1 ln log2 log10 log1p floor ceil signum sin cos tan asin acos atan sinh cosh tanh degrees radians
    factorial bin rint negative positive isnull isnotnull isnan
    explode explode_outer posexplode posexplode_outer inline inline_outer
    size cardinality array_distinct array_max array_min array_compact flatten map_keys map_values map_entries
    map_from_entries shuffle
    year quarter month day dayofmonth dayofweek dayofyear weekday weekofyear hour minute second last_day unix_date
    unix_micros unix_millis unix_seconds timestamp_micros timestamp_millis timestamp_seconds
    to_date to_timestamp to_json schema_of_json json_array_length json_object_keys to_csv
    sum avg mean min max first last any_value collect_list collect_set stddev stddev_pop stddev_samp variance var_pop
    var_samp skewness kurtosis median mode approx_count_distinct count_if bool_and bool_or every some bit_and bit_or
    bit_xor product first_value last_value grouping
    window_time
}

binary! {
    pow atan2 hypot nullif ifnull nvl equal_null date_diff datediff months_between array_union array_intersect
    array_except arrays_overlap map_from_arrays corr covar_pop covar_samp max_by min_by levenshtein
    regr_slope regr_intercept regr_r2 regr_count
}

variadic! { coalesce concat greatest least array map hash xxhash64 arrays_zip map_concat }

with_values! {
    split(pattern);
    substring(start, length);
    substring_index(delimiter, count);
    regexp_extract(pattern, group);
    regexp_extract_all(pattern, group);
    regexp_replace(pattern, replacement);
    regexp_like(pattern);
    replace(search, replacement);
    translate(from, to);
    lpad(length, pad);
    rpad(length, pad);
    repeat(count);
    left(length);
    right(length);
    instr(text);
    startswith(text);
    endswith(text);
    contains(text);
    sha2(bits);
    round(scale);
    bround(scale);
    element_at(key);
    get(index);
    array_contains(value);
    array_position(value);
    array_remove(value);
    array_join(separator);
    array_repeat(count);
    sort_array(ascending);
    slice(start, length);
    get_json_object(path);
    date_format(format);
    date_add(days);
    date_sub(days);
    add_months(months);
    next_day(day);
    trunc(unit);
    from_unixtime(format);
    from_utc_timestamp(zone);
    to_utc_timestamp(zone);
    percentile_approx(percentage);
    percentile(percentage);
    lag(offset);
    lead(offset);
    nth_value(offset);
    from_json(schema);
    from_csv(schema);
    encode(charset);
    decode(charset);
    conv(from_base, to_base);
    width_bucket(low, high, buckets);
}

/// Number of rows where the column is not null; of all rows for `"*"`.
pub fn count(column: impl Into<Column>) -> Column {
    call_function("count", [column.into()])
}

/// Number of different values, nulls left out; of combinations if several columns are given.
pub fn count_distinct(columns: impl IntoIterator<Item = impl Into<Column>>) -> Column {
    call_function("count", columns).distinct()
}

/// Sum of the different values.
pub fn sum_distinct(column: impl Into<Column>) -> Column {
    call_function("sum", [column.into()]).distinct()
}

/// `date_trunc(unit, time)`: the time cut to a unit such as `"hour"`.
pub fn date_trunc(unit: &str, time: impl Into<Column>) -> Column {
    call_function("date_trunc", [lit(unit), time.into()])
}

/// Seconds since 1970 of a time given as text in a pattern.
pub fn unix_timestamp(text: impl Into<Column>, pattern: &str) -> Column {
    call_function("unix_timestamp", [text.into(), lit(pattern)])
}

/// A time read from text in a pattern such as `"yyyy-MM-dd HH:mm:ss"`.
pub fn to_timestamp_with(text: impl Into<Column>, pattern: &str) -> Column {
    call_function("to_timestamp", [text.into(), lit(pattern)])
}

/// A date read from text in a pattern such as `"dd.MM.yyyy"`.
pub fn to_date_with(text: impl Into<Column>, pattern: &str) -> Column {
    call_function("to_date", [text.into(), lit(pattern)])
}

/// The texts with a separator between them, nulls left out.
pub fn concat_ws(separator: &str, columns: impl IntoIterator<Item = impl Into<Column>>) -> Column {
    call_function("concat_ws", std::iter::once(lit(separator)).chain(columns.into_iter().map(Into::into)))
}

/// The columns as arguments of a `printf` pattern.
pub fn format_string(pattern: &str, columns: impl IntoIterator<Item = impl Into<Column>>) -> Column {
    call_function("format_string", std::iter::once(lit(pattern)).chain(columns.into_iter().map(Into::into)))
}

/// A struct of the columns.
pub fn struct_(columns: impl IntoIterator<Item = impl Into<Column>>) -> Column {
    call_function("struct", columns)
}

/// The name of the column's type.
pub fn type_of(column: impl Into<Column>) -> Column {
    call_function("typeof", [column.into()])
}

/// A struct with fields of these names.
pub fn named_struct(fields: impl IntoIterator<Item = (&'static str, Column)>) -> Column {
    call_function("named_struct", fields.into_iter().flat_map(|(name, column)| [lit(name), column]))
}

/// The row's windows of this length (`"10 minutes"`), one behind the other, as a struct `start`, `end`.
pub fn window(time: impl Into<Column>, length: &str) -> Column {
    call_function("window", [time.into(), lit(length)])
}

/// The row's windows of this length that begin every `slide`.
pub fn sliding_window(time: impl Into<Column>, length: &str, slide: &str) -> Column {
    call_function("window", [time.into(), lit(length), lit(slide)])
}

/// As [`sliding_window`], the windows beginning `start` after each multiple of `slide` since 1970.
pub fn sliding_window_from(time: impl Into<Column>, length: &str, slide: &str, start: &str) -> Column {
    call_function("window", [time.into(), lit(length), lit(slide), lit(start)])
}

/// The row's session: rows of one group that follow each other within `gap` (a text such as `"5 minutes"`, or a column
/// with an interval).
pub fn session_window(time: impl Into<Column>, gap: impl IntoOperand) -> Column {
    call_function("session_window", [time.into(), gap.into_operand()])
}

/// The column, its rows marked as small enough to be sent to every worker: kept for programs written for Spark.
pub fn broadcast(frame: &super::DataFrame) -> super::DataFrame {
    frame.clone()
}

/// Spark's `column`: the same as [`col`].
pub fn column(name: &str) -> Column {
    col(name)
}

/// All columns, for `count(all())`.
pub fn all() -> Column {
    expr("*")
}
