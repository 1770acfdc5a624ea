//! Mathematical functions.

use super::Function;

/// The functions of this family.
pub const FUNCTIONS: &[Function] = &[];
