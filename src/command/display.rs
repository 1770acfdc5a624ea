//! Shows how streaming queries are doing, on standard error.
//!
//! In: progress reports. Out, by what standard error is:
//! - a terminal: a table, one line per query, drawn anew each second (plain lines if a query prints on the same terminal);
//! - a file or pipe: a line per query after epochs with rows, at most one a second;
//! - for programs (`--json`): each report as a line of Spark's JSON.
//!
//! Rates are of the time since the line was drawn last. Colours respect `NO_COLOR`.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};

use thalweg::clock::{SharedClock, SystemClock};
use thalweg::query::progress::Progress;
use thalweg::query::{QueryStarted, QueryTerminated, StreamingQuery};

use super::output::Style;
use super::table::{self, bytes, grouped, micros};

/// Nanoseconds between two drawings.
const SECOND: u64 = 1_000_000_000;

const HEADER: [&str; 8] = ["query", "rows in/s", "rows out/s", "p50", "p99", "watermark", "state rows", "state"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Live,
    Lines,
    Json,
}

/// What is known of one query.
struct Line {
    name: String,
    begun: u64,
    drawn: u64,
    /// Rows in and out since it was drawn.
    fresh: (u64, u64),
    /// Rows in and out since it started.
    total: (u64, u64),
    last: Option<Progress>,
}

/// The lines of a job's queries.
pub(super) struct Display {
    form: Form,
    clock: SharedClock,
    /// By run id.
    lines: BTreeMap<String, Line>,
    /// Lines on the terminal that the next drawing replaces.
    on_screen: usize,
    drawn: u64,
}

impl Display {
    /// A display of the form that suits standard error.
    pub(super) fn new(style: Style) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let form = match style {
            Style::Json => Form::Json,
            Style::Table if std::io::stderr().is_terminal() && !dumb => Form::Live,
            Style::Table => Form::Lines,
        };
        Display { form, clock: SystemClock::shared(), lines: BTreeMap::new(), on_screen: 0, drawn: 0 }
    }

    /// A query has started.
    pub(super) fn started(&mut self, started: &QueryStarted) {
        let short = || started.run_id.chars().take(8).collect();
        let now = self.clock.nanos();
        let name = started.name.clone().unwrap_or_else(short);
        let line = Line { name, begun: now, drawn: now, fresh: (0, 0), total: (0, 0), last: None };
        self.lines.insert(started.run_id.clone(), line);
    }

    /// An epoch of a query is done.
    pub(super) fn progress(&mut self, progress: Progress) {
        if self.form == Form::Json {
            say(&format!("{}\n", progress.json()));
        }
        if progress.sink.description.starts_with("Console") && std::io::stdout().is_terminal() {
            self.give_up_screen();
        }
        let (form, now) = (self.form, self.clock.nanos());
        let Some(line) = self.lines.get_mut(&progress.run_id) else { return };
        line.add(progress);
        if form == Form::Lines && line.fresh.0 > 0 && now - line.drawn >= SECOND {
            say(&format!("{}\n", line.sentence(now)));
        }
    }

    /// A query has ended.
    pub(super) fn ended(&mut self, ended: &QueryTerminated) {
        let Some(line) = self.lines.remove(&ended.run_id) else { return };
        if self.form != Form::Json {
            let how = if ended.exception.is_some() { "failed" } else { "ended" };
            self.note(&line.summary(how, self.clock.nanos()));
        }
    }

    /// A message above the table.
    pub(super) fn note(&mut self, text: &str) {
        if self.form == Form::Json {
            return;
        }
        let erased = self.erase();
        say(&format!("{erased}{text}\n"));
        self.drawn = 0;
    }

    /// Draws the table if it is time; `running` finds the query of a run.
    pub(super) fn refresh(&mut self, running: impl Fn(&str) -> Option<StreamingQuery>) {
        let now = self.clock.nanos();
        if self.form != Form::Live || now < self.drawn + SECOND || self.lines.is_empty() {
            return;
        }
        let mut rows = vec![HEADER.map(str::to_owned).to_vec()];
        for (run, line) in &mut self.lines {
            // Epochs may be long: what is kept is asked for.
            if let (Some(query), Some(last)) = (running(run), &mut line.last) {
                last.state_operators = query.state_operators();
            }
            rows.push(line.cells(now).to_vec());
        }
        let mut text = self.erase();
        text.push_str("\x1b[?7l");
        table::push(&rows, super::colours(), &mut text);
        text.push_str("\x1b[?7h");
        say(&text);
        self.on_screen = rows.len();
        self.drawn = now;
    }

    /// Leaves what is on the screen as it is.
    pub(super) fn finish(&mut self) {
        let erased = self.erase();
        say(&erased);
    }

    /// A query prints on this terminal: a table that moves would be torn.
    fn give_up_screen(&mut self) {
        if self.form == Form::Live {
            let erased = self.erase();
            say(&erased);
            self.form = Form::Lines;
        }
    }

    /// What takes the last drawing off the screen.
    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.on_screen) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        }
    }
}

impl Line {
    fn add(&mut self, progress: Progress) {
        let (rows_in, rows_out) = (progress.num_input_rows, progress.sink.num_output_rows);
        self.fresh = (self.fresh.0 + rows_in, self.fresh.1 + rows_out);
        self.total = (self.total.0 + rows_in, self.total.1 + rows_out);
        // A report of an epoch without rows has no latencies; the ones before it say more.
        let before = self.last.replace(progress);
        if let (Some(last), Some(before)) = (&mut self.last, before)
            && last.num_input_rows == 0
        {
            last.latency = before.latency;
        }
    }

    /// The cells under [`HEADER`]; begins a new span for the rates.
    fn cells(&mut self, now: u64) -> [String; 8] {
        let seconds = (now.saturating_sub(self.drawn) as f64 / SECOND as f64).max(1e-3);
        let (rows_in, rows_out) = std::mem::take(&mut self.fresh);
        self.drawn = now;
        let rate = |rows: u64| grouped((rows as f64 / seconds).round() as u64);
        let last = self.last.as_ref();
        let latency = last.map(|last| last.latency).unwrap_or_default();
        let watermark = last.and_then(|last| last.event_time.get("watermark")?.as_str());
        let state = last.map(|last| last.state_operators.as_slice()).unwrap_or_default();
        [
            self.name.clone(),
            rate(rows_in),
            rate(rows_out),
            micros(latency.p50_micros),
            micros(latency.p99_micros),
            watermark.unwrap_or("-").to_owned(),
            grouped(state.iter().map(|operator| operator.num_rows_total).sum()),
            bytes(state.iter().map(|operator| operator.memory_used_bytes).sum()),
        ]
    }

    fn sentence(&mut self, now: u64) -> String {
        let [name, rows_in, rows_out, p50, p99, watermark, rows, state] = self.cells(now);
        format!(
            "{name}: in {rows_in}/s, out {rows_out}/s, p50 {p50}, p99 {p99}, watermark {watermark}, state {rows} rows {state}"
        )
    }

    fn summary(&self, how: &str, now: u64) -> String {
        let seconds = now.saturating_sub(self.begun) as f64 / SECOND as f64;
        let (rows_in, rows_out) = (grouped(self.total.0), grouped(self.total.1));
        format!("{}: {how} after {seconds:.1} s, {rows_in} rows in, {rows_out} rows out", self.name)
    }
}

/// Standard error, in one piece. When it is closed there is nobody to tell.
fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
