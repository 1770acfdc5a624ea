//! Encrypted connections: whom to trust, and who one is.
//!
//! In: the options `spark.cassandra.connection.ssl.*`. Out: what the driver encrypts with; nothing if it is not asked to. Certificates and
//! keys are read from PEM files, once, when a connection is made. What always holds: a node whose certificate no authority
//! of the trust store has signed is not talked to, and neither keys nor passwords are shown.

use scylla::client::session::TlsContext;

use super::options::Given;
use crate::options::{OptionSpec, option};
use crate::{Error, Result};

const ENABLED: &str = "spark.cassandra.connection.ssl.enabled";
const TRUST: &str = "spark.cassandra.connection.ssl.trustStore.path";
const TRUST_TYPE: &str = "spark.cassandra.connection.ssl.trustStore.type";
const CLIENT: &str = "spark.cassandra.connection.ssl.clientAuth.enabled";
const KEYS: &str = "spark.cassandra.connection.ssl.keyStore.path";
const KEYS_TYPE: &str = "spark.cassandra.connection.ssl.keyStore.type";
const PROTOCOL: &str = "spark.cassandra.connection.ssl.protocol";
const CIPHERS: &str = "spark.cassandra.connection.ssl.enabledAlgorithms";
const NAMES: &str = "hostnameVerification";

/// What says how connections are encrypted.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    option(ENABLED, "false", "encrypted connections; needs the Cargo feature 'cassandra-tls'"),
    option(
        TRUST,
        "",
        "a PEM file of the authorities that may have signed nodes' certificates; the system's, if not given",
    ),
    option(TRUST_TYPE, "PEM", "PEM (Spark: JKS)"),
    option("spark.cassandra.connection.ssl.trustStore.password", "", "accepted; a PEM file of certificates has none"),
    option(CLIENT, "false", "true: the node is shown the certificate of the key store"),
    option(KEYS, "", "a PEM file of the own certificate, those between it and its authority, and its key"),
    option(KEYS_TYPE, "PEM", "PEM (Spark: JKS)"),
    option("spark.cassandra.connection.ssl.keyStore.password", "", "not for PEM files: the key is not encrypted in it"),
    option(PROTOCOL, "TLS", "TLS, TLSv1.2 or TLSv1.3"),
    option(CIPHERS, "", "names of cipher suites, with commas between; the safe ones, if not given"),
    option(NAMES, "true", "not in Spark: false takes a node's certificate also if it does not name the node's address"),
];

/// What the driver encrypts with, if it is asked to.
///
/// # Errors
/// A file that cannot be read or holds not what it should, by its option; a value that does not fit; a build without the feature.
pub(super) fn context(given: &Given<'_>) -> Result<Option<TlsContext>> {
    match given.flag(ENABLED, false)? {
        true => encrypting(given).map(Some),
        false => Ok(None),
    }
}

#[cfg(not(feature = "cassandra-tls"))]
fn encrypting(_: &Given<'_>) -> Result<TlsContext> {
    Err(Error::unsupported(format!("option '{ENABLED}' needs the Cargo feature 'cassandra-tls'"))
        .hint("Build with --features cassandra-tls."))
}

#[cfg(feature = "cassandra-tls")]
use rustls_config::encrypting;

