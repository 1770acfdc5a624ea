//! The queries of Nexmark (W7): an auction house of persons, auctions and bids.
//!
//! In: a folder with `person-FORMAT`, `auction-FORMAT` and `bid-FORMAT`, times in milliseconds. Out: one streaming DataFrame per
//! query. Their texts follow the benchmark's published queries with whole numbers in place of its fractions (`price * 908` in place of
//! `0.908 * price`, sum and count in place of an average), so that engines can be compared to the last digit.

use thalweg::Result;
use thalweg::frame::DataFrame;
use thalweg::sinks::OutputMode;

use super::workload::Inputs;

/// One query of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    /// Every bid as it is.
    Pass,
    /// Every bid with its price in another currency.
    Currency,
    /// Bids on some auctions.
    Selection,
    /// Who sells in a category, from some states: a join that keeps all it has seen.
    LocalItems,
    /// Winning prices by category: an aggregation over an aggregation over a join.
    WinningPrices,
    /// The auctions with most bids, in windows of 10 s every 2 s.
    HotItems,
    /// What each seller got for the ten auctions that were won last: an aggregation over an aggregation over a join.
    LastSales,
    /// The highest bids of each 10 s.
    HighestBids,
    /// Who opened an auction in the 10 s in which they registered.
    NewSellers,
}

impl Query {
    /// All, in the order of the benchmark.
    pub(super) const ALL: [Query; 9] = [
        Query::Pass,
        Query::Currency,
        Query::Selection,
        Query::LocalItems,
        Query::WinningPrices,
        Query::HotItems,
        Query::LastSales,
        Query::HighestBids,
        Query::NewSellers,
    ];

    /// The benchmark's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Query::Pass => "q0",
            Query::Currency => "q1",
            Query::Selection => "q2",
            Query::LocalItems => "q3",
            Query::WinningPrices => "q4",
            Query::HotItems => "q5",
            Query::LastSales => "q6",
            Query::HighestBids => "q7",
            Query::NewSellers => "q8",
        }
    }

    /// The query of a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Query::ALL.into_iter().find(|query| query.name() == name)
    }

    /// The mode its result is written in.
    pub(super) fn mode(self) -> OutputMode {
        match self {
            Query::WinningPrices | Query::LastSales => OutputMode::Complete,
            _ => OutputMode::Append,
        }
    }

    /// The tables that it reads.
    pub(super) fn tables(self) -> &'static [Table] {
        match self {
            Query::LocalItems | Query::NewSellers => &[Table::Person, Table::Auction],
            Query::WinningPrices | Query::LastSales => &[Table::Auction, Table::Bid],
            _ => &[Table::Bid],
        }
    }

    /// The query over its inputs.
    ///
    /// # Errors
    /// If an input is missing.
    pub(super) fn frame(self, inputs: &Inputs<'_>) -> Result<DataFrame> {
        for table in self.tables() {
            let rows = match self {
                // They have event time: `et`.
                Query::HotItems | Query::HighestBids | Query::NewSellers => table.timed(inputs)?,
                _ => table.read(inputs)?,
            };
            rows.create_or_replace_temp_view(table.name())?;
        }
        inputs.session.sql(self.text())
    }

    fn text(self) -> &'static str {
        match self {
            Query::Pass => "SELECT auction, bidder, price, date_time, extra FROM bid",
            Query::Currency => "SELECT auction, bidder, price * 908 AS price_milli, date_time, extra FROM bid",
            Query::Selection => "SELECT auction, price FROM bid WHERE auction % 123 = 0",
            Query::LocalItems => LOCAL_ITEMS,
            Query::WinningPrices => WINNING_PRICES,
            Query::HotItems => HOT_ITEMS,
            Query::LastSales => LAST_SALES,
            Query::HighestBids => HIGHEST_BIDS,
            Query::NewSellers => NEW_SELLERS,
        }
    }
}

const LOCAL_ITEMS: &str = "
SELECT p.name, p.city, p.state, a.id
FROM auction a JOIN person p ON a.seller = p.id
WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')";

