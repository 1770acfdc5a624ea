//! Functions of the program over state.

use std::sync::Arc;

use super::super::dataflow::{Arbitrary, InitialState, Kind, Node};
use super::super::nodes::{ArbitraryState, event_time_index};
use super::late::tap_columns;
use super::{Lowering, append_only, arrow_schema};
use crate::Result;
use crate::stateful::Style;

impl Lowering {
    pub(super) fn arbitrary_state(&mut self, node: &ArbitraryState) -> Result<Node> {
        let input = self.operand(&node.input)?;
        append_only(&input, &node.function.name)?;
        let initial = match &node.initial {
            None => None,
            Some((plan, _)) => {
                self.statics.push(plan.as_ref().clone());
                Some(InitialState { table: self.statics.len() - 1, keys: node.initial_key_indexes()? })
            }
        };
        let schema = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node);
        let kind = Kind::Arbitrary(Arbitrary {
            keys: node.key_indexes()?,
            function: Arc::clone(&node.function),
            event_time: event_time_index(node.input.schema()),
            emits_time: event_time_index(schema),
            initial,
        });
        let name = if node.function.style == Style::Transform { "transform" } else { "groups" };
        let made = self.add(name, kind, vec![input], arrow_schema(schema));
        if let Some(columns) = tap_columns(&node.input) {
            let places = columns.range().collect();
            self.tap(&made.id, vec![Some((columns, places))]);
        }
        Ok(made)
    }
}
