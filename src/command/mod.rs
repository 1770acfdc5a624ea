//! The subcommands and what they share: arguments, the session, how errors are told.
//!
//! In: the process's arguments. Out: an exit code. Every subcommand returns its [`Failure`]; only [`main`] prints it, so an
//! error is told once, in one form.

mod bench;
mod checkpoint;
mod display;
mod job;
mod output;
mod run;
mod script;
mod shell;
mod signals;
mod sql;
mod table;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use thalweg::Error;
use thalweg::conf::Conf;
use thalweg::session::Session;
use tracing_subscriber::EnvFilter;

/// A streaming engine with Spark Structured Streaming's model.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run all statements of an SQL file; ends when its streaming queries have ended.
    Run(run::RunArguments),
    /// Type SQL in a shell, or run the text given with -e.
    Sql(sql::SqlArguments),
    /// Look at a query's checkpoint, check it, set it back.
    #[command(subcommand)]
    Checkpoint(checkpoint::Checkpoint),
    /// Measure throughput and latency on this machine.
    #[command(subcommand)]
    Bench(bench::Bench),
}

/// Settings of the session.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Set a setting of the session, e.g. thalweg.workers=2; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
}

impl Settings {
    /// A session of its own with these settings.
    fn session(&self) -> Session {
        let builder = Session::builder().app_name("thalweg");
        self.set.iter().fold(builder, |builder, (key, value)| builder.config(key, value)).create()
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            let mut conf = Conf::default();
            conf.set(&key, &value);
            conf.check_own().map_err(|error| error.to_string())?;
            Ok((key, value))
        }
        _ => Err("a setting is written KEY=VALUE".to_owned()),
    }
}

/// Runs the command the arguments name.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log();
    let done = match &arguments.command {
        Command::Run(arguments) => run::run(arguments),
        Command::Sql(arguments) => sql::run(arguments),
        Command::Checkpoint(what) => checkpoint::run(what),
        Command::Bench(bench) => bench::run(bench),
    };
    match done {
        Err(failure) if !failure.is_closed_pipe() => {
            failure.print();
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Warnings go to standard error, more by `RUST_LOG`. Queries that fail are told by the commands themselves.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,thalweg::query=off"));
    let ansi = std::io::stderr().is_terminal() && colours();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();
}

/// False if the user set `NO_COLOR` to something.
fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// True if a header on standard output should be bold.
fn bold_output() -> bool {
    std::io::stdout().is_terminal() && colours()
}

/// The error of a file or stream that cannot be read.
fn unreadable(what: &str, cause: std::io::Error) -> Error {
    Error::outside(format!("'{what}' cannot be read: {cause}")).caused_by(cause)
}
