//! `kafka.*` options → librdkafka's configuration.
//!
//! In: options with Java's names (as in Spark) or librdkafka's own. Out: a [`ClientConfig`]. Names that Spark refuses are
//! refused with its reasons, unknown ones with the nearest name; names of Java that have no counterpart and change no
//! result are accepted without effect. Values are never part of an error.

use std::collections::BTreeMap;

use rdkafka::config::ClientConfig;

use crate::options::{Options, nearest};
use crate::{Error, Result};

const PREFIX: &str = "kafka.";

/// Which end of a topic a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Reads.
    Consumer,
    /// Writes.
    Producer,
}

/// Java's name → librdkafka's, where they differ.
const TRANSLATED: &[(&str, &str)] = &[
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("max.request.size", "message.max.bytes"),
    ("ssl.truststore.location", "ssl.ca.location"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
    ("ssl.keystore.key", "ssl.key.pem"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
    ("sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.token.endpoint.url"),
    ("socket.connection.setup.timeout.ms", "socket.connection.setup.timeout.ms"),
];

/// Names of Java's clients that librdkafka has no counterpart for and that change no result.
const WITHOUT_EFFECT: &[&str] = &[
    "max.poll.records",
    "max.block.ms",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "partitioner.adaptive.partitioning.enable",
    "partitioner.availability.timeout.ms",
    "socket.connection.setup.timeout.max.ms",
    "ssl.enabled.protocols",
    "ssl.protocol",
    "ssl.truststore.type",
    "ssl.keystore.type",
    "exclude.internal.topics",
];

/// Names that librdkafka knows, for the nearest one to a wrong name.
const KNOWN: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "batch.num.messages",
    "batch.size",
    "bootstrap.servers",
    "broker.address.family",
    "check.crcs",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "default.api.timeout.ms",
    "delivery.timeout.ms",
    "enable.idempotence",
    "fetch.max.bytes",
    "fetch.max.wait.ms",
    "fetch.min.bytes",
    "group.id",
    "isolation.level",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "max.request.size",
    "metadata.max.age.ms",
    "partitioner",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.jaas.config",
    "sasl.kerberos.keytab",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.keepalive.enable",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.truststore.location",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Starts with `kafka.`, in any case.
pub(crate) fn is_client_option(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(PREFIX))
}

/// The options that are not the client's.
pub(crate) fn without_client(options: &Options) -> Options {
    let mut rest = Options::default();
    options.iter().filter(|(name, _)| !is_client_option(name)).for_each(|(name, value)| rest.set(name, value));
    rest
}

/// The client's options, without prefix, by lower-case name.
pub(crate) fn client_options(options: &Options) -> BTreeMap<String, String> {
    let own = options.iter().filter(|(name, _)| is_client_option(name));
    own.map(|(name, value)| (name[PREFIX.len()..].to_ascii_lowercase(), value.to_owned())).collect()
}

/// The configuration that the `kafka.*` options describe.
///
/// # Errors
/// No `kafka.bootstrap.servers`; a name that Spark refuses or nobody knows; a value that does not fit.
pub(crate) fn client_config(options: &Options, side: Side) -> Result<ClientConfig> {
    let given = client_options(options);
    if given.get("bootstrap.servers").is_none_or(|servers| servers.trim().is_empty()) {
        let who = if side == Side::Consumer { "consumer" } else { "producer" };
        return Err(Error::invalid(format!(
            "option 'kafka.bootstrap.servers' must be specified for configuring Kafka {who}"
        ))
        .hint("Name one or more brokers: .option(\"kafka.bootstrap.servers\", \"host:9092\")."));
    }
    let mut config = ClientConfig::new();
    config.set("client.id", "thalweg").set_log_level(rdkafka::config::RDKafkaLogLevel::Info);
    for (name, value) in &given {
        refuse(name, side)?;
        set(&mut config, name, value)?;
    }
    check(&config)?;
    Ok(config)
}

fn set(config: &mut ClientConfig, name: &str, value: &str) -> Result<()> {
    if WITHOUT_EFFECT.contains(&name) || name == "default.api.timeout.ms" {
        return Ok(());
    }
    match name {
        "sasl.jaas.config" => set_jaas(config, value)?,
        "buffer.memory" => {
            let bytes: u64 = value.trim().parse().map_err(|_| wrong_value(name, "a whole number"))?;
            config.set("queue.buffering.max.kbytes", (bytes / 1024).max(1).to_string());
        }
        "ssl.endpoint.identification.algorithm" if value.is_empty() => drop(config.set(name, "none")),
        "isolation.level" => drop(config.set(name, value.to_ascii_lowercase())),
        _ => {
            let translated = TRANSLATED.iter().find(|(java, _)| *java == name).map_or(name, |(_, own)| own);
            config.set(translated, value);
        }
    }
    Ok(())
}

/// User and password out of Java's login line, e.g. `...PlainLoginModule required username="u" password="p";`.
fn set_jaas(config: &mut ClientConfig, line: &str) -> Result<()> {
    let field = |name: &str| {
        let rest = line.split_once(&format!("{name}=\""))?.1;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    match (field("username"), field("password")) {
        (Some(user), Some(password)) => {
            config.set("sasl.username", user).set("sasl.password", password);
            Ok(())
        }
        _ => Err(wrong_value("sasl.jaas.config", "a login module with username=\"...\" and password=\"...\"")
            .hint("Set kafka.sasl.username and kafka.sasl.password, or Kerberos' own options, instead.")),
    }
}

fn wrong_value(name: &str, expected: &str) -> Error {
    Error::invalid(format!("option 'kafka.{name}' should be {expected}"))
}

/// What Spark does not let through either, with its reasons.
fn refuse(name: &str, side: Side) -> Result<()> {
    let (why, hint) = match (name, side) {
        ("auto.offset.reset", _) => (
            "the query keeps its own offsets, so that no data is missed",
            "Set option 'startingOffsets' to 'earliest' or 'latest' instead.",
        ),
        ("key.deserializer" | "value.deserializer", _) => (
            "keys and values are always read as BINARY",
            "Use expressions such as CAST(value AS STRING) to deserialize them.",
        ),
        ("key.serializer" | "value.serializer", _) => {
            ("keys and values are always written as BINARY or STRING", "Use expressions to serialize them.")
        }
        ("enable.auto.commit" | "enable.auto.offset.store", _) => (
            "the query keeps its own offsets",
            "Set option 'commitOffsetsToGroup' to a group to make lag visible to other tools.",
        ),
        ("interceptor.classes" | "interceptors" | "plugin.library.paths" | "sasl.login.class", _) => {
            ("foreign code is not loaded into the client", "Leave it out.")
        }
        ("group.id", Side::Producer) => ("a producer has no group", "Leave it out."),
        ("transactional.id", _) => (
            "the sink derives it from the checkpoint",
            "Set option 'deliveryGuarantee' to 'exactly-once' to write in transactions.",
        ),
        ("enable.partition.eof" | "statistics.interval.ms", Side::Consumer) => {
            ("the source needs it itself", "Leave it out.")
        }
        ("partitioner.class", _) => (
            "partitioners of Java can't be loaded",
            "Set 'kafka.partitioner' to murmur2_random (the default), consistent_random, random or fnv1a.",
        ),
        _ => return Ok(()),
    };
    Err(Error::invalid(format!("Kafka option '{name}' is not supported: {why}")).hint(hint))
}

/// Asks librdkafka whether it knows all names and takes all values.
fn check(config: &ClientConfig) -> Result<()> {
    use rdkafka::error::KafkaError;
    use rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(RD_KAFKA_CONF_UNKNOWN, _, name, _)) => {
            let error = Error::invalid(format!("there is no Kafka option 'kafka.{name}'"));
            Err(match nearest(&name, KNOWN.iter().copied()) {
                Some(near) => error.hint(format!("Did you mean 'kafka.{near}'?")),
                None => error,
            })
        }
        Err(KafkaError::ClientConfig(_, _, name, _)) => Err(refused_value(&name)),
        Err(other) => Err(Error::invalid(format!("the Kafka client can't be configured: {other}"))),
    }
}

