//! What is kept for each key: named variables (a value, a list or a map of bytes each) and timers.
//!
//! In: the key whose turn it is ([`States::enter`]), then reads and writes of its variables and timers. Out: bytes, and the
//! timers that are due. What always holds: nothing that has expired is read, though it may still be held; a timer is in the
//! key's own list and in the queue of all keys or in neither; costs are in proportion to what is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::size_of;

use crate::expiry::Expiry;

/// The expiry of what never expires.
const NEVER: i64 = i64::MAX;

/// Which time timers are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimeMode {
    /// There are no timers.
    None,
    /// The wall clock.
    ProcessingTime,
    /// The watermark.
    EventTime,
}

/// How a variable is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// One value or none.
    Value,
    /// Values in the order in which they were appended.
    List,
    /// Values by keys.
    Map,
}

/// A named part of each key's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name, unique within the operator.
    pub name: String,
    /// How it is laid out.
    pub layout: Layout,
    /// What its bytes mean, as text: a restart with another text is refused.
    pub schema: String,
    /// After how many milliseconds of processing time what was written is gone.
    pub ttl: Option<i64>,
}

/// Bytes with the processing time (milliseconds) at which they are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub bytes: Vec<u8>,
    pub expires: i64,
}

/// A variable of one key.
#[derive(Debug, Clone, Default)]
pub(super) enum Cell {
    #[default]
    Empty,
    Value(Stored),
    List(Vec<Stored>),
    Map(BTreeMap<Vec<u8>, Stored>),
}

/// Everything of one key.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub cells: Vec<Cell>,
    pub timers: BTreeSet<i64>,
    /// Whether it counts among the keys held.
    live: bool,
    touched: bool,
    changed: bool,
}

/// What a round of calls did to the keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    /// Keys that were written and are still held.
    pub updated: u64,
    /// Keys that had state and have none any more.
    pub removed: u64,
    /// All keys without state: their ids can be given out again.
    pub gone: Vec<u32>,
    /// Those of them that had state before.
    pub emptied: Vec<u32>,
    /// Keys that may have changed and hold something.
    pub held: Vec<u32>,
}

/// The state of all keys of one worker. All times are milliseconds since 1970.
#[derive(Debug)]
pub struct States {
    pub(super) variables: Vec<Variable>,
    pub(super) kept: Vec<Kept>,
    due: BTreeSet<(i64, u32)>,
    expiry: Expiry,
    touched: Vec<u32>,
    current: u32,
    now: i64,
    watermark: Option<i64>,
    live: u64,
    bytes: usize,
}

impl States {
    /// No key has anything yet.
    pub fn new(variables: Vec<Variable>) -> Self {
        States {
            variables,
            kept: Vec::new(),
            due: BTreeSet::new(),
            expiry: Expiry::default(),
            touched: Vec::new(),
            current: 0,
            now: 0,
            watermark: None,
            live: 0,
            bytes: 0,
        }
    }

    /// From now on it is this time.
    pub(super) fn set_time(&mut self, now: i64, watermark: Option<i64>) {
        self.now = now;
        self.watermark = watermark;
    }

    /// Processing time.
    pub fn now(&self) -> i64 {
        self.now
    }

    /// Event time that is complete; `None` before there is any.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// It is this key's turn.
    pub fn enter(&mut self, group: u32) {
        self.current = group;
        let place = group as usize;
        if self.kept.len() <= place {
            self.kept.resize_with(place + 1, Kept::default);
        }
        if !std::mem::replace(&mut self.kept[place].touched, true) {
            self.touched.push(group);
        }
    }

    /// The value of a variable.
    pub fn value(&self, variable: usize) -> Option<&[u8]> {
        match self.cell(variable) {
            Some(Cell::Value(stored)) => self.alive(stored),
            _ => None,
        }
    }

    /// Replaces the value of a variable.
    pub fn set_value(&mut self, variable: usize, bytes: Vec<u8>) {
        let stored = self.stored(variable, bytes);
        self.replace(variable, Cell::Value(stored));
    }

