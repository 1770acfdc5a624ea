//! The options of the Kafka source, checked: what to read, from where, how much at a time.
//!
//! In: options as given. Out: [`Settings`]. Everything that can be wrong without asking the cluster is found here.

use std::time::Duration;

use regex::Regex;

use super::offsets::{self, EARLIEST, LATEST, Partition, Positions};
use crate::kafka::config;
use crate::options::{OptionSpec, Options, option, parse_time};
use crate::sources::SourceSpec;
use crate::{Error, Result};

pub(super) const OPTIONS: &[OptionSpec] = &[
    option(
        "assign",
        "",
        "partitions to read: {\"topicA\":[0,1]}; one of assign, subscribe and subscribePattern is required",
    ),
    option("subscribe", "", "topics to read, separated by commas"),
    option("subscribePattern", "", "topics to read, as a regular expression of the whole name"),
    option("startingOffsets", "latest (stream), earliest (batch)", "earliest, latest or JSON; of a new query only"),
    option("endingOffsets", "latest", "latest or JSON; batch only"),
    option("startingTimestamp", "", "milliseconds since 1970: start with the first record that is not older"),
    option("endingTimestamp", "", "milliseconds since 1970: end before the first record that is not older; batch only"),
    option("startingOffsetsByTimestamp", "", "JSON of milliseconds by topic and partition"),
    option("endingOffsetsByTimestamp", "", "JSON of milliseconds by topic and partition; batch only"),
    option("startingOffsetsByTimestampStrategy", "error", "if no record is so young: error, or latest"),
    option("failOnDataLoss", "true", "false: go on (with a warning) when records are gone before they were read"),
    option("maxOffsetsPerTrigger", "", "records of one batch at most, shared out by the partitions' volume"),
    option("minOffsetsPerTrigger", "", "records that must have come before a batch begins"),
    option(
        "maxTriggerDelay",
        "15m",
        "a batch begins after this time also with fewer records than minOffsetsPerTrigger",
    ),
    option("minPartitions", "", "a hint; a partition is read by one reader, decoding is shared by the workers"),
    option("maxRecordsPerPartition", "", "a hint, as minPartitions"),
    option("includeHeaders", "false", "true: a column 'headers'"),
    option("groupIdPrefix", "spark-kafka-source", "how the name of the consumer group begins; it has no members"),
    option("kafkaConsumer.pollTimeoutMs", "120000", "a batch fails when a partition gives nothing for so long"),
    option("fetchOffset.numRetries", "3", "how often a question for offsets is asked again"),
    option("fetchOffset.retryIntervalMs", "10", "pause between them, in milliseconds"),
    option(
        "commitOffsetsToGroup",
        "",
        "a group whose offsets follow each epoch, for monitoring; never read by the query",
    ),
    option("maxRetryTime", "15m", "how long the cluster may be away before the query fails"),
    option("partitionDiscoveryInterval", "10s", "how often new partitions are looked for under the continuous trigger"),
];

/// Which topics or partitions.
#[derive(Debug, Clone)]
pub(super) enum Topics {
    /// These partitions.
    Assign(Vec<Partition>),
    /// All partitions of these topics.
    Subscribe(Vec<String>),
    /// All partitions of topics with such names.
    Pattern(Regex),
}

impl Topics {
    /// The topics that are named; a pattern names none.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Topics::Assign(partitions) => partitions.iter().map(|(topic, _)| &**topic).collect(),
            Topics::Subscribe(topics) => topics.iter().map(String::as_str).collect(),
            Topics::Pattern(_) => Vec::new(),
        }
    }
}

/// Where a range begins or ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bound {
    /// The oldest record there is.
    Earliest,
    /// Behind the newest.
    Latest,
    /// As said for each partition; -2 and -1 as above.
    Offsets(Positions),
    /// The first record of at least this time (milliseconds), in all partitions.
    Timestamp(i64),
    /// The same, by partition.
    Timestamps(Positions),
}

/// The checked options.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub topics: Topics,
    pub start: Bound,
    pub end: Bound,
    /// No record is so young: take the latest offset instead of an error.
    pub latest_if_too_late: bool,
    pub fail_on_data_loss: bool,
    pub max_offsets: Option<u64>,
    pub min_offsets: Option<u64>,
    pub max_trigger_delay: Duration,
    pub headers: bool,
    pub group: String,
    pub commit_to_group: bool,
    pub poll_timeout: Duration,
    pub retries: u32,
    pub retry_interval: Duration,
    pub max_retry_time: Duration,
    pub discovery: Duration,
    /// How long the first contact may take.
    pub api_timeout: Duration,
}

