//! URLs: `parse_url`, `url_encode`, `url_decode`.
//!
//! In: STRING arguments. Out: STRING. A URL is split as Java's `java.net.URI` does; its parts stay encoded.

use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;

use super::arguments::coerced;
use super::rows::{over_rows, put};
use super::text::{optional_strings, string_to_string};
use super::{Call, Function, function};
use crate::{Error, Result};

const STRING: DataType = DataType::Utf8;

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    function(&["parse_url"], |call| parse_url(call, "parse_url", false)),
    function(&["try_parse_url"], |call| parse_url(call, "try_parse_url", true)),
    function(&["url_encode"], |call| {
        string_to_string(call, "url_encode", |text, out| {
            form_urlencoded::byte_serialize(text.as_bytes()).for_each(|part| put(out, part));
        })
    }),
    function(&["url_decode"], |call| url_decode(call, "url_decode", false)),
    function(&["try_url_decode"], |call| url_decode(call, "try_url_decode", true)),
];

/// A URL's parts; none of them is decoded.
#[derive(Debug, Default, PartialEq)]
struct Url<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: Option<&'a str>,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

/// Characters that may stand in a URL; others of ASCII are errors in Java.
fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b"-_.!~*'();/?:@&=+$,[]%".contains(&byte)
}

impl<'a> Url<'a> {
    /// `None` if Java would refuse it.
    fn parse(text: &'a str) -> Option<Self> {
        let (rest, fragment) = cut(text, '#');
        let escapes_are_whole = text.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(i, _)| {
            text.as_bytes().get(i + 1..i + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        });
        let legal = [Some(rest), fragment].into_iter().flatten().flat_map(str::bytes).all(is_legal);
        if !legal || !escapes_are_whole {
            return None;
        }
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => (Some(valid_scheme(scheme)?), rest),
            _ => (None, rest),
        };
        if scheme.is_some() && !rest.starts_with('/') {
            // An opaque URL like mailto:a@b has neither path nor query.
            return (!rest.is_empty()).then_some(Url { scheme, fragment, ..Url::default() });
        }
        let (rest, query) = cut(rest, '?');
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        let authority = Some(authority).filter(|authority| !authority.is_empty());
        Some(Url { scheme, authority, path: Some(path), query, fragment })
    }

    fn host(&self) -> Option<&'a str> {
        let authority = self.authority?;
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
        let host = &host[..end];
        let named = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        (!host.is_empty() && (named || host.starts_with('['))).then_some(host)
    }

    fn user(&self) -> Option<&'a str> {
        self.authority?.rsplit_once('@').map(|(user, _)| user)
    }

    /// Writes path and query.
    fn put_file(&self, out: &mut arrow::array::StringBuilder) -> Option<()> {
        put(out, self.path?);
        if let Some(query) = self.query {
            put(out, "?");
            put(out, query);
        }
        Some(())
    }

    fn query_value(&self, key: &str) -> Option<&'a str> {
        let mut pairs = self.query?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn part(&self, part: &str) -> Option<&'a str> {
        match part {
            "HOST" => self.host(),
            "PATH" => self.path,
            "QUERY" => self.query,
            "REF" => self.fragment,
            "PROTOCOL" => self.scheme,
            "AUTHORITY" => self.authority,
            "USERINFO" => self.user(),
            _ => None,
        }
    }
}

fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn valid_scheme(scheme: &str) -> Option<&str> {
    let letters = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (letters && scheme.starts_with(|first: char| first.is_ascii_alphabetic())).then_some(scheme)
}

fn parse_url(mut call: Call<'_>, name: &'static str, null_if_bad: bool) -> Result<Expr> {
    let args = coerced(&mut call, 2..=3, &[STRING])?;
    let null_if_bad = null_if_bad || !call.conf.ansi();
    let kernel = over_rows(name, STRING, move |rows| {
        let (text, part, key) = (rows.strings(0)?, rows.strings(1)?, optional_strings(rows, 2)?);
        rows.try_give_strings(|row, out| {
            let (text, part) = (text.get(row)?, part.get(row)?);
            let Some(url) = Url::parse(text) else {
                return if null_if_bad { None } else { Some(Err(invalid(text))) };
            };
            let found = match &key {
                Some(key) if part == "QUERY" => url.query_value(key.get(row)?),
                Some(_) => None,
                None if part == "FILE" => return url.put_file(out).map(Ok),
                None => url.part(part),
            };
            Some(Ok(put(out, found?)))
        })
    });
    Ok(kernel.key(null_if_bad).call(args))
}

fn invalid(text: &str) -> Error {
    Error::data("INVALID_URL", format!("the URL '{text}' is invalid")).hint("Use try_parse_url to get null instead.")
}

fn url_decode(mut call: Call<'_>, name: &'static str, null_if_bad: bool) -> Result<Expr> {
    let args = coerced(&mut call, 1..=1, &[STRING])?;
    let kernel = over_rows(name, STRING, move |rows| {
        let text = rows.strings(0)?;
        let mut bytes = Vec::new();
        rows.try_give_strings(|row, out| {
            let text = text.get(row)?;
            match decode(text, &mut bytes) {
                true => Some(Ok(put(out, &String::from_utf8_lossy(&bytes)))),
                false if null_if_bad => None,
                false => Some(Err(Error::data(
                    "CANNOT_DECODE_URL",
                    format!("the URL '{text}' cannot be decoded, an escape is malformed"),
                ))),
            }
        })
    });
    Ok(kernel.call(args))
}

fn decode(text: &str, bytes: &mut Vec<u8>) -> bool {
    bytes.clear();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                match (digit(rest.next()), digit(rest.next())) {
                    (Some(high), Some(low)) => bytes.push((high << 4 | low) as u8),
                    _ => return false,
                }
            }
            byte => bytes.push(byte),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_like_java() {
        let url = Url::parse("http://me:pw@host.org:80/path/p.php?query=1&b=2#Ref").expect("valid");
        assert_eq!((url.host(), url.user(), url.path), (Some("host.org"), Some("me:pw"), Some("/path/p.php")));
        assert_eq!((url.query_value("b"), url.fragment, url.query_value("c")), (Some("2"), Some("Ref"), None));
        assert_eq!(Url::parse("mailto:a@b").and_then(|url| url.path), None);
        assert_eq!(Url::parse("http://host").and_then(|url| url.path), Some(""));
        assert!(Url::parse("http://a b").is_none() && Url::parse("http://a/%zz").is_none());
    }
}
