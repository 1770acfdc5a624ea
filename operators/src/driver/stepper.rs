//! One operator's way through epochs and watermarks.
//!
//! In: chunks with their epochs, and how far each input has got ([`Front`]). Out: chunks with the times they are sent at, and the
//! [`Stepper::held`] time, below which nothing will be sent any more. Knows neither timely's capabilities nor channels: [`super::chain`] does.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;

use super::{LateShape, Logic, Observer, Output, Place, State, StateMetrics, Wake};
use crate::time::{NO_WATERMARK, Time};
use crate::{Chunk, Result};

/// How far an input has got.
#[derive(Debug, Clone, Copy)]
pub(super) struct Front {
    /// The epoch in progress; `None` once the input has ended.
    epoch: Option<u64>,
    /// The event time promised complete.
    watermark: i64,
}

impl Front {
    /// What stands in front of an input. The smallest watermark counts. An input that has ended promises nothing new: what was delivered
    /// stays, because inputs end one after the other when a query is stopped, and that may close no window. The same holds when only
    /// workers are left that have no rows of their own to wait for, whose watermark is the end of time.
    pub fn of<'a>(times: impl Iterator<Item = &'a Time> + Clone) -> Self {
        let watermark = times.clone().map(|time| time.watermark).min().filter(|watermark| *watermark != i64::MAX);
        Front { epoch: times.map(|time| time.epoch).min(), watermark: watermark.unwrap_or(NO_WATERMARK) }
    }

    /// What stands in front of an input that knows of epochs alone; `None` once it has ended.
    pub fn of_epoch(epoch: Option<u64>) -> Self {
        Front { epoch, watermark: NO_WATERMARK }
    }

    /// What stands in front of an input of timely.
    pub fn of_frontier(frontier: &MutableAntichain<Time>) -> Self {
        Front::of(frontier.frontier().iter())
    }
}

/// Wakes an operator at a processing time.
pub(super) struct Alarm {
    activator: Activator,
    /// The time it is set for; it may have rung already.
    set_for: Option<i64>,
}

impl Alarm {
    /// Wakes by this activator; not set yet.
    pub fn new(activator: Activator) -> Self {
        Alarm { activator, set_for: None }
    }

    /// An alarm that rang a little early, or rings any moment, is set again: the worst is one step too many.
    const EARLY: Duration = Duration::from_millis(2);

    fn set(&mut self, wake: Option<Wake>) {
        let Some(Wake { at, after }) = wake else { return };
        if self.set_for != Some(at) || after <= Self::EARLY {
            self.set_for = Some(at);
            self.activator.activate_after(after.max(Duration::from_millis(1)));
        }
    }
}

/// Which way something leaves by.
pub(super) enum Way {
    Results,
    Late,
}

/// One operator's progress through epochs and watermarks.
pub(super) struct Stepper {
    name: String,
    observer: Rc<dyn Observer>,
    logic: Box<dyn Logic>,
    out: Output,
    /// The time below which nothing will be sent any more; `None` once all inputs ended.
    held: Option<Time>,
    /// Gives late rows their shape, if somebody wants them.
    late: Option<LateShape>,
    epoch: u64,
    /// What `on_watermark` was last called with.
    delivered: Vec<i64>,
    /// What the inputs promise now.
    promised: Vec<i64>,
    /// Whether the logic knows the watermark it starts with.
    started: bool,
    /// Whether the logic gives changes.
    tracks: bool,
    ready: Vec<(usize, Chunk)>,
    deferred: VecDeque<(u64, usize, Chunk)>,
    failed: bool,
    alarm: Alarm,
    /// The request for figures that was answered last.
    answered: u64,
    /// Figures since the last epoch was complete.
    measured: StateMetrics,
}

impl Stepper {
    /// `ports`: number of inputs.
    pub fn new(place: Place, mut logic: Box<dyn Logic>, ports: usize, late: Option<LateShape>, alarm: Alarm) -> Self {
        let tracks = place.observer.wants_snapshot(place.epoch) && logic.tracks_changes();
        let out = Output::new(place.pace);
        let mut delivered = place.watermarks;
        delivered.resize(ports, NO_WATERMARK);
        Stepper {
            name: place.name,
            observer: place.observer,
            logic,
            out: if late.is_some() { out.with_late() } else { out },
            held: Some(Time::default()),
            late,
            epoch: place.epoch,
            started: delivered.iter().all(|watermark| *watermark == NO_WATERMARK),
            tracks,
            promised: delivered.clone(),
            delivered,
            ready: Vec::new(),
            deferred: VecDeque::new(),
            failed: false,
            alarm,
            answered: 0,
            measured: StateMetrics::default(),
        }
    }

    /// The time below which nothing will be sent any more; `None` once it has nothing more to send.
    pub fn held(&self) -> Option<Time> {
        self.held
    }

    /// Takes a chunk of this epoch from an input.
    pub fn accept(&mut self, port: usize, epoch: u64, chunk: Chunk) {
        if epoch <= self.epoch {
            self.ready.push((port, chunk));
        } else {
            self.deferred.push_back((epoch, port, chunk));
        }
    }

