//! Values of a row that lie in place if they are few: what the differential lane arranges, sums up and keeps tables by.
//!
//! In: the bytes of an encoded row ([`super::rows::RowBytes`]), or numbers. Out: the same. What always holds: equality, order and
//! hash are those of the slice; a short one costs no allocation, neither when it is made nor when it is copied.

use std::borrow::Borrow;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::{Array, SmallVec};

/// A vector whose first `N` items lie in place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Short<T, const N: usize>(SmallVec<[T; N]>)
where
    [T; N]: Array<Item = T>;

/// A row, or some of its columns, as bytes: four numbers with their marks for null lie in place.
pub type Bytes = Short<u8, 36>;

impl Bytes {
    /// Bytes of memory that such a row takes beside the value itself.
    pub fn beside(row: &[u8]) -> usize {
        if row.len() > Bytes::default().0.inline_size() { row.len() } else { 0 }
    }
}

impl<T, const N: usize> Default for Short<T, N>
where
    [T; N]: Array<Item = T>,
{
    fn default() -> Self {
        Short(SmallVec::new())
    }
}

impl<T, const N: usize> Deref for Short<T, N>
where
    [T; N]: Array<Item = T>,
{
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const N: usize> DerefMut for Short<T, N>
where
    [T; N]: Array<Item = T>,
{
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T, const N: usize> Borrow<[T]> for Short<T, N>
where
    [T; N]: Array<Item = T>,
{
    fn borrow(&self) -> &[T] {
        &self.0
    }
}

impl<T: Copy, const N: usize> From<&[T]> for Short<T, N>
where
    [T; N]: Array<Item = T>,
{
    fn from(items: &[T]) -> Self {
        Short(SmallVec::from_slice(items))
    }
}

impl<T, const N: usize> FromIterator<T> for Short<T, N>
where
    [T; N]: Array<Item = T>,
{
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Short(items.into_iter().collect())
    }
}

impl<T: Serialize, const N: usize> Serialize for Short<T, N>
where
    [T; N]: Array<Item = T>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Short<T, N>
where
    [T; N]: Array<Item = T>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|items| Short(SmallVec::from_vec(items)))
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn long_and_short_ones_are_compared_by_their_items() {
        let (short, long) = (Bytes::from(&[7u8; 36][..]), Bytes::from(&[7u8; 37][..]));
        assert!(short < long && short != long && Bytes::default() < short);
        assert_eq!((Bytes::beside(&short), Bytes::beside(&long)), (0, 37));
        let hasher = hashbrown::DefaultHashBuilder::default();
        assert_eq!(hasher.hash_one(&long), hasher.hash_one::<&[u8]>(&long), "tables are asked with slices");
    }
}
