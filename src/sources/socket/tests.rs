//! Against a listener in the same process; reads block with a deadline, nothing sleeps.

use std::io::Write;
use std::net::TcpListener;

use arrow::array::AsArray;

use super::super::conformance::{context, spec};
use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// A connected source and the server's end of its connection.
fn connected() -> (Box<dyn Source>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let spec = spec("socket", &[("host", "127.0.0.1"), ("port", &port)]);
    let schema = Socket.schema(&spec, &Conf::default()).unwrap();
    let source = Socket.connect(&spec, schema, context(1)).unwrap();
    (source, listener.accept().unwrap().0)
}

fn lines(rows: &RecordBatch) -> Vec<String> {
    rows.column(0).as_string::<i32>().iter().map(|line| line.unwrap().to_owned()).collect()
}

/// Reads until there is something else than `Idle`.
fn read(reader: &mut dyn Reader) -> Option<Vec<String>> {
    loop {
        match reader.next(DEADLINE).unwrap() {
            Read::Rows(rows) => return Some(lines(&rows)),
            Read::End => return None,
            _ => {}
        }
    }
}

/// Asks until this many lines are there.
fn wait_for(source: &mut dyn Source, count: i64) -> Offset {
    loop {
        let offset = source.latest(None, Limit::Options).unwrap().unwrap();
        if offset.as_i64() >= Some(count - 1) {
            return offset;
        }
        std::thread::yield_now();
    }
}

#[test]
fn n13_a_refused_connection_is_an_error_at_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let spec = spec("socket", &[("host", "127.0.0.1"), ("port", &port)]);
    let schema = Socket.schema(&spec, &Conf::default()).unwrap();
    let error = Socket.connect(&spec, schema, context(1)).err().unwrap();
    assert!(error.message().contains("cannot connect to 127.0.0.1"), "{error}");
}

#[test]
fn n13_rows_end_when_the_peer_closes_and_the_last_line_needs_no_line_end() {
    let (mut source, mut peer) = connected();
    let mut readers = source.read(None, None).unwrap();
    peer.write_all(b"a\r\nb\n").unwrap();
    assert_eq!(read(readers[0].as_mut()).unwrap(), ["a", "b"]);
    assert_eq!(readers[0].offset(), Offset::from(1));
    peer.write_all(b"c").unwrap();
    drop(peer);
    assert_eq!(read(readers[0].as_mut()).unwrap(), ["c"]);
    assert_eq!(read(readers[0].as_mut()), None);
}

#[test]
fn n13_a_line_without_end_is_cut_off() {
    let (mut source, mut peer) = connected();
    let mut readers = source.read(None, None).unwrap();
    let writer = std::thread::spawn(move || {
        let block = vec![b'x'; 1 << 20];
        (0..20).for_each(|_| peer.write_all(&block).unwrap());
        peer.write_all(b"\nshort\n").unwrap();
    });
    let mut found = Vec::new();
    while let Some(lines) = read(readers[0].as_mut()) {
        found.extend(lines);
    }
    writer.join().unwrap();
    assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [16 << 20, 5]);
}

#[test]
fn n12_a_silent_peer_does_not_hold_up_the_reader() {
    let (mut source, mut peer) = connected();
    let mut readers = source.read(None, None).unwrap();
    assert!(matches!(readers[0].next(Duration::from_millis(1)).unwrap(), Read::Idle));
    peer.write_all(b"half").unwrap();
    assert!(matches!(readers[0].next(DEADLINE).unwrap(), Read::Idle), "half a line is none");
    assert!(readers[0].behind(), "the other half may be there, too");
    assert!(matches!(readers[0].next(Duration::from_millis(1)).unwrap(), Read::Idle));
    assert!(!readers[0].behind());
}

#[test]
fn batches_can_be_read_again_until_they_are_committed() {
    let (mut source, mut peer) = connected();
    assert_eq!(
        source.latest(None, Limit::Options).unwrap(),
        Some(Offset::from(-1)),
        "an empty first batch, as in Spark"
    );
    peer.write_all(b"a\nb\nc\n").unwrap();
    let end = wait_for(source.as_mut(), 3);
    for _ in 0..2 {
        let mut readers = source.read(Some(&Offset::from(0)), Some(&end)).unwrap();
        let mut found = Vec::new();
        while let Some(lines) = read(readers[0].as_mut()) {
            found.extend(lines);
        }
        assert_eq!(found, ["b", "c"]);
    }
    source.commit(&end).unwrap();
    assert_eq!(source.latest(Some(&end), Limit::Options).unwrap(), None);
}

#[test]
fn after_a_restart_numbers_go_on() {
    let (mut source, mut peer) = connected();
    let from = Offset::from(41);
    assert_eq!(source.latest(Some(&from), Limit::Options).unwrap(), None);
    peer.write_all(b"new\n").unwrap();
    assert_eq!(wait_for(source.as_mut(), 43), Offset::from(42));
    let mut readers = source.read(Some(&from), Some(&Offset::from(42))).unwrap();
    assert_eq!(read(readers[0].as_mut()).unwrap(), ["new"]);
}

#[test]
fn not_utf8_becomes_a_replacement_character() {
    let (mut source, mut peer) = connected();
    let mut readers = source.read(None, None).unwrap();
    peer.write_all(b"caf\xe9\n").unwrap();
    assert_eq!(read(readers[0].as_mut()).unwrap(), ["caf\u{fffd}"]);
}
