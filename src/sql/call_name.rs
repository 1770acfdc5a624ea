//! How Spark writes calls in the names of columns: `LOG10(x)`, `substring(k, 1, 2147483647)`, `collect_list(v)`.
//!
//! In comes a function's name as written and the texts of its arguments, out goes the call's text: under the name Spark
//! shows, with the defaults of arguments that were left out, without those it never shows (schemas, options, flags).
//! Everything is data: a function with a habit of its own is one line in one of the tables.

/// Functions shown under another name than the one they are called by.
const RENAMED: &[(&str, &str)] = &[
    ("array_agg", "collect_list"),
    ("curdate", "current_date"),
    ("current_database", "current_schema"),
    ("dateadd", "date_add"),
    ("e", "E"),
    ("pi", "PI"),
    ("rand", "rand"),
    ("random", "rand"),
    ("to_varchar", "to_char"),
];

/// Functions shown in capitals.
const CAPITALS: &[&str] = &[
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "cot",
    "csc",
    "degrees",
    "dense_rank",
    "exp",
    "expm1",
    "floor",
    "hypot",
    "log",
    "log10",
    "log1p",
    "log2",
    "percent_rank",
    "power",
    "radians",
    "rank",
    "regexp",
    "regexp_like",
    "rlike",
    "sec",
    "signum",
    "sin",
    "sinh",
    "spark_partition_id",
    "sqrt",
    "tan",
    "tanh",
];

/// Arguments that may be left out: how many come before them, and their defaults.
const DEFAULTS: &[(&str, usize, &[&str])] = &[
    ("aes_decrypt", 2, &["GCM", "DEFAULT", ""]),
    ("aes_encrypt", 2, &["GCM", "DEFAULT", "", ""]),
    ("approx_percentile", 2, &["10000"]),
    ("from_unixtime", 1, &[TIME_PATTERN]),
    ("hmac", 2, &["SHA-256"]),
    ("lag", 1, &["1", "NULL"]),
    ("lead", 1, &["1", "NULL"]),
    ("listagg", 1, &["NULL"]),
    ("locate", 2, &["1"]),
    ("lpad", 2, &[" "]),
    ("make_dt_interval", 0, &["0", "0", "0", "0.000000"]),
    ("make_interval", 0, &["0", "0", "0", "0", "0", "0", "0.000000"]),
    ("make_ym_interval", 0, &["0", "0"]),
    ("mask", 1, &["X", "x", "n", "NULL"]),
    ("months_between", 2, &["true"]),
    ("percentile", 2, &["1"]),
    ("percentile_approx", 2, &["10000"]),
    ("position", 2, &["1"]),
    ("regexp_extract", 2, &["1"]),
    ("regexp_extract_all", 2, &["1"]),
    ("regexp_instr", 2, &["0"]),
    ("regexp_replace", 3, &["1"]),
    ("round", 1, &["0"]),
    ("bround", 1, &["0"]),
    ("rpad", 2, &[" "]),
    ("sentences", 1, &["", ""]),
    ("sort_array", 1, &["true"]),
    ("split", 2, &["-1"]),
    ("str_to_map", 1, &[",", ":"]),
    ("string_agg", 1, &["NULL"]),
    ("substr", 2, &[MOST]),
    ("substring", 2, &[MOST]),
    ("to_unix_timestamp", 1, &[TIME_PATTERN]),
    ("try_aes_decrypt", 2, &["GCM", "DEFAULT", ""]),
    ("try_make_interval", 0, &["0", "0", "0", "0", "0", "0", "0.000000"]),
    ("unix_timestamp", 0, &["current_timestamp()", TIME_PATTERN]),
    ("variant_set", 3, &["true"]),
    ("try_variant_set", 3, &["true"]),
    ("variant_strip_nulls", 1, &["true"]),
];

const TIME_PATTERN: &str = "yyyy-MM-dd HH:mm:ss";
const MOST: &str = "2147483647";

/// Functions of which only the first arguments are shown, and how many.
const SHOWN: &[(&str, usize)] = &[
    ("any_value", 1),
    ("approx_count_distinct", 1),
    ("first", 1),
    ("first_value", 1),
    ("from_csv", 1),
    ("from_json", 1),
    ("last", 1),
    ("last_value", 1),
    ("mode", 1),
    ("schema_of_csv", 1),
    ("schema_of_json", 1),
    ("to_csv", 1),
    ("to_json", 1),
    ("try_variant_get", 2),
    ("variant_get", 2),
];

/// Functions that are casts; as casts that nobody wrote they do not show.
const CASTS: &[&str] = &[
    "bigint",
    "binary",
    "boolean",
    "date",
    "decimal",
    "double",
    "float",
    "int",
    "smallint",
    "string",
    "timestamp",
    "tinyint",
];

