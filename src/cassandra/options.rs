//! Options of a connection, under the Spark connector's names, checked.
//!
//! In: options of a reader or writer and, where they are silent, the session's settings of the same names. Out: [`Connection`].
//! The password is never shown: neither by `Debug` nor by an error.

use std::fmt;
use std::time::Duration;

use scylla::client::session::TlsContext;
use scylla::frame::Compression;
use scylla::frame::types::Consistency;

use super::tls;
use crate::conf::Conf;
use crate::options::{OptionSpec, Options, option, parse_time};
use crate::{Error, Result};

pub(crate) const HOST: &str = "spark.cassandra.connection.host";
const PORT: &str = "spark.cassandra.connection.port";
const USER: &str = "spark.cassandra.auth.username";
const PASSWORD: &str = "spark.cassandra.auth.password";
const LOCAL_DC: &str = "spark.cassandra.connection.localDC";
const COMPRESSION: &str = "spark.cassandra.connection.compression";
const CONNECT_TIMEOUT: &str = "spark.cassandra.connection.timeoutMS";
const READ_TIMEOUT: &str = "spark.cassandra.read.timeoutMS";
const RETRY_COUNT: &str = "spark.cassandra.query.retry.count";
const MAX_RETRY_TIME: &str = "maxRetryTime";

/// What says where a table is and how to get there; the same for source and sink.
pub(crate) const CONNECTION: &[OptionSpec] = &[
    option("table", "", "the table; required"),
    option("keyspace", "", "its keyspace; required"),
    option("cluster", "", "accepted; settings of several clusters are told apart by options"),
    option(HOST, "localhost", "nodes to begin with, host or host:port, with commas between"),
    option(PORT, "9042", "the port where a host has none"),
    option(USER, "", "for a login by password"),
    option(PASSWORD, "", "for a login by password"),
    option(LOCAL_DC, "", "only nodes of this datacenter are used"),
    option(COMPRESSION, "NONE", "of frames: LZ4, SNAPPY or NONE"),
    option(CONNECT_TIMEOUT, "5000", "milliseconds to wait for a connection"),
    option(READ_TIMEOUT, "120000", "milliseconds to wait for an answer"),
    option(
        RETRY_COUNT,
        "60",
        "how often a statement is tried again when nodes are away; -1: as often as maxRetryTime allows",
    ),
    option(MAX_RETRY_TIME, "15m", "not in Spark: how long nodes may be away before the query fails"),
    option("spark.cassandra.connection.keepAliveMS", "", "accepted without effect"),
    option("spark.cassandra.connection.localConnectionsPerExecutor", "1", "connections to each node"),
    option("spark.cassandra.connection.remoteConnectionsPerExecutor", "", "accepted without effect"),
    option("spark.cassandra.connection.reconnectionDelayMS.min", "", "accepted without effect"),
    option("spark.cassandra.connection.reconnectionDelayMS.max", "", "accepted without effect"),
    option("spark.cassandra.connection.resolveContactPoints", "", "accepted without effect"),
    option("spark.cassandra.connection.quietPeriodBeforeCloseMS", "", "accepted without effect"),
    option("spark.cassandra.connection.timeoutBeforeCloseMS", "", "accepted without effect"),
];

/// Options and, behind them, settings of the session.
pub(crate) struct Given<'a> {
    options: &'a Options,
    conf: &'a Conf,
}

impl<'a> Given<'a> {
    pub(crate) fn new(options: &'a Options, conf: &'a Conf) -> Given<'a> {
        Given { options, conf }
    }

    /// The value of an option, or else of the setting of the same name.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let given = self.options.get(name).or_else(|| self.conf.get(name));
        given.map(str::trim).filter(|value| !value.is_empty())
    }

    /// A whole number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str, default: T) -> Result<T> {
        let Some(text) = self.get(name) else { return Ok(default) };
        text.parse().map_err(|_| self.wrong(name, "a whole number in range"))
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(self.wrong(name, "'true' or 'false'")),
        }
    }

    /// A consistency level by its name in CQL.
    pub(crate) fn consistency(&self, name: &str, default: Consistency) -> Result<Consistency> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let levels = LEVELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(text));
        levels.map(|(_, level)| *level).ok_or_else(|| {
            let names: Vec<&str> = LEVELS.iter().map(|(name, _)| *name).collect();
            self.wrong(name, &format!("one of {}", names.join(", ")))
        })
    }

    /// The error for a value that does not fit.
    pub(crate) fn wrong(&self, name: &str, expected: &str) -> Error {
        Error::invalid(format!("option '{name}' should be {expected} but is '{}'", self.get(name).unwrap_or_default()))
    }

    /// Table and keyspace.
    ///
    /// # Errors
    /// One of them is missing.
    pub(crate) fn table(&self) -> Result<TableName> {
        let required = |name: &str| {
            let given = self.options.get(name).map(str::trim).filter(|value| !value.is_empty());
            let error = || Error::invalid(format!("Cassandra needs option '{name}'"));
            given.map(str::to_owned).ok_or_else(|| error().hint(format!("Set it with .option(\"{name}\", ...).")))
        };
        Ok(TableName { keyspace: required("keyspace")?, table: required("table")? })
    }
}

const LEVELS: &[(&str, Consistency)] = &[
    ("ANY", Consistency::Any),
    ("ONE", Consistency::One),
    ("TWO", Consistency::Two),
    ("THREE", Consistency::Three),
    ("QUORUM", Consistency::Quorum),
    ("ALL", Consistency::All),
    ("LOCAL_QUORUM", Consistency::LocalQuorum),
    ("EACH_QUORUM", Consistency::EachQuorum),
    ("LOCAL_ONE", Consistency::LocalOne),
];

