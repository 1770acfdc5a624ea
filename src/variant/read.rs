//! Looks into a VARIANT: what it is, the fields of an object, the elements of an array.
//!
//! In: the bytes of metadata and value. Out: views into them; nothing is copied. Damaged bytes give `None`.

/// Numbers of the kinds of plain values.
pub(super) mod primitive {
    pub(crate) const NULL: u8 = 0;
    pub(crate) const TRUE: u8 = 1;
    pub(crate) const FALSE: u8 = 2;
    pub(crate) const INT8: u8 = 3;
    pub(crate) const INT16: u8 = 4;
    pub(crate) const INT32: u8 = 5;
    pub(crate) const INT64: u8 = 6;
    pub(crate) const DOUBLE: u8 = 7;
    pub(crate) const DECIMAL4: u8 = 8;
    pub(crate) const DECIMAL8: u8 = 9;
    pub(crate) const DECIMAL16: u8 = 10;
    pub(crate) const DATE: u8 = 11;
    pub(crate) const TIMESTAMP: u8 = 12;
    pub(crate) const TIMESTAMP_NTZ: u8 = 13;
    pub(crate) const FLOAT: u8 = 14;
    pub(crate) const BINARY: u8 = 15;
    pub(crate) const TEXT: u8 = 16;
}

/// One value, with the names its objects use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    metadata: &'a [u8],
    bytes: &'a [u8],
}

/// What a value is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Item<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Float(f32),
    /// Unscaled value and scale; without zeros at the end of the fraction.
    Decimal(i128, u8),
    Date(i32),
    Timestamp(i64),
    TimestampNtz(i64),
    Binary(&'a [u8]),
    Text(&'a str),
    Object(Object<'a>),
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// The value of these bytes.
    pub(crate) fn new(metadata: &'a [u8], bytes: &'a [u8]) -> Value<'a> {
        Value { metadata, bytes }
    }

    /// Metadata and value as bytes.
    pub(crate) fn parts(&self) -> (&'a [u8], &'a [u8]) {
        (self.metadata, self.bytes)
    }

    /// What the value is.
    pub(crate) fn item(&self) -> Option<Item<'a>> {
        let (&header, rest) = self.bytes.split_first()?;
        let kind = header >> 2;
        match header & 3 {
            0 => plain(kind, rest),
            1 => text(rest.get(..usize::from(kind))?),
            2 => Object::new(self.metadata, kind, rest).map(Item::Object),
            _ => Array::new(self.metadata, kind, rest).map(Item::Array),
        }
    }
}

fn plain(kind: u8, bytes: &[u8]) -> Option<Item<'_>> {
    Some(match kind {
        primitive::NULL => Item::Null,
        primitive::TRUE => Item::Boolean(true),
        primitive::FALSE => Item::Boolean(false),
        primitive::INT8 => Item::Integer(i8::from_le_bytes(first(bytes)?).into()),
        primitive::INT16 => Item::Integer(i16::from_le_bytes(first(bytes)?).into()),
        primitive::INT32 => Item::Integer(i32::from_le_bytes(first(bytes)?).into()),
        primitive::INT64 => Item::Integer(i64::from_le_bytes(first(bytes)?)),
        primitive::DOUBLE => Item::Double(f64::from_le_bytes(first(bytes)?)),
        primitive::FLOAT => Item::Float(f32::from_le_bytes(first(bytes)?)),
        primitive::DATE => Item::Date(i32::from_le_bytes(first(bytes)?)),
        primitive::TIMESTAMP => Item::Timestamp(i64::from_le_bytes(first(bytes)?)),
        primitive::TIMESTAMP_NTZ => Item::TimestampNtz(i64::from_le_bytes(first(bytes)?)),
        primitive::BINARY => Item::Binary(sized(bytes)?),
        primitive::TEXT => return text(sized(bytes)?),
        _ => return decimal(kind, bytes),
    })
}

fn decimal(kind: u8, bytes: &[u8]) -> Option<Item<'_>> {
    let (&scale, digits) = bytes.split_first()?;
    let unscaled = match kind {
        primitive::DECIMAL4 => i32::from_le_bytes(first(digits)?).into(),
        primitive::DECIMAL8 => i64::from_le_bytes(first(digits)?).into(),
        primitive::DECIMAL16 => i128::from_le_bytes(first(digits)?),
        _ => return None,
    };
    (scale <= 38).then(|| shortest(unscaled, scale))
}

fn shortest<'a>(mut unscaled: i128, mut scale: u8) -> Item<'a> {
    while scale > 0 && unscaled % 10 == 0 {
        unscaled /= 10;
        scale -= 1;
    }
    Item::Decimal(unscaled, scale)
}

fn first<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk().copied()
}

fn sized(bytes: &[u8]) -> Option<&[u8]> {
    let length = number(bytes, 0, 4)?;
    bytes.get(4..)?.get(..length)
}

fn text(bytes: &[u8]) -> Option<Item<'_>> {
    std::str::from_utf8(bytes).ok().map(Item::Text)
}

