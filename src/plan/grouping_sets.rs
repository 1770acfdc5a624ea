//! Grouping sets (ROLLUP, CUBE, GROUPING SETS) of an aggregation: which keys each set has, and its number.
//!
//! In: a logical aggregation. Out: its keys, its sets, and for each set the number that tells its rows from those of other sets:
//! bit `i` from the right is set if the `i`-th key from the right is not in the set, above these bits stands how many equal sets
//! came before. What always holds: nulls of the data and nulls that stand for a missing key are in different groups.

use arrow::datatypes::DataType;
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Expr};

use super::nodes::watermark_delay_millis;
use crate::{Error, Result};

/// The sets of an aggregation, if it has several groupings.
///
/// # Errors
/// Forms that the binder does not make.
pub(super) fn sets(aggregate: &Aggregate) -> Result<Option<&[Vec<Expr>]>> {
    match aggregate.group_expr.as_slice() {
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => Ok(Some(sets)),
        keys if keys.iter().any(|key| matches!(key, Expr::GroupingSet(_))) => {
            Err(Error::internal("grouping sets were not made a list of sets"))
        }
        _ => Ok(None),
    }
}

/// The key expressions in the order of the output's columns.
///
/// # Errors
/// Forms that the binder does not make.
pub(super) fn keys(aggregate: &Aggregate) -> Result<Vec<&Expr>> {
    Ok(grouping_set_to_exprlist(&aggregate.group_expr)?)
}

/// The first key that is an event time with a watermark: groups with it end. In sets that lack it groups never do. Its place among
/// the keys, its expression and type.
///
/// # Errors
/// As [`sets`].
pub(super) fn event_time_key(aggregate: &Aggregate) -> Result<Option<(usize, &Expr, &DataType)>> {
    let mut keys = keys(aggregate)?.into_iter().zip(aggregate.schema.fields()).enumerate();
    let found = keys.find(|(_, (_, field))| watermark_delay_millis(field).is_some());
    Ok(found.map(|(place, (key, field))| (place, key, field.data_type())))
}

/// The number of each set of keys.
pub(super) fn numbers(keys: &[&Expr], sets: &[Vec<Expr>]) -> Vec<u64> {
    let missing = |set: &Vec<Expr>| keys.iter().fold(0u64, |bits, key| bits << 1 | u64::from(!set.contains(key)));
    let masks: Vec<u64> = sets.iter().map(missing).collect();
    let before = |at: usize| masks[..at].iter().filter(|mask| **mask == masks[at]).count() as u64;
    (0..masks.len()).map(|at| masks[at] | before(at).checked_shl(keys.len() as u32).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::col;

    use super::*;

    #[test]
    fn sets_are_numbered_by_their_missing_keys() {
        let (a, b) = (col("a"), col("b"));
        let sets =
            [vec![a.clone(), b.clone()], vec![a.clone()], vec![b.clone()], vec![], vec![a.clone()], vec![a.clone()]];
        assert_eq!(numbers(&[&a, &b], &sets), [0b00, 0b01, 0b10, 0b11, 0b101, 0b1001]);
    }
}
