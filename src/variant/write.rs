//! Builds one VARIANT: values are appended one after the other, containers are closed around them.
//!
//! In: values in document order. Out: the value's bytes, and the names its objects use. Numbers take the fewest bytes that
//! hold them. The fields of an object come in the order of their names, as readers expect them.

use hashbrown::HashMap;

use super::read::primitive;

/// A VARIANT under construction; used again from row to row.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    names: Vec<String>,
    ids: HashMap<String, usize>,
    out: Vec<u8>,
}

/// A field of an object that is not closed yet: its name's number and where its value starts behind the object's start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    id: usize,
    offset: usize,
}

impl Builder {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.names.clear();
        self.ids.clear();
        self.out.clear();
    }

    /// The bytes of the value.
    pub(crate) fn value(&self) -> &[u8] {
        &self.out
    }

    /// The bytes of the metadata.
    pub(crate) fn metadata(&self) -> Vec<u8> {
        let text: usize = self.names.iter().map(String::len).sum();
        let size = width(text.max(self.names.len()));
        let mut out = Vec::with_capacity(1 + (self.names.len() + 2) * size + text);
        out.push(1 | ((size - 1) as u8) << 6);
        push_sized(self.names.len(), size, &mut out);
        let mut end = 0;
        push_sized(end, size, &mut out);
        for name in &self.names {
            end += name.len();
            push_sized(end, size, &mut out);
        }
        self.names.iter().for_each(|name| out.extend(name.bytes()));
        out
    }

    /// Where the next value starts.
    pub(crate) fn start(&self) -> usize {
        self.out.len()
    }

    /// The field of this name, whose value is appended next, in the object that starts at `start`.
    pub(crate) fn field(&mut self, name: &str, start: usize) -> Field {
        let id = match self.ids.get(name) {
            Some(id) => *id,
            None => {
                self.names.push(name.to_owned());
                self.ids.insert(name.to_owned(), self.names.len() - 1);
                self.names.len() - 1
            }
        };
        Field { id, offset: self.out.len() - start }
    }

    /// Closes the object that starts at `start`.
    ///
    /// # Errors
    /// The name that two fields share.
    pub(crate) fn end_object(&mut self, start: usize, mut fields: Vec<Field>) -> Result<(), String> {
        fields.sort_by(|a, b| self.names[a.id].cmp(&self.names[b.id]));
        if let Some(pair) = fields.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(self.names[pair[0].id].clone());
        }
        let id_size = width(fields.iter().map(|field| field.id).max().unwrap_or(0));
        let offset_size = width(self.out.len() - start);
        let is_large = fields.len() > usize::from(u8::MAX);
        let kind = u8::from(is_large) << 4 | ((id_size - 1) as u8) << 2 | (offset_size - 1) as u8;
        let mut header = vec![kind << 2 | 2];
        push_sized(fields.len(), if is_large { 4 } else { 1 }, &mut header);
        fields.iter().for_each(|field| push_sized(field.id, id_size, &mut header));
        fields.iter().for_each(|field| push_sized(field.offset, offset_size, &mut header));
        push_sized(self.out.len() - start, offset_size, &mut header);
        self.insert(start, &header);
        Ok(())
    }

    /// Closes the array that starts at `start`; its elements start at `offsets` behind that.
    pub(crate) fn end_array(&mut self, start: usize, offsets: &[usize]) {
        let offset_size = width(self.out.len() - start);
        let is_large = offsets.len() > usize::from(u8::MAX);
        let kind = u8::from(is_large) << 2 | (offset_size - 1) as u8;
        let mut header = vec![kind << 2 | 3];
        push_sized(offsets.len(), if is_large { 4 } else { 1 }, &mut header);
        offsets.iter().for_each(|offset| push_sized(*offset, offset_size, &mut header));
        push_sized(self.out.len() - start, offset_size, &mut header);
        self.insert(start, &header);
    }

    fn insert(&mut self, at: usize, header: &[u8]) {
        self.out.splice(at..at, header.iter().copied());
    }

    fn primitive(&mut self, kind: u8, bytes: &[u8]) {
        self.out.push(kind << 2);
        self.out.extend_from_slice(bytes);
    }

    /// The null of JSON.
    pub(crate) fn null(&mut self) {
        self.primitive(primitive::NULL, &[]);
    }

    /// A boolean.
    pub(crate) fn boolean(&mut self, value: bool) {
        self.primitive(if value { primitive::TRUE } else { primitive::FALSE }, &[]);
    }

    /// A whole number.
    pub(crate) fn integer(&mut self, value: i64) {
        if let Ok(value) = i8::try_from(value) {
            self.primitive(primitive::INT8, &value.to_le_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.primitive(primitive::INT16, &value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.primitive(primitive::INT32, &value.to_le_bytes());
        } else {
            self.primitive(primitive::INT64, &value.to_le_bytes());
        }
    }

    /// A DOUBLE.
    pub(crate) fn double(&mut self, value: f64) {
        self.primitive(primitive::DOUBLE, &value.to_le_bytes());
    }

    /// A FLOAT.
    pub(crate) fn float(&mut self, value: f32) {
        self.primitive(primitive::FLOAT, &value.to_le_bytes());
    }

    /// A DECIMAL of at most 38 digits.
    pub(crate) fn decimal(&mut self, unscaled: i128, scale: u8) {
        const NINE: u128 = 999_999_999;
        const EIGHTEEN: u128 = 999_999_999_999_999_999;
        let (kind, size) = match unscaled.unsigned_abs() {
            digits if digits <= NINE && scale <= 9 => (primitive::DECIMAL4, 4),
            digits if digits <= EIGHTEEN && scale <= 18 => (primitive::DECIMAL8, 8),
            _ => (primitive::DECIMAL16, 16),
        };
        self.primitive(kind, &[scale]);
        self.out.extend_from_slice(&unscaled.to_le_bytes()[..size]);
    }

    /// A DATE, in days since 1970.
    pub(crate) fn date(&mut self, days: i32) {
        self.primitive(primitive::DATE, &days.to_le_bytes());
    }

    /// A TIMESTAMP, in microseconds since 1970 UTC.
    pub(crate) fn timestamp(&mut self, micros: i64) {
        self.primitive(primitive::TIMESTAMP, &micros.to_le_bytes());
    }

    /// A TIMESTAMP_NTZ, in microseconds.
    pub(crate) fn timestamp_ntz(&mut self, micros: i64) {
        self.primitive(primitive::TIMESTAMP_NTZ, &micros.to_le_bytes());
    }

    /// A BINARY.
    pub(crate) fn binary(&mut self, value: &[u8]) {
        self.sized(primitive::BINARY, value);
    }

    /// A STRING.
    pub(crate) fn text(&mut self, value: &str) {
        if value.len() < 64 {
            self.out.push((value.len() as u8) << 2 | 1);
            self.out.extend(value.bytes());
        } else {
            self.sized(primitive::TEXT, value.as_bytes());
        }
    }

    fn sized(&mut self, kind: u8, bytes: &[u8]) {
        self.primitive(kind, &(bytes.len() as u32).to_le_bytes());
        self.out.extend_from_slice(bytes);
    }

    /// A value that was built elsewhere.
    pub(crate) fn copy(&mut self, value: &super::Value<'_>) -> Option<()> {
        use super::Item;
        match value.item()? {
            Item::Object(object) => {
                let (start, mut fields) = (self.start(), Vec::with_capacity(object.len()));
                for (name, value) in object.iter() {
                    fields.push(self.field(name?, start));
                    self.copy(&value?)?;
                }
                self.end_object(start, fields).ok()
            }
            Item::Array(array) => {
                let (start, mut offsets) = (self.start(), Vec::with_capacity(array.len()));
                for value in array.iter() {
                    offsets.push(self.start() - start);
                    self.copy(&value?)?;
                }
                self.end_array(start, &offsets);
                Some(())
            }
            _ => {
                self.out.extend_from_slice(value.parts().1);
                Some(())
            }
        }
    }
}

/// Bytes that hold `number`: 1 to 4.
fn width(number: usize) -> usize {
    match number {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xff_ffff => 3,
        _ => 4,
    }
}

fn push_sized(number: usize, size: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(number as u64).to_le_bytes()[..size]);
}
