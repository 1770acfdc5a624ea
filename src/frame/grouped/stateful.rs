//! Groups with state of the program's own: `transform_with_state`, `flat_map_groups_with_state`, `map_groups_with_state`.
//!
//! In: a processor or a closure ([`crate::stateful`]). Out: a DataFrame of what it makes. Everything about names and types that
//! can be wrong is told here, before anything runs.

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{Column as PlanColumn, ExprSchema};
use datafusion::logical_expr::LogicalPlan;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{GroupedData, items};
use crate::frame::DataFrame;
use crate::functions::coerce::type_name;
use crate::io::IntoSchema;
use crate::items::{Decoder, Encoder, short_name};
use crate::plan::nodes::{ArbitraryState, event_time_index, extension};
use crate::query::IntoOutputMode;
use crate::sinks::OutputMode;
use crate::stateful::{
    GroupFunction, GroupState, GroupStateTimeout, Label, MakeInitial, Request, Rows, StateFunction, StatefulProcessor,
    StatefulProcessorWithInitialState, Style, TimeMode, initial_of, make,
};
use crate::{Error, Result};

/// A plan, and its columns that are keys.
type Keyed = (LogicalPlan, Vec<PlanColumn>);

/// How a function is called.
struct Calling {
    style: Style,
    time: TimeMode,
    mode: OutputMode,
    label: Label,
}

/// What it makes and what it begins with.
struct Around<'a, P: StatefulProcessor> {
    encoder: Encoder<P::Output>,
    event_time: Option<&'a str>,
    initial: Option<(&'a GroupedData, Box<MakeInitial<P>>)>,
}

impl<P: StatefulProcessor> Around<'_, P> {
    fn plain() -> Result<Self> {
        Ok(Around { encoder: Encoder::new(None)?, event_time: None, initial: None })
    }
}

impl GroupedData {
    /// Calls `processor` for each group with its rows, and with its timers when they are due. See [`StatefulProcessor`].
    ///
    /// # Errors
    /// `UNRESOLVED_COLUMN.WITH_SUGGESTION` for a field without a column; an output whose columns cannot be told from its type
    /// (then use [`GroupedData::transform_with_state_as`]); whatever the processor's `init` fails with.
    pub fn transform_with_state<P: StatefulProcessor>(
        &self,
        processor: P,
        time_mode: TimeMode,
        output_mode: impl IntoOutputMode,
    ) -> Result<DataFrame> {
        self.with_processor(processor, transform::<P>(time_mode, output_mode)?, Around::plain()?)
    }

    /// As [`GroupedData::transform_with_state`], with the output's columns given: `"ts TIMESTAMP, k STRING"`. One of them can
    /// be event time for what follows; then rows behind the watermark may not be made.
    ///
    /// # Errors
    /// `PARSE_SYNTAX_ERROR` of the schema, `CANNOT_ASSIGN_EVENT_TIME_COLUMN_WITHOUT_WATERMARK`,
    /// `EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE`, and as [`GroupedData::transform_with_state`].
    pub fn transform_with_state_as<P: StatefulProcessor>(
        &self,
        schema: impl IntoSchema,
        event_time: Option<&str>,
        processor: P,
        time_mode: TimeMode,
        output_mode: impl IntoOutputMode,
    ) -> Result<DataFrame> {
        let encoder = Encoder::new(Some(schema.into_schema()?))?;
        let around = Around { encoder, event_time, initial: None };
        self.with_processor(processor, transform::<P>(time_mode, output_mode)?, around)
    }

    /// As [`GroupedData::transform_with_state`], for a processor that begins with the rows of `initial`: a static DataFrame
    /// grouped by the same keys. They are handed over once, when the query first starts.
    ///
    /// # Errors
    /// Keys of other types, and as [`GroupedData::transform_with_state`].
    pub fn transform_with_initial_state<P: StatefulProcessorWithInitialState>(
        &self,
        processor: P,
        time_mode: TimeMode,
        output_mode: impl IntoOutputMode,
        initial: &GroupedData,
    ) -> Result<DataFrame> {
        let around = Around { initial: Some((initial, initial_of::<P>())), ..Around::plain()? };
        self.with_processor(processor, transform::<P>(time_mode, output_mode)?, around)
    }

