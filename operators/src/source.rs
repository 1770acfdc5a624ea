//! Sources: hand over what their feeds have, and carry the feeds' epochs into the graph.
//!
//! A source is an operator of its own, which holds exactly one capability and only ever raises its epoch part (event time is `watermark`'s
//! affair), or the beginning of a [`crate::driver::Chain`], which polls it itself. A feed is polled
//! until it has nothing more (then the worker may park; the feed's other end wakes it through the [`SyncActivator`]) or until
//! a budget is used up, so that other operators get their turn. After a failure rows and epochs are dropped, so that
//! the capability stays where it is until the feed ends.

use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::{OutputBuilderSession, operator};
use timely::scheduling::{Activator, SyncActivator};

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

/// A source that is not in the graph yet.
pub struct Opening<'scope> {
    scope: Scope<'scope, Time>,
    name: String,
    observer: Rc<dyn Observer>,
    open: Box<dyn FnOnce(SyncActivator) -> Box<dyn Feed>>,
}

impl<'scope> Opening<'scope> {
    /// A source of this name; `open` gets what wakes the operator from another thread.
    pub fn new(
        scope: Scope<'scope, Time>,
        name: &str,
        observer: Rc<dyn Observer>,
        open: impl FnOnce(SyncActivator) -> Box<dyn Feed> + 'static,
    ) -> Self {
        Opening { scope, name: name.to_owned(), observer, open: Box::new(open) }
    }

    pub(crate) fn scope(&self) -> Scope<'scope, Time> {
        self.scope
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The source, polled by the operator at this address.
    pub(crate) fn open(self, address: &[usize]) -> Source {
        let worker = self.scope.worker();
        let feed = (self.open)(worker.sync_activator_for(address.to_vec()));
        let again = worker.activator_for(address.into());
        Source { name: self.name, observer: self.observer, feed, again, failed: false }
    }

    /// Puts it into the graph as an operator of its own.
    pub fn build(self) -> ChunkStream<'scope> {
        let name = self.name.clone();
        operator::source::<Time, CapacityContainerBuilder<Chunk>, _, _>(self.scope, &name, move |capability, info| {
            let mut source = self.open(&info.address);
            // `None` once the feed ended.
            let mut capability = Some(capability);
            move |output| source.poll(|fed| hand_over(fed, &mut capability, output))
        })
    }
}

/// Carries what a feed gave into the graph.
fn hand_over(
    fed: Fed,
    capability: &mut Option<Capability<Time>>,
    output: &mut OutputBuilderSession<'_, Time, CapacityContainerBuilder<Chunk>>,
) {
    match (fed, capability.as_mut()) {
        (Fed::Rows(mut chunk), Some(held)) => output.session(held).give_container(&mut chunk),
        (Fed::Epoch(epoch), Some(held)) => held.downgrade(&Time::new(epoch, NO_WATERMARK)),
        (Fed::End, _) => *capability = None,
        (Fed::Idle | Fed::Rows(_) | Fed::Epoch(_), _) => {}
    }
}

/// A feed as an operator polls it.
pub(crate) struct Source {
    name: String,
    observer: Rc<dyn Observer>,
    feed: Box<dyn Feed>,
    /// Has the operator polled again.
    again: Activator,
    failed: bool,
}

impl Source {
    /// Hands over what there is; when the budget is used up, the operator will be called again. After a failure there are no more rows
    /// and epochs.
    pub fn poll(&mut self, mut take: impl FnMut(Fed)) {
        for _ in 0..BUDGET {
            match self.feed.next() {
                Ok(Fed::Idle) => return,
                Ok(Fed::End) => return take(Fed::End),
                Ok(_) if self.failed => {}
                Ok(fed) => take(fed),
                Err(error) => {
                    self.failed = true;
                    return self.observer.failed(&self.name, error);
                }
            }
        }
        self.again.activate();
    }
}
