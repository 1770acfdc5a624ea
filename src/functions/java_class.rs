//! Character classes and escapes of Java's regular expressions, translated for the `regex` crate.
//!
//! In: the pattern after `[` or a backslash. Out: the same set of characters in the crate's syntax. `\d`, `\w`, `\s` and the
//! POSIX names mean ASCII unless the flag `U` is set.

use std::str::Chars;

use super::java_regex::Trouble;

type Step<T = ()> = Result<T, Trouble>;

/// What an escape stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Escaped {
    /// One character.
    Character(char),
    /// A set: what stands between the brackets of a class, and whether it is negated.
    Set(String, bool),
}

impl Escaped {
    /// Writes it, inside of a class or not.
    pub fn put(&self, out: &mut String, in_class: bool) {
        match self {
            Escaped::Character(character) => put_literal(out, *character),
            Escaped::Set(set, false) if in_class => out.push_str(set),
            Escaped::Set(set, negated) => {
                out.push_str(if *negated { "[^" } else { "[" });
                out.push_str(set);
                out.push(']');
            }
        }
    }
}

/// Writes a character that stands for itself.
pub fn put_literal(out: &mut String, character: char) {
    if r"\.+*?()|[]{}^$#&-~".contains(character) {
        out.push('\\');
    }
    out.push(character);
}

/// Translates a class whose `[` is read already.
pub fn translate(rest: &mut Chars<'_>, unicode: bool, out: &mut String) -> Step {
    out.push('[');
    if rest.as_str().starts_with('^') {
        rest.next();
        out.push('^');
    }
    let mut first = true;
    loop {
        match rest.next().ok_or(Trouble::Malformed)? {
            ']' if !first => break,
            '[' => translate(rest, unicode, out)?,
            '\\' if rest.as_str().starts_with('Q') => quoted(rest, out),
            '\\' => escape(rest, unicode)?.put(out, true),
            '&' if rest.as_str().starts_with('&') => {
                rest.next();
                out.push_str("&&");
            }
            '-' if is_range(out, rest) => out.push('-'),
            character => put_literal(out, character),
        }
        first = false;
    }
    out.push(']');
    Ok(())
}

/// True for a `-` between two characters, as opposed to one that stands for itself.
fn is_range(out: &str, rest: &Chars<'_>) -> bool {
    let at_start = out.ends_with('[') || out.ends_with("[^") || out.ends_with("&&");
    let after_set = out.ends_with(']') && !out.ends_with("\\]");
    !at_start && !after_set && !rest.as_str().starts_with([']', '[']) && !starts_with_set(rest.as_str())
}

fn starts_with_set(rest: &str) -> bool {
    rest.strip_prefix('\\')
        .is_some_and(|rest| rest.starts_with(['d', 'D', 'w', 'W', 's', 'S', 'h', 'H', 'v', 'V', 'p', 'P']))
}

fn quoted(rest: &mut Chars<'_>, out: &mut String) {
    rest.next();
    let (text, after) = rest.as_str().split_once("\\E").unwrap_or((rest.as_str(), ""));
    *rest = after.chars();
    text.chars().for_each(|character| put_literal(out, character));
}

/// Reads an escape whose backslash is read already.
pub fn escape(rest: &mut Chars<'_>, unicode: bool) -> Step<Escaped> {
    let character = rest.next().ok_or(Trouble::Malformed)?;
    if let Some(set) = named_set(character.to_ascii_lowercase(), unicode) {
        return Ok(Escaped::Set(set.to_string(), character.is_ascii_uppercase()));
    }
    match character {
        'p' | 'P' => property(rest, character == 'P', unicode),
        'x' => hex(rest).map(Escaped::Character),
        'u' => utf16(rest).map(Escaped::Character),
        '0' => octal(rest).map(Escaped::Character),
        'c' => control(rest).map(Escaped::Character),
        _ => simple(character).map(Escaped::Character),
    }
}

fn named_set(letter: char, unicode: bool) -> Option<&'static str> {
    Some(match (letter, unicode) {
        ('d', false) => "0-9",
        ('w', false) => "a-zA-Z0-9_",
        ('s', false) => r"\t\n\x0B\x0C\r ",
        ('d', true) => r"\d",
        ('w', true) => r"\w",
        ('s', true) => r"\s",
        ('h', _) => r" \t\x{A0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}",
        ('v', _) => r"\n\x0B\x0C\r\x{85}\x{2028}\x{2029}",
        _ => return None,
    })
}

fn simple(character: char) -> Step<char> {
    match character {
        't' => Ok('\t'),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        'f' => Ok('\x0c'),
        'a' => Ok('\x07'),
        'e' => Ok('\x1b'),
        'N' => Err(Trouble::Unsupported("a character's name".to_string())),
        _ if character.is_ascii_alphanumeric() => Err(Trouble::Malformed),
        _ => Ok(character),
    }
}

