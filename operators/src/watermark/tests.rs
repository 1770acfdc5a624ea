//! Watermarks over partitions: idle ones, ones that come back, rows from the future.

use arrow::array::RecordBatch;

use super::*;
use crate::harness::{ints, with_times};

const SECOND: i64 = 1_000_000;

fn watermark(partitions: &[u32], clock: &Arc<EventClock>, skew: Option<i64>, now: i64) -> Watermark {
    let spec = WatermarkSpec {
        column: 0,
        delay: SECOND,
        pace: Pace::Eager,
        partitions: partitions.to_vec(),
        skew,
        now: Box::new(move || now),
    };
    Watermark::new(spec, clock.clone())
}

fn rows(seconds: &[i64]) -> RecordBatch {
    let micros: Vec<Option<i64>> = seconds.iter().map(|second| Some(second.saturating_mul(SECOND))).collect();
    with_times(ints(&[("ts", &micros)]), &[0])
}

fn push(operator: &mut Watermark, partition: u32, seconds: &[i64]) -> i64 {
    let mut out = Output::new(Pace::Eager);
    operator.on_rows(0, Chunk::new(rows(seconds), 1, partition), &mut out).unwrap();
    assert_eq!(out.take().len(), 1, "every row goes on");
    operator.output_watermark(&[]) / SECOND
}

fn rest(operator: &mut Watermark, partition: u32) -> i64 {
    operator.on_rows(0, Chunk::quiet(partition), &mut Output::new(Pace::Eager)).unwrap();
    operator.output_watermark(&[]) / SECOND
}

#[test]
fn t05_an_idle_partition_holds_nothing_back_and_holds_again_when_it_comes_back() {
    let clock = Arc::new(EventClock::new(&[1, 2]));
    let mut operator = watermark(&[1, 2], &clock, None, 0);
    assert_eq!(push(&mut operator, 1, &[50]), NO_WATERMARK / SECOND);
    assert_eq!(push(&mut operator, 2, &[10]), 9);
    assert_eq!(clock.report(SECOND).held_by, Some(2));
    assert_eq!(rest(&mut operator, 2), 49);
    assert_eq!(clock.report(SECOND).idle, [2]);
    assert_eq!(push(&mut operator, 1, &[60]), 59);
    // It comes back with old rows: the driver never lowers what was promised, but waits for it from now on.
    assert_eq!(push(&mut operator, 2, &[20]), 19);
    assert_eq!(push(&mut operator, 1, &[90]), 19);
    assert_eq!(push(&mut operator, 2, &[80]), 79);
}

#[test]
fn t05_when_all_are_idle_the_greatest_counts() {
    let clock = Arc::new(EventClock::new(&[1, 2]));
    let mut operator = watermark(&[1, 2], &clock, None, 0);
    push(&mut operator, 1, &[50]);
    push(&mut operator, 2, &[10]);
    rest(&mut operator, 1);
    assert_eq!(operator.output_watermark(&[]) / SECOND, 9);
    assert_eq!(rest(&mut operator, 2), 49);
}

#[test]
fn t05_a_worker_whose_partitions_are_idle_follows_the_others() {
    let clock = Arc::new(EventClock::new(&[1, 2]));
    let (mut first, mut second) = (watermark(&[1], &clock, None, 0), watermark(&[2], &clock, None, 0));
    assert_eq!(watermark(&[], &clock, None, 0).output_watermark(&[]), i64::MAX);
    push(&mut first, 1, &[50]);
    push(&mut second, 2, &[10]);
    assert_eq!(rest(&mut second, 2), 49);
    push(&mut first, 1, &[70]);
    assert_eq!(second.output_watermark(&[]) / SECOND, 69);
    assert_eq!(push(&mut second, 2, &[30]), 29);
    assert_eq!(clock.reached(SECOND) / SECOND, 29);
}

#[test]
fn t05_a_place_whose_partitions_are_all_idle_follows_the_other_places() {
    let clocks = [Arc::new(EventClock::new(&[1])), Arc::new(EventClock::new(&[2]))];
    EventClock::introduce(&clocks.clone().map(|clock| (clock, SECOND)));
    let (mut busy, mut silent) = (watermark(&[1], &clocks[0], None, 0), watermark(&[2], &clocks[1], None, 0));
    push(&mut busy, 1, &[50]);
    assert_eq!(push(&mut silent, 2, &[10]), 9);
    // By the rows of complete epochs alone.
    assert_eq!(rest(&mut silent, 2), 9);
    for operator in [&mut busy, &mut silent] {
        operator.on_complete(0, &mut Output::new(Pace::Eager)).unwrap();
    }
    push(&mut busy, 1, &[70]);
    assert_eq!((silent.output_watermark(&[]) / SECOND, clocks[1].closed(SECOND) / SECOND), (49, 49));
    assert_eq!(push(&mut silent, 2, &[20]), 19);
    // Nobody is followed who is silent, too.
    rest(&mut silent, 2);
    rest(&mut busy, 1);
    busy.on_complete(1, &mut Output::new(Pace::Eager)).unwrap();
    assert_eq!((busy.output_watermark(&[]) / SECOND, silent.output_watermark(&[]) / SECOND), (69, 19));
}

