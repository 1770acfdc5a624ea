//! The sessions of each key as spans of time, and the ids under which their aggregates are kept.
//!
//! In: rows' own spans. Out: the id of the session each row belongs to now, and which sessions went into which. What always
//! holds: the spans of a key are in order and neither overlap nor touch; an id is given out again only after `free`.

use std::mem::size_of;

/// One session.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: i64,
    end: i64,
    id: u32,
}

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Its key group.
    pub group: u32,
    /// Its start.
    pub start: i64,
    /// Its end.
    pub end: i64,
}

/// What adding rows did.
#[derive(Debug, Default)]
pub(super) struct Assigned {
    /// The session of each row, as it was when the row came.
    pub ids: Vec<u32>,
    /// New sessions with their ends at first.
    pub new: Vec<(u32, i64)>,
    /// Sessions that went into others: from, into. `into` may itself have gone into another later.
    pub merged: Vec<(u32, u32)>,
}

/// The sessions of all keys.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// By key group.
    spans: Vec<Vec<Span>>,
    /// By id: key group and start; `None` once the session is gone.
    owners: Vec<Option<(u32, i64)>>,
    free: Vec<u32>,
    live: usize,
}

impl Spans {
    /// Adds a row's span to its key's sessions; spans that touch become one.
    pub(super) fn add(&mut self, group: u32, start: i64, end: i64, assigned: &mut Assigned) {
        if self.spans.len() <= group as usize {
            self.spans.resize_with(group as usize + 1, Vec::new);
        }
        let spans = &self.spans[group as usize];
        let first = spans.partition_point(|span| span.end < start);
        let met = spans[first..].partition_point(|span| span.start <= end);
        let id = match met {
            0 => self.insert(group, first, Span { start, end, id: 0 }, assigned),
            met => self.extend(group, first, met, (start, end), assigned),
        };
        assigned.ids.push(id);
    }

    fn insert(&mut self, group: u32, at: usize, span: Span, assigned: &mut Assigned) -> u32 {
        let id = self.free.pop().unwrap_or(self.owners.len() as u32);
        let owner = Some((group, span.start));
        match self.owners.get_mut(id as usize) {
            Some(free) => *free = owner,
            None => self.owners.push(owner),
        }
        self.spans[group as usize].insert(at, Span { id, ..span });
        self.live += 1;
        assigned.new.push((id, span.end));
        id
    }

    /// The `met` spans from `first` on become one with a row's span, under the id of the earliest.
    fn extend(&mut self, group: u32, first: usize, met: usize, row: (i64, i64), assigned: &mut Assigned) -> u32 {
        let spans = &mut self.spans[group as usize];
        let end = spans[first..first + met].iter().map(|span| span.end).fold(row.1, i64::max);
        let absorbed: Vec<u32> = spans.drain(first + 1..first + met).map(|span| span.id).collect();
        let span = &mut spans[first];
        (span.start, span.end) = (span.start.min(row.0), end);
        self.owners[span.id as usize] = Some((group, span.start));
        self.live -= absorbed.len();
        for from in absorbed {
            self.owners[from as usize] = None;
            assigned.merged.push((from, span.id));
        }
        span.id
    }

    fn span(&self, id: u32) -> Option<&Span> {
        let (group, start) = (*self.owners.get(id as usize)?)?;
        let spans = &self.spans[group as usize];
        spans.get(spans.partition_point(|span| span.start < start)).filter(|span| span.id == id)
    }

    /// The end of a session; `None` once it is gone.
    pub(super) fn end(&self, id: u32) -> Option<i64> {
        self.span(id).map(|span| span.end)
    }

    /// Where a session is; `None` once it is gone.
    pub(super) fn place(&self, id: u32) -> Option<Place> {
        let (group, _) = self.owners.get(id as usize).copied().flatten()?;
        self.span(id).map(|span| Place { group, start: span.start, end: span.end })
    }

    /// Those of the sessions that are not gone, and where they are.
    pub(super) fn places(&self, ids: &[u32]) -> (Vec<u32>, Vec<Place>) {
        ids.iter().filter_map(|id| Some((*id, self.place(*id)?))).unzip()
    }

    /// Forgets a live session; gives its key group if that has no other.
    pub(super) fn remove(&mut self, id: u32) -> Option<u32> {
        let (group, start) = self.owners.get_mut(id as usize)?.take()?;
        let spans = &mut self.spans[group as usize];
        spans.remove(spans.partition_point(|span| span.start < start));
        self.live -= 1;
        spans.is_empty().then_some(group)
    }

    /// The id may be given out again.
    pub(super) fn free(&mut self, id: u32) {
        self.free.push(id);
    }

    /// The live sessions of a key group, in order.
    pub(super) fn of_group(&self, group: u32) -> impl Iterator<Item = u32> + '_ {
        self.spans.get(group as usize).into_iter().flatten().map(|span| span.id)
    }

    /// All live sessions.
    pub(super) fn ids(&self) -> Vec<u32> {
        (0..self.owners.len() as u32).filter(|id| self.owners[*id as usize].is_some()).collect()
    }

    /// All ids are below this.
    pub(super) fn id_count(&self) -> usize {
        self.owners.len()
    }

    /// Live sessions.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn size_bytes(&self) -> usize {
        let owners = self.owners.capacity() * size_of::<Option<(u32, i64)>>();
        owners + self.live * size_of::<Span>() + self.spans.capacity() * size_of::<Vec<Span>>()
    }
}
