//! Inputs of the benches: made from a seed with integer arithmetic only, so the same bytes everywhere.
//!
//! In: how many records. Out: files in a folder, in order of event time, records a little behind as real ones are. Times are
//! milliseconds from 2025-03-01 00:00 UTC.

use std::fs::{File, create_dir_all};
use std::io::{BufWriter, Write};
use std::path::Path;

use thalweg::Result;

/// When event time begins.
pub(super) const BASE: u64 = 1_740_787_200_000;
/// Files of a set.
const FILES: u64 = 8;
/// Different words.
const VOCABULARY: u64 = 32_767;

/// Splitmix64.
pub(super) struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    pub(super) fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0..end.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line.
    Json,
    /// Comma-separated, no header.
    Csv,
}

impl Format {
    /// The format's name, which is also how its files end.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Csv => "csv",
        }
    }
}

/// A folder that is written file after file.
pub(super) struct Set {
    files: Vec<BufWriter<File>>,
    per_file: u64,
    format: Format,
}

impl Set {
    fn new(folder: &Path, ending: &str, records: u64, format: Format) -> Result<Self> {
        create_dir_all(folder)?;
        let open = |number: u64| {
            let file = File::create(folder.join(format!("part-{number:03}.{ending}")))?;
            Ok(BufWriter::with_capacity(1 << 18, file))
        };
        let files = (0..FILES).map(open).collect::<Result<_>>()?;
        Ok(Set { files, per_file: records.div_ceil(FILES).max(1), format })
    }

    /// As many records as said, in files of the format.
    pub(super) fn of(folder: &Path, records: u64, format: Format) -> Result<Self> {
        Self::new(folder, format.name(), records, format)
    }

    /// The file of the record of this number.
    fn file(&mut self, number: u64) -> &mut BufWriter<File> {
        let last = self.files.len() - 1;
        &mut self.files[((number / self.per_file) as usize).min(last)]
    }

    /// Writes a record of whole numbers and words.
    pub(super) fn record(&mut self, number: u64, names: &[&str], values: &[String]) -> Result<()> {
        let format = self.format;
        let file = self.file(number);
        match format {
            Format::Csv => writeln!(file, "{}", values.join(","))?,
            Format::Json => {
                let quoted = |value: &String| match value.bytes().all(|byte| byte.is_ascii_digit()) {
                    true => value.clone(),
                    false => format!("\"{value}\""),
                };
                let fields: Vec<_> =
                    names.iter().zip(values).map(|(name, value)| format!("\"{name}\":{}", quoted(value))).collect();
                writeln!(file, "{{{}}}", fields.join(","))?;
            }
        }
        Ok(())
    }

    /// Writes what is left.
    pub(super) fn finish(self) -> Result<()> {
        self.files.into_iter().try_for_each(|mut file| Ok(file.flush()?))
    }
}

fn word(rank: u64) -> String {
    let mut letters = Random::new(rank ^ 0x57);
    let letter = |number: u64| char::from(b'a' + (number % 26) as u8);
    let mut text: String = (0..2).map(|_| letter(letters.below(26))).collect();
    let mut rest = rank + 1;
    while rest > 0 {
        text.push(letter(rest));
        rest /= 26;
    }
    text
}

/// Lines of 4 to 16 words by a Zipf-like law, one word in eight with a capital, until there are `words` of them. Gives the
/// number of words written.
pub(super) fn words(folder: &Path, words: u64) -> Result<u64> {
    let vocabulary: Vec<String> = (0..VOCABULARY).map(word).collect();
    let mut random = Random::new(1001);
    let mut set = Set::new(folder, "txt", words, Format::Csv)?;
    let (mut written, mut line) = (0, String::new());
    while written < words {
        line.clear();
        let count = (4 + random.below(13)).min(words - written);
        (0..count).for_each(|_| push_word(&mut line, &vocabulary, &mut random));
        writeln!(set.file(written), "{line}")?;
        written += count;
    }
    set.finish()?;
    Ok(written)
}

fn push_word(line: &mut String, vocabulary: &[String], random: &mut Random) {
    if !line.is_empty() {
        line.push(' ');
    }
    let octave = random.below(15);
    let rank = (1 << octave) - 1 + random.below(1 << octave);
    let start = line.len();
    line.push_str(&vocabulary[rank as usize]);
    if random.below(8) == 0 {
        line[start..=start].make_ascii_uppercase();
    }
}

