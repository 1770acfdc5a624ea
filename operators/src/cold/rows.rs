//! Rows of state in a [`ColdStore`]: each under its key, with the time at which it is due and what has changed of it.
//!
//! ```text
//!  r bucket key       → marks, due, values          the row itself
//!  t bucket key       →                             it was touched since the last flush
//!  d bucket key       →                             it has changed since the last checkpoint
//!  e bucket due key   →                             it is due at a time
//! ```
//!
//! In: rows as an operator takes them out of its tables ([`Part`]). Out: the same rows by key, by bucket, by the time at which they are
//! due, or by what has changed; a piece at a time, so that memory stays bounded however many there are.
//! What always holds: a part is of one bucket (a window, where an operator has windows); a row that is taken leaves nothing behind; the
//! marks of a row are those that its group in the hot table would have, so what has changed is known wherever it lies.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::row::Rows;

use super::{Cold, ColdStore};
use crate::driver::StateMetrics;
use crate::keys::RowCodec;
use crate::marks::{DIRTY, TOUCHED};
use crate::{Error, Result};

/// A row that is never due.
pub(crate) const NEVER: i64 = i64::MAX;

const ROW: u8 = b'r';
const DUE: u8 = b'e';
/// The spaces of what has changed, with the marks.
const CHANGED: [(u8, u8); 2] = [(TOUCHED, b't'), (DIRTY, b'd')];

/// Rows on their way between a table and a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    /// The bucket of all of them.
    pub bucket: i64,
    /// Key columns.
    pub keys: Vec<ArrayRef>,
    /// The other columns.
    pub values: Vec<ArrayRef>,
    /// [`TOUCHED`] and [`DIRTY`], by row.
    pub marks: Vec<u8>,
    /// When each row is due; [`NEVER`].
    pub dues: Vec<i64>,
}

impl Part {
    /// Rows.
    pub fn len(&self) -> usize {
        self.marks.len()
    }
}

/// See the module.
pub(crate) struct ColdRows {
    store: Box<dyn ColdStore>,
    keys: RowCodec,
    values: RowCodec,
    /// Whether rows are due at times.
    is_timed: bool,
    rows: u64,
    bytes: u64,
    /// How often what was touched, and what was dirty, has been taken: marks from before count no more.
    generations: [u32; 2],
    piece: usize,
    budget: usize,
    /// Rows that came since the size of the hot state was last looked at.
    unseen: usize,
}

impl ColdRows {
    /// For rows with keys and values of these types; `is_timed`: some are due at a time.
    ///
    /// # Errors
    /// A type that has no form as bytes.
    pub fn new(cold: Cold, keys: &[DataType], values: &[DataType], is_timed: bool) -> Result<Self> {
        Ok(ColdRows {
            store: cold.store,
            keys: RowCodec::new(keys)?,
            values: RowCodec::exact(values)?,
            is_timed,
            rows: 0,
            bytes: 0,
            generations: [0; 2],
            piece: cold.piece,
            budget: cold.budget,
            unseen: 0,
        })
    }

    /// Whether no row is here.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds the rows here to what an operator reports of those in memory.
    pub fn report(&self, metrics: &mut StateMetrics) {
        metrics.rows_total += self.rows;
        metrics.cold_rows = self.rows;
        metrics.cold_bytes = self.bytes;
    }

    /// Rows that are read at once.
    pub fn piece(&self) -> usize {
        self.piece
    }

    /// Whether it is time to see what the hot state amounts to, now that `rows` more rows have come: it may cost a walk over its `live`
    /// groups.
    pub fn wants_look(&mut self, rows: usize, live: usize) -> bool {
        self.unseen += rows;
        let wants = live > 0 && self.unseen > live / 8;
        if wants {
            self.unseen = 0;
        }
        wants
    }

    /// Whether hot state of so many bytes is too much.
    pub fn is_exceeded(&self, bytes: usize) -> bool {
        bytes > self.budget
    }

