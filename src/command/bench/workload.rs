//! The queries of the benches: what runs over the inputs of [`super::data`] and of the comparison with other engines.
//!
//! In: a folder of inputs and their format. Out: a streaming DataFrame with the columns, in the order, that the comparison
//! checks.

use std::path::Path;

use thalweg::Result;
use thalweg::frame::DataFrame;
use thalweg::session::Session;
use thalweg::sinks::OutputMode;

use super::nexmark;

/// One query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workload {
    /// Count words (W1).
    Words,
    /// Filter and project nested JSON (W2).
    Filter,
    /// Count by 10 s window and key (W3).
    Tumbling,
    /// Average by device in 10 min windows every 5 min (W4).
    Sliding,
    /// The first record of each id (W5).
    Dedup,
    /// Impressions and their clicks within 10 s (W6).
    Join,
    /// The auction house (W7).
    Nexmark(nexmark::Query),
}

const NESTED: &str = "id BIGINT, ts STRING, user STRUCT<id: BIGINT, name: STRING, country: STRING, tags: ARRAY<STRING>>, \
     action STRING, amount_cents BIGINT, device STRUCT<os: STRING, ver: STRING>, url STRING";

/// The inputs of a query.
pub(super) struct Inputs<'a> {
    /// The session it runs in.
    pub session: &'a Session,
    /// The folder of one input, or of several sub-folders for [`Workload::Join`] and [`Workload::Words`].
    pub folder: &'a Path,
    /// The files' format.
    pub format: &'a str,
}

impl Inputs<'_> {
    /// A stream of the files in sub-folder `part`.
    pub(super) fn read(&self, part: &str, schema: &str) -> Result<DataFrame> {
        let path = self.folder.join(part);
        self.session.read_stream().format(self.format).schema(schema).load_path(&path.to_string_lossy())
    }

    /// As `read`, with event time `et` made from the milliseconds `ts`.
    fn timed(&self, part: &str, schema: &str, delay: &str) -> Result<DataFrame> {
        let rows = self.read(part, schema)?.select_expr(["timestamp_millis(ts) AS et", "*"])?;
        rows.drop(["ts"])?.with_watermark("et", delay)
    }
}

impl Workload {
    /// The workload of a name such as `w1`, `w3-1k-json`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.split('-').next()? {
            "w1" => Workload::Words,
            "w2" => Workload::Filter,
            "w3" => Workload::Tumbling,
            "w4" => Workload::Sliding,
            "w5" => Workload::Dedup,
            "w6" => Workload::Join,
            other => return nexmark::Query::named(other).map(Workload::Nexmark),
        })
    }

    /// Those with a bench of their own, by its name.
    pub(super) const PLAIN: [(&str, Workload); 5] = [
        ("wordcount", Workload::Words),
        ("window", Workload::Tumbling),
        ("sliding", Workload::Sliding),
        ("dedup", Workload::Dedup),
        ("join", Workload::Join),
    ];

    /// The mode its result is written in.
    pub(super) fn mode(self) -> OutputMode {
        match self {
            Workload::Words => OutputMode::Update,
            Workload::Nexmark(query) => query.mode(),
            _ => OutputMode::Append,
        }
    }

    /// The query.
    pub(super) fn query(self, inputs: &Inputs<'_>) -> Result<DataFrame> {
        match self {
            Workload::Words => words(inputs),
            Workload::Filter => filter(inputs),
            Workload::Tumbling => tumbling(inputs),
            Workload::Sliding => sliding(inputs),
            Workload::Dedup => dedup(inputs),
            Workload::Join => join(inputs),
            Workload::Nexmark(query) => query.frame(inputs),
        }
    }
}

fn words(inputs: &Inputs<'_>) -> Result<DataFrame> {
    let lines = inputs.session.read_stream().text(&inputs.folder.join("text").to_string_lossy())?;
    word_counts(&lines)
}

/// The words of lines of text, each with how often it is there.
pub(super) fn word_counts(lines: &DataFrame) -> Result<DataFrame> {
    lines.select_expr(["explode(split(lower(value), ' ')) AS word"])?.group_by(["word"]).count()
}

fn filter(inputs: &Inputs<'_>) -> Result<DataFrame> {
    let rows = inputs.read(inputs.format, NESTED)?.filter("amount_cents >= 5000 AND user.country <> 'US'")?;
    rows.select_expr([
        "id",
        "ts",
        "user.id AS uid",
        "user.country AS country",
        "upper(action) AS action",
        "amount_cents * 2 AS double_cents",
    ])
}

fn tumbling(inputs: &Inputs<'_>) -> Result<DataFrame> {
    inputs
        .timed(inputs.format, "ts BIGINT, key BIGINT, val BIGINT", "5 seconds")?
        .create_or_replace_temp_view("events")?;
    inputs.session.sql(
        "SELECT unix_millis(window.start) AS window_start, key, count(*) AS cnt \
         FROM STREAM events GROUP BY window(et, '10 seconds'), key",
    )
}

fn sliding(inputs: &Inputs<'_>) -> Result<DataFrame> {
    let rows = inputs.timed(inputs.format, "ts BIGINT, device STRING, temp BIGINT", "5 seconds")?;
    rows.create_or_replace_temp_view("readings")?;
    inputs.session.sql(
        "SELECT unix_millis(window.start) AS window_start, device, avg(temp) AS a \
         FROM STREAM readings GROUP BY window(et, '10 minutes', '5 minutes'), device",
    )
}

fn dedup(inputs: &Inputs<'_>) -> Result<DataFrame> {
    let rows = inputs.timed(inputs.format, "ts BIGINT, id BIGINT", "10 seconds")?;
    rows.drop_duplicates_within_watermark(&["id"])?.select_expr(["id"])
}

fn join(inputs: &Inputs<'_>) -> Result<DataFrame> {
    let part = |name: &str| format!("{name}-{}", inputs.format);
    inputs
        .timed(&part("imp"), "ts BIGINT, imp_id BIGINT, ad_id BIGINT", "2 seconds")?
        .create_or_replace_temp_view("impressions")?;
    inputs
        .timed(&part("clk"), "ts BIGINT, click_id BIGINT, imp_id BIGINT", "2 seconds")?
        .create_or_replace_temp_view("clicks")?;
    inputs.session.sql(
        "SELECT c.imp_id, i.ad_id, c.click_id FROM STREAM impressions i JOIN STREAM clicks c \
         ON i.imp_id = c.imp_id AND c.et >= i.et AND c.et <= i.et + INTERVAL 10 SECONDS",
    )
}
