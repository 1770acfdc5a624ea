//! Encrypted connections: certificates of both sides, and passwords by SCRAM inside. Needs the feature `kafka-tls`, and `openssl`, which makes
//! the certificates.

use super::*;

const PASSWORD: &str = "of-the-store";

/// Makes a certificate that is its own authority, and its key: `NAME.crt` (PEM), both in `NAME.p12`, and both in `NAME.pem`. It
/// is good for `host` and so many days from now; -1: it is over.
fn certificate(folder: &Path, name: &str, host: &str, days: i32) {
    let openssl = |arguments: &str| {
        let ran = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    openssl(&format!(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
    ));
    let extensions = format!("subjectAltName=IP:{host}\nbasicConstraints=critical,CA:FALSE\n");
    std::fs::write(folder.join("extensions"), extensions).unwrap();
    openssl(&format!("x509 -req -in {name}.csr -signkey {name}.key -days {days} -extfile extensions -out {name}.crt"));
    openssl(&format!(
        "pkcs12 -export -name {name} -in {name}.crt -inkey {name}.key -out {name}.p12 -passout pass:{PASSWORD}"
    ));
    let both = ["crt", "key"].map(|part| std::fs::read_to_string(folder.join(format!("{name}.{part}"))).unwrap());
    std::fs::write(folder.join(format!("{name}.pem")), both.concat()).unwrap();
}

/// Where each listener is, above the first port.
const SSL: u16 = 200;
const SASL: u16 = 201;
const OLD: u16 = 202;
const ELSEWHERE: u16 = 203;

/// Four listeners more: `SSL` asks for a certificate, `SASL` for a password; the certificate of `OLD` is over, that of `ELSEWHERE` is for
/// another host.
fn listeners(folder: &Path) -> String {
    let (port, host, folder) = (Own::port(), "127.0.0.1", folder.display());
    let own = [("SSL", SSL), ("SASL", SASL), ("OLD", OLD), ("ELSEWHERE", ELSEWHERE)];
    let own: String = own.iter().map(|(name, more)| format!(",{name}://{host}:{}", port + more)).collect();
    let stores: String = [("ssl", "node"), ("sasl", "node"), ("old", "old"), ("elsewhere", "elsewhere")]
        .iter()
        .map(|(listener, name)| {
            let of = format!("listener.name.{listener}.ssl");
            format!(
                "\n{of}.keystore.type=PKCS12\n{of}.keystore.location={folder}/{name}.p12\n{of}.keystore.password={PASSWORD}\n\
                 {of}.key.password={PASSWORD}\n{of}.truststore.type=PEM\n{of}.truststore.location={folder}/client.crt"
            )
        })
        .collect();
    format!(
        "listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{}{own}
advertised.listeners=PLAINTEXT://{host}:{port}{own}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL:SASL_SSL,OLD:SSL,ELSEWHERE:SSL{stores}
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
        port + 100
    )
}

/// What says over which listener, whom to trust, and who one is.
fn options(folder: &Path, authority: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut options: Vec<(String, String)> =
        more.iter().map(|(name, value)| (format!("kafka.{name}"), (*value).to_owned())).collect();
    options.push(("kafka.ssl.truststore.location".to_owned(), file(authority)));
    // Far beyond the limit of these tests: a refusal must not wait for it.
    options.push(("kafka.default.api.timeout.ms".to_owned(), (100 * LONG.as_millis()).to_string()));
    options
}

fn certified(folder: &Path, listener: u16, authority: &str, client: &str) -> Vec<(String, String)> {
    let server = format!("127.0.0.1:{}", Own::port() + listener);
    let store = folder.join(client).display().to_string();
    options(
        folder,
        authority,
        &[
            ("bootstrap.servers", &server),
            ("security.protocol", "SSL"),
            ("ssl.keystore.location", &store),
            ("ssl.keystore.password", PASSWORD),
        ],
    )
}

fn with_password(folder: &Path, password: &str) -> Vec<(String, String)> {
    let server = format!("127.0.0.1:{}", Own::port() + SASL);
    let login = format!(
        "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"reader\" password=\"{password}\";"
    );
    options(
        folder,
        "node.crt",
        &[
            ("bootstrap.servers", &server),
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.jaas.config", &login),
        ],
    )
}

fn count(topic: &str, options: &[(String, String)]) -> Result<u64> {
    let session = Session::builder().create();
    let reader = session.read().format("kafka").option("subscribe", topic);
    reader.options(options.iter().map(|(name, value)| (name.as_str(), value.as_str()))).load()?.count()
}

/// Writes a few rows, by a batch or in transactions.
fn write(topic: &str, options: &[(String, String)], guarantee: &str) -> Result<()> {
    let session = Session::builder().create();
    let rows = session.sql("SELECT CAST(id AS STRING) AS value FROM range(7)")?;
    let writer = rows.write().format("kafka").option("topic", topic).option("deliveryGuarantee", guarantee);
    writer.options(options.iter().map(|(name, value)| (name.as_str(), value.as_str()))).save()
}

/// A broker with all listeners, the certificates' folder, and a topic with ten records.
fn secured() -> (Own, tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["node", "client", "stranger"] {
        certificate(folder.path(), name, "127.0.0.1", 3650);
    }
    certificate(folder.path(), "old", "127.0.0.1", -1);
    certificate(folder.path(), "elsewhere", "127.0.0.2", 3650);
    let own = Own::start("1", &listeners(folder.path()));
    let from = own.cluster.topic("encrypted-in", 1);
    own.cluster.send(&from, 0, numbers(0..10));
    (own, folder, from)
}

#[test]
#[ignore = "needs a Kafka broker"]
fn connections_are_encrypted_between_those_who_trust_each_other() {
    let (own, folder, from) = secured();
    let folder = folder.path();
    let to = own.cluster.topic("encrypted-out", 1);
    own.script(&[
        "tool",
        "configs",
        "--alter",
        "--add-config",
        "SCRAM-SHA-256=[password=right]",
        "--entity-type",
        "users",
        "--entity-name",
        "reader",
    ]);
    let known = certified(folder, SSL, "node.crt", "client.p12");
    assert_eq!(count(&from, &known).unwrap(), 10);
    write(&to, &known, "at-least-once").unwrap();
    write(&to, &known, "exactly-once").unwrap();
    assert_eq!(own.cluster.committed(&to, 1).len(), 14);
    assert_eq!(count(&from, &with_password(folder, "right")).unwrap(), 10);
    // Key and certificate in one PEM file, as Java has them, too.
    let mut pem = certified(folder, SSL, "node.crt", "client.pem");
    pem.retain(|(name, _)| name != "kafka.ssl.keystore.password");
    pem.push(("kafka.ssl.keystore.type".to_owned(), "PEM".to_owned()));
    assert_eq!(count(&from, &pem).unwrap(), 10);
    // The same certificate for whoever does not look at the host.
    let mut careless = certified(folder, ELSEWHERE, "elsewhere.crt", "client.p12");
    careless.push(("kafka.ssl.endpoint.identification.algorithm".to_owned(), String::new()));
    assert!(count(&from, &careless).is_ok());

    let error = count(&from, &with_password(folder, "hunter2-wrong")).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("credentials") && !text.contains("hunter2"), "{text}");
}

#[test]
#[ignore = "needs a Kafka broker"]
fn n07_certificates_that_are_refused_are_an_error_at_once() {
    let (_own, folder, from) = secured();
    let folder = folder.path();
    for (what, listener, authority, client, told) in [
        ("nobody vouches for the broker", SSL, "stranger.crt", "client.p12", "certificate"),
        ("the broker does not know the client", SSL, "node.crt", "stranger.p12", "alert"),
        ("the broker's certificate is over", OLD, "old.crt", "client.p12", "certificate"),
        ("the broker's certificate is for another host", ELSEWHERE, "elsewhere.crt", "client.p12", "certificate"),
    ] {
        let options = certified(folder, listener, authority, client);
        let attempts: [&dyn Fn() -> Result<()>; 3] =
            [&|| count(&from, &options).map(drop), &|| write(&from, &options, "at-least-once"), &|| {
                write(&from, &options, "exactly-once")
            }];
        for attempt in attempts {
            let begun = Instant::now();
            let error = attempt().unwrap_err();
            println!("{what}: {:?}: {error}", begun.elapsed());
            let text = error.to_string();
            assert!(text.contains(told) && text.contains("Check the credentials, certificates"), "{what}: {text}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {:?}", begun.elapsed());
        }
    }
}
