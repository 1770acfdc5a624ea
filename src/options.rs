//! Options of readers, writers and plugs: names are case-insensitive, unknown ones are refused with the nearest name.
//!
//! Every plug (source, sink, format) lists its options once, as [`OptionSpec`]s; the check, the documentation and the
//! error text are made from that list. The value of an option whose name speaks of a secret is never shown.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Error, Result};

/// One option that a plug understands.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Spark's spelling.
    pub name: &'static str,
    /// What holds when it is not given, as text; empty if there is no default.
    pub default: &'static str,
    /// One line for the documentation.
    pub help: &'static str,
}

/// Builds an [`OptionSpec`] in one line of a list.
pub const fn option(name: &'static str, default: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec { name, default, help }
}

/// Options as the user gave them; lookups ignore case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// lower-case name → (name as given, value)
    values: BTreeMap<String, (String, String)>,
}

/// Shown instead of a secret, as in Spark.
const REDACTED: &str = "*********(redacted)";

/// True if the value of an option of this name must not be shown.
pub(crate) fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 8] =
        ["secret", "password", "token", "accesskey", "access.key", "credential", "jaas", "ssl.key"];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// The value as it may be shown.
fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    if is_secret(name) { REDACTED } else { value }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}

impl Options {
    /// Sets an option; a later value for the same name (in any case) wins.
    pub fn set(&mut self, name: impl Into<String>, value: impl ToString) {
        let name = name.into();
        self.values.insert(name.to_ascii_lowercase(), (name, value.to_string()));
    }

    /// The options but those of these names.
    pub fn without(&self, names: &[&str]) -> Options {
        let mut values = self.values.clone();
        values.retain(|name, _| !names.iter().any(|other| other.eq_ignore_ascii_case(name)));
        Options { values }
    }

    /// The value of an option.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(&name.to_ascii_lowercase()).map(|(_, value)| value.as_str())
    }

    /// The value of an option that must be there.
    pub fn require(&self, name: &str, what: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| {
            Error::invalid(format!("{what} needs option '{name}'"))
                .hint(format!("Set it with .option(\"{name}\", ...)."))
        })
    }

    /// A boolean option.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(self.wrong(name, "'true' or 'false'")),
        }
    }

    /// A whole number that fits `T`.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| self.wrong(name, "a whole number in range"))
    }

    /// The error for a value that does not fit.
    pub fn wrong(&self, name: &str, expected: &str) -> Error {
        let value = shown(name, self.get(name).unwrap_or_default());
        Error::invalid(format!("option '{name}' should be {expected} but is '{value}'"))
    }

    /// All options as given, in the order of their lower-case names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.values().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Refuses options that are in none of `known`, naming the nearest one.
    pub fn check(&self, what: &str, known: &[&[OptionSpec]]) -> Result<()> {
        let names = || known.iter().flat_map(|list| list.iter().map(|spec| spec.name));
        for (name, _) in self.iter() {
            if !names().any(|known| known.eq_ignore_ascii_case(name)) {
                let error = Error::invalid(format!("{what} has no option '{name}'"));
                return Err(match nearest(name, names()) {
                    Some(near) => error.hint(format!("Did you mean '{near}'?")),
                    None => error,
                });
            }
        }
        Ok(())
    }
}

/// The candidate closest to `name` by edit distance, ignoring case; none if nothing is near.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let scored =
        candidates.map(|c| (datafusion::common::utils::datafusion_strsim::levenshtein(&name, &c.to_lowercase()), c));
    scored.min_by_key(|(distance, _)| *distance).filter(|(distance, c)| *distance <= 1 + c.len() / 2).map(|(_, c)| c)
}

/// The time that a text in an option means: a number and a unit (`us`, `ms`, `s`, `m`, `min`, `h`, `d`), such as `10s`.
/// Without a unit it is in `default_unit`. `None` if the text is no time.
pub fn parse_time(text: &str, default_unit: &str) -> Option<std::time::Duration> {
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = if unit.trim().is_empty() { default_unit } else { unit.trim() };
    let micros = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(micros).map(std::time::Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::{Options, parse_time};

    #[test]
    fn x05_values_of_secrets_are_not_shown() {
        let mut options = Options::default();
        options.set("topic", "t");
        options.set("kafka.sasl.Password", "hunter2");
        let text = format!("{options:?} {}", options.wrong("kafka.sasl.password", "longer"));
        assert!(text.contains("\"topic\": \"t\"") && text.contains("(redacted)"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_time_has_a_unit() {
        let texts = ["5", "5s", "2m", "1500 ms", "x", ""];
        let found = texts.map(|text| parse_time(text, "s").map(|time| time.as_millis()));
        assert_eq!(found, [Some(5000), Some(5000), Some(120_000), Some(1500), None, None]);
    }
}
