//! Which parts of an operator's state have changed since they were last shown, and since the last checkpoint, so that either costs
//! in proportion to the change. The parts are numbered: groups of keys, or rows that are kept.
//!
//! In: ids as they change. Out: each changed id once. What always holds: no id is dirty before [`Marks::track`], so that a query
//! without checkpoint pays nothing. An id may be removed and given out again in between: who takes the dirty ids looks at what is live.

/// Not shown yet as it is now.
pub(crate) const TOUCHED: u8 = 1;
/// Not in a checkpoint yet as it is now.
pub(crate) const DIRTY: u8 = 2;
/// In use since the marks were last [`Marks::renewed`].
const USED: u8 = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Marks {
    /// What is true of each id; the lists name an id once.
    marks: Vec<u8>,
    touched: Vec<u32>,
    dirty: Vec<u32>,
    /// The marks that are noted.
    noted: u8,
}

impl Default for Marks {
    fn default() -> Self {
        Marks { marks: Vec::new(), touched: Vec::new(), dirty: Vec::new(), noted: TOUCHED }
    }
}

impl Marks {
    /// Changes are noted for checkpoints from now on.
    pub fn track(&mut self) {
        self.noted |= DIRTY;
    }

    /// Whether changes are noted for checkpoints.
    pub fn tracks(&self) -> bool {
        self.noted & DIRTY != 0
    }

    /// From now on it is noted which ids are in use, for [`Marks::coldest`].
    pub fn watch(&mut self) {
        self.noted |= USED;
    }

    /// Nothing of any id, and the same things noted.
    pub fn renewed(&self) -> Marks {
        Marks { noted: self.noted, ..Marks::default() }
    }

    /// Forgets what is true of each id, and goes on noting the same things.
    pub fn clear(&mut self) {
        self.marks.clear();
        self.touched.clear();
        self.dirty.clear();
    }

    /// These ids are [`TOUCHED`] or [`DIRTY`] or both; with neither they are only in use.
    pub fn note(&mut self, ids: impl IntoIterator<Item = u32>, what: u8) {
        let wanted = (what | USED) & self.noted;
        if wanted != 0 {
            ids.into_iter().for_each(|id| self.note_one(id, wanted));
        }
    }

    /// As [`Marks::note`], of many ids: without a branch for each, which nobody could predict.
    pub fn note_all(&mut self, ids: &[u32], what: u8) {
        let wanted = (what | USED) & self.noted;
        if wanted == 0 {
            return;
        }
        let Some(largest) = ids.iter().max() else { return };
        self.marks.resize(self.marks.len().max(*largest as usize + 1), 0);
        let Marks { marks, touched, dirty, .. } = self;
        for (list, mark) in [(touched, TOUCHED), (dirty, DIRTY)] {
            if wanted & mark != 0 {
                list_new(marks, list, ids, mark);
            }
        }
        if wanted & USED != 0 {
            ids.iter().for_each(|id| marks[*id as usize] |= USED);
        }
    }

    /// What was true of an id while it was elsewhere; that does not make it one in use.
    pub fn put_back(&mut self, id: u32, marks: u8) {
        let marks = marks & self.noted & !USED;
        if marks != 0 {
            self.note_one(id, marks);
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

    /// Whether an id is [`TOUCHED`], [`DIRTY`], both or neither.
    pub fn of(&self, id: u32) -> u8 {
        self.marks.get(id as usize).map_or(0, |mark| mark & (TOUCHED | DIRTY))
    }

    /// Up to `wanted` of the ids below `count` that are live: first those that are not in use, then the newest. What has been here for
    /// longer and is still in use stays.
    pub fn coldest(&self, wanted: usize, count: usize, is_live: impl Fn(u32) -> bool) -> Vec<u32> {
        let is_used = |id: &u32| self.marks.get(*id as usize).is_some_and(|mark| mark & USED != 0);
        let (used, unused): (Vec<u32>, Vec<u32>) = (0..count as u32).filter(|id| is_live(*id)).partition(is_used);
        unused.into_iter().chain(used.into_iter().rev()).take(wanted).collect()
    }

    /// Memory held, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.marks.capacity() + (self.touched.capacity() + self.dirty.capacity()) * size_of::<u32>()
    }
}

/// Marks ids, and lists those that did not have the mark. Each is written behind the list, whose end only moves if it counts.
fn list_new(marks: &mut [u8], list: &mut Vec<u32>, ids: &[u32], mark: u8) {
    let mut end = list.len();
    list.resize(end + ids.len(), 0);
    for id in ids {
        let known = &mut marks[*id as usize];
        list[end] = *id;
        end += usize::from(*known & mark == 0);
        *known |= mark;
    }
    list.truncate(end);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn many_at_once_are_as_one_by_one(parts in prop::collection::vec((prop::collection::vec(0u32..9, 0..9), 0u8..4, any::<bool>()), 0..6), tracked: bool, watched: bool) {
            let (mut all, mut each) = (Marks::default(), Marks::default());
            for marks in [&mut all, &mut each] {
                if tracked {
                    marks.track();
                }
                if watched {
                    marks.watch();
                }
            }
            for (ids, what, take) in parts {
                all.note_all(&ids, what);
                each.note(ids, what);
                prop_assert_eq!(all.touched(), each.touched());
                if take {
                    prop_assert_eq!((all.take_touched(), all.take_dirty()), (each.take_touched(), each.take_dirty()));
                }
            }
            prop_assert_eq!(all.coldest(9, 9, |_| true), each.coldest(9, 9, |_| true));
        }
    }

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

    #[test]
    fn what_is_not_in_use_leaves_first() {
        let mut marks = Marks::default();
        marks.watch();
        marks.note([0, 2], 0);
        assert_eq!(marks.coldest(3, 5, |id| id != 3), [1, 4, 2]);
        assert_eq!(marks.coldest(9, 5, |id| id == 2), [2]);
        assert!(marks.coldest(9, 5, |_| false).is_empty());
        assert_eq!(marks.renewed().coldest(2, 5, |_| true), [0, 1], "none is in use any more");
    }

    #[test]
    fn what_comes_back_is_marked_as_it_was_and_not_in_use() {
        let mut marks = Marks::default();
        marks.watch();
        marks.put_back(0, TOUCHED | DIRTY | USED);
        assert_eq!((marks.of(0), marks.touched()), (TOUCHED, &[0][..]), "dirty ids are not tracked");
        marks.note([1], 0);
        assert_eq!(marks.coldest(1, 2, |_| true), [0]);
    }
}