/// What `array_sort` compares with if it is not told.
const NATURAL_ORDER: &str = "lambdafunction((IF(((namedlambdavariable() IS NULL) AND (namedlambdavariable() IS NULL)), 0, \
     (IF((namedlambdavariable() IS NULL), 1, (IF((namedlambdavariable() IS NULL), -1, \
     (IF((namedlambdavariable() < namedlambdavariable()), -1, \
     (IF((namedlambdavariable() > namedlambdavariable()), 1, 0)))))))))), namedlambdavariable(), namedlambdavariable())";

const IDENTITY: &str = "lambdafunction(namedlambdavariable(), namedlambdavariable())";

/// The text of a call of `name` (in lower case); `prefix` stands before the arguments (`DISTINCT `).
pub(super) fn call_text(name: &str, prefix: &str, mut args: Vec<String>) -> String {
    if let Some(text) = other_form(name, &args) {
        return text;
    }
    match name {
        "aggregate" | "reduce" if args.len() == 3 => args.push(IDENTITY.to_owned()),
        "array_sort" if args.len() == 1 => args.push(NATURAL_ORDER.to_owned()),
        "convert_timezone" if args.len() == 2 => args.insert(0, "current_timezone()".to_owned()),
        "log" if args.len() == 1 => args.insert(0, "E()".to_owned()),
        _ => complete(name, &mut args),
    }
    format!("{}({prefix}{})", shown_name(name, args.len()), args.join(", "))
}

/// Calls that are not shown as calls of one name.
fn other_form(name: &str, args: &[String]) -> Option<String> {
    Some(match (name, args) {
        ("if", args) => format!("(IF({}))", args.join(", ")),
        ("isnull", [arg]) => format!("({arg} IS NULL)"),
        ("isnotnull", [arg]) => format!("({arg} IS NOT NULL)"),
        ("positive", [arg]) => format!("(+ {arg})"),
        ("datepart", [field, source]) => format!("datepart({field} FROM {source})"),
        ("ltrim", [what, text]) => format!("TRIM(LEADING {what} FROM {text})"),
        ("rtrim", [what, text]) => format!("TRIM(TRAILING {what} FROM {text})"),
        ("raise_error", [message]) => {
            format!("raise_error(USER_RAISED_EXCEPTION, map(errorMessage, {message}))")
        }
        ("assert_true", [condition]) => format!("assert_true({condition}, '{condition}' is not true!)"),
        (name, [arg]) if CASTS.contains(&name) => arg.clone(),
        _ => return None,
    })
}

/// Adds the defaults, takes away what is not shown.
fn complete(name: &str, args: &mut Vec<String>) {
    if let Some((_, shown)) = SHOWN.iter().find(|(known, _)| *known == name) {
        args.truncate(*shown);
    }
    if let Some((_, required, defaults)) = DEFAULTS.iter().find(|(known, ..)| *known == name)
        && let Some(given) = args.len().checked_sub(*required)
    {
        args.extend(defaults.iter().skip(given).map(|default| (*default).to_owned()));
    }
}

fn shown_name(name: &str, args: usize) -> String {
    if CAPITALS.contains(&name) {
        return name.to_ascii_uppercase();
    }
    match (name, args) {
        ("dateadd" | "date_add", 3) => "timestampadd".to_owned(),
        ("datediff" | "date_diff", 3) => "timestampdiff".to_owned(),
        _ => RENAMED.iter().find(|(known, _)| *known == name).map_or(name, |(_, shown)| shown).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, args: &[&str], text: &str) {
        assert_eq!(call_text(name, "", args.iter().map(|arg| (*arg).to_owned()).collect()), text);
    }

    #[test]
    fn defaults_are_shown_and_options_are_not() {
        check("substring", &["k", "1"], "substring(k, 1, 2147483647)");
        check("substring", &["k", "1", "2"], "substring(k, 1, 2)");
        check("unix_timestamp", &[], "unix_timestamp(current_timestamp(), yyyy-MM-dd HH:mm:ss)");
        check("make_interval", &["100", "NULL", "3"], "make_interval(100, NULL, 3, 0, 0, 0, 0.000000)");
        check("to_json", &["struct(k)", "map(a, b)"], "to_json(struct(k))");
        check("log", &["d"], "LOG(E(), d)");
    }

    #[test]
    fn names_are_those_that_spark_shows() {
        check("array_agg", &["v"], "collect_list(v)");
        check("dateadd", &["dt", "1"], "date_add(dt, 1)");
        check("dateadd", &["DAY", "1", "ts"], "timestampadd(DAY, 1, ts)");
        check("sqrt", &["4"], "SQRT(4)");
        check("upper", &["k"], "upper(k)");
        check("int", &["k"], "k");
    }
}