/// A table's full name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableName {
    pub keyspace: String,
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.keyspace, self.table)
    }
}

/// How to reach a cluster.
#[derive(Clone)]
pub(crate) struct Connection {
    /// `host:port` each.
    pub nodes: Vec<String>,
    pub login: Option<(String, String)>,
    pub local_dc: Option<String>,
    pub compression: Option<Compression>,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    /// Connections to each node.
    pub connections: usize,
    pub retries: Retries,
    /// What connections are encrypted with, if they are.
    pub tls: Option<TlsContext>,
}

/// How long a statement is tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retries {
    /// How often at most, if there is a limit.
    pub count: Option<u32>,
    /// For how long at most, all waits together.
    pub time: Duration,
}

impl Connection {
    /// Checks the options.
    ///
    /// # Errors
    /// A value that does not fit, a user without a password.
    pub(crate) fn of(given: &Given<'_>) -> Result<Connection> {
        let port: u16 = given.number(PORT, 9042)?;
        let millis = |name, default| Ok::<_, Error>(Duration::from_millis(given.number(name, default)?));
        Ok(Connection {
            nodes: nodes(given.get(HOST).unwrap_or("localhost"), port)?,
            login: login(given)?,
            local_dc: given.get(LOCAL_DC).map(str::to_owned),
            compression: compression(given)?,
            connect_timeout: millis(CONNECT_TIMEOUT, 5000)?,
            read_timeout: millis(READ_TIMEOUT, 120_000)?,
            connections: given.number("spark.cassandra.connection.localConnectionsPerExecutor", 1)?,
            retries: retries(given)?,
            tls: tls::context(given)?,
        })
    }
}

fn nodes(hosts: &str, port: u16) -> Result<Vec<String>> {
    let hosts = hosts.split(',').map(str::trim).filter(|host| !host.is_empty());
    let nodes: Vec<String> = hosts.map(|host| with_port(host, port)).collect();
    if nodes.is_empty() {
        return Err(Error::invalid(format!("option '{HOST}' names no host")));
    }
    Ok(nodes)
}

/// `host:port`; an IPv6 address may be in brackets.
fn with_port(host: &str, port: u16) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return format!("[{host}]:{port}");
    }
    let behind = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    if behind.is_some() { host.to_owned() } else { format!("{host}:{port}") }
}

fn login(given: &Given<'_>) -> Result<Option<(String, String)>> {
    match (given.get(USER), given.get(PASSWORD)) {
        (Some(user), Some(password)) => Ok(Some((user.to_owned(), password.to_owned()))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::invalid(format!("option '{USER}' needs option '{PASSWORD}'"))),
        (None, Some(_)) => Err(Error::invalid(format!("option '{PASSWORD}' needs option '{USER}'"))),
    }
}

fn compression(given: &Given<'_>) -> Result<Option<Compression>> {
    match given.get(COMPRESSION).map(str::to_ascii_uppercase).as_deref() {
        None | Some("NONE") => Ok(None),
        Some("LZ4") => Ok(Some(Compression::Lz4)),
        Some("SNAPPY") => Ok(Some(Compression::Snappy)),
        Some(_) => Err(given.wrong(COMPRESSION, "LZ4, SNAPPY or NONE")),
    }
}

fn retries(given: &Given<'_>) -> Result<Retries> {
    let count: i64 = given.number(RETRY_COUNT, 60)?;
    let text = given.get(MAX_RETRY_TIME).unwrap_or("15m");
    let time = parse_time(text, "ms").ok_or_else(|| given.wrong(MAX_RETRY_TIME, "a time such as '30s' or '15m'"))?;
    Ok(Retries { count: u32::try_from(count).ok(), time })
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(pairs: &[(&str, &str)]) -> Result<Connection> {
        let mut options = Options::default();
        pairs.iter().for_each(|(name, value)| options.set(*name, *value));
        Connection::of(&Given::new(&options, &Conf::default()))
    }

    #[test]
    fn hosts_get_the_port_where_they_have_none() {
        let found = connection(&[("SPARK.cassandra.connection.HOST", "a, b:9043,::1"), (PORT, "19042")]).unwrap();
        assert_eq!(found.nodes, ["a:19042", "b:9043", "[::1]:19042"]);
    }

    #[test]
    fn settings_of_the_session_hold_where_options_are_silent() {
        let mut conf = Conf::default();
        conf.set(HOST, "from-conf");
        conf.set(PORT, "1");
        let mut options = Options::default();
        options.set(PORT, "2");
        assert_eq!(Connection::of(&Given::new(&options, &conf)).unwrap().nodes, ["from-conf:2"]);
    }

    #[test]
    fn n07_secrets_are_not_shown() {
        let found = connection(&[(USER, "me"), (PASSWORD, "hunter2")]).unwrap();
        assert_eq!(found.login, Some(("me".to_owned(), "hunter2".to_owned())));
        assert!(!format!("{found:?}").contains("hunter2"));
        let error = connection(&[(PASSWORD, "hunter2")]).unwrap_err().to_string();
        assert!(error.contains(USER) && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        for (name, value) in [(PORT, "99999"), (COMPRESSION, "zip"), (MAX_RETRY_TIME, "soon")] {
            assert!(connection(&[(name, value)]).is_err(), "{name}");
        }
        let (options, conf) = (Options::default(), Conf::default());
        assert!(Given::new(&options, &conf).table().unwrap_err().message().contains("'keyspace'"));
    }
}
