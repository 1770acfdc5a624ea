//! Sessions as a changelog: which have been shown and as what, so that they can be taken back when they grow or merge.
//!
//! In: the sessions that rows are about to change, with the rows they are shown as. Out: those rows as retractions, and which
//! sessions have to be shown anew. What always holds: a session is shown as one row at most, and that row is known exactly.

use arrow::array::RecordBatch;

use super::spans::Place;

/// Book-keeping of what has been shown.
#[derive(Default)]
pub(super) struct Shown {
    /// By session id: where the session was when it was last shown.
    places: Vec<Option<Place>>,
    /// Sessions that changed since the last flush, each once.
    touched: Vec<u32>,
    is_touched: Vec<bool>,
    /// The rows of touched sessions as they were shown, with their signs.
    retractions: Vec<RecordBatch>,
}

impl Shown {
    /// Notes that these sessions change; gives those that are shown, with where they were then. They count as taken back.
    pub(super) fn touch(&mut self, ids: impl Iterator<Item = u32>, id_count: usize) -> (Vec<u32>, Vec<Place>) {
        self.is_touched.resize(id_count, false);
        self.places.resize(id_count, None);
        let mut shown = (Vec::new(), Vec::new());
        for id in ids {
            if !std::mem::replace(&mut self.is_touched[id as usize], true) {
                self.touched.push(id);
            }
            if let Some(place) = self.places[id as usize].take() {
                shown.0.push(id);
                shown.1.push(place);
            }
        }
        shown
    }

    /// Keeps rows that are no longer true.
    pub(super) fn retract(&mut self, rows: RecordBatch) {
        self.retractions.push(rows);
    }

    /// The sessions that changed since the last call, and the rows that are no longer true.
    ///
    /// A touched session that merged into another leaves its id, which may have gone to one that came back from the store and is
    /// shown as it is: what is shown has not changed.
    pub(super) fn take(&mut self) -> (Vec<u32>, Vec<RecordBatch>) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.iter().for_each(|id| self.is_touched[*id as usize] = false);
        touched.retain(|id| self.places[*id as usize].is_none());
        (touched, std::mem::take(&mut self.retractions))
    }

    /// These sessions are shown now.
    pub(super) fn show(&mut self, ids: &[u32], places: &[Place], id_count: usize) {
        self.places.resize(id_count, None);
        ids.iter().zip(places).for_each(|(id, place)| self.places[*id as usize] = Some(*place));
    }

    /// These sessions are final: what was shown stays.
    pub(super) fn forget(&mut self, ids: &[u32]) {
        for id in ids {
            if let Some(place) = self.places.get_mut(*id as usize) {
                *place = None;
            }
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Option<Place>>() + self.is_touched.capacity() + 4 * self.touched.capacity()
    }
}