const WINNING_PRICES: &str = "
SELECT category, sum(final) AS s, count(*) AS n
FROM (
    SELECT a.id, a.category, max(b.price) AS final
    FROM auction a JOIN bid b ON a.id = b.auction
    WHERE b.date_time BETWEEN a.date_time AND a.expires
    GROUP BY a.id, a.category)
GROUP BY category";

const HOT_ITEMS: &str = "
WITH counts AS (
    SELECT window, auction, count(*) AS num
    FROM bid GROUP BY window(et, '10 seconds', '2 seconds'), auction),
tops AS (
    SELECT window, max(num) AS most, collect_list(struct(auction, num)) AS all
    FROM counts GROUP BY window)
SELECT hot.auction, hot.num, unix_millis(window.start) AS ws
FROM (SELECT window, explode(filter(all, item -> item.num = most)) AS hot FROM tops)";

/// The published query shows a row for each auction; here is the last of each seller's, as the sum and the count of its ten. Of equal prices
/// the latest bid wins.
const LAST_SALES: &str = "
WITH won AS (
    SELECT a.id, a.seller, max(struct(b.price, b.date_time)) AS best
    FROM auction a JOIN bid b ON a.id = b.auction
    WHERE b.date_time BETWEEN a.date_time AND a.expires
    GROUP BY a.id, a.seller),
sales AS (
    SELECT seller, slice(sort_array(collect_list(struct(best.date_time, id, best.price)), false), 1, 10) AS last
    FROM won GROUP BY seller)
SELECT seller, aggregate(last, 0L, (sum, sale) -> sum + sale.price) AS s, size(last) AS n FROM sales";

const HIGHEST_BIDS: &str = "
WITH bids AS (SELECT auction, price, bidder, date_time, window(et, '10 seconds') AS own FROM bid),
tops AS (SELECT window, max(price) AS most FROM bid GROUP BY window(et, '10 seconds'))
SELECT auction, price, bidder, date_time
FROM bids JOIN tops ON own = window AND price = most";

const NEW_SELLERS: &str = "
WITH persons AS (SELECT window AS pw, id, name, count(*) FROM person GROUP BY window(et, '10 seconds'), id, name),
sellers AS (SELECT window AS aw, seller, count(*) FROM auction GROUP BY window(et, '10 seconds'), seller)
SELECT id, name, unix_millis(pw.start) AS window_start
FROM persons JOIN sellers ON id = seller AND pw = aw";

/// A table of the auction house.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// Who registers.
    Person,
    /// What is on sale.
    Auction,
    /// Who offers what.
    Bid,
}

impl Table {
    /// All, in the order in which events of one round come.
    pub(super) const ALL: [Table; 3] = [Table::Person, Table::Auction, Table::Bid];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Person => "person",
            Table::Auction => "auction",
            Table::Bid => "bid",
        }
    }

    /// Of every 50 events, how many are its.
    pub(super) fn share(self) -> u64 {
        match self {
            Table::Person => 1,
            Table::Auction => 3,
            Table::Bid => 46,
        }
    }

    /// Its columns, in the order in which files have them.
    pub(super) fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Person => &["id", "name", "email", "credit_card", "city", "state", "date_time", "extra"],
            Table::Auction => &[
                "id",
                "item_name",
                "description",
                "initial_bid",
                "reserve",
                "date_time",
                "expires",
                "seller",
                "category",
                "extra",
            ],
            Table::Bid => &["auction", "bidder", "price", "channel", "url", "date_time", "extra"],
        }
    }

    /// Its schema as Spark writes one.
    fn schema(self) -> String {
        let texts =
            ["name", "email", "credit_card", "city", "state", "item_name", "description", "channel", "url", "extra"];
        let typed = |name: &&str| format!("{name} {}", if texts.contains(name) { "STRING" } else { "BIGINT" });
        self.columns().iter().map(typed).collect::<Vec<_>>().join(", ")
    }

    fn read(self, inputs: &Inputs<'_>) -> Result<DataFrame> {
        inputs.read(&format!("{}-{}", self.name(), inputs.format), &self.schema())
    }

    fn timed(self, inputs: &Inputs<'_>) -> Result<DataFrame> {
        self.read(inputs)?.select_expr(["timestamp_millis(date_time) AS et", "*"])?.with_watermark("et", "0 seconds")
    }
}
