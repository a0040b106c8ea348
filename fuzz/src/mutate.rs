//! Makes an input from others: flips, splices, words of the target, numbers at their limits, and
//! lines and words moved as a whole, so that what is made often still is of its format.

use std::ops::Range;

use crate::rng::Rng;

/// Most mutations of one input.
const MUTATIONS_MAX: usize = 6;
/// The longest run of bytes that is doubled, cut or moved at once.
const RUN_MAX: usize = 64;
/// So often one run is repeated at most.
const REPEATS_MAX: usize = 64;

/// Numbers at which something often ends.
const NUMBERS: [&str; 24] = [
    "0",
    "-0",
    "1",
    "-1",
    "9",
    "99",
    "100",
    "101",
    "127",
    "255",
    "256",
    "32768",
    "65535",
    "65536",
    "2147483647",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e309",
    "0.1",
];

/// What inputs are made from.
#[derive(Debug)]
pub struct Source<'a> {
    /// What there is already.
    pub pool: &'a [Vec<u8>],
    /// Words that mean something to the target.
    pub words: &'a [&'a str],
    /// The longest input, in bytes.
    pub bytes_max: usize,
}

/// A new input.
pub fn mutate(source: &Source<'_>, rng: &mut Rng) -> Vec<u8> {
    let mut made = match source.pool.is_empty() {
        true => Vec::new(),
        false => rng.pick(source.pool).clone(),
    };
    for _ in 0..=rng.below(MUTATIONS_MAX) {
        once(&mut made, source, rng);
        made.truncate(source.bytes_max);
    }
    made
}

fn once(made: &mut Vec<u8>, source: &Source<'_>, rng: &mut Rng) {
    let word = match (source.words.is_empty(), rng.below(3)) {
        (true, _) | (false, 0) => (*rng.pick(&NUMBERS)).as_bytes(),
        (false, _) => rng.pick(source.words).as_bytes(),
    };
    match rng.below(14) {
        0 => flip(made, rng),
        1 => {
            let byte = rng.number().to_le_bytes()[0];
            put(made, &[byte], rng);
        }
        2 => {
            let at = run(made, rng);
            made.drain(at);
        }
        3 => made.truncate(rng.below(made.len() + 1)),
        4 => repeat(made, source.bytes_max, rng),
        5 | 6 => put(made, word, rng),
        7 => {
            if let Some(at) = token(made, |byte| byte.is_ascii_alphanumeric(), rng) {
                made.splice(at, word.iter().copied());
            }
        }
        8 | 9 => {
            if let Some(at) = token(made, |byte| byte.is_ascii_digit(), rng) {
                let number = *rng.pick(&NUMBERS);
                made.splice(at, number.bytes());
            }
        }
        10 => splice(made, source.pool, rng),
        11 => move_line(made, rng),
        12 => swap_tokens(made, rng),
        _ => {
            if let Some(at) = made.len().checked_sub(1).map(|last| rng.below(last + 1)) {
                made[at] = rng.number().to_le_bytes()[0];
            }
        }
    }
}

fn flip(made: &mut [u8], rng: &mut Rng) {
    if !made.is_empty() {
        let at = rng.below(made.len());
        made[at] ^= 1 << rng.below(8);
    }
}

fn put(made: &mut Vec<u8>, what: &[u8], rng: &mut Rng) {
    let at = rng.below(made.len() + 1);
    made.splice(at..at, what.iter().copied());
}

/// A run of bytes somewhere.
fn run(made: &[u8], rng: &mut Rng) -> Range<usize> {
    let start = rng.below(made.len() + 1);
    let length = rng.below(RUN_MAX.min(made.len() - start) + 1);
    start..start + length
}

fn repeat(made: &mut Vec<u8>, bytes_max: usize, rng: &mut Rng) {
    let at = run(made, rng);
    let room = bytes_max.saturating_sub(made.len()) / at.len().max(1);
    let times = (1 + rng.below(REPEATS_MAX)).min(room);
    let more = made[at.clone()].repeat(times);
    made.splice(at.end..at.end, more);
}

/// A whole run of bytes of one sort.
fn token(made: &[u8], is_of: fn(&u8) -> bool, rng: &mut Rng) -> Option<Range<usize>> {
    let from = rng.below(made.len() + 1);
    let behind = made[from..].iter().position(is_of).map(|at| from + at);
    let some = behind.or_else(|| made.iter().position(is_of))?;
    let start = made[..some].iter().rposition(|byte| !is_of(byte)).map_or(0, |at| at + 1);
    let end = made[some..].iter().position(|byte| !is_of(byte)).map_or(made.len(), |at| some + at);
    Some(start..end)
}

/// A part of another input instead of a part of this.
fn splice(made: &mut Vec<u8>, pool: &[Vec<u8>], rng: &mut Rng) {
    if pool.is_empty() {
        return;
    }
    let other = rng.pick(pool);
    let (start, end) = (rng.below(other.len() + 1), rng.below(other.len() + 1));
    let part = other[start.min(end)..start.max(end)].to_vec();
    let at = run(made, rng);
    made.splice(at, part);
}

/// A line goes elsewhere, or is there twice.
fn move_line(made: &mut Vec<u8>, rng: &mut Rng) {
    let mut lines: Vec<Vec<u8>> =
        made.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let from = rng.below(lines.len());
    let line = match rng.below(2) {
        0 => lines.remove(from),
        _ => lines[from].clone(),
    };
    lines.insert(rng.below(lines.len() + 1), line);
    *made = lines.concat();
}

/// Two words change places.
fn swap_tokens(made: &mut Vec<u8>, rng: &mut Rng) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let (Some(one), Some(other)) = (token(made, is_word, rng), token(made, is_word, rng)) else {
        return;
    };
    let (first, second) = if one.start <= other.start { (one, other) } else { (other, one) };
    if first.end <= second.start {
        let (a, b) = (made[first.clone()].to_vec(), made[second.clone()].to_vec());
        made.splice(second, a);
        made.splice(first, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_and_another_one_others() {
        let pool = [b"service: shop\nversion: 12\n".to_vec()];
        let source = Source { pool: &pool, words: &["health"], bytes_max: 64 };
        let made = |seed| {
            let mut rng = Rng::new(seed);
            (0..100).map(|_| mutate(&source, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
    }

    #[test]
    fn what_is_made_keeps_to_its_length_and_uses_the_words() {
        let pool = [b"a: 1\nb: 2\n".to_vec(), Vec::new()];
        let source = Source { pool: &pool, words: &["health"], bytes_max: 40 };
        let mut rng = Rng::new(7);
        let all: Vec<_> = (0..2000).map(|_| mutate(&source, &mut rng)).collect();
        assert!(all.iter().all(|made| made.len() <= 40));
        let with = |what: &[u8]| all.iter().any(|made| made.windows(what.len()).any(|w| w == what));
        assert!(with(b"health") && with(b"4294967296") && with(b"b: 2\na: 1"));
    }
}
