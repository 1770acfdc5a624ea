//! Calls: scalar functions, aggregates, and the calls that SQL spells with keywords (`EXTRACT(x FROM y)`).
//!
//! In comes a call's tree, out goes what its function's `bind` makes of the bound arguments. Scalar functions are in
//! `crate::functions`; aggregates and window functions are told apart here.

use arrow::datatypes::FieldRef;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Lambda;
use datafusion::sql::sqlparser::ast::{
    self, CeilFloorKind, DuplicateTreatment, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    LambdaFunction, NullTreatment, TrimWhereField, WildcardAdditionalOptions,
};

use super::expression::{Parameters, Scope, bind_expression};
use super::{item, literal, over, relation, resolve};
use crate::functions::user::{Registered, UserFunctions};
use crate::functions::{self, Arg, Call};
use crate::{Error, Result};

/// Binds a call.
///
/// # Errors
/// `UNRESOLVED_ROUTINE`, `WRONG_NUM_ARGS.*`, and those of the function.
pub(super) fn function(call: &ast::Function, scope: &Scope<'_>) -> Result<Expr> {
    let name = call.name.to_string().replace('`', "");
    if relation::is_identifier_clause(&call.name) {
        return identifier_clause(call, scope);
    }
    if let Some(window) = &call.over {
        return over::window_function(&name, call, window, scope);
    }
    if let Some(bound) = registered(&name, call, scope)? {
        return Ok(bound);
    }
    if let Some(function) = functions::lookup(&name) {
        refuse_aggregate_clauses(&name, call)?;
        let args = arguments(&name, &call.args, scope)?;
        return function.call(Call { name: &name, args, schema: scope.schema, conf: scope.conf });
    }
    let aggregate = aggregate(&name, call, scope)?;
    aggregate.ok_or_else(|| unresolved(&name, scope))
}

/// `IDENTIFIER('column')`, or `IDENTIFIER('function')(arguments)`.
fn identifier_clause(call: &ast::Function, scope: &Scope<'_>) -> Result<Expr> {
    match (&call.parameters, &call.args) {
        (FunctionArguments::List(spelled), args) => {
            let name = relation::spelled_name(&spelled.args)?;
            function(
                &ast::Function { name, parameters: FunctionArguments::None, args: args.clone(), ..call.clone() },
                scope,
            )
        }
        (_, FunctionArguments::List(spelled)) => {
            let name = relation::spelled_name(&spelled.args)?;
            let parts: Vec<_> = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
            resolve::column(&parts, scope)
        }
        _ => Err(Error::query("NOT_A_CONSTANT_STRING.NOT_CONSTANT", "IDENTIFIER needs a constant text")),
    }
}

/// Binds a call of a function that the program registered; none if there is none of this name.
fn registered(name: &str, call: &ast::Function, scope: &Scope<'_>) -> Result<Option<Expr>> {
    match scope.functions.and_then(|functions| functions.get(name)) {
        None => Ok(None),
        Some(Registered::Scalar(function)) => {
            refuse_aggregate_clauses(name, call)?;
            let args = arguments(name, &call.args, scope)?;
            function.bind(Call { name, args, schema: scope.schema, conf: scope.conf }).map(Some)
        }
        Some(Registered::Aggregate(function)) => {
            functions::aggregate::bind_user(function, whole_call(name, call, scope)?).map(Some)
        }
    }
}

/// Binds a call of a scalar function by its name.
///
/// # Errors
/// As [`function`].
pub(super) fn named(name: &str, args: &[ast::Expr], scope: &Scope<'_>) -> Result<Expr> {
    let function = functions::lookup(name).ok_or_else(|| unresolved(name, scope))?;
    let args = args.iter().map(|arg| argument(arg, scope)).collect::<Result<_>>()?;
    function.call(Call { name, args, schema: scope.schema, conf: scope.conf })
}

