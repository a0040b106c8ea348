//! Who gets which release.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::atomic::Ordering::SeqCst;

use super::super::table::{Arm, Member};
use super::*;

fn service(arms: &[(u64, u32, usize)], newest: Option<u64>) -> Service {
    let service = Service::new("shop", 1);
    service.apply(table(arms, newest), false);
    service
}

fn table(arms: &[(u64, u32, usize)], newest: Option<u64>) -> ServiceTable {
    let arm = |(release, weight, count): &(u64, u32, usize)| Arm {
        release: *release,
        version: String::new(),
        weight: *weight,
        members: (0..*count)
            .map(|slot| Member {
                instance: format!("r{release}-{slot}"),
                address: ([127, 0, 0, 1], 9_000).into(),
            })
            .collect(),
    };
    let mut table =
        ServiceTable::new("shop", 1, vec!["8080".into()], arms.iter().map(arm).collect());
    table.newest = newest;
    table
}

fn release_at(service: &Service, point: u64) -> u64 {
    let live = service.live.load();
    live.arms[live.arm_at(point).unwrap()].release
}

#[test]
fn a_hundred_thousand_anonymous_clients_are_split_within_half_a_percent() {
    let service = service(&[(1, 90, 1), (2, 10, 1)], Some(2));
    let mut newest = 0;
    for _ in 0..100_000 {
        match service.pick(Who::Point(fastrand::u64(..)), &[]) {
            Picked::One { live, arm, .. } => newest += u32::from(live.arms[arm].release == 2),
            Picked::Nobody(_) => panic!("there are members"),
        }
    }
    assert!((9_500..=10_500).contains(&newest), "{newest}");
}

#[test]
fn who_is_on_the_newest_stays_there_while_it_grows() {
    let points: Vec<u64> = (0..2_000).map(|_| fastrand::u64(..)).collect();
    let mut on_newest = vec![false; points.len()];
    for weight in [0, 1, 5, 10, 25, 50, 99, 100] {
        let old = 100 - weight;
        let service = service(&[(1, old / 2, 1), (3, weight, 1), (2, old - old / 2, 1)], Some(3));
        for (point, was) in points.iter().zip(&mut on_newest) {
            let is = release_at(&service, *point) == 3;
            assert!(is || !*was, "went back at {weight}");
            *was = is;
        }
    }
    assert!(on_newest.iter().all(|is| *is));
}

#[test]
fn without_weights_every_member_gets_the_same() {
    let service = service(&[(1, 0, 3), (2, 0, 1)], Some(2));
    let mut counts: HashMap<String, u32> = HashMap::new();
    let mut leases = Vec::new();
    for _ in 0..40_000 {
        if let Picked::One { lease, .. } = service.pick(Who::Point(fastrand::u64(..)), &[]) {
            *counts.entry(lease.endpoint.instance.clone()).or_default() += 1;
            leases.push(lease);
        }
    }
    assert_eq!(counts.len(), 4);
    assert!(counts.values().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
}

#[test]
fn what_is_ejected_is_used_only_when_there_is_nothing_else() {
    let service = service(&[(1, 50, 2), (2, 50, 1)], Some(2));
    let endpoints = service.endpoints();
    let picked = |who: Who| match service.pick(who, &[]) {
        Picked::One { lease, .. } => Some(lease.endpoint.instance.clone()),
        Picked::Nobody(_) => None,
    };
    let newest = Who::Point(0);
    assert_eq!(picked(newest).as_deref(), Some("r2-0"));
    endpoints.iter().find(|one| one.instance == "r2-0").unwrap().ejected.store(true, SeqCst);
    assert!(picked(newest).unwrap().starts_with("r1-"));
    assert_eq!(picked(Who::Preview(2)), None, "the preview shows one release or none");
    for one in &endpoints {
        one.ejected.store(true, SeqCst);
    }
    assert!(picked(newest).is_some(), "one of them may be back");
}

#[test]
fn after_a_restart_nothing_is_used_before_it_answers() {
    let service = Service::new("shop", 1);
    service.apply(table(&[(1, 100, 2)], None), true);
    assert!(matches!(service.pick(Who::Point(0), &[]), Picked::Nobody(_)));
    let endpoint = Arc::clone(&service.endpoints()[1]);
    endpoint.verified.store(true, SeqCst);
    for _ in 0..20 {
        let Picked::One { lease, .. } = service.pick(Who::Point(0), &[]) else { panic!("one is") };
        assert_eq!(lease.endpoint.id, endpoint.id);
    }
}

#[test]
fn an_acknowledged_switch_is_exact() {
    // Pickers race with switches; whatever leaves must have no lease once it is counted as empty.
    let service = Arc::new(service(&[(1, 100, 1)], None));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    // Endpoints are numbered in order: those up to this number are drained.
    let gone = Arc::new(AtomicU64::new(0));
    let pickers: Vec<_> = (0..2)
        .map(|_| {
            let (service, stop) = (Arc::clone(&service), Arc::clone(&stop));
            let gone = Arc::clone(&gone);
            std::thread::spawn(move || {
                while !stop.load(SeqCst) {
                    if let Picked::One { lease, .. } = service.pick(Who::Point(0), &[]) {
                        // While this lease is held, its endpoint cannot count as drained.
                        assert!(lease.endpoint.id > gone.load(SeqCst), "used after its drain");
                    }
                }
            })
        })
        .collect();
    for release in 2..2_000 {
        let before = service.endpoints();
        service.apply(table(&[(release, 100, 1)], None), false);
        for old in before.iter().filter(|one| one.retired.load(SeqCst)) {
            while old.in_flight(Kind::Request) > 0 {
                std::hint::spin_loop();
            }
            gone.fetch_max(old.id, SeqCst);
        }
    }
    stop.store(true, SeqCst);
    for picker in pickers {
        picker.join().unwrap();
    }
}
