//! What waits in a lane is worked on by workers that have nothing else to do.
//!
//! In: what was read, in order. Out: for each a [`Slot`], which travels through the lane in its place and takes what has become of it. The
//! oldest is worked on first. The lane's own worker is one of those who help: it has the rest of the graph to run first.
//!
//! What always holds: there is no more of it than a lane holds, and one being sent; a lock is taken once a chunk.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_operators::Result;
use thalweg_operators::stateless::Step;
use timely::scheduling::SyncActivator;

use super::Bell;
use super::maker::{Made, Maker};
use crate::formats::Decoder;
use crate::sources::Read;
use crate::threads;

/// Takes what has become of something, or why nothing has.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Result<Made>>>);

impl Slot {
    pub(super) fn take(&self) -> Option<Result<Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, made: Result<Made>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
    }
}

/// Something that nobody is at yet.
struct Task {
    read: Read,
    ingest: u64,
    slot: Arc<Slot>,
}

/// What nobody is at yet, the oldest first.
#[derive(Default)]
pub(super) struct Backlog {
    tasks: Mutex<VecDeque<Task>>,
    helpers: Mutex<Vec<SyncActivator>>,
}

impl Backlog {
    /// Adds something and wakes those who may help.
    pub(super) fn add(&self, read: Read, ingest: u64) -> Arc<Slot> {
        let slot = Arc::<Slot>::default();
        let task = Task { read, ingest, slot: slot.clone() };
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push_back(task);
        for helper in self.helpers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // A worker that is gone needs no waking.
            let _ = helper.activate();
        }
        slot
    }
}

/// What a worker needs to help with a lane, on its way there.
pub(crate) struct Helper {
    number: u32,
    backlog: Arc<Backlog>,
    bell: Bell,
    decoder: Option<Box<dyn Decoder>>,
}

impl Helper {
    pub(super) fn new(number: u32, backlog: Arc<Backlog>, bell: Bell, decoder: Option<Box<dyn Decoder>>) -> Self {
        Helper { number, backlog, bell, decoder }
    }

    /// Begins; `activator` wakes the worker that helps.
    pub fn begin(self, steps: Vec<Step>, activator: SyncActivator) -> Hand {
        self.backlog.helpers.lock().unwrap_or_else(PoisonError::into_inner).push(activator);
        self.hand(steps)
    }

    pub(super) fn hand(self, steps: Vec<Step>) -> Hand {
        Hand { backlog: self.backlog, bell: self.bell, maker: Maker::new(self.number, self.decoder, steps) }
    }
}

/// A worker's hand in a lane.
pub(crate) struct Hand {
    backlog: Arc<Backlog>,
    bell: Bell,
    maker: Maker,
}

impl Hand {
    /// Works on the oldest that nobody is at; false if there is nothing.
    pub fn help(&mut self) -> bool {
        let oldest = self.backlog.tasks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(Task { read, ingest, slot }) = oldest else { return false };
        let mut made = Made::default();
        slot.put(self.maker.make(read, ingest, &mut made).map(|()| made));
        self.bell.ring();
        threads::chance();
        true
    }
}
