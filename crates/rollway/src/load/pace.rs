//! Waiting until a moment, to the microsecond where the system can.

use std::io;
use std::time::Instant;

/// Waits until moments. The runtime's own timer rounds up to whole milliseconds, which at 2,000
/// requests a second would be most of the latency of a quick target.
#[cfg(target_os = "linux")]
pub(super) struct Pace(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Pace {
    /// A timer of the runtime that is entered.
    pub fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "`register` is unsafe because a type may lie about its descriptor \
                (tokio#8587); `OwnedFd` owns its own and cannot"
        )]
        tokio::io::unix::AsyncFd::new(timer).map(Self)
    }

    pub async fn until(&self, moment: Instant) {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};

        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)
            .expect("a timer that is open takes any time that is not negative");
        // Setting the timer anew takes back an expiry that was not read, so none is ever read.
        let ready = self.0.readable().await;
        ready.expect("the runtime outlives what runs on it").clear_ready();
    }
}

/// Waits until moments, to the millisecond.
#[cfg(not(target_os = "linux"))]
pub(super) struct Pace;

#[cfg(not(target_os = "linux"))]
impl Pace {
    pub fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub async fn until(&self, moment: Instant) {
        tokio::time::sleep_until(moment.into()).await;
    }
}
