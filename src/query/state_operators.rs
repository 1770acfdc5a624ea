//! The operators with state of a query, as reports list them.
//!
//! In: the plan, and figures by the names that operators have in the graph. Out: Spark's `stateOperators`. What always holds: their
//! number and order are the same in all reports of a run.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use thalweg_operators::driver::StateMetrics;

use super::progress::StateOperator;
use crate::plan::dataflow::{DataflowPlan, Kind, Node};
use crate::render::entrance;
use crate::stateful::Style;

/// Which operators are listed.
#[derive(Debug, Clone)]
pub(crate) struct StateOperators {
    /// Name in the graph, Spark's name.
    listed: Vec<(String, &'static str)>,
    workers: u64,
    /// Whether state may lie in files.
    exceeds_memory: bool,
}

impl StateOperators {
    /// Those of a plan: the one nearest to the output first, as Spark lists them, then those of the late rows.
    pub fn of(plan: &DataflowPlan, workers: usize, exceeds_memory: bool) -> Self {
        let mut listed = Vec::new();
        let roots = [&plan.root].into_iter().chain(plan.late.as_ref().map(|late| &late.root));
        roots.for_each(|root| list(root, &mut listed));
        StateOperators { listed, workers: workers as u64, exceeds_memory }
    }

    /// Those that have figures.
    pub fn report(&self, metrics: &BTreeMap<String, StateMetrics>) -> Vec<StateOperator> {
        let known = self.listed.iter().filter_map(|(id, name)| Some((*name, *metrics.get(id)?)));
        known.map(|(name, metrics)| self.one(name, metrics)).collect()
    }

    fn one(&self, name: &str, metrics: StateMetrics) -> StateOperator {
        StateOperator {
            operator_name: name.to_owned(),
            num_rows_total: metrics.rows_total,
            num_rows_updated: metrics.rows_updated,
            all_updates_time_ms: 0,
            num_rows_removed: metrics.rows_removed,
            all_removals_time_ms: 0,
            commit_time_ms: 0,
            memory_used_bytes: metrics.memory_bytes,
            num_rows_dropped_by_watermark: metrics.rows_dropped,
            num_shuffle_partitions: self.workers,
            num_state_store_instances: self.workers,
            custom_metrics: if self.exceeds_memory { in_files(metrics) } else { Map::new() },
        }
    }
}

fn list(node: &Node, listed: &mut Vec<(String, &'static str)>) {
    if let Some(name) = operator_name(node) {
        // Those of the differential lane keep their state at the entrances of their region.
        let entrances = (0..node.inputs.len()).map(|port| entrance(node, port));
        listed.extend(std::iter::once(node.id.clone()).chain(entrances).map(|id| (id, name)));
    }
    node.inputs.iter().for_each(|input| list(input, listed));
}

/// Spark's name of an operator, where it has such a one.
fn operator_name(node: &Node) -> Option<&'static str> {
    Some(match &node.kind {
        Kind::Group(_) => "stateStoreSave",
        Kind::Session(_) => "sessionWindowStateStoreSaveExec",
        Kind::Dedup(dedup) if dedup.within.is_some() => "dedupeWithinWatermark",
        Kind::Dedup(_) => "dedupe",
        Kind::Join(_) => "symmetricHashJoin",
        Kind::Limit(_) => "globalLimit",
        Kind::Arbitrary(state) if state.function.style == Style::Transform => "transformWithStateExec",
        Kind::Arbitrary(_) => "flatMapGroupsWithState",
        Kind::Table => "completeTable",
        Kind::Reduce(_) => "differentialAggregate",
        Kind::TableJoin(_) => "differentialJoin",
        Kind::Rank(_) => "differentialRank",
        Kind::Scan(_) | Kind::Late | Kind::Map(_) | Kind::Watermark { .. } | Kind::Union => return None,
        Kind::Sort(_) | Kind::Net(_) | Kind::StaticJoin(_) => return None,
    })
}

/// How much of an operator's state lies in files.
fn in_files(metrics: StateMetrics) -> Map<String, Value> {
    let figures = [("sledNumRows", metrics.cold_rows), ("sledNumBytes", metrics.cold_bytes)];
    figures.map(|(name, figure)| (name.to_owned(), json!(figure))).into_iter().collect()
}
