//! Kill points: named places where a test lets everything that belongs to a folder stop, as if the process had been killed.
//!
//! In: a root, what is written there, and the step. Out: nothing, or in tests the error that ends the query. From then on every
//! write and delete below that root fails, so nothing that runs while the query ends can tidy up what a real kill would have left.
//! Outside the crate's own tests the functions are empty.

#[cfg(test)]
pub(crate) use armed::{alive, arm, point, revive, write};

#[cfg(not(test))]
pub(crate) use absent::{alive, point, write};

#[cfg(not(test))]
mod absent {
    use std::io::{self, Write};
    use std::path::Path;

    /// A step is about to be taken.
    #[inline]
    pub(crate) fn point(_root: &Path, _path: &str, _step: &str) -> io::Result<()> {
        Ok(())
    }

    /// Writes all bytes, with a kill point in the middle.
    #[inline]
    pub(crate) fn write(file: &mut impl Write, bytes: &[u8], _root: &Path, _path: &str) -> io::Result<()> {
        file.write_all(bytes)
    }

    /// False once the root was killed.
    #[inline]
    pub(crate) fn alive(_root: &Path) -> bool {
        true
    }
}

#[cfg(test)]
mod armed {
    use std::collections::HashMap;
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// A kill that waits, or has happened.
    struct Kill {
        /// `root/path step`, e.g. `checkpoint/offsets/2 renamed`, where the root is its last part; a path that ends in `*`
        /// stands for all that begin so.
        at: String,
        /// How often the point is passed before.
        passes: usize,
        dead: bool,
    }

    static KILLS: Mutex<Option<HashMap<PathBuf, Kill>>> = Mutex::new(None);

    fn kills() -> MutexGuard<'static, Option<HashMap<PathBuf, Kill>>> {
        KILLS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills everything below `root` when the step `at` is reached after it was passed so often.
    pub(crate) fn arm(root: &Path, at: &str, passes: usize) {
        let kill = Kill { at: at.to_owned(), passes, dead: false };
        kills().get_or_insert_default().insert(root.to_owned(), kill);
    }

    /// The process starts again. False if it had not been killed.
    pub(crate) fn revive(root: &Path) -> bool {
        kills().get_or_insert_default().remove(root).is_some_and(|kill| kill.dead)
    }

    /// A step is about to be taken.
    pub(crate) fn point(root: &Path, path: &str, step: &str) -> io::Result<()> {
        let mut kills = kills();
        let Some(kills) = kills.as_mut() else { return Ok(()) };
        for (_, kill) in kills.iter_mut().filter(|(armed, _)| root.starts_with(armed)) {
            if !kill.dead && matches(&kill.at, root, path, step) {
                kill.dead = kill.passes == 0;
                kill.passes = kill.passes.saturating_sub(1);
            }
            if kill.dead {
                return Err(io::Error::other(format!("killed at '{}'", kill.at)));
            }
        }
        Ok(())
    }

    fn matches(at: &str, root: &Path, path: &str, step: &str) -> bool {
        let Some((wanted, wanted_step)) = at.rsplit_once(' ') else { return false };
        let path = format!("{}/{path}", root.file_name().unwrap_or_default().display());
        let same = wanted.strip_suffix('*').map_or(wanted == path, |begin| path.starts_with(begin));
        same && wanted_step == step
    }

    /// Writes all bytes, with a kill point in the middle.
    pub(crate) fn write(file: &mut impl Write, bytes: &[u8], root: &Path, path: &str) -> io::Result<()> {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        file.write_all(first)?;
        point(root, path, "torn")?;
        file.write_all(second)
    }

    /// False once the root was killed.
    pub(crate) fn alive(root: &Path) -> bool {
        kills().as_ref().is_none_or(|kills| !kills.iter().any(|(armed, kill)| kill.dead && root.starts_with(armed)))
    }
}
