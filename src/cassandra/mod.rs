//! What the Cassandra source and the Cassandra sink share: connection, tables, types, errors.
//!
//! In: options under the Spark connector's names. Out: a [`cluster::Cluster`] that runs statements, the [`table::Table`] of a
//! keyspace, and the way between CQL's values and Arrow's columns ([`types`] says which type becomes which; [`decode`] reads,
//! [`convert`] and [`encode`] write). No error and no log line holds a password.

pub(crate) mod cluster;
pub(crate) mod convert;
pub(crate) mod decode;
pub(crate) mod duration;
pub(crate) mod encode;
pub(crate) mod errors;
pub(crate) mod numbers;
pub(crate) mod options;
pub(crate) mod table;
pub(crate) mod tls;
pub(crate) mod types;

#[cfg(test)]
mod tests;
