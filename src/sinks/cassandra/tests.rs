//! The sink against a real cluster, at `CASSANDRA_CONTACT_POINTS`, if there is one; see `tests/services`.

use std::any::Any;

use super::*;
use crate::cassandra::options::Given;

/// A sink, what can be seen of its numbers, and what has to live as long.
type Fixture = (SinkSpec, Box<dyn Fn() -> Vec<i64>>, Box<dyn Any>);

/// For the tests of all sinks: a new table, and the numbers in it. `None` without a cluster.
pub(in crate::sinks) fn fixture() -> Option<Fixture> {
    let nodes = std::env::var("CASSANDRA_CONTACT_POINTS").ok()?;
    let table = format!("t{}", uuid::Uuid::new_v4().simple());
    let mut spec = SinkSpec { format: "cassandra".into(), ..SinkSpec::default() };
    for (name, value) in
        [("spark.cassandra.connection.host", nodes.as_str()), ("keyspace", "thalweg_sinks"), ("table", &table)]
    {
        spec.options.set(name, value);
    }
    let connection = crate::cassandra::options::Connection::of(&Given::new(&spec.options, &Conf::default())).unwrap();
    let cluster = Cluster::connect(&connection, "thalweg_sinks").unwrap();
    run(&cluster, "CREATE KEYSPACE IF NOT EXISTS thalweg_sinks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}".into());
    run(&cluster, format!("CREATE TABLE thalweg_sinks.{table} (n bigint PRIMARY KEY, value text)"));
    let visible = move || numbers(&cluster, &table);
    Some((spec, Box::new(visible), Box::new(())))
}

fn run(cluster: &Arc<Cluster>, cql: String) {
    let cluster = Arc::clone(cluster);
    wait(
        async move { cluster.session.query_unpaged(cql, ()).await.map(drop).map_err(|e| errors::execution("test", e)) },
    )
    .unwrap();
}

fn numbers(cluster: &Arc<Cluster>, table: &str) -> Vec<i64> {
    let (cluster, cql) = (Arc::clone(cluster), format!("SELECT n FROM thalweg_sinks.{table}"));
    let mut found = wait(async move {
        let rows = cluster.session.query_unpaged(cql, ()).await.unwrap().into_rows_result().unwrap();
        Ok(rows.rows::<(i64,)>().unwrap().map(|row| row.unwrap().0).collect::<Vec<_>>())
    })
    .unwrap();
    found.sort_unstable();
    found
}
