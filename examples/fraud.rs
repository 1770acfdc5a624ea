//! Lesson: state of your own. Which cards see a payment of less than 1.00 and, within a minute, one of more than 500.00?
//!
//! It teaches arbitrary state with timers: a processor is called for each card with its payments, keeps what it likes between
//! calls, and asks to be called when time has passed. Here it remembers the last small payment of a card, and a timer in event
//! time forgets it after a minute, so that state stays small: `numRowsTotal` below is the number of cards that are remembered.
//! The file format of state, restarts and several workers are the engine's affair.
//!
//! ```text
//! cargo run --example fraud              examples/data/payments, all that is there
//! ```

use serde::{Deserialize, Serialize};
use thalweg::prelude::*;
use thalweg::stateful::*;

const SMALL: i64 = 100;
const LARGE: i64 = 50_000;
const MINUTE: i64 = 60_000;

/// A payment; `time` is a TIMESTAMP, microseconds since 1970.
#[derive(Deserialize)]
struct Payment {
    time: i64,
    cents: i64,
}

/// The last small payment of a card: milliseconds since 1970, and how small.
#[derive(Serialize, Deserialize)]
struct Small {
    time: i64,
    cents: i64,
}

#[derive(Serialize, Deserialize)]
struct Alert {
    card: String,
    small_cents: i64,
    large_cents: i64,
    seconds_between: i64,
}

#[derive(Clone, Default)]
struct Fraud {
    small: ValueState<Small>,
}

impl Fraud {
    fn payment(&self, card: &str, payment: &Payment, context: &mut Context<'_>) -> Result<Option<Alert>> {
        let time = payment.time / 1000;
        if payment.cents < SMALL {
            self.small.update(context, &Small { time, cents: payment.cents })?;
            context.register_timer(time + MINUTE)?;
            return Ok(None);
        }
        let Some(small) = self.small.get(context)? else { return Ok(None) };
        let suspicious = payment.cents > LARGE && time - small.time <= MINUTE;
        Ok(suspicious.then(|| Alert {
            card: card.to_owned(),
            small_cents: small.cents,
            large_cents: payment.cents,
            seconds_between: (time - small.time) / 1000,
        }))
    }
}

impl StatefulProcessor for Fraud {
    type Key = String;
    type Input = Payment;
    type Output = Alert;

    fn init(&mut self, handle: &mut StateHandle) -> Result<()> {
        self.small = handle.value_state("small", TtlConfig::NONE)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        card: &String,
        payments: Rows<'_, Payment>,
        context: &mut Context<'_>,
        alerts: &mut Collector<Alert>,
    ) -> Result<()> {
        let mut payments: Vec<Payment> = payments.collect();
        payments.sort_by_key(|payment| payment.time);
        for payment in payments {
            alerts.extend(self.payment(card, &payment, context)?);
        }
        Ok(())
    }

    /// A minute has passed since a small payment; a later one keeps its own timer.
    fn handle_expired_timer(
        &mut self,
        _: &String,
        at: i64,
        context: &mut Context<'_>,
        _: &mut Collector<Alert>,
    ) -> Result<()> {
        match self.small.get(context)? {
            Some(small) if small.time + MINUTE <= at => self.small.clear(context),
            _ => Ok(()),
        }
    }
}

fn main() -> Result<()> {
    let session = Session::builder().app_name("fraud").config("spark.sql.session.timeZone", "UTC").get_or_create();
    let payments = session.read_stream().schema("card STRING, time TIMESTAMP, cents BIGINT");
    let payments = payments.option("maxFilesPerTrigger", 1).json("examples/data/payments")?;
    let alerts = payments.with_watermark("time", "10 seconds")?.group_by(["card"]).transform_with_state(
        Fraud::default(),
        TimeMode::EventTime,
        "append",
    )?;
    let query = alerts.write_stream().format("console").trigger(Trigger::AvailableNow).start()?;
    query.await_termination()?;
    for state in query.last_progress().into_iter().flat_map(|progress| progress.state_operators) {
        println!("{}: numRowsTotal={}", state.operator_name, state.num_rows_total);
    }
    Ok(())
}
