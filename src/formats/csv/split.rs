//! Cutting CSV text into fields, with the rules of the parser Spark uses (univocity).
//!
//! In: bytes that hold one record, or with `line_ends` a whole file. Out: the places of the fields; a field with escapes is
//! copied without them into a buffer that is reused. Any bytes give some fields; only limits and RAISE_ERROR fail.

use super::options::{StrayQuote, Syntax};

/// Where a field's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// Nothing stood there: null.
    Missing,
    /// Between these positions of the text.
    Raw(usize, usize),
    /// Between these positions of the buffer.
    Built(usize, usize),
    /// An empty pair of quotes.
    QuotedEmpty,
}

/// Why a text cannot be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) &'static str);

/// Reads one record after the other.
pub(crate) struct Fields<'a> {
    text: &'a [u8],
    at: usize,
    syntax: &'a Syntax,
    buffer: &'a mut Vec<u8>,
    /// So many fields of each record are wanted.
    wanted: usize,
}

impl<'a> Fields<'a> {
    /// At the start of a text.
    pub(crate) fn new(text: &'a [u8], syntax: &'a Syntax, buffer: &'a mut Vec<u8>) -> Fields<'a> {
        Fields { text, at: 0, syntax, buffer, wanted: usize::MAX }
    }

    /// The same; of the fields behind the first `wanted` some may be left out.
    pub(crate) fn wanting(self, wanted: usize) -> Fields<'a> {
        Fields { wanted, ..self }
    }

    /// Puts the fields of the next record into `fields` and returns where the record stood; `None` at the end.
    /// Blank lines and comments are skipped.
    pub(crate) fn next_record(&mut self, fields: &mut Vec<Field>) -> Result<Option<(usize, usize)>, Unreadable> {
        self.skip_idle_lines();
        if self.at >= self.text.len() {
            return Ok(None);
        }
        fields.clear();
        self.buffer.clear();
        let start = self.at;
        match self.syntax.plain.filter(|_| self.is_plain()) {
            Some(delimiter) => self.plain_record(delimiter, fields),
            None => self.record(fields)?,
        }
        let end = self.at;
        self.skip_line_end();
        Ok(Some((start, end)))
    }

