//! `min` and `max` of every type with an order: NaN is the largest number, strings compare by their bytes, structs and
//! lists by their parts with nulls first.
//!
//! In: one column. Out: the smallest or largest non-null value, null if there is none.

use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowNativeTypeOp, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type,
    Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};

use super::Accumulator;
use super::fold::{Fold, Folded, counting, each_row};
use super::function::{AggregateFunction, Definition, Mismatch, Options, Signature, check_count};
use super::rows::{RowCell, ValueCodec};
use crate::Result;
use crate::keys::normalize_floats;

pub(super) const FUNCTIONS: &[Definition] = &[
    Definition { names: &["min"], constants: &[], resolve, build: |function| build(function, End::Smallest) },
    Definition { names: &["max"], constants: &[], resolve, build: |function| build(function, End::Largest) },
];

/// Which end of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Smallest,
    Largest,
}

impl End {
    /// Whether `new` lies further at this end than `old`.
    #[inline]
    pub fn prefers<T: PartialOrd + ?Sized>(self, new: &T, old: &T) -> bool {
        match self {
            End::Smallest => new < old,
            End::Largest => new > old,
        }
    }
}

/// Whether values of this type can be compared: all but maps, calendar intervals and the like.
pub(super) fn is_orderable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(_, _) | DataType::Union(_, _) => false,
        DataType::Interval(unit) => *unit != arrow::datatypes::IntervalUnit::MonthDayNano,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_orderable(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_orderable(field.data_type())),
        _ => true,
    }
}

fn resolve(args: &[DataType], _: &Options) -> Result<Signature, Mismatch> {
    check_count(args, 1..=1, "1")?;
    if !is_orderable(&args[0]) {
        return Err(Mismatch::NotOrdered { position: 0 });
    }
    Ok(Signature { args: args.to_vec(), returns: args[0].clone() })
}

fn build(function: &AggregateFunction, end: End) -> Result<Box<dyn Accumulator>> {
    let data_type = function.return_type();
    Ok(match data_type {
        DataType::Int8 => PrimitiveExtreme::<Int8Type>::boxed(end, data_type),
        DataType::Int16 => PrimitiveExtreme::<Int16Type>::boxed(end, data_type),
        DataType::Int32 => PrimitiveExtreme::<Int32Type>::boxed(end, data_type),
        DataType::Int64 => PrimitiveExtreme::<Int64Type>::boxed(end, data_type),
        DataType::Float32 => PrimitiveExtreme::<Float32Type>::boxed(end, data_type),
        DataType::Float64 => PrimitiveExtreme::<Float64Type>::boxed(end, data_type),
        DataType::Decimal128(_, _) => PrimitiveExtreme::<Decimal128Type>::boxed(end, data_type),
        DataType::Date32 => PrimitiveExtreme::<Date32Type>::boxed(end, data_type),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            PrimitiveExtreme::<TimestampMicrosecondType>::boxed(end, data_type)
        }
        DataType::Duration(TimeUnit::Microsecond) => PrimitiveExtreme::<DurationMicrosecondType>::boxed(end, data_type),
        _ => Folded::boxed(RowExtreme { end, codec: ValueCodec::new(data_type)? }),
    })
}

/// Fixed-width values.
struct PrimitiveExtreme<T> {
    end: End,
    data_type: DataType,
    values: PhantomData<fn() -> T>,
}

impl<T: ArrowPrimitiveType<Native: Send + Sync>> PrimitiveExtreme<T> {
    fn boxed(end: End, data_type: &DataType) -> Box<dyn Accumulator> {
        Folded::boxed(PrimitiveExtreme::<T> { end, data_type: data_type.clone(), values: PhantomData })
    }

    fn offer(&self, cell: &mut Option<T::Native>, value: T::Native) {
        let better = match (*cell, self.end) {
            (None, _) => true,
            (Some(old), End::Smallest) => value.is_lt(old),
            (Some(old), End::Largest) => value.is_gt(old),
        };
        if better {
            *cell = Some(value);
        }
    }
}

impl<T: ArrowPrimitiveType<Native: Send + Sync>> Fold for PrimitiveExtreme<T> {
    type Cell = Option<T::Native>;

    fn update(
        &mut self,
        cells: &mut [Self::Cell],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let column = normalize_floats(&args[0])?;
        let values = column.as_primitive::<T>().values();
        let rows = counting(&args[..1], filter);
        each_row(groups, rows.as_ref(), |row, group| self.offer(&mut cells[group], values[row]));
        Ok(())
    }

    fn merge(&mut self, cells: &mut [Self::Cell], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.update(cells, groups, state, None)
    }

    fn evaluate(&self, cells: &[&Self::Cell]) -> Result<ArrayRef> {
        let values = cells.iter().map(|cell| **cell).collect::<PrimitiveArray<T>>();
        Ok(Arc::new(values.with_data_type(self.data_type.clone())))
    }

    fn state(&self, cells: &[&Self::Cell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(cells)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }
}

/// Everything else, by its row encoding.
struct RowExtreme {
    end: End,
    codec: ValueCodec,
}

impl Fold for RowExtreme {
    type Cell = RowCell;
    const HEAP: bool = true;

    fn update(
        &mut self,
        cells: &mut [RowCell],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let values = self.codec.encode(&args[0])?;
        let rows = counting(&args[..1], filter);
        each_row(groups, rows.as_ref(), |row, group| {
            let value = values.row(row).data();
            if cells[group].get().is_none_or(|old| self.end.prefers(value, old)) {
                cells[group].set(value);
            }
        });
        Ok(())
    }

    fn merge(&mut self, cells: &mut [RowCell], groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.update(cells, groups, state, None)
    }

    fn evaluate(&self, cells: &[&RowCell]) -> Result<ArrayRef> {
        self.codec.decode(cells.iter().map(|cell| cell.get()))
    }

    fn state(&self, cells: &[&RowCell]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(cells)?])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.codec.data_type().clone()]
    }

    fn heap_bytes(&self, cell: &RowCell) -> usize {
        cell.heap_bytes()
    }
}
