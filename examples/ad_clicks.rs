//! Lesson: join two streams. Which impressions of an ad were clicked within ten minutes?
//!
//! It teaches joins of streams: both sides are kept until the watermarks and the time range in the condition say that no
//! partner can come any more, so state stays bounded. As a left outer join, impressions without a click come out
//! with NULLs, but only once it is sure that there is none.
//!
//! ```text
//! cargo run --example ad_clicks                  examples/data/ads
//! cargo run --example ad_clicks -- left_outer    impressions without a click as well
//! ```

use thalweg::prelude::*;

const CONDITION: &str = "ad = clicked_ad AND clicked >= shown AND clicked <= shown + INTERVAL 10 MINUTES";

fn main() -> Result<()> {
    let how = std::env::args().nth(1).unwrap_or_else(|| "inner".into());
    let session = Session::builder().app_name("ad_clicks").config("spark.sql.session.timeZone", "UTC").get_or_create();
    let impressions = session.read_stream().schema("ad INT, shown TIMESTAMP, site STRING");
    let impressions = impressions.json("examples/data/ads/impressions")?.with_watermark("shown", "1 minute")?;
    let clicks = session.read_stream().schema("clicked_ad INT, clicked TIMESTAMP");
    let clicks = clicks.json("examples/data/ads/clicks")?.with_watermark("clicked", "2 minutes")?;
    let clicked = impressions.join(&clicks, expr(CONDITION), &how)?;
    let seconds = "CAST(clicked AS BIGINT) - CAST(shown AS BIGINT) AS seconds";
    let answer = clicked.select_expr(["ad", "site", "shown", "clicked", seconds])?;
    let writer = answer.write_stream().format("console").option("numRows", 50).output_mode("append");
    writer.trigger(Trigger::AvailableNow).start()?.await_termination()
}
