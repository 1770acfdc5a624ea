//! Spark's own names for columns that were given none: `count(1)`, `(a + 1)`, `upper(name)`, `CAST(x AS INT)`.
//!
//! In comes the tree as written, out goes its text by Spark's rules: implicit casts do not show, strings stand without
//! quotes, operators in parentheses.

use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, BinaryOperator, CastKind, DuplicateTreatment, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, Subscript, UnaryOperator, Value, WindowType,
};

/// The name of the column this expression makes.
pub fn default_name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(name) => constant_function(&name.value).unwrap_or_else(|| name.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|part| part.value.clone()).unwrap_or_default(),
        Expr::CompoundFieldAccess { root, access_chain } => access(root, access_chain),
        _ => text(expr),
    }
}

fn constant_function(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    matches!(lower.as_str(), "current_date" | "current_timestamp" | "localtimestamp" | "current_user")
        .then(|| format!("{lower}()"))
}

/// `a.b[0].c` is called `c`; `a.b[0]` is `a.b[0]`.
fn access(root: &Expr, chain: &[AccessExpr]) -> String {
    match chain.last() {
        Some(AccessExpr::Dot(Expr::Identifier(name))) => name.value.clone(),
        _ => access_text(root, chain),
    }
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
        Value::HexStringLiteral(hex) => format!("X'{hex}'"),
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
    let (left, right) = (text(left), text(right));
    match op {
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
        Expr::Like { negated, expr, pattern, .. } => {
            negated_if(*negated, format!("{} LIKE {}", text(expr), text(pattern)))
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

fn interval(interval: &ast::Interval) -> String {
    let fields = [&interval.leading_field, &interval.last_field].into_iter().flatten().map(ToString::to_string);
    format!("INTERVAL '{}' {}", text(&interval.value).trim(), fields.collect::<Vec<_>>().join(" TO "))
        .trim_end()
        .to_owned()
}

fn keyword_call(expr: &Expr) -> String {
    match expr {
        Expr::Extract { field, expr, .. } => format!("extract({field} FROM {})", text(expr)),
        Expr::Position { expr, r#in } => format!("locate({}, {}, 1)", text(expr), text(r#in)),
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let args = [Some(expr), substring_from.as_ref(), substring_for.as_ref()];
            format!("substring({})", texts(args.into_iter().flatten().map(AsRef::as_ref)))
        }
        Expr::Trim { trim_where: None, trim_what: None, expr, .. } => format!("trim({})", text(expr)),
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let length = overlay_for.as_deref().map_or("-1".to_owned(), text);
            format!("overlay({}, {}, {}, {length})", text(expr), text(overlay_what), text(overlay_from))
        }
        Expr::Exists { .. } => "exists()".into(),
        Expr::Subquery(_) => "scalarsubquery()".into(),
        other => other.to_string(),
    }
}

fn function(call: &ast::Function) -> String {
    let name = call.name.to_string().replace('`', "").to_ascii_lowercase();
    let mut out = match name.as_str() {
        "if" => format!("(IF({}))", arguments(&call.args)),
        "isnull" => format!("({} IS NULL)", arguments(&call.args)),
        "isnotnull" => format!("({} IS NOT NULL)", arguments(&call.args)),
        _ => format!("{name}({})", arguments(&call.args)),
    };
    if let Some(filter) = &call.filter {
        out.push_str(&format!(" FILTER (WHERE {})", text(filter)));
    }
    if let Some(window) = &call.over {
        out.push_str(&over(window));
    }
    out
}

fn arguments(args: &FunctionArguments) -> String {
    let FunctionArguments::List(list) = args else { return String::new() };
    let distinct = if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) { "DISTINCT " } else { "" };
    let args: Vec<String> = list.args.iter().map(argument).collect();
    format!("{distinct}{}", args.join(", "))
}

fn argument(arg: &FunctionArg) -> String {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Lambda(_))) => "lambdafunction()".into(),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => text(expr),
        FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => "1".into(),
        other => other.to_string(),
    }
}

fn over(window: &WindowType) -> String {
    let WindowType::WindowSpec(spec) = window else { return format!(" OVER {window}") };
    let mut parts = Vec::new();
    if !spec.partition_by.is_empty() {
        parts.push(format!("PARTITION BY {}", texts(&spec.partition_by)));
    }
    if !spec.order_by.is_empty() {
        let keys: Vec<String> = spec.order_by.iter().map(sort_key).collect();
        parts.push(format!("ORDER BY {}", keys.join(", ")));
    }
    parts.push(spec.window_frame.as_ref().map_or("unspecifiedframe$()".into(), frame));
    format!(" OVER ({})", parts.join(" "))
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
