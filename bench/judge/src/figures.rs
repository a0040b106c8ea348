//! Everything that was measured, and what it is read for: the worst of many cells, one cell.

use rollway_core::verdict::stats::count;
use serde_json::{Value, json};

use crate::cost::Cost;
use crate::early::{Early, Ruled};
use crate::panel::{Part, Row};
use crate::study::{Cell, Size, Tally};
use crate::world::Traffic;

/// All figures; what was not asked for is not there.
pub struct Figures {
    /// What was run.
    pub size: Size,
    /// Every cell.
    pub cells: Vec<Cell>,
    /// Looks after failures of the canary.
    pub early: Vec<Early>,
    /// What a check costs.
    pub cost: Option<Cost>,
}

impl Figures {
    /// A row in the cells of a part with one of these scenarios, in their order.
    pub fn of<'a>(
        &'a self,
        part: Part,
        names: &'a [&str],
        row: Row,
    ) -> impl Iterator<Item = (&'a Cell, &'a Tally)> {
        let cells = self.cells.iter();
        let wanted =
            cells.filter(move |cell| cell.part == part && names.contains(&cell.scenario.name));
        wanted.filter_map(move |cell| cell.rows.get(&row).map(|tally| (cell, tally)))
    }

    /// A row in one cell.
    pub fn at(&self, part: Part, traffic: Traffic, name: &str, row: Row) -> Option<&Tally> {
        let is_wanted = |cell: &&Cell| {
            cell.part == part && cell.traffic == traffic && cell.scenario.name == name
        };
        self.cells.iter().find(is_wanted)?.rows.get(&row)
    }

    /// The same in the traffic that times are told of.
    pub fn usual(&self, part: Part, name: &str, row: Row) -> Option<&Tally> {
        self.at(part, Traffic::USUAL, name, row)
    }

    /// The largest share that went back; none without cells.
    pub fn most_back(&self, part: Part, names: &[&str], row: Row) -> Option<f64> {
        let shares = self.of(part, names, row).map(|(_, tally)| tally.back_share());
        shares.reduce(f64::max)
    }

    /// The smallest share that went back.
    pub fn least_back(&self, part: Part, names: &[&str], row: Row) -> Option<f64> {
        let shares = self.of(part, names, row).map(|(_, tally)| tally.back_share());
        shares.reduce(f64::min)
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let cells: Vec<Value> = self.cells.iter().map(cell).collect();
        let early: Vec<Value> = self.early.iter().map(early).collect();
        json!({
            "seed": self.size.seed,
            "replicas": self.size.replicas,
            "even_replicas": self.size.even_replicas,
            "cells": cells,
            "early_looks": early,
            "cost": self.cost.map(|cost| json!({
                "apply_micros": cost.apply_micros,
                "verdict_micros": cost.verdict_micros,
                "bytes": cost.bytes,
                "core_share_of_10000": cost.core_share(),
            })),
        })
    }
}

fn cell(cell: &Cell) -> Value {
    let row = |(row, tally): (&Row, &Tally)| {
        let finite = |seconds: f64| seconds.is_finite().then_some(seconds);
        json!({
            "method": row.name(cell.part).replace('*', ""),
            "replicas": tally.replicas,
            "rolled_back": tally.back_share(),
            "rolled_back_median_seconds": finite(tally.back_median()),
            "certified": tally.certified_share(),
            "certified_median_seconds": finite(tally.certified_median()),
            "promoted_as_clean": count(tally.clean) / count(tally.replicas),
            "bad_requests_mean": tally.bad_mean(),
        })
    };
    json!({
        "part": cell.part.name(),
        "requests_per_second": cell.traffic.per_second,
        "share_percent": cell.traffic.share_percent,
        "check_seconds": cell.traffic.check_seconds,
        "scenario": cell.scenario.name,
        "rows": cell.rows.iter().map(row).collect::<Vec<Value>>(),
    })
}

fn early(early: &Early) -> Value {
    json!({
        "share_percent": early.kind.share_percent,
        "baseline_percent": early.kind.baseline_percent,
        "canary_percent": early.kind.canary_percent,
        "rules": if early.kind.rules == Ruled::Plain { "plain" } else { "errors alone" },
        "look_after_bad_requests": early.kind.early_bad,
        "canaries": early.canaries,
        "rolled_back": count(early.back) / count(early.canaries),
        "bad_requests_mean": early.bad_mean,
        "bad_requests_median": early.bad_median,
        "bad_requests_most": early.bad_most,
    })
}
