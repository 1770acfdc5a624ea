//! Between the operator's bytes and the program's types: decodes keys and rows, calls the processor, encodes what it makes.
//!
//! What always holds: rows are decoded in chunks, whatever key they belong to; a call that leaves rows untaken does not give
//! them to the next; an error or a panic of the program comes out with the processor's name.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use thalweg_operators::Error as OperatorError;
use thalweg_operators::arbitrary::{Call, Feed, Processor, States};
use thalweg_operators::chunk::MAX_ROWS;

use super::context::{Collector, Context, Facts, Rows};
use super::{Request, StateHandle, StateProgram, StatefulProcessor, StatefulProcessorWithInitialState, TimeMode};
use crate::Result;
use crate::items::{Decoder, Encoder};
use crate::sinks::guarded;

/// How rows of the initial state are handed over; made for their columns.
pub(crate) type MakeInitial<P> = dyn Fn(&SchemaRef) -> Result<Box<Initial<P>>> + Send + Sync;

/// Hands rows of the initial state over: the processor, its key, the rows of the key.
pub(crate) type Initial<P> =
    dyn Fn(&mut P, &<P as StatefulProcessor>::Key, &RecordBatch, &mut Context<'_>) -> Result<()> + Send;

/// What a processor is called, and with which condition its failures come.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    /// As in `explain`.
    pub name: Arc<str>,
    /// Spark's condition of a failure of the program.
    pub condition: &'static str,
}

/// Makes a processor ready for a worker: copies it, lets it name its variables.
///
/// # Errors
/// The processor's own from `init`; columns that do not fit its types.
pub(crate) fn make<P: StatefulProcessor>(
    template: &P,
    request: &Request,
    time: TimeMode,
    label: &Label,
    encoder: &Encoder<P::Output>,
    initial: Option<&MakeInitial<P>>,
) -> Result<StateProgram> {
    let mut processor = template.clone();
    let mut handle = StateHandle::new(time);
    guarded(label.condition, format_args!("{}, init", label.name), || processor.init(&mut handle))?;
    let initial = match (initial, &request.initial) {
        (Some(make), Some(schema)) => Some(make(schema)?),
        _ => None,
    };
    let runner = Runner {
        processor,
        initial,
        keys: Decoder::new(&request.keys)?,
        rows: Decoder::new(&request.input)?,
        encoder: encoder.clone(),
        facts: Facts { time, batch: request.batch, watermark: request.watermark },
        places: Places::new(label),
        made: Collector { rows: Vec::new() },
        ready: Vec::new(),
    };
    Ok(StateProgram { variables: handle.variables, deleted: handle.deleted, processor: Box::new(runner) })
}

/// How a processor gets its initial state.
pub(crate) fn initial_of<P: StatefulProcessorWithInitialState>() -> Box<MakeInitial<P>> {
    Box::new(|schema| {
        let decoder = Decoder::<P::Initial>::new(schema)?;
        Ok(Box::new(move |processor: &mut P, key: &P::Key, rows: &RecordBatch, context: &mut Context<'_>| {
            decoder.items(rows)?.into_iter().try_for_each(|row| processor.handle_initial_state(key, row, context))
        }))
    })
}

/// Where a failure happened, as errors say it.
struct Places {
    condition: &'static str,
    rows: String,
    timers: String,
    initial: String,
    close: String,
}

impl Places {
    fn new(label: &Label) -> Self {
        let place = |call: &str| format!("{}, {call}", label.name);
        Places {
            condition: label.condition,
            rows: place("handle_input_rows"),
            timers: place("handle_expired_timer"),
            initial: place("handle_initial_state"),
            close: place("close"),
        }
    }
}

struct Runner<P: StatefulProcessor> {
    processor: P,
    initial: Option<Box<Initial<P>>>,
    keys: Decoder<P::Key>,
    rows: Decoder<P::Input>,
    encoder: Encoder<P::Output>,
    facts: Facts,
    places: Places,
    made: Collector<P::Output>,
    ready: Vec<RecordBatch>,
}

impl<P: StatefulProcessor> Runner<P> {
    fn rows_of(&mut self, keys: &RecordBatch, calls: &[Call], rows: &mut Feed<'_>, states: &mut States) -> Result<()> {
        let mut items =
            Decoded { feed: rows, decoder: &self.rows, items: Vec::new().into_iter(), left: 0, failed: None };
        for (key, call) in self.keys.items(keys)?.iter().zip(calls) {
            states.enter(call.group);
            items.left = call.rows;
            let mut context = Context { states, facts: self.facts };
            let rows = Rows { items: &mut items };
            let processor = &mut self.processor;
            let called = || processor.handle_input_rows(key, rows, &mut context, &mut self.made);
            let called = guarded(self.places.condition, &self.places.rows, called);
            items.finish()?;
            called?;
            encode(&self.encoder, &mut self.made, &mut self.ready, MAX_ROWS)?;
        }
        Ok(())
    }

