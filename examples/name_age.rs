//! Lesson: lines from a socket become columns, and rows become values of your own type.
//!
//! It teaches the socket source, splitting text into columns, casts that give NULL instead of failing (`try_cast`), the
//! continuous driver, and how a program takes the results of a query from a channel as its own structs.
//!
//! ```text
//! cargo run --example name_age                          a small server in this program sends examples/data/names.txt
//! nc -lk 9999                                           in another terminal: type lines such as Ada,36
//! cargo run --example name_age -- localhost 9999        and read them, until Ctrl-C
//! ```

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use serde::Deserialize;
use thalweg::prelude::*;

const LINES: &str = include_str!("data/names.txt");

/// One row of the result.
#[derive(Debug, Deserialize)]
struct Person {
    name: String,
    age: Option<i32>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [host, port] => print_people(host, port, usize::MAX),
        _ => {
            let address = serve_lines()?;
            print_people(&address.ip().to_string(), &address.port().to_string(), LINES.lines().count())
        }
    }
}

/// Prints the first `count` people as they arrive.
fn print_people(host: &str, port: &str, count: usize) -> Result<()> {
    let session = Session::builder().app_name("name_age").get_or_create();
    let lines = session.read_stream().format("socket").option("host", host).option("port", port).load()?;
    let parts = lines.select([split("value", ",").alias("parts")])?;
    // A line without a comma has no second part: `get` gives NULL where `parts[1]` would be an error.
    let people = parts.select_expr(["parts[0] AS name", "try_cast(trim(get(parts, 1)) AS INT) AS age"])?;
    let writer = people.write_stream().output_mode("append").trigger(Trigger::continuous("1 second")?);
    let (query, rows) = writer.start_channel(16)?;
    for person in rows.items::<Person>().take(count) {
        let person = person?;
        match person.age {
            Some(age) => println!("{} is {age} years old", person.name),
            None => println!("{} did not say", person.name),
        }
    }
    query.stop()
}

/// Sends the lines to the first who connects.
fn serve_lines() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || listener.accept().and_then(|(mut peer, _)| peer.write_all(LINES.as_bytes())));
    Ok(address)
}
