//! Pictures of figures as SVG: bars and lines.
//!
//! In: labels and numbers. Out: an `<svg>` element that needs nothing else. Colours work on light and dark pages; each picture says its
//! unit. Text is escaped.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 22.0;
const COLOURS: [&str; 4] = ["#2f7ebc", "#e08214", "#5aae61", "#9970ab"];

/// A group of bars, one a series.
pub(super) struct Bars {
    /// What the group is called.
    pub label: String,
    /// The value of each series; none where there is no figure.
    pub values: Vec<Option<f64>>,
}

/// A line of a picture.
pub(super) struct Line {
    /// What it is called.
    pub label: String,
    /// `(x, y)`, in the order of x.
    pub points: Vec<(f64, f64)>,
}

/// What the axes of a picture of lines show.
pub(super) struct Axes<'a> {
    /// Marks on the horizontal axis: where, and what is written there.
    pub marks: &'a [(f64, String)],
    /// Unit of the vertical axis.
    pub unit: &'a str,
    /// Whether the vertical axis goes by powers of ten.
    pub logarithmic: bool,
}

/// Horizontal bars: each group one below the other.
pub(super) fn bars(series: &[&str], groups: &[Bars], unit: &str) -> String {
    let most = groups.iter().flat_map(|group| &group.values).flatten().fold(f64::MIN_POSITIVE, |a, b| a.max(*b));
    let height = groups.len() as f64 * (series.len() as f64 * ROW * 0.8 + ROW * 0.6) + ROW * 2.0;
    let mut svg = open(height);
    legend(&mut svg, series);
    let mut y = ROW * 1.6;
    for group in groups {
        text(&mut svg, LEFT - 8.0, y + ROW * 0.55, "end", &group.label);
        for (number, value) in group.values.iter().enumerate() {
            let value = value.unwrap_or(0.0);
            let width = (WIDTH - LEFT - RIGHT) * value / most;
            let _ = write!(
                svg,
                r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{:.1}" fill="{}"/>"#,
                ROW * 0.7,
                colour(number)
            );
            text(&mut svg, LEFT + width + 6.0, y + ROW * 0.55, "start", &format!("{} {unit}", short(value)));
            y += ROW * 0.8;
        }
        y += ROW * 0.6;
    }
    svg.push_str("</svg>");
    svg
}

/// Lines over a common horizontal axis.
pub(super) fn lines(all: &[Line], axes: &Axes<'_>) -> String {
    const TOP: f64 = 34.0;
    const BOTTOM: f64 = 270.0;
    let labels: Vec<&str> = all.iter().map(|line| line.label.as_str()).collect();
    let mut svg = open(300.0);
    legend(&mut svg, &labels);
    let points = || all.iter().flat_map(|line| &line.points);
    let (x_least, x_most) = span(points().map(|point| point.0).chain(axes.marks.iter().map(|mark| mark.0)));
    let scale = |y: f64| if axes.logarithmic { y.max(1e-3).log10() } else { y };
    let (mut least, mut most) = span(points().map(|point| scale(point.1)));
    (least, most) = if axes.logarithmic { (least.floor(), most.ceil()) } else { (0.0_f64.min(least), most * 1.05) };
    let x = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * (at - x_least) / (x_most - x_least).max(f64::MIN_POSITIVE);
    let y = |at: f64| BOTTOM - (BOTTOM - TOP) * (scale(at) - least) / (most - least).max(f64::MIN_POSITIVE);
    for value in ticks(least, most, axes.logarithmic) {
        let _ = write!(
            svg,
            r##"<line x1="{LEFT}" x2="{}" y1="{1:.1}" y2="{1:.1}" stroke="#8888" stroke-width="0.5"/>"##,
            WIDTH - RIGHT,
            y(value)
        );
        text(&mut svg, LEFT - 8.0, y(value) + 4.0, "end", &format!("{} {}", short(value), axes.unit));
    }
    for (at, label) in axes.marks {
        text(&mut svg, x(*at), BOTTOM + 18.0, "middle", label);
    }
    for (number, line) in all.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let _ = write!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{}" stroke-width="1.6"/>"#,
            path.join(" "),
            colour(number)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn open(height: f64) -> String {
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height:.0}" width="{WIDTH}" font-family="sans-serif" font-size="12" fill="currentColor">"#
    )
}

fn legend(svg: &mut String, labels: &[&str]) {
    let mut x = LEFT;
    for (number, label) in labels.iter().enumerate() {
        let _ = write!(svg, r#"<rect x="{x:.1}" y="6" width="12" height="12" fill="{}"/>"#, colour(number));
        text(svg, x + 17.0, 16.0, "start", label);
        x += 40.0 + 7.0 * label.chars().count() as f64;
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = write!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#, escaped(text));
}

fn colour(number: usize) -> &'static str {
    COLOURS[number % COLOURS.len()]
}

fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), v| (least.min(v), most.max(v)));
    if least.is_finite() { (least, most) } else { (0.0, 1.0) }
}

/// Values of horizontal lines: powers of ten, or four steps.
fn ticks(least: f64, most: f64, logarithmic: bool) -> Vec<f64> {
    match logarithmic {
        true => (least as i32..=most as i32).map(|power| 10_f64.powi(power)).collect(),
        false => (0..=4).map(|step| least + (most - least) * f64::from(step) / 4.0).collect(),
    }
}

/// A number with three digits and a letter for thousands, millions, ...
pub(super) fn short(value: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")];
    let (size, letter) = units.into_iter().find(|(size, _)| value.abs() >= *size).unwrap_or((1.0, ""));
    let scaled = value / size;
    let digits = if scaled == 0.0 || scaled >= 100.0 {
        0
    } else if scaled >= 10.0 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$}{letter}")
}

/// Text that HTML takes for text.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shorts = [0.0, 0.25, 7.0, 42.0, 999.0, 1234.0, 12_345_678.0].map(short);
        assert_eq!(shorts, ["0", "0.25", "7.00", "42.0", "999", "1.23k", "12.3M"]);
    }

    #[test]
    fn the_longest_bar_is_the_greatest_value_and_labels_are_escaped() {
        let groups = [Bars { label: "a<b".to_owned(), values: vec![Some(1.0), Some(2.0)] }];
        let svg = bars(&["one", "two"], &groups, "rows");
        assert!(
            svg.contains("a&lt;b") && svg.contains(r#"width="480.0""#) && svg.contains(r#"width="240.0""#),
            "{svg}"
        );
    }

    #[test]
    fn points_lie_within_the_picture() {
        let line = Line { label: "p".to_owned(), points: vec![(0.0, 10.0), (1.0, 100.0)] };
        let axes = Axes { marks: &[(0.5, "half".to_owned())], unit: "us", logarithmic: true };
        let svg = lines(&[line], &axes);
        assert!(svg.contains(r#"points="150.0,270.0 630.0,34.0""#), "{svg}");
    }
}
