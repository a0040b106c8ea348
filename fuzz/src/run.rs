//! Runs one target for a while, and tells what came of it.

use std::fmt;
use std::time::{Duration, Instant};

use crate::judge::{MEMORY_KIB_MAX, Memory, judge, judge_memory};
use crate::mutate::{Source, mutate};
use crate::rng::Rng;
use crate::shrink::shrink;
use crate::{Marks, Target};

/// Inputs between two looks at the clock and at the memory.
const BATCH: usize = 128;
/// Most inputs that are mutated further; beyond that a new one replaces an old one.
const POOL_MAX: usize = 4096;
/// After so many failures a run ends: they are most often one and the same.
const FAILURES_MAX: usize = 5;

/// An input that fails.
#[derive(Debug)]
pub struct Failing {
    /// The input, shrunk.
    pub input: Vec<u8>,
    /// What is wrong.
    pub what: String,
}

/// What a run came to.
#[derive(Debug)]
pub struct Account {
    /// The target's name.
    pub name: &'static str,
    /// The seed.
    pub seed: u64,
    /// Inputs tried.
    pub execs: u64,
    /// How long it took.
    pub took: Duration,
    /// Inputs that the run began with.
    pub corpus: usize,
    /// Inputs that it ended with.
    pub pool: usize,
    /// Different things that the target showed.
    pub marks: usize,
    /// What failed.
    pub failing: Vec<Failing>,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, seed, execs, corpus, pool, marks, .. } = self;
        let a_second = *execs as f64 / self.took.as_secs_f64().max(0.001);
        let failing = self.failing.len();
        write!(
            f,
            "fuzz {name}: {execs} execs, {a_second:.0}/s, corpus {corpus}, pool {pool}, \
             {marks} marks, {failing} failing, seed {seed}"
        )
    }
}

/// Tries the corpus, then mutations of it until the time is over. `watch` is told each input
/// before it is tried.
pub fn run(
    target: &'static Target,
    corpus: &[Vec<u8>],
    (seed, time): (u64, Duration),
    mut watch: impl FnMut(&[u8]),
) -> Account {
    let began = Instant::now();
    let mut rng = Rng::new(seed);
    let mut marks = Marks::default();
    let mut failing = Vec::new();
    let mut pool = Vec::new();
    let mut execs = 0;
    for input in corpus {
        watch(input);
        execs += 1;
        match judge(target, input, &mut marks).and_then(|()| judge_memory(target, input)) {
            Ok(()) => pool.push(input.clone()),
            Err(what) => failing.push(Failing { input: input.clone(), what }),
        }
    }
    marks.take_fresh();
    while began.elapsed() < time && failing.len() < FAILURES_MAX {
        let memory = Memory::reset();
        let mut batch = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let source = Source { pool: &pool, words: target.words, bytes_max: target.bytes_max };
            let input = mutate(&source, &mut rng);
            watch(&input);
            execs += 1;
            if let Err(what) = judge(target, &input, &mut marks) {
                failing.push(Failing { input: shrink(target, &input, &what), what });
            } else if marks.take_fresh() {
                keep(&mut pool, input.clone(), &mut rng);
            }
            batch.push(input);
            if began.elapsed() >= time {
                break;
            }
        }
        if memory.grown_kib() > MEMORY_KIB_MAX {
            // One of them did it, or all together did; tried alone, each shows its own share.
            let one = |input: Vec<u8>| {
                let what = judge_memory(target, &input).err()?;
                Some(Failing { input, what })
            };
            failing.extend(batch.into_iter().filter_map(one));
        }
    }
    let (took, marks) = (began.elapsed(), marks.count());
    let (name, corpus, pool) = (target.name, corpus.len(), pool.len());
    Account { name, seed, execs, took, corpus, pool, marks, failing }
}

fn keep(pool: &mut Vec<Vec<u8>>, input: Vec<u8>, rng: &mut Rng) {
    match pool.len() < POOL_MAX {
        true => pool.push(input),
        false => {
            let at = rng.below(POOL_MAX);
            pool[at] = input;
        }
    }
}
