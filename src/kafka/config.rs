//! `kafka.*` options → librdkafka's configuration.
//!
//! In: options with Java's names (as in Spark) or librdkafka's own. Out: a [`ClientConfig`]. Names that Spark refuses are
//! refused with its reasons, unknown ones with the nearest name; names of Java that have no counterpart and change no
//! result are accepted without effect. Values are never part of an error.

use std::collections::BTreeMap;

use rdkafka::config::ClientConfig;

use super::jaas;
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
];

/// Java has a compression level for each codec, librdkafka one for the codec in use.
const LEVELS: &[(&str, &str)] =
    &[("compression.gzip.level", "gzip"), ("compression.lz4.level", "lz4"), ("compression.zstd.level", "zstd")];

/// What the client and OpenSSL agree on anyway.
const TLS_VERSIONS: [&str; 2] = ["TLSV1.2", "TLSV1.3"];

/// Options that name files.
const FILES: &[&str] = &[
    "ssl.truststore.location",
    "ssl.keystore.location",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.crl.location",
];

/// How names of options begin that say how to reach a cluster, whatever a client then does there.
const CONNECTION: &[&str] = &[
    "api.version.",
    "bootstrap.servers",
    "broker.",
    "client.",
    "connections.max.idle.ms",
    "debug",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "https.",
    "log",
    "message.max.bytes",
    "metadata.",
    "receive.message.max.bytes",
    "reconnect.",
    "sasl.",
    "security.protocol",
    "socket.",
    "ssl.",
    "topic.metadata.",
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
    "compression.gzip.level",
    "compression.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
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
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.type",
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
    let mut making = Making::default();
    making.config.set("client.id", "thalweg").set_log_level(rdkafka::config::RDKafkaLogLevel::Info);
    for (name, value) in &given {
        refuse(name, side)?;
        check_stores(name, value)?;
        making.set(&given, name, value)?;
    }
    making.check()?;
    Ok(making.config)
}

/// Of a configuration what says how to reach the cluster: for clients that neither read nor write the user's topics.
pub(crate) fn connection(config: &ClientConfig) -> ClientConfig {
    let mut own = ClientConfig::new();
    own.set_log_level(config.log_level);
    // The map has no passwords, and is asked for names only.
    let all = config.config_map().into_keys();
    for name in all.filter(|name| CONNECTION.iter().any(|head| name.starts_with(head))) {
        own.set(name, config.get(name).unwrap_or_default());
    }
    own
}

/// A configuration under construction.
#[derive(Default)]
struct Making {
    config: ClientConfig,
    /// librdkafka's name → the user's.
    given_as: BTreeMap<String, String>,
}

impl Making {
    fn put(&mut self, own: &str, value: impl Into<String>, given_as: &str) {
        self.config.set(own, value);
        self.given_as.insert(own.to_owned(), given_as.to_owned());
    }

    fn set(&mut self, given: &BTreeMap<String, String>, name: &str, value: &str) -> Result<()> {
        if WITHOUT_EFFECT.contains(&name) || name == "default.api.timeout.ms" {
            return Ok(());
        }
        if let Some((_, codec)) = LEVELS.iter().find(|(level, _)| *level == name) {
            self.set_level(given, codec, name, value);
            return Ok(());
        }
        match name {
            "sasl.jaas.config" => self.set_jaas(value)?,
            "buffer.memory" => {
                let bytes: u64 = value.trim().parse().map_err(|_| wrong_value(name, "a whole number"))?;
                self.put("queue.buffering.max.kbytes", (bytes / 1024).max(1).to_string(), name);
            }
            "ssl.endpoint.identification.algorithm" if value.is_empty() => self.put(name, "none", name),
            "isolation.level" => self.put(name, value.to_ascii_lowercase(), name),
            "ssl.keystore.type" | "ssl.truststore.type" | "ssl.enabled.protocols" | "ssl.protocol" => {}
            "ssl.keystore.location" if is_pem(given) => {
                self.put("ssl.certificate.location", value, name);
                self.put("ssl.key.location", value, name);
            }
            _ => {
                let translated = TRANSLATED.iter().find(|(java, _)| *java == name).map_or(name, |(_, own)| own);
                self.put(translated, value, name);
            }
        }
        Ok(())
    }