    /// Calls `function` for each group with its rows and its state, and when its timeout has passed; any number of rows out.
    ///
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::stateful::*;
    ///
    /// let session = Session::builder().create();
    /// let rows = session.sql("SELECT id, id % 2 = 0 AS even FROM range(5)")?;
    /// let largest = |_: &bool, ids: Rows<'_, Number>, state: &mut GroupState<i64>| {
    ///     let largest = ids.map(|number| number.id).chain(state.get().copied()).max().unwrap_or(0);
    ///     state.update(largest);
    ///     Ok([largest])
    /// };
    /// let largest = rows.group_by(["even"]).flat_map_groups_with_state("append", GroupStateTimeout::NoTimeout, largest)?;
    /// assert_eq!(largest.order_by(["value"])?.collect_as::<i64>()?, [3, 4]);
    /// # #[derive(serde::Deserialize)]
    /// # struct Number { id: i64 }
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`GroupedData::transform_with_state`].
    pub fn flat_map_groups_with_state<K, In, S, Out, I>(
        &self,
        output_mode: impl IntoOutputMode,
        timeout: GroupStateTimeout,
        function: impl Fn(&K, Rows<'_, In>, &mut GroupState<S>) -> Result<I> + Send + Sync + 'static,
    ) -> Result<DataFrame>
    where
        K: DeserializeOwned + 'static,
        In: DeserializeOwned + 'static,
        S: Serialize + DeserializeOwned + 'static,
        Out: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = Out>,
    {
        let calling = groups::<In, Out>(Style::FlatMapGroups, timeout, output_mode.into_output_mode()?);
        self.with_processor(GroupFunction::new(timeout, function), calling, Around::plain()?)
    }

    /// As [`GroupedData::flat_map_groups_with_state`], beginning with the state in `initial`: a static DataFrame grouped by the
    /// same keys, one row a key.
    ///
    /// # Errors
    /// As [`GroupedData::transform_with_initial_state`].
    pub fn flat_map_groups_with_initial_state<K, In, S, Out, I>(
        &self,
        output_mode: impl IntoOutputMode,
        timeout: GroupStateTimeout,
        initial: &GroupedData,
        function: impl Fn(&K, Rows<'_, In>, &mut GroupState<S>) -> Result<I> + Send + Sync + 'static,
    ) -> Result<DataFrame>
    where
        K: DeserializeOwned + 'static,
        In: DeserializeOwned + 'static,
        S: Serialize + DeserializeOwned + 'static,
        Out: Serialize + DeserializeOwned + Send + 'static,
        I: IntoIterator<Item = Out>,
    {
        let calling = groups::<In, Out>(Style::FlatMapGroups, timeout, output_mode.into_output_mode()?);
        let around = Around { initial: Some((initial, initial_of())), ..Around::plain()? };
        self.with_processor(GroupFunction::new(timeout, function), calling, around)
    }

    /// Calls `function` for each group with its rows and its state, and when its timeout has passed; one row out for each call.
    /// On a stream the query's output mode has to be update.
    ///
    /// # Errors
    /// As [`GroupedData::transform_with_state`].
    pub fn map_groups_with_state<K, In, S, Out>(
        &self,
        timeout: GroupStateTimeout,
        function: impl Fn(&K, Rows<'_, In>, &mut GroupState<S>) -> Result<Out> + Send + Sync + 'static,
    ) -> Result<DataFrame>
    where
        K: DeserializeOwned + 'static,
        In: DeserializeOwned + 'static,
        S: Serialize + DeserializeOwned + 'static,
        Out: Serialize + DeserializeOwned + Send + 'static,
    {
        let one = move |key: &K, rows: Rows<'_, In>, state: &mut GroupState<S>| Ok([function(key, rows, state)?]);
        let calling = groups::<In, Out>(Style::MapGroups, timeout, OutputMode::Update);
        self.with_processor(GroupFunction::new(timeout, one), calling, Around::plain()?)
    }

    fn with_processor<P: StatefulProcessor>(
        &self,
        processor: P,
        calling: Calling,
        around: Around<'_, P>,
    ) -> Result<DataFrame> {
        let Calling { style, time, mode, label } = calling;
        let (plan, keys) = self.keyed()?;
        check_event_time(around.event_time, &around.encoder.schema(), &plan)?;
        let (initial, make_initial) = match around.initial {
            Some((grouped, make)) => (Some(grouped.keyed()?), Some(make)),
            None => (None, None),
        };
        let request = Request {
            batch: false,
            input: Arc::new(plan.schema().as_arrow().clone()),
            keys: key_schema(&plan, &keys)?,
            watermark: event_time_index(plan.schema()).is_some(),
            initial: initial.as_ref().map(|(plan, _)| Arc::new(plan.schema().as_arrow().clone())),
        };
        check_initial_keys(&request.keys, initial.as_ref())?;
        let reads = Decoder::<P::Input>::new(&request.input)?.columns();
        let (encoder, name) = (around.encoder, label.name.to_string());
        let makes = encoder.schema();
        let ready = move |request: &Request| make(&processor, request, time, &label, &encoder, make_initial.as_deref());
        // Once without a query, so that what is wrong with the processor is told at once.
        drop(ready(&request)?);
        let function = StateFunction { name, style, reads, makes, time, mode, make: Box::new(ready) };
        let initial = initial.map(|(plan, keys)| (Arc::new(plan), keys));
        let event_time = around.event_time.map(str::to_owned);
        let node = ArbitraryState::try_new(Arc::new(plan), keys, initial, event_time, Arc::new(function))?;
        Ok(DataFrame::new(self.frame.session().clone(), extension(node)))
    }

    /// The rows, with the keys among their columns.
    fn keyed(&self) -> Result<Keyed> {
        if self.sets.is_some() || self.pivot.is_some() {
            return Err(Error::unsupported("state by grouping sets or under a pivot").hint("Use group_by() alone."));
        }
        let keys = items(&self.keys)?;
        let plan = self.frame.plan().clone();
        self.frame.session().with_binder(|binder| binder.keyed(plan, &keys))
    }
}

fn transform<P>(time: TimeMode, mode: impl IntoOutputMode) -> Result<Calling> {
    let name = format!("transform_with_state({})", short_name::<P>()).into();
    let label = Label { name, condition: "TRANSFORM_WITH_STATE_USER_FUNCTION_ERROR" };
    Ok(Calling { style: Style::Transform, time, mode: mode.into_output_mode()?, label })
}

fn groups<In, Out>(style: Style, timeout: GroupStateTimeout, mode: OutputMode) -> Calling {
    let door = if style == Style::MapGroups { "map_groups_with_state" } else { "flat_map_groups_with_state" };
    let name = format!("{door}({} -> {})", short_name::<In>(), short_name::<Out>()).into();
    let label = Label { name, condition: "FAILED_EXECUTE_UDF" };
    Calling { style, time: timeout.time_mode(), mode, label }
}

fn key_schema(plan: &LogicalPlan, keys: &[PlanColumn]) -> Result<SchemaRef> {
    let field = |key: &PlanColumn| Ok(Arc::clone(plan.schema().field_from_column(key)?));
    let fields = keys.iter().map(field).collect::<Result<Vec<FieldRef>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

fn check_initial_keys(keys: &Schema, initial: Option<&Keyed>) -> Result<()> {
    let Some((plan, columns)) = initial else { return Ok(()) };
    let others = key_schema(plan, columns)?;
    let types = |schema: &Schema| schema.fields().iter().map(|field| type_name(field.data_type())).collect::<Vec<_>>();
    let (wanted, given) = (types(keys), types(&others));
    if wanted == given {
        return Ok(());
    }
    let (wanted, given) = (wanted.join(", "), given.join(", "));
    Err(Error::invalid(format!("the initial state is grouped by keys of types {given}, the rows by {wanted}"))
        .hint("Cast the keys of the one or the other."))
}

fn check_event_time(name: Option<&str>, schema: &Schema, input: &LogicalPlan) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    let field: &Field = schema.field_with_name(name).map_err(|_| {
        let message = format!("the output has no column '{name}' to be event time");
        Error::query("UNRESOLVED_COLUMN.WITHOUT_SUGGESTION", message)
    })?;
    if event_time_index(input.schema()).is_none() {
        let message = format!("column '{name}' can be event time only if the input has a watermark");
        return Err(Error::query("CANNOT_ASSIGN_EVENT_TIME_COLUMN_WITHOUT_WATERMARK", message)
            .hint("Call with_watermark() before group_by()."));
    }
    if *field.data_type() != crate::types::timestamp() {
        let given = type_name(field.data_type());
        let message = format!("event-time column '{name}' is {given} instead of TIMESTAMP");
        return Err(Error::query("EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE", message));
    }
    Ok(())
}
