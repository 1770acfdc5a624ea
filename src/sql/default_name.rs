//! Spark's own names for columns that were given none: `count(1)`, `(a + 1)`, `upper(name)`, `CAST(x AS INT)`.
//!
//! In comes the tree as written, out goes its text by Spark's rules: implicit casts do not show, strings stand without
//! quotes, operators in parentheses.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DuplicateTreatment, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, LambdaFunction, Subscript, TrimWhereField, UnaryOperator, Value, WindowType,
    visit_expressions_mut,
};

use super::call_name::call_text;

/// The name of the column this expression makes.
pub fn default_name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => constant_function(&name.value).unwrap_or_else(|| name.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()).unwrap_or_default(),
        Expr::CompoundFieldAccess { root, access_chain } => access(root, access_chain),
        Expr::Nested(inner) => default_name(inner),
        Expr::Cast { expr: column, .. } if is_column(column) => default_name(column),
        _ => text(expr),
    }
}

fn constant_function(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    matches!(lower.as_str(), "current_date" | "current_timestamp" | "localtimestamp" | "current_user")
        .then(|| format!("{lower}()"))
}

/// A column, or a field of one: a cast of it keeps its name.
fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_column(inner),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => true,
        _ => false,
    }
}

/// `a.b[0].c` is called `c`; `a.b[0]` is `a.b[0]`.
fn access(root: &Expr, chain: &[AccessExpr]) -> String {
    match chain.last() {
        Some(AccessExpr::Dot(Expr::Identifier(name))) if is_path(root, chain) => name.value.clone(),
        _ => access_text(root, chain),
    }
}

fn is_path(root: &Expr, chain: &[AccessExpr]) -> bool {
    is_column(root) && chain.iter().all(|step| matches!(step, AccessExpr::Dot(_)))
}

fn access_text(root: &Expr, chain: &[AccessExpr]) -> String {
    let mut out = text(root);
    for step in chain {
        match step {
            AccessExpr::Dot(name) => out.push_str(&format!(".{}", text(name))),
            AccessExpr::Subscript(Subscript::Index { index }) => out.push_str(&format!("[{}]", text(index))),
            other => out.push_str(&other.to_string()),
        }
    }
    out
}

/// The text of an expression within another.
fn text(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(_) => default_name(expr),
        Expr::CompoundIdentifier(parts) => parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join("."),
        Expr::CompoundFieldAccess { root, access_chain } => access_text(root, access_chain),
        Expr::Nested(inner) => text(inner),
        Expr::Value(value) => literal(&value.value),
        Expr::TypedString(typed) => format!("{} '{}'", typed.data_type, literal(&typed.value.value)),
        Expr::BinaryOp { left, op, right } => binary(left, op, right),
        Expr::UnaryOp { op, expr } => unary(*op, expr),
        Expr::Cast { kind, expr, data_type, .. } => cast(kind, expr, data_type),
        Expr::Function(call) => function(call),
        Expr::Case { operand, conditions, else_result, .. } => {
            case(operand.as_deref(), conditions, else_result.as_deref())
        }
        Expr::Named { name, .. } => name.value.clone(),
        _ => predicate(expr),
    }
}