    /// A level counts if its codec is in use.
    fn set_level(&mut self, given: &BTreeMap<String, String>, codec: &str, name: &str, value: &str) {
        let used = given.get("compression.type").or_else(|| given.get("compression.codec"));
        if used.is_some_and(|used| used.trim().eq_ignore_ascii_case(codec)) {
            self.put("compression.level", value, name);
        }
    }

    /// User and password out of Java's login line.
    fn set_jaas(&mut self, line: &str) -> Result<()> {
        const NAME: &str = "sasl.jaas.config";
        let mut fields = jaas::options(line);
        match (fields.remove("username"), fields.remove("password")) {
            (Some(user), Some(password)) => {
                self.put("sasl.username", user, NAME);
                self.put("sasl.password", password, NAME);
                Ok(())
            }
            _ => Err(wrong_value(NAME, "a login module with username=\"...\" and password=\"...\"")
                .hint("Set kafka.sasl.username and kafka.sasl.password, or Kerberos' own options, instead.")),
        }
    }

    /// Asks librdkafka whether it knows all names and takes all values.
    fn check(&self) -> Result<()> {
        use rdkafka::error::KafkaError;
        use rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;
        match self.config.create_native_config() {
            Ok(_) => Ok(()),
            Err(KafkaError::ClientConfig(RD_KAFKA_CONF_UNKNOWN, _, name, _)) => {
                let error = Error::invalid(format!("there is no Kafka option 'kafka.{name}'"));
                Err(match nearest(&name, KNOWN.iter().copied()) {
                    Some(near) => error.hint(format!("Did you mean 'kafka.{near}'?")),
                    None => error,
                })
            }
            Err(KafkaError::ClientConfig(_, _, name, _)) => {
                Err(refused_value(self.given_as.get(&name).map_or(name.as_str(), String::as_str)))
            }
            Err(other) => Err(Error::invalid(format!("the Kafka client can't be configured: {other}"))),
        }
    }
}

/// Certificates in one file with their key, instead of Java's or PKCS12's stores.
fn is_pem(given: &BTreeMap<String, String>) -> bool {
    given.get("ssl.keystore.type").is_some_and(|kind| kind.trim().eq_ignore_ascii_case("pem"))
}

/// Stores of certificates that the client can't read, and limits that it would not keep.
fn check_stores(name: &str, value: &str) -> Result<()> {
    let kind = value.trim().to_ascii_uppercase();
    let versions = |known: &[&str]| kind.split(',').all(|version| known.contains(&version.trim()));
    let all_versions = || TLS_VERSIONS.iter().all(|known| kind.split(',').any(|version| version.trim() == *known));
    let fits = match name {
        "ssl.truststore.type" => kind == "PEM",
        "ssl.keystore.type" => kind == "PEM" || kind == "PKCS12",
        "ssl.truststore.password" => false,
        "ssl.enabled.protocols" => versions(&TLS_VERSIONS) && all_versions(),
        "ssl.protocol" => versions(&["TLS", "TLSV1.3"]),
        _ if FILES.contains(&name) => return check_file(name, value),
        _ => true,
    };
    match fits {
        true => Ok(()),
        false => Err(Error::invalid(format!("Kafka option '{name}' asks for what the client can't do")).hint(
            match name {
                "ssl.keystore.type" => {
                    "Key stores are PKCS12 or PEM: keytool -importkeystore -srckeystore keys.jks -destkeystore keys.p12 \
                     -deststoretype PKCS12."
                }
                "ssl.truststore.type" | "ssl.truststore.password" => {
                    "Certificates to trust are in a PEM file without password: keytool -exportcert -rfc -keystore trust.jks -alias NAME \
                     -file trust.pem; name it in 'kafka.ssl.truststore.location'."
                }
                _ => "It agrees with the brokers on TLS 1.3 or 1.2; MinProtocol in OpenSSL's configuration file narrows that.",
            },
        )),
    }
}