    /// The values of a list, in their order.
    pub fn list(&self, variable: usize) -> impl Iterator<Item = &[u8]> {
        let values = match self.cell(variable) {
            Some(Cell::List(values)) => values.as_slice(),
            _ => &[],
        };
        values.iter().filter_map(|stored| self.alive(stored))
    }

    /// Replaces all values of a list.
    pub fn set_list(&mut self, variable: usize, values: Vec<Vec<u8>>) {
        let values: Vec<Stored> = values.into_iter().map(|bytes| self.stored(variable, bytes)).collect();
        let cell = if values.is_empty() { Cell::Empty } else { Cell::List(values) };
        self.replace(variable, cell);
    }

    /// Adds a value at the end of a list.
    pub fn append(&mut self, variable: usize, bytes: Vec<u8>) {
        let stored = self.stored(variable, bytes);
        self.bytes += stored.size();
        match self.cell_mut(variable) {
            Cell::List(values) => values.push(stored),
            other => *other = Cell::List(vec![stored]),
        }
    }

    /// The value of a key of a map.
    pub fn entry(&self, variable: usize, key: &[u8]) -> Option<&[u8]> {
        match self.cell(variable) {
            Some(Cell::Map(entries)) => entries.get(key).and_then(|stored| self.alive(stored)),
            _ => None,
        }
    }

    /// The keys and values of a map, by the bytes of the keys.
    pub fn entries(&self, variable: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
        let entries = match self.cell(variable) {
            Some(Cell::Map(entries)) => Some(entries),
            _ => None,
        };
        let entries = entries.into_iter().flatten();
        entries.filter_map(|(key, stored)| Some((key.as_slice(), self.alive(stored)?)))
    }

    /// Sets the value of a key of a map.
    pub fn set_entry(&mut self, variable: usize, key: Vec<u8>, bytes: Vec<u8>) {
        let stored = self.stored(variable, bytes);
        let grown = key.len() + stored.size();
        let before = match self.cell_mut(variable) {
            Cell::Map(entries) => {
                let key_size = key.len();
                entries.insert(key, stored).map_or(0, |old| old.size() + key_size)
            }
            other => {
                *other = Cell::Map(BTreeMap::from([(key, stored)]));
                0
            }
        };
        self.bytes = (self.bytes + grown).saturating_sub(before);
    }

    /// Takes a key out of a map.
    pub fn remove_entry(&mut self, variable: usize, key: &[u8]) {
        let Cell::Map(entries) = self.cell_mut(variable) else { return };
        let gone = entries.remove(key).map_or(0, |old| old.size() + key.len());
        if entries.is_empty() {
            *self.cell_mut(variable) = Cell::Empty;
        }
        self.bytes = self.bytes.saturating_sub(gone);
    }

    /// Whether a variable has anything.
    pub fn exists(&self, variable: usize) -> bool {
        match self.cell(variable) {
            None | Some(Cell::Empty) => false,
            Some(Cell::Value(stored)) => self.alive(stored).is_some(),
            Some(Cell::List(_)) => self.list(variable).next().is_some(),
            Some(Cell::Map(_)) => self.entries(variable).next().is_some(),
        }
    }

    /// Forgets all of a variable.
    pub fn clear(&mut self, variable: usize) {
        if matches!(self.cell(variable), Some(cell) if !matches!(cell, Cell::Empty)) {
            self.replace(variable, Cell::Empty);
        }
    }

    /// Asks for a call at this time; asking twice for the same time gives one call.
    pub fn register_timer(&mut self, at: i64) {
        let group = self.current;
        let kept = &mut self.kept[group as usize];
        if kept.timers.insert(at) {
            kept.changed = true;
            self.due.insert((at, group));
        }
    }

    /// Takes a timer back, if there is such a one.
    pub fn delete_timer(&mut self, at: i64) {
        let group = self.current;
        let kept = &mut self.kept[group as usize];
        if kept.timers.remove(&at) {
            kept.changed = true;
            self.due.remove(&(at, group));
        }
    }

    /// The key's timers, the earliest first.
    pub fn timers(&self) -> impl Iterator<Item = i64> {
        self.kept.get(self.current as usize).into_iter().flat_map(|kept| kept.timers.iter().copied())
    }

