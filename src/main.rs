//! The `thalweg` command: jobs in SQL files, a shell, benches.
//!
//! In: arguments, files, the terminal. Out: tables or JSON lines on standard output; errors, progress and questions on
//! standard error. Exit code 0 when all went well, 1 when a statement or query failed, 2 when the arguments are wrong.

mod command;

/// Chunks of a few hundred kilobytes come and go all the time; the system's allocator gives each back and asks for it again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    command::main()
}
