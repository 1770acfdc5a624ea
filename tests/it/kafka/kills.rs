//! Kafka to Kafka, windowed, continuous, exactly once, while the engine and the broker are killed at random.
//!
//! `THALWEG_KILLS` (10) says how often the engine is killed, `THALWEG_RESTARTS` (2) how often the broker is, `THALWEG_SEED` when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Moments to kill at, from a seed.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = setting("THALWEG_SEED", now);
        println!("THALWEG_SEED={seed}");
        Dice(seed | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Counts and sums numbers by windows of ten seconds; number n happens at second n.
///
/// The job waits for its broker, also while it starts, as long as the test does: on a busy machine a broker is away for a minute.
fn job(cluster: &Cluster, from: &str, to: &str, folder: &Path) {
    let servers = &cluster.servers;
    let checkpoint = folder.join("checkpoint");
    let patience = format!("kafka.default.api.timeout.ms '{}'", 3 * LONG.as_millis());
    let text = format!(
        "CREATE TABLE source USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{from}',
             startingOffsets 'earliest', idleTimeout 'off', {patience});
         CREATE TABLE sink USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', topic '{to}', deliveryGuarantee 'exactly-once',
             outputMode 'append', trigger 'continuous 100 milliseconds', queryName 'job', checkpointLocation '{}', {patience});
         INSERT INTO sink
         SELECT concat(CAST(unix_seconds(window.start) AS STRING), '=', CAST(count(*) AS STRING), '/', CAST(sum(n) AS STRING)) AS value
         FROM (SELECT CAST(CAST(value AS STRING) AS BIGINT) AS n,
                      timestamp_seconds(CAST(CAST(value AS STRING) AS BIGINT)) AS ts FROM STREAM source)
         WATERMARK ts DELAY OF INTERVAL 0 SECONDS
         GROUP BY window(ts, '10 seconds');",
        checkpoint.display()
    );
    std::fs::write(folder.join("job.sql"), text).unwrap();
}

/// The rows that must come for the numbers below `end`, by window.
fn expected(end: i64) -> Vec<String> {
    let window = |w: i64| format!("{}=10/{}", w * 10, (0..10).map(|i| w * 10 + i).sum::<i64>());
    (0..end / 10).map(window).collect()
}

/// Writes numbers to two partitions in turn until told to stop, then what closes the last window. Gives the end of the numbers.
fn feed(cluster: &Cluster, topic: &str, stop: &AtomicBool) -> i64 {
    let mut config = cluster.config();
    let producer: BaseProducer = config.set("enable.idempotence", "true").set("linger.ms", "0").create().unwrap();
    let send = |n: i64| {
        let text = n.to_string();
        let mut record = BaseRecord::<(), str>::to(topic).partition((n % 2) as i32).payload(&text);
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    };
    let mut next = 0;
    while !stop.load(Ordering::Acquire) || next % 10 != 0 {
        (next..next + 5).for_each(&send);
        next += 5;
        producer.poll(Duration::from_millis(2));
    }
    (next + 100..next + 102).for_each(send);
    producer.flush(LONG).unwrap();
    next
}

struct Engine {
    child: Child,
    log: std::path::PathBuf,
}

impl Engine {
    fn start(folder: &Path) -> Engine {
        let log = folder.join("log");
        Engine { child: run(&folder.join("job.sql"), &log), log }
    }

    /// Panics if it ended by itself.
    fn check(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the job ended: {}", self.told());
    }

