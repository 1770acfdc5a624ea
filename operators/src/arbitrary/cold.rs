//! Arbitrary state of keys that have left memory: all that is kept of a key lies under it, and comes and goes together.
//!
//! In: keys that are about to be called for their rows, and those of which a timer is due or a value expires. Out: what was kept of them,
//! back in memory. What always holds: between rounds no key is in use, so any may leave; what is called, fires or expires does so in
//! memory.

use arrow::array::ArrayRef;

use super::*;
use crate::cold::Cold;
use crate::cold::rows::{ColdRows, Cursor, NEVER, Part, in_pieces};

/// Keys with timers: due when the first one is, by the clock that timers follow. What expires of them does so when they are back.
const TIMED: i64 = 0;
/// Keys without: due when the first of their values expires, by processing time.
const AGING: i64 = 1;

/// Where keys are for which there is no memory.
pub(super) struct ColdKeys {
    rows: ColdRows,
    /// Keys that came back since the size of what is in memory was last looked at.
    back: usize,
    /// The earliest timer of the keys there, in processing time.
    pub first_timer: Option<i64>,
}

impl Arbitrary {
    pub(super) fn set_cold(&mut self, cold: Cold) -> Result<bool> {
        if self.spec.keys.is_empty() {
            return Ok(false);
        }
        let rows = ColdRows::new(cold, self.keys.types(), &[persist::packed_type()], true)?;
        self.marks.watch();
        self.cold = Some(ColdKeys { rows, back: 0, first_timer: None });
        Ok(true)
    }

    /// Brings back these keys.
    pub(super) fn warm(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        let Some(cold) = self.cold.as_mut().filter(|cold| !cold.rows.is_empty()) else { return Ok(()) };
        let mut groups = Vec::new();
        let Some(unknown) = self.keys.unknown(keys, rows, &mut groups)? else { return Ok(()) };
        let found = [cold.rows.take(TIMED, &unknown)?, cold.rows.take(AGING, &unknown)?];
        found.into_iter().flatten().try_for_each(|part| self.admit(&part))
    }

    /// Brings back the keys of a bucket that are due.
    fn warm_due(&mut self, bucket: i64, until: i64) -> Result<()> {
        while let Some(part) = self.cold.as_mut().map_or(Ok(None), |cold| cold.rows.take_due(bucket, until))? {
            self.admit(&part)?;
        }
        Ok(())
    }

    /// Brings back the keys with timers up to `limit`.
    pub(super) fn warm_timers(&mut self, limit: i64) -> Result<()> {
        self.warm_due(TIMED, limit)
    }

    /// Brings back the keys of which something has expired.
    pub(super) fn warm_expired(&mut self) -> Result<()> {
        self.warm_due(AGING, self.states.now())
    }

    /// Adds keys that are not here.
    fn admit(&mut self, part: &Part) -> Result<()> {
        let groups = put_back(part, &mut self.keys, &mut self.states)?;
        groups.iter().zip(&part.marks).for_each(|(group, mark)| self.marks.put_back(*group, *mark));
        self.cold.iter_mut().for_each(|cold| cold.back += part.len());
        Ok(())
    }

    /// Sends half of the keys to the store, of those that have not been in use for longer, if those in memory are too many after
    /// `rows` more rows.
    pub(super) fn relieve(&mut self, rows: usize) -> Result<()> {
        let live = self.keys.len();
        let looks = self.cold.as_mut().is_some_and(|cold| {
            let back = std::mem::take(&mut cold.back);
            cold.rows.wants_look(rows + back, live)
        });
        if looks && self.cold.as_ref().is_some_and(|cold| cold.rows.is_exceeded(self.size_bytes())) {
            self.send_half()?;
        }
        // Only these timers wake anybody.
        let wakes = self.spec.time == TimeMode::ProcessingTime;
        if let Some(cold) = self.cold.as_mut().filter(|_| wakes) {
            cold.first_timer = cold.rows.first_due(TIMED)?;
        }
        Ok(())
    }

