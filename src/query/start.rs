//! Starting a query: everything that can be wrong with it is found here, before anything runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::logical_expr::LogicalPlan;

use super::event_time::EventTimeRules;
use super::execution::{Execution, OutletPlan, Setup};
use super::handle::{Parts, StreamingQuery};
use super::late::{LateBranch, LateWriter};
use super::manager::StreamingQueryManager;
use super::planning::{Planned, Planner};
use super::state::QueryState;
use super::state_operators::StateOperators;
use super::statics::Statics;
use super::trigger::Trigger;
use super::{active, fingerprint, recorded};
use crate::checkpoint::{Applicant, Checkpoint};
use crate::clock::{SharedClock, SystemClock};
use crate::cold::StateStore;
use crate::conf::Conf;
use crate::functions::datetime::now::{BatchTime, QueryTime};
use crate::options::parse_time;
use crate::plan::dataflow::DataflowPlan;
use crate::plan::{check, lower};
use crate::session::Session;
use crate::sinks::{self, OutputMode, Pace, Sink, SinkContext, SinkProvider, SinkSpec};
use crate::{Error, Result, threads};

/// What a writer has collected.
pub struct StartRequest {
    /// The query.
    pub plan: LogicalPlan,
    /// The session it belongs to.
    pub session: Session,
    /// Its settings now.
    pub conf: Conf,
    /// Its queries.
    pub manager: StreamingQueryManager,
    /// Output mode; append by default.
    pub mode: OutputMode,
    /// Whether the sink is given the changelog itself, with a column `_change`.
    pub changelog: bool,
    /// Trigger.
    pub trigger: Trigger,
    /// Name.
    pub name: Option<String>,
    /// Sink.
    pub sink: SinkSpec,
    /// Where late rows go, if anywhere.
    pub late: Option<LateWriter>,
    /// Folder of the checkpoint, if one was given.
    pub checkpoint: Option<PathBuf>,
    /// The clocks; the machine's by default.
    pub clock: Option<SharedClock>,
}

/// Checks, plans and starts a query; returns when its sources and sink are connected.
///
/// # Errors
/// Whatever is wrong with the query, its options, its checkpoint, or the systems it connects to.
pub(crate) fn start(request: StartRequest) -> Result<StreamingQuery> {
    let provider = sinks::lookup(&request.sink.format)?;
    request.manager.check_name(request.name.as_deref())?;
    request.conf.check_own()?;
    let rules = check::Rules::of(&request.conf)?;
    check::check(&request.plan, request.mode, rules)?;
    check_mode(provider, request.mode)?;
    check_checkpoint(provider, &request)?;
    let mut outlets = vec![Outlet::of(&request, provider)];
    let late = request.late.as_ref().map(|late| LateBranch::plan(&request, late)).transpose()?;
    let clock = request.clock.clone().unwrap_or_else(SystemClock::shared);
    let batch_time = BatchTime::new(QueryTime::following(clock.clone()));
    let planner = Planner { request: &request, late: late.as_ref(), rules, time: &batch_time };
    let Planned { optimized, plan } = planner.plan(checkpoint_location(&request).as_deref())?;
    outlets.extend(late.map(|late| late.outlet));
    let state_store = StateStore::of(&request.conf)?;
    let explained = explained(&request.plan, &optimized, &plan, &state_store);
    outlets.iter().try_for_each(|outlet| check_paths(&outlet.spec, &plan))?;
    let statics = Statics::read(&plan, &request.conf)?;
    let run_id = new_id();
    let keep = request.conf.number("spark.sql.streaming.numRecentProgressUpdates", 100)?;
    let state = QueryState::new(usize::try_from(keep).unwrap_or(100));
    let checkpoint = open_checkpoint(&request, &run_id, &plan, &state)?;
    let conf = recorded::fixed(&request.conf, checkpoint.as_ref())?;
    let pace = if matches!(request.trigger, Trigger::Continuous(_)) { Pace::Eager } else { Pace::Epoch };
    let workers = workers(&request.conf)?;
    let setup = Setup {
        state_operators: StateOperators::of(&plan, workers, state_store.exceeds_memory()),
        event_time: EventTimeRules::of(&plan, &request.conf, pace)?,
        single_watermark: rules == check::Rules::Spark,
        outlets: outlets.iter().map(|outlet| outlet.plan.clone()).collect(),
        plan,
        statics,
        batch_time,
        trigger: request.trigger,
        name: request.name.clone(),
        id: checkpoint.as_ref().map_or_else(new_id, |checkpoint| checkpoint.id().to_owned()),
        run_id,
        checkpoint,
        clock,
        workers,
        busy_poll: busy_poll(&request.conf)?,
        state_store,
        listeners: request.manager.listeners(),
        conf,
    };
    launch(request, setup, outlets, explained, state)
}