    /// What it has said.
    fn told(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn kill(mut self) {
        self.check();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Tells how long a step took, for the one who reads why a test failed.
fn timed(what: &str, step: impl FnOnce()) {
    let begun = Instant::now();
    step();
    println!("{what} after {:?}", begun.elapsed());
}

/// One round: the engine lives for a random while; in some rounds the broker is killed and comes back meanwhile.
fn round(own: &Own, folder: &Path, dice: &mut Dice, broker: bool) {
    let engine = Engine::start(folder);
    pause(Duration::from_millis(300 + dice.below(2500)));
    if broker {
        timed("the broker is killed", || own.kill("1"));
        pause(Duration::from_millis(dice.below(1500)));
        timed("the broker is back", || own.revive("1"));
        pause(Duration::from_millis(dice.below(2500)));
    }
    engine.kill();
}

#[test]
#[ignore = "needs a Kafka broker"]
fn k06_k12_k14_n02_engine_and_broker_are_killed_and_every_window_comes_once() {
    let own = Own::start("1", "");
    let cluster = &own.cluster;
    let (from, to) = (cluster.topic("killed-in", 2), cluster.topic("killed-out", 1));
    let folder = tempfile::tempdir().unwrap();
    job(cluster, &from, &to, folder.path());
    let (kills, restarts) = (setting("THALWEG_KILLS", 10), setting("THALWEG_RESTARTS", 2));
    let (stop, mut dice) = (AtomicBool::new(false), Dice::new());
    let end = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feed(cluster, &from, &stop));
        // Set also when a round panics, so that the thread ends.
        let _stop = SetOnDrop(&stop);
        for n in 0..kills {
            let broker = restarts > 0 && n % kills.div_ceil(restarts).max(1) == 1;
            round(&own, folder.path(), &mut dice, broker);
        }
        stop.store(true, Ordering::Release);
        feeding.join().unwrap()
    });
    let mut engine = Engine::start(folder.path());
    let expected = expected(end);
    wait_or_tell("the last windows", || {
        engine.check();
        let found = cluster.committed(&to, 1).len();
        let is_open = is_open(cluster, &to);
        let state = || format!("{found} of {}, open: {is_open}, the engine: {}", expected.len(), engine.told());
        (found >= expected.len()).then_some(()).ok_or_else(state)
    });
    // A second copy of anything would come now.
    engine.kill();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    cluster.committed(&to, 1).into_iter().for_each(|value| *found.entry(value).or_default() += 1);
    let wanted: BTreeMap<String, usize> = expected.into_iter().map(|value| (value, 1)).collect();
    let wrong: Vec<_> = found.iter().filter(|(value, n)| wanted.get(*value) != Some(n)).take(5).collect();
    let missing: Vec<_> = wanted.keys().filter(|value| !found.contains_key(*value)).take(5).collect();
    assert!(wrong.is_empty() && missing.is_empty(), "of {end}: wrong {wrong:?}, missing {missing:?}");
}

/// A copy, exactly once, whose transactions must not be open for more than a second.
fn short_job(cluster: &Cluster, from: &str, to: &str, folder: &Path) {
    let (servers, checkpoint) = (&cluster.servers, folder.join("checkpoint"));
    let text = format!(
        "CREATE TABLE source USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{from}', startingOffsets 'earliest');
         CREATE TABLE sink USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', topic '{to}', deliveryGuarantee 'exactly-once',
             kafka.transaction.timeout.ms '2000', trigger 'continuous 900 milliseconds', checkpointLocation '{}');
         INSERT INTO sink SELECT value FROM STREAM source;",
        checkpoint.display()
    );
    std::fs::write(folder.join("job.sql"), text).unwrap();
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "{name}");
}

/// True while a transaction that has written to the topic is open.
fn is_open(cluster: &Cluster, topic: &str) -> bool {
    let end = |isolation: &str| {
        let consumer: BaseConsumer = cluster.config().set("isolation.level", isolation).create().unwrap();
        consumer.fetch_watermarks(topic, 0, LONG).unwrap().1
    };
    end("read_committed") < end("read_uncommitted")
}

/// Stops the process while a transaction is open, until the brokers have given that up.
fn stand_still(engine: &Engine, cluster: &Cluster, topic: &str) {
    wait_for("a process that stands still in a transaction", || {
        signal(&engine.child, "STOP");
        let caught = is_open(cluster, topic);
        if !caught {
            signal(&engine.child, "CONT");
            pause(Duration::from_millis(50));
        }
        caught
    });
    wait_for("the end of the transaction", || !is_open(cluster, topic));
    signal(&engine.child, "CONT");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n09_a_transaction_that_expired_says_so_and_the_next_run_writes_once() {
    let cluster = shared();
    let (from, to) = (cluster.topic("expired-in", 2), cluster.topic("expired-out", 1));
    let folder = tempfile::tempdir().unwrap();
    short_job(&cluster, &from, &to, folder.path());
    let stop = AtomicBool::new(false);
    let end = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feed(&cluster, &from, &stop));
        let _stop = SetOnDrop(&stop);
        let mut engine = Engine::start(folder.path());
        wait_for("the first copies", || !cluster.committed(&to, 1).is_empty());
        stand_still(&engine, &cluster, &to);
        wait_for("the end of the job", || engine.child.try_wait().unwrap().is_some());
        let told = engine.told();
        assert!(told.contains("transaction expired") && told.contains("kafka.transaction.timeout.ms"), "{told}");
        assert!(!told.contains("taken over"), "{told}");
        assert!(!told.contains("PartitionEOF") && !told.contains("CONFWARN"), "the start makes no noise: {told}");
        stop.store(true, Ordering::Release);
        feeding.join().unwrap()
    });
    let engine = Engine::start(folder.path());
    wait_for("all copies", || cluster.committed(&to, 1).len() as i64 >= end + 2);
    engine.kill();
    let expected: Vec<String> = numbers(0..end).chain(numbers(end + 100..end + 102)).collect();
    assert!(sorted(cluster.committed(&to, 1)) == expected, "each of {end} once");
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
