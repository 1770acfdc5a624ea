//! What is kept of an object whose text breaks off or goes wrong in the middle.
//!
//! In: a record that the scanner refused. Out: a sound text with the members that Spark's permissive mode keeps, or nothing.
//! Spark reads with a pull parser and goes on with it after an error: a fault inside the value of a wanted member costs that
//! member, a fault between members of the record costs the record. What the parser says when it is asked again after a
//! fault decides what else is kept, so this file walks through the text in the same steps: [`Events`] is the parser,
//! [`Keeper`] the reader above it. Only broken records come here; nothing here is fast.

use super::scan::{Kind, MAX_DEPTH, Malformed, Scan, Scanner, Syntax, Token};
use super::shape::{Members, Shape};

/// A sound text of the members that are kept of the broken object in `record`; nothing if it is not kept at all.
pub(crate) fn kept(record: &[u8], members: &Members, syntax: Syntax) -> Option<Vec<u8>> {
    let mut keeper = Keeper { events: Events::new(record, syntax), out: Vec::new() };
    match keeper.events.advance() {
        Ok(Some(Event::ObjectStart)) => keeper.object(members).ok().map(|()| keeper.out),
        _ => None,
    }
}

/// One step through a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Name,
    /// A number or a word.
    Scalar(Token),
    /// A string; it is read when somebody asks for it or goes on.
    String,
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
}

/// An object or array around the current place.
#[derive(Debug)]
struct Context {
    is_object: bool,
    /// True once something stood in it, so that a comma is due.
    is_begun: bool,
    name: Token,
}

/// A pull parser that can be asked again after a fault.
struct Events<'a> {
    bytes: &'a [u8],
    scanner: Scanner<'a>,
    contexts: Vec<Context>,
    current: Option<Event>,
    /// The value behind the current name, found together with it.
    next: Option<Event>,
    /// True while a string was found but not read.
    is_string_open: bool,
}

