//! The one error type of the crate.
//!
//! An error says whose fault it is (`Fault`), carries Spark's error condition where Spark has one, and where the
//! trouble lies (source, partition, offset, file and line, position in the SQL text). Messages are lower case without a
//! full stop; the hint is a sentence of its own; the cause is in `source()`, never repeated in the text.

use std::fmt;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault an error is, which decides whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The query, an option or a name is wrong: nothing ran, the user must change something.
    Query,
    /// The query is meaningful but this version cannot run it.
    Unsupported,
    /// The data is wrong (malformed record, overflow under ANSI): the same record fails again.
    Data,
    /// Something outside failed (disk, network, peer): trying again may help.
    Outside,
    /// A claim of ours did not hold: a bug of Thalweg.
    Internal,
}

/// What went wrong, whose fault it is, where, and what to do.
#[derive(Clone)]
pub struct Error(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    fault: Fault,
    condition: Option<String>,
    message: String,
    place: Option<String>,
    hint: Option<String>,
    cause: Option<std::sync::Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    fn new(fault: Fault, message: impl Into<String>) -> Self {
        let message = message.into();
        Error(Box::new(Details { fault, condition: None, message, place: None, hint: None, cause: None }))
    }

    /// The user's query, option or name is wrong; `condition` is Spark's error class, e.g. `UNRESOLVED_ROUTINE`.
    pub fn query(condition: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Fault::Query, message).with_condition(condition)
    }

    /// An option, mode or argument is wrong and Spark has no condition for it.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Fault::Query, message)
    }

    /// Meaningful, but not built (yet).
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Fault::Unsupported, message)
    }

    /// The data is wrong; `condition` is Spark's error class, e.g. `CAST_INVALID_INPUT`.
    pub fn data(condition: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Fault::Data, message).with_condition(condition)
    }

    /// Something outside failed: disk, network, another system.
    pub fn outside(message: impl Into<String>) -> Self {
        Self::new(Fault::Outside, message)
    }

    /// A bug of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Fault::Internal, message)
    }

    /// Sets Spark's error condition.
    pub fn with_condition(mut self, condition: impl Into<String>) -> Self {
        self.0.condition = Some(condition.into());
        self
    }

    /// Says where: `source "lines", file /data/a.csv:17` or `line 1, column 8 of the SQL text`. The innermost place wins.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.0.place.get_or_insert_with(|| place.into());
        self
    }

    /// Says what to do about it, as a sentence.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the underlying error, found again by `source()`.
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.cause = Some(std::sync::Arc::new(cause));
        self
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        self.0.fault
    }

    /// Spark's error condition, e.g. `UNRESOLVED_COLUMN.WITH_SUGGESTION`.
    pub fn condition(&self) -> Option<&str> {
        self.0.condition.as_deref()
    }

    /// The bare message, without condition, place and hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do about it, if that is known: what [`Error::hint`] was given.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Where the trouble lies.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(condition) = &self.0.condition {
            write!(f, "[{condition}] ")?;
        }
        write!(f, "{}", self.0.message)?;
        if let Some(place) = &self.0.place {
            write!(f, " (at {place})")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, ". {hint}")?;
        }
        Ok(())
    }
}

/// For people, as `main` prints the error it returns: the text, then each cause in a line of its own.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
        causes.into_iter().try_for_each(|cause| write!(f, "\n  caused by: {cause}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_ref().map(|cause| cause.as_ref() as &(dyn std::error::Error + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(cause: std::io::Error) -> Self {
        Error::outside(format!("input or output failed: {cause}")).caused_by(cause)
    }
}

impl From<arrow::error::ArrowError> for Error {
    /// An `ExternalError` that carries an [`Error`] of ours is unwrapped, so conditions survive kernels.
    fn from(cause: arrow::error::ArrowError) -> Self {
        match cause {
            arrow::error::ArrowError::ExternalError(inner) => from_external(inner),
            other => Error::internal(other.to_string()).caused_by(other),
        }
    }
}

impl From<datafusion::error::DataFusionError> for Error {
    /// Unwraps the [`Error`] of ours that a function or plan of ours put into DataFusion's error.
    fn from(cause: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as D;
        match cause {
            D::External(inner) => from_external(inner),
            D::ArrowError(inner, _) => Error::from(*inner),
            D::Context(_, inner) | D::Diagnostic(_, inner) => Error::from(*inner),
            D::Shared(inner) => from_shared(&inner),
            D::NotImplemented(message) => Error::unsupported(message),
            D::Plan(message) => Error::invalid(message),
            other => Error::internal(other.to_string()).caused_by(other),
        }
    }
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        datafusion::error::DataFusionError::External(Box::new(error))
    }
}

impl From<Error> for arrow::error::ArrowError {
    fn from(error: Error) -> Self {
        arrow::error::ArrowError::ExternalError(Box::new(error))
    }
}

impl From<thalweg_operators::Error> for Error {
    /// Errors of ours that travelled through an operator come out as they were.
    fn from(error: thalweg_operators::Error) -> Self {
        use thalweg_operators::Error as E;
        match error {
            E::Data { condition, message } => Error::data(condition, message),
            E::Outside(inner) => match inner.downcast_ref::<Error>() {
                Some(ours) => ours.clone(),
                None => Error::internal(inner.to_string()),
            },
            E::Arrow(inner) => Error::internal(inner.to_string()),
            E::Internal(message) => Error::internal(message),
        }
    }
}

fn from_external(inner: Box<dyn std::error::Error + Send + Sync>) -> Error {
    match inner.downcast::<Error>() {
        Ok(ours) => *ours,
        Err(inner) => match inner.downcast::<datafusion::error::DataFusionError>() {
            Ok(datafusion) => Error::from(*datafusion),
            Err(other) => Error::internal(other.to_string()),
        },
    }
}

fn from_shared(inner: &datafusion::error::DataFusionError) -> Error {
    use datafusion::error::DataFusionError as D;
    match inner {
        D::External(cause) => match cause.downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => Error::internal(cause.to_string()),
        },
        D::Context(_, inner) => from_shared(inner),
        other => Error::internal(other.to_string()),
    }
}