fn unresolved(name: &str, scope: &Scope<'_>) -> Error {
    if over::is_ranking(name) {
        let message = format!("window function `{name}` needs an OVER clause");
        return Error::query("WINDOW_FUNCTION_WITHOUT_OVER_CLAUSE", message);
    }
    let error = Error::query("UNRESOLVED_ROUTINE", format!("cannot resolve routine `{name}`"));
    let own = scope.functions.map(UserFunctions::names).unwrap_or_default();
    let mut known: Vec<&str> = functions::names().chain(functions::aggregate::names()).collect();
    known.extend(own.iter().map(String::as_str));
    match crate::options::nearest(name, known.into_iter()) {
        Some(near) => error.hint(format!("Did you mean '{near}'?")),
        None => error,
    }
}

fn refuse_aggregate_clauses(name: &str, call: &ast::Function) -> Result<()> {
    let clause = if call.filter.is_some() {
        "FILTER clause"
    } else if is_distinct(&call.args) {
        "DISTINCT"
    } else {
        return Ok(());
    };
    Err(Error::query(
        "INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX",
        format!("the function `{name}` does not support {clause}"),
    ))
}

fn is_distinct(args: &FunctionArguments) -> bool {
    matches!(args, FunctionArguments::List(list) if list.duplicate_treatment == Some(DuplicateTreatment::Distinct))
}

/// What a call says besides its name: arguments and the clauses of aggregates.
pub(super) struct AggregateCall {
    /// The arguments; `*` of `count(*)` is the constant 1.
    pub args: Vec<Expr>,
    /// `DISTINCT`.
    pub distinct: bool,
    /// `FILTER (WHERE ...)`.
    pub filter: Option<Expr>,
    /// `IGNORE NULLS`, in either place.
    pub ignore_nulls: bool,
}

/// Binds arguments and clauses of an aggregate.
///
/// # Errors
/// Those of the arguments.
pub(super) fn aggregate_call(name: &str, call: &ast::Function, scope: &Scope<'_>) -> Result<AggregateCall> {
    let args = match &call.args {
        FunctionArguments::List(list) if name.eq_ignore_ascii_case("count") && is_star(&list.args) => {
            vec![literal::number("1")?]
        }
        args => values(arguments(name, args, scope)?, name)?,
    };
    let filter = call.filter.as_deref().map(|filter| bind_expression(filter, scope)).transpose()?;
    let ignore_nulls = ignores_nulls(call);
    Ok(AggregateCall { args, distinct: is_distinct(&call.args), filter, ignore_nulls })
}

fn is_star(args: &[FunctionArg]) -> bool {
    matches!(args, [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)])
}

fn values(args: Vec<Arg<'_>>, name: &str) -> Result<Vec<Expr>> {
    let value = |arg| match arg {
        Arg::Value(value) => Ok(value),
        Arg::Lambda { .. } => Err(Error::query(
            "INVALID_LAMBDA_FUNCTION_CALL.NON_HIGHER_ORDER_FUNCTION",
            format!("function '{name}' takes no lambda"),
        )),
    };
    args.into_iter().map(value).collect()
}

fn ignores_nulls(call: &ast::Function) -> bool {
    let within = match &call.args {
        FunctionArguments::List(list) => list
            .clauses
            .iter()
            .any(|clause| matches!(clause, FunctionArgumentClause::IgnoreOrRespectNulls(NullTreatment::IgnoreNulls))),
        _ => false,
    };
    within || call.null_treatment == Some(NullTreatment::IgnoreNulls)
}

/// Binds a call of an aggregate function; none if there is no such aggregate.
fn aggregate(name: &str, call: &ast::Function, scope: &Scope<'_>) -> Result<Option<Expr>> {
    if !is_aggregate_name(name) {
        return Ok(None);
    }
    functions::aggregate::bind(whole_call(name, call, scope)?)
}

