//! What the judge found as a picture: both versions above, the evidence over time below.

use std::fmt::Write;

use super::{Point, Tried};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 880.0;
/// The upper part, from its upper to its lower edge.
const ARMS: (f64, f64) = (50.0, 230.0);
/// The lower part.
const EVIDENCE: (f64, f64) = (300.0, 520.0);
const HEIGHT: f64 = 590.0;
/// Evidence beyond this many powers of ten is drawn at the edge.
const TENS: (f64, f64) = (-2.0, 6.0);
/// So many points of a line are drawn at most: more than there are pixels shows nothing more.
const POINTS_MAX: usize = 1000;
const CANARY: &str = "#c2410c";
const BASELINE: &str = "#1d4ed8";
/// A line for each metric, however many there are.
const DASHES: [&str; 3] = ["", "6 3", "2 3"];

/// The picture as an SVG document (SVG 1.1), for any browser.
#[must_use]
pub fn picture(tried: &Tried) -> String {
    let end = tried.points.last().map_or(1, |point| point.until.0.max(1));
    let mut svg = String::new();
    let mut out = |line: std::fmt::Arguments<'_>| {
        svg.write_fmt(line).expect("a String takes every write");
        svg.push('\n');
    };
    out(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">"
    ));
    out(format_args!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>"));
    let decision = escaped(&tried.verdict().decision.words());
    out(format_args!("<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{decision}</text>"));
    let x = |at: u64| LEFT + (RIGHT - LEFT) * share(at, end);
    let mut body = arms(tried, &x);
    body.push_str(&evidence(tried, &x));
    if let Some(at) = tried.decided_after {
        let (x, bottom) = (x(at.0), EVIDENCE.1);
        body.push_str(&format!(
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{bottom}\" stroke=\"#444444\" \
             stroke-dasharray=\"3 3\"/>\n<text x=\"{x:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">decided after {at}</text>\n",
            ARMS.0,
            bottom + 38.0
        ));
    }
    out(format_args!("{}", body.trim_end()));
    let last = crate::units::Millis(end);
    out(format_args!("<text x=\"{LEFT}\" y=\"{}\">0</text>", EVIDENCE.1 + 18.0));
    out(format_args!(
        "<text x=\"{RIGHT}\" y=\"{}\" text-anchor=\"end\">{last}</text>",
        EVIDENCE.1 + 18.0
    ));
    out(format_args!("</svg>"));
    svg
}

/// The share of a time of the whole: both are far below 2^53 milliseconds.
#[expect(clippy::cast_precision_loss, reason = "a place in a picture needs no more")]
fn share(at: u64, end: u64) -> f64 {
    at as f64 / end as f64
}

/// Both versions: the nine-in-ten latency where there is one, else the share that failed.
fn arms(tried: &Tried, x: &impl Fn(u64) -> f64) -> String {
    let has_latency = tried.points.iter().any(|point| point.p90_seconds.baseline.is_some());
    let value = |point: &Point, is_canary: bool| match (has_latency, is_canary) {
        (true, true) => point.p90_seconds.canary.filter(|seconds| seconds.is_finite()),
        (true, false) => point.p90_seconds.baseline.filter(|seconds| seconds.is_finite()),
        (false, true) => {
            (point.counts.canary.total > 0).then(|| 100.0 * point.counts.canary.share())
        }
        (false, false) => {
            (point.counts.baseline.total > 0).then(|| 100.0 * point.counts.baseline.share())
        }
    };
    let all = tried.points.iter().flat_map(|point| [value(point, true), value(point, false)]);
    let most = all.flatten().fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let y = |value: f64| ARMS.1 - (ARMS.1 - ARMS.0) * value / most;
    let (title, unit) = match has_latency {
        true => ("nine in ten requests take less than", "s"),
        false => ("requests that failed", "%"),
    };
    let mut text = frame(ARMS, title);
    text.push_str(&scale(ARMS.0, &format!("{most:.3} {unit}")));
    text.push_str(&scale(ARMS.1, "0"));
    for (name, colour, is_canary, at) in
        [("canary", CANARY, true, RIGHT - 150.0), ("baseline", BASELINE, false, RIGHT - 80.0)]
    {
        let points = tried.points.iter();
        let points = points.filter_map(|one| Some((x(one.until.0), y(value(one, is_canary)?))));
        text.push_str(&line(&thinned(points.collect()), colour, ""));
        text.push_str(&format!("<text x=\"{at}\" y=\"44\" fill=\"{colour}\">{name}</text>\n"));
    }
    text
}

