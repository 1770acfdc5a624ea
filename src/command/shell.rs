//! The shell: lines with history and completion, statements that end with `;`.
//!
//! In: lines of a terminal. Out: tables, errors, and queries that run in the background until they end or the shell does.
//! History is kept in the user's state folder, readable by the user only; without such a folder it lasts as long as the shell.

mod complete;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::Editor;
use rustyline::config::{CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use thalweg::query::{QueryStarted, QueryTerminated, StreamingQuery, StreamingQueryListener};
use thalweg::session::Session;
use thalweg::{Error, Result};

use self::complete::SqlHelper;
use super::output::{Failure, Style, print, show};
use super::script::{self, Statement};

const HELP: &str = "\
Statements end with ; and may take several lines. A streaming query runs in the background:
  CREATE TABLE lines USING socket OPTIONS (host 'localhost', port 9999);
  CREATE TABLE out USING console OPTIONS (outputMode 'update');
  INSERT INTO out SELECT value, count(*) FROM STREAM lines GROUP BY value;
Commands:
  \\queries      the queries that run
  \\stop NAME    stops a query (by its name or the beginning of its id)
  \\help         this text
  \\quit         leaves; so do quit, exit and Ctrl-D
";

/// The shell until it is left.
///
/// # Errors
/// If the terminal cannot be used.
pub(super) fn run(session: &Session, style: Style) -> std::result::Result<(), Failure> {
    let mut shell = Shell::open(session, style)?;
    print(&format!("Thalweg {}. \\help for help.\n", env!("CARGO_PKG_VERSION")))?;
    while let Some(text) = shell.read()? {
        if !shell.command(&text)? {
            break;
        }
    }
    shell.close()?;
    Ok(())
}

struct Shell {
    session: Session,
    style: Style,
    editor: Editor<SqlHelper, FileHistory>,
    history: Option<PathBuf>,
}

impl Shell {
    fn open(session: &Session, style: Style) -> Result<Self> {
        let config =
            Config::builder().completion_type(CompletionType::List).max_history_size(10_000).map_err(terminal)?;
        let mut editor = Editor::with_config(config.build()).map_err(terminal)?;
        editor.set_helper(Some(SqlHelper::new(session)));
        let history = history_file();
        if let Some(file) = &history {
            // The first time there is nothing to load.
            let _ = editor.load_history(file);
        }
        if let Ok(printer) = editor.create_external_printer() {
            session.streams().add_listener(Arc::new(Herald::new(printer)));
        }
        Ok(Shell { session: session.clone(), style, editor, history })
    }

    /// The next statements or command; none when the user leaves.
    fn read(&mut self) -> Result<Option<String>> {
        loop {
            match self.editor.readline("thalweg> ") {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => {
                    self.remember(&text);
                    return Ok(Some(text));
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(terminal(error)),
            }
        }
    }

    /// Text that cannot be remembered is no reason to stop.
    fn remember(&mut self, text: &str) {
        let _ = self.editor.add_history_entry(text.trim_end());
        if let Some(file) = &self.history {
            let _ = self.editor.save_history(file);
        }
    }

    /// Does what was typed; false to leave.
    fn command(&mut self, text: &str) -> Result<bool> {
        let (word, rest) = text
            .trim()
            .trim_end_matches(';')
            .split_once(char::is_whitespace)
            .unwrap_or((text.trim().trim_end_matches(';'), ""));
        match word.to_lowercase().as_str() {
            "\\quit" | "\\q" | "quit" | "exit" => return Ok(false),
            "\\help" | "\\h" | "\\?" | "help" => print(HELP)?,
            "\\queries" => print(&self.queries())?,
            "\\stop" => self.stop(rest.trim())?,
            word if word.starts_with('\\') => print(&format!("no such command: {word}; \\help lists them\n"))?,
            // The first statement that fails ends the text.
            _ => drop(script::cut(text).statements.iter().all(|statement| self.statement(statement))),
        }
        Ok(true)
    }

    /// Runs a statement; false, after telling it, if it failed.
    fn statement(&self, statement: &Statement) -> bool {
        let ran = self.session.sql(&statement.in_place()).and_then(|frame| show(&frame, self.style));
        if let Err(error) = ran {
            let (line, column) = statement.place_of(&error);
            Failure { place: Some(format!("{line}:{column}")), style: self.style, error }.print();
            return false;
        }
        true
    }

    fn queries(&self) -> String {
        let active = self.session.streams().active();
        if active.is_empty() {
            return "no query runs\n".to_owned();
        }
        active.iter().map(|query| format!("{}  {}\n", name_of(query), query.status().message)).collect()
    }

    fn stop(&self, name: &str) -> Result<()> {
        let active = self.session.streams().active();
        let mut named = active.iter().filter(|query| {
            !name.is_empty()
                && (query.name() == Some(name) || query.run_id().starts_with(name) || query.id().starts_with(name))
        });
        match (named.next(), named.next()) {
            (Some(query), None) => query.stop(),
            (None, _) => print(&format!("no query '{name}' runs; \\queries lists them\n")),
            (Some(_), Some(_)) => print(&format!("'{name}' is the beginning of several ids\n")),
        }
    }

    fn close(&self) -> Result<()> {
        self.session.streams().active().iter().try_for_each(StreamingQuery::stop)
    }
}

fn name_of(query: &StreamingQuery) -> String {
    query.name().map_or_else(|| short(query.run_id()), str::to_owned)
}

fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

fn terminal(cause: ReadlineError) -> Error {
    Error::outside(format!("the terminal cannot be used: {cause}")).caused_by(cause)
}

/// `history` in the user's state folder, made with rights for the user only.
fn history_file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local").join("state"));
    let folder = state.or_else(home)?.join("thalweg");
    make_private(&folder).ok()
}

fn make_private(folder: &Path) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let file = folder.join("history");
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&file)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Tells above the prompt when queries start and end.
struct Herald<P> {
    printer: Mutex<P>,
    /// id of the run → name
    names: Mutex<BTreeMap<String, String>>,
}

impl<P: rustyline::ExternalPrinter> Herald<P> {
    fn new(printer: P) -> Self {
        Herald { printer: Mutex::new(printer), names: Mutex::default() }
    }

    fn say(&self, text: String) {
        // Without a terminal there is nobody to tell.
        let _ = self.printer.lock().unwrap_or_else(PoisonError::into_inner).print(text);
    }
}

impl<P: rustyline::ExternalPrinter + Send> StreamingQueryListener for Herald<P> {
    fn on_query_started(&self, started: &QueryStarted) {
        let name = started.name.clone().unwrap_or_else(|| short(&started.run_id));
        self.say(format!("query {name} runs; \\stop {name} ends it\n"));
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(started.run_id.clone(), name);
    }

    fn on_query_terminated(&self, ended: &QueryTerminated) {
        let known = self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(&ended.run_id);
        let name = known.unwrap_or_else(|| short(&ended.run_id));
        match &ended.exception {
            Some(error) => self.say(format!("query {name} failed: {error}\n")),
            None => self.say(format!("query {name} has ended\n")),
        }
    }
}