/// A call of an aggregate function with all its clauses bound.
fn whole_call<'a>(name: &'a str, call: &ast::Function, scope: &'a Scope<'a>) -> Result<functions::aggregate::Call<'a>> {
    let AggregateCall { args, distinct, filter, ignore_nulls } = aggregate_call(name, call, scope)?;
    let order_by = call.within_group.iter().map(|key| over::sort_key(key, scope)).collect::<Result<_>>()?;
    let (schema, conf) = (scope.schema, scope.conf);
    Ok(functions::aggregate::Call { name, args, distinct, filter, ignore_nulls, order_by, schema, conf })
}

/// True if an aggregate function has this name.
fn is_aggregate_name(name: &str) -> bool {
    functions::aggregate::names().any(|known| known.eq_ignore_ascii_case(name))
}

/// Binds all arguments of a call.
///
/// # Errors
/// Those of the arguments; `UNSUPPORTED_SUBQUERY...` for a bare subquery.
pub(super) fn arguments<'a>(name: &str, args: &'a FunctionArguments, scope: &'a Scope<'a>) -> Result<Vec<Arg<'a>>> {
    match args {
        FunctionArguments::None => Ok(Vec::new()),
        FunctionArguments::Subquery(query) => {
            Ok(vec![Arg::Value(bind_expression(&ast::Expr::Subquery(query.clone()), scope)?)])
        }
        FunctionArguments::List(list) => {
            let mut bound = Vec::with_capacity(list.args.len());
            let with_unit = list.args.len() == 3 && takes_unit(name);
            for (position, arg) in list.args.iter().enumerate() {
                list_argument(name, with_unit && position == 0, arg, scope, &mut bound)?;
            }
            Ok(bound)
        }
    }
}

fn list_argument<'a>(
    name: &str,
    may_be_unit: bool,
    arg: &'a FunctionArg,
    scope: &'a Scope<'a>,
    bound: &mut Vec<Arg<'a>>,
) -> Result<()> {
    let arg = match arg {
        FunctionArg::Unnamed(arg) => arg,
        other => {
            return Err(Error::query(
                "NAMED_PARAMETERS_NOT_SUPPORTED",
                format!("named argument '{other}' of function '{name}' is not supported"),
            ));
        }
    };
    match arg {
        FunctionArgExpr::Expr(ast::Expr::Identifier(unit)) if may_be_unit => {
            bound.push(Arg::Value(literal::string(unit.value.as_str())));
        }
        FunctionArgExpr::Expr(expr) => bound.push(argument(expr, scope)?),
        FunctionArgExpr::Wildcard => expand(&[], &WildcardAdditionalOptions::default(), scope, bound)?,
        FunctionArgExpr::WildcardWithOptions(options) => expand(&[], options, scope, bound)?,
        FunctionArgExpr::QualifiedWildcard(name) => {
            let qualifier: Vec<String> =
                name.0.iter().filter_map(|part| Some(part.as_ident()?.value.clone())).collect();
            expand(&qualifier, &WildcardAdditionalOptions::default(), scope, bound)?;
        }
    }
    Ok(())
}

/// Functions whose first argument may be a bare unit, as in `timestampadd(MONTH, 1, t)`.
fn takes_unit(name: &str) -> bool {
    const NAMES: [&str; 4] = ["timestampadd", "timestampdiff", "dateadd", "date_diff"];
    const MORE: [&str; 3] = ["date_add", "datediff", "timediff"];
    NAMES.iter().chain(&MORE).any(|known| known.eq_ignore_ascii_case(name))
}

fn expand<'a>(
    qualifier: &[String],
    options: &WildcardAdditionalOptions,
    scope: &Scope<'_>,
    bound: &mut Vec<Arg<'a>>,
) -> Result<()> {
    let columns = item::star(qualifier, options, scope)?;
    bound.extend(columns.into_iter().map(|item| Arg::Value(item.expr)));
    Ok(())
}

fn argument<'a>(expr: &'a ast::Expr, scope: &'a Scope<'a>) -> Result<Arg<'a>> {
    match expr {
        ast::Expr::Lambda(lambda) => Ok(lambda_argument(lambda, scope)),
        expr => Ok(Arg::Value(bind_expression(expr, scope)?)),
    }
}

