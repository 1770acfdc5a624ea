//! Errors of the driver → errors of ours: whose fault, and whether trying again helps.

use std::error::Error as Cause;

use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, ExecutionError, MetadataError,
    NewSessionError, PrepareError, RequestAttemptError,
};

use super::options::HOST;
use crate::Error;

/// What an error means for the one who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nodes are away or overloaded just now.
    Wait,
    /// Login or rights are refused.
    Refused,
    /// The statement or its values are wrong.
    Wrong,
    /// Anything else.
    Fatal,
}

/// Judges what a statement failed with.
pub(crate) fn judge(error: &ExecutionError) -> Verdict {
    match error {
        ExecutionError::LastAttemptError(attempt) => judge_attempt(attempt),
        ExecutionError::PrepareError(error) => judge_prepare(error),
        ExecutionError::ConnectionPoolError(_) | ExecutionError::RequestTimeout(_) | ExecutionError::EmptyPlan => {
            Verdict::Wait
        }
        ExecutionError::BadQuery(_) => Verdict::Wrong,
        _ => Verdict::Fatal,
    }
}

fn judge_prepare(error: &PrepareError) -> Verdict {
    match error {
        PrepareError::ConnectionPoolError(_) => Verdict::Wait,
        PrepareError::AllAttemptsFailed { first_attempt } => judge_attempt(first_attempt),
        _ => Verdict::Fatal,
    }
}

fn judge_attempt(error: &RequestAttemptError) -> Verdict {
    match error {
        RequestAttemptError::DbError(error, _) => judge_answer(error),
        RequestAttemptError::BrokenConnectionError(_) | RequestAttemptError::UnableToAllocStreamId => Verdict::Wait,
        RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => Verdict::Wrong,
        _ => Verdict::Fatal,
    }
}

fn judge_answer(error: &DbError) -> Verdict {
    match error {
        DbError::Unavailable { .. }
        | DbError::Overloaded
        | DbError::IsBootstrapping
        | DbError::ReadTimeout { .. }
        | DbError::WriteTimeout { .. }
        | DbError::ReadFailure { .. }
        | DbError::WriteFailure { .. }
        | DbError::RateLimitReached { .. }
        | DbError::ServerError => Verdict::Wait,
        DbError::AuthenticationError | DbError::Unauthorized => Verdict::Refused,
        DbError::SyntaxError | DbError::Invalid | DbError::ConfigError => Verdict::Wrong,
        _ => Verdict::Fatal,
    }
}

/// The error for a statement that failed; `doing` is what was being done, e.g. `reading ks.t`.
pub(crate) fn execution(doing: &str, cause: ExecutionError) -> Error {
    of_verdict(judge(&cause), format!("{doing} failed: {cause}")).caused_by(cause)
}

/// The error for a statement that could not be prepared.
pub(crate) fn prepare(doing: &str, cause: PrepareError) -> Error {
    of_verdict(judge_prepare(&cause), format!("{doing} failed: {cause}")).caused_by(cause)
}

/// The error for an answer that is not as it should be.
pub(crate) fn answer(doing: &str, cause: impl Cause + Send + Sync + 'static) -> Error {
    Error::outside(format!("{doing} failed: {cause}")).caused_by(cause)
}

fn of_verdict(verdict: Verdict, text: String) -> Error {
    match verdict {
        Verdict::Wait => {
            Error::outside(text).hint("Check whether the cluster is up and whether the consistency level can be met.")
        }
        Verdict::Refused => Error::outside(text).hint("Check the login and the rights of this user."),
        Verdict::Wrong => Error::data("CASSANDRA_STATEMENT_REFUSED", text),
        Verdict::Fatal => Error::outside(text),
    }
}

/// The error for a cluster that cannot be reached, or does not let us in.
pub(crate) fn connection(nodes: &[String], cause: NewSessionError) -> Error {
    let refused = matches!(login_answer(&cause), Some(DbError::AuthenticationError | DbError::Unauthorized));
    let nodes = nodes.join(", ");
    let error = match (&cause, refused || needs_login(&cause)) {
        (_, true) => Error::outside(format!("Cassandra at {nodes} refuses the login"))
            .hint("Check 'spark.cassandra.auth.username' and 'spark.cassandra.auth.password'."),
        _ => Error::outside(format!("Cassandra at {nodes} cannot be reached: {cause}"))
            .hint(format!("Check '{HOST}' and 'spark.cassandra.connection.port', and whether the cluster is up.")),
    };
    error.caused_by(cause)
}

fn setup_error(cause: &NewSessionError) -> Option<&ConnectionSetupRequestErrorKind> {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: ConnectionError::ConnectionSetupRequestError(error),
        ..
    })) = cause
    else {
        return None;
    };
    Some(&error.error)
}

fn login_answer(cause: &NewSessionError) -> Option<&DbError> {
    match setup_error(cause)? {
        ConnectionSetupRequestErrorKind::DbError(error, _) => Some(error),
        _ => None,
    }
}

fn needs_login(cause: &NewSessionError) -> bool {
    matches!(setup_error(cause), Some(ConnectionSetupRequestErrorKind::MissingAuthentication))
}
