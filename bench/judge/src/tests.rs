//! A small part of the study, with the seed of the large one: it fails where the judge, or what
//! it is compared with, is not as it was.

use std::collections::BTreeMap;

use crate::early;
use crate::figures::Figures;
use crate::goals::goals;
use crate::panel::{Part, Row, name};
use crate::study::{Size, Tally, run};
use crate::table::tables;
use crate::world::Traffic;

/// A look a minute: a sixth of the work, and as much to go wrong.
const MINUTES: Traffic = Traffic { check_seconds: 60, ..Traffic::USUAL };

fn size(replicas: u64) -> Size {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Size { replicas, even_replicas: replicas, kayenta_every: 50, threads, seed: 1 }
}

/// The rows of one cell.
fn cell(part: Part, traffic: Traffic, name: &str, replicas: u64) -> BTreeMap<Row, Tally> {
    let scenario = part.cells().into_iter().map(|(_, scenario)| scenario);
    let scenario = scenario.into_iter().find(|scenario| scenario.name == name);
    let scenario = scenario.expect("a scenario of this part");
    run(vec![(part, traffic, scenario)], &size(replicas)).pop().expect("one cell").rows
}

#[test]
fn versions_that_are_the_same_stay_and_thresholds_fire_amid_an_incident() {
    let rows = cell(Part::Errors, MINUTES, name::INCIDENT_MORE, 150);
    // One in a hundred would be allowed; three of 150 have a chance of 0.2 at 1 %, and of 0.06 at
    // the 0.6 % that the whole study finds.
    assert!(rows[&Row::OursLooks].back.len() <= 3, "{:?}", rows[&Row::OursLooks].back);
    assert!(rows[&Row::Ours].back.len() <= 3, "{:?}", rows[&Row::Ours].back);
    // That the same hours are hard is seen by the others.
    assert!(rows[&Row::ZTest].back_share() > 0.05, "{}", rows[&Row::ZTest].back_share());
    assert!(rows[&Row::ArgoTuned].back_share() > 0.99);
    assert!(rows[&Row::FlaggerDocs].back_share() > 0.99);
    assert_eq!(rows[&Row::KayentaPeeking].replicas, 3);
}

#[test]
fn regressions_are_found_in_time_and_never_certified() {
    for (name, seconds, bad) in [(name::FIFTYFOLD, 20.0, 6.0), (name::FIVEFOLD, 340.0, 10.0)] {
        let rows = cell(Part::Errors, Traffic::USUAL, name, 100);
        let found = &rows[&Row::OursLooks];
        assert!(found.back_median() <= seconds, "{name}: {} s", found.back_median());
        assert!(found.bad_mean() <= bad, "{name}: {} bad", found.bad_mean());
        assert!(found.certified.len() <= 1, "{name}: {:?}", found.certified);
    }
    let rows = cell(Part::Latency, Traffic::USUAL, name::TAIL_THRICE, 30);
    let found = &rows[&Row::OursLooks];
    assert!(found.back_median() <= 60.0, "{} s", found.back_median());
}

#[test]
fn clusters_are_tempered_by_the_history_and_are_a_danger_without_it() {
    let rows = cell(Part::Clusters, MINUTES, name::CLUSTERS_10, 100);
    assert!(rows[&Row::Ours].back.len() <= 2, "{:?}", rows[&Row::Ours].back);
    assert!(rows[&Row::OursUntempered].back_share() > 0.5);
}

#[test]
fn the_same_seed_is_the_same_study_whatever_the_threads() {
    let run = |threads| {
        let cells = Part::Usual.cells();
        let (traffic, scenario) = cells.into_iter().next().expect("some");
        let size = Size { threads, ..size(6) };
        let traffic = Traffic { check_seconds: 600, ..traffic };
        let mut rows = run(vec![(Part::Usual, traffic, scenario)], &size).pop().expect("one").rows;
        rows.values_mut().for_each(|tally| tally.certified.sort_unstable());
        rows
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_missed_goal_is_told_and_a_met_one_too() {
    let cells = Part::Errors.cells();
    let wanted = [name::EVEN, name::FIFTYFOLD];
    let cells = cells.into_iter().filter(|(traffic, scenario)| {
        *traffic == Traffic::USUAL && wanted.contains(&scenario.name)
    });
    let cells = run(cells.map(|(t, s)| (Part::Errors, t, s)).collect(), &size(10));
    let mut figures = Figures { size: size(10), cells, early: Vec::new(), cost: None };
    let goal = |figures: &Figures| {
        let all = goals(figures);
        all.into_iter().find(|goal| goal.what.starts_with("A/A false rollback")).expect("told")
    };
    assert!(goal(&figures).is_met, "{:?}", goal(&figures));
    let even = figures.cells.iter_mut().find(|cell| cell.scenario.name == name::EVEN);
    let rows = &mut even.expect("the even one").rows;
    rows.get_mut(&Row::OursLooks).expect("ours").back = vec![10];
    assert!(!goal(&figures).is_met);
    let text = tables(&figures, &goals(&figures)).join("\n");
    assert!(text.contains("| 10.0 % | <= 1.00 % | **no** |"), "{text}");
    assert!(figures.json()["cells"][0]["rows"].is_array());
}

#[test]
fn a_canary_that_fails_everything_is_gone_after_four_requests() {
    let kinds = early::run(&Size { replicas: 3, ..size(3) });
    let small = kinds.iter().filter(|it| {
        it.kind.canary_percent >= 100.0
            && it.kind.share_percent <= 5
            && it.kind.baseline_percent <= 1.0
    });
    let medians: Vec<u64> = small.map(|it| it.bad_median).collect();
    assert_eq!(medians.len(), 8);
    assert!(medians.iter().all(|bad| (2..=4).contains(bad)), "{medians:?}");
}
