//! Entry point of the library (being built).

/// A session: settings, temp views, and the queries that run.
#[derive(Clone, Default)]
pub struct Session {
    memory_tables: crate::sinks::memory::MemoryTables,
}

impl Session {
    /// The tables that queries with the memory sink fill, by name.
    pub fn memory_tables(&self) -> &crate::sinks::memory::MemoryTables {
        &self.memory_tables
    }
}
