//! Typed steps: closures over values of the program's types in the middle of a query, in batch and on streams alike.
//!
//! In: a closure; its argument's fields are found among the columns by name, its result's fields become the columns
//! ([`crate::items`] tells how). Out: a DataFrame. A closure keeps nothing between rows, is shared by all workers, and a
//! column's watermark does not survive it (call `with_watermark` behind). A panic, or an error of the `try_` forms, ends the
//! query with `FAILED_EXECUTE_UDF` and the place; other queries go on.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::DataFrame;
use crate::io::IntoSchema;
use crate::items::{Decoder, Encoder, short_name};
use crate::plan::nodes::{ItemFunction, MapItems, extension};
use crate::sinks::guarded;
use crate::{Error, Result};

/// Spark's condition for a user's function that fails.
const CONDITION: &str = "FAILED_EXECUTE_UDF";

impl DataFrame {
    /// One value out per row: `orders.map_items(|order: Order| Line { total: order.price * order.count })`.
    ///
    /// # Errors
    /// `UNRESOLVED_COLUMN.WITH_SUGGESTION` for a field without a column; a result whose columns cannot be told from its type
    /// (then use [`DataFrame::try_flat_map_items_as`]).
    pub fn map_items<In, Out>(&self, function: impl Fn(In) -> Out + Send + Sync + 'static) -> Result<Self>
    where
        In: DeserializeOwned + 'static,
        Out: Serialize + DeserializeOwned + 'static,
    {
        let encoder = Encoder::<Out>::new(None)?;
        self.expanded("map_items", encoder, move |item| Ok::<_, Error>(Some(function(item))))
    }

    /// As [`DataFrame::map_items`], with a closure that may fail: its error ends the query.
    ///
    /// # Errors
    /// As [`DataFrame::map_items`].
    pub fn try_map_items<In, Out, E>(
        &self,
        function: impl Fn(In) -> Result<Out, E> + Send + Sync + 'static,
    ) -> Result<Self>
    where
        In: DeserializeOwned + 'static,
        Out: Serialize + DeserializeOwned + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let encoder = Encoder::<Out>::new(None)?;
        self.expanded("try_map_items", encoder, move |item| function(item).map(Some))
    }

    /// Any number of values out per row: `lines.flat_map_items(|line: String| words_of(&line))`.
    ///
    /// # Errors
    /// As [`DataFrame::map_items`].
    pub fn flat_map_items<In, Out, I>(&self, function: impl Fn(In) -> I + Send + Sync + 'static) -> Result<Self>
    where
        In: DeserializeOwned + 'static,
        Out: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = Out>,
    {
        let encoder = Encoder::<Out>::new(None)?;
        self.expanded("flat_map_items", encoder, move |item| Ok::<_, Error>(function(item)))
    }

    /// As [`DataFrame::flat_map_items`], with a closure that may fail: its error ends the query.
    ///
    /// # Errors
    /// As [`DataFrame::map_items`].
    pub fn try_flat_map_items<In, Out, I, E>(
        &self,
        function: impl Fn(In) -> Result<I, E> + Send + Sync + 'static,
    ) -> Result<Self>
    where
        In: DeserializeOwned + 'static,
        Out: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = Out>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let encoder = Encoder::<Out>::new(None)?;
        self.expanded("try_flat_map_items", encoder, function)
    }

    /// As [`DataFrame::try_flat_map_items`], with the result's columns given, for types that do not tell them (times):
    /// `df.try_flat_map_items_as("ts TIMESTAMP, k STRING", |event: Event| ...)`.
    ///
    /// # Errors
    /// `PARSE_SYNTAX_ERROR` of the schema, and as [`DataFrame::map_items`].
    pub fn try_flat_map_items_as<In, Out, I, E>(
        &self,
        schema: impl IntoSchema,
        function: impl Fn(In) -> Result<I, E> + Send + Sync + 'static,
    ) -> Result<Self>
    where
        In: DeserializeOwned + 'static,
        Out: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = Out>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let encoder = Encoder::<Out>::new(Some(schema.into_schema()?))?;
        self.expanded("try_flat_map_items_as", encoder, function)
    }

    /// The rows for which the closure says true, unchanged: `orders.filter_items(|order: &Order| order.is_large())`.
    ///
    /// # Errors
    /// As [`DataFrame::map_items`].
    pub fn filter_items<In>(&self, function: impl Fn(&In) -> bool + Send + Sync + 'static) -> Result<Self>
    where
        In: DeserializeOwned + 'static,
    {
        self.kept("filter_items", move |item| Ok::<_, Error>(function(item)))
    }

    /// As [`DataFrame::filter_items`], with a closure that may fail: its error ends the query.
    ///
    /// # Errors
    /// As [`DataFrame::map_items`].
    pub fn try_filter_items<In, E>(
        &self,
        function: impl Fn(&In) -> Result<bool, E> + Send + Sync + 'static,
    ) -> Result<Self>
    where
        In: DeserializeOwned + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.kept("try_filter_items", function)
    }

    fn expanded<In, Out, I, E>(
        &self,
        step: &str,
        encoder: Encoder<Out>,
        function: impl Fn(In) -> Result<I, E> + Send + Sync + 'static,
    ) -> Result<Self>
    where
        In: DeserializeOwned + 'static,
        Out: Serialize + 'static,
        I: IntoIterator<Item = Out>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let decoder = Decoder::<In>::new(&self.schema())?;
        let name = format!("{step}({} -> {})", short_name::<In>(), short_name::<Out>());
        let (reads, makes, place) = (decoder.columns(), Some(encoder.schema()), name.clone());
        let run = move |rows: &RecordBatch| {
            let items = decoder.items(rows)?;
            let all = || {
                items.into_iter().try_fold(Vec::new(), |mut made, item| {
                    made.extend(function(item).map_err(users)?);
                    Ok(made)
                })
            };
            encoder.rows(&guarded(CONDITION, &place, all)?)
        };
        self.applied(ItemFunction { name, reads, makes, run: Box::new(run) })
    }

    fn kept<In, E>(&self, step: &str, function: impl Fn(&In) -> Result<bool, E> + Send + Sync + 'static) -> Result<Self>
    where
        In: DeserializeOwned + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let decoder = Decoder::<In>::new(&self.schema())?;
        let name = format!("{step}({})", short_name::<In>());
        let (reads, place) = (decoder.columns(), name.clone());
        let run = move |rows: &RecordBatch| {
            let items = decoder.items(rows)?;
            let all = || items.iter().map(|item| function(item).map_err(users)).collect::<Result<Vec<_>>>();
            let keep = BooleanArray::from(guarded(CONDITION, &place, all)?);
            Ok(filter_record_batch(rows, &keep)?)
        };
        self.applied(ItemFunction { name, reads, makes: None, run: Box::new(run) })
    }

    fn applied(&self, function: ItemFunction) -> Result<Self> {
        let node = MapItems::try_new(Arc::clone(&self.plan), Arc::new(function))?;
        Ok(Self::new(self.session.clone(), extension(node)))
    }
}

/// An error of the user's as one of ours; ours stay as they are.
fn users(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(ours) => *ours,
        Err(other) => Error::data(CONDITION, format!("the user's function failed: {other}")),
    }
}
