//! Triggers: when an epoch closes.

use std::time::Duration;

use crate::{Error, Result};

/// When an epoch closes; the graph is the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trigger {
    /// Micro-batches, one after the other as soon as there is data (the default).
    #[default]
    AsSoonAsPossible,
    /// A micro-batch each interval, if there is data.
    ProcessingTime(Duration),
    /// One micro-batch with everything there is, then stop (deprecated in Spark; [`Trigger::AvailableNow`] honours limits).
    Once,
    /// Micro-batches until everything that was there at the start has been read, then stop.
    AvailableNow,
    /// Each record flows through the moment it arrives; the interval is that of checkpoints.
    Continuous(Duration),
}

impl Trigger {
    /// A trigger every `interval`, e.g. `"5 seconds"`; zero means as soon as possible.
    ///
    /// # Errors
    /// A text that is no interval.
    pub fn processing_time(interval: &str) -> Result<Self> {
        Ok(match interval_of(interval)? {
            Duration::ZERO => Trigger::AsSoonAsPossible,
            interval => Trigger::ProcessingTime(interval),
        })
    }

    /// The continuous driver with a checkpoint every `interval`, e.g. `"100 milliseconds"`.
    ///
    /// # Errors
    /// A text that is no interval.
    pub fn continuous(interval: &str) -> Result<Self> {
        Ok(Trigger::Continuous(interval_of(interval)?))
    }

    /// The text of a job's `trigger` option: `availableNow`, `once`, `processingTime 5 seconds`, `continuous 100 milliseconds`.
    ///
    /// # Errors
    /// An unknown trigger, naming the nearest.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, interval) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        match name.to_ascii_lowercase().as_str() {
            "availablenow" => Ok(Trigger::AvailableNow),
            "once" => Ok(Trigger::Once),
            "processingtime" => Self::processing_time(interval),
            "continuous" | "realtime" => Self::continuous(interval),
            "default" | "" => Ok(Trigger::AsSoonAsPossible),
            _ => Err(unknown(name)),
        }
    }
}

fn unknown(name: &str) -> Error {
    let known = ["availableNow", "once", "processingTime", "continuous"];
    let error = Error::invalid(format!("unknown trigger '{name}'"));
    match crate::options::nearest(name, known.into_iter()) {
        Some(near) => error.hint(format!("Did you mean '{near}'?")),
        None => error.hint(format!("Known are {}.", known.join(", "))),
    }
}

/// A positive interval such as `5 seconds`, `1 minute 30 seconds`, `100 ms`.
pub(crate) fn interval_of(text: &str) -> Result<Duration> {
    let text = text.trim().trim_matches('\'');
    let wrong =
        || Error::query("CANNOT_PARSE_INTERVAL", format!("'{text}' is no interval")).hint("Write e.g. '5 seconds'.");
    let words: Vec<&str> = text.strip_prefix("interval ").unwrap_or(text).split_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(2) {
        return Err(wrong());
    }
    let parts = words.chunks(2).map(|pair| part(pair[0], pair[1]).ok_or_else(wrong));
    parts.sum::<Result<Duration>>()
}

fn part(number: &str, unit: &str) -> Option<Duration> {
    let number: f64 = number.parse().ok()?;
    let unit = unit.to_ascii_lowercase();
    let seconds = match unit.strip_suffix('s').filter(|_| unit.len() > 2).unwrap_or(&unit) {
        "microsecond" | "us" => 1e-6,
        "millisecond" | "m" | "ms" => 1e-3,
        "second" | "s" => 1.0,
        "minute" | "min" => 60.0,
        "hour" | "h" => 3600.0,
        "day" | "d" => 86400.0,
        "week" => 604800.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * seconds).ok()
}
