//! Whole rows as bytes: what changelogs are compared, counted and arranged by.
//!
//! In: rows of one schema. Out: one byte string a row, equal for equal rows (Spark's equality: NaN is NaN, -0.0 is 0.0, null is
//! null), and rows again. Also what counts rows by it: [`net`] (what is left of changes that cancel) and [`Multiset`] (a table).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int8Array, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, take_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, SchemaRef};
use arrow::row::Rows;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;

use super::short::Bytes;
use super::{INSERT, append, batch, signs, split};
use crate::driver::StateMetrics;
use crate::keys::{Hashing, RowCodec};
use crate::{Error, Result, snapshot};

/// Encodes rows of one schema as bytes.
pub struct RowBytes {
    codec: RowCodec,
    schema: SchemaRef,
}

impl RowBytes {
    /// For rows of this schema.
    ///
    /// # Errors
    /// A type that has no equality.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let order = vec![SortOptions::default(); schema.fields().len()];
        Self::ordered(schema, &order)
    }

    /// For rows of this schema, the bytes ordered by the columns in this way.
    ///
    /// # Errors
    /// A type that has no equality.
    pub fn ordered(schema: SchemaRef, order: &[SortOptions]) -> Result<Self> {
        let types: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
        let codec = match types.as_slice() {
            // Rows without columns are counted, too: they all have the same byte.
            [] => RowCodec::new(&[DataType::Boolean])?,
            types => RowCodec::with_order(types, order)?,
        };
        Ok(RowBytes { codec, schema })
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The first columns of `rows`, as many as the schema has, as bytes.
    ///
    /// # Errors
    /// Columns of other types.
    pub fn encode(&self, rows: &RecordBatch) -> Result<Rows> {
        self.encode_columns(&rows.columns()[..self.schema.fields().len().min(rows.num_columns())], rows.num_rows())
    }

    /// Columns as bytes.
    ///
    /// # Errors
    /// Columns of other types.
    pub fn encode_columns(&self, columns: &[ArrayRef], rows: usize) -> Result<Rows> {
        if self.schema.fields().is_empty() {
            return self.codec.encode(&[Arc::new(BooleanArray::from(vec![false; rows])) as ArrayRef]);
        }
        self.codec.encode(columns)
    }

    /// Rows that were encoded here.
    ///
    /// # Errors
    /// Bytes that were not.
    pub fn decode<'a>(&self, rows: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<RecordBatch> {
        let count = rows.len();
        let columns = if self.schema.fields().is_empty() { Vec::new() } else { self.codec.decode(rows)? };
        batch(self.schema.clone(), columns, count)
    }
}

/// What is left of a changelog's rows when those that were given and taken back cancel: retractions first, then insertions, each
/// in the order in which their rows first came.
///
/// # Errors
/// Rows that are no changelog's, or of a type that has no equality.
pub fn net(rows: &RecordBatch) -> Result<RecordBatch> {
    let signs = signs(rows)?;
    if signs.values().iter().all(|sign| *sign == INSERT) {
        return Ok(rows.clone());
    }
    let (bare, signs) = split(rows)?;
    let encoded = RowBytes::new(bare.schema())?.encode(&bare)?;
    let mut sums: HashMap<&[u8], usize> = HashMap::with_capacity(bare.num_rows());
    let mut counts: Vec<(u32, i64)> = Vec::with_capacity(bare.num_rows());
    for (row, sign) in signs.values().iter().enumerate() {
        let place = *sums.entry(encoded.row(row).data()).or_insert_with(|| {
            counts.push((row as u32, 0));
            counts.len() - 1
        });
        counts[place].1 += i64::from(*sign);
    }
    let (down, up): (Vec<_>, Vec<_>) = counts.into_iter().filter(|(_, count)| *count != 0).partition(|(_, c)| *c < 0);
    pick(&bare, down.into_iter().chain(up))
}

/// Rows as often as their count says, with its sign.
fn pick(rows: &RecordBatch, counts: impl Iterator<Item = (u32, i64)>) -> Result<RecordBatch> {
    let (mut picks, mut signs) = (Vec::new(), Vec::new());
    for (row, count) in counts {
        let times = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        picks.extend(std::iter::repeat_n(row, times));
        signs.extend(std::iter::repeat_n(count.signum() as i8, times));
    }
    let picked = match rows.num_columns() {
        0 => batch(rows.schema(), Vec::new(), picks.len())?,
        _ => take_record_batch(rows, &UInt32Array::from(picks))?,
    };
    append(&picked, Int8Array::from(signs))
}

/// A table as a multiset of rows, kept by a changelog.
pub struct Multiset {
    bytes: RowBytes,
    /// How whole rows are hashed to the key groups that stand in the state.
    pub hashing: Hashing,
    counts: HashMap<Bytes, i64>,
    held: usize,
    /// By how much counts differ from what a checkpoint has, once changes are remembered.
    changed: Option<HashMap<Bytes, i64>>,
}