    /// The earliest timer of all keys.
    pub(super) fn first_timer(&self) -> Option<i64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The timers at or before `limit`: key and time, the earliest first.
    pub(super) fn due(&self, limit: i64) -> Vec<(u32, i64)> {
        self.due.range(..=(limit, u32::MAX)).map(|(at, group)| (*group, *at)).collect()
    }

    /// Whether the current key still has this timer.
    pub fn has_timer(&self, at: i64) -> bool {
        self.kept.get(self.current as usize).is_some_and(|kept| kept.timers.contains(&at))
    }

    /// Lets go of what has expired, and of keys without anything.
    pub(super) fn sweep(&mut self) -> Swept {
        let mut expired = Vec::new();
        self.expiry.expire(self.now.saturating_mul(1000), &mut expired);
        for group in expired {
            self.enter(group);
            self.drop_expired(group);
        }
        let mut swept = Swept::default();
        for group in std::mem::take(&mut self.touched) {
            self.settle(group, &mut swept);
        }
        swept
    }

    fn settle(&mut self, group: u32, swept: &mut Swept) {
        let kept = &mut self.kept[group as usize];
        kept.touched = false;
        let changed = std::mem::take(&mut kept.changed);
        let holds = kept.holds();
        match (std::mem::replace(&mut kept.live, holds), holds) {
            (false, true) => self.live += 1,
            (true, false) => {
                self.live -= 1;
                swept.removed += 1;
                swept.emptied.push(group);
            }
            _ => {}
        }
        swept.updated += u64::from(changed && holds);
        if holds { swept.held.push(group) } else { swept.gone.push(group) }
    }

    fn drop_expired(&mut self, group: u32) {
        let now = self.now;
        let kept = &mut self.kept[group as usize];
        let mut gone = 0;
        for cell in &mut kept.cells {
            gone += cell.drop_expired(now);
        }
        kept.changed |= gone > 0;
        self.bytes = self.bytes.saturating_sub(gone);
    }

    /// Takes back a part of a key's state; see [`super::persist`].
    pub(super) fn put_back(&mut self, variable: usize, map_key: Option<Vec<u8>>, stored: Stored) {
        self.note_expiry(stored.expires);
        self.bytes += stored.size() + map_key.as_ref().map_or(0, Vec::len);
        let layout = self.variables[variable].layout;
        match (layout, self.cell_mut(variable), map_key) {
            (Layout::List, Cell::List(values), _) => values.push(stored),
            (Layout::List, other, _) => *other = Cell::List(vec![stored]),
            (Layout::Map, Cell::Map(entries), key) => drop(entries.insert(key.unwrap_or_default(), stored)),
            (Layout::Map, other, key) => *other = Cell::Map(BTreeMap::from([(key.unwrap_or_default(), stored)])),
            (Layout::Value, other, _) => *other = Cell::Value(stored),
        }
    }

    /// The keys entered in this round that have nothing.
    pub(super) fn empty_groups(&self) -> Vec<u32> {
        self.touched.iter().copied().filter(|group| !self.kept[*group as usize].holds()).collect()
    }

    /// Takes back keys that were elsewhere, as `put_back` does it: that does not change them.
    pub(super) fn admit(&mut self, put_back: impl FnOnce(&mut Self) -> crate::Result<()>) -> crate::Result<()> {
        let before = self.touched.len();
        put_back(self)?;
        for group in self.touched.split_off(before) {
            self.kept[group as usize].changed = false;
            self.settle(group, &mut Swept::default());
        }
        Ok(())
    }

    /// The same variables at the same time, and no key has anything.
    pub(super) fn emptied(&self) -> States {
        States { now: self.now, watermark: self.watermark, ..States::new(self.variables.clone()) }
    }

    /// The earliest timer of a key.
    pub(super) fn timer_of(&self, group: u32) -> Option<i64> {
        self.kept.get(group as usize)?.timers.first().copied()
    }