#[cfg(feature = "cassandra-tls")]
mod rustls_config {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, aws_lc_rs};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::version::{TLS12, TLS13};
    use rustls::{
        CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    };

    use super::*;

    pub(super) fn encrypting(given: &Given<'_>) -> Result<TlsContext> {
        let provider = Arc::new(provider(given)?);
        let roots = Arc::new(authorities(given)?);
        let refused =
            |error: &dyn std::fmt::Display| Error::invalid(format!("encrypted connections to Cassandra: {error}"));
        let known = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
        let known = known.map_err(|error| refused(&error))?;
        let verifier: Arc<dyn ServerCertVerifier> = match given.flag(NAMES, true)? {
            true => known,
            false => Arc::new(AnyName(known)),
        };
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions(given)?);
        let builder = builder.map_err(|error| refused(&error))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let config = match given.flag(CLIENT, false)? {
            true => {
                let (chain, key) = identity(given)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| wrong_file(KEYS, &error))?
            }
            false => builder.with_no_client_auth(),
        };
        Ok(TlsContext::from(Arc::new(config)))
    }

    fn versions(given: &Given<'_>) -> Result<Vec<&'static SupportedProtocolVersion>> {
        match given.get(PROTOCOL).map(str::to_ascii_uppercase).as_deref() {
            None | Some("TLS") => Ok(vec![&TLS13, &TLS12]),
            Some("TLSV1.2") => Ok(vec![&TLS12]),
            Some("TLSV1.3") => Ok(vec![&TLS13]),
            Some(_) => Err(given.wrong(PROTOCOL, "TLS, TLSv1.2 or TLSv1.3")),
        }
    }

    /// The cipher suites that may be used, under the names that Java and IANA give them.
    fn provider(given: &Given<'_>) -> Result<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        let Some(names) = given.get(CIPHERS) else { return Ok(provider) };
        let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
        let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
        let wanted: Vec<&str> = names.split(',').map(str::trim).collect();
        provider.cipher_suites.retain(|suite| wanted.contains(&name(suite).as_str()));
        match provider.cipher_suites.is_empty() {
            true => Err(given.wrong(CIPHERS, &format!("some of {}", known.join(", ")))),
            false => Ok(provider),
        }
    }

    fn authorities(given: &Given<'_>) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let Some(path) = path(given, TRUST, TRUST_TYPE)? else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(roots);
        };
        for certificate in certificates(path, TRUST)? {
            roots.add(certificate).map_err(|error| wrong_file(TRUST, &error))?;
        }
        Ok(roots)
    }

    fn identity(given: &Given<'_>) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let path = path(given, KEYS, KEYS_TYPE)?;
        let path = path.ok_or_else(|| Error::invalid(format!("option '{CLIENT}' needs option '{KEYS}'")))?;
        let key = PrivateKeyDer::from_pem_file(path).map_err(|error| wrong_file(KEYS, &error))?;
        Ok((certificates(path, KEYS)?, key))
    }

    fn path<'a>(given: &Given<'a>, path: &str, kind: &str) -> Result<Option<&'a str>> {
        let is_pem = given.get(kind).is_none_or(|kind| kind.eq_ignore_ascii_case("PEM"));
        let wrong = || {
            given
                .wrong(kind, "PEM")
                .hint("'keytool -importkeystore -deststoretype PKCS12' and 'openssl pkcs12' make PEM files of others.")
        };
        given.get(path).map(|path| is_pem.then_some(path).ok_or_else(wrong)).transpose()
    }

    fn certificates(path: &str, option: &str) -> Result<Vec<CertificateDer<'static>>> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
        let found = read.map_err(|error| wrong_file(option, &error))?;
        match found.is_empty() {
            true => Err(wrong_file(option, &"no certificate in it")),
            false => Ok(found),
        }
    }

    fn wrong_file(option: &str, cause: &dyn std::fmt::Display) -> Error {
        Error::invalid(format!("the file of option '{option}': {cause}")).hint("It has to be a readable PEM file.")
    }

    /// Takes certificates that are good but for the name in them: the driver knows nodes by their addresses alone, which few
    /// certificates name.
    #[derive(Debug)]
    struct AnyName(Arc<WebPkiServerVerifier>);

    impl ServerCertVerifier for AnyName {
        fn verify_server_cert(
            &self,
            node: &CertificateDer<'_>,
            between: &[CertificateDer<'_>],
            name: &ServerName<'_>,
            status: &[u8],
            now: UnixTime,
        ) -> std::result::Result<ServerCertVerified, rustls::Error> {
            use CertificateError::{NotValidForName, NotValidForNameContext};
            match self.0.verify_server_cert(node, between, name, status, now) {
                Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                    Ok(ServerCertVerified::assertion())
                }
                verified => verified,
            }
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            node: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls12_signature(message, node, signed)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            node: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
            self.0.verify_tls13_signature(message, node, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    }
}