impl Multiset {
    /// An empty table of rows of this schema (without sign).
    ///
    /// # Errors
    /// A type that has no equality.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let (hashing, counts) = <_>::default();
        Ok(Multiset { bytes: RowBytes::new(schema)?, hashing, counts, held: 0, changed: None })
    }

    /// Adds rows with their signs (`None`: all are insertions).
    ///
    /// # Errors
    /// Rows of another schema.
    pub fn apply(&mut self, rows: &RecordBatch, signs: Option<&Int8Array>) -> Result<()> {
        let encoded = self.bytes.encode(rows)?;
        for row in 0..rows.num_rows() {
            let sign = signs.map_or(INSERT, |signs| signs.value(row));
            self.add(encoded.row(row).data(), i64::from(sign));
        }
        Ok(())
    }

    fn add(&mut self, row: &[u8], count: i64) {
        if let Some(changed) = &mut self.changed {
            *changed.entry_ref(row).or_insert(0) += count;
        }
        match self.counts.entry_ref(row) {
            EntryRef::Occupied(mut known) => {
                *known.get_mut() += count;
                if *known.get() == 0 {
                    known.remove();
                    self.held -= Bytes::beside(row);
                }
            }
            EntryRef::Vacant(place) => {
                self.held += Bytes::beside(row);
                place.insert(count);
            }
        }
    }

    /// Number of different rows.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Figures of an operator whose state it is; `updated`: how many changes came since the last ones.
    pub(crate) fn metrics(&self, updated: u64) -> StateMetrics {
        StateMetrics {
            rows_total: self.len() as u64,
            rows_updated: updated,
            memory_bytes: self.size_bytes() as u64,
            ..StateMetrics::default()
        }
    }

    /// Memory held, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.held + self.counts.capacity() * (size_of::<(Bytes, i64)>() + 1)
    }

    /// The different rows, and how often each is there.
    ///
    /// # Errors
    /// None that input could cause.
    pub fn rows(&self) -> Result<(RecordBatch, Int64Array)> {
        let rows = self.bytes.decode(self.counts.keys().map(|row| &**row))?;
        Ok((rows, Int64Array::from_iter_values(self.counts.values().copied())))
    }

    /// All rows whose count has this sign, each as often as it is there (or is owed).
    ///
    /// # Errors
    /// None that input could cause.
    pub fn all(&self, sign: i64) -> Result<RecordBatch> {
        let mut rows: Vec<&[u8]> = Vec::with_capacity(self.counts.len());
        for (row, count) in self.counts.iter().filter(|(_, count)| count.signum() == sign) {
            rows.extend(std::iter::repeat_n(&**row, usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX)));
        }
        self.bytes.decode(rows.into_iter())
    }

    /// The table as state: key groups by the whole row, `_count`, the columns.
    ///
    /// # Errors
    /// None that input could cause.
    pub fn snapshot(&self) -> Result<Vec<RecordBatch>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let (rows, counts) = self.rows()?;
        Ok(vec![self.counted(&rows, counts)?])
    }

    /// From now on it is remembered which rows' counts change.
    pub fn track(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// How the counts of rows have changed since the last call, as [`Multiset::restore`] takes it.
    ///
    /// # Errors
    /// None that input could cause.
    pub fn changes(&mut self) -> Result<Vec<RecordBatch>> {
        let mut changed = self.changed.as_mut().map(std::mem::take).unwrap_or_default();
        changed.retain(|_, count| *count != 0);
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.bytes.decode(changed.keys().map(|row| &**row))?;
        Ok(vec![self.counted(&rows, Int64Array::from_iter_values(changed.values().copied()))?])
    }

    /// Rows and their counts as state.
    fn counted(&self, rows: &RecordBatch, counts: Int64Array) -> Result<RecordBatch> {
        let first: (FieldRef, ArrayRef) = (Arc::new(Field::new("_count", DataType::Int64, false)), Arc::new(counts));
        let columns = std::iter::once(first).chain(named(rows)).collect();
        snapshot::summed(&snapshot::keyed(self.hashing, rows.columns(), rows.num_rows(), columns)?, COUNT)
    }

    /// Takes a snapshot back; counts add up.
    ///
    /// # Errors
    /// State that is no table of such rows.
    pub fn restore(&mut self, state: &[RecordBatch]) -> Result<()> {
        for part in state {
            let foreign = || Error::Internal("the state is no table of rows".into());
            let (counts, columns) = snapshot::columns(part)?.split_first().ok_or_else(foreign)?;
            let counts = arrow::array::AsArray::as_primitive_opt::<Int64Type>(counts).ok_or_else(foreign)?;
            if columns.len() != self.bytes.schema.fields().len() {
                return Err(foreign());
            }
            let encoded = self.bytes.encode_columns(columns, part.num_rows())?;
            (0..counts.len()).for_each(|row| self.add(encoded.row(row).data(), counts.value(row)));
        }
        Ok(())
    }
}

/// Position of the counts in a snapshot.
const COUNT: usize = 1;

fn named(rows: &RecordBatch) -> impl Iterator<Item = (FieldRef, ArrayRef)> {
    rows.columns().iter().enumerate().map(|(at, column)| {
        let field: FieldRef = Arc::new(Field::new(format!("c{at}"), column.data_type().clone(), true));
        (field, column.clone())
    })
}
