//! Arrays, maps and structs to others of the same shape: their parts are cast, fields by position.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::datatypes::{DataType, FieldRef, Fields};

use super::{Caster, Convert};
use crate::{Error, Result};

/// Casts nested values of type `from` to `to`.
pub(super) fn converter(caster: &Caster, from: &DataType, to: &DataType) -> Result<Convert> {
    match (from, to) {
        (DataType::List(a), DataType::List(b)) => lists(caster, a, b),
        (DataType::Map(a, _), DataType::Map(b, _)) => maps(caster, a, b),
        (DataType::Struct(a), DataType::Struct(b)) => structs(caster, a, b),
        _ => Err(Error::internal(format!("no cast from {from} to {to}"))),
    }
}

fn lists(caster: &Caster, from: &FieldRef, to: &FieldRef) -> Result<Convert> {
    let items = caster.converter(from.data_type(), to.data_type())?;
    let field = Arc::clone(to);
    Ok(Arc::new(move |array| {
        let list = array.as_list::<i32>();
        let values = items(list.values())?;
        Ok(Arc::new(ListArray::try_new(Arc::clone(&field), list.offsets().clone(), values, list.nulls().cloned())?))
    }))
}

fn maps(caster: &Caster, from: &FieldRef, to: &FieldRef) -> Result<Convert> {
    let (DataType::Struct(_), DataType::Struct(fields)) = (from.data_type(), to.data_type()) else {
        return Err(Error::internal("the entries of a map are structs"));
    };
    let entries = caster.converter(from.data_type(), &DataType::Struct(fields.clone()))?;
    let field = Arc::clone(to);
    Ok(Arc::new(move |array| {
        let map = array.as_map();
        let cast = entries(&(Arc::new(map.entries().clone()) as ArrayRef))?;
        let cast = cast.as_struct().clone();
        Ok(Arc::new(MapArray::try_new(Arc::clone(&field), map.offsets().clone(), cast, map.nulls().cloned(), false)?))
    }))
}

fn structs(caster: &Caster, from: &Fields, to: &Fields) -> Result<Convert> {
    let parts =
        from.iter().zip(to).map(|(a, b)| caster.converter(a.data_type(), b.data_type())).collect::<Result<Vec<_>>>()?;
    let fields = to.clone();
    Ok(Arc::new(move |array| {
        let value = array.as_struct();
        let columns =
            value.columns().iter().zip(&parts).map(|(column, part)| part(column)).collect::<Result<Vec<_>>>()?;
        if columns.is_empty() {
            return Ok(Arc::new(StructArray::new_empty_fields(value.len(), value.nulls().cloned())));
        }
        Ok(Arc::new(StructArray::try_new(fields.clone(), columns, value.nulls().cloned())?))
    }))
}