    fn send_half(&mut self) -> Result<()> {
        let Arbitrary { keys, marks, .. } = self;
        let leaving = marks.coldest(keys.len().div_ceil(2), keys.group_count(), |group| keys.is_live(group));
        let piece = self.cold.as_ref().map_or(1, |cold| cold.rows.piece());
        for leaving in leaving.chunks(piece) {
            for part in self.parts(leaving)? {
                self.cold.as_mut().map_or(Ok(()), |cold| cold.rows.put(&part))?;
            }
        }
        self.keys.remove(&leaving);
        let staying = self.parts(&self.keys.groups().collect::<Vec<_>>())?;
        self.keys = KeyTable::new(self.key_schema.fields())?;
        self.states = self.states.emptied();
        self.marks = self.marks.renewed();
        staying.iter().try_for_each(|part| self.admit(part))?;
        self.cold.iter_mut().for_each(|cold| cold.back = 0);
        Ok(())
    }

    /// All that is kept of these keys, as it may lie elsewhere; by bucket, without those that have none.
    fn parts(&self, groups: &[u32]) -> Result<Vec<Part>> {
        let (timed, aging): (Vec<u32>, Vec<u32>) =
            groups.iter().partition(|group| self.states.timer_of(**group).is_some());
        let filled = [(TIMED, timed), (AGING, aging)].into_iter().filter(|(_, groups)| !groups.is_empty());
        filled.map(|(bucket, groups)| self.part(bucket, &groups)).collect()
    }

    fn part(&self, bucket: i64, groups: &[u32]) -> Result<Part> {
        let due = |group: &u32| match bucket {
            TIMED => self.states.timer_of(*group).unwrap_or(NEVER),
            _ => self.states.expiry_of(*group),
        };
        Ok(Part {
            bucket,
            keys: self.keys.keys(groups)?,
            values: vec![persist::pack(&self.states, groups)],
            marks: groups.iter().map(|group| self.marks.of(*group)).collect(),
            dues: groups.iter().map(due).collect(),
        })
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.keys.size_bytes() + self.states.size_bytes() + self.marks.size_bytes()
    }

    /// Just these keys, as rows of a snapshot.
    fn saved(&self, part: &Part) -> Result<Vec<RecordBatch>> {
        let fields = self.key_schema.fields();
        let (mut keys, mut states) = (KeyTable::new(fields)?, self.states.emptied());
        let groups = put_back(part, &mut keys, &mut states)?;
        persist::save(&states, groups.into_iter(), &keys, fields, self.spec.time, self.hashing)
    }

    /// What is not in memory, as a snapshot has it.
    pub(super) fn snapshot_cold(&mut self) -> Result<Vec<RecordBatch>> {
        let (mut cursor, mut state) = (Cursor::all(), Vec::new());
        while let Some(part) = self.cold.as_mut().map_or(Ok(None), |cold| cold.rows.next(&mut cursor))? {
            state.extend(self.saved(&part)?);
        }
        Ok(state)
    }

    /// What has changed and has left memory since.
    pub(super) fn changes_cold(&mut self) -> Result<Vec<RecordBatch>> {
        let (mut cursor, mut changes) = (Cursor::all(), Vec::new());
        while let Some(part) = self.cold.as_mut().map_or(Ok(None), |cold| cold.rows.next_marked(DIRTY, &mut cursor))? {
            changes.extend(self.saved(&part)?);
        }
        self.cold.iter_mut().for_each(|cold| cold.rows.end_marked(DIRTY));
        Ok(changes)
    }

    /// Takes a snapshot back, some of it at a time.
    pub(super) fn restore_pieces(&mut self, state: Vec<RecordBatch>) -> Result<()> {
        for piece in in_pieces(state, self.cold.as_ref().map(|cold| &cold.rows)) {
            // A key's rows may come in several pieces.
            let columns = snapshot::columns(&piece)?;
            self.warm(&columns[..columns.len().min(self.spec.keys.len())], piece.num_rows())?;
            persist::load(&piece, &mut self.states, &mut self.keys, &self.spec.deleted, self.spec.time)?;
            if !self.spec.deleted.is_empty() {
                self.note_gone(&self.states.empty_groups())?;
            }
            self.sweep()?;
            self.relieve(piece.num_rows())?;
        }
        Ok(())
    }

    pub(super) fn report_cold(&self, metrics: &mut StateMetrics) {
        self.cold.iter().for_each(|cold| cold.rows.report(metrics));
    }
}

/// Adds keys that are not there; their ids, in their order.
fn put_back(part: &Part, keys: &mut KeyTable, states: &mut States) -> Result<Vec<u32>> {
    let mut groups = Vec::new();
    keys.lookup_or_insert(&part.keys, part.len(), &mut groups)?;
    let packed = part.values.first().ok_or_else(persist::foreign)?;
    states.admit(|states| persist::unpack(packed, &groups, states))?;
    Ok(groups)
}
