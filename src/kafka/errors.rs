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

/// The code of an error, where it has one.
pub(crate) fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::Transaction(inner) => Some(inner.code()),
        other => other.rdkafka_error_code(),
    }
}

/// The error for the user; `doing` is what failed, e.g. `listing topics`.
pub(crate) fn error(doing: &str, cause: KafkaError) -> Error {
    let verdict = judge(&cause);
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
