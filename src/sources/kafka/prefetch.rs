//! How much a source fetches ahead of its readers.
//!
//! In: how many partitions it reads. Out: the client's bounds for one of them. The client keeps them for each partition that has a
//! queue of its own; here they come from one amount for all partitions together. What the user sets holds as it is.

use rdkafka::config::ClientConfig;

/// Keys and values of all partitions together.
const ALL_KIB: usize = 128 << 10;
/// Records of all partitions together: each costs memory beside its bytes.
const ALL_RECORDS: usize = 800_000;
/// Readers of so many partitions leave the bounds as they are for one.
const FEW: usize = 8;
/// What a partition gets however many there are: less would make fetches too small.
const LEAST_KIB: usize = 64;
const LEAST_RECORDS: usize = 1_000;
/// What the client asks a broker for, of one partition at a time, if nobody says otherwise.
const FETCH_KIB: usize = 1 << 10;

/// The bounds of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefetch {
    /// Keys and values, in KiB.
    pub kib: usize,
    records: usize,
}

impl Prefetch {
    /// The share of each of so many partitions.
    pub(super) fn of(partitions: usize) -> Prefetch {
        let parts = partitions.max(FEW);
        Prefetch { kib: (ALL_KIB / parts).max(LEAST_KIB), records: (ALL_RECORDS / parts).max(LEAST_RECORDS) }
    }

    /// `config` with these bounds, where it has none. A fetch is no larger than the bound, for it is taken whole.
    pub(super) fn set(self, mut config: ClientConfig) -> ClientConfig {
        let fetch = (self.kib.min(FETCH_KIB) << 10).to_string();
        let bounds = [
            (["queued.max.messages.kbytes"; 2], self.kib.to_string()),
            (["queued.min.messages"; 2], self.records.to_string()),
            (["max.partition.fetch.bytes", "fetch.message.max.bytes"], fetch),
        ];
        for (names, bound) in bounds {
            if names.iter().all(|name| config.get(name).is_none()) {
                config.set(names[0], bound);
            }
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_partitions_share_one_amount() {
        assert_eq!(Prefetch::of(1), Prefetch { kib: 16 << 10, records: 100_000 });
        assert_eq!(Prefetch::of(8), Prefetch::of(1));
        assert_eq!(Prefetch::of(64), Prefetch { kib: 2 << 10, records: 12_500 });
        for partitions in [9, 100, 800] {
            assert!(Prefetch::of(partitions).kib * partitions <= ALL_KIB, "{partitions}");
            assert!(Prefetch::of(partitions).records * partitions <= ALL_RECORDS, "{partitions}");
        }
        assert_eq!(Prefetch::of(100_000), Prefetch { kib: LEAST_KIB, records: LEAST_RECORDS });
    }

    #[test]
    fn what_the_user_sets_holds() {
        let mut given = ClientConfig::new();
        given.set("queued.max.messages.kbytes", "7").set("fetch.message.max.bytes", "9");
        let config = Prefetch::of(1000).set(given);
        assert_eq!(config.get("queued.max.messages.kbytes"), Some("7"));
        assert_eq!(config.get("max.partition.fetch.bytes"), None);
        assert_eq!(config.get("queued.min.messages"), Some("1000"));
        assert_eq!(Prefetch::of(1000).set(ClientConfig::new()).get("max.partition.fetch.bytes"), Some("134144"));
    }
}
