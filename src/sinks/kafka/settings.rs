//! The options of the Kafka sink, checked.
//!
//! In: options as given, the columns of the rows. Out: [`Settings`] and the configuration of the producers.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::kafka::config::{self, Side};
use crate::options::{OptionSpec, Options, option, parse_time};
use crate::sinks::{Pace, SinkContext, SinkSpec};
use crate::{Error, Result};

pub(super) const OPTIONS: &[OptionSpec] = &[
    option("topic", "", "the topic of all rows; without it a column 'topic' says"),
    option(
        "includeHeaders",
        "false",
        "a column 'headers' is written whenever there is one; the option changes nothing",
    ),
    option("deliveryGuarantee", "at-least-once", "at-least-once, or exactly-once: each epoch is one transaction"),
    option(
        "progressTopic",
        "thalweg-progress",
        "exactly-once: the compacted topic that says which epochs are committed",
    ),
    option("maxRetryTime", "15m", "how long the cluster may be away before the query fails"),
];

/// How long a transaction may be open at least.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(300);

/// The checked options.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub topic: Option<String>,
    pub exactly_once: bool,
    pub progress_topic: String,
    pub max_retry_time: Duration,
    /// How long the first contact may take.
    pub api_timeout: Duration,
}

impl Settings {
    /// Checks all options but those of the client.
    pub(super) fn of(spec: &SinkSpec) -> Result<Settings> {
        let options = &spec.options;
        config::without_client(options).check("sink 'kafka'", &[OPTIONS, crate::sinks::QUERY_OPTIONS])?;
        let retry = options.get("maxRetryTime").unwrap_or("15m");
        let max_retry_time =
            parse_time(retry, "ms").ok_or_else(|| options.wrong("maxRetryTime", "a time such as '30s' or '15m'"))?;
        Ok(Settings {
            topic: options.get("topic").map(|topic| topic.trim().to_owned()),
            exactly_once: exactly_once(options)?,
            progress_topic: options.get("progressTopic").unwrap_or("thalweg-progress").to_owned(),
            max_retry_time,
            api_timeout: Duration::from_millis(options.number("kafka.default.api.timeout.ms")?.unwrap_or(60_000)),
        })
    }

    /// What all producers of the sink are configured with.
    pub(super) fn producer(&self, spec: &SinkSpec, context: &SinkContext) -> Result<ClientConfig> {
        let mut config = config::client_config(&spec.options, Side::Producer)?;
        let linger = if context.pace == Pace::Eager { "0" } else { "5" };
        let timeout = self.max_retry_time.as_millis().clamp(1000, 2_147_483_647).to_string();
        // Java's partitioner, so that keys go where other programs put them.
        let mut defaults = vec![("linger.ms", linger), ("partitioner", "murmur2_random")];
        if config.get("acks").is_none_or(|acks| acks == "all" || acks == "-1") {
            defaults.push(("enable.idempotence", "true"));
        }
        if !self.exactly_once && config.get("message.timeout.ms").is_none() {
            defaults.push(("delivery.timeout.ms", &timeout));
        }
        for (name, value) in defaults {
            if config.get(name).is_none() {
                config.set(name, value);
            }
        }
        Ok(config)
    }

    /// The same for a producer that writes in transactions.
    ///
    /// # Errors
    /// A `kafka.transaction.timeout.ms` that would end transactions before epochs end.
    pub(super) fn transactional(
        &self,
        mut config: ClientConfig,
        context: &SinkContext,
        id: &str,
    ) -> Result<ClientConfig> {
        let interval = context.interval.unwrap_or_default();
        match config.get("transaction.timeout.ms").map(str::parse::<u64>) {
            None => {
                let timeout = TRANSACTION_TIMEOUT.max(interval * 4);
                config.set("transaction.timeout.ms", timeout.as_millis().to_string());
            }
            Some(Ok(millis)) if u128::from(millis) < 2 * interval.as_millis() => {
                let seconds = interval.as_secs_f64();
                return Err(Error::invalid(format!(
                    "transactions would expire after {millis} ms while epochs end each {seconds} s"
                ))
                .hint("Set 'kafka.transaction.timeout.ms' to at least twice the checkpoint interval."));
            }
            Some(_) => {}
        }
        config.set("transactional.id", id).set("enable.idempotence", "true");
        Ok(config)
    }

    /// After what time the brokers abort a transaction of such a producer.
    pub(super) fn transaction_timeout(config: &ClientConfig) -> Duration {
        let millis = config.get("transaction.timeout.ms").and_then(|text| text.trim().parse().ok());
        millis.map_or(TRANSACTION_TIMEOUT, Duration::from_millis)
    }
}

fn exactly_once(options: &Options) -> Result<bool> {
    const NAME: &str = "deliveryGuarantee";
    match options.get(NAME).map(str::to_ascii_lowercase).as_deref() {
        None | Some("at-least-once") => Ok(false),
        Some("exactly-once") => Ok(true),
        Some(_) => Err(options.wrong(NAME, "'at-least-once' or 'exactly-once'")),
    }
}
