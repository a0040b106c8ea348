//! Who judges what: the rows of the tables, and the scenarios of each part of the study.

use rollway_core::verdict::judge::History;
use rollway_core::verdict::rules::Metric as Ruled;

use crate::draw::Slowness;
use crate::methods::kayenta::Kayenta;
use crate::methods::ours::Ours;
use crate::methods::thresholds::{Argo, Flagger, Limit};
use crate::methods::ztest::ZTest;
use crate::methods::{Method, Metric};
use crate::world::{Clusters, Drawn, Scenario, Traffic, Weather};

/// Flagger's failed checks that are too many: of its documentation's examples, and tuned.
const FLAGGER_DOCS: u32 = 10;
const FLAGGER_TUNED: u32 = 5;
/// The thresholds of their documentation: the shares that succeed, and half a second.
const ARGO_DOCS: Limit = Limit::Success(0.95);
const FLAGGER_DOCS_ERRORS: Limit = Limit::Success(0.99);
const FLAGGER_DOCS_LATENCY: Limit = Limit::P99(0.5);
/// The thresholds of somebody who knows the baseline exactly.
const TUNED_ERRORS: Limit = Limit::TimesErrors(2.0);
const TUNED_LATENCY: Limit = Limit::TimesP99(1.25);

/// A row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Argo's documented example.
    ArgoDocs,
    /// Argo with a threshold for exactly this baseline.
    ArgoTuned,
    /// Flagger's documented example.
    FlaggerDocs,
    /// Flagger with a threshold for exactly this baseline.
    FlaggerTuned,
    /// Kayenta at the end of the hour.
    KayentaFixed,
    /// Kayenta at every look.
    KayentaPeeking,
    /// The z-test at every look.
    ZTest,
    /// Our judge before its deadline, with the whole 1 %.
    OursLooks,
    /// Our judge as it is, of one metric.
    Ours,
    /// Our judge that knows nothing of clusters.
    OursUntempered,
    /// Our judge as it is, of errors and latency.
    OursUsual,
}

impl Row {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ArgoDocs,
        Self::ArgoTuned,
        Self::FlaggerDocs,
        Self::FlaggerTuned,
        Self::KayentaFixed,
        Self::KayentaPeeking,
        Self::ZTest,
        Self::OursLooks,
        Self::Ours,
        Self::OursUntempered,
        Self::OursUsual,
    ];

    /// What it is called in a table.
    pub fn name(self, part: Part) -> &'static str {
        let is_latency = part == Part::Latency;
        match self {
            Self::ArgoDocs => "Argo, its documentation's (success >= 95 %, failureLimit 3)",
            Self::ArgoTuned if is_latency => "Argo, tuned (p99 <= 1.25x, failureLimit 3)",
            Self::ArgoTuned => "Argo, tuned (errors <= 2x, failureLimit 3)",
            Self::FlaggerDocs if is_latency => {
                "Flagger, its documentation's (p99 <= 500 ms, threshold 10)"
            }
            Self::FlaggerDocs => "Flagger, its documentation's (success >= 99 %, threshold 10)",
            Self::FlaggerTuned if is_latency => "Flagger, tuned (p99 <= 1.25x, threshold 5)",
            Self::FlaggerTuned => "Flagger, tuned (errors <= 2x, threshold 5)",
            Self::KayentaFixed => "Kayenta, once after 1 h",
            Self::KayentaPeeking => "Kayenta, at every look",
            Self::ZTest if is_latency => "z-test (share > p99) at 1 %, at every look",
            Self::ZTest => "z-test at 1 %, at every look",
            Self::OursLooks => "**Rollway**, looks alone at 1 %",
            Self::Ours => "**Rollway**, looks and deadline test",
            Self::OursUntempered => "Rollway, told that there are no clusters",
            Self::OursUsual => "**Rollway**, errors and latency",
        }
    }
}

