//! Encrypted connections: certificates of both sides, and passwords by SCRAM inside. Needs the feature `kafka-tls`, and `openssl`, which makes
//! the certificates.

use super::*;

const PASSWORD: &str = "of-the-store";

/// Makes a certificate that is its own authority, and its key: `NAME.crt` (PEM), and both in `NAME.p12`.
fn certificate(folder: &Path, name: &str) {
    let openssl = |arguments: &str| {
        let ran = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN={name} \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout {name}.key -out {name}.crt"
    ));
    openssl(&format!(
        "pkcs12 -export -name {name} -in {name}.crt -inkey {name}.key -out {name}.p12 -passout pass:{PASSWORD}"
    ));
}

/// Two listeners more: `SSL` asks for a certificate, `SASL` for a password.
fn listeners(folder: &Path) -> String {
    let (port, host, folder) = (Own::port(), "127.0.0.1", folder.display());
    let (controller, ssl, sasl) = (port + 100, port + 200, port + 201);
    format!(
        "listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller},SSL://{host}:{ssl},SASL://{host}:{sasl}
advertised.listeners=PLAINTEXT://{host}:{port},SSL://{host}:{ssl},SASL://{host}:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL:SASL_SSL
ssl.keystore.type=PKCS12
ssl.keystore.location={folder}/node.p12
ssl.keystore.password={PASSWORD}
ssl.key.password={PASSWORD}
ssl.truststore.type=PEM
ssl.truststore.location={folder}/client.crt
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
    )
}

/// What says over which listener, whom to trust, and who one is.
fn options(folder: &Path, authority: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut options: Vec<(String, String)> =
        more.iter().map(|(name, value)| (format!("kafka.{name}"), (*value).to_owned())).collect();
    options.push(("kafka.ssl.truststore.location".to_owned(), file(authority)));
    options.push(("kafka.default.api.timeout.ms".to_owned(), "20000".to_owned()));
    options
}

fn certified(folder: &Path, authority: &str, client: &str) -> Vec<(String, String)> {
    let server = format!("127.0.0.1:{}", Own::port() + 200);
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
    let server = format!("127.0.0.1:{}", Own::port() + 201);
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

#[test]
#[ignore = "needs a Kafka broker"]
fn connections_are_encrypted_between_those_who_trust_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    ["node", "client", "stranger"].iter().for_each(|name| certificate(folder, name));
    let own = Own::start("1", &listeners(folder));
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
    let (from, to) = (own.cluster.topic("encrypted-in", 1), own.cluster.topic("encrypted-out", 1));
    own.cluster.send(&from, 0, numbers(0..10));

    let known = certified(folder, "node.crt", "client.p12");
    assert_eq!(count(&from, &known).unwrap(), 10);
    let session = Session::builder().create();
    let rows = session.sql("SELECT CAST(id AS STRING) AS value FROM range(7)").unwrap();
    let writer = rows.write().format("kafka").option("topic", &to);
    writer.options(known.iter().map(|(name, value)| (name.as_str(), value.as_str()))).save().unwrap();
    assert_eq!(own.cluster.committed(&to, 1).len(), 7);
    assert_eq!(count(&from, &with_password(folder, "right")).unwrap(), 10);

    assert!(count(&from, &certified(folder, "stranger.crt", "client.p12")).is_err(), "nobody vouches for the broker");
    assert!(
        count(&from, &certified(folder, "node.crt", "stranger.p12")).is_err(),
        "the broker does not know the client"
    );
    let error = count(&from, &with_password(folder, "hunter2-wrong")).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("credentials") && !text.contains("hunter2"), "{text}");
}