    /// Bytes of memory that hot state should stay below.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Adds rows, none of which is here.
    pub fn put(&mut self, part: &Part) -> Result<()> {
        let keys = self.keys.encode(&part.keys)?;
        let values = if part.values.is_empty() { None } else { Some(self.values.encode(&part.values)?) };
        let (mut id, mut value) = (Id::default(), Vec::new());
        for row in 0..part.len() {
            id.set(part.bucket, keys.row(row).data());
            let due = if self.is_timed { part.dues[row] } else { NEVER };
            value.clear();
            self.write_head(part.marks[row], due, &mut value);
            if let Some(values) = &values {
                value.extend_from_slice(values.row(row).data());
            }
            self.store.put(id.of(ROW), &value)?;
            self.note(&mut id, part.marks[row], due)?;
            self.rows += 1;
            self.bytes += (id.0.len() + value.len()) as u64;
        }
        Ok(())
    }

    /// Takes the rows of a bucket that have these keys, as far as they are here; in the order of the keys.
    pub fn take(&mut self, bucket: i64, keys: &[ArrayRef]) -> Result<Option<Part>> {
        let keys: Rows = self.keys.encode(keys)?;
        let mut found = Found::default();
        let mut id = Id::default();
        for key in &keys {
            id.set(bucket, key.data());
            if self.store.take(id.of(ROW), &mut found.values)? {
                found.add(id.key());
            }
        }
        self.taken(bucket, found)
    }

