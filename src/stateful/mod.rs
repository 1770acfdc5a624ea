//! State of the program's own: code that is called for each key with its rows and keeps what it likes between calls.
//!
//! ```text
//!  df.group_by(["card"]).transform_with_state(processor, TimeMode, OutputMode)          StatefulProcessor, handles, timers
//!  df.group_by(["card"]).flat_map_groups_with_state(OutputMode, GroupStateTimeout, f)   one state, one timeout a key
//! ```
//!
//! In: a processor or a closure, whose key, input and output are serde types ([`crate::items`] tells how they are found among
//! the columns). Out: a DataFrame. What always holds: a key is called on one worker at a time; what a call reads and writes is the state of
//! its own key; state and timers are in every checkpoint; an error or a panic ends the query and names the call. Under the
//! micro-batch driver a key is called once an epoch with all its rows; under the continuous driver as rows arrive.
//!
//! Values are kept as bytes of [bincode](https://docs.rs/bincode): a type that changed between two runs on one checkpoint is
//! refused with `STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE`.

mod context;
mod function;
mod group_state;
mod handles;
mod runner;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use context::{Collector, Context, Rows};
pub use group_state::{GroupState, GroupStateTimeout};
pub use handles::{ListState, MapState, StateHandle, ValueState};
pub use thalweg_operators::arbitrary::TimeMode;

pub(crate) use function::{Request, StateFunction, StateProgram, Style};
pub(crate) use group_state::GroupFunction;
pub(crate) use runner::{Label, MakeInitial, initial_of, make};

use crate::Result;

/// Code that is called for each key, with state and timers: Spark's `StatefulProcessor`.
///
/// A query copies the processor for each worker and calls [`StatefulProcessor::init`] on the copy; it is also called once while
/// the query is written, so that mistakes are found at once. Fields of the processor itself are not state: they are lost at a
/// restart and not shared between workers.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// use thalweg::prelude::*;
/// use thalweg::stateful::*;
///
/// #[derive(Deserialize)]
/// struct Visit {
///     page: String,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Pages {
///     user: String,
///     count: i64,
/// }
///
/// #[derive(Clone, Default)]
/// struct Count {
///     pages: MapState<String, ()>,
/// }
///
/// impl StatefulProcessor for Count {
///     type Key = String;
///     type Input = Visit;
///     type Output = Pages;
///
///     fn init(&mut self, handle: &mut StateHandle) -> Result<()> {
///         self.pages = handle.map_state("pages", TtlConfig::NONE)?;
///         Ok(())
///     }
///
///     fn handle_input_rows(
///         &mut self,
///         key: &String,
///         rows: Rows<'_, Visit>,
///         context: &mut Context<'_>,
///         out: &mut Collector<Pages>,
///     ) -> Result<()> {
///         for visit in rows {
///             self.pages.update_value(context, &visit.page, &())?;
///         }
///         out.collect(Pages { user: key.clone(), count: self.pages.keys(context)?.len() as i64 });
///         Ok(())
///     }
/// }
///
/// let session = Session::builder().create();
/// let visits = session.sql("SELECT * FROM VALUES ('ann', 'a'), ('bob', 'a'), ('ann', 'b') AS t(user, page)")?;
/// let pages = visits.group_by(["user"]).transform_with_state(Count::default(), TimeMode::None, "append")?;
/// assert_eq!(pages.filter("user = 'ann'")?.collect_as::<Pages>()?[0].count, 2);
/// # Ok::<(), Error>(())
/// ```
pub trait StatefulProcessor: Clone + Send + Sync + 'static {
    /// The key: a plain type for one column, a struct for several.
    type Key: DeserializeOwned + 'static;
    /// A row that comes in.
    type Input: DeserializeOwned + 'static;
    /// A row that goes out.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Names the state variables and keeps their handles.
    ///
    /// # Errors
    /// The processor's own, and those of [`StateHandle`].
    fn init(&mut self, handle: &mut StateHandle) -> Result<()>;

    /// Rows of a key came. Rows that are not taken are skipped.
    ///
    /// # Errors
    /// The processor's own; the query ends with it.
    fn handle_input_rows(
        &mut self,
        key: &Self::Key,
        rows: Rows<'_, Self::Input>,
        context: &mut Context<'_>,
        out: &mut Collector<Self::Output>,
    ) -> Result<()>;

    /// A timer of a key is due; `at` is the time it was registered for (milliseconds since 1970).
    ///
    /// # Errors
    /// The processor's own; the query ends with it.
    fn handle_expired_timer(
        &mut self,
        key: &Self::Key,
        at: i64,
        context: &mut Context<'_>,
        out: &mut Collector<Self::Output>,
    ) -> Result<()> {
        let _ = (key, at, context, out);
        Ok(())
    }

    /// The worker ends, or the query was refused.
    fn close(&mut self) {}
}

/// A processor that begins with state from elsewhere: Spark's `StatefulProcessorWithInitialState`.
pub trait StatefulProcessorWithInitialState: StatefulProcessor {
    /// A row of the initial state.
    type Initial: DeserializeOwned + 'static;

    /// The first run of the query begins: a row of the initial state, before any row of its key.
    ///
    /// # Errors
    /// The processor's own; the query ends with it.
    fn handle_initial_state(&mut self, key: &Self::Key, row: Self::Initial, context: &mut Context<'_>) -> Result<()>;
}

/// How long what is written to a state variable lives, in processing time; writing it again begins anew. Each entry of a list
/// or map has its own time. Needs [`TimeMode::ProcessingTime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TtlConfig(Option<Duration>);

impl TtlConfig {
    /// For ever.
    pub const NONE: TtlConfig = TtlConfig(None);

    /// For this long, which must be at least a millisecond.
    pub const fn new(ttl: Duration) -> Self {
        TtlConfig(Some(ttl))
    }
}
