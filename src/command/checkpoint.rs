//! `thalweg checkpoint`: looks at a checkpoint, checks it, sets it back.
//!
//! In: a checkpoint's location. Out: tables, or JSON with `--json`. `rewind` and `repair` say what they would remove and what
//! follows from it; they remove it only with `--yes`.

use clap::{Args, Subcommand};
use serde::Serialize;
use thalweg::checkpoint::{self, EpochReport, Finding, Removal, Report};
use thalweg::query::progress::iso_millis;
use thalweg::{Error, Result};

use super::output::{Failure, Style};
use super::table;

/// What to do with a checkpoint.
#[derive(Debug, Subcommand)]
pub(super) enum Checkpoint {
    /// Show its epochs, offsets, watermarks, sizes, and who works on it.
    Show(Where),
    /// Read everything in it; fails if something is wrong.
    Verify(Where),
    /// Go back to the end of an epoch whose state is kept.
    Rewind {
        #[command(flatten)]
        place: Where,
        /// The epoch to go back to.
        #[arg(long)]
        epoch: u64,
        /// Do it, instead of saying what would be done.
        #[arg(long)]
        yes: bool,
    },
    /// Remove damaged newest files, so that the query can start again.
    Repair {
        #[command(flatten)]
        place: Where,
        /// Do it, instead of saying what would be done.
        #[arg(long)]
        yes: bool,
    },
}

/// A checkpoint, and how to tell of it.
#[derive(Debug, Args)]
pub(super) struct Where {
    /// The checkpoint's location, as in checkpointLocation.
    location: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// What is wrong with the checkpoint.
pub(super) fn run(what: &Checkpoint) -> Result<(), Failure> {
    let (place, done) = match what {
        Checkpoint::Show(place) => (place, show(place)),
        Checkpoint::Verify(place) => (place, verify(place)),
        Checkpoint::Rewind { place, epoch, yes } => {
            (place, checkpoint::rewind(&place.location, *epoch).and_then(|removal| remove(place, &removal, *yes)))
        }
        Checkpoint::Repair { place, yes } => {
            (place, checkpoint::repair(&place.location).and_then(|removal| remove(place, &removal, *yes)))
        }
    };
    let style = if place.json { Style::Json } else { Style::Table };
    done.map_err(|error| Failure { error, place: None, style })
}

fn print(text: &str) -> Result<()> {
    use std::io::Write as _;
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Error::internal("can't write JSON").caused_by(error))?;
    print(&format!("{text}\n"))
}

fn show(place: &Where) -> Result<()> {
    let report = checkpoint::show(&place.location)?;
    if place.json { json(&report) } else { print(&shown(&report)) }
}

fn shown(report: &Report) -> String {
    let lease = report.lease.as_deref().unwrap_or("nobody");
    let held = if report.in_use { "in use by" } else { "last used by" };
    let mut text = format!(
        "location   {}\nquery id   {}\n{held:<9}  {lease}\n",
        report.location,
        report.id.as_deref().unwrap_or("-")
    );
    report.operators.iter().for_each(|operator| text.push_str(&format!("state      {operator}\n")));
    let head = ["epoch", "committed", "watermark", "planned at", "state", "offsets"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(report.epochs.iter().map(row)).collect();
    text.push('\n');
    table::push(&rows, super::bold_output(), &mut text);
    text
}

fn row(epoch: &EpochReport) -> Vec<String> {
    let offsets: Vec<String> = epoch.offsets.iter().map(ToString::to_string).collect();
    vec![
        epoch.epoch.to_string(),
        if epoch.committed { "yes" } else { "no" }.to_owned(),
        if epoch.watermark_ms == 0 { "-".to_owned() } else { iso_millis(epoch.watermark_ms.saturating_mul(1000)) },
        iso_millis(epoch.timestamp_ms.saturating_mul(1000)),
        epoch.state_bytes.map_or_else(|| "-".to_owned(), table::bytes),
        offsets.join(" "),
    ]
}

fn verify(place: &Where) -> Result<()> {
    let findings = checkpoint::verify(&place.location)?;
    if place.json {
        json(&findings)?;
    } else {
        let line = |found: &Finding| format!("{}: {}\n", if found.error { "error" } else { "note" }, found.message);
        print(&findings.iter().map(line).collect::<String>())?;
    }
    match findings.iter().filter(|found| found.error).count() {
        0 if place.json => Ok(()),
        0 => print("the checkpoint is sound\n"),
        wrong => Err(Error::outside(format!("the checkpoint has {wrong} errors"))
            .hint("See what 'thalweg checkpoint repair' proposes.")),
    }
}

fn remove(place: &Where, removal: &Removal, yes: bool) -> Result<()> {
    if yes {
        removal.apply()?;
    }
    if place.json {
        return json(removal);
    }
    if removal.files.is_empty() {
        return print("nothing to do\n");
    }
    let verb = if yes { "removed" } else { "would remove" };
    let mut text: String = removal.files.iter().map(|file| format!("{verb} {file}\n")).collect();
    removal.consequences.iter().for_each(|sentence| text.push_str(&format!("then: {sentence}\n")));
    if !yes {
        text.push_str("nothing was changed; add --yes to do it\n");
    }
    print(&text)
}
