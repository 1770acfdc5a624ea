//! Paths of files as texts: the URIs that users give and that Spark's logs keep.
//!
//! A path becomes `file:///…` with every byte outside a small set percent-escaped, so any name (spaces, `%`, line ends, bytes
//! that are no UTF-8) survives the way into a log and back.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The local path that a user's text means: a plain path, or a `file:` URI.
///
/// # Errors
/// Another scheme.
pub(crate) fn parse(text: &str) -> Result<PathBuf> {
    let local = match text.split_once(':') {
        Some(("file", rest)) => return Ok(PathBuf::from(format!("/{}", rest.trim_start_matches('/')))),
        Some((scheme, rest)) if rest.starts_with("//") => {
            return Err(Error::unsupported(format!("file system '{scheme}' is not supported"))
                .with_condition("UNSUPPORTED_FILE_SYSTEM")
                .hint("Use a local path or a file: URI."));
        }
        _ => Path::new(text),
    };
    std::path::absolute(local).map_err(|cause| Error::from(cause).at(text.to_owned()))
}

/// The path as URI.
pub(crate) fn to_uri(path: &Path) -> String {
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' | b'=' | b'+' | b',' | b'@' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// The path of a URI that [`to_uri`] or Spark wrote.
pub(crate) fn from_uri(uri: &str) -> PathBuf {
    let rest = uri.strip_prefix("file:").unwrap_or(uri);
    let bytes = unescape(rest.trim_start_matches('/').as_bytes());
    Path::new("/").join(OsString::from_vec(bytes))
}

/// Replaces `%XX` by the byte it means.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten().and_then(hex);
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    bytes
}

fn hex(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    if text.starts_with('+') { None } else { u8::from_str_radix(text, 16).ok() }
}

/// What partition folders call a null.
pub(crate) const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// A name or value as part of a folder's name (Hive's escaping).
pub(crate) fn escape_partition(text: &str) -> String {
    let special = |c: char| c.is_ascii_control() || "\"#%'*/:=?\\{[]^".contains(c) || c == '\u{7f}';
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if special(character) {
            escaped.push_str(&format!("%{:02X}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The inverse of [`escape_partition`].
pub(crate) fn unescape_partition(text: &str) -> String {
    String::from_utf8_lossy(&unescape(text.as_bytes())).into_owned()
}

/// Refuses a sink that writes where its query reads: it would read its own output for ever.
///
/// # Errors
/// `sink` lies in one of `sources`, or is one of them.
pub fn check_apart(sink: &str, sources: &[&str]) -> Result<()> {
    let resolve = |text: &str| parse(text).map(|path| resolved(&path));
    let sink_path = resolve(sink)?;
    for source in sources {
        let source_path = resolve(source)?;
        if sink_path.starts_with(&source_path) {
            return Err(Error::invalid(format!("the sink's path '{sink}' lies in the source's path '{source}'"))
                .hint("Write to a folder that the query does not read."));
        }
    }
    Ok(())
}

/// The path with symbolic links resolved, as far as it exists.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    for base in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (base.canonicalize(), path.strip_prefix(base)) {
            // Joining nothing would add a slash, and a folder would have two names.
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d14_any_name_survives_as_uri() {
        for name in [&b"a b%20c"[..], b"line\nend", b"\xff\xfe", "ümlaut=1".as_bytes(), b"..x"] {
            let path = Path::new("/data").join(OsString::from_vec(name.to_vec()));
            let uri = to_uri(&path);
            assert!(uri.is_ascii() && !uri.contains(' '), "{uri}");
            assert_eq!(from_uri(&uri), path);
        }
        assert_eq!(from_uri("file:/a%20b"), Path::new("/a b"));
    }

    #[test]
    fn paths_and_uris_of_users() {
        assert_eq!(parse("file:///data/in").unwrap(), Path::new("/data/in"));
        assert_eq!(parse("/data/in").unwrap(), Path::new("/data/in"));
        assert!(parse("s3://bucket/in").is_err());
    }

    #[test]
    fn partition_names_are_escaped_as_hive_does() {
        assert_eq!(escape_partition("a/b=c d"), "a%2Fb%3Dc d");
        assert_eq!(unescape_partition("a%2Fb%3Dc d"), "a/b=c d");
    }

    #[test]
    fn c11_a_sink_inside_its_source_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().to_str().unwrap();
        assert!(check_apart(&format!("{base}/out"), &[base]).is_err());
        assert!(check_apart(base, &[base]).is_err());
        assert!(check_apart(&format!("{base}/out"), &[&format!("{base}/in")]).is_ok());
        std::os::unix::fs::symlink(base, dir.path().join("link")).unwrap();
        assert!(check_apart(&format!("{base}/link/out"), &[base]).is_err());
    }
}
