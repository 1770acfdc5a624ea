//! `mapGroupsWithState` and `flatMapGroupsWithState`: one state and one timeout a key, as a processor of their own.
//!
//! What always holds (Spark's rules): a call that does not set the timeout again clears it; a key times out when the time in
//! question is beyond its timeout, in a call without rows and with [`GroupState::has_timed_out`]; in a query over static data
//! there is no state before the call, and timeouts are ignored.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collector, Context, Rows, StateHandle, StatefulProcessor, StatefulProcessorWithInitialState};
use super::{TimeMode, TtlConfig, ValueState};
use crate::{Error, Result};

/// When keys without rows are called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupStateTimeout {
    /// Never.
    NoTimeout,
    /// By the wall clock: [`GroupState::set_timeout_duration`].
    ProcessingTimeTimeout,
    /// By the watermark: [`GroupState::set_timeout_timestamp`].
    EventTimeTimeout,
}

impl GroupStateTimeout {
    pub(crate) fn time_mode(self) -> TimeMode {
        match self {
            GroupStateTimeout::NoTimeout => TimeMode::None,
            GroupStateTimeout::ProcessingTimeTimeout => TimeMode::ProcessingTime,
            GroupStateTimeout::EventTimeTimeout => TimeMode::EventTime,
        }
    }
}

/// The state of a key during a call. Times are milliseconds since 1970.
#[derive(Debug)]
pub struct GroupState<S> {
    value: Option<S>,
    changed: bool,
    timeout: Option<i64>,
    timed_out: bool,
    mode: GroupStateTimeout,
    batch: bool,
    /// `None` if the input has no event time with a watermark.
    watermark: Option<i64>,
    now: i64,
}

impl<S> GroupState<S> {
    fn new(value: Option<S>, mode: GroupStateTimeout, timed_out: bool, context: &Context<'_>) -> Self {
        let facts = context.facts;
        GroupState {
            value,
            changed: false,
            timeout: None,
            timed_out,
            mode,
            batch: facts.batch,
            watermark: facts.watermark.then(|| if facts.batch { -1 } else { context.current_watermark_ms() }),
            now: context.current_processing_time_ms(),
        }
    }

    /// Whether the key has a state.
    pub fn exists(&self) -> bool {
        self.value.is_some()
    }

    /// The state, if there is one.
    pub fn get(&self) -> Option<&S> {
        self.value.as_ref()
    }

    /// Sets the state.
    pub fn update(&mut self, value: S) {
        self.value = Some(value);
        self.changed = true;
    }

    /// Forgets the state.
    pub fn remove(&mut self) {
        self.value = None;
        self.changed = true;
    }

    /// Whether this call is there because the key's timeout has passed.
    pub fn has_timed_out(&self) -> bool {
        self.timed_out
    }

    /// Calls the key again without rows once this much processing time has passed, unless rows come before.
    ///
    /// # Errors
    /// `_LEGACY_ERROR_TEMP_2203` without [`GroupStateTimeout::ProcessingTimeTimeout`]; a duration below a millisecond.
    pub fn set_timeout_duration(&mut self, duration: Duration) -> Result<()> {
        if self.mode != GroupStateTimeout::ProcessingTimeTimeout {
            let message = "a timeout duration needs processing-time timeouts";
            return Err(
                Error::query("_LEGACY_ERROR_TEMP_2203", message).hint("Use GroupStateTimeout::ProcessingTimeTimeout.")
            );
        }
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        if millis == 0 {
            return Err(Error::invalid("a timeout duration must be at least a millisecond"));
        }
        self.timeout = Some(self.now.saturating_add(millis));
        Ok(())
    }

    /// Calls the key again without rows once the watermark is beyond this time, unless rows come before.
    ///
    /// # Errors
    /// `_LEGACY_ERROR_TEMP_2205` without [`GroupStateTimeout::EventTimeTimeout`]; a time before 1970 or before the watermark.
    pub fn set_timeout_timestamp(&mut self, at: i64) -> Result<()> {
        if self.mode != GroupStateTimeout::EventTimeTimeout {
            let message = "a timeout timestamp needs event-time timeouts";
            return Err(
                Error::query("_LEGACY_ERROR_TEMP_2205", message).hint("Use GroupStateTimeout::EventTimeTimeout.")
            );
        }
        if at <= 0 {
            return Err(Error::invalid(format!("a timeout timestamp must be after 1970 but is {at}")));
        }
        if let Some(watermark) = self.watermark.filter(|watermark| at < *watermark) {
            let message = format!("timeout timestamp {at} is before the current watermark {watermark}");
            return Err(Error::invalid(message).hint("Rows before the watermark are dropped."));
        }
        self.timeout = Some(at);
        Ok(())
    }