fn check_file(name: &str, value: &str) -> Result<()> {
    // The client's word for the certificates of the system.
    if name == "ssl.ca.location" && value == "probe" {
        return Ok(());
    }
    std::fs::metadata(value).map(drop).map_err(|cause| {
        Error::invalid(format!("the file that option 'kafka.{name}' names can't be read: {cause}")).caused_by(cause)
    })
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
    fn n07_login_lines_are_read_as_java_does() {
        let jaas = r#"org.example.Module required username='me' password="a\"b'c";"#;
        let config = client_config(&options(&[("kafka.sasl.jaas.config", jaas)]), Side::Consumer).unwrap();
        assert_eq!((config.get("sasl.username"), config.get("sasl.password")), (Some("me"), Some("a\"b'c")));
    }

    #[test]
    fn levels_of_compression_are_those_of_the_codec_in_use() {
        let levels = [("kafka.compression.gzip.level", "3"), ("kafka.compression.zstd.level", "7")];
        let with = |codec| [levels[0], levels[1], ("kafka.compression.type", codec)];
        let level = |given: &[(&str, &str)]| {
            let config = client_config(&options(given), Side::Producer).unwrap();
            config.get("compression.level").map(str::to_owned)
        };
        assert_eq!(level(&with("gzip")).as_deref(), Some("3"));
        assert_eq!(level(&with("zstd")).as_deref(), Some("7"));
        assert_eq!((level(&with("snappy")), level(&levels)), (None, None));
        let error = error(&[("kafka.compression.type", "lz4"), ("kafka.compression.lz4.level", "99")]);
        assert!(error.contains("'kafka.compression.lz4.level'"), "{error}");
    }

    #[test]
    fn n07_stores_that_cannot_be_read_are_refused_with_the_way_out() {
        for (name, value, told) in [
            ("ssl.truststore.type", "JKS", "PEM"),
            ("ssl.truststore.password", "hunter2", "PEM"),
            ("ssl.keystore.type", "jks", "PKCS12"),
            ("ssl.enabled.protocols", "TLSv1.3", "MinProtocol"),
            ("ssl.protocol", "TLSv1.1", "MinProtocol"),
            ("ssl.truststore.location", "/no/such/hunter2.pem", "'kafka.ssl.truststore.location'"),
        ] {
            let error = error(&[(&format!("kafka.{name}"), value)]);
            assert!(error.contains(name) && error.contains(told) && !error.contains("hunter2"), "{error}");
        }
        let fine = [
            ("kafka.ssl.truststore.type", "pem"),
            ("kafka.ssl.enabled.protocols", "TLSv1.3, TLSv1.2"),
            ("kafka.ssl.protocol", "TLSv1.3"),
        ];
        assert!(client_config(&options(&fine), Side::Consumer).is_ok());
    }

    #[test]
    fn errors_name_the_option_as_it_was_given() {
        let error = error(&[("kafka.fetch.max.wait.ms", "soon")]);
        assert!(error.contains("'kafka.fetch.max.wait.ms'"), "{error}");
    }

    #[test]
    fn what_reaches_the_cluster_is_told_from_what_is_done_there() {
        let given =
            [("kafka.linger.ms", "5"), ("kafka.compression.type", "lz4"), ("kafka.socket.keepalive.enable", "true")];
        let given = [given.as_slice(), &[("kafka.sasl.password", "pw")]].concat();
        let config = connection(&client_config(&options(&given), Side::Producer).unwrap());
        assert_eq!(config.get("sasl.password"), Some("pw"));
        assert_eq!((config.get("linger.ms"), config.get("compression.type")), (None, None));
        assert_eq!(config.get("socket.keepalive.enable"), Some("true"));
        assert_eq!(config.get("bootstrap.servers"), Some("localhost:1"));
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
