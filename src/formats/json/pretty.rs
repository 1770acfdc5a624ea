//! JSON text with each field on its own line, as Jackson's default pretty printer lays it out.

/// Appends `compact`, which is one JSON value without blanks, laid out for reading.
pub(crate) fn push_pretty(compact: &str, out: &mut String) {
    let mut depth = 0;
    let mut rest = compact;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '{' | '[' if rest[1..].starts_with(['}', ']']) => 2,
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        push_token(token, behind, &mut depth, out);
        rest = behind;
    }
}

/// How long the string is that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Arrays stay on one line and do not indent what they hold.
fn push_token(token: &str, behind: &str, depth: &mut usize, out: &mut String) {
    match token {
        "{}" => out.push_str("{ }"),
        "[]" => out.push_str("[ ]"),
        "[" => out.push_str("[ "),
        "]" => out.push_str(" ]"),
        ":" => out.push_str(" : "),
        "{" => {
            *depth += 1;
            out.push('{');
            push_line(*depth, out);
        }
        "}" => {
            *depth = depth.saturating_sub(1);
            push_line(*depth, out);
            out.push('}');
        }
        "," if is_name(behind) => {
            out.push(',');
            push_line(*depth, out);
        }
        "," => out.push_str(", "),
        other => out.push_str(other),
    }
}

/// Whether a field's name comes next, so that the comma stands in an object.
fn is_name(text: &str) -> bool {
    text.starts_with('"') && text[string_length(text)..].starts_with(':')
}

fn push_line(depth: usize, out: &mut String) {
    out.push('\n');
    (0..depth).for_each(|_| out.push_str("  "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_indented_and_arrays_are_not() {
        let mut out = String::new();
        push_pretty(r#"{"a":1,"b":[1,"x\",:{",{"c":null,"d":{}}],"e":[]}"#, &mut out);
        let expected = "{\n  \"a\" : 1,\n  \"b\" : [ 1, \"x\\\",:{\", {\n    \"c\" : null,\n    \"d\" : { }\n  } ],\n  \"e\" : [ ]\n}";
        assert_eq!(out, expected);
    }
}
