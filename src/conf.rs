//! Session settings: a map of strings under Spark's names, with typed readers for those the engine acts on.
//!
//! A setting that is not set has Spark's default. Settings are read when a query is analysed or started, never per row.

use std::collections::BTreeMap;

use crate::options::nearest;
use crate::{Error, Result};

/// The settings that are this engine's own; Spark's are those that Spark documents.
pub const OWN: [&str; 10] = [
    "thalweg.busyPoll",
    "thalweg.checkpoint.leaseTimeout",
    "thalweg.idleTimeout",
    "thalweg.maxFutureSkew",
    "thalweg.state.maxBytes",
    "thalweg.stateStore",
    "thalweg.stateStore.memory",
    "thalweg.stateStore.path",
    "thalweg.staticRefreshInterval",
    "thalweg.workers",
];

/// Settings of a session (or of one query: a copy taken when it starts).
#[derive(Debug, Clone, Default)]
pub struct Conf {
    values: BTreeMap<String, String>,
}

impl Conf {
    /// Sets `key` to `value`.
    pub fn set(&mut self, key: impl Into<String>, value: impl ToString) {
        self.values.insert(key.into(), value.to_string());
    }

    /// Removes `key`, so that the default holds again.
    pub fn unset(&mut self, key: &str) {
        self.values.remove(key);
    }

    /// The value that was set for `key`, if any.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// All settings made, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Refuses settings under this engine's name that it does not have.
    ///
    /// # Errors
    /// The first of them, with the nearest that there is.
    pub fn check_own(&self) -> Result<()> {
        let unknown = self.values.keys().find(|key| key.starts_with("thalweg.") && !OWN.contains(&key.as_str()));
        let Some(unknown) = unknown else { return Ok(()) };
        let error = Error::invalid(format!("there is no setting '{unknown}'"));
        Err(match nearest(unknown, OWN.into_iter()) {
            Some(near) => error.hint(format!("Did you mean '{near}'?")),
            None => error.hint(format!("There are {}.", OWN.join(", "))),
        })
    }

    /// A boolean setting; anything but `true` and `false` (in any case) is an error.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => Err(Error::invalid(format!("setting '{key}' should be 'true' or 'false' but is '{other}'"))),
        }
    }

    /// A whole number.
    pub fn number(&self, key: &str, default: i64) -> Result<i64> {
        let Some(text) = self.get(key) else { return Ok(default) };
        text.parse().map_err(|_| Error::invalid(format!("setting '{key}' should be a whole number but is '{text}'")))
    }

    /// A size in bytes as Spark writes it: a whole number, bare or with `b`, `k`, `m`, `g`, `t` (or `kb`, `mb`, ...) behind it.
    /// None if it is not set.
    pub fn bytes(&self, key: &str) -> Result<Option<u64>> {
        self.get(key).map(|text| size(text).ok_or_else(|| no_size(key, text))).transpose()
    }

    /// `spark.sql.ansi.enabled`: errors instead of nulls on overflow and bad casts. Default true, as in Spark 4.
    pub fn ansi(&self) -> bool {
        self.flag("spark.sql.ansi.enabled", true).unwrap_or(true)
    }

    /// `spark.sql.session.timeZone`: where local times of a TIMESTAMP are read and printed. Default UTC.
    pub fn time_zone(&self) -> &str {
        self.get("spark.sql.session.timeZone").unwrap_or("UTC")
    }
}

fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        "t" | "tb" => 1_u64 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

fn no_size(key: &str, text: &str) -> Error {
    Error::invalid(format!("setting '{key}' should be a size such as '512m' but is '{text}'"))
}