impl<'a> Events<'a> {
    fn new(bytes: &'a [u8], syntax: Syntax) -> Events<'a> {
        let scanner = Scanner::new(bytes, syntax);
        Events { bytes, scanner, contexts: Vec::new(), current: None, next: None, is_string_open: false }
    }

    /// The next event; none at the end, and once behind a name whose value could not be read.
    fn advance(&mut self) -> Scan<Option<Event>> {
        if self.current == Some(Event::Name) {
            self.current = self.next.take();
            return Ok(self.entered());
        }
        if self.is_string_open {
            self.string()?;
        }
        self.scanner.blanks()?;
        match self.scanner.peek() {
            None if self.contexts.is_empty() => self.current = None,
            None => return Err(Malformed("the end inside an object or array")),
            Some(b'}') => self.close(true)?,
            Some(b']') => self.close(false)?,
            Some(_) => return self.enter_next(),
        }
        Ok(self.current)
    }

    fn enter_next(&mut self) -> Scan<Option<Event>> {
        let context = self.contexts.last_mut();
        let is_comma_due = context.is_some_and(|context| std::mem::replace(&mut context.is_begun, true));
        if is_comma_due {
            if !self.scanner.take(b',') {
                self.scanner.skip(1);
                return Err(Malformed("neither a comma nor an end"));
            }
            self.scanner.blanks()?;
        }
        if self.contexts.last().is_some_and(|context| context.is_object) {
            return self.member().map(Some);
        }
        self.current = Some(self.value()?);
        Ok(self.entered())
    }

    /// Reads a name, and finds the value behind it.
    fn member(&mut self) -> Scan<Event> {
        let name = self.scanner.name().inspect_err(|_| self.scanner.skip(1))?;
        if let Some(context) = self.contexts.last_mut() {
            context.name = name;
        }
        self.current = Some(Event::Name);
        self.scanner.blanks()?;
        if !self.scanner.take(b':') {
            self.scanner.skip(1);
            return Err(Malformed("a name without a colon"));
        }
        self.scanner.blanks()?;
        self.next = Some(self.value()?);
        Ok(Event::Name)
    }

    fn value(&mut self) -> Scan<Event> {
        match self.scanner.peek() {
            Some(b'{') => Ok(self.opened(Event::ObjectStart)),
            Some(b'[') => Ok(self.opened(Event::ArrayStart)),
            Some(quote) if self.scanner.is_quote(quote) => {
                self.is_string_open = true;
                Ok(Event::String)
            }
            _ => self.scanner.value(0).map(Event::Scalar).inspect_err(|_| self.scanner.skip_word()),
        }
    }

    fn opened(&mut self, event: Event) -> Event {
        self.scanner.skip(1);
        event
    }

    /// The current event, after stepping into the object or array that it may start.
    fn entered(&mut self) -> Option<Event> {
        if let Some(start @ (Event::ObjectStart | Event::ArrayStart)) = self.current {
            let is_object = start == Event::ObjectStart;
            self.contexts.push(Context { is_object, is_begun: false, name: Token::ABSENT });
        }
        self.current
    }

    fn close(&mut self, is_object: bool) -> Scan<()> {
        self.scanner.skip(1);
        if self.contexts.last().is_none_or(|context| context.is_object != is_object) {
            return Err(Malformed("an end that does not fit its start"));
        }
        self.contexts.pop();
        self.current = Some(if is_object { Event::ObjectEnd } else { Event::ArrayEnd });
        Ok(())
    }

    /// The open string.
    fn string(&mut self) -> Scan<Token> {
        self.is_string_open = false;
        let quote = self.scanner.peek().unwrap_or(b'"');
        self.scanner.string(quote).inspect_err(|_| {
            let is_escape = self.scanner.peek() == Some(b'\\');
            self.scanner.skip(if is_escape { 2 } else { 1 });
        })
    }

    /// The name that the current value stands under.
    fn name(&self) -> Token {
        let is_start = matches!(self.current, Some(Event::ObjectStart | Event::ArrayStart));
        let at = self.contexts.len().checked_sub(1 + usize::from(is_start));
        at.and_then(|at| self.contexts.get(at)).map_or(Token::ABSENT, |context| context.name)
    }

    /// Goes to the end of the object or array that the current event starts; stays where it is at anything else.
    fn skip_children(&mut self) -> Scan<()> {
        if !matches!(self.current, Some(Event::ObjectStart | Event::ArrayStart)) {
            return Ok(());
        }
        let around = self.contexts.len() - 1;
        while self.contexts.len() > around {
            if self.contexts.len() > MAX_DEPTH {
                return Err(Malformed("nested too deep"));
            }
            if self.advance()?.is_none() {
                return Err(Malformed("the end inside an object or array"));
            }
        }
        Ok(())
    }
}

/// Reads events by the shapes of the wanted members and writes down what is kept.
struct Keeper<'a> {
    events: Events<'a>,
    out: Vec<u8>,
}

