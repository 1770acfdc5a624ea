//! `thalweg sql`: a shell; with `-e`, or when standard input is a pipe, the text at hand.

use std::io::{IsTerminal, Read as _};

use clap::Args;

use super::output::{Failure, Style};
use super::{Settings, job, script, shell, unreadable};

/// Arguments of `thalweg sql`.
#[derive(Debug, Args)]
pub(super) struct SqlArguments {
    /// Run this text instead of opening the shell.
    #[arg(short = 'e', long = "execute", value_name = "TEXT")]
    execute: Option<String>,
    #[command(flatten)]
    settings: Settings,
    /// Print results as JSON lines.
    #[arg(long)]
    json: bool,
}

/// Runs the text, or the shell until it is left.
///
/// # Errors
/// The first failure of a text; what fails in the shell is told there.
pub(super) fn run(arguments: &SqlArguments) -> Result<(), Failure> {
    let style = if arguments.json { Style::Json } else { Style::Table };
    let session = arguments.settings.session();
    match &arguments.execute {
        Some(text) => job::run(&session, "sql", &script::cut(text), style),
        None if std::io::stdin().is_terminal() => shell::run(&session, style),
        None => job::run(&session, "stdin", &script::cut(&piped()?), style),
    }
}

fn piped() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).map_err(|cause| unreadable("standard input", cause))?;
    Ok(text)
}
