//! Paths into a VARIANT: `$.a.b[0]['c d']`.
//!
//! In: the text of a path. Out: the part of a value it leads to, if there is one. Unlike paths of JSON texts there is no `*`.

use super::{Item, Value};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

impl Path {
    /// `None` if the text is no path.
    pub(crate) fn parse(text: &str) -> Option<Path> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = step(rest)?;
            steps.push(step);
            rest = after;
        }
        Some(Path(steps))
    }

    /// The part of `value` that the path leads to.
    pub(crate) fn find<'a>(&self, value: Value<'a>) -> Option<Value<'a>> {
        self.0.iter().try_fold(value, |value, step| match (step, value.item()?) {
            (Step::Name(name), Item::Object(object)) => object.find(name),
            (Step::Index(index), Item::Array(array)) => array.get(*index),
            _ => None,
        })
    }
}

fn step(text: &str) -> Option<(Step, &str)> {
    for (open, quote, close) in [("['", '\'', "']"), ("[\"", '"', "\"]")] {
        if let Some(rest) = text.strip_prefix(open) {
            let (name, rest) = rest.split_once(close)?;
            let is_name = !name.is_empty() && !name.contains([quote, '?']);
            return is_name.then(|| (Step::Name(name.to_owned()), rest));
        }
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (index, rest) = rest.split_once(']')?;
        let is_number = index.bytes().all(|byte| byte.is_ascii_digit());
        return Some((Step::Index(index.parse().ok().filter(|_| is_number)?), rest));
    }
    let rest = text.strip_prefix('.')?;
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    (end > 0).then(|| (Step::Name(rest[..end].to_owned()), &rest[end..]))
}