    /// When the first of a key's values expires; `i64::MAX` for never.
    pub(super) fn expiry_of(&self, group: u32) -> i64 {
        let cells = self.kept.get(group as usize).map_or(&[][..], |kept| &kept.cells);
        cells.iter().map(Cell::first_expiry).min().unwrap_or(NEVER)
    }

    /// The keys that hold something.
    pub(super) fn live_groups(&self) -> impl Iterator<Item = u32> {
        (0u32..).zip(&self.kept).filter(|(_, kept)| kept.live).map(|(group, _)| group)
    }

    /// Whether this key holds something.
    pub(super) fn is_live(&self, group: u32) -> bool {
        self.kept.get(group as usize).is_some_and(|kept| kept.live)
    }

    /// How many keys hold something.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// Memory held, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        let keys = self.kept.capacity() * (size_of::<Kept>() + self.variables.len() * size_of::<Cell>());
        let timers = self.due.len() * size_of::<(i64, u32, i64)>();
        self.bytes + keys + timers + self.expiry.size_bytes()
    }

    fn cell(&self, variable: usize) -> Option<&Cell> {
        self.kept.get(self.current as usize)?.cells.get(variable)
    }

    /// The cell, which is about to change.
    fn cell_mut(&mut self, variable: usize) -> &mut Cell {
        let count = self.variables.len().max(variable + 1);
        let kept = &mut self.kept[self.current as usize];
        kept.changed = true;
        if kept.cells.len() < count {
            kept.cells.resize_with(count, Cell::default);
        }
        &mut kept.cells[variable]
    }

    fn replace(&mut self, variable: usize, cell: Cell) {
        let grown = cell.size();
        let before = std::mem::replace(self.cell_mut(variable), cell).size();
        self.bytes = (self.bytes + grown).saturating_sub(before);
    }

    fn alive<'a>(&self, stored: &'a Stored) -> Option<&'a [u8]> {
        (stored.expires > self.now).then_some(stored.bytes.as_slice())
    }

    fn stored(&mut self, variable: usize, bytes: Vec<u8>) -> Stored {
        let ttl = self.variables.get(variable).and_then(|variable| variable.ttl);
        let expires = ttl.map_or(NEVER, |ttl| self.now.saturating_add(ttl));
        self.note_expiry(expires);
        Stored { bytes, expires }
    }

    fn note_expiry(&mut self, expires: i64) {
        if expires != NEVER {
            self.expiry.extend([(expires.saturating_mul(1000), self.current)]);
        }
    }
}

impl Kept {
    /// Whether there is anything.
    fn holds(&self) -> bool {
        !self.timers.is_empty() || self.cells.iter().any(|cell| !matches!(cell, Cell::Empty))
    }
}

impl Stored {
    fn size(&self) -> usize {
        self.bytes.len() + size_of::<Stored>()
    }
}

impl Cell {
    fn size(&self) -> usize {
        match self {
            Cell::Empty => 0,
            Cell::Value(stored) => stored.size(),
            Cell::List(values) => values.iter().map(Stored::size).sum(),
            Cell::Map(entries) => entries.iter().map(|(key, stored)| key.len() + stored.size()).sum(),
        }
    }

    /// When the first of its values expires.
    fn first_expiry(&self) -> i64 {
        let first = match self {
            Cell::Empty => None,
            Cell::Value(stored) => Some(stored.expires),
            Cell::List(values) => values.iter().map(|stored| stored.expires).min(),
            Cell::Map(entries) => entries.values().map(|stored| stored.expires).min(),
        };
        first.unwrap_or(NEVER)
    }

    /// Lets go of what has expired; how many bytes that was.
    fn drop_expired(&mut self, now: i64) -> usize {
        let before = self.size();
        match self {
            Cell::Empty => {}
            Cell::Value(stored) if stored.expires > now => {}
            Cell::Value(_) => *self = Cell::Empty,
            Cell::List(values) => values.retain(|stored| stored.expires > now),
            Cell::Map(entries) => entries.retain(|_, stored| stored.expires > now),
        }
        if matches!(self, Cell::List(values) if values.is_empty()) || matches!(self, Cell::Map(e) if e.is_empty()) {
            *self = Cell::Empty;
        }
        before - self.size()
    }
}
