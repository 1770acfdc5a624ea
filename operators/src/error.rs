//! The one error type of the operators.
//!
//! Errors that a closure from outside returned travel through as [`Error::Outside`] and come out unchanged at the other end.

use std::fmt;
use std::sync::Arc;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong inside an operator.
#[derive(Debug, Clone)]
pub enum Error {
    /// The data is wrong: Spark's error condition (e.g. `ARITHMETIC_OVERFLOW`) and what happened.
    Data {
        /// Spark's error condition.
        condition: &'static str,
        /// What happened, lower case, no full stop.
        message: String,
    },
    /// An Arrow kernel refused; on well-typed plans this is a bug of ours.
    Arrow(Arc<arrow::error::ArrowError>),
    /// An error of the code that uses this crate (an expression, a decoder, a sink), to be handed back as it is.
    Outside(Arc<dyn std::error::Error + Send + Sync>),
    /// A claim of ours did not hold.
    Internal(String),
}

impl Error {
    /// Wraps an error of the code around this crate.
    pub fn outside(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error::Outside(Arc::new(error))
    }

    /// The data is wrong.
    pub fn data(condition: &'static str, message: impl Into<String>) -> Self {
        Error::Data { condition, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Data { condition, message } => write!(f, "[{condition}] {message}"),
            Error::Arrow(error) => write!(f, "arrow kernel failed: {error}"),
            Error::Outside(error) => write!(f, "{error}"),
            Error::Internal(message) => write!(f, "internal error: {message}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Arrow(error) => Some(error.as_ref()),
            Error::Outside(error) => Some(error.as_ref()),
            Error::Data { .. } | Error::Internal(_) => None,
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::Arrow(Arc::new(error))
    }
}
