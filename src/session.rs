//! Entry point of the library (being built).

/// A session: settings, temp views, and the queries that run.
#[derive(Clone, Default)]
pub struct Session {}