fn digits(rest: &mut Chars<'_>, count: usize) -> Step<u32> {
    let text = rest.as_str().get(..count).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let code = text.and_then(|text| u32::from_str_radix(text, 16).ok()).ok_or(Trouble::Malformed)?;
    *rest = rest.as_str()[count..].chars();
    Ok(code)
}

fn hex(rest: &mut Chars<'_>) -> Step<char> {
    let Some(braced) = rest.as_str().strip_prefix('{') else {
        return char::from_u32(digits(rest, 2)?).ok_or(Trouble::Malformed);
    };
    let (code, after) = braced.split_once('}').ok_or(Trouble::Malformed)?;
    *rest = after.chars();
    u32::from_str_radix(code, 16).ok().and_then(char::from_u32).ok_or(Trouble::Malformed)
}

/// Four digits; two such escapes may make one character.
fn utf16(rest: &mut Chars<'_>) -> Step<char> {
    let high = digits(rest, 4)?;
    if let Some(character) = char::from_u32(high) {
        return Ok(character);
    }
    let after = rest.as_str().strip_prefix("\\u").ok_or(Trouble::Malformed)?;
    *rest = after.chars();
    let units = [high as u16, digits(rest, 4)? as u16];
    char::decode_utf16(units).next().and_then(Result::ok).ok_or(Trouble::Malformed)
}

fn octal(rest: &mut Chars<'_>) -> Step<char> {
    let text = rest.as_str();
    let limit = if text.starts_with(['0', '1', '2', '3']) { 3 } else { 2 };
    let count = text.bytes().take(limit).take_while(|byte| (b'0'..b'8').contains(byte)).count();
    let code = u8::from_str_radix(&text[..count], 8).map_err(|_| Trouble::Malformed)?;
    *rest = text[count..].chars();
    Ok(char::from(code))
}

fn control(rest: &mut Chars<'_>) -> Step<char> {
    let character = rest.next().filter(char::is_ascii).ok_or(Trouble::Malformed)?;
    Ok(char::from(character as u8 ^ 64))
}

fn property(rest: &mut Chars<'_>, negated: bool, unicode: bool) -> Step<Escaped> {
    let name = match rest.as_str().strip_prefix('{') {
        Some(braced) => {
            let (name, after) = braced.split_once('}').ok_or(Trouble::Malformed)?;
            *rest = after.chars();
            name.to_string()
        }
        None => rest.next().ok_or(Trouble::Malformed)?.to_string(),
    };
    let (name, negated) = match name.strip_prefix('^') {
        Some(name) => (name.to_string(), !negated),
        None => (name, negated),
    };
    Ok(Escaped::Set(property_set(&name, unicode)?, negated))
}

fn property_set(name: &str, unicode: bool) -> Step<String> {
    if let Some(set) = posix(name) {
        return Ok(if unicode { format!(r"\p{{{name}}}") } else { set.to_string() });
    }
    if let Some(java) = name.strip_prefix("java") {
        return java_method(java).map(str::to_string);
    }
    if name.starts_with("In") || name.starts_with("block=") || name.starts_with("blk=") {
        return Err(Trouble::Unsupported(format!("the Unicode block '{name}'")));
    }
    let name = name.strip_prefix("Is").unwrap_or(name);
    let name = if name == "LC" { "Cased_Letter" } else { name };
    match regex::Regex::new(&format!(r"\p{{{name}}}")) {
        Ok(_) => Ok(format!(r"\p{{{name}}}")),
        Err(_) => Err(Trouble::Malformed),
    }
}

fn posix(name: &str) -> Option<&'static str> {
    Some(match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => r"\x00-\x7F",
        "Alpha" => "a-zA-Z",
        "Digit" => "0-9",
        "Alnum" => "a-zA-Z0-9",
        "Punct" => r"!-/:-@\[-`{-\~",
        "Graph" => r"!-\~",
        "Print" => r" -\~",
        "Blank" => r" \t",
        "Cntrl" => r"\x00-\x1F\x7F",
        "XDigit" => "0-9a-fA-F",
        "Space" => r"\t\n\x0B\x0C\r ",
        _ => return None,
    })
}

fn java_method(name: &str) -> Step<&'static str> {
    Ok(match name {
        "LowerCase" => r"\p{Lowercase}",
        "UpperCase" => r"\p{Uppercase}",
        "TitleCase" => r"\p{Lt}",
        "Alphabetic" => r"\p{Alphabetic}",
        "Letter" => r"\p{L}",
        "Digit" => r"\p{Nd}",
        "LetterOrDigit" => r"\p{L}\p{Nd}",
        "Whitespace" => r"\t-\r\x1C-\x20\p{Zl}\p{Zp}\x{1680}\x{2000}-\x{2006}\x{2008}-\x{200A}\x{205F}\x{3000}",
        "SpaceChar" => r"\p{Z}",
        "ISOControl" => r"\p{Cc}",
        "Ideographic" => r"\p{Ideographic}",
        _ => return Err(Trouble::Unsupported(format!("the property 'java{name}'"))),
    })
}