impl Keeper<'_> {
    /// The members of the object that was just entered. A fault inside a wanted one costs only that one.
    fn object(&mut self, members: &Members) -> Scan<()> {
        self.out.push(b'{');
        let start = self.out.len();
        while !matches!(self.events.advance()?, None | Some(Event::ObjectEnd)) {
            match self.wanted(members) {
                Some((name, shape)) => self.member(name, shape, start)?,
                None => self.events.skip_children()?,
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn wanted<'m>(&self, members: &'m Members) -> Option<(&'m [u8], &'m Shape)> {
        members.named(self.events.name(), self.events.bytes)
    }

    fn member(&mut self, name: &[u8], shape: &Shape, start: usize) -> Scan<()> {
        let before = self.out.len();
        if before > start {
            self.out.push(b',');
        }
        self.put_name(name);
        if self.value(shape).is_err() {
            self.out.truncate(before);
            self.events.skip_children()?;
        }
        Ok(())
    }

    fn put_name(&mut self, name: &[u8]) {
        self.out.push(b'"');
        for byte in name {
            match byte {
                b'"' | b'\\' => self.out.extend([b'\\', *byte]),
                0..0x20 => self.out.extend(format!("\\u{byte:04x}").bytes()),
                _ => self.out.push(*byte),
            }
        }
        self.out.extend(b"\":");
    }

    fn value(&mut self, shape: &Shape) -> Scan<()> {
        if self.events.current == Some(Event::Name) {
            self.events.advance()?;
        }
        match (shape, self.events.current) {
            (_, None) => self.out.extend(b"null"),
            (_, Some(Event::Scalar(token))) => self.out.extend(token.of(self.events.bytes)),
            (_, Some(Event::String)) => self.string()?,
            (Shape::Struct(members), Some(Event::ObjectStart)) => self.object(members)?,
            (Shape::List(item), Some(Event::ArrayStart)) => self.list(item)?,
            (Shape::Map(value), Some(Event::ObjectStart)) => self.map(value)?,
            (Shape::Text | Shape::Variant(_), Some(Event::ObjectStart | Event::ArrayStart)) => self.raw()?,
            _ => return Err(Malformed("a value of another type")),
        }
        Ok(())
    }

    fn string(&mut self) -> Scan<()> {
        let token = self.events.string()?;
        self.put(token.start - 1, token.end + 1);
        Ok(())
    }

    /// An object or array as it is spelled, for a STRING.
    fn raw(&mut self) -> Scan<()> {
        let start = self.events.scanner.place() - 1;
        self.events.skip_children()?;
        self.put(start, self.events.scanner.place());
        Ok(())
    }

    fn put(&mut self, start: usize, end: usize) {
        self.out.extend(self.events.bytes.get(start..end).unwrap_or_default());
    }

    fn list(&mut self, item: &Shape) -> Scan<()> {
        self.out.push(b'[');
        let start = self.out.len();
        while !matches!(self.events.advance()?, None | Some(Event::ArrayEnd)) {
            self.separate(start);
            self.value(item)?;
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(&mut self, value: &Shape) -> Scan<()> {
        self.out.push(b'{');
        let start = self.out.len();
        while !matches!(self.events.advance()?, None | Some(Event::ObjectEnd)) {
            self.separate(start);
            let name = self.events.name();
            let (is_escaped, bytes) = (name.kind == Kind::Escaped, name.of(self.events.bytes));
            if is_escaped {
                self.put(name.start - 1, name.end + 1);
                self.out.push(b':');
            } else {
                self.put_name(bytes);
            }
            self.value(value)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn separate(&mut self, start: usize) {
        if self.out.len() > start {
            self.out.push(b',');
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray};

    use super::super::{FromJson, ToJson};
    use crate::conf::Conf;
    use crate::options::Options;
    use crate::types::parse_type_or_schema;

    const DDL: &str = "a INT, b STRUCT<x:INT,y:STRUCT<z:INT,w:STRING>,s:STRING>, l ARRAY<INT>, \
                       q ARRAY<STRUCT<z:INT,w:STRING>>, m MAP<STRING,INT>, c INT, s STRING";

    fn read(schema: &str, text: &str) -> String {
        let (options, conf) = (Options::default(), Conf::default());
        let data_type = parse_type_or_schema(schema).unwrap();
        let read = FromJson::new(&data_type, &options, &conf).unwrap();
        let values: ArrayRef = read.convert(&StringArray::from(vec![text])).unwrap();
        let written = ToJson::new(&data_type, &options, &conf).unwrap().convert(&values).unwrap();
        written.iter().next().flatten().unwrap_or("null").to_owned()
    }

    /// What Spark 4.3 gave for these texts.
    const KEPT: &[(&str, &str)] = &[
        (r#"{"a":1,"b":{"x":"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"x":2"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":2,"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":2,"s""#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"x":2,"s":"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"x":2,"s":"h"#, r#"{}"#),
        (r#"{"a":1,"b":{"#, r#"{}"#),
        (r#"{"a":1,"b":"#, r#"{}"#),
        (r#"{"a":1,"b""#, r#"{}"#),
        (r#"{"a":1,"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":2,"y":{"z":"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":2,"y":{"z":3"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":2,"y":{"z":3,"w":"h"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":2,"y":{"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":2,"y":{"z":3},"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":2,"y":{"z":3}"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":2}"#, r#"{}"#),
        (r#"{"a":1,"l":[1,"#, r#"{}"#),
        (r#"{"a":1,"l":[1"#, r#"{}"#),
        (r#"{"a":1,"l":["#, r#"{}"#),
        (r#"{"a":1,"l":[1,2]"#, r#"{}"#),
        (r#"{"a":1,"l":[1,tru],"c":3}"#, r#"{"a":1,"c":3}"#),
        (r#"{"a":1,"l":[1 2],"c":3}"#, r#"{"a":1,"c":3}"#),
        (r#"{"a":1,"l":[1,],"c":3}"#, r#"{}"#),
        (r#"{"a":1,"q":[{"z":1},{"z":"#, r#"{"a":1}"#),
        (r#"{"a":1,"q":[{"z":1},{"z":2"#, r#"{}"#),
        (r#"{"a":1,"q":[{"z":1},{"z":2}"#, r#"{}"#),
        (r#"{"a":1,"q":[{"z":1},"#, r#"{}"#),
        (r#"{"a":1,"q":[{"z":1},{"z":tru}],"c":3}"#, r#"{"a":1}"#),
        (r#"{"a":1,"m":{"k":"#, r#"{"a":1}"#),
        (r#"{"a":1,"m":{"k":1"#, r#"{}"#),
        (r#"{"a":1,"m":{"k":1,"j":"#, r#"{"a":1}"#),
        (r#"{"a":1,"m":{"k":1,"j":x},"c":2}"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"x":tru},"c":3}"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"x":tru,"y":{"z":3}},"c":3}"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"y":{"z":tru},"x":5},"c":3}"#, r#"{"a":1,"b":{}}"#),
        (r#"{"a":1,"b":{"x":12a},"c":3}"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"x":004},"c":3}"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"x" 1},"c":3}"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{x:1},"c":3}"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":1,},"c":3}"#, r#"{"a":1,"c":3}"#),
        (r#"{"a":1,"s":"x\q","c":3}"#, r#"{}"#),
        (r#"{"a":1,"s":"tab\x""#, r#"{}"#),
        (r#"{"a":1,"u":{"x":"#, r#"{}"#),
        (r#"{"a":1,"u":[1,"#, r#"{}"#),
        (r#"{"a":1,"s":{"x":"#, r#"{"a":1}"#),
        (r#"{"a":1,"s":{"x":1"#, r#"{}"#),
        (r#"{"a":1,"s":{"x":1}"#, r#"{}"#),
        (r#"{"a":1,"c":{"x":"#, r#"{}"#),
        (r#"{"a":1,"c":[1,"#, r#"{}"#),
        (r#"{"a":tru,"c":1}"#, r#"{}"#),
        (r#"{"a":1 "c":2}"#, r#"{}"#),
        (r#"{"a":1,"c":2]"#, r#"{}"#),
        (r#"{"a":"bad","b":{"x":"#, r#"{}"#),
        (r#"{"a":1,"b":{"x":2]},"c":3}"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"s":"x\q"},"c":3}"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"s":"x\q,"},"c":3}"#, r#"{"a":1}"#),
        (r#"{"a":1,"b":{"x":"bad","s":"k"},"c":3}"#, r#"{"a":1,"b":{"s":"k"},"c":3}"#),
        (r#"{"a":1,"b":[{"x":"#, r#"{}"#),
        (r#"{"a":1,"q":{"z":"#, r#"{}"#),
        (r#"{"a":1,"q":5,"c":2}"#, r#"{"a":1,"c":2}"#),
        (r#"{"a":1,"l":[1,"x"],"c":2}"#, r#"{"a":1,"c":2}"#),
        (r#"{"a":1,"l":[1,{"x":2}],"c":2}"#, r#"{"a":1,"c":2}"#),
    ];

    #[test]
    fn d01_what_is_kept_is_what_spark_keeps() {
        for (text, kept) in KEPT {
            assert_eq!(read(DDL, text), *kept, "{text}");
        }
    }

    #[test]
    fn an_object_where_a_list_is_due_is_kept_too() {
        let schema = "ARRAY<STRUCT<a:INT,b:STRUCT<x:INT>>>";
        assert_eq!(read(schema, r#"{"a":1,"b":{"x":"#), r#"[{"a":1}]"#);
        assert_eq!(read(schema, r#"[{"a":1},{"a":2,"b":{"x":"#), "null");
        assert_eq!(read("MAP<STRING,STRUCT<x:INT>>", r#"{"a":{"x":1},"b":{"x":"#), "null");
    }

    proptest::proptest! {
        #[test]
        fn d01_never_panics(text in proptest::collection::vec(
            proptest::sample::select(&["{", "}", "[", "]", ":", ",", "\"a\"", "\"b\"", "\"l\"", "\"m\"", "1", "x", "\"", "\\"][..]), 0..30)) {
            read(DDL, &format!("{{\"a\":1,\"b\":{}", text.concat()));
        }
    }
}