/// A part of the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Errors alone.
    Errors,
    /// Latency alone.
    Latency,
    /// Errors that come in clusters.
    Clusters,
    /// Errors and latency, by the rules that a canary has which says nothing else.
    Usual,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Errors, Self::Latency, Self::Clusters, Self::Usual];

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Clusters => "clusters",
            Self::Usual => "usual",
        }
    }

    /// What has to be drawn.
    pub fn drawn(self) -> Drawn {
        match self {
            Self::Errors | Self::Clusters => Drawn::Errors,
            Self::Latency => Drawn::Latencies,
            Self::Usual => Drawn::Both,
        }
    }

    /// Every traffic and scenario of it.
    pub fn cells(self) -> Vec<(Traffic, Scenario)> {
        let scenarios = self.scenarios();
        let is_told = |traffic: &Traffic, scenario: &Scenario| match self {
            Self::Errors | Self::Latency | Self::Clusters => true,
            // Detection is told of the usual traffic; the other parts have the rest.
            Self::Usual => scenario.is_even() || *traffic == Traffic::USUAL,
        };
        let of = |traffic: Traffic| scenarios.iter().map(move |scenario| (traffic, *scenario));
        let cells = Traffic::all().into_iter().flat_map(of);
        cells.filter(|(traffic, scenario)| is_told(traffic, scenario)).collect()
    }

    fn scenarios(self) -> Vec<Scenario> {
        let incident = Weather::SharedIncident;
        let even = Scenario::errors(name::EVEN, 0.001, 0.001);
        let more = Scenario::errors(name::EVEN_MORE, 0.01, 0.01);
        let worse = [
            Scenario::errors(name::FIVEFOLD, 0.005, 0.001),
            Scenario::errors(name::TWICE, 0.02, 0.01),
            Scenario::errors(name::FIFTYFOLD, 0.05, 0.001),
        ];
        let all = Scenario::slower(name::ALL_TENTH, Slowness::all(1.1));
        let tail = Scenario::slower(name::TAIL_THRICE, Slowness::tail(3.0));
        match self {
            Self::Errors => {
                let amid =
                    [even.amid(name::INCIDENT, incident), more.amid(name::INCIDENT_MORE, incident)];
                [even, more].into_iter().chain(amid).chain(worse).collect()
            }
            Self::Latency => vec![
                even,
                even.amid(name::INCIDENT, incident),
                all,
                Scenario::slower(name::ALL_HALF, Slowness::all(1.5)),
                Scenario::slower(name::ALL_THRICE, Slowness::all(3.0)),
                Scenario::slower(name::TAIL_TENTH, Slowness::tail(1.1)),
                Scenario::slower(name::TAIL_HALF, Slowness::tail(1.5)),
                tail,
            ],
            Self::Clusters => {
                let by = |name, clusters| Scenario { name, clusters, ..even };
                vec![
                    by(name::CLUSTERS_3, Clusters::Of(3)),
                    by(name::CLUSTERS_10, Clusters::Of(10)),
                    by(name::CLUSTERS_MEAN_5, Clusters::Geometric(5.0)),
                ]
            }
            Self::Usual => {
                let amid = even.amid(name::INCIDENT, incident);
                [even, amid].into_iter().chain(worse).chain([all, tail]).collect()
            }
        }
    }

    /// Those who judge a scenario, with their rows.
    pub fn panel(self, scenario: &Scenario, history: History, kayenta: Kayentas) -> Vec<Seat> {
        let usual = scenario.errors.baseline;
        let errors = Metric::Errors { usual };
        let seat = |method: Box<dyn Method>, rows: &[Row]| Seat { method, rows: rows.to_vec() };
        let ours = |metric| Box::new(Ours::of_one(metric, history.clone()));
        let both = [Row::OursLooks, Row::Ours];
        match self {
            Self::Errors | Self::Latency => {
                let is_errors = self == Self::Errors;
                let metric = if is_errors { errors } else { Metric::Latency };
                let tuned = if is_errors { TUNED_ERRORS } else { TUNED_LATENCY };
                let docs = if is_errors { FLAGGER_DOCS_ERRORS } else { FLAGGER_DOCS_LATENCY };
                let ruled = if is_errors { Ruled::errors() } else { Ruled::latency() };
                let mut seats = vec![
                    seat(Box::new(Argo::new(metric, tuned)), &[Row::ArgoTuned]),
                    seat(Box::new(Flagger::new(metric, docs, FLAGGER_DOCS)), &[Row::FlaggerDocs]),
                    seat(
                        Box::new(Flagger::new(metric, tuned, FLAGGER_TUNED)),
                        &[Row::FlaggerTuned],
                    ),
                    seat(Box::new(ZTest::new(metric)), &[Row::ZTest]),
                    seat(ours(ruled), &both),
                ];
                if is_errors {
                    seats.push(seat(Box::new(Argo::new(metric, ARGO_DOCS)), &[Row::ArgoDocs]));
                }
                if kayenta == Kayentas::Here {
                    let rows = [Row::KayentaFixed, Row::KayentaPeeking];
                    seats.push(seat(Box::new(Kayenta::new(metric)), &rows));
                }
                seats
            }
            Self::Clusters => {
                let told = History { max_cluster: Some(1.0), ..history.clone() };
                let untempered = Ours::of_one(Ruled::errors(), told);
                vec![
                    seat(Box::new(ZTest::new(errors)), &[Row::ZTest]),
                    seat(ours(Ruled::errors()), &both),
                    seat(Box::new(untempered), &[Row::OursUntempered]),
                ]
            }
            Self::Usual => vec![seat(Box::new(Ours::usual(history)), &[Row::OursUsual])],
        }
    }
}

/// Whether Kayenta judges too: it is a thousand times as slow as the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kayentas {
    /// It does.
    Here,
    /// It does not.
    Away,
}

/// One who judges, and the rows that its answers count in.
pub struct Seat {
    /// Who.
    pub method: Box<dyn Method>,
    /// In the order of the answers; answers beyond them are of nobody.
    pub rows: Vec<Row>,
}

/// The scenarios' names.
pub mod name {
    /// Both fail 0.1 %.
    pub const EVEN: &str = "A/A 0.1 %";
    /// Both fail 1 %.
    pub const EVEN_MORE: &str = "A/A 1 %";
    /// The same with a shared incident.
    pub const INCIDENT: &str = "A/A 0.1 %, shared incident";
    /// The same with a shared incident.
    pub const INCIDENT_MORE: &str = "A/A 1 %, shared incident";
    /// Five times as many errors.
    pub const FIVEFOLD: &str = "0.1 -> 0.5 %";
    /// Twice as many.
    pub const TWICE: &str = "1 -> 2 %";
    /// Fifty times as many.
    pub const FIFTYFOLD: &str = "0.1 -> 5 %";
    /// All latencies.
    pub const ALL_TENTH: &str = "all +10 %";
    /// All latencies.
    pub const ALL_HALF: &str = "all +50 %";
    /// All latencies.
    pub const ALL_THRICE: &str = "all x3";
    /// The slow part alone.
    pub const TAIL_TENTH: &str = "tail only, p99 +10 %";
    /// The slow part alone.
    pub const TAIL_HALF: &str = "tail only, p99 +50 %";
    /// The slow part alone.
    pub const TAIL_THRICE: &str = "tail only, p99 x3";
    /// Clusters.
    pub const CLUSTERS_3: &str = "clusters of 3";
    /// Clusters.
    pub const CLUSTERS_10: &str = "clusters of 10";
    /// Clusters.
    pub const CLUSTERS_MEAN_5: &str = "clusters of 5 on average, geometric";
}