fn lambda_argument<'a>(lambda: &'a LambdaFunction, scope: &'a Scope<'a>) -> Arg<'a> {
    let parameters: Vec<String> = lambda.params.iter().map(|parameter| parameter.name.value.clone()).collect();
    let names = parameters.clone();
    let bind = move |fields: &[FieldRef]| {
        let fields: Vec<FieldRef> =
            names.iter().zip(fields).map(|(name, field)| field.as_ref().clone().with_name(name).into()).collect();
        let level = Parameters { fields: &fields, outer: scope.lambda };
        let scope = Scope { lambda: Some(&level), ..*scope };
        Ok(Expr::Lambda(Lambda::new(names.clone(), bind_expression(&lambda.body, &scope)?)))
    };
    Arg::Lambda { parameters, bind: Box::new(bind) }
}

/// Binds a call that SQL spells with keywords.
///
/// # Errors
/// As [`function`].
pub(super) fn keyword_call(expr: &ast::Expr, scope: &Scope<'_>) -> Result<Expr> {
    use ast::Expr as E;
    match expr {
        E::Extract { field, expr, .. } => {
            let field = E::value(ast::Value::SingleQuotedString(field.to_string().trim_matches('\'').to_owned()));
            named("date_part", &[field, expr.as_ref().clone()], scope)
        }
        E::Position { expr, r#in } => named("locate", &[expr.as_ref().clone(), r#in.as_ref().clone()], scope),
        E::Substring { expr, substring_from, substring_for, .. } => {
            let args = [Some(expr.as_ref()), substring_from.as_deref(), substring_for.as_deref()];
            named("substring", &present(&args), scope)
        }
        E::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let args =
                [Some(expr.as_ref()), Some(overlay_what.as_ref()), Some(overlay_from.as_ref()), overlay_for.as_deref()];
            named("overlay", &present(&args), scope)
        }
        E::Trim { trim_where, trim_what, expr, trim_characters } => {
            trim(*trim_where, trim_what.as_deref(), expr, trim_characters.as_deref(), scope)
        }
        E::Ceil { expr, field } => named("ceil", &with_scale(expr, field), scope),
        E::Floor { expr, field } => named("floor", &with_scale(expr, field), scope),
        other => Err(Error::internal(format!("'{other}' is no call"))),
    }
}

fn present(args: &[Option<&ast::Expr>]) -> Vec<ast::Expr> {
    args.iter().flatten().map(|&arg| arg.clone()).collect()
}

fn with_scale(expr: &ast::Expr, field: &CeilFloorKind) -> Vec<ast::Expr> {
    match field {
        CeilFloorKind::Scale(scale) => vec![expr.clone(), ast::Expr::Value(scale.clone())],
        CeilFloorKind::DateTimeField(_) => vec![expr.clone()],
    }
}

/// `TRIM([BOTH|LEADING|TRAILING] [what] FROM text)`, and the call `trim(what, text)`.
fn trim(
    place: Option<TrimWhereField>,
    what: Option<&ast::Expr>,
    text: &ast::Expr,
    listed: Option<&[ast::Expr]>,
    scope: &Scope<'_>,
) -> Result<Expr> {
    if let Some([text_of_call, ..]) = listed {
        return named("btrim", &[text_of_call.clone(), text.clone()], scope);
    }
    let args = |first: &ast::Expr, second: Option<&ast::Expr>| {
        std::iter::once(first).chain(second).cloned().collect::<Vec<_>>()
    };
    match (place, what) {
        (Some(TrimWhereField::Leading), Some(what)) => named("ltrim", &args(what, Some(text)), scope),
        (Some(TrimWhereField::Trailing), Some(what)) => named("rtrim", &args(what, Some(text)), scope),
        (Some(TrimWhereField::Leading), None) => named("ltrim", &args(text, None), scope),
        (Some(TrimWhereField::Trailing), None) => named("rtrim", &args(text, None), scope),
        (_, what) => named("btrim", &args(text, what), scope),
    }
}