#[test]
fn rows_of_the_next_epoch_do_not_count_for_the_one_that_closes() {
    let clock = Arc::new(EventClock::new(&[1]));
    let mut operator = watermark(&[1], &clock, None, 0);
    push(&mut operator, 1, &[50]);
    operator.on_complete(0, &mut Output::new(Pace::Eager)).unwrap();
    push(&mut operator, 1, &[70]);
    assert_eq!((clock.closed(SECOND) / SECOND, clock.reached(SECOND) / SECOND), (49, 69));
}

#[test]
fn rows_of_an_epoch_move_nothing_before_the_one_before_it_is_complete_everywhere() {
    let clock = Arc::new(EventClock::new(&[1, 2]));
    clock.hold_after(0);
    let (mut first, mut second) = (watermark(&[1], &clock, None, 0), watermark(&[2], &clock, None, 0));
    push(&mut first, 1, &[50]);
    rest(&mut second, 2);
    for operator in [&mut first, &mut second] {
        operator.on_complete(0, &mut Output::new(Pace::Eager)).unwrap();
    }
    assert_eq!(push(&mut first, 1, &[70]), 49);
    assert_eq!(second.output_watermark(&[]) / SECOND, 49, "a worker that follows the others");
    assert_eq!(rest(&mut first, 1), 49);
    clock.open(1);
    assert_eq!((first.output_watermark(&[]) / SECOND, second.output_watermark(&[]) / SECOND), (69, 69));
}

#[test]
fn t01_rows_from_the_future_move_nothing_and_are_counted() {
    let clock = Arc::new(EventClock::new(&[1]));
    let mut operator = watermark(&[1], &clock, Some(100 * SECOND), 1_000 * SECOND);
    // Neither the clock nor another row makes the year 294247 plausible, not even as the first row.
    assert_eq!(push(&mut operator, 1, &[i64::MAX / SECOND]), NO_WATERMARK / SECOND);
    assert_eq!(push(&mut operator, 1, &[900, 1_050, 253_402_300_799]), 1_049);
    // Ahead of the clock, but not of the others.
    assert_eq!(push(&mut operator, 1, &[1_150]), 1_149);
    let report = clock.report(SECOND);
    assert_eq!((report.ahead, report.first_ahead), (2, Some(i64::MAX / SECOND * SECOND)));
    assert_eq!(clock.take().map(|times| times.max / SECOND), Some(1_150));
}

#[test]
fn t01_old_data_with_gaps_is_not_from_the_future() {
    let clock = Arc::new(EventClock::new(&[1]));
    let mut operator = watermark(&[1], &clock, Some(100 * SECOND), 1_000_000 * SECOND);
    assert_eq!(push(&mut operator, 1, &[5]), 4);
    assert_eq!(push(&mut operator, 1, &[500_000]), 499_999);
    assert_eq!(clock.report(SECOND).ahead, 0);
}

#[test]
fn the_delay_for_99_percent_is_that_of_the_rows() {
    let clock = Arc::new(EventClock::new(&[1]));
    let mut operator = watermark(&[1], &clock, None, 0);
    push(&mut operator, 1, &[1_000]);
    for _ in 0..97 {
        push(&mut operator, 1, &[1_000]);
    }
    assert_eq!(clock.report(SECOND).delay_for_99_percent, Some(0));
    for _ in 0..10 {
        push(&mut operator, 1, &[940]);
    }
    let delay = clock.report(SECOND).delay_for_99_percent.unwrap();
    assert!((60_000..=75_000).contains(&delay), "{delay}");
}

#[test]
fn nulls_and_times_before_1970_are_counted_as_they_are() {
    let clock = Arc::new(EventClock::new(&[1]));
    let mut operator = watermark(&[1], &clock, None, 0);
    let mut out = Output::new(Pace::Eager);
    let nulls = with_times(ints(&[("ts", &[None, Some(-1), None])]), &[0]);
    operator.on_rows(0, Chunk::new(nulls, 1, 1), &mut out).unwrap();
    // One microsecond before 1970 is in the last millisecond before it.
    assert_eq!(operator.output_watermark(&[]), -1_000 - SECOND);
}
