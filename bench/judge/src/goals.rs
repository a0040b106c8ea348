//! What must hold, each against what was measured.

use rollway_core::analysis::EARLY_BAD;
use rollway_core::verdict::stats::count;
use serde_json::{Value, json};

use crate::early::{BROKEN_BASELINES, Early};
use crate::figures::Figures;
use crate::panel::{Part, Row, name};
use crate::study::Tally;
use crate::table::{percent, time};

/// One that must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// What.
    pub what: String,
    /// What came out.
    pub figure: String,
    /// What was wanted.
    pub wanted: String,
    /// Whether it holds.
    pub is_met: bool,
}

impl Goal {
    /// For programs.
    pub fn json(&self) -> Value {
        let Self { what, figure, wanted, is_met } = self;
        json!({ "what": what, "figure": figure, "wanted": wanted, "is_met": is_met })
    }

    /// A share that must not be larger.
    fn share(what: &str, share: f64, most: f64) -> Self {
        let (figure, wanted) = (percent(share), format!("<= {}", percent(most)));
        Self { what: what.to_owned(), figure, wanted, is_met: share <= most }
    }
}

/// False rollbacks of canaries that are no worse.
const FALSE_ROLLBACK_MOST: f64 = 0.01;
/// The same where errors come in clusters of ten.
const CLUSTERED_MOST: f64 = 0.011;
/// Certificates for canaries that are worse.
const FALSE_PROMOTION_MOST: f64 = 0.005;
/// Bad requests of a canary that fails everything, up to this share of the traffic.
const BROKEN_BAD_MOST: u64 = 4;
const BROKEN_SHARE_PERCENT: u32 = 5;
/// The cost of a check, and of many canaries.
const CHECK_MICROS_MOST: f64 = 10.0;
const STATE_BYTES_MOST: usize = 2048;
const CORE_SHARE_MOST: f64 = 0.05;

const EVEN: [&str; 4] = [name::EVEN, name::EVEN_MORE, name::INCIDENT, name::INCIDENT_MORE];
/// At 100 requests a second, 5 %, a check every 10 s: the most seconds, and bad requests.
const FOUND: [(Part, &str, f64, f64); 5] = [
    (Part::Errors, name::FIFTYFOLD, 20.0, 6.0),
    (Part::Errors, name::FIVEFOLD, 340.0, 10.0),
    (Part::Errors, name::TWICE, 340.0, 40.0),
    (Part::Latency, name::TAIL_THRICE, 60.0, f64::INFINITY),
    (Part::Latency, name::ALL_TENTH, 120.0, f64::INFINITY),
];

/// All goals whose figures are there.
pub fn goals(figures: &Figures) -> Vec<Goal> {
    let mut goals = Vec::new();
    let rows = [
        (Part::Errors, Row::OursLooks, "errors, looks alone at 1 %"),
        (Part::Errors, Row::Ours, "errors, looks and deadline"),
        (Part::Latency, Row::OursLooks, "latency, looks alone at 1 %"),
        (Part::Latency, Row::Ours, "latency, looks and deadline"),
        (Part::Usual, Row::OursUsual, "errors and latency"),
    ];
    for (part, row, words) in rows {
        if let Some(share) = figures.most_back(part, &EVEN, row) {
            let what = format!("A/A false rollback in every cell, shared incident too: {words}");
            goals.push(Goal::share(&what, share, FALSE_ROLLBACK_MOST));
        }
    }
    for (row, words) in [(Row::OursLooks, "looks alone at 1 %"), (Row::Ours, "looks and deadline")]
    {
        if let Some(share) = figures.most_back(Part::Clusters, &[name::CLUSTERS_10], row) {
            let what = format!("A/A false rollback in every cell, clusters of 10: {words}");
            goals.push(Goal::share(&what, share, CLUSTERED_MOST));
        }
    }
    for name in [name::FIVEFOLD, name::TWICE, name::FIFTYFOLD] {
        let names = [name];
        let rows = figures.of(Part::Errors, &names, Row::Ours);
        if let Some(share) = rows.map(|(_, tally)| tally.certified_share()).reduce(f64::max) {
            let what = format!("false promotion in every cell, {name}");
            goals.push(Goal::share(&what, share, FALSE_PROMOTION_MOST));
        }
    }
    for (part, name, seconds, bad) in FOUND {
        let found = figures.usual(part, name, Row::OursLooks);
        goals.extend(found.map(|found| in_time(name, found, seconds, bad)));
    }
    goals.extend(early(figures));
    goals.extend(cost(figures));
    goals
}

fn in_time(name: &str, found: &Tally, seconds: f64, bad: f64) -> Goal {
    let (median, mean) = (found.back_median(), found.bad_mean());
    let mut figure = time(median);
    let mut wanted = format!("<= {}", time(seconds));
    if bad.is_finite() {
        figure.push_str(&format!(", {mean:.1} bad"));
        wanted.push_str(&format!(", {bad} bad"));
    }
    let what = format!("{name} found at 100/s 5% 10s, looks alone at 1 %, median and mean");
    Goal { what, figure, wanted, is_met: median <= seconds && mean <= bad }
}

/// Of canaries that fail everything, and of those that are no worse and looked at early.
fn early(figures: &Figures) -> Vec<Goal> {
    let is_broken = |it: &&Early| it.kind.canary_percent >= 100.0;
    let small = || {
        let broken = figures.early.iter().filter(is_broken);
        broken.filter(|it| it.kind.share_percent <= BROKEN_SHARE_PERCENT)
    };
    let of_baseline = |percent: f64| {
        let own = small().filter(|it| it.kind.baseline_percent.total_cmp(&percent).is_eq());
        own.map(|it| it.bad_median).max().map(|bad| Goal {
            what: format!(
                "bad requests of a canary that fails everything, at 1 and 5 %, baseline {percent} \
                 %, median"
            ),
            figure: bad.to_string(),
            wanted: format!("<= {BROKEN_BAD_MOST}"),
            is_met: bad <= BROKEN_BAD_MOST,
        })
    };
    let broken = BROKEN_BASELINES.into_iter().filter_map(of_baseline);
    let even = figures.early.iter().filter(|it| !is_broken(it));
    let even = even.filter(|it| it.kind.early_bad == EARLY_BAD);
    let most = even.map(|it| count(it.back) / count(it.canaries)).reduce(f64::max);
    let what = "A/A false rollback with looks after every fourth failure of the canary";
    broken.chain(most.map(|most| Goal::share(what, most, FALSE_ROLLBACK_MOST))).collect()
}

fn cost(figures: &Figures) -> Vec<Goal> {
    let Some(cost) = figures.cost else { return Vec::new() };
    let micros = cost.apply_micros + cost.verdict_micros;
    vec![
        Goal {
            what: "processor time a canary and check".into(),
            figure: format!("{micros:.1} us"),
            wanted: format!("<= {CHECK_MICROS_MOST:.0} us"),
            is_met: micros <= CHECK_MICROS_MOST,
        },
        Goal {
            what: "memory a canary".into(),
            figure: format!("{} bytes", cost.bytes),
            wanted: format!("<= {STATE_BYTES_MOST} bytes"),
            is_met: cost.bytes <= STATE_BYTES_MOST,
        },
        Goal::share(
            "part of one core for 10,000 canaries every 10 s",
            cost.core_share(),
            CORE_SHARE_MOST,
        ),
    ]
}
