//! Lesson: tables of Cassandra as DataFrames: a batch reads one and writes another.
//!
//! It teaches where a table is named (format, keyspace, table), that conditions on its key are left to Cassandra (`explain`
//! shows them as `filters`), and that a write is an upsert: run it twice, and the copy is the same.
//!
//! ```text
//! eval "$(tests/services/cassandra up)"; export CASSANDRA_CONTACT_POINTS
//! cargo run --features cassandra --example cassandra_copy
//! ```
//!
//! The program first makes a keyspace `lessons` and its tables, and fills one with the voters of `examples/data`.

use scylla::client::session_builder::SessionBuilder;
use thalweg::prelude::*;

const TABLES: &[&str] = &[
    "CREATE KEYSPACE IF NOT EXISTS lessons WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE IF NOT EXISTS lessons.voters (county text, id text, party text, age int, PRIMARY KEY (county, id))",
    "CREATE TABLE IF NOT EXISTS lessons.green_voters (party text, id text, age int, PRIMARY KEY (party, id))",
];

fn main() -> Result<()> {
    let nodes = std::env::var("CASSANDRA_CONTACT_POINTS").unwrap_or_else(|_| "localhost:9042".into());
    make_tables(&nodes)?;
    let session =
        Session::builder().app_name("cassandra_copy").config("spark.cassandra.connection.host", &nodes).get_or_create();
    fill(&session)?;

    let voters = session
        .read()
        .format("org.apache.spark.sql.cassandra")
        .option("keyspace", "lessons")
        .option("table", "voters")
        .load()?;
    voters.print_schema()?;
    // One partition is read, not the whole table.
    let green = voters.filter("county = 'Alder' AND party = 'Green'")?.select(["party", "id", "age"])?;
    println!("{}", green.explain_string());
    green
        .write()
        .format("org.apache.spark.sql.cassandra")
        .option("keyspace", "lessons")
        .option("table", "green_voters")
        .mode("append")
        .save()?;

    let copy =
        session.read().format("cassandra").option("keyspace", "lessons").option("table", "green_voters").load()?;
    copy.order_by(["id"])?.show()
}

/// The table's first rows, from files. Columns go where their names say.
fn fill(session: &Session) -> Result<()> {
    let voters = session
        .read()
        .schema("id STRING, person STRUCT<gender: STRING, age: INT>, party STRING, address STRUCT<county: STRING>")
        .json("examples/data/voters")?;
    let rows = voters.select_expr(["id", "address.county AS county", "party", "person.age AS age"])?;
    rows.write().format("cassandra").option("keyspace", "lessons").option("table", "voters").mode("append").save()
}

/// What Cassandra's own tools would do; tables are not made by a write.
fn make_tables(node: &str) -> Result<()> {
    let outside = |error: &dyn std::fmt::Display| Error::outside(format!("no tables were made: {error}"));
    tokio::runtime::Runtime::new()?.block_on(async {
        let driver = SessionBuilder::new().known_node(node).build().await.map_err(|error| outside(&error))?;
        for cql in TABLES {
            driver.query_unpaged(*cql, ()).await.map_err(|error| outside(&error))?;
        }
        Ok(())
    })
}
