//! Arbitrary state.