fn refused_value(name: &str) -> Error {
    let error = Error::invalid(format!("option 'kafka.{name}' has a value that the Kafka client does not take"));
    let needs_tls = name.starts_with("ssl.") || name == "security.protocol" || name.starts_with("sasl.");
    match needs_tls && cfg!(not(any(feature = "kafka-tls", feature = "kafka-tls-vendored"))) {
        true => error.hint("TLS and SASL/SCRAM need a build with the Cargo feature 'kafka-tls'."),
        false => error.hint("See the list of options in librdkafka's CONFIGURATION.md."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        let mut options = Options::default();
        options.set("kafka.bootstrap.servers", "localhost:1");
        pairs.iter().for_each(|(name, value)| options.set(*name, *value));
        options
    }

    fn error(pairs: &[(&str, &str)]) -> String {
        client_config(&options(pairs), Side::Consumer).expect_err("refused").to_string()
    }

    #[test]
    fn names_of_java_are_translated() {
        let given =
            [("kafka.FETCH.max.wait.ms", "7"), ("kafka.buffer.memory", "2048"), ("kafka.max.poll.records", "5")];
        let config = client_config(&options(&given), Side::Consumer).unwrap();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("queue.buffering.max.kbytes"), Some("2"));
        assert_eq!(config.get("max.poll.records"), None);
        let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"me\" password=\"pw\";";
        let config = client_config(&options(&[("kafka.sasl.jaas.config", jaas)]), Side::Consumer).unwrap();
        assert_eq!((config.get("sasl.username"), config.get("sasl.password")), (Some("me"), Some("pw")));
    }

    #[test]
    fn x06_unknown_names_are_refused_with_the_nearest() {
        assert!(error(&[("kafka.fetch.min.byte", "1")]).contains("'kafka.fetch.min.bytes'"));
        assert!(error(&[("kafka.sasl.login.class", "evil.Login")]).contains("not supported"));
    }

    #[test]
    fn names_that_spark_refuses_are_refused() {
        for name in
            ["auto.offset.reset", "key.deserializer", "enable.auto.commit", "interceptor.classes", "transactional.id"]
        {
            assert!(error(&[(&format!("kafka.{name}"), "x")]).contains("is not supported"), "{name}");
        }
        let none = client_config(&Options::default(), Side::Consumer).err().unwrap();
        assert!(none.message().contains("kafka.bootstrap.servers"), "{none}");
    }

    #[test]
    fn n07_errors_hold_no_values() {
        for name in ["kafka.sasl.jaas.config", "kafka.security.protocol", "kafka.fetch.min.bytes"] {
            let error = error(&[(name, "hunter2")]);
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
