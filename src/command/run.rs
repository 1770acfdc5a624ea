//! `thalweg run job.sql`: all statements of a file, and the queries they start until they end.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;

use super::output::{Failure, Style};
use super::{Settings, job, script, unreadable};

/// Arguments of `thalweg run`.
#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The file of SQL statements, each ended with a semicolon; - reads standard input.
    file: PathBuf,
    #[command(flatten)]
    settings: Settings,
    /// Print results as JSON lines; reports of progress and errors go to standard error as JSON lines, too.
    #[arg(long)]
    json: bool,
}

/// Runs the file.
///
/// # Errors
/// The first failure of a statement or query, with its place in the file.
pub(super) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    let style = if arguments.json { Style::Json } else { Style::Table };
    let file = arguments.file.display().to_string();
    let text = read(arguments).map_err(|cause| Failure { error: unreadable(&file, cause), place: None, style })?;
    job::run(&arguments.settings.session(), &file, &script::cut(&text), style)
}

fn read(arguments: &RunArguments) -> std::io::Result<String> {
    if arguments.file.as_os_str() != "-" {
        return std::fs::read_to_string(&arguments.file);
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}
