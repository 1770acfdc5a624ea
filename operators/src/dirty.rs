//! Which groups have changed since the last epoch, so that a checkpoint costs in proportion to the change.
//!
//! In: ids as they change. Out: each changed id once. What always holds: nothing is noted before [`Dirty::start`], so that a query
//! without checkpoint pays nothing. An id may be removed and given out again in between: who takes the ids looks at what is live.

/// Ids that have changed.
#[derive(Debug, Default)]
pub struct Dirty {
    on: bool,
    ids: Vec<u32>,
    /// `marks[id]`, so that `ids` names each once.
    marks: Vec<bool>,
}

impl Dirty {
    /// Changes count from now on.
    pub fn start(&mut self) {
        self.on = true;
    }

    /// Whether changes count.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// These ids have changed.
    pub fn note(&mut self, ids: impl IntoIterator<Item = u32>) {
        if self.on {
            ids.into_iter().for_each(|id| self.note_one(id));
        }
    }

    fn note_one(&mut self, id: u32) {
        if self.marks.len() <= id as usize {
            self.marks.resize(id as usize + 1, false);
        }
        if !std::mem::replace(&mut self.marks[id as usize], true) {
            self.ids.push(id);
        }
    }

    /// The ids that have changed since the last call, in the order in which they first did.
    pub fn take(&mut self) -> Vec<u32> {
        self.ids.iter().for_each(|id| self.marks[*id as usize] = false);
        std::mem::take(&mut self.ids)
    }

    /// Memory held, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.marks.capacity() + self.ids.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_named_once_and_only_since_the_start() {
        let mut dirty = Dirty::default();
        dirty.note([1]);
        assert!(dirty.take().is_empty());
        dirty.start();
        dirty.note([3, 1, 3]);
        assert_eq!(dirty.take(), [3, 1]);
        dirty.note([3]);
        assert_eq!(dirty.take(), [3]);
        assert!(dirty.take().is_empty());
    }
}
