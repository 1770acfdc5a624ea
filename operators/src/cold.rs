//! State that exceeds memory: what an operator has not used for long lies as bytes in a store of the outside's.
//!
//! ```text
//!  rows ─► keys unknown to the hot table are looked up in the cold store in one batch, and go back to the table
//!          then everything goes on as if there were no store
//!        ─► beyond the budget, what has not been in use for long leaves the table for the store, with its marks
//! ```
//!
//! In: a [`ColdStore`], which is anything that keeps bytes under keys in the order of the keys, and a budget of memory ([`Cold`]). Out:
//! rows of state under keys ([`rows::ColdRows`]), by which operators keep less in memory than they know.
//! What always holds: a key is in the hot table or in the cold store, never in both; nothing is looked up while the store is
//! empty; the store is disposable, since a restart begins with what a checkpoint has.

pub(crate) mod rows;
#[cfg(test)]
mod tests;

use crate::Result;

/// Bytes under keys, in the order of the keys. Not shared: one instance of an operator has it for itself, and begins with it empty.
pub trait ColdStore: Send {
    /// Puts `value` under `key`, in place of what was there.
    ///
    /// # Errors
    /// What the outside fails with.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Appends what lies under `key` to `value`; false if nothing does.
    ///
    /// # Errors
    /// What the outside fails with.
    fn get(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool>;

    /// As [`ColdStore::get`], and it lies there no more.
    ///
    /// # Errors
    /// What the outside fails with.
    fn take(&mut self, key: &[u8], value: &mut Vec<u8>) -> Result<bool>;

    /// Shows the keys from `from` on that are before `until`, in order, with what lies under them, until `see` says false.
    ///
    /// # Errors
    /// What the outside fails with.
    fn walk(&mut self, from: &[u8], until: &[u8], see: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<()>;
}

/// Where an operator's state goes beyond a budget of memory.
pub struct Cold {
    store: Box<dyn ColdStore>,
    budget: usize,
    piece: usize,
}

impl Cold {
    /// Rows that are read from a store at once.
    const PIECE: usize = 8192;

    /// `budget`: bytes of memory that the state of this instance should stay below; what its rows in use need, it takes.
    pub fn new(store: Box<dyn ColdStore>, budget: usize) -> Self {
        Cold { store, budget, piece: Self::PIECE }
    }
}
