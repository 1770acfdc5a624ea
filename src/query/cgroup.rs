//! How much memory this process may use, if less than the machine has: the limit of its control group, or of one above it.
//!
//! In: the files of the system. Out: bytes; `None` where there is no limit or no such files. Both versions of control groups are known.

use std::fs;
use std::path::Path;

/// The limit that holds for this process.
pub(super) fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_of(&groups, Path::new("/sys/fs/cgroup"))
}

/// The smallest limit of the groups in `groups`, the text of `/proc/self/cgroup`, and those above them.
fn limit_of(groups: &str, mounted: &Path) -> Option<u64> {
    groups.lines().filter_map(|line| limit_of_group(line, mounted)).min()
}

/// The limit of a line `number:controllers:/path`.
fn limit_of_group(line: &str, mounted: &Path) -> Option<u64> {
    let (_, line) = line.split_once(':')?;
    let (controllers, path) = line.split_once(':')?;
    let (root, file) = match controllers {
        "" => (mounted.to_owned(), "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => (mounted.join("memory"), "memory.limit_in_bytes"),
        _ => return None,
    };
    let group = root.join(path.trim_start_matches('/'));
    let groups = group.ancestors().take_while(|group| group.starts_with(&root));
    // "max", or in the first version a number beyond all memories, says that there is none.
    let limit = |group: &Path| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    groups.filter_map(limit).filter(|limit| *limit < 1 << 60).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p08_the_limit_of_the_control_group_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| {
            let file = dir.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        put("a/b/memory.max", "max\n");
        put("a/memory.max", "1048576\n");
        put("memory/job/memory.limit_in_bytes", "4096\n");
        put("memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit_of("0::/a/b\n", dir.path()), Some(1 << 20));
        assert_eq!(limit_of("5:cpu:/job\n4:memory:/job\n0::/\n", dir.path()), Some(4096));
        assert_eq!(limit_of("4:memory:/elsewhere\n0::/\nnonsense\n", dir.path()), None);
    }
}