fn texts<'a>(exprs: impl IntoIterator<Item = &'a Expr>) -> String {
    exprs.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

fn literal(value: &Value) -> String {
    match value {
        Value::Number(text, _) => number(text),
        Value::Null => "NULL".into(),
        Value::Boolean(value) => value.to_string(),
        Value::HexStringLiteral(hex) => {
            format!("X'{}{}'", if hex.len() % 2 == 0 { "" } else { "0" }, hex.to_ascii_uppercase())
        }
        other => other.clone().into_string().unwrap_or_else(|| other.to_string()),
    }
}

fn number(text: &str) -> String {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E');
    let is_double = text.ends_with(['D', 'F']) || (text == digits && text.contains(['e', 'E']));
    match digits.parse::<f64>() {
        Ok(value) if is_double => crate::functions::cast::show::double_text(value),
        _ => digits.to_owned(),
    }
}

fn binary(left: &Expr, op: &BinaryOperator, right: &Expr) -> String {
    let moves = matches!(op, BinaryOperator::Plus | BinaryOperator::Minus);
    let is_time_moved = moves && matches!(right, Expr::Interval(_)) && !matches!(left, Expr::Interval(_));
    let (left, right) = (text(left), text(right));
    match op {
        op if is_time_moved => format!("{left} {op} {right}"),
        BinaryOperator::NotEq => format!("(NOT ({left} = {right}))"),
        BinaryOperator::StringConcat => format!("concat({left}, {right})"),
        BinaryOperator::Spaceship => format!("({left} <=> {right})"),
        BinaryOperator::MyIntegerDivide => format!("({left} div {right})"),
        op => format!("({left} {op} {right})"),
    }
}

fn unary(op: UnaryOperator, expr: &Expr) -> String {
    let inner = text(expr);
    match op {
        UnaryOperator::Not | UnaryOperator::BangNot => format!("(NOT {inner})"),
        UnaryOperator::Minus if matches!(expr, Expr::Value(_)) => format!("-{inner}"),
        UnaryOperator::BitwiseNot => format!("~{inner}"),
        op => format!("({op} {inner})"),
    }
}

fn cast(kind: &CastKind, expr: &Expr, data_type: &ast::DataType) -> String {
    let written = data_type.to_string();
    let target = crate::types::parse_type(&written).map_or(written, |data_type| crate::types::sql_name(&data_type));
    let word = if matches!(kind, CastKind::TryCast) { "TRY_CAST" } else { "CAST" };
    format!("{word}({} AS {target})", text(expr))
}

fn case(operand: Option<&Expr>, conditions: &[ast::CaseWhen], otherwise: Option<&Expr>) -> String {
    let mut out = String::from("CASE");
    for when in conditions {
        let condition = match operand {
            Some(operand) => format!("({} = {})", text(operand), text(&when.condition)),
            None => text(&when.condition),
        };
        out.push_str(&format!(" WHEN {condition} THEN {}", text(&when.result)));
    }
    if let Some(otherwise) = otherwise {
        out.push_str(&format!(" ELSE {}", text(otherwise)));
    }
    out + " END"
}

fn negated_if(negated: bool, text: String) -> String {
    if negated { format!("(NOT {text})") } else { text }
}

fn predicate(expr: &Expr) -> String {
    match expr {
        Expr::IsNull(inner) | Expr::IsUnknown(inner) => format!("({} IS NULL)", text(inner)),
        Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => format!("({} IS NOT NULL)", text(inner)),
        Expr::IsTrue(inner) => format!("({} <=> true)", text(inner)),
        Expr::IsFalse(inner) => format!("({} <=> false)", text(inner)),
        Expr::IsNotTrue(inner) => format!("(NOT ({} <=> true))", text(inner)),
        Expr::IsNotFalse(inner) => format!("(NOT ({} <=> false))", text(inner)),
        Expr::IsDistinctFrom(left, right) => format!("(NOT ({} <=> {}))", text(left), text(right)),
        Expr::IsNotDistinctFrom(left, right) => format!("({} <=> {})", text(left), text(right)),
        Expr::InList { expr, list, negated } => negated_if(*negated, format!("({} IN ({}))", text(expr), texts(list))),
        Expr::Between { expr, negated, low, high } => {
            negated_if(*negated, format!("between({}, {}, {})", text(expr), text(low), text(high)))
        }
        Expr::Like { negated, expr, pattern, escape_char, .. } => {
            let escape = escape_char.as_ref().map(|escape| format!(" ESCAPE '{}'", literal(&escape.value)));
            let like = format!("{} LIKE {}{}", text(expr), text(pattern), escape.unwrap_or_default());
            negated_if(*negated, like)
        }
        Expr::ILike { negated, expr, pattern, .. } => {
            negated_if(*negated, format!("ilike({}, {})", text(expr), text(pattern)))
        }
        Expr::RLike { negated, expr, pattern, .. } => {
            negated_if(*negated, format!("RLIKE({}, {})", text(expr), text(pattern)))
        }
        Expr::Interval(interval) => self::interval(interval),
        _ => keyword_call(expr),
    }
}

/// As Spark prints its value; as it was written if it is no interval.
fn interval(interval: &ast::Interval) -> String {
    let value =
        super::literal::interval(interval).ok().and_then(|value| crate::functions::interval::literal_text(&value));
    value.unwrap_or_else(|| written_interval(interval))
}

fn written_interval(interval: &ast::Interval) -> String {
    let fields = [&interval.leading_field, &interval.last_field].into_iter().flatten().map(ToString::to_string);
    format!("INTERVAL '{}' {}", text(&interval.value).trim(), fields.collect::<Vec<_>>().join(" TO "))
        .trim_end()
        .to_owned()
}

fn keyword_call(expr: &Expr) -> String {
    match expr {
        Expr::Extract { field, expr, .. } => format!("extract({field} FROM {})", text(expr)),
        Expr::Position { expr, r#in } => format!("locate({}, {}, 1)", text(expr), text(r#in)),
        Expr::Substring { expr, substring_from, substring_for, shorthand, .. } => {
            let args = [Some(expr), substring_from.as_ref(), substring_for.as_ref()];
            let args = args.into_iter().flatten().map(|arg| text(arg)).collect();
            call_text(if *shorthand { "substr" } else { "substring" }, "", args)
        }
        Expr::Trim { trim_where, trim_what, expr, .. } => trim(trim_where.as_ref(), trim_what.as_deref(), expr),
        Expr::Ceil { expr, field } => call_text("ceil", "", with_scale(expr, field)),
        Expr::Floor { expr, field } => call_text("floor", "", with_scale(expr, field)),
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let length = overlay_for.as_deref().map_or("-1".to_owned(), text);
            format!("overlay({}, {}, {}, {length})", text(expr), text(overlay_what), text(overlay_from))
        }
        Expr::Exists { negated, .. } => negated_if(*negated, "exists()".into()),
        Expr::InSubquery { expr, negated, .. } => negated_if(*negated, format!("({} IN (listquery()))", text(expr))),
        Expr::Subquery(_) => "scalarsubquery()".into(),
        other => other.to_string(),
    }
}

fn with_scale(expr: &Expr, field: &CeilFloorKind) -> Vec<String> {
    match field {
        CeilFloorKind::Scale(scale) => vec![text(expr), literal(&scale.value)],
        CeilFloorKind::DateTimeField(_) => vec![text(expr)],
    }
}

fn trim(place: Option<&TrimWhereField>, what: Option<&Expr>, from: &Expr) -> String {
    let place = place.unwrap_or(&TrimWhereField::Both);
    match (place, what) {
        (place, Some(what)) => format!("TRIM({place} {} FROM {})", text(what), text(from)),
        (TrimWhereField::Both, None) => format!("trim({})", text(from)),
        (TrimWhereField::Leading, None) => format!("ltrim({})", text(from)),
        (TrimWhereField::Trailing, None) => format!("rtrim({})", text(from)),
    }
}

fn function(call: &ast::Function) -> String {
    let name = call.name.to_string().replace('`', "").to_ascii_lowercase();
    let (prefix, args) = arguments(&call.args);
    let mut out = call_text(&name, prefix, args);
    if !call.within_group.is_empty() {
        out.push_str(&format!(" WITHIN GROUP (ORDER BY {})", group_order(&name, &call.within_group)));
    }
    if let Some(filter) = &call.filter {
        out.push_str(&format!(" FILTER (WHERE {})", text(filter)));
    }
    if let Some(window) = &call.over {
        out.push_str(&over(&name, window));
    }
    out
}

/// Percentiles and modes show the direction only if it is downwards, lists always and with the place of nulls.
fn group_order(name: &str, keys: &[ast::OrderByExpr]) -> String {
    let key = |key: &ast::OrderByExpr| match (name, key.options.asc) {
        ("listagg" | "string_agg", _) => sort_key(key),
        (_, Some(false)) => format!("{} DESC", text(&key.expr)),
        _ => text(&key.expr),
    };
    keys.iter().map(key).collect::<Vec<_>>().join(", ")
}

fn arguments(args: &FunctionArguments) -> (&'static str, Vec<String>) {
    let FunctionArguments::List(list) = args else { return ("", Vec::new()) };
    let distinct = if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) { "DISTINCT " } else { "" };
    (distinct, list.args.iter().map(argument).collect())
}