impl Settings {
    /// Checks all options.
    pub(super) fn of(spec: &SourceSpec) -> Result<Settings> {
        config::without_client(&spec.options).check("source 'kafka'", &[OPTIONS, crate::sources::QUERY_OPTIONS])?;
        config::client_config(&spec.options, config::Side::Consumer)?;
        let options = &spec.options;
        let (min_offsets, max_offsets) = limits(options)?;
        let (group, commit_to_group) = group(options)?;
        positive(options, "minPartitions")?;
        positive(options, "maxRecordsPerPartition")?;
        Ok(Settings {
            topics: topics(options)?,
            start: start(options, spec.streaming)?,
            end: end(options, spec.streaming)?,
            latest_if_too_late: strategy(options)?,
            fail_on_data_loss: options.flag("failOnDataLoss", true)?,
            max_offsets,
            min_offsets,
            max_trigger_delay: time(options, "maxTriggerDelay", "15m")?,
            headers: options.flag("includeHeaders", false)?,
            group,
            commit_to_group,
            poll_timeout: Duration::from_millis(options.number("kafkaConsumer.pollTimeoutMs")?.unwrap_or(120_000)),
            retries: options.number("fetchOffset.numRetries")?.unwrap_or(3),
            retry_interval: Duration::from_millis(options.number("fetchOffset.retryIntervalMs")?.unwrap_or(10)),
            max_retry_time: time(options, "maxRetryTime", "15m")?,
            discovery: time(options, "partitionDiscoveryInterval", "10s")?,
            api_timeout: Duration::from_millis(options.number("kafka.default.api.timeout.ms")?.unwrap_or(60_000)),
        })
    }
}

fn topics(options: &Options) -> Result<Topics> {
    const WAYS: [&str; 3] = ["subscribe", "subscribePattern", "assign"];
    let given: Vec<(&str, &str)> = WAYS.iter().filter_map(|way| Some((*way, options.get(way)?))).collect();
    match given[..] {
        [("assign", text)] => Ok(Topics::Assign(offsets::assignment(text)?)),
        [("subscribe", text)] => subscribe(text),
        [(_, text)] => {
            let whole = Regex::new(&format!("^(?:{text})$"));
            Ok(Topics::Pattern(whole.map_err(|_| options.wrong("subscribePattern", "a regular expression"))?))
        }
        [] => Err(Error::invalid("source 'kafka' needs one of the options subscribe, subscribePattern and assign")
            .hint("For example .option(\"subscribe\", \"topic\").")),
        _ => Err(Error::invalid("source 'kafka' takes only one of the options subscribe, subscribePattern and assign")),
    }
}

fn subscribe(text: &str) -> Result<Topics> {
    let mut names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(Error::invalid(format!(
            "no topics to subscribe to as specified value for option 'subscribe' is '{text}'"
        )));
    }
    Ok(Topics::Subscribe(names))
}

/// Spark's order: `startingTimestamp`, then by timestamp and partition, then offsets.
fn start(options: &Options, streaming: bool) -> Result<Bound> {
    let by_time = timestamps(options, "startingTimestamp", "startingOffsetsByTimestamp")?;
    let bound = match (by_time, options.get("startingOffsets")) {
        (Some(bound), _) => bound,
        (None, None) if streaming => Bound::Latest,
        (None, None) => Bound::Earliest,
        (None, Some(text)) => offset_bound("startingOffsets", text)?,
    };
    let latest = match &bound {
        Bound::Latest => true,
        Bound::Offsets(positions) => positions.values().any(|place| *place == LATEST),
        _ => false,
    };
    match latest && !streaming {
        true => Err(Error::invalid("starting offset can't be latest for batch queries on Kafka")),
        false => Ok(bound),
    }
}

fn end(options: &Options, streaming: bool) -> Result<Bound> {
    let by_time = timestamps(options, "endingTimestamp", "endingOffsetsByTimestamp")?;
    let given = options.get("endingOffsets");
    if streaming && by_time.is_some() {
        return Err(Error::invalid("ending timestamp not valid in streaming queries"));
    }
    if streaming && given.is_some() {
        return Err(Error::invalid("ending offset not valid in streaming queries"));
    }
    let bound = match (by_time, given) {
        (Some(bound), _) => bound,
        (None, None) => Bound::Latest,
        (None, Some(text)) => offset_bound("endingOffsets", text)?,
    };
    let earliest = match &bound {
        Bound::Earliest => true,
        Bound::Offsets(positions) => positions.values().any(|place| *place == EARLIEST),
        _ => false,
    };
    match earliest {
        true => Err(Error::invalid("ending offset can't be earliest for batch queries on Kafka")),
        false => Ok(bound),
    }
}

fn timestamps(options: &Options, global: &str, by_partition: &str) -> Result<Option<Bound>> {
    if let Some(millis) = options.number::<i64>(global)? {
        return match millis {
            0.. => Ok(Some(Bound::Timestamp(millis))),
            _ => Err(options.wrong(global, "a time in milliseconds since 1970")),
        };
    }
    let parsed = options.get(by_partition).map(|text| offsets::from_option(by_partition, text, 0));
    Ok(parsed.transpose()?.map(Bound::Timestamps))
}

