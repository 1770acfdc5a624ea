//! Settings that belong to a query for good: recorded with each epoch, and stronger after a restart than what the session says.
//!
//! In: a session's settings, a checkpoint. Out: the settings to run with. The list is Spark's, as far as the settings mean
//! something here.

use std::collections::BTreeMap;

use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::conf::Conf;

/// The settings and what holds if nobody set them.
const RECORDED: [(&str, &str); 2] =
    [("spark.sql.shuffle.partitions", "200"), ("spark.sql.streaming.multipleWatermarkPolicy", "min")];

/// Whether batches without data run. It may change between runs, but whether one follows a batch is settled when that is recorded.
const NO_DATA: (&str, &str) = ("spark.sql.streaming.noDataMicroBatches.enabled", "true");

/// What is recorded of these settings.
pub(super) fn of(conf: &Conf) -> BTreeMap<String, String> {
    let value = |(key, default): (&str, &str)| (key.to_owned(), conf.get(key).unwrap_or(default).to_owned());
    RECORDED.into_iter().chain([NO_DATA]).map(value).collect()
}

/// Whether a batch without data may follow the last one that the checkpoint recorded.
pub(super) fn owes_no_data_batch(checkpoint: &Checkpoint) -> Result<bool> {
    Ok(checkpoint.settings()?.get(NO_DATA.0).is_none_or(|value| !value.eq_ignore_ascii_case("false")))
}

/// The settings with those that the checkpoint recorded.
pub(super) fn fixed(conf: &Conf, checkpoint: Option<&Checkpoint>) -> Result<Conf> {
    let mut fixed = conf.clone();
    let recorded = checkpoint.map_or(Ok(BTreeMap::new()), Checkpoint::settings)?;
    for (key, default) in RECORDED {
        let Some(value) = recorded.get(key) else { continue };
        if conf.get(key).unwrap_or(default) != value {
            tracing::warn!("'{key}' stays '{value}' as the checkpoint recorded it");
        }
        fixed.set(key, value);
    }
    Ok(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_recorded_too() {
        assert_eq!(of(&Conf::default())["spark.sql.streaming.multipleWatermarkPolicy"], "min");
    }
}