    /// The text of a field as far as it is not missing.
    pub(crate) fn value<'b>(field: Field, text: &'b [u8], buffer: &'b [u8], empty: &'b [u8]) -> Option<&'b [u8]> {
        match field {
            Field::Missing => None,
            Field::Raw(start, end) => text.get(start..end),
            Field::Built(start, end) => buffer.get(start..end),
            Field::QuotedEmpty => Some(empty),
        }
    }

    fn skip_idle_lines(&mut self) {
        while self.syntax.line_ends && self.at < self.text.len() {
            let line = &self.text[self.at..self.line_end(self.at)];
            if !is_idle(line, self.syntax) {
                return;
            }
            self.at += line.len();
            self.skip_line_end();
        }
    }

    fn line_end(&self, from: usize) -> usize {
        memchr::memchr2(b'\n', b'\r', &self.text[from..]).map_or(self.text.len(), |at| from + at)
    }

    fn skip_line_end(&mut self) {
        if self.syntax.line_ends && self.at < self.text.len() {
            self.at += if self.text[self.at..].starts_with(b"\r\n") { 2 } else { 1 };
        }
    }

    /// True if nothing in the text needs more than cutting at the delimiters, and no limit can be met.
    fn is_plain(&self) -> bool {
        self.text.len() < self.syntax.max_columns.min(self.syntax.max_field)
            && self.syntax.quote.is_none_or(|quote| memchr::memchr(quote, self.text).is_none())
    }

    /// A record that is the whole text. Fields are short: a loop over their bytes is faster than a search for each.
    fn plain_record(&mut self, delimiter: u8, fields: &mut Vec<Field>) {
        let field = |start: usize, end: usize| if start == end { Field::Missing } else { Field::Raw(start, end) };
        let mut start = std::mem::replace(&mut self.at, self.text.len());
        for (end, byte) in self.text.iter().enumerate().skip(start) {
            if *byte == delimiter {
                fields.push(field(start, end));
                if fields.len() >= self.wanted {
                    return;
                }
                start = end + 1;
            }
        }
        fields.push(field(start, self.text.len()));
    }

    fn record(&mut self, fields: &mut Vec<Field>) -> Result<(), Unreadable> {
        loop {
            if fields.len() >= self.syntax.max_columns {
                return Err(Unreadable("more fields than maxColumns allows"));
            }
            let field = self.field()?;
            if field.length() > self.syntax.max_field {
                return Err(Unreadable("a field longer than maxCharsPerColumn allows"));
            }
            fields.push(field);
            if !self.text[self.at..].starts_with(&self.syntax.delimiter) {
                return Ok(());
            }
            self.at += self.syntax.delimiter.len();
        }
    }

    /// Reads a field; afterwards `at` is at a delimiter or the record's end.
    fn field(&mut self) -> Result<Field, Unreadable> {
        if self.syntax.trim_leading {
            self.skip_blanks();
        }
        if self.syntax.quote.is_some() && self.peek() == self.syntax.quote {
            return self.quoted();
        }
        Ok(self.unquoted(self.at))
    }

    fn unquoted(&mut self, start: usize) -> Field {
        self.at = self.field_end(start);
        let end = if self.syntax.trim_trailing { self.trimmed_end(start, self.at) } else { self.at };
        if start == end { Field::Missing } else { Field::Raw(start, end) }
    }

    fn trimmed_end(&self, start: usize, end: usize) -> usize {
        start + self.text[start..end].iter().rposition(|byte| *byte > b' ').map_or(0, |at| at + 1)
    }

    /// Where the next delimiter or the record's end is.
    fn field_end(&self, from: usize) -> usize {
        let rest = &self.text[from..];
        let found = match (&*self.syntax.delimiter, self.syntax.line_ends) {
            ([one], false) => memchr::memchr(*one, rest),
            ([one], true) => memchr::memchr3(*one, b'\n', b'\r', rest),
            (many, false) => memchr::memmem::find(rest, many),
            (many, true) => {
                let line = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                memchr::memmem::find(&rest[..line], many).or(Some(line))
            }
        };
        from + found.unwrap_or(rest.len())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn at_delimiter(&self) -> bool {
        self.text[self.at..].starts_with(&self.syntax.delimiter)
    }

    /// True at the end of the record, too.
    fn at_field_end(&self) -> bool {
        match self.peek() {
            None => true,
            Some(b'\n' | b'\r') if self.syntax.line_ends => true,
            Some(_) => self.at_delimiter(),
        }
    }

    fn at_blank(&self) -> bool {
        self.peek().is_some_and(|byte| byte <= b' ') && !self.at_field_end()
    }

    fn skip_blanks(&mut self) {
        while self.at_blank() {
            self.at += 1;
        }
    }

    /// A field in quotes without anything special in it is taken as it stands; others go the long way.
    fn quoted(&mut self) -> Result<Field, Unreadable> {
        let (opening, start) = (self.at, self.at + 1);
        let quote = self.syntax.quote.unwrap_or_default();
        if let Some(length) = memchr::memchr(quote, &self.text[start..]) {
            let end = start + length;
            self.at = end + 1;
            let has_carriage_return = self.syntax.line_ends && self.text[start..end].contains(&b'\r');
            let escaped = self.syntax.escape == Some(self.text[end - 1]);
            if !escaped && !has_carriage_return && self.at < self.text.len() && self.at_field_end() {
                return Ok(if start == end { Field::QuotedEmpty } else { Field::Raw(start, end) });
            }
        }
        self.at = start;
        self.quoted_slowly(quote, opening)
    }

    /// Copies a quoted field into the buffer, character by character.
    fn quoted_slowly(&mut self, quote: u8, opening: usize) -> Result<Field, Unreadable> {
        let begin = self.buffer.len();
        let escape = self.syntax.escape;
        let mut previous = None;
        while let Some(byte) = self.peek() {
            if previous == Some(quote) && (self.at_field_end() || self.at_blank()) {
                break;
            }
            if byte != quote && Some(byte) != escape {
                if previous == Some(quote) {
                    if self.stray(quote, opening, begin)? {
                        return Ok(self.stray_result(opening, begin));
                    }
                } else if let Some(escape) = escape.filter(|escape| previous == Some(*escape)) {
                    self.buffer.push(escape);
                }
                self.push(byte);
                previous = Some(byte).filter(|byte| Some(*byte) == self.syntax.escape_escape);
            } else if Some(byte) == escape && previous.is_some() && previous == self.syntax.escape_escape {
                self.drop_escape_escape(byte);
                self.buffer.push(byte);
                previous = None;
            } else if previous.is_some() && previous == escape {
                self.buffer.push(if byte == quote { quote } else { escape.unwrap_or(quote) });
                previous = if byte == quote { None } else { Some(byte) };
            } else if byte == quote && previous == Some(quote) {
                self.buffer.push(quote);
            } else if previous == Some(quote) {
                if self.stray(quote, opening, begin)? {
                    return Ok(self.stray_result(opening, begin));
                }
                previous = Some(byte);
            } else {
                previous = Some(byte);
            }
            self.at += 1;
        }
        self.close(quote, opening, begin)
    }

    /// A character of its own that escapes the escape was copied before it showed its meaning.
    fn drop_escape_escape(&mut self, escape: u8) {
        if self.syntax.escape_escape != Some(escape) {
            self.buffer.pop();
        }
    }

    /// Copies a character; `\r\n` within quotes becomes `\n`.
    fn push(&mut self, byte: u8) {
        if self.syntax.line_ends && byte == b'\r' && self.text.get(self.at + 1) == Some(&b'\n') {
            self.at += 1;
        }
        self.buffer.push(self.text[self.at]);
    }

    /// Behind the closing quote only blanks may stand; anything else makes the quote a stray one.
    fn close(&mut self, quote: u8, opening: usize, begin: usize) -> Result<Field, Unreadable> {
        let blanks = self.at;
        self.skip_blanks();
        if !self.at_field_end() {
            self.at = blanks;
            if !self.stray(quote, opening, begin)? {
                self.finish_raw(begin);
            }
            return Ok(self.stray_result(opening, begin));
        }
        Ok(self.built(begin))
    }

    fn built(&self, begin: usize) -> Field {
        let end = self.buffer.len();
        if begin == end { Field::QuotedEmpty } else { Field::Built(begin, end) }
    }

    /// Handles a quote that ends nothing. True if the field is finished with it.
    fn stray(&mut self, quote: u8, opening: usize, begin: usize) -> Result<bool, Unreadable> {
        match self.syntax.stray_quote {
            StrayQuote::RaiseError => Err(Unreadable("an unescaped quote in a quoted field")),
            StrayQuote::StopAtClosingQuote => {
                self.buffer.push(quote);
                Ok(false)
            }
            StrayQuote::StopAtDelimiter => {
                self.buffer.insert(begin, quote);
                self.buffer.push(quote);
                self.finish_raw(begin);
                Ok(true)
            }
            StrayQuote::BackToDelimiter => {
                self.at = opening;
                Ok(true)
            }
            StrayQuote::SkipValue => {
                self.at = self.field_end(self.at);
                Ok(true)
            }
        }
    }

    /// Takes everything up to the next delimiter.
    fn finish_raw(&mut self, begin: usize) {
        let end = self.field_end(self.at);
        self.buffer.extend_from_slice(&self.text[self.at..end]);
        self.at = end;
        while self.syntax.trim_trailing && self.buffer.len() > begin && self.buffer.last().is_some_and(|b| *b <= b' ') {
            self.buffer.pop();
        }
    }

    /// The field after [`Fields::stray`] finished it.
    fn stray_result(&mut self, opening: usize, begin: usize) -> Field {
        match self.syntax.stray_quote {
            StrayQuote::BackToDelimiter => self.unquoted(opening),
            StrayQuote::SkipValue => Field::Missing,
            _ => self.built(begin),
        }
    }
}