    /// Does what there is to do with the chunks taken and the inputs at these places.
    pub fn step(&mut self, fronts: &[Front], mut send: impl FnMut(Way, Time, Chunk)) {
        if self.failed {
            self.ready.clear();
            self.deferred.clear();
            return;
        }
        if let Err(error) = self.advance(fronts, &mut send) {
            self.failed = true;
            self.observer.failed(&self.name, error);
        }
        self.answer();
    }

    /// Tells its figures, if somebody has asked for them.
    fn answer(&mut self) {
        let asked = self.observer.asked();
        if asked != self.answered {
            self.answered = asked;
            self.measured = self.measured.followed_by(self.logic.metrics());
            self.observer.figures(&self.name, asked, self.measured);
        }
    }

    fn advance(&mut self, fronts: &[Front], send: &mut impl FnMut(Way, Time, Chunk)) -> Result<()> {
        self.start()?;
        self.absorb()?;
        self.send(send)?;
        let Some(epoch) = fronts.iter().filter_map(|front| front.epoch).min() else {
            self.held = None;
            return Ok(());
        };
        self.promised.clear();
        self.promised.extend(fronts.iter().map(|front| front.watermark));
        if self.out.eager() {
            self.deliver()?;
            self.send(send)?;
        }
        while self.epoch < epoch {
            self.deliver()?;
            self.complete()?;
            self.send(send)?;
            self.epoch += 1;
            self.raise();
            self.undefer();
            self.absorb()?;
            self.send(send)?;
        }
        if self.out.eager() {
            self.ring()?;
            self.send(send)?;
        }
        self.raise_to_promise();
        Ok(())
    }

    /// Calls the logic if its time has come, and sets the alarm for the next.
    fn ring(&mut self) -> Result<()> {
        if self.logic.wake().is_some_and(|wake| wake.after.is_zero()) {
            self.logic.on_wake(&mut self.out)?;
        }
        self.alarm.set(self.logic.wake());
        Ok(())
    }

    /// Tells the logic the watermark it starts with, so that rows late before a restart are late after it.
    fn start(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.started, true) {
            true => Ok(()),
            false => self.logic.on_watermark(&self.delivered, &mut self.out),
        }
    }

    fn absorb(&mut self) -> Result<()> {
        for (port, chunk) in self.ready.drain(..) {
            self.out.note(chunk.ingest);
            let chunk = if self.logic.takes_picks() { chunk } else { chunk.whole() };
            self.logic.on_rows(port, chunk, &mut self.out)?;
        }
        Ok(())
    }

    fn undefer(&mut self) {
        let epoch = self.epoch;
        let (now, later) = self.deferred.drain(..).partition(|(at, _, _)| *at <= epoch);
        self.deferred = later;
        let now: VecDeque<_> = now;
        self.ready.extend(now.into_iter().map(|(_, port, chunk)| (port, chunk)));
    }

    /// Tells the logic what the inputs promise, if that is news.
    fn deliver(&mut self) -> Result<()> {
        let mut risen = false;
        for (delivered, promised) in self.delivered.iter_mut().zip(&self.promised) {
            risen |= promised > delivered;
            *delivered = *promised.max(delivered);
        }
        match risen {
            true => self.logic.on_watermark(&self.delivered, &mut self.out),
            false => Ok(()),
        }
    }

    fn complete(&mut self) -> Result<()> {
        self.logic.on_complete(self.epoch, &mut self.out)?;
        self.out.ingest = 0;
        let batches = match self.observer.wants_snapshot(self.epoch) {
            true if self.tracks => self.logic.changes()?,
            true => self.logic.snapshot()?,
            false => Vec::new(),
        };
        let metrics = std::mem::take(&mut self.measured).followed_by(self.logic.metrics());
        let state = State { batches, changes: self.tracks, watermarks: self.delivered.clone(), metrics };
        self.observer.snapshot(&self.name, self.epoch, state);
        Ok(())
    }

    fn send(&mut self, send: &mut impl FnMut(Way, Time, Chunk)) -> Result<()> {
        let Some(held) = self.held else {
            self.out.ready.clear();
            return Ok(());
        };
        self.out.ready.drain(..).for_each(|chunk| send(Way::Results, held, chunk));
        let Some(shape) = &mut self.late else { return Ok(()) };
        for rows in self.out.take_late() {
            let chunk = Chunk::new(shape(rows)?, self.out.ingest, 0);
            send(Way::Late, held, chunk);
        }
        Ok(())
    }

    /// Raises what is held to the epoch in progress.
    fn raise(&mut self) {
        if let Some(held) = &mut self.held {
            held.epoch = self.epoch;
        }
    }

    /// Raises what is held to what the logic promises.
    fn raise_to_promise(&mut self) {
        let acted = if self.out.eager() { &self.delivered } else { &self.promised };
        let promised = self.logic.output_watermark(acted);
        if let Some(held) = &mut self.held {
            *held = Time::new(self.epoch, promised.max(held.watermark));
        }
    }
}