/// The whole number of `size` bytes at place `index` of a list of such numbers.
fn number(bytes: &[u8], index: usize, size: usize) -> Option<usize> {
    let start = index.checked_mul(size)?;
    let bytes = bytes.get(start..start.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// The name with this number.
fn name(metadata: &[u8], id: usize) -> Option<&str> {
    let (&header, rest) = metadata.split_first()?;
    let size = usize::from(header >> 6) + 1;
    let count = number(rest, 0, size)?;
    if id >= count {
        return None;
    }
    let (from, to) = (number(rest, 1 + id, size)?, number(rest, 2 + id, size)?);
    let texts = rest.get(size.checked_mul(count.checked_add(2)?)?..)?;
    std::str::from_utf8(texts.get(from..to)?).ok()
}

/// A container's number of parts and what is left of its bytes.
fn counted(is_large: bool, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let size = if is_large { 4 } else { 1 };
    Some((number(bytes, 0, size)?, bytes.get(size..)?))
}

/// The fields of an object, in the order of their names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object<'a> {
    metadata: &'a [u8],
    ids: &'a [u8],
    id_size: usize,
    parts: Array<'a>,
}

impl<'a> Object<'a> {
    fn new(metadata: &'a [u8], kind: u8, bytes: &'a [u8]) -> Option<Object<'a>> {
        let (count, rest) = counted(kind >> 4 & 1 == 1, bytes)?;
        let id_size = usize::from(kind >> 2 & 3) + 1;
        let (ids, rest) = rest.split_at_checked(count.checked_mul(id_size)?)?;
        let parts = Array::of(metadata, count, usize::from(kind & 3) + 1, rest)?;
        Some(Object { metadata, ids, id_size, parts })
    }

    /// Number of fields.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// The field at `index`.
    fn name(&self, index: usize) -> Option<&'a str> {
        name(self.metadata, number(self.ids, index, self.id_size)?)
    }

    /// The fields; `None` for damaged parts.
    pub(crate) fn iter(self) -> impl Iterator<Item = (Option<&'a str>, Option<Value<'a>>)> {
        (0..self.len()).map(move |index| (self.name(index), self.parts.get(index)))
    }

    /// The value of the field of this name.
    pub(crate) fn find(&self, wanted: &str) -> Option<Value<'a>> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle)?.cmp(wanted) {
                std::cmp::Ordering::Equal => return self.parts.get(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// The elements of an array.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Array<'a> {
    metadata: &'a [u8],
    count: usize,
    offsets: &'a [u8],
    offset_size: usize,
    values: &'a [u8],
}

impl<'a> Array<'a> {
    fn new(metadata: &'a [u8], kind: u8, bytes: &'a [u8]) -> Option<Array<'a>> {
        let (count, rest) = counted(kind >> 2 & 1 == 1, bytes)?;
        Array::of(metadata, count, usize::from(kind & 3) + 1, rest)
    }

    fn of(metadata: &'a [u8], count: usize, offset_size: usize, bytes: &'a [u8]) -> Option<Array<'a>> {
        let (offsets, values) = bytes.split_at_checked(count.checked_add(1)?.checked_mul(offset_size)?)?;
        let end = number(offsets, count, offset_size)?;
        Some(Array { metadata, count, offsets, offset_size, values: values.get(..end)? })
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The element at `index`; its bytes may go on behind it, as a value knows its own length.
    pub(crate) fn get(&self, index: usize) -> Option<Value<'a>> {
        if index >= self.count {
            return None;
        }
        let start = number(self.offsets, index, self.offset_size)?;
        let bytes = self.values.get(start..).filter(|bytes| !bytes.is_empty())?;
        Some(Value::new(self.metadata, bytes.get(..length(bytes)?)?))
    }

    /// The elements; `None` for damaged ones.
    pub(crate) fn iter(self) -> impl Iterator<Item = Option<Value<'a>>> {
        (0..self.count).map(move |index| self.get(index))
    }
}

/// Number of bytes of the value that these bytes begin with.
fn length(bytes: &[u8]) -> Option<usize> {
    let (&header, rest) = bytes.split_first()?;
    let kind = header >> 2;
    let container = |is_large: bool, id_size: usize, offset_size: usize| {
        let (count, after) = counted(is_large, rest)?;
        let lists = count.checked_mul(id_size)?;
        let end = number(after.get(lists..)?, count, offset_size)?;
        let head = 1 + if is_large { 4 } else { 1 };
        Some(head + lists + (count + 1) * offset_size + end)
    };
    match header & 3 {
        0 => Some(1 + plain_length(kind, rest)?),
        1 => Some(1 + usize::from(kind)),
        2 => container(kind >> 4 & 1 == 1, usize::from(kind >> 2 & 3) + 1, usize::from(kind & 3) + 1),
        _ => container(kind >> 2 & 1 == 1, 0, usize::from(kind & 3) + 1),
    }
}

fn plain_length(kind: u8, rest: &[u8]) -> Option<usize> {
    Some(match kind {
        primitive::NULL | primitive::TRUE | primitive::FALSE => 0,
        primitive::INT8 => 1,
        primitive::INT16 => 2,
        primitive::INT32 | primitive::DATE | primitive::FLOAT => 4,
        primitive::INT64 | primitive::DOUBLE | primitive::TIMESTAMP | primitive::TIMESTAMP_NTZ => 8,
        primitive::DECIMAL4 => 5,
        primitive::DECIMAL8 => 9,
        primitive::DECIMAL16 => 17,
        primitive::BINARY | primitive::TEXT => 4 + number(rest, 0, 4)?,
        _ => return None,
    })
}
