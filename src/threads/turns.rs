//! Threads that take turns: one runs, the others wait for theirs; who is next is drawn from a seed. For tests.
//!
//! ```text
//!  begin(seed) ─► this thread has place 0 and the turn; threads it starts get places in the order in which it starts them
//!  a thread waits ─► it asks whether what it waits for is there whenever it is its turn; one that has asked in vain is not asked
//!                    again before another thread has done something
//!  all have asked in vain ─► time passes: the wait that ends first has ended
//! ```
//!
//! In: a seed. Out: a [`Trace`]. What always holds: two plays from one seed take the same turns, if the threads do nothing else
//! that depends on chance; time that passes here costs none.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What became of the turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    /// How many there were.
    pub turns: u64,
    /// A hash of who had them, in order.
    pub hash: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Has something to do, or has not begun.
    Ready,
    /// Waits; has asked in vain when so much had been done, and waits until then at most.
    Waits { done: u64, until: Option<u64> },
    /// Its wait has ended by time.
    Late,
    /// Will not run again.
    Left,
}

struct Member {
    name: String,
    state: State,
    turn: Arc<Condvar>,
}

struct Table {
    random: u64,
    members: Vec<Member>,
    /// Whose turn it is.
    turn: usize,
    /// Grows whenever a thread has done something.
    done: u64,
    /// Nanoseconds that have passed.
    now: u64,
    trace: Trace,
    /// Nobody takes turns any more: all threads go on at once.
    over: bool,
}

/// The threads that take turns with each other.
struct Turns(Mutex<Table>);

thread_local! {
    static PLACE: RefCell<Option<(Arc<Turns>, usize)>> = const { RefCell::new(None) };
}

fn place() -> Option<(Arc<Turns>, usize)> {
    PLACE.with_borrow(Clone::clone)
}

fn hash(values: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    hasher.finish()
}

fn nanos(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)
}

/// The thread that began.
pub(crate) struct Game(Arc<Turns>);

/// This thread takes turns with those that it starts, until the result is dropped.
pub(crate) fn begin(seed: u64) -> Game {
    let trace = Trace { turns: 0, hash: 0 };
    let table = Table { random: hash(seed), members: Vec::new(), turn: 0, done: 0, now: 0, trace, over: false };
    let turns = Arc::new(Turns(Mutex::new(table)));
    turns.join("who began");
    PLACE.set(Some((turns.clone(), 0)));
    Game(turns)
}

impl Game {
    /// Waits until all other threads have left.
    pub(crate) fn end(self) -> Trace {
        let left = |table: &Table| table.members.iter().skip(1).all(|member| member.state == State::Left);
        poll(None, || left(&self.0.lock()).then_some(()));
        self.0.lock().trace
    }
}

impl Drop for Game {
    fn drop(&mut self) {
        PLACE.set(None);
        self.0.lock().give_up();
    }
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, name: &str) -> usize {
        let mut table = self.lock();
        table.members.push(Member { name: name.to_owned(), state: State::Ready, turn: Arc::default() });
        table.members.len() - 1
    }

    /// Lets others have their turns; back with its own, and whether its wait has ended by time. `None`: there are no turns any more.
    fn hand_over(&self, me: usize, state: impl FnOnce(&mut Table) -> State) -> Option<bool> {
        let mut table = self.lock();
        let state = state(&mut table);
        table.members[me].state = state;
        table.next();
        self.wait_for_turn(table, me)
    }

    fn wait_for_turn(&self, mut table: MutexGuard<'_, Table>, me: usize) -> Option<bool> {
        let mine = table.members[me].turn.clone();
        while table.turn != me && !table.over {
            table = mine.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        if table.over {
            return None;
        }
        let late = table.members[me].state == State::Late;
        table.members[me].state = State::Ready;
        Some(late)
    }

    fn leave(&self, me: usize) {
        let mut table = self.lock();
        table.members[me].state = State::Left;
        table.done += 1;
        table.next();
    }
}

impl Table {
    fn draw(&mut self, bound: usize) -> usize {
        self.random = hash(self.random);
        self.random as usize % bound
    }

    /// Draws who is next.
    fn next(&mut self) {
        if self.over {
            return;
        }
        let can_go = |state: State| match state {
            State::Ready | State::Late => true,
            State::Waits { done, .. } => done < self.done,
            State::Left => false,
        };
        let mut able: Vec<usize> = (0..self.members.len()).filter(|one| can_go(self.members[*one].state)).collect();
        if able.is_empty() {
            able = self.pass_time();
        }
        match able.len() {
            0 => self.give_up(),
            count => {
                self.turn = able[self.draw(count)];
                self.trace.turns += 1;
                self.trace.hash = hash((self.trace.hash, self.turn));
                self.members[self.turn].turn.notify_one();
            }
        }
    }

    /// All wait for something: those whose wait ends first.
    fn pass_time(&mut self) -> Vec<usize> {
        let until = |member: &Member| match member.state {
            State::Waits { until, .. } => until,
            _ => None,
        };
        let Some(first) = self.members.iter().filter_map(until).min() else { return Vec::new() };
        self.now = self.now.max(first);
        let ended: Vec<usize> = (0..self.members.len()).filter(|n| until(&self.members[*n]) == Some(first)).collect();
        ended.iter().for_each(|n| self.members[*n].state = State::Late);
        ended
    }

