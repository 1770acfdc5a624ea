//! Which parts of an operator's state have changed since they were last shown, and since the last checkpoint, so that either costs
//! in proportion to the change. The parts are numbered: groups of keys, or rows that are kept.
//!
//! In: ids as they change. Out: each changed id once. What always holds: no id is dirty before [`Marks::track`], so that a query
//! without checkpoint pays nothing. An id may be removed and given out again in between: who takes the dirty ids looks at what is live.

/// Not shown yet as it is now.
pub(crate) const TOUCHED: u8 = 1;
/// Not in a checkpoint yet as it is now.
pub(crate) const DIRTY: u8 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// What is true of each id; the lists name an id once.
    marks: Vec<u8>,
    touched: Vec<u32>,
    dirty: Vec<u32>,
    tracks: bool,
}

impl Marks {
    /// Changes are noted for checkpoints from now on.
    pub fn track(&mut self) {
        self.tracks = true;
    }

    /// Whether changes are noted for checkpoints.
    pub fn tracks(&self) -> bool {
        self.tracks
    }

    /// These ids are [`TOUCHED`] or [`DIRTY`] or both.
    pub fn note(&mut self, ids: impl IntoIterator<Item = u32>, what: u8) {
        let wanted = if self.tracks { what } else { what & TOUCHED };
        if wanted != 0 {
            ids.into_iter().for_each(|id| self.note_one(id, wanted));
        }
    }

    fn note_one(&mut self, id: u32, wanted: u8) {
        if self.marks.len() <= id as usize {
            self.marks.resize(id as usize + 1, 0);
        }
        let mark = &mut self.marks[id as usize];
        let new = wanted & !*mark;
        if new != 0 {
            *mark |= new;
            self.list(id, new);
        }
    }

    fn list(&mut self, id: u32, new: u8) {
        if new & TOUCHED != 0 {
            self.touched.push(id);
        }
        if new & DIRTY != 0 {
            self.dirty.push(id);
        }
    }

    /// The ids touched since they were last taken, in the order in which they first were.
    pub fn touched(&self) -> &[u32] {
        &self.touched
    }

    /// As [`Marks::touched`]; they are touched no more.
    pub fn take_touched(&mut self) -> Vec<u32> {
        self.touched.iter().for_each(|&id| self.marks[id as usize] &= !TOUCHED);
        std::mem::take(&mut self.touched)
    }

    /// The ids whose state a checkpoint does not have as it is, in the order in which they first changed; it has it after this.
    pub fn take_dirty(&mut self) -> Vec<u32> {
        self.dirty.iter().for_each(|&id| self.marks[id as usize] &= !DIRTY);
        std::mem::take(&mut self.dirty)
    }

    /// Memory held, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.marks.capacity() + (self.touched.capacity() + self.dirty.capacity()) * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_named_once_and_dirty_only_when_tracked() {
        let mut marks = Marks::default();
        marks.note([1, 1], TOUCHED | DIRTY);
        assert_eq!((marks.take_touched(), marks.take_dirty()), (vec![1], vec![]));
        marks.track();
        marks.note([3, 1, 3], TOUCHED | DIRTY);
        assert_eq!(marks.touched(), [3, 1]);
        assert_eq!(marks.take_dirty(), [3, 1]);
        marks.note([3], DIRTY);
        assert_eq!((marks.take_touched(), marks.take_dirty()), (vec![3, 1], vec![3]));
        assert!(marks.take_dirty().is_empty());
    }
}
