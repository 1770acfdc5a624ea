//! `foreach_batch`: a user's function gets the rows of each epoch as one batch, with the epoch's number.
//!
//! In: the rows of all workers. Out: one call an epoch, also without rows, under both triggers. The call comes before the
//! epoch is committed: after a crash in between the same rows come again under the same number, by which the function can
//! recognise them. A panic in the function ends the query with an error, nothing else.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::{
    Collecting, Guarantee, OutputMode, Prepared, Sink, SinkContext, SinkProvider, SinkSpec, Writer, collected,
};
use crate::Result;
use crate::options::OptionSpec;

/// The function: rows, their columns, the epoch.
type BatchFunction = dyn Fn(Vec<RecordBatch>, SchemaRef, u64) -> Result<()> + Send + Sync;

/// What [`SinkSpec::function`] carries for this sink.
#[derive(Clone)]
pub struct ForeachBatchFunction(Arc<BatchFunction>);

impl ForeachBatchFunction {
    /// Wraps a function of the rows, their columns and the epoch's number.
    pub fn new(function: impl Fn(Vec<RecordBatch>, SchemaRef, u64) -> Result<()> + Send + Sync + 'static) -> Self {
        ForeachBatchFunction(Arc::new(function))
    }

    /// What `write_stream` needs to call this function.
    pub fn spec(self) -> SinkSpec {
        SinkSpec { format: "foreach_batch".into(), function: Some(Arc::new(self)), ..SinkSpec::default() }
    }
}

impl fmt::Debug for ForeachBatchFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeachBatchFunction")
    }
}

/// The provider of `foreach_batch(...)`.
#[derive(Debug)]
pub struct ForeachBatch;

impl SinkProvider for ForeachBatch {
    fn names(&self) -> &'static [&'static str] {
        &["foreach_batch", "foreachbatch"]
    }

    fn options(&self) -> Vec<&'static [OptionSpec]> {
        Vec::new()
    }

    fn modes(&self) -> &'static [OutputMode] {
        &[OutputMode::Append, OutputMode::Update, OutputMode::Complete]
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn connect(&self, spec: &SinkSpec, context: SinkContext) -> Result<Box<dyn Sink>> {
        super::check_options(self, spec)?;
        let function = super::function::<ForeachBatchFunction>(spec, "foreach_batch")?;
        Ok(Box::new(ForeachBatchSink { function: function.0.clone(), schema: context.schema }))
    }
}

struct ForeachBatchSink {
    function: Arc<BatchFunction>,
    schema: SchemaRef,
}

impl Sink for ForeachBatchSink {
    fn description(&self) -> String {
        "ForeachBatchSink".into()
    }

    fn writer(&mut self, _worker: usize) -> Result<Box<dyn Writer>> {
        Ok(Box::new(Collecting::default()))
    }

    fn commit(&mut self, epoch: u64, prepared: Vec<Prepared>) -> Result<()> {
        if prepared.iter().all(|prepared| prepared.payload.is_none()) {
            // The function ran before the log was written; a repeated commit has nothing to do.
            return Ok(());
        }
        let call = || (self.function)(collected(prepared), Arc::clone(&self.schema), epoch);
        super::guarded("FOREACH_BATCH_USER_FUNCTION_ERROR", format_args!("foreach_batch, batch {epoch}"), call)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::conformance::{context, rows, run};
    use super::*;

    #[test]
    fn o5_a_panic_becomes_an_error() {
        let spec = ForeachBatchFunction::new(|_, _, _| panic!("no luck")).spec();
        let mut sink = ForeachBatch.connect(&spec, context(OutputMode::Append)).unwrap();
        let error = run(sink.as_mut(), 7, &[rows(0..2)]).unwrap_err();
        assert!(error.message().contains("no luck"), "{error}");
        assert_eq!(error.place(), Some("foreach_batch, batch 7"));
    }

    #[test]
    fn o6_each_batch_comes_with_its_number_also_without_rows() {
        let seen: Arc<Mutex<Vec<(usize, u64)>>> = Arc::default();
        let keep = Arc::clone(&seen);
        let function = ForeachBatchFunction::new(move |batches, _, epoch| {
            keep.lock().unwrap().push((batches.iter().map(RecordBatch::num_rows).sum(), epoch));
            Ok(())
        });
        let mut sink = ForeachBatch.connect(&function.spec(), context(OutputMode::Append)).unwrap();
        run(sink.as_mut(), 3, &[rows(0..2), rows(2..3)]).unwrap();
        run(sink.as_mut(), 4, &[]).unwrap();
        assert_eq!(*seen.lock().unwrap(), [(3, 3), (0, 4)]);
    }
}