fn argument(arg: &FunctionArg) -> String {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Lambda(lambda))) => self::lambda(lambda),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Named { expr, name })) => {
            format!("{} AS {}", text(expr), name.value)
        }
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => text(expr),
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => "1".into(),
        other => other.to_string(),
    }
}

/// Spark shows a lambda's parameters without their names.
fn lambda(lambda: &LambdaFunction) -> String {
    const PARAMETER: &str = "namedlambdavariable()";
    let names: Vec<&str> = lambda.params.iter().map(|parameter| parameter.name.value.as_str()).collect();
    let is_parameter = |name: &Ident| names.iter().any(|known| known.eq_ignore_ascii_case(&name.value));
    let mut body = lambda.body.as_ref().clone();
    let _: ControlFlow<()> = visit_expressions_mut(&mut body, |expr| {
        match expr {
            Expr::Identifier(name) if is_parameter(name) => *name = Ident::new(PARAMETER),
            Expr::CompoundIdentifier(parts) => {
                parts
                    .first_mut()
                    .filter(|name| is_parameter(name))
                    .into_iter()
                    .for_each(|name| *name = Ident::new(PARAMETER));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    format!("lambdafunction({}, {})", text(&body), vec![PARAMETER; names.len()].join(", "))
}

fn over(name: &str, window: &WindowType) -> String {
    let WindowType::WindowSpec(spec) = window else { return format!(" OVER {window}") };
    let mut parts = Vec::new();
    if !spec.partition_by.is_empty() {
        parts.push(format!("PARTITION BY {}", texts(&spec.partition_by)));
    }
    if !spec.order_by.is_empty() {
        let keys: Vec<String> = spec.order_by.iter().map(sort_key).collect();
        parts.push(format!("ORDER BY {}", keys.join(", ")));
    }
    parts.push(spec.window_frame.as_ref().map_or_else(|| own_frame(name).to_owned(), frame));
    format!(" OVER ({})", parts.join(" "))
}

/// The frame of functions that have one of their own.
fn own_frame(name: &str) -> &'static str {
    match name {
        "row_number" | "rank" | "dense_rank" | "percent_rank" | "ntile" => {
            "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
        }
        "cume_dist" | "nth_value" => "RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        "lag" => "ROWS BETWEEN -1 FOLLOWING AND -1 FOLLOWING",
        "lead" => "ROWS BETWEEN 1 FOLLOWING AND 1 FOLLOWING",
        _ => "unspecifiedframe$()",
    }
}

fn sort_key(key: &ast::OrderByExpr) -> String {
    let ascending = key.options.asc.unwrap_or(true);
    let nulls_first = key.options.nulls_first.unwrap_or(ascending);
    let (direction, nulls) = (if ascending { "ASC" } else { "DESC" }, if nulls_first { "FIRST" } else { "LAST" });
    format!("{} {direction} NULLS {nulls}", text(&key.expr))
}

fn frame(frame: &ast::WindowFrame) -> String {
    let end = frame.end_bound.clone().unwrap_or(ast::WindowFrameBound::CurrentRow);
    format!("{} BETWEEN {} AND {end}", frame.units, frame.start_bound)
}
