//! Aggregate functions that users of the library write row by row, like Spark's `Aggregator`.
//!
//! In: an [`Aggregator`], which knows one buffer and one row at a time. Out: a [`UserAggregate`] that runs in batch and
//! stream like the built-in ones; its buffers are serialised into the checkpoint. (A function that wants whole columns
//! implements [`UserAggregate`] itself, usually over a `Fold`.)

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thalweg_operators::aggregate::{Accumulator, Fold, Folded, Mismatch, Signature, UserAggregate};

use crate::{Error, Result};

/// A user's aggregate function.
pub trait Aggregator: Send + Sync + 'static {
    /// What is kept of a group; the default is that of no rows.
    type Buffer: Default + Serialize + DeserializeOwned + Send + Sync;

    /// The name, for plans and messages.
    fn name(&self) -> &str;

    /// What the arguments are cast to.
    fn argument_types(&self) -> Vec<DataType>;

    /// The type of the result.
    fn return_type(&self) -> DataType;

    /// Adds row `row` of the argument columns.
    ///
    /// # Errors
    /// The function's own; the query ends with it.
    fn reduce(&self, buffer: &mut Self::Buffer, args: &[ArrayRef], row: usize) -> Result<()>;

    /// Adds what another buffer has seen.
    ///
    /// # Errors
    /// The function's own.
    fn merge(&self, buffer: &mut Self::Buffer, other: Self::Buffer) -> Result<()>;

    /// The result, a value of [`Aggregator::return_type`].
    ///
    /// # Errors
    /// The function's own.
    fn finish(&self, buffer: &Self::Buffer) -> Result<ScalarValue>;
}

/// The function as one that [`super::bind_user`] takes.
pub fn aggregator<A: Aggregator>(aggregator: A) -> Arc<dyn UserAggregate> {
    Arc::new(Shared(Arc::new(aggregator)))
}

struct Shared<A>(Arc<A>);

impl<A: Aggregator> UserAggregate for Shared<A> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self, args: &[DataType]) -> Result<Signature, Mismatch> {
        let expected = self.0.argument_types();
        if args.len() != expected.len() {
            return Err(Mismatch::ArgumentCount { expected: "its own number of" });
        }
        Ok(Signature { args: expected, returns: self.0.return_type() })
    }

    fn accumulator(&self, _: &[DataType]) -> thalweg_operators::Result<Box<dyn Accumulator>> {
        Ok(Folded::boxed(Shared(Arc::clone(&self.0))))
    }
}

fn outside(error: impl Into<Error>) -> thalweg_operators::Error {
    thalweg_operators::Error::outside(error.into())
}

fn serialize(buffer: &impl Serialize) -> Result<Vec<u8>> {
    let bytes = bincode::serde::encode_to_vec(buffer, bincode::config::standard());
    bytes.map_err(|cause| {
        Error::internal(format!("an aggregate's buffer can't be serialised: {cause}")).caused_by(cause)
    })
}

fn deserialize<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    match bincode::serde::decode_from_slice(bytes, bincode::config::standard()) {
        Ok((buffer, _)) => Ok(buffer),
        Err(cause) => Err(Error::invalid(format!("an aggregate's saved buffer can't be read: {cause}"))
            .caused_by(cause)
            .hint("The buffer's type has changed since the checkpoint was written.")),
    }
}

impl<A: Aggregator> Fold for Shared<A> {
    type Cell = A::Buffer;

    fn update(
        &mut self,
        cells: &mut [A::Buffer],
        groups: &[u32],
        args: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> thalweg_operators::Result<()> {
        let passes = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, &group) in groups.iter().enumerate().filter(|(row, _)| passes(*row)) {
            self.0.reduce(&mut cells[group as usize], args, row).map_err(outside)?;
        }
        Ok(())
    }

    fn merge(&mut self, cells: &mut [A::Buffer], groups: &[u32], state: &[ArrayRef]) -> thalweg_operators::Result<()> {
        for (bytes, &group) in state[0].as_binary::<i32>().iter().zip(groups) {
            let other = deserialize(bytes.unwrap_or_default()).map_err(outside)?;
            self.0.merge(&mut cells[group as usize], other).map_err(outside)?;
        }
        Ok(())
    }

    fn evaluate(&self, cells: &[&A::Buffer]) -> thalweg_operators::Result<ArrayRef> {
        let results = cells.iter().map(|cell| self.0.finish(cell)).collect::<Result<Vec<_>>>().map_err(outside)?;
        if results.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.0.return_type()));
        }
        ScalarValue::iter_to_array(results).map_err(outside)
    }

    fn state(&self, cells: &[&A::Buffer]) -> thalweg_operators::Result<Vec<ArrayRef>> {
        let bytes = cells.iter().map(|cell| serialize(*cell)).collect::<Result<Vec<_>>>().map_err(outside)?;
        Ok(vec![Arc::new(BinaryArray::from_iter_values(bytes))])
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Binary]
    }
}