    /// Takes rows of a bucket, some of them at a time; none if none are left.
    pub fn take_bucket(&mut self, bucket: i64) -> Result<Option<Part>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut cursor = Cursor::of(bucket);
        let ids = self.ids(ROW, &mut cursor, self.piece)?;
        self.take_ids(ids)
    }

    /// Takes rows of a bucket whose keys begin with one of these.
    pub fn take_under(&mut self, bucket: i64, prefixes: &Rows) -> Result<Option<Part>> {
        let (mut found, mut id) = (Found::default(), Id::default());
        for prefix in prefixes {
            id.set(bucket, prefix.data());
            let (until, mut ids) = (after_all(id.of(ROW)), Ids::default());
            self.store.walk(id.of(ROW), &until, &mut |key, _| ids.add(&key[1..]))?;
            // A key that comes twice finds nothing the second time.
            self.find(&ids, &mut found, ColdStore::take)?;
        }
        self.taken(bucket, found)
    }

    /// Takes rows of a bucket that are due at `until` or before, some of them at a time; none if none are left.
    pub fn take_due(&mut self, bucket: i64, until: i64) -> Result<Option<Part>> {
        let ids = self.due(bucket, until)?;
        self.take_ids(ids)
    }

    /// The keys of some of the rows of a bucket that are due at `until` or before; none if there are none.
    pub fn due_keys(&mut self, bucket: i64, until: i64) -> Result<Option<Vec<ArrayRef>>> {
        let ids = self.due(bucket, until)?;
        match ids.len() {
            0 => Ok(None),
            _ => self.keys.decode(ids.iter().map(|id| &id[8..])).map(Some),
        }
    }

    /// When the first of the rows of a bucket is due; none if none ever is.
    pub fn first_due(&mut self, bucket: i64) -> Result<Option<i64>> {
        if self.is_empty() || !self.is_timed {
            return Ok(None);
        }
        let from = [&[DUE], ordered(bucket).as_slice()].concat();
        let mut first = None;
        self.store.walk(&from, &after_all(&from), &mut |key, _| {
            first = Some(unordered(&key[9..]));
            false
        })?;
        Ok(first)
    }

    fn due(&mut self, bucket: i64, until: i64) -> Result<Ids> {
        let (piece, mut ids) = (self.piece, Ids::default());
        if self.is_empty() || !self.is_timed {
            return Ok(ids);
        }
        let bucket = ordered(bucket);
        let until = [&[DUE], bucket.as_slice(), &ordered(until.saturating_add(1))].concat();
        let mut id = Vec::new();
        self.store.walk(&[&[DUE], bucket.as_slice()].concat(), &until, &mut |key, _| {
            id.clear();
            id.extend_from_slice(&bucket);
            id.extend_from_slice(&key[17..]);
            ids.add(&id) && ids.len() < piece
        })?;
        Ok(ids)
    }

    /// Rows in order of bucket and key, some of them and of one bucket, from where the cursor stands; none at the end.
    pub fn next(&mut self, cursor: &mut Cursor) -> Result<Option<Part>> {
        if self.is_empty() {
            return Ok(None);
        }
        let ids = self.ids(ROW, cursor, self.piece)?;
        self.get_ids(ids)
    }

    /// Rows that are marked as `what`, some of them and of one bucket; none if none are left that have not been named. To be called
    /// until there are none, then [`ColdRows::end_marked`].
    pub fn next_marked(&mut self, what: u8, cursor: &mut Cursor) -> Result<Option<Part>> {
        if self.is_empty() {
            return Ok(None);
        }
        let space = if what == TOUCHED { b't' } else { b'd' };
        let ids = self.ids(space, cursor, self.piece)?;
        let mut id = Id::default();
        for known in ids.iter() {
            id.copy(known);
            self.store.take(id.of(space), &mut Vec::new())?;
        }
        self.get_ids(ids)
    }

    /// No row is marked as `what` any more.
    pub fn end_marked(&mut self, what: u8) {
        let generation = &mut self.generations[usize::from(what == DIRTY)];
        *generation = generation.wrapping_add(1);
    }

    /// The last of the next rows from where the cursor stands, as far as they are all there: where a merge may pause.
    pub fn nth(&mut self, cursor: &Cursor, rows: usize) -> Result<Option<Vec<u8>>> {
        let ids = self.ids(ROW, &mut cursor.clone(), rows)?;
        Ok(ids.last().filter(|_| ids.len() == rows).map(|id| id[8..].to_vec()))
    }

    /// The rows from where the cursor stands up to the key `last`, or to the end of the bucket.
    pub fn next_until(&mut self, cursor: &mut Cursor, last: Option<&[u8]>) -> Result<Option<Part>> {
        let mut bounded = match last {
            Some(last) => cursor.clone().until(last),
            None => cursor.clone(),
        };
        let ids = self.ids(ROW, &mut bounded, usize::MAX)?;
        cursor.from = bounded.from;
        self.get_ids(ids)
    }

    /// The ids in a space from where the cursor stands, of one bucket and at most so many; the cursor stands behind them then.
    fn ids(&mut self, space: u8, cursor: &mut Cursor, most: usize) -> Result<Ids> {
        let mut ids = Ids::default();
        let (from, until) = cursor.range(space);
        self.store.walk(&from, &until, &mut |key, _| ids.add(&key[1..]) && ids.len() < most)?;
        cursor.pass(ids.last());
        Ok(ids)
    }

    fn take_ids(&mut self, ids: Ids) -> Result<Option<Part>> {
        let mut found = Found::default();
        self.find(&ids, &mut found, ColdStore::take)?;
        self.taken(ids.bucket(), found)
    }

    fn get_ids(&mut self, ids: Ids) -> Result<Option<Part>> {
        let mut found = Found::default();
        self.find(&ids, &mut found, ColdStore::get)?;
        self.part(ids.bucket(), &found)
    }

    /// Adds the rows of these ids to what was found: left in the store or not, as `read` does.
    fn find(&mut self, ids: &Ids, found: &mut Found, read: Reading) -> Result<()> {
        let mut id = Id::default();
        for known in ids.iter() {
            id.copy(known);
            match read(self.store.as_mut(), id.of(ROW), &mut found.values)? {
                true => found.add(id.key()),
                false => return Err(lost()),
            }
        }
        Ok(())
    }

    /// Rows have been taken: what points to them goes, too.
    fn taken(&mut self, bucket: i64, found: Found) -> Result<Option<Part>> {
        let Some(part) = self.part(bucket, &found)? else { return Ok(None) };
        let mut id = Id::default();
        for (row, (key, value)) in found.iter().enumerate() {
            id.set(bucket, key);
            self.unnote(&mut id, part.marks[row], part.dues[row])?;
            self.rows -= 1;
            self.bytes -= (id.0.len() + value.len()) as u64;
        }
        Ok(Some(part))
    }

    /// What was found, as columns.
    fn part(&self, bucket: i64, found: &Found) -> Result<Option<Part>> {
        if found.len() == 0 {
            return Ok(None);
        }
        let mut part = Part { bucket, keys: self.keys.decode(found.iter().map(|(key, _)| key))?, ..Part::default() };
        let mut values = Vec::with_capacity(found.len());
        for (_, value) in found.iter() {
            let (mark, due, rest) = self.read_head(value)?;
            part.marks.push(mark);
            part.dues.push(due);
            values.push(rest);
        }
        if !self.values.types().is_empty() {
            part.values = self.values.decode(values)?;
        }
        Ok(Some(part))
    }

    fn write_head(&self, mark: u8, due: i64, value: &mut Vec<u8>) {
        for (generation, (what, _)) in self.generations.iter().zip(CHANGED) {
            // A mark of another generation is none.
            let generation = if mark & what != 0 { *generation } else { generation.wrapping_sub(1) };
            value.extend_from_slice(&generation.to_le_bytes());
        }
        if self.is_timed {
            value.extend_from_slice(&due.to_le_bytes());
        }
    }

    fn read_head<'a>(&self, value: &'a [u8]) -> Result<(u8, i64, &'a [u8])> {
        let (touched, rest) = value.split_first_chunk::<4>().ok_or_else(lost)?;
        let (dirty, rest) = rest.split_first_chunk::<4>().ok_or_else(lost)?;
        let is = |generation: &[u8; 4], at: usize| u32::from_le_bytes(*generation) == self.generations[at];
        let mark = if is(touched, 0) { TOUCHED } else { 0 } | if is(dirty, 1) { DIRTY } else { 0 };
        if !self.is_timed {
            return Ok((mark, NEVER, rest));
        }
        let (due, rest) = rest.split_first_chunk::<8>().ok_or_else(lost)?;
        Ok((mark, i64::from_le_bytes(*due), rest))
    }

    /// Files a row under what has changed of it and when it is due.
    fn note(&mut self, id: &mut Id, mark: u8, due: i64) -> Result<()> {
        for (_, space) in CHANGED.iter().filter(|(what, _)| mark & what != 0) {
            self.store.put(id.of(*space), &[])?;
        }
        if due != NEVER { self.store.put(&id.due(due), &[]) } else { Ok(()) }
    }

    fn unnote(&mut self, id: &mut Id, mark: u8, due: i64) -> Result<()> {
        for (_, space) in CHANGED.iter().filter(|(what, _)| mark & what != 0) {
            self.store.take(id.of(*space), &mut Vec::new())?;
        }
        if due != NEVER {
            self.store.take(&id.due(due), &mut Vec::new())?;
        }
        Ok(())
    }
}