/// What `explain()` of the query says.
fn explained(logical: &LogicalPlan, optimized: &LogicalPlan, plan: &DataflowPlan, store: &StateStore) -> String {
    let (logical, optimized) = (logical.display_indent(), optimized.display_indent());
    let state = store.explain(plan).map(|state| format!("\n== State Store ==\n{state}\n")).unwrap_or_default();
    format!("== Logical Plan ==\n{logical}\n\n== Optimized Plan ==\n{optimized}\n\n== Dataflow Plan ==\n{plan}{state}")
}

/// A sink that is going to be connected.
pub(super) struct Outlet {
    pub provider: &'static dyn SinkProvider,
    pub spec: SinkSpec,
    pub plan: OutletPlan,
}

impl Outlet {
    fn of(request: &StartRequest, provider: &'static dyn SinkProvider) -> Self {
        let schema = output_schema(request);
        let plan = OutletPlan { schema, mode: request.mode, name: None, guarantee: provider.guarantee() };
        Outlet { provider, spec: request.sink.clone(), plan }
    }
}

/// The columns that the sink is given.
fn output_schema(request: &StartRequest) -> arrow::datatypes::SchemaRef {
    let schema = lower::arrow_schema(request.plan.schema());
    if request.changelog { thalweg_operators::change::with_change(&schema) } else { schema }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// `thalweg.workers`: threads that run the graph. Default 1.
fn workers(conf: &Conf) -> Result<usize> {
    let workers = conf.number("thalweg.workers", 1)?;
    match usize::try_from(workers) {
        Ok(workers @ 1..=256) => Ok(workers),
        _ => Err(Error::invalid(format!("setting 'thalweg.workers' should be 1 to 256 but is '{workers}'"))),
    }
}

/// `thalweg.busyPoll`: how long after a row a worker that reads its source itself looks for the next ones again and again before it sleeps.
/// Default 0: it sleeps at once.
fn busy_poll(conf: &Conf) -> Result<Duration> {
    const LONGEST: Duration = Duration::from_secs(1);
    let text = conf.get("thalweg.busyPoll").unwrap_or("0");
    let wrong = || Error::invalid(format!("setting 'thalweg.busyPoll' should be '0' to '1s' but is '{text}'"));
    let time = parse_time(text, "us").filter(|time| *time <= LONGEST);
    time.ok_or_else(|| wrong().hint("Give a time such as '100us'."))
}

pub(super) fn check_mode(provider: &dyn SinkProvider, mode: OutputMode) -> Result<()> {
    if provider.modes().contains(&mode) {
        return Ok(());
    }
    let name = provider.names()[0];
    Err(Error::query(
        "STREAMING_OUTPUT_MODE.UNSUPPORTED_DATASOURCE",
        format!("sink '{name}' does not take output mode '{mode:?}'"),
    )
    .hint(format!("It takes {:?}.", provider.modes())))
}

/// A sink that counts epochs over all runs needs a query that does.
fn check_checkpoint(provider: &dyn SinkProvider, request: &StartRequest) -> Result<()> {
    if !provider.needs_checkpoint() || checkpoint_location(request).is_some() {
        return Ok(());
    }
    let name = provider.names().first().copied().unwrap_or_default();
    Err(Error::query("_LEGACY_ERROR_TEMP_1298", format!("sink '{name}' needs a checkpoint")).hint(
        "Set option 'checkpointLocation', or spark.sql.streaming.checkpointLocation for all queries of the session.",
    ))
}

/// A file sink may not write where its query reads.
fn check_paths(sink: &SinkSpec, plan: &DataflowPlan) -> Result<()> {
    let Some(path) = sink.options.get("path") else { return Ok(()) };
    let sources = plan.scans.iter().filter_map(|scan| scan.table.source.options.get("path"));
    crate::filepath::check_apart(path, &sources.collect::<Vec<_>>())
}

/// `checkpointLocation` of the writer, or a folder of the session's `spark.sql.streaming.checkpointLocation`.
fn checkpoint_location(request: &StartRequest) -> Option<String> {
    let given = request.checkpoint.as_ref().map(|path| path.display().to_string());
    given.or_else(|| {
        let root = request.conf.get("spark.sql.streaming.checkpointLocation")?.trim_end_matches('/');
        Some(format!("{root}/{}", request.name.clone().unwrap_or_else(new_id)))
    })
}

/// `thalweg.checkpoint.leaseTimeout`: after how many milliseconds without a sign of life a run on another machine counts as dead.
fn lease_timeout(conf: &Conf) -> Result<Duration> {
    let timeout = conf.number("thalweg.checkpoint.leaseTimeout", 60_000)?;
    Ok(Duration::from_millis(u64::try_from(timeout).unwrap_or(0).max(1000)))
}

fn open_checkpoint(
    request: &StartRequest,
    run_id: &str,
    plan: &DataflowPlan,
    state: &Arc<QueryState>,
) -> Result<Option<Checkpoint>> {
    let Some(location) = checkpoint_location(request) else { return Ok(None) };
    active::take_over(&location, state, &request.conf)?;
    let (run_id, name) = (run_id.to_owned(), request.name.clone());
    let applicant = Applicant { run_id, name, timeout: lease_timeout(&request.conf)? };
    let mut checkpoint = Checkpoint::open(&location, &applicant)?;
    checkpoint.adopt(fingerprint::stateful_operators(plan))?;
    Ok(Some(checkpoint))
}

/// Connects and runs on a thread of its own; waits until it is connected.
fn launch(
    request: StartRequest,
    setup: Setup,
    outlets: Vec<Outlet>,
    explained: String,
    state: Arc<QueryState>,
) -> Result<StreamingQuery> {
    let (id, run_id, name) = (setup.id.clone(), setup.run_id.clone(), setup.name.clone());
    let state_operators = setup.state_operators.clone();
    let stop_timeout = active::stop_timeout(&request.conf)?;
    let (connected, connecting) = crossbeam_channel::bounded(1);
    let StartRequest { session, manager, .. } = request;
    let thread = {
        let (state, manager) = (state.clone(), manager.clone());
        let label = format!("thalweg-{}", name.as_deref().unwrap_or(&run_id));
        let body = move || {
            let connect =
                |setup: &Setup| outlets.iter().map(|outlet| connect_sink(outlet, setup, session.clone())).collect();
            run(setup, connect, &state, &manager, &connected);
        };
        threads::spawn(&label, body)?
    };
    threads::receive(&connecting, None).map_err(|_| Error::internal("the query's driver died while connecting"))??;
    let query =
        StreamingQuery::new(Parts { id, run_id, name, explained, state, state_operators, thread, stop_timeout });
    manager.add(query.clone());
    Ok(query)
}

fn connect_sink(outlet: &Outlet, setup: &Setup, session: Session) -> Result<Box<dyn Sink>> {
    let own_name = outlet.plan.name.clone().or_else(|| setup.name.clone());
    let context = SinkContext {
        schema: outlet.plan.schema.clone(),
        mode: outlet.plan.mode,
        pace: setup.pace(),
        workers: setup.workers,
        query: own_name.unwrap_or_else(|| setup.id.clone()),
        checkpoint: setup.checkpoint.as_ref().map(|checkpoint| checkpoint.id().to_owned()),
        interval: match setup.trigger {
            Trigger::Continuous(interval) => Some(interval),
            _ => None,
        },
        run_id: setup.run_id.clone(),
        conf: setup.conf.clone(),
        session,
        clock: setup.clock.clone(),
    };
    outlet.provider.connect(&outlet.spec, context)
}

/// The driver thread.
fn run(
    setup: Setup,
    connect: impl FnOnce(&Setup) -> Result<Vec<Box<dyn Sink>>>,
    state: &Arc<QueryState>,
    manager: &StreamingQueryManager,
    connected: &crossbeam_channel::Sender<Result<()>>,
) {
    let (id, run_id, listeners) = (setup.id.clone(), setup.run_id.clone(), setup.listeners.clone());
    let execution = match Execution::start(setup, connect, state.clone()) {
        Ok(execution) => execution,
        Err(error) => {
            state.end(Some(error.clone()));
            // The one who waits has gone only if its process is ending.
            let _ = connected.send(Err(error));
            return;
        }
    };
    listeners.started(&execution.setup);
    let _ = connected.send(Ok(()));
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| execution.run()));
    let error = ran.unwrap_or_else(|_| Some(Error::internal("the query's driver panicked")));
    if let Some(error) = &error {
        tracing::error!(query = %id, "query failed: {error}");
    }
    state.end(error.clone());
    listeners.terminated(&id, &run_id, error.clone());
    manager.ended(error);
}
