//! Sessions of keys that have left memory: a key's sessions lie under the key and their starts, and come and go together.
//!
//! In: keys that are about to be used, and those of which a session ends. Out: their sessions, back in memory. What always holds: a
//! key's sessions are all in memory or all in the store; what closes or changes does so in memory.

use std::iter::once;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Int64Type};

use super::*;
use crate::cold::Cold;
use crate::cold::rows::{ColdRows, Cursor, NEVER, Part};
use crate::keys::RowCodec;

/// The one bucket of cold sessions.
const BUCKET: i64 = 0;

/// Where sessions are for which there is no memory.
pub(super) struct ColdSessions {
    pub rows: ColdRows,
    /// What keys of rows begin with: the keys of sessions.
    prefix: RowCodec,
}

impl Sessions {
    pub(super) fn set_cold(&mut self, cold: Cold) -> Result<bool> {
        if self.spec.keys.is_empty() {
            return Ok(false);
        }
        let keys: Vec<DataType> = self.keys.types().iter().cloned().chain(once(DataType::Int64)).collect();
        let values: Vec<DataType> = once(DataType::Int64).chain(self.states.types()).collect();
        let rows = ColdRows::new(cold, &keys, &values, self.spec.mode.closes())?;
        self.marks.watch();
        self.cold = Some(ColdSessions { rows, prefix: RowCodec::new(self.keys.types())? });
        Ok(true)
    }

    /// Brings back the sessions of these keys.
    pub(super) fn warm(&mut self, keys: &[ArrayRef], rows: usize) -> Result<()> {
        if self.cold.as_ref().is_none_or(|cold| cold.rows.is_empty()) {
            return Ok(());
        }
        match self.keys.unknown(keys, rows, &mut self.groups)? {
            Some(unknown) => self.bring_back(&unknown),
            None => Ok(()),
        }
    }

    /// Brings back some keys of which a session ends by now; false if there are none.
    pub(super) fn warm_due(&mut self) -> Result<bool> {
        let Some(cold) = &mut self.cold else { return Ok(false) };
        let Some(keys) = cold.rows.due_keys(BUCKET, self.watermark)? else { return Ok(false) };
        self.bring_back(&keys[..self.spec.keys.len()])?;
        Ok(true)
    }

