//! Errors of the Kafka client → errors of ours: whose fault, and whether waiting helps.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::Error;

/// The condition of a topic or partition that is not there.
pub(crate) const UNKNOWN_TOPIC: &str = "UNKNOWN_TOPIC_OR_PARTITION";

/// What an error of the client means for the one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The cluster is not there just now; the client goes on trying.
    Wait,
    /// Credentials or certificates are refused: trying again does not help.
    Refused,
    /// The asked offsets are not there any more.
    OutOfRange,
    /// The topic or partition is not there.
    Unknown,
    /// A newer producer has the same transactional id.
    Fenced,
    /// Anything else.
    Fatal,
}

/// Judges an error by its code.
pub(crate) fn judge(error: &KafkaError) -> Verdict {
    use RDKafkaErrorCode as Code;
    match code(error) {
        Some(
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed,
        ) => Verdict::Refused,
        Some(Code::OffsetOutOfRange | Code::AutoOffsetReset) => Verdict::OutOfRange,
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::InvalidTopic) => {
            Verdict::Unknown
        }
        Some(Code::Fenced | Code::InvalidProducerEpoch | Code::ProducerFenced) => Verdict::Fenced,
        Some(
            Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::MessageTimedOut
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::NotCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            // What an earlier run had open is still being ended.
            | Code::ConcurrentTransactions
            | Code::WaitingForCoordinator
            | Code::InProgress
            | Code::TimedOutQueue
            | Code::Retry
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::ListenerNotFound
            | Code::KafkaStorageError,
        ) => Verdict::Wait,
        _ => Verdict::Fatal,
    }
}

/// True if nothing more can come of a transaction: another producer has its id, the brokers have given it up, or a record did not reach
/// them in the time that it has.
pub(crate) fn ends_transaction(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<KafkaError>());
    let given_up = |cause: &KafkaError| {
        matches!(
            code(cause),
            Some(
                RDKafkaErrorCode::InvalidTransactionalState
                    | RDKafkaErrorCode::InvalidProducerIdMapping
                    | RDKafkaErrorCode::MessageTimedOut
            )
        )
    };
    cause.is_some_and(|cause| judge(cause) == Verdict::Fenced || given_up(cause))
}

/// Alerts that say what is wrong with the client and not with the connection.
const ALERTS: [&str; 7] = [
    "certificate",
    "unknown ca",
    "handshake failure",
    "access denied",
    "decrypt error",
    "protocol version",
    "insufficient security",
];

/// As [`judge`], by what the client says of a connection, too: a broker that does not take a certificate closes the connection with an
/// alert, and a connection that broke while keys were exchanged is not a refusal.
pub(crate) fn judge_connection(error: &KafkaError, reason: &str) -> Verdict {
    let reason = reason.to_ascii_lowercase();
    let alert = reason.contains("ssl") && reason.contains("alert") && ALERTS.iter().any(|what| reason.contains(what));
    let broken = ["unexpected eof", "ssl transport error", "disconnected"].iter().any(|what| reason.contains(what));
    match judge(error) {
        Verdict::Wait if alert => Verdict::Refused,
        Verdict::Refused if broken && !alert && code(error) == Some(RDKafkaErrorCode::SSL) => Verdict::Wait,
        verdict => verdict,
    }
}

/// Whether the client itself says that the same question may have another answer later.
pub(crate) fn is_retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(inner) if inner.is_retriable())
}

/// The code of an error, where it has one.
pub(crate) fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::Transaction(inner) => Some(inner.code()),
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// The error for the user; `doing` is what failed, e.g. `listing topics`.
pub(crate) fn error(doing: &str, cause: KafkaError) -> Error {
    told(doing, judge(&cause), cause)
}

/// The same for an error that was judged by more than its code.
pub(crate) fn told(doing: &str, verdict: Verdict, cause: KafkaError) -> Error {
    let text = format!("{doing} failed: {cause}");
    let error = match verdict {
        Verdict::Refused => Error::outside(text).hint("Check the credentials, certificates and rights of this client."),
        Verdict::Fenced => Error::outside(text)
            .hint("Another run of this query has taken over its transactions. Only one may run on one checkpoint."),
        Verdict::Unknown => Error::outside(text)
            .with_condition(UNKNOWN_TOPIC)
            .hint("Create the topic first, or check its name and the partition's number."),
        Verdict::Wait => Error::outside(text).hint("Check 'kafka.bootstrap.servers' and whether the cluster is up."),
        _ => Error::outside(text),
    };
    error.caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn global(code: RDKafkaErrorCode) -> KafkaError {
        KafkaError::Global(code)
    }

    #[test]
    fn n07_a_refusal_is_told_from_a_connection_that_broke() {
        let alert = "ssl://h:1/1: Receive failed: error:0A000416:SSL routines::ssl/tls alert certificate unknown";
        assert_eq!(judge_connection(&global(RDKafkaErrorCode::BrokerTransportFailure), alert), Verdict::Refused);
        let verify = "ssl://h:1/1: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed";
        assert_eq!(judge_connection(&global(RDKafkaErrorCode::SSL), verify), Verdict::Refused);
        let eof = "ssl://h:1/1: SSL handshake failed: error:0A000126:SSL routines::unexpected eof while reading";
        assert_eq!(judge_connection(&global(RDKafkaErrorCode::SSL), eof), Verdict::Wait);
        let closing = "ssl://h:1/1: Receive failed: error:0A000438:SSL routines::tlsv1 alert internal error";
        assert_eq!(judge_connection(&global(RDKafkaErrorCode::BrokerTransportFailure), closing), Verdict::Wait);
        let gone = "h:1/1: Disconnected";
        assert_eq!(judge_connection(&global(RDKafkaErrorCode::BrokerTransportFailure), gone), Verdict::Wait);
    }

    #[test]
    fn k14_what_an_earlier_run_had_open_is_waited_for() {
        assert_eq!(judge(&global(RDKafkaErrorCode::ConcurrentTransactions)), Verdict::Wait);
    }

    #[test]
    fn n09_transactions_that_are_over_are_known_by_the_cause() {
        assert!(ends_transaction(&error("writing", global(RDKafkaErrorCode::ProducerFenced))));
        assert!(ends_transaction(&error("writing", global(RDKafkaErrorCode::InvalidProducerIdMapping))));
        assert!(ends_transaction(&error("writing", KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut))));
        assert!(!ends_transaction(&error("writing", global(RDKafkaErrorCode::SSL))));
        assert!(!ends_transaction(&Error::outside("writing failed")));
    }
}
