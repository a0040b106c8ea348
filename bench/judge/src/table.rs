//! The figures as tables in Markdown, as they stand in `docs/canary-judge.md`.

use rollway_core::analysis::EARLY_BAD;
use rollway_core::verdict::stats::count;

use crate::cost::Cost;
use crate::early::{BROKEN_BASELINES, BROKEN_SHARES, Early, Kind, Ruled};
use crate::figures::Figures;
use crate::goals::Goal;
use crate::panel::{Part, Row, name};
use crate::study::Tally;
use crate::world::Traffic;

/// What has no figure.
const NONE: &str = "-";

/// A share in percent.
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent == 0.0 {
        "0 %".into()
    } else if percent < 10.0 {
        format!("{percent:.2} %")
    } else if percent < 99.95 {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// Seconds, or minutes.
pub fn time(seconds: f64) -> String {
    if !seconds.is_finite() {
        "> 1 h".into()
    } else if seconds < 600.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

fn of(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.into(), percent)
}

/// A table of Markdown.
fn lines(head: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = vec!["---".to_owned(); head.len()];
    [line(&head), line(&rule).replace("| ---", "|---").replace("--- |", "---|")]
        .into_iter()
        .chain(rows.iter().map(|row| line(row)))
        .collect()
}

/// All tables whose figures are there.
pub fn tables(figures: &Figures, goals: &[Goal]) -> Vec<String> {
    let has = |part: Part| figures.cells.iter().any(|cell| cell.part == part);
    let mut text = Vec::new();
    let mut add = |head: &str, lines: Vec<String>| {
        text.extend([format!("### {head}"), String::new()]);
        text.extend(lines);
        text.push(String::new());
    };
    if has(Part::Errors) {
        add("Errors", errors(figures));
        add("Errors: what became of a canary after an hour, in %", ends(figures));
    }
    if has(Part::Latency) {
        add("Latency", latency(figures));
    }
    if has(Part::Clusters) {
        add(
            "False rollbacks where errors come in clusters, both versions 0.1 %",
            clusters(figures),
        );
    }
    if has(Part::Usual) {
        add("Errors and latency together, by the rules of a plain canary", usual(figures));
    }
    if has(Part::Errors) && has(Part::Latency) && has(Part::Usual) {
        add("False rollbacks and false promotions in every cell", cells(figures));
    }
    if !figures.early.is_empty() {
        add(
            "Bad requests of a canary that fails everything: median / mean / most",
            broken(figures),
        );
        add("False rollbacks with looks after failures of the canary, 10/s", early(figures));
    }
    if let Some(cost) = &figures.cost {
        add("Cost", costs(cost));
    }
    add("Goals", all(goals));
    text
}

fn found(tally: Option<&Tally>) -> String {
    tally.map_or_else(
        || NONE.into(),
        |tally| format!("{} / {:.1}", time(tally.back_median()), tally.bad_mean()),
    )
}

/// The rows that some cell of a part has.
fn rows(figures: &Figures, part: Part) -> Vec<Row> {
    let is_there = |row: &Row| {
        figures.cells.iter().any(|cell| cell.part == part && cell.rows.contains_key(row))
    };
    Row::ALL.into_iter().filter(is_there).collect()
}

fn three(figures: &Figures, part: Part, names: [&str; 3], row: Row) -> String {
    names.map(|name| of(figures.least_back(part, &[name], row))).join(" / ")
}

fn errors(figures: &Figures) -> Vec<String> {
    let part = Part::Errors;
    let head = [
        "method",
        "worst A/A false rollback",
        "the same, shared incident of 5 min",
        "worst detection: 0.1 -> 0.5 / 1 -> 2 / 0.1 -> 5 %",
        "100/s 5% 10s, 0.1 -> 0.5 %: median / bad",
        "1 -> 2 %",
        "0.1 -> 5 %",
    ];
    let line = |row: Row| {
        let usual = |name| found(figures.usual(part, name, row));
        vec![
            row.name(part).to_owned(),
            of(figures.most_back(part, &[name::EVEN, name::EVEN_MORE], row)),
            of(figures.most_back(part, &[name::INCIDENT, name::INCIDENT_MORE], row)),
            three(figures, part, [name::FIVEFOLD, name::TWICE, name::FIFTYFOLD], row),
            usual(name::FIVEFOLD),
            usual(name::TWICE),
            usual(name::FIFTYFOLD),
        ]
    };
    lines(&head, rows(figures, part).into_iter().map(line).collect())
}

fn latency(figures: &Figures) -> Vec<String> {
    let part = Part::Latency;
    let head = [
        "method",
        "worst A/A false rollback",
        "the same, shared incident of 5 min",
        "worst detection: all +10 % / +50 % / x3",
        "worst detection: tail only, p99 +10 % / +50 % / x3",
        "median at 100/s 5% 10s: all +10 % / tail +50 % / tail x3",
    ];
    let line = |row: Row| {
        let median = |name| {
            let tally = figures.usual(part, name, row);
            tally.map_or_else(|| NONE.into(), |tally| time(tally.back_median()))
        };
        let times = [name::ALL_TENTH, name::TAIL_HALF, name::TAIL_THRICE].map(median).join(" / ");
        vec![
            row.name(part).to_owned(),
            of(figures.most_back(part, &[name::EVEN], row)),
            of(figures.most_back(part, &[name::INCIDENT], row)),
            three(figures, part, [name::ALL_TENTH, name::ALL_HALF, name::ALL_THRICE], row),
            three(figures, part, [name::TAIL_TENTH, name::TAIL_HALF, name::TAIL_THRICE], row),
            times,
        ]
    };
    lines(&head, rows(figures, part).into_iter().map(line).collect())
}

/// Rolled back, certified, promoted as clean, held: our judge, a look every 10 s.
fn ends(figures: &Figures) -> Vec<String> {
    let traffics: Vec<Traffic> =
        Traffic::all().into_iter().filter(|traffic| traffic.check_seconds == 10).collect();
    let names = [name::EVEN, name::EVEN_MORE, name::FIVEFOLD, name::TWICE, name::FIFTYFOLD];
    let end = |tally: &Tally| {
        let clean = count(tally.clean) / count(tally.replicas);
        let (back, certified) = (tally.back_share(), tally.certified_share());
        let held = (1.0 - back - certified - clean).max(0.0);
        [back, certified, clean, held].map(|share| format!("{:.1}", 100.0 * share)).join(" / ")
    };
    let line = |traffic: Traffic| {
        let cell = |name| figures.at(Part::Errors, traffic, name, Row::Ours).map(end);
        let cells = names.map(|name| cell(name).unwrap_or_else(|| NONE.into()));
        [traffic.words()].into_iter().chain(cells).collect()
    };
    let head: Vec<&str> =
        ["rolled back / certified / clean, promoted / held"].into_iter().chain(names).collect();
    lines(&head, traffics.into_iter().map(line).collect())
}

fn clusters(figures: &Figures) -> Vec<String> {
    let part = Part::Clusters;
    let names = [name::CLUSTERS_3, name::CLUSTERS_10, name::CLUSTERS_MEAN_5];
    let rows = [Row::ZTest, Row::OursUntempered, Row::Ours];
    let line = |traffic: Traffic| {
        let cell = |name: &str| {
            let share = |row| figures.at(part, traffic, name, row).map(Tally::back_share);
            rows.map(|row| of(share(row))).join(" / ")
        };
        [traffic.words()].into_iter().chain(names.map(cell)).collect()
    };
    let head: Vec<&str> =
        ["z-test / told of no clusters / Rollway"].into_iter().chain(names).collect();
    lines(&head, Traffic::all().into_iter().map(line).collect())
}

fn usual(figures: &Figures) -> Vec<String> {
    let (part, row) = (Part::Usual, Row::OursUsual);
    let names = [name::FIVEFOLD, name::TWICE, name::FIFTYFOLD, name::ALL_TENTH, name::TAIL_THRICE];
    let cell = |name| {
        let tally = figures.usual(part, name, row);
        tally.map_or_else(|| NONE.into(), |tally| time(tally.back_median()))
    };
    let certified = figures.usual(part, name::EVEN, row);
    let certified = certified.map_or_else(|| NONE.into(), |tally| time(tally.certified_median()));
    let line: Vec<String> =
        [row.name(part).to_owned()].into_iter().chain(names.map(cell)).chain([certified]).collect();
    let head: Vec<&str> = ["median at 100/s 5% 10s, 30 s of them to warm up"]
        .into_iter()
        .chain(names)
        .chain(["A/A certified"])
        .collect();
    lines(&head, vec![line])
}

fn cells(figures: &Figures) -> Vec<String> {
    let back =
        |part, traffic, name, row| of(figures.at(part, traffic, name, row).map(Tally::back_share));
    let certified = |traffic, name| {
        of(figures.at(Part::Errors, traffic, name, Row::Ours).map(Tally::certified_share))
    };
    let line = |traffic: Traffic| {
        let errors = |name| back(Part::Errors, traffic, name, Row::Ours);
        vec![
            traffic.words(),
            [name::EVEN, name::EVEN_MORE].map(errors).join(" / "),
            [name::INCIDENT, name::INCIDENT_MORE].map(errors).join(" / "),
            back(Part::Latency, traffic, name::EVEN, Row::Ours),
            back(Part::Latency, traffic, name::INCIDENT, Row::Ours),
            back(Part::Usual, traffic, name::EVEN, Row::OursUsual),
            back(Part::Usual, traffic, name::INCIDENT, Row::OursUsual),
            [name::FIVEFOLD, name::TWICE, name::FIFTYFOLD]
                .map(|name| certified(traffic, name))
                .join(" / "),
        ]
    };
    let head = [
        "traffic",
        "errors 0.1 / 1 %",
        "with incident",
        "latency",
        "with incident",
        "both",
        "with incident",
        "certified 0.1 -> 0.5 / 1 -> 2 / 0.1 -> 5 %",
    ];
    lines(&head, Traffic::all().into_iter().map(line).collect())
}

/// One of those that are looked at early.
fn kind(figures: &Figures, is_it: impl Fn(&Kind) -> bool) -> Option<&Early> {
    figures.early.iter().find(|it| is_it(&it.kind))
}

fn broken(figures: &Figures) -> Vec<String> {
    let line = |(rules, share_percent): (Ruled, u32)| {
        let cell = |baseline: f64| {
            let found = kind(figures, |kind| {
                kind.share_percent == share_percent
                    && kind.baseline_percent.total_cmp(&baseline).is_eq()
                    && kind.canary_percent >= 100.0
                    && kind.rules == rules
            });
            found.map_or_else(
                || NONE.into(),
                |it| format!("{} / {:.1} / {}", it.bad_median, it.bad_mean, it.bad_most),
            )
        };
        let words = match rules {
            Ruled::Alone => "errors alone at 1 %",
            Ruled::Plain => "a plain canary's",
        };
        let first = [words.to_owned(), format!("{share_percent} %")];
        first.into_iter().chain(BROKEN_BASELINES.map(cell)).collect()
    };
    let head = ["rules", "the canary's share", "baseline fails 0.1 %", "1 %", "5 %"];
    let all = [Ruled::Alone, Ruled::Plain].into_iter();
    let all = all.flat_map(|rules| BROKEN_SHARES.map(|share| (rules, share)));
    lines(&head, all.map(line).collect())
}

fn early(figures: &Figures) -> Vec<String> {
    let even = figures.early.iter().filter(|it| it.kind.canary_percent < 100.0);
    let fourth = even.filter(|it| it.kind.early_bad == EARLY_BAD);
    let line = |it: &Early| {
        let each = kind(figures, |kind| *kind == Kind { early_bad: 1, ..it.kind });
        let share = |it: &Early| count(it.back) / count(it.canaries);
        let traffic =
            format!("{} %, both fail {} %", it.kind.share_percent, it.kind.baseline_percent);
        vec![traffic, percent(share(it)), of(each.map(share))]
    };
    let head = ["the canary's share", "a look after every 4th failure", "after each (never do)"];
    lines(&head, fourth.map(line).collect())
}

fn costs(cost: &Cost) -> Vec<String> {
    let row = |what: &str, figure: String| vec![what.to_owned(), figure];
    let rows = vec![
        row("to take in an interval of errors and latency", format!("{:.1} us", cost.apply_micros)),
        row("to come to a verdict", format!("{:.1} us", cost.verdict_micros)),
        row("the state of a canary", format!("{} bytes", cost.bytes)),
        row(
            "10,000 canaries, each every 10 s",
            format!("{} of one core", percent(cost.core_share())),
        ),
    ];
    lines(&["what", "figure"], rows)
}

fn all(goals: &[Goal]) -> Vec<String> {
    let row = |goal: &Goal| {
        let met = if goal.is_met { "yes" } else { "**no**" };
        vec![goal.what.clone(), goal.figure.clone(), goal.wanted.clone(), met.to_owned()]
    };
    lines(&["what", "figure", "goal", "met"], goals.iter().map(row).collect())
}
