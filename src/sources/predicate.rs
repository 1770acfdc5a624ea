//! Conditions that a query puts on single columns, for sources that can read less because of them.
//!
//! In: from the planner, conditions of a batch query that every row it wants fulfils. Out: for the source, to use or not: the
//! query checks all rows again.

use arrow::array::ArrayRef;

/// How a column is compared with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// Equal to one of them.
    In,
    /// Less than the one.
    Less,
    /// Less than the one or equal.
    LessOrEqual,
    /// Greater than the one.
    Greater,
    /// Greater than the one or equal.
    GreaterOrEqual,
}

/// A condition on one column. Null does not fulfil it.
#[derive(Debug, Clone)]
pub struct Predicate {
    /// Which column of the source's schema.
    pub column: usize,
    /// How it is compared.
    pub test: Test,
    /// With what: values of the column's type, without nulls; just one unless the test is [`Test::In`].
    pub values: ArrayRef,
}