    /// Event time up to which everything has come; -1 in a query over static data.
    ///
    /// # Errors
    /// `_LEGACY_ERROR_TEMP_2204` if the input has no watermark.
    pub fn get_current_watermark_ms(&self) -> Result<i64> {
        self.watermark.ok_or_else(|| {
            Error::query("_LEGACY_ERROR_TEMP_2204", "there is no watermark in front of the groups' state")
                .hint("Call with_watermark() before group_by().")
        })
    }

    /// Processing time: that of the batch under the micro-batch driver, the clock's under the continuous one.
    pub fn get_current_processing_time_ms(&self) -> i64 {
        self.now
    }
}

/// A closure over groups with state.
pub(crate) struct GroupFunction<K, In, S, Out, F> {
    function: Arc<F>,
    timeout: GroupStateTimeout,
    state: ValueState<S>,
    types: PhantomData<fn(K, In) -> Out>,
}

impl<K, In, S, Out, F> GroupFunction<K, In, S, Out, F> {
    pub(crate) fn new(timeout: GroupStateTimeout, function: F) -> Self {
        GroupFunction { function: Arc::new(function), timeout, state: ValueState::default(), types: PhantomData }
    }
}

impl<K, In, S, Out, F> Clone for GroupFunction<K, In, S, Out, F> {
    fn clone(&self) -> Self {
        GroupFunction { function: Arc::clone(&self.function), types: PhantomData, ..*self }
    }
}

impl<K, In, S, Out, F, I> GroupFunction<K, In, S, Out, F>
where
    S: Serialize + DeserializeOwned,
    F: Fn(&K, Rows<'_, In>, &mut GroupState<S>) -> Result<I>,
    I: IntoIterator<Item = Out>,
{
    fn call(
        &self,
        key: &K,
        rows: Rows<'_, In>,
        timed_out: bool,
        context: &mut Context<'_>,
        out: &mut Collector<Out>,
    ) -> Result<()> {
        let mut group = GroupState::new(self.state.get(context)?, self.timeout, timed_out, context);
        out.extend((self.function)(key, rows, &mut group)?);
        self.keep(group, context)
    }

    fn keep(&self, group: GroupState<S>, context: &mut Context<'_>) -> Result<()> {
        let before: Vec<i64> = context.states.timers().collect();
        // Timers are due at their time, timeouts once it has passed.
        let timeout = group.timeout.filter(|_| !group.batch).map(|at| at.saturating_add(1));
        before.into_iter().filter(|at| Some(*at) != timeout).for_each(|at| context.states.delete_timer(at));
        timeout.into_iter().for_each(|at| context.states.register_timer(at));
        match (group.changed, group.value) {
            (false, _) => Ok(()),
            (true, Some(value)) => self.state.update(context, &value),
            (true, None) => self.state.clear(context),
        }
    }
}

impl<K, In, S, Out, F, I> StatefulProcessor for GroupFunction<K, In, S, Out, F>
where
    K: DeserializeOwned + 'static,
    In: DeserializeOwned + 'static,
    S: Serialize + DeserializeOwned + 'static,
    Out: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&K, Rows<'_, In>, &mut GroupState<S>) -> Result<I> + Send + Sync + 'static,
    I: IntoIterator<Item = Out>,
{
    type Key = K;
    type Input = In;
    type Output = Out;

    fn init(&mut self, handle: &mut StateHandle) -> Result<()> {
        self.state = handle.value_state("groupState", TtlConfig::NONE)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        key: &K,
        rows: Rows<'_, In>,
        context: &mut Context<'_>,
        out: &mut Collector<Out>,
    ) -> Result<()> {
        self.call(key, rows, false, context, out)
    }

    fn handle_expired_timer(
        &mut self,
        key: &K,
        _: i64,
        context: &mut Context<'_>,
        out: &mut Collector<Out>,
    ) -> Result<()> {
        self.call(key, Rows { items: &mut std::iter::empty() }, true, context, out)
    }
}

impl<K, In, S, Out, F, I> StatefulProcessorWithInitialState for GroupFunction<K, In, S, Out, F>
where
    K: DeserializeOwned + 'static,
    In: DeserializeOwned + 'static,
    S: Serialize + DeserializeOwned + 'static,
    Out: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&K, Rows<'_, In>, &mut GroupState<S>) -> Result<I> + Send + Sync + 'static,
    I: IntoIterator<Item = Out>,
{
    type Initial = S;

    fn handle_initial_state(&mut self, _: &K, row: S, context: &mut Context<'_>) -> Result<()> {
        if self.state.exists(context)? {
            return Err(Error::invalid("the initial state has several rows of one key"));
        }
        self.state.update(context, &row)
    }
}