impl Field {
    fn length(self) -> usize {
        match self {
            Field::Raw(start, end) | Field::Built(start, end) => end - start,
            Field::Missing | Field::QuotedEmpty => 0,
        }
    }
}

/// True for a line that holds no record: blank, or a comment.
pub(crate) fn is_idle(line: &[u8], syntax: &Syntax) -> bool {
    line.iter().all(|byte| *byte <= b' ') || (syntax.comment.is_some() && line.first().copied() == syntax.comment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn split_all(options: &[(&str, &str)], text: &str) -> Result<Vec<Vec<String>>, Unreadable> {
        let mut all = Options::default();
        options.iter().for_each(|(name, value)| all.set(*name, value));
        let syntax = Syntax::of(&all).unwrap();
        let (mut buffer, mut fields, mut found) = (Vec::new(), Vec::new(), Vec::new());
        let mut records = Fields::new(text.as_bytes(), &syntax, &mut buffer);
        while records.next_record(&mut fields)?.is_some() {
            let shown = fields.iter().map(|field| {
                let value = Fields::value(*field, text.as_bytes(), records.buffer, b"<empty>");
                value.map_or("<null>".into(), |value| String::from_utf8_lossy(value).into_owned())
            });
            found.push(shown.collect());
        }
        Ok(found)
    }

    fn split(options: &[(&str, &str)], text: &str) -> Vec<String> {
        split_all(options, text).unwrap().remove(0)
    }

    #[test]
    fn fields_plain_and_quoted() {
        assert_eq!(split(&[], "a,,\"b, c\",\"\",d"), ["a", "<null>", "b, c", "<empty>", "d"]);
        assert_eq!(split(&[], "a,"), ["a", "<null>"]);
        assert_eq!(split(&[], "a\"b\",c"), ["a\"b\"", "c"]);
        assert_eq!(split(&[], "\"x\"  ,y"), ["x", "y"]);
        assert_eq!(split(&[("sep", "||")], "a||b|c||"), ["a", "b|c", "<null>"]);
        assert_eq!(split(&[("sep", "\\t")], "a\tb"), ["a", "b"]);
        assert_eq!(split(&[("quote", "")], "\"a,b\""), ["\"a", "b\""]);
    }

    #[test]
    fn escapes_within_quotes() {
        assert_eq!(split(&[], r#""say \"hi\"",x"#), ["say \"hi\"", "x"]);
        assert_eq!(split(&[], r#"x,"a\\""#), ["x", r"a\"]);
        assert_eq!(split(&[], r#"x,"a\b""#), ["x", r"a\b"]);
        assert_eq!(split(&[("escape", "\"")], r#""say ""hi""",x"#), ["say \"hi\"", "x"]);
        assert_eq!(split(&[("charToEscapeQuoteEscaping", "!")], r#"x,"a!\""#), ["x", r"a\"]);
    }

    #[test]
    fn d05_quotes_that_never_close_take_the_rest() {
        assert_eq!(split(&[], "a,\"b,c"), ["a", "b,c"]);
        assert_eq!(split(&[], "\""), ["<empty>"]);
    }

    #[test]
    fn d05_stray_quotes() {
        let handling = |name: &'static str| split_all(&[("unescapedQuoteHandling", name)], "\"a\"b,c\",d");
        assert_eq!(handling("stop_at_delimiter").unwrap()[0], ["\"a\"b", "c\"", "d"]);
        assert_eq!(handling("stop_at_closing_quote").unwrap()[0], ["a\"b,c", "d"]);
        assert_eq!(handling("back_to_delimiter").unwrap()[0], ["\"a\"b", "c\"", "d"]);
        assert_eq!(handling("skip_value").unwrap()[0], ["<null>", "c\"", "d"]);
        assert!(handling("raise_error").is_err());
        assert_eq!(split(&[], "\"a\"  b,c"), ["\"a\"  b", "c"]);
    }

    #[test]
    fn blanks_around_fields() {
        let both = [("ignoreLeadingWhiteSpace", "true"), ("ignoreTrailingWhiteSpace", "true")];
        assert_eq!(split(&both, " x , 1,  ,\" q \""), ["x", "1", "<null>", " q "]);
        assert_eq!(split(&[], " x , 1"), [" x ", " 1"]);
    }

    #[test]
    fn records_over_several_lines() {
        let options = [("multiLine", "true"), ("comment", "#")];
        assert_eq!(split_all(&options, "#c\na,\"b\r\nc\"\r\n\n \nd,e").unwrap(), [vec!["a", "b\nc"], vec!["d", "e"]]);
    }

    #[test]
    fn d05_limits_on_fields() {
        assert!(split_all(&[("maxColumns", "2")], "a,b,c").is_err());
        assert!(split_all(&[("maxCharsPerColumn", "2")], "abc").is_err());
        assert!(split_all(&[("maxColumns", "2"), ("maxCharsPerColumn", "1")], "a,b").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn the_short_way_finds_what_the_long_way_finds(
            bytes in proptest::collection::vec(proptest::sample::select(&b"abc,,,\"\\ \r#"[..]), 0..30),
            quote in proptest::sample::select(vec!["\"", ""]),
            max_columns in proptest::sample::select(vec!["3", "20"]),
        ) {
            let mut options = Options::default();
            options.set("quote", quote);
            options.set("maxColumns", max_columns);
            let syntax = Syntax::of(&options).unwrap();
            let long = Syntax { plain: None, ..syntax.clone() };
            let all = |syntax: &Syntax, wanted: usize| {
                let (mut buffer, mut fields) = (Vec::new(), Vec::new());
                let found = Fields::new(&bytes, syntax, &mut buffer).wanting(wanted).next_record(&mut fields);
                (found, fields, buffer)
            };
            proptest::prop_assert_eq!(all(&syntax, usize::MAX), all(&long, usize::MAX));
            let ((_, some, _), (_, whole, _)) = (all(&syntax, 2), all(&long, usize::MAX));
            proptest::prop_assert_eq!(some.iter().take(2).collect::<Vec<_>>(), whole.iter().take(2).collect::<Vec<_>>());
        }

        #[test]
        fn d05_never_panics_and_always_ends(
            bytes in proptest::collection::vec(proptest::sample::select(&b"ab,\"\\!\n\r |#\xff"[..]), 0..40),
            sep in proptest::sample::select(vec![",", "||", ",\""]),
            handling in proptest::sample::select(vec!["STOP_AT_DELIMITER", "STOP_AT_CLOSING_QUOTE", "BACK_TO_DELIMITER", "SKIP_VALUE"]),
            lines in proptest::sample::select(vec!["true", "false"]),
            escape in proptest::sample::select(vec!["\\", "\"", ""]),
        ) {
            let mut options = Options::default();
            for (name, value) in [("sep", sep), ("unescapedQuoteHandling", handling), ("multiLine", lines), ("escape", escape),
                ("charToEscapeQuoteEscaping", "!"), ("ignoreTrailingWhiteSpace", lines)] {
                options.set(name, value);
            }
            let syntax = Syntax::of(&options).unwrap();
            let (mut buffer, mut fields) = (Vec::new(), Vec::new());
            let mut records = Fields::new(&bytes, &syntax, &mut buffer);
            while records.next_record(&mut fields).unwrap().is_some() {}
        }
    }
}