    /// All threads go on at once: whoever began is gone, or all wait for each other.
    fn give_up(&mut self) {
        let waiting: Vec<&str> =
            self.members.iter().filter(|one| one.state != State::Left).map(|one| one.name.as_str()).collect();
        if !self.over && waiting.len() > 1 {
            eprintln!("turns are given up among {waiting:?}");
        }
        self.over = true;
        self.members.iter().for_each(|member| member.turn.notify_all());
    }
}

/// A place among the threads that take turns; none where nobody does.
#[derive(Clone)]
pub(super) struct Seat(Option<(Arc<Turns>, usize)>);

/// Leaves the turns to others when it is dropped.
pub(super) struct Turn(Option<(Arc<Turns>, usize)>);

impl Seat {
    pub(super) fn reserve(name: &str) -> Self {
        Seat(place().map(|(turns, _)| {
            let place = turns.join(name);
            (turns, place)
        }))
    }

    pub(super) fn enter(&self) -> Turn {
        if let Some((turns, me)) = &self.0 {
            PLACE.set(Some((turns.clone(), *me)));
            turns.wait_for_turn(turns.lock(), *me);
        }
        Turn(self.0.clone())
    }

    pub(super) fn wait_until_left(&self) {
        if let Some((turns, who)) = &self.0 {
            poll(None, || (turns.lock().members[*who].state == State::Left).then_some(()));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some((turns, me)) = self.0.take() {
            PLACE.set(None);
            turns.leave(me);
        }
    }
}

/// Waits in turns until `ready` gives something, or for so long; `None` on a thread that takes no turns.
pub(super) fn poll<R>(limit: Option<Duration>, mut ready: impl FnMut() -> Option<R>) -> Option<Option<R>> {
    let (turns, me) = place()?;
    if let Some(found) = ready() {
        return Some(Some(found));
    }
    // Whatever it did before this wait counts as done, once.
    let begun = {
        let mut table = turns.lock();
        table.done += 1;
        table.now
    };
    let until = limit.map(|limit| begun.saturating_add(nanos(limit)));
    loop {
        let late = turns.hand_over(me, |table| State::Waits { done: table.done, until })?;
        match ready() {
            None if !late => {}
            found => return Some(found),
        }
    }
}

/// Whether this thread takes turns.
pub(crate) fn in_turns() -> bool {
    PLACE.with_borrow(Option::is_some)
}

/// A moment at which another thread may get its turn: this one has done something and has more to do.
pub(crate) fn chance() {
    if let Some((turns, me)) = place() {
        turns.hand_over(me, |table| {
            table.done += 1;
            State::Ready
        });
    }
}

/// This thread has found nothing to do since its last turn.
pub(crate) fn idle() {
    if let Some((turns, me)) = place() {
        turns.hand_over(me, |table| State::Waits { done: table.done, until: None });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{receive, rest, spawn};
    use super::*;

    /// Three threads that send numbers to a fourth; what it got, in order.
    fn race(seed: u64) -> (Vec<u64>, Trace) {
        let game = begin(seed);
        let (sender, receiver) = crossbeam_channel::unbounded();
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let sender = sender.clone();
                let body = move || {
                    for n in 0..5 {
                        sender.send(thread * 10 + n).unwrap();
                        chance();
                    }
                };
                spawn("sender", body).unwrap()
            })
            .collect();
        drop(sender);
        let got = std::iter::from_fn(|| receive(&receiver, None).ok()).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        (got, game.end())
    }

    #[test]
    fn a_seed_gives_the_same_order_again_and_others_give_others() {
        let all: Vec<_> = (0..20).map(race).collect();
        assert_eq!(all, (0..20).map(race).collect::<Vec<_>>());
        let different: std::collections::BTreeSet<&Vec<u64>> = all.iter().map(|(got, _)| got).collect();
        assert!(different.len() > 10, "{different:?}");
    }

    #[test]
    fn time_passes_when_all_wait_and_the_first_wait_ends_first() {
        let game = begin(1);
        let order = Arc::new(Mutex::new(Vec::new()));
        let threads = [3000, 1000, 2000].map(|seconds| {
            let order = order.clone();
            let body = move || {
                rest(Duration::from_secs(seconds));
                order.lock().unwrap().push(seconds);
            };
            spawn("sleeper", body).unwrap()
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*order.lock().unwrap(), [1000, 2000, 3000]);
        game.end();
    }

    #[test]
    fn time_passes_beside_one_who_waits_for_ever() {
        let game = begin(1);
        let (sender, receiver) = crossbeam_channel::unbounded::<u64>();
        let waiting = spawn("waiting", move || receive(&receiver, None).is_err()).unwrap();
        rest(Duration::from_secs(3600));
        drop(sender);
        assert!(waiting.join().unwrap());
        game.end();
    }
}
