//! Who this process is, and whether another one still runs: process id, machine, boot, and start of the process.
//!
//! A process id alone is reused; together with the time of its start and the boot of the machine it names one process for good.

use std::fs;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// One process, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    /// Its id on its machine.
    pub pid: u32,
    /// The machine's name.
    pub host: String,
    /// Changes with each boot of the machine; empty if the system does not tell.
    pub boot: String,
    /// When it began, in ticks since the boot; 0 if the system does not tell.
    pub start: u64,
}

impl Process {
    /// This process.
    pub(crate) fn this() -> &'static Process {
        static THIS: OnceLock<Process> = OnceLock::new();
        THIS.get_or_init(|| {
            let pid = std::process::id();
            Process { pid, host: line("/proc/sys/kernel/hostname"), boot: boot(), start: start(pid).unwrap_or(0) }
        })
    }

    /// True if it surely runs no more: this machine has booted since, or its id is gone or another's now. False if it runs or if
    /// that can't be known, because it ran on another machine.
    pub(crate) fn is_dead(&self) -> bool {
        let this = Process::this();
        if self.host != this.host || self.boot.is_empty() || this.boot.is_empty() {
            return false;
        }
        self.boot != this.boot || start(self.pid) != Some(self.start)
    }
}

fn line(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn boot() -> String {
    line("/proc/sys/kernel/random/boot_id")
}

/// When the process of this id began: the 22nd field of its status line, counted behind the name, which may hold anything.
fn start(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    status.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_others_are_told_apart() {
        let this = Process::this();
        assert!(!this.is_dead());
        assert!(Process { start: this.start + 1, ..this.clone() }.is_dead());
        assert!(Process { boot: "another".into(), ..this.clone() }.is_dead());
        assert!(Process { pid: u32::MAX, ..this.clone() }.is_dead());
        assert!(!Process { pid: u32::MAX, host: "elsewhere".into(), ..this.clone() }.is_dead());
    }
}
