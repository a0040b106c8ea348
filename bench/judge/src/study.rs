//! The study itself: every cell many times, on all cores, the same for the same seed.
//!
//! A cell is a scenario under a traffic. Each of its replicas is an hour that all who judge look
//! at together; it has a generator of its own, seeded by the study's seed, the cell and the
//! replica, so that neither the number of threads nor what else is run changes a figure.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rollway_core::verdict::stats::count;
use rollway_sim::rng::Rng;

use crate::methods::Answer;
use crate::methods::Check;
use crate::panel::{Kayentas, Part, Row};
use crate::say;
use crate::world::{Scenario, Traffic, World};

/// So many replicas are one piece of work.
const PIECE: u64 = 100;
/// So often is said how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Replicas of a cell whose versions differ.
    pub replicas: u64,
    /// Replicas of a cell whose versions are the same: of a rare event more are needed.
    pub even_replicas: u64,
    /// Kayenta judges one in so many of them.
    pub kayenta_every: u64,
    /// How many threads.
    pub threads: usize,
    /// The seed.
    pub seed: u64,
}

/// What became of a row in a cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Hours.
    pub replicas: u64,
    /// When those went back that did, in seconds.
    pub back: Vec<u64>,
    /// When those were certified that were, before they went back if they did.
    pub certified: Vec<u64>,
    /// How many were promoted at the deadline, not certified.
    pub clean: u64,
    /// How many bad requests the canaries served until they went back or the hour was over.
    pub bad: u64,
}

impl Tally {
    /// The share that went back.
    pub fn back_share(&self) -> f64 {
        count(self.back.len() as u64) / count(self.replicas)
    }

    /// The share that was certified.
    pub fn certified_share(&self) -> f64 {
        count(self.certified.len() as u64) / count(self.replicas)
    }

    /// The median time to going back, in seconds; infinite where most did not.
    pub fn back_median(&self) -> f64 {
        median(&self.back, self.replicas)
    }

    /// The median time to the certificate.
    pub fn certified_median(&self) -> f64 {
        median(&self.certified, self.replicas)
    }

    /// Bad requests on average.
    pub fn bad_mean(&self) -> f64 {
        count(self.bad) / count(self.replicas)
    }

    fn add(&mut self, fate: &Fate) {
        self.replicas += 1;
        self.back.extend(fate.back);
        self.certified.extend(fate.certified);
        self.clean += u64::from(fate.last == Answer::PromotedAsClean && fate.certified.is_none());
        self.bad += fate.bad;
    }

    fn merge(&mut self, other: Self) {
        self.replicas += other.replicas;
        self.back.extend(other.back);
        self.certified.extend(other.certified);
        self.clean += other.clean;
        self.bad += other.bad;
    }
}

/// The middle of so many times, of which some are never.
fn median(seconds: &[u64], of: u64) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_unstable();
    let middle = usize::try_from(of / 2).unwrap_or(usize::MAX);
    sorted.get(middle).map_or(f64::INFINITY, |seconds| count(*seconds))
}

/// What became of a row in one hour.
struct Fate {
    back: Option<u64>,
    certified: Option<u64>,
    last: Answer,
    bad: u64,
}

/// A cell and what came of it.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Of which part.
    pub part: Part,
    /// Its traffic.
    pub traffic: Traffic,
    /// Its scenario.
    pub scenario: Scenario,
    /// The rows that judged it.
    pub rows: BTreeMap<Row, Tally>,
}

/// Replicas of a cell that are run together.
struct Piece {
    cell: usize,
    replicas: std::ops::Range<u64>,
}

