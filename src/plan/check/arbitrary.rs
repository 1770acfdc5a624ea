//! `transformWithState`, `flatMapGroupsWithState` and `mapGroupsWithState` on a stream.

use datafusion::logical_expr::LogicalPlan;
use thalweg_operators::arbitrary::TimeMode;

use super::{is_aggregation, is_stateful, refused, streaming_nodes};
use crate::plan::nodes::{ArbitraryState, event_time_index};
use crate::plan::scan::is_streaming;
use crate::sinks::OutputMode;
use crate::stateful::Style;
use crate::{Error, Result};

/// What concerns several of them, or what stands above them.
pub(super) fn check_all(plan: &LogicalPlan, mode: OutputMode) -> Result<()> {
    let nodes = streaming_nodes(plan);
    let of_style = |style: Style| {
        let states = nodes.iter().filter_map(|node| as_state(node));
        states.filter(|state| state.function.style == style).collect::<Vec<_>>()
    };
    let (maps, flat_maps) = (of_style(Style::MapGroups), of_style(Style::FlatMapGroups));
    if maps.len() > 1 {
        return Err(refused("more than one map_groups_with_state"));
    }
    if !maps.is_empty() && !flat_maps.is_empty() {
        return Err(refused("map_groups_with_state together with flat_map_groups_with_state"));
    }
    let appends = mode == OutputMode::Append && flat_maps.iter().all(|state| state.function.mode == mode);
    if flat_maps.len() > 1 && !appends {
        return Err(refused("more than one flat_map_groups_with_state outside append mode").hint("Use append mode."));
    }
    let aggregates = nodes.iter().any(|node| is_aggregation(node));
    maps.iter().try_for_each(|_| check_map(mode))?;
    flat_maps.iter().try_for_each(|state| check_flat_map(state, mode, aggregates))?;
    nodes.iter().try_for_each(|node| check_below(node))
}

fn check_map(mode: OutputMode) -> Result<()> {
    match mode {
        OutputMode::Update => Ok(()),
        _ => Err(refused(format!("map_groups_with_state in output mode '{mode:?}'")).hint("Use update mode.")),
    }
}

fn check_flat_map(state: &ArbitraryState, mode: OutputMode, aggregates: bool) -> Result<()> {
    let own = state.function.mode;
    match (aggregates, own) {
        (true, OutputMode::Update) => {
            Err(refused("flat_map_groups_with_state in update mode together with an aggregation")
                .hint("Use append mode for it."))
        }
        (false, own) if own != mode => {
            Err(refused(format!("flat_map_groups_with_state in mode '{own:?}' in a query of output mode '{mode:?}'"))
                .hint("Use the same mode for both."))
        }
        _ => Ok(()),
    }
}

/// What `flatMapGroupsWithState` makes when keys time out can be older than the watermark.
fn check_below(node: &LogicalPlan) -> Result<()> {
    if !is_stateful(node) {
        return Ok(());
    }
    let below = streaming_nodes(node);
    let late = below.iter().skip(1).filter_map(|node| as_state(node)).find(|state| {
        let function = &state.function;
        function.style == Style::FlatMapGroups && function.time == TimeMode::EventTime
    });
    match late {
        None => Ok(()),
        Some(_) => Err(refused("a stateful step behind flat_map_groups_with_state with event-time timeouts")
            .hint("Its rows can be late for what follows. Use transform_with_state_as with an event-time column.")),
    }
}

/// What concerns one of them.
pub(super) fn check(state: Option<&ArbitraryState>) -> Result<()> {
    let Some(state) = state else { return Ok(()) };
    if state.initial.as_ref().is_some_and(|(plan, _)| is_streaming(plan)) {
        return Err(refused("a stream as the initial state").hint("Use a static DataFrame."));
    }
    let event_time = event_time_index(state.input.schema()).is_some();
    match state.function.time {
        TimeMode::EventTime if !event_time => {
            Err(Error::query("_LEGACY_ERROR_TEMP_3102", "event-time timers and timeouts need a watermark")
                .hint("Call with_watermark() before group_by()."))
        }
        _ => Ok(()),
    }
}

fn as_state(node: &LogicalPlan) -> Option<&ArbitraryState> {
    match node {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
        _ => None,
    }
}
