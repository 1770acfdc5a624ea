//! Aggregate functions over many groups at once, with Spark's results.
//!
//! An [`AggregateFunction`] is chosen once, when a query is analysed: a name, argument types and options give the types
//! to cast the arguments to and the type of the result. It makes any number of [`Accumulator`]s, each of which holds the
//! state of one function for many groups, indexed by the group ids of [`crate::keys::KeyTable`].
//!
//! In: group ids and argument columns. Out: one result row a group asked for, or the group's state as columns, which
//! another accumulator of the same function merges. What always holds: updating with rows in any chunks, or merging the
//! states of parts, gives the same result (up to the order that a function depends on, and rounding of doubles);
//! evaluating consumes nothing, so a group can be printed and updated for ever.
//!
//! A new function is a line in its family's `FUNCTIONS`, a new family a file and a line in `FAMILIES`.

mod approximate;
mod avg;
mod best;
mod bitmap;
mod bits;
mod by;
mod collect;
mod count;
mod distinct;
mod extreme;
mod fold;
mod function;
mod histogram;
mod listagg;
mod mode;
mod moments;
mod pairs;
mod percentile;
mod position;
mod quantiles;
mod rows;
mod sketch;
mod sum;
#[cfg(test)]
mod tests;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;

use crate::Result;

pub use best::best_rows;
pub use fold::{Fold, Folded};
pub use function::{AggregateFunction, Constant, Mismatch, Options, Signature, UserAggregate};

use function::Definition;

/// All families of functions. A new family is one line here.
const FAMILIES: &[&[Definition]] = &[
    approximate::FUNCTIONS,
    avg::FUNCTIONS,
    bitmap::FUNCTIONS,
    bits::FUNCTIONS,
    by::FUNCTIONS,
    collect::FUNCTIONS,
    count::FUNCTIONS,
    extreme::FUNCTIONS,
    histogram::FUNCTIONS,
    listagg::FUNCTIONS,
    mode::FUNCTIONS,
    moments::FUNCTIONS,
    pairs::FUNCTIONS,
    percentile::FUNCTIONS,
    position::FUNCTIONS,
    sketch::FUNCTIONS,
    sum::FUNCTIONS,
];

/// Whether this name (in any case) is an aggregate function's.
pub fn is_aggregate(name: &str) -> bool {
    definition(name).is_some()
}

/// Every name of every function.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.iter()).flat_map(|function| function.names.iter().copied())
}

/// Positions of the arguments of this function that must be constants; they go to [`Options::constants`].
pub fn constant_positions(name: &str) -> &'static [usize] {
    definition(name).map_or(&[], |definition| definition.constants)
}

fn definition(name: &str) -> Option<&'static Definition> {
    let name = name.to_ascii_lowercase();
    FAMILIES.iter().flat_map(|family| family.iter()).find(|function| function.names.contains(&name.as_str()))
}

/// The state of one aggregate function for many groups.
///
/// # Contract
/// Ids in `groups` are below `group_count`; a group nobody updated has the state of no rows and can be evaluated. After an
/// error the state is unspecified: the query ends.
///
/// # Order of calls
/// Any. `clear` must come before an id is used for another group.
pub trait Accumulator: Send + Sync {
    /// Row `i` of `args` belongs to `groups[i]`; rows where `filter` is not true do not count.
    ///
    /// # Errors
    /// `ARITHMETIC_OVERFLOW` under ANSI.
    fn update(
        &mut self,
        groups: &[u32],
        group_count: usize,
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()>;

    /// Row `i` of `state`, as [`Accumulator::state`] gave it, is added to `groups[i]`.
    ///
    /// # Errors
    /// As [`Accumulator::update`].
    fn merge(&mut self, groups: &[u32], group_count: usize, state: &[ArrayRef]) -> Result<()>;

    /// The results of these groups so far.
    ///
    /// # Errors
    /// `ARITHMETIC_OVERFLOW` under ANSI where only the whole tells.
    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef>;

    /// The states of these groups, columns of [`Accumulator::state_types`].
    ///
    /// # Errors
    /// None that input could cause.
    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>>;

    /// The types of the state's columns.
    fn state_types(&self) -> Vec<DataType>;

    /// Puts these groups back to the state of no rows.
    fn clear(&mut self, groups: &[u32]);

    /// Forgets all groups and keeps the memory for others. False, with nothing done, if it does not know how: then a new one is made.
    fn reset(&mut self) -> bool {
        false
    }

    /// Memory held, in bytes. May walk all groups: ask once an epoch, not per chunk.
    fn size_bytes(&self) -> usize;
}