/// Runs these cells.
pub fn run(cells: Vec<(Part, Traffic, Scenario)>, size: &Size) -> Vec<Cell> {
    let cell = |(part, traffic, scenario)| Cell { part, traffic, scenario, rows: BTreeMap::new() };
    let cells: Vec<Cell> = cells.into_iter().map(cell).collect();
    let pieces: Vec<Piece> =
        (0..).zip(&cells).flat_map(|(at, cell)| pieces(at, cell, size)).collect();
    let done = Mutex::new((cells.clone(), 0, Instant::now()));
    on_threads(&pieces, size.threads, |_, piece| {
        let rows = run_piece(&cells[piece.cell], piece, size);
        let mut done = done.lock().expect("no thread panics while it has it");
        let (cells, number, said) = &mut *done;
        for (row, tally) in rows {
            cells[piece.cell].rows.entry(row).or_default().merge(tally);
        }
        *number += 1;
        if said.elapsed() > PROGRESS {
            *said = Instant::now();
            say::note(&format!("{number} of {} pieces", pieces.len()));
        }
    });
    done.into_inner().expect("no thread panicked").0
}

/// Does all of them, each on the next thread that has nothing to do.
pub fn on_threads<T: Sync>(all: &[T], threads: usize, act: impl Fn(usize, &T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(at) else { return };
                    act(at, one);
                }
            });
        }
    });
}

fn pieces(cell: usize, of: &Cell, size: &Size) -> Vec<Piece> {
    let all = if of.scenario.is_even() { size.even_replicas } else { size.replicas };
    let starts = (0..all).step_by(PIECE as usize);
    starts.map(|from| Piece { cell, replicas: from..(from + PIECE).min(all) }).collect()
}

fn run_piece(cell: &Cell, piece: &Piece, size: &Size) -> BTreeMap<Row, Tally> {
    let world = World::new(cell.traffic, cell.scenario, cell.part.drawn());
    let mut rows: BTreeMap<Row, Tally> = BTreeMap::new();
    for replica in piece.replicas.clone() {
        let kayenta =
            if replica % size.kayenta_every == 0 { Kayentas::Here } else { Kayentas::Away };
        let mut rng = Rng::new(seed(size.seed, cell, replica));
        for (row, fate) in hour(&world, cell.part, kayenta, &mut rng) {
            rows.entry(row).or_default().add(&fate);
        }
    }
    rows
}

/// By the cell's own words, so that a cell is the same whatever else is run.
fn seed(study: u64, cell: &Cell, replica: u64) -> u64 {
    let words = format!("{} {} {}", cell.part.name(), cell.traffic.words(), cell.scenario.name);
    // FNV-1a.
    let hash = words.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.wrapping_add(study.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(replica << 20)
}

/// One hour that all look at.
fn hour(world: &World, part: Part, kayenta: Kayentas, rng: &mut Rng) -> Vec<(Row, Fate)> {
    let history = world.history(rng);
    let panel = part.panel(&world.scenario, history, kayenta);
    let begun = || Fate { back: None, certified: None, last: Answer::GoOn, bad: 0 };
    let mut seats: Vec<_> = panel
        .into_iter()
        .map(|seat| {
            let fates: Vec<Fate> = seat.rows.iter().map(|_| begun()).collect();
            (seat, fates)
        })
        .collect();
    let step = world.traffic.check_seconds;
    for number in 1..=world.traffic.checks() {
        let (from_seconds, until_seconds) = ((number - 1) * step, number * step);
        let seen = world.next(from_seconds, rng);
        let check = Check { number, from_seconds, until_seconds, seen: &seen };
        let mut is_over = true;
        for (seat, fates) in &mut seats {
            if fates.iter().all(|fate| fate.back.is_some()) {
                continue;
            }
            is_over = false;
            let answers = seat.method.look(&check);
            for (fate, answer) in fates.iter_mut().zip(answers) {
                fate.hear(answer, until_seconds, seen.errors.canary.bad);
            }
        }
        if is_over {
            break;
        }
    }
    let rows = seats.into_iter().flat_map(|(seat, fates)| seat.rows.into_iter().zip(fates));
    rows.collect()
}

impl Fate {
    fn hear(&mut self, answer: Answer, seconds: u64, bad: u64) {
        if self.back.is_some() {
            return;
        }
        self.bad += bad;
        self.last = answer;
        match answer {
            Answer::RollBack => self.back = Some(seconds),
            Answer::Certified => {
                self.certified.get_or_insert(seconds);
            }
            Answer::GoOn | Answer::PromotedAsClean | Answer::Held => {}
        }
    }
}
