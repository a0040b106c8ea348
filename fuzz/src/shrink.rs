//! Makes a failing input small: whatever can be left out while it fails in the same way is.

use std::time::{Duration, Instant};

use crate::judge::judge;
use crate::{Marks, Target};

/// Shrinking ends after this, with what it has by then.
const SHRINK_MAX: Duration = Duration::from_secs(20);

/// The smallest input found that fails as this one does.
#[must_use]
pub fn shrink(target: &Target, input: &[u8], what: &str) -> Vec<u8> {
    let until = Instant::now() + SHRINK_MAX;
    let wanted = kind(what);
    let fails = |input: &[u8]| {
        judge(target, input, &mut Marks::default()).is_err_and(|what| kind(&what) == wanted)
    };
    let mut small = input.to_vec();
    // What takes long to fail takes for ever to shrink.
    let mut part = if wanted.starts_with("time") { 0 } else { small.len().div_ceil(2) };
    while part > 0 && Instant::now() < until {
        let mut at = 0;
        while at < small.len() && Instant::now() < until {
            let mut less = small.clone();
            less.drain(at..(at + part).min(small.len()));
            match fails(&less) {
                true => small = less,
                false => at += part,
            }
        }
        part = if part == 1 { 0 } else { part.div_ceil(2) };
    }
    small
}

/// How it fails: the message without what differs from input to input.
fn kind(what: &str) -> String {
    let outside = what.split(['"', '`', '\'']).step_by(2).flat_map(str::chars);
    outside.filter(|c| !c.is_ascii_digit()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs_a_and_z(input: &[u8], _: &mut Marks) -> Result<(), String> {
        match input.contains(&b'a') && input.contains(&b'z') {
            true => Err("both".into()),
            false => Ok(()),
        }
    }

    #[test]
    fn what_is_not_needed_is_left_out() {
        let target =
            Target { name: "", about: "", words: &[], bytes_max: 99, check: needs_a_and_z };
        assert_eq!(shrink(&target, b"0123a4567890z12", "both"), b"az");
    }
}
