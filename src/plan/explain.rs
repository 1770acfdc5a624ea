//! `explain()`: the stations of a query as text: logical plan, optimized plan, and what runs (a dataflow, or DataFusion's
//! physical plan for static data). Nothing runs.

use datafusion::logical_expr::LogicalPlan;

use super::scan::is_streaming;
use super::{batch, check, lower, optimize};
use crate::Result;
use crate::conf::Conf;
use crate::sinks::OutputMode;

/// The plans of a query. What can't be planned says why in its place.
pub fn explain(plan: &LogicalPlan, conf: &Conf) -> String {
    let rest = if is_streaming(plan) { streaming(plan, conf) } else { batch::explain_blocking(plan.clone(), conf) };
    let rest = rest.unwrap_or_else(|error| format!("{error}\n"));
    format!("== Logical Plan ==\n{}\n\n{rest}", plan.display_indent())
}

fn streaming(plan: &LogicalPlan, conf: &Conf) -> Result<String> {
    let rules = check::Rules::of(conf)?;
    let modes = [OutputMode::Append, OutputMode::Update, OutputMode::Complete];
    let legal = modes.into_iter().find(|mode| check::check(plan, *mode, rules).is_ok());
    let Some(mode) = legal else {
        check::check(plan, OutputMode::Append, rules)?;
        return Ok(String::new());
    };
    let optimized = optimize::optimize(plan.clone(), mode, rules.into())?;
    let dataflow = lower::lower(&optimized, mode)?;
    Ok(format!(
        "== Optimized Plan ==\n{}\n\n== Dataflow Plan ({mode:?} mode) ==\n{dataflow}",
        optimized.display_indent()
    ))
}