/// `(ts, key, val)`: 10,000 a second of event time, up to 4 s behind.
pub(super) fn keyed(folder: &Path, records: u64, keys: u64, format: Format) -> Result<u64> {
    let mut random = Random::new(1003);
    let mut set = Set::of(folder, records, format)?;
    for number in 0..records {
        let key = random.below(keys);
        let ts = BASE + 4000 + number / 10 - random.below(4000);
        let values = [ts.to_string(), key.to_string(), random.below(1000).to_string()];
        set.record(number, &["ts", "key", "val"], &values)?;
    }
    set.finish()?;
    Ok(records)
}

/// `(ts, device, temp)`: 1,000 devices, 500 readings a second of event time.
pub(super) fn readings(folder: &Path, records: u64, format: Format) -> Result<u64> {
    let mut random = Random::new(1004);
    let mut set = Set::of(folder, records, format)?;
    for number in 0..records {
        let device = format!("dev-{:04}", random.below(1000));
        let ts = BASE + 4000 + number * 2 - random.below(4000);
        let values = [ts.to_string(), device, (1500 + random.below(2500)).to_string()];
        set.record(number, &["ts", "device", "temp"], &values)?;
    }
    set.finish()?;
    Ok(records)
}

/// `(ts, id)`: one record in five repeats one of the last 16,000 new ids.
pub(super) fn repeated(folder: &Path, records: u64, format: Format) -> Result<u64> {
    let mut random = Random::new(1005);
    let mut set = Set::of(folder, records, format)?;
    let (mut recent, mut fresh) = (Vec::new(), 0_usize);
    for number in 0..records {
        let ts = BASE + 1000 + number / 10 - random.below(1000);
        let id = match random.below(5) == 0 && !recent.is_empty() {
            true => recent[random.below(recent.len() as u64) as usize],
            false => remember(&mut recent, &mut fresh, random.next() >> 16),
        };
        set.record(number, &["ts", "id"], &[ts.to_string(), id.to_string()])?;
    }
    set.finish()?;
    Ok(records)
}

fn remember(recent: &mut Vec<u64>, fresh: &mut usize, id: u64) -> u64 {
    match recent.len() < 16_000 {
        true => recent.push(id),
        false => recent[*fresh % 16_000] = id,
    }
    *fresh += 1;
    id
}

/// Impressions `(ts, imp_id, ad_id)` in `imp-FORMAT`, 10,000 a second, and clicks `(ts, click_id, imp_id)` on three of ten in
/// `clk-FORMAT`, 0.1 to 12 s later. Gives the number of both.
pub(super) fn clicks(folder: &Path, impressions: u64, format: Format) -> Result<u64> {
    let mut random = Random::new(1006);
    let mut set = Set::of(&folder.join(format!("imp-{}", format.name())), impressions, format)?;
    let mut clicks = Vec::new();
    for number in 0..impressions {
        let ts = BASE + 1000 + number / 10 - random.below(1000);
        let values = [ts.to_string(), number.to_string(), random.below(500).to_string()];
        set.record(number, &["ts", "imp_id", "ad_id"], &values)?;
        if random.below(10) < 3 {
            clicks.push((ts + 100 + random.below(11_900), number));
        }
    }
    set.finish()?;
    clicks.sort_unstable();
    let count = clicks.len() as u64;
    let mut set = Set::of(&folder.join(format!("clk-{}", format.name())), count, format)?;
    for (number, (ts, impression)) in (0..count).zip(clicks) {
        let values = [ts.to_string(), number.to_string(), impression.to_string()];
        set.record(number, &["ts", "click_id", "imp_id"], &values)?;
    }
    set.finish()?;
    Ok(impressions + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_come_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        assert_eq!((words(&one, 1000).unwrap(), words(&two, 1000).unwrap()), (1000, 1000));
        let read = |folder: &Path| std::fs::read_to_string(folder.join("part-003.txt")).unwrap();
        assert!(!read(&one).is_empty());
        assert_eq!(read(&one), read(&two));
    }
}
