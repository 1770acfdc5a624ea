//! Which groups have changed since they were last shown, and since the last checkpoint, so that either costs in proportion to
//! the change.
//!
//! In: ids as they change. Out: each changed id once. What always holds: no id is dirty before [`Marks::track`], so that a query
//! without checkpoint pays nothing. An id may be removed and given out again in between: who takes the dirty ids looks at what is live.

/// Not shown yet as it is now.
pub(super) const TOUCHED: u8 = 1;
/// Not in a checkpoint yet as it is now.
pub(super) const DIRTY: u8 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// What is true of each group; the lists name a group once.
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

    /// These groups, all below `count`, are [`TOUCHED`] or [`DIRTY`] or both.
    pub fn note(&mut self, groups: &[u32], count: usize, what: u8) {
        let wanted = if self.tracks { what } else { what & TOUCHED };
        if self.marks.len() < count {
            self.marks.resize(count, 0);
        }
        for &group in groups {
            let mark = &mut self.marks[group as usize];
            let new = wanted & !*mark;
            if new != 0 {
                *mark |= new;
                self.list(group, new);
            }
        }
    }

    fn list(&mut self, group: u32, new: u8) {
        if new & TOUCHED != 0 {
            self.touched.push(group);
        }
        if new & DIRTY != 0 {
            self.dirty.push(group);
        }
    }

    /// The groups touched since they were last taken, in the order in which they first were.
    pub fn touched(&self) -> &[u32] {
        &self.touched
    }

    /// As [`Marks::touched`]; they are touched no more.
    pub fn take_touched(&mut self) -> Vec<u32> {
        self.touched.iter().for_each(|&group| self.marks[group as usize] &= !TOUCHED);
        std::mem::take(&mut self.touched)
    }

    /// The groups that a checkpoint does not have as they are; it has them after this.
    pub fn take_dirty(&mut self) -> Vec<u32> {
        self.dirty.iter().for_each(|&group| self.marks[group as usize] &= !DIRTY);
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
    fn each_group_is_named_once_and_dirty_only_when_tracked() {
        let mut marks = Marks::default();
        marks.note(&[1, 1], 2, TOUCHED | DIRTY);
        assert_eq!((marks.take_touched(), marks.take_dirty()), (vec![1], vec![]));
        marks.track();
        marks.note(&[3, 1, 3], 4, TOUCHED | DIRTY);
        assert_eq!(marks.touched(), [3, 1]);
        assert_eq!(marks.take_dirty(), [3, 1]);
        marks.note(&[3], 4, DIRTY);
        assert_eq!((marks.take_touched(), marks.take_dirty()), (vec![3, 1], vec![3]));
    }
}
