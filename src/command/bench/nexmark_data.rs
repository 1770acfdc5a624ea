//! The events of Nexmark, from a seed: of every 50 a person, three auctions and 46 bids, 10,000 a second of event time.
//!
//! In: how many events. Out: files in `person-FORMAT`, `auction-FORMAT` and `bid-FORMAT`, in order of event time. Three auctions of
//! four are the newest hot seller's, one bid of two goes to the hot auction, three of four come from the hot bidder; the
//! rest is spread over the last 100 auctions and the last 1,000 persons. Prices are about `100 + 2^k`.

use std::path::Path;

use thalweg::Result;

use super::data::{BASE, Format, Random, Set};
use super::nexmark::Table;

const ACTIVE_PERSONS: u64 = 1000;
const OPEN_AUCTIONS: u64 = 100;
/// Numbers begin here.
const FIRST: u64 = 1000;
const FIRST_NAMES: [&str; 8] = ["Ines", "Jon", "Kaya", "Lea", "Mats", "Nils", "Olga", "Pia"];
const LAST_NAMES: [&str; 6] = ["Arp", "Brandt", "Cole", "Dahl", "Engel", "Frey"];
const CITIES: [&str; 8] = ["Boise", "Phoenix", "Portland", "Seattle", "Kent", "Bend", "Los Angeles", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CHANNELS: [&str; 4] = ["apple", "baidu", "facebook", "google"];

/// Writes `events` events of the three tables.
///
/// # Errors
/// If the files can't be written.
pub(super) fn write(folder: &Path, events: u64, format: Format) -> Result<()> {
    let open = |table: Table| {
        let records = events * table.share() / 50;
        Set::of(&folder.join(format!("{}-{}", table.name(), format.name())), records, format)
    };
    let mut sets = Table::ALL.map(open).into_iter().collect::<Result<Vec<_>>>()?;
    let mut random = Random::new(1007);
    let mut written = [0; 3];
    for number in 0..events {
        let event = Event { round: number / 50, place: number % 50, time: BASE + number / 10 };
        let (table, values) = event.record(&mut random);
        let at = table as usize;
        sets[at].record(written[at], table.columns(), &values)?;
        written[at] += 1;
    }
    sets.into_iter().try_for_each(Set::finish)
}

/// The place of an event in time and in its round of 50.
struct Event {
    round: u64,
    place: u64,
    time: u64,
}

impl Event {
    fn record(&self, random: &mut Random) -> (Table, Vec<String>) {
        match self.place {
            0 => (Table::Person, self.person(random)),
            1..=3 => (Table::Auction, self.auction(random)),
            _ => (Table::Bid, self.bid(random)),
        }
    }

    fn person(&self, random: &mut Random) -> Vec<String> {
        let (first, last) = (pick(&FIRST_NAMES, random), pick(&LAST_NAMES, random));
        let card: Vec<String> = (0..4).map(|_| format!("{:04}", random.below(10_000))).collect();
        vec![
            (FIRST + self.round).to_string(),
            format!("{first} {last}"),
            format!("{first}.{last}@mail.example"),
            card.join(" "),
            pick(&CITIES, random).to_owned(),
            pick(&STATES, random).to_owned(),
            self.time.to_string(),
            extra(random),
        ]
    }

    fn auction(&self, random: &mut Random) -> Vec<String> {
        let initial = 100 + random.below(10_000);
        let item = random.next();
        vec![
            (FIRST + self.round * 3 + self.place - 1).to_string(),
            format!("item-{:08x}", item >> 32),
            format!("lot {item:016x} of the estate"),
            initial.to_string(),
            (initial + random.below(100_000)).to_string(),
            self.time.to_string(),
            (self.time + 1000 + random.below(20_000)).to_string(),
            self.actor(4, 4, random).to_string(),
            (10 + random.below(5)).to_string(),
            extra(random),
        ]
    }

    fn bid(&self, random: &mut Random) -> Vec<String> {
        let octave = random.below(20);
        let (channel, url) = channel(random);
        vec![
            self.lot(random).to_string(),
            self.actor(4, 100, random).to_string(),
            (100 + (1 << octave) + random.below(1 << octave)).to_string(),
            channel,
            url,
            self.time.to_string(),
            extra(random),
        ]
    }

    /// A person: but once in `odds`, the hot one, which changes every `span` persons.
    fn actor(&self, odds: u64, span: u64, random: &mut Random) -> u64 {
        FIRST
            + if random.below(odds) != 0 {
                self.round / span * span
            } else {
                recent(self.round, ACTIVE_PERSONS, random)
            }
    }

    /// An auction: every other time the hot one.
    fn lot(&self, random: &mut Random) -> u64 {
        let newest = self.round * 3 + 2;
        FIRST + if random.below(2) != 0 { newest / 100 * 100 } else { recent(newest, OPEN_AUCTIONS, random) }
    }
}

fn recent(newest: u64, count: u64, random: &mut Random) -> u64 {
    let oldest = newest.saturating_sub(count);
    oldest + random.below(newest - oldest + 1)
}

fn pick<'a>(words: &[&'a str], random: &mut Random) -> &'a str {
    words[random.below(words.len() as u64) as usize]
}

fn extra(random: &mut Random) -> String {
    format!("x{:016x}", random.next())
}

fn channel(random: &mut Random) -> (String, String) {
    if random.below(2) != 0 {
        let name = pick(&CHANNELS, random);
        return (name.to_owned(), format!("https://auction.example/{name}/item.htm?query=1"));
    }
    let number = random.below(10_000);
    let url = format!("https://auction.example/other/{:06x}/item.htm?query=1&channel_id={number}", number * 7919);
    (format!("channel-{number}"), url)
}
