//! The `thalweg` command: jobs in SQL files, a shell, benches.
//!
//! In: arguments, files, the terminal. Out: tables or JSON lines on standard output; errors, progress and questions on
//! standard error. Exit code 0 when all went well, 1 when a statement or query failed, 2 when the arguments are wrong.

mod command;

fn main() -> std::process::ExitCode {
    command::main()
}
