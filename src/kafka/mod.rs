//! What the Kafka source and the Kafka sink share: how a client is configured, and what its errors mean.
//!
//! In: options as the user gave them. Out: a librdkafka configuration in which Java's names have been translated, and errors
//! that say whose fault they are. No error and no log line holds the value of a `kafka.*` option: it may be a secret.

pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod errors;
mod jaas;