fn offset_bound(name: &str, text: &str) -> Result<Bound> {
    match text.trim().to_ascii_lowercase().as_str() {
        "earliest" => Ok(Bound::Earliest),
        "latest" => Ok(Bound::Latest),
        _ => Ok(Bound::Offsets(offsets::from_option(name, text, EARLIEST)?)),
    }
}

fn strategy(options: &Options) -> Result<bool> {
    const NAME: &str = "startingOffsetsByTimestampStrategy";
    match options.get(NAME).map(str::to_ascii_lowercase).as_deref() {
        None | Some("error") => Ok(false),
        Some("latest") => Ok(true),
        Some(_) => Err(options.wrong(NAME, "'error' or 'latest'")),
    }
}

fn limits(options: &Options) -> Result<(Option<u64>, Option<u64>)> {
    let least = positive(options, "minOffsetsPerTrigger")?;
    let most = positive(options, "maxOffsetsPerTrigger")?;
    match (least, most) {
        (Some(min), Some(max)) if min > max => Err(Error::invalid(format!(
            "the value of minOffsetsPerTrigger ({min}) is higher than the maxOffsetsPerTrigger ({max})"
        ))),
        both => Ok(both),
    }
}

fn positive(options: &Options, name: &str) -> Result<Option<u64>> {
    match options.number(name)? {
        Some(0) => Err(options.wrong(name, "positive")),
        number => Ok(number),
    }
}

fn time(options: &Options, name: &str, default: &str) -> Result<Duration> {
    let text = options.get(name).unwrap_or(default);
    parse_time(text, "ms").ok_or_else(|| options.wrong(name, "a time such as '30s' or '15m'"))
}

/// The group's name, and whether offsets are committed to it.
fn group(options: &Options) -> Result<(String, bool)> {
    let own = options.get("kafka.group.id");
    match (options.get("commitOffsetsToGroup"), own) {
        (Some(group), Some(own)) if group != own => {
            Err(Error::invalid("options 'commitOffsetsToGroup' and 'kafka.group.id' name different groups")
                .hint("Leave out 'kafka.group.id'."))
        }
        (Some(""), _) => Err(options.wrong("commitOffsetsToGroup", "the name of a group")),
        (Some(group), _) => Ok((group.to_owned(), true)),
        (None, Some(own)) => Ok((own.to_owned(), false)),
        (None, None) => {
            let prefix = options.get("groupIdPrefix").unwrap_or("spark-kafka-source");
            Ok((format!("{prefix}-{}", uuid::Uuid::new_v4()), false))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::conformance::spec;

    fn settings(pairs: &[(&str, &str)], streaming: bool) -> Result<Settings> {
        let mut all = vec![("kafka.bootstrap.servers", "localhost:1")];
        all.extend(pairs);
        Settings::of(&SourceSpec { streaming, ..spec("kafka", &all) })
    }

    fn error(pairs: &[(&str, &str)], streaming: bool) -> String {
        settings(pairs, streaming).expect_err("refused").to_string()
    }

    #[test]
    fn one_way_to_choose_topics() {
        assert!(error(&[], true).contains("needs one of"));
        assert!(error(&[("subscribe", "a"), ("assign", "{\"a\":[0]}")], true).contains("only one of"));
        assert!(error(&[("subscribe", " , ")], true).contains("no topics"));
        let Topics::Pattern(pattern) = settings(&[("subscribePattern", "t.|u")], true).unwrap().topics else {
            panic!()
        };
        assert!(pattern.is_match("tx") && pattern.is_match("u") && !pattern.is_match("tux"));
    }

    #[test]
    fn bounds_are_those_of_spark() {
        let topic = ("subscribe", "a");
        assert_eq!(settings(&[topic], true).unwrap().start, Bound::Latest);
        assert_eq!(settings(&[topic], false).unwrap().start, Bound::Earliest);
        assert!(error(&[topic, ("startingOffsets", "LATEST")], false).contains("can't be latest"));
        assert!(error(&[topic, ("startingOffsets", "{\"a\":{\"0\":-1}}")], false).contains("can't be latest"));
        assert!(error(&[topic, ("endingOffsets", "earliest")], false).contains("can't be earliest"));
        assert!(error(&[topic, ("endingOffsets", "latest")], true).contains("not valid in streaming"));
        assert!(error(&[topic, ("endingTimestamp", "5")], true).contains("not valid in streaming"));
        let wins = [topic, ("startingTimestamp", "5"), ("startingOffsets", "earliest")];
        assert_eq!(settings(&wins, true).unwrap().start, Bound::Timestamp(5));
    }

    #[test]
    fn limits_must_make_sense() {
        let topic = ("subscribe", "a");
        assert!(
            error(&[topic, ("minOffsetsPerTrigger", "9"), ("maxOffsetsPerTrigger", "8")], true).contains("higher than")
        );
        assert!(error(&[topic, ("minPartitions", "0")], true).contains("positive"));
        assert!(
            error(&[topic, ("commitOffsetsToGroup", "a"), ("kafka.group.id", "b")], true).contains("different groups")
        );
    }
}