/// The evidence on a scale of powers of ten, with what is needed as thin lines.
fn evidence(tried: &Tried, x: &impl Fn(u64) -> f64) -> String {
    let y = |ln: f64| {
        let tens = (ln / std::f64::consts::LN_10).clamp(TENS.0, TENS.1);
        EVIDENCE.1 - (EVIDENCE.1 - EVIDENCE.0) * (tens - TENS.0) / (TENS.1 - TENS.0)
    };
    let mut text = frame(EVIDENCE, "evidence that it is worse, and that it is good enough");
    for tens in [-2, 0, 2, 4, 6] {
        let ln = f64::from(tens) * std::f64::consts::LN_10;
        text.push_str(&scale(y(ln), &format!("10^{tens}")));
    }
    let Some(last) = tried.points.last() else { return text };
    for (place, metric) in last.evidence.iter().enumerate() {
        let dash = DASHES[place % DASHES.len()];
        let of = |point: &Point| point.evidence.get(place).cloned();
        let points = || tried.points.iter().filter_map(|one| Some((one.until.0, of(one)?)));
        let worse: Vec<_> = points().map(|(at, one)| (x(at), y(one.ln_worse))).collect();
        let good = points().filter_map(|(at, one)| Some((x(at), y(one.ln_good?))));
        text.push_str(&line(&thinned(worse), CANARY, dash));
        text.push_str(&line(&thinned(good.collect()), "#15803d", dash));
        text.push_str(&needed(y(metric.ln_worse_needed), CANARY));
        if let Some(ln) = metric.ln_good_needed {
            text.push_str(&needed(y(ln), "#15803d"));
        }
        let name = escaped(&metric.metric);
        let at = EVIDENCE.0 - 8.0;
        for (label, colour, right) in [("worse", CANARY, 190.0), ("good enough", "#15803d", 90.0)] {
            let x = RIGHT - right;
            let above = at - 14.0 * f64::from(u8::try_from(place).unwrap_or(u8::MAX));
            text.push_str(&format!(
                "<text x=\"{x}\" y=\"{above}\" fill=\"{colour}\" font-size=\"11\">{name}: \
                 {label}</text>\n"
            ));
        }
    }
    text
}

fn frame((top, bottom): (f64, f64), title: &str) -> String {
    format!(
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"none\" \
         stroke=\"#cccccc\"/>\n<text x=\"{LEFT}\" y=\"{}\">{title}</text>\n",
        RIGHT - LEFT,
        bottom - top,
        top - 6.0
    )
}

fn scale(y: f64, label: &str) -> String {
    format!(
        "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"11\">{label}</text>\n",
        LEFT - 6.0,
        y + 4.0
    )
}

fn needed(y: f64, colour: &str) -> String {
    format!(
        "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" \
         stroke-width=\"0.7\" stroke-dasharray=\"8 4\"/>\n"
    )
}

fn line(points: &[(f64, f64)], colour: &str, dash: &str) -> String {
    if points.is_empty() {
        return String::new();
    }
    let places: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" \
         stroke-dasharray=\"{dash}\"/>\n",
        places.join(" ")
    )
}

/// The first of every few points, and the last.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let step = points.len().div_ceil(POINTS_MAX).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.into_iter().enumerate().filter(|(n, _)| n % step == 0 || *n == last);
    kept.map(|(_, point)| point).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Layout, read, try_series};
    use crate::spec::Analysis;
    use crate::units::Millis;
    use crate::verdict::eprocess::Pair;

    #[test]
    fn both_arms_and_the_evidence_are_drawn_within_the_picture() {
        let series = |bad: u32| {
            let lines: Vec<String> = (1..=30).map(|n| format!("{},500,{bad}", n * 10)).collect();
            let text = format!("time,total,bad\n{}\n", lines.join("\n"));
            read(&text, Layout::Csv).expect("a good series")
        };
        let by = Analysis { warmup: Millis::ZERO, ..Analysis::default() };
        let both = Pair { canary: series(40), baseline: series(1) };
        let tried = try_series(&by, &both).expect("series that go together");
        let svg = picture(&tried);
        assert_eq!(svg.matches("<polyline").count(), 4, "two arms, worse and good: {svg}");
        assert!(svg.contains("roll back: errors is worse"), "{svg}");
        assert_eq!(tried.decided_after, Some(Millis::seconds(20)));
        assert!(svg.contains(">decided after 20s</text>"), "{svg}");
        assert!(svg.ends_with("</svg>\n"));
        for points in svg.split("points=\"").skip(1) {
            let points = points.split('"').next().expect("it is closed");
            for point in points.split(' ') {
                let (x, y) = point.split_once(',').expect("x,y");
                let (x, y): (f64, f64) = (x.parse().expect("x"), y.parse().expect("y"));
                assert!((LEFT..=RIGHT).contains(&x) && (0.0..=HEIGHT).contains(&y), "{point}");
            }
        }
    }
}
