//! The source operator: hands over what its feed has, and carries the feed's epochs into the graph.
//!
//! It holds exactly one capability and only ever raises its epoch part; event time is `watermark`'s affair. A feed is polled
//! until it has nothing more (then the worker may park; the feed's other end wakes it through the [`SyncActivator`]) or until
//! a budget is used up, so that other operators get their turn. After a failure rows are dropped and the capability stays where it is.

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilderSession, operator};
use timely::scheduling::SyncActivator;

use crate::driver::Observer;
use crate::time::{NO_WATERMARK, Time};
use crate::{Chunk, ChunkStream, Result};

/// Chunks handed over before other operators get their turn.
const BUDGET: usize = 32;

/// What a feed has next.
pub enum Fed {
    /// Rows of the epoch in progress.
    Rows(Chunk),
    /// All rows before this epoch have been handed over.
    Epoch(u64),
    /// Nothing now; the operator is activated when there is more.
    Idle,
    /// Nothing any more.
    End,
}

/// Where a source operator gets its chunks from; polled on the worker's thread.
pub trait Feed: 'static {
    /// The next thing, without waiting.
    fn next(&mut self) -> Result<Fed>;
}

/// Adds a source. `open` gets what wakes the operator from another thread.
pub fn source<'scope>(
    scope: Scope<'scope, Time>,
    name: &str,
    observer: Rc<dyn Observer>,
    open: impl FnOnce(SyncActivator) -> Box<dyn Feed>,
) -> ChunkStream<'scope> {
    let label = name.to_owned();
    operator::source::<Time, CapacityContainerBuilder<Chunk>, _, _>(scope, name, move |capability, info| {
        let worker = scope.worker().clone();
        let feed = open(worker.sync_activator_for(info.address.to_vec()));
        let again = worker.activator_for(info.address);
        let mut source = Source { name: label, observer, feed, capability: Some(capability), failed: false };
        move |output| {
            if source.poll(output) {
                again.activate();
            }
        }
    })
}

struct Source {
    name: String,
    observer: Rc<dyn Observer>,
    feed: Box<dyn Feed>,
    /// `None` once the feed ended.
    capability: Option<Capability<Time>>,
    failed: bool,
}

type Session<'a> = OutputBuilderSession<'a, Time, CapacityContainerBuilder<Chunk>>;

impl Source {
    /// True if there may be more right now.
    fn poll(&mut self, output: &mut Session<'_>) -> bool {
        for _ in 0..BUDGET {
            match self.step(output) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    self.failed = true;
                    self.observer.failed(&self.name, error);
                    return false;
                }
            }
        }
        true
    }

    /// Takes one thing from the feed; false if there was none.
    fn step(&mut self, output: &mut Session<'_>) -> Result<bool> {
        match self.feed.next()? {
            Fed::Idle => return Ok(false),
            Fed::End => {
                self.capability = None;
                return Ok(false);
            }
            _ if self.failed => {}
            Fed::Rows(chunk) => self.give(output, chunk),
            Fed::Epoch(epoch) => self.raise(epoch),
        }
        Ok(true)
    }

    fn give(&mut self, output: &mut Session<'_>, mut chunk: Chunk) {
        if let Some(capability) = &self.capability {
            output.session(capability).give_container(&mut chunk);
        }
    }

    fn raise(&mut self, epoch: u64) {
        if let Some(capability) = &mut self.capability {
            capability.downgrade(&Time::new(epoch, NO_WATERMARK));
        }
    }
}