    fn timers_of(&mut self, keys: &RecordBatch, timers: &[(u32, i64)], states: &mut States) -> Result<()> {
        for (key, (group, at)) in self.keys.items(keys)?.iter().zip(timers) {
            states.enter(*group);
            if !states.has_timer(*at) {
                continue;
            }
            let mut context = Context { states, facts: self.facts };
            let processor = &mut self.processor;
            let called = || processor.handle_expired_timer(key, *at, &mut context, &mut self.made);
            guarded(self.places.condition, &self.places.timers, called)?;
            states.delete_timer(*at);
            encode(&self.encoder, &mut self.made, &mut self.ready, MAX_ROWS)?;
        }
        Ok(())
    }

    fn initial_of(
        &mut self,
        keys: &RecordBatch,
        calls: &[Call],
        rows: &mut Feed<'_>,
        states: &mut States,
    ) -> Result<()> {
        let Some(initial) = &self.initial else { return Ok(()) };
        let mut batches = Vec::new();
        while let Some(batch) = rows()? {
            batches.push(batch);
        }
        let Some(first) = batches.first() else { return Ok(()) };
        let all = arrow::compute::concat_batches(&first.schema(), &batches)?;
        let mut start = 0;
        for (key, call) in self.keys.items(keys)?.iter().zip(calls) {
            states.enter(call.group);
            let own = all.slice(start, call.rows);
            start += call.rows;
            let mut context = Context { states, facts: self.facts };
            let processor = &mut self.processor;
            let called = || initial(processor, key, &own, &mut context);
            guarded(self.places.condition, &self.places.initial, called)?;
        }
        Ok(())
    }
}

/// What was made becomes rows once there are `enough`.
fn encode<T: serde::Serialize>(
    encoder: &Encoder<T>,
    made: &mut Collector<T>,
    ready: &mut Vec<RecordBatch>,
    enough: usize,
) -> Result<()> {
    if made.rows.len() < enough.max(1) {
        return Ok(());
    }
    for rows in made.rows.chunks(MAX_ROWS) {
        ready.push(encoder.rows(rows)?);
    }
    made.rows.clear();
    Ok(())
}

/// Rows decoded a chunk at a time, handed out a call at a time.
struct Decoded<'a, 'f, T> {
    feed: &'a mut Feed<'f>,
    decoder: &'a Decoder<T>,
    items: std::vec::IntoIter<T>,
    /// Rows of the call in progress that are not taken yet.
    left: usize,
    failed: Option<crate::Error>,
}

impl<T: serde::de::DeserializeOwned> Decoded<'_, '_, T> {
    fn more(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(item) = self.items.next() {
                return Ok(Some(item));
            }
            let Some(rows) = (self.feed)()? else { return Ok(None) };
            self.items = self.decoder.items(&rows)?.into_iter();
        }
    }

    /// Skips what the call has left, and tells why rows could not be read.
    fn finish(&mut self) -> Result<()> {
        while self.next().is_some() {}
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl<T: serde::de::DeserializeOwned> Iterator for Decoded<'_, '_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        self.more().unwrap_or_else(|error| {
            self.failed = Some(error);
            self.left = 0;
            None
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<P: StatefulProcessor> Processor for Runner<P> {
    fn on_rows(
        &mut self,
        keys: &RecordBatch,
        calls: &[Call],
        rows: &mut Feed<'_>,
        states: &mut States,
    ) -> Result<(), OperatorError> {
        self.rows_of(keys, calls, rows, states).map_err(OperatorError::outside)
    }

    fn on_initial(
        &mut self,
        keys: &RecordBatch,
        calls: &[Call],
        rows: &mut Feed<'_>,
        states: &mut States,
    ) -> Result<(), OperatorError> {
        self.initial_of(keys, calls, rows, states).map_err(OperatorError::outside)
    }

    fn on_timers(
        &mut self,
        keys: &RecordBatch,
        timers: &[(u32, i64)],
        states: &mut States,
    ) -> Result<(), OperatorError> {
        self.timers_of(keys, timers, states).map_err(OperatorError::outside)
    }

    fn take(&mut self) -> Result<Vec<RecordBatch>, OperatorError> {
        encode(&self.encoder, &mut self.made, &mut self.ready, 1).map_err(OperatorError::outside)?;
        Ok(std::mem::take(&mut self.ready))
    }
}

impl<P: StatefulProcessor> Drop for Runner<P> {
    fn drop(&mut self) {
        let processor = &mut self.processor;
        let closed = guarded(self.places.condition, &self.places.close, || {
            processor.close();
            Ok(())
        });
        if let Err(error) = closed {
            tracing::warn!("a stateful processor could not be closed: {error}");
        }
    }
}