/// State to restore, where some of it may have to leave memory again in pieces between which there is time for that.
pub(crate) fn in_pieces(state: Vec<RecordBatch>, cold: Option<&ColdRows>) -> impl Iterator<Item = RecordBatch> + use<> {
    let piece = cold.map_or(usize::MAX, ColdRows::piece);
    state.into_iter().flat_map(move |rows| {
        let count = rows.num_rows();
        (0..count).step_by(piece).map(move |from| rows.slice(from, piece.min(count - from)))
    })
}

/// A store that does not have what was put there.
fn lost() -> Error {
    Error::Internal("the store of cold state has lost a row".into())
}

/// The first of all bytes that come behind those that begin with these.
fn after_all(prefix: &[u8]) -> Vec<u8> {
    let mut after = prefix.to_vec();
    while after.pop_if(|last| *last == u8::MAX).is_some() {}
    if let Some(last) = after.last_mut() {
        *last += 1;
    }
    after
}

/// A number as bytes in its order.
fn ordered(number: i64) -> [u8; 8] {
    ((number as u64) ^ (1 << 63)).to_be_bytes()
}

fn unordered(bytes: &[u8]) -> i64 {
    let bytes = bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    (bytes ^ (1 << 63)) as i64
}

/// One of the ways in which a store gives what lies under a key.
type Reading = fn(&mut (dyn ColdStore + 'static), &[u8], &mut Vec<u8>) -> Result<bool>;

/// A key of the store: a byte for the space, the bucket, the key.
#[derive(Default)]
struct Id(Vec<u8>);

impl Id {
    fn set(&mut self, bucket: i64, key: &[u8]) {
        self.0.clear();
        self.0.push(ROW);
        self.0.extend_from_slice(&ordered(bucket));
        self.0.extend_from_slice(key);
    }

    /// `id`: bucket and key.
    fn copy(&mut self, id: &[u8]) {
        self.0.clear();
        self.0.push(ROW);
        self.0.extend_from_slice(id);
    }

    fn of(&mut self, space: u8) -> &[u8] {
        self.0[0] = space;
        &self.0
    }

    fn key(&self) -> &[u8] {
        &self.0[9..]
    }

    fn due(&self, due: i64) -> Vec<u8> {
        [&[DUE], &self.0[1..9], ordered(due).as_slice(), self.key()].concat()
    }
}

/// Buckets and keys, one behind the other, all of one bucket.
#[derive(Default)]
struct Ids {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Ids {
    /// Adds an id unless it is of another bucket than those before.
    fn add(&mut self, id: &[u8]) -> bool {
        let same = self.ends.is_empty() || self.bytes.get(..8) == id.get(..8);
        if same {
            self.bytes.extend_from_slice(id);
            self.ends.push(self.bytes.len());
        }
        same
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        slices(&self.bytes, &self.ends)
    }

    fn last(&self) -> Option<&[u8]> {
        let before = self.ends.len().checked_sub(2).map_or(0, |at| self.ends[at]);
        self.ends.last().map(|end| &self.bytes[before..*end])
    }

    fn bucket(&self) -> i64 {
        unordered(&self.bytes)
    }
}

/// Keys and values that were found.
#[derive(Default)]
struct Found {
    keys: Vec<u8>,
    key_ends: Vec<usize>,
    values: Vec<u8>,
    value_ends: Vec<usize>,
}

impl Found {
    /// The value has been appended; this is its key.
    fn add(&mut self, key: &[u8]) {
        self.keys.extend_from_slice(key);
        self.key_ends.push(self.keys.len());
        self.value_ends.push(self.values.len());
    }

    fn len(&self) -> usize {
        self.key_ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        slices(&self.keys, &self.key_ends).zip(slices(&self.values, &self.value_ends))
    }
}

fn slices<'a>(bytes: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let starts = std::iter::once(&0).chain(ends);
    starts.zip(ends).map(|(start, end)| &bytes[*start..*end])
}

/// Where a walk over rows stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cursor {
    /// Bucket and key to begin with.
    from: Vec<u8>,
    /// Bucket and key to end before; to the end of everything if empty.
    until: Vec<u8>,
}

impl Cursor {
    /// All rows.
    pub fn all() -> Self {
        Cursor::default()
    }

    /// The rows of one bucket.
    pub fn of(bucket: i64) -> Self {
        let until = bucket.checked_add(1).map_or(Vec::new(), |next| ordered(next).to_vec());
        Cursor { from: ordered(bucket).to_vec(), until }
    }

    /// The rows up to this key of the bucket at which it stands.
    fn until(mut self, last: &[u8]) -> Self {
        self.until = [&self.from[..8], last, &[0]].concat();
        self
    }

    fn range(&self, space: u8) -> (Vec<u8>, Vec<u8>) {
        let until = if self.until.is_empty() { vec![space + 1] } else { [&[space], self.until.as_slice()].concat() };
        ([&[space], self.from.as_slice()].concat(), until)
    }

    /// Moves behind the last id that was seen.
    fn pass(&mut self, last: Option<&[u8]>) {
        if let Some(last) = last {
            self.from.clear();
            self.from.extend_from_slice(last);
            self.from.push(0);
        }
    }
}
