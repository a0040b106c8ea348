//! Tries one input: a panic, a broken promise, too much time or too much memory is a failure.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::{Marks, Target};

/// One input may take so much of a processor. It is the thread's own time that counts, so that a
/// busy machine changes nothing; a build without optimisation is ten times slower.
pub const TIME_MAX: Duration = match cfg!(debug_assertions) {
    true => Duration::from_secs(10),
    false => Duration::from_secs(1),
};
/// The process may grow by so much over one input.
pub const MEMORY_KIB_MAX: u64 = 128 << 10;

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static IS_JUDGING: RefCell<bool> = const { RefCell::new(false) };
}

/// Tries one input; the error says what is wrong.
pub fn judge(target: &Target, input: &[u8], marks: &mut Marks) -> Result<(), String> {
    judge_within(TIME_MAX, target, input, marks)
}

fn judge_within(
    most: Duration,
    target: &Target,
    input: &[u8],
    marks: &mut Marks,
) -> Result<(), String> {
    listen_to_panics();
    let before = time();
    IS_JUDGING.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| (target.check)(input, marks)));
    IS_JUDGING.set(false);
    let took = time().saturating_sub(before);
    let panic = PANIC.take();
    match result {
        Err(_) => Err(format!("panic: {}", panic.unwrap_or_default())),
        Ok(Err(broken)) => Err(broken),
        Ok(Ok(())) if took > most => Err("time: an input took too long".to_owned()),
        Ok(Ok(())) => Ok(()),
    }
}

/// Tries one input with an eye on the memory that it takes; slower than [`judge`].
pub fn judge_memory(target: &Target, input: &[u8]) -> Result<(), String> {
    let before = Memory::reset();
    judge(target, input, &mut Marks::default())?;
    match before.grown_kib() {
        grown if grown > MEMORY_KIB_MAX => Err("memory: an input took too much".to_owned()),
        _ => Ok(()),
    }
}

/// The thread's own time on a processor.
fn time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// A panic is kept with its place, and not printed, while an input is being tried.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match IS_JUDGING.with_borrow(|is| *is) {
            true => PANIC.set(Some(info.to_string().replace('\n', " "))),
            false => usual(info),
        }));
    });
}

/// How large the process was, by its own account in `/proc`; zero where there is none.
#[derive(Debug)]
pub struct Memory {
    kib: u64,
}

impl Memory {
    /// Begins to watch: the kernel forgets the peak so far.
    #[must_use]
    pub fn reset() -> Self {
        // Where that is not allowed the old peak stays, and what is below it is not seen.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self { kib: peak_kib() }
    }

    /// How much larger it has been since.
    #[must_use]
    pub fn grown_kib(&self) -> u64 {
        peak_kib().saturating_sub(self.kib)
    }
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than the test allows, and no longer than it has to be.
    const SLOW: Duration = Duration::from_millis(200);

    fn misbehaves(input: &[u8], _: &mut Marks) -> Result<(), String> {
        match input {
            b"panic" => panic!("as told"),
            b"broken" => Err("a promise".into()),
            b"large" => {
                let large = std::hint::black_box(vec![1u8; 200 << 20]);
                assert_eq!(large.last(), Some(&1));
                Ok(())
            }
            b"slow" => {
                let before = time();
                while time() - before <= SLOW {}
                Ok(())
            }
            _ => Ok(()),
        }
    }

    #[test]
    fn what_misbehaves_is_found() {
        let target = Target { name: "", about: "", words: &[], bytes_max: 9, check: misbehaves };
        let marks = &mut Marks::default();
        let mut judged = |input: &[u8]| judge_within(SLOW / 2, &target, input, marks);
        assert!(judged(b"panic").is_err_and(|what| what.contains("as told")));
        assert!(judged(b"broken").is_err_and(|what| what.contains("a promise")));
        assert!(judged(b"slow").is_err_and(|what| what.contains("time")));
        assert_eq!(judged(b"good"), Ok(()));
        assert!(judge_memory(&target, b"large").is_err_and(|what| what.contains("memory")));
        assert_eq!(judge_memory(&target, b"good"), Ok(()));
    }
}