    fn bring_back(&mut self, keys: &[ArrayRef]) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        match cold.rows.take_under(BUCKET, &cold.prefix.encode(keys)?)? {
            Some(part) => self.put_back(&part),
            None => Ok(()),
        }
    }

    fn put_back(&mut self, part: &Part) -> Result<()> {
        let foreign = || Error::Internal("a session in the store lacks columns".into());
        let (starts, keys) = part.keys.split_last().ok_or_else(foreign)?;
        let (ends, states) = part.values.split_first().ok_or_else(foreign)?;
        let long = |column: &ArrayRef| column.as_primitive_opt::<Int64Type>().cloned().ok_or_else(foreign);
        self.take_back(keys, &long(starts)?, &long(ends)?, states)?;
        let Sessions { marks, groups, .. } = self;
        groups.iter().zip(&part.marks).for_each(|(group, mark)| marks.put_back(*group, *mark));
        Ok(())
    }

    /// Sends the sessions of half of the keys to the store, of those that have not been in use for longer, if those in memory are
    /// too many after `rows` more rows.
    pub(super) fn relieve(&mut self, rows: usize, out: Option<&mut Output>) -> Result<()> {
        let live = self.keys.len();
        let looks = self.cold.as_mut().is_some_and(|cold| cold.rows.wants_look(rows, live));
        if !looks || !self.cold.as_ref().is_some_and(|cold| cold.rows.is_exceeded(self.size_bytes())) {
            return Ok(());
        }
        let piece = self.cold.as_ref().map_or(1, |cold| cold.rows.piece());
        if let Some(out) = out {
            self.flush(out)?;
        }
        let Sessions { keys, marks, .. } = self;
        let leaving = marks.coldest(live.div_ceil(2), keys.group_count(), |group| keys.is_live(group));
        for leaving in leaving.chunks(piece) {
            let part = self.part(leaving)?;
            self.cold.as_mut().map_or(Ok(()), |cold| cold.rows.put(&part))?;
        }
        self.keys.remove(&leaving);
        let staying = self.part(&self.keys.groups().collect::<Vec<_>>())?;
        self.clear()?;
        if staying.len() > 0 { self.put_back(&staying) } else { Ok(()) }
    }

    /// No sessions, and no memory for them.
    fn clear(&mut self) -> Result<()> {
        let fields: Vec<FieldRef> = self.spec.keys.iter().map(|key| self.spec.input.fields()[*key].clone()).collect();
        self.keys = KeyTable::new(&fields)?;
        (self.spans, self.expiry, self.shown) = <_>::default();
        self.states = States::new(&self.spec.aggregates)?;
        self.marks = self.marks.renewed();
        Ok(())
    }

    /// All sessions of these keys, as they may lie elsewhere.
    fn part(&self, groups: &[u32]) -> Result<Part> {
        let ids: Vec<u32> = groups.iter().flat_map(|group| self.spans.of_group(*group)).collect();
        let (ids, places) = self.spans.places(&ids);
        let closes = self.spec.mode.closes();
        let mut keys = self.key_columns(&places)?;
        keys.push(Arc::new(Int64Array::from_iter_values(places.iter().map(|place| place.start))));
        let ends: ArrayRef = Arc::new(Int64Array::from_iter_values(places.iter().map(|place| place.end)));
        Ok(Part {
            bucket: BUCKET,
            keys,
            values: once(ends).chain(self.states.state(&ids)?).collect(),
            marks: places.iter().map(|place| self.marks.of(place.group)).collect(),
            dues: places.iter().map(|place| if closes { place.end } else { NEVER }).collect(),
        })
    }

    /// An operator with just these sessions, to look at.
    fn of(spec: &SessionSpec, hashing: Hashing, part: &Part) -> Result<(Sessions, Vec<u32>)> {
        let mut sessions = Sessions::new(spec.clone())?;
        sessions.hash_by(hashing);
        sessions.put_back(part)?;
        let ids = sessions.spans.ids();
        Ok((sessions, ids))
    }

    /// Complete mode: emits what is not in memory.
    pub(super) fn emit_cold(&mut self, out: &mut Output) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let mut cursor = Cursor::all();
        while let Some(part) = cold.rows.next(&mut cursor)? {
            let (sessions, ids) = Sessions::of(&self.spec, self.hashing, &part)?;
            sessions.emit(&ids, out)?;
        }
        Ok(())
    }

    /// What is not in memory, as a snapshot has it.
    pub(super) fn snapshot_cold(&mut self) -> Result<Vec<RecordBatch>> {
        let Some(cold) = &mut self.cold else { return Ok(Vec::new()) };
        let (mut cursor, mut state) = (Cursor::all(), Vec::new());
        while let Some(part) = cold.rows.next(&mut cursor)? {
            let (sessions, ids) = Sessions::of(&self.spec, self.hashing, &part)?;
            state.push(sessions.state_of(&ids)?);
        }
        Ok(state)
    }

    /// What has changed and has left memory since.
    pub(super) fn changes_cold(&mut self) -> Result<Vec<RecordBatch>> {
        let Some(cold) = &mut self.cold else { return Ok(Vec::new()) };
        let (mut cursor, mut changes) = (Cursor::all(), Vec::new());
        while let Some(part) = cold.rows.next_marked(DIRTY, &mut cursor)? {
            let (sessions, ids) = Sessions::of(&self.spec, self.hashing, &part)?;
            changes.push(snapshot::changed(&sessions.state_of(&ids)?, &sessions.cell())?);
        }
        cold.rows.end_marked(DIRTY);
        Ok(changes)
    }
}
