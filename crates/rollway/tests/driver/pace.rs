//! How fast instances start and stop. Prints figures; bounds are far above what is measured, as
//! the machine may be busy.

use std::time::{Duration, Instant};

use rollway::driver::{Ensured, Launch};

use super::support::{Bench, instance, sleeper};

const ROUNDS: u32 = 40;

/// The middle one, and the least: what the machine's other work has least to do with.
fn middle_and_least(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[0])
}

#[expect(clippy::print_stderr, reason = "the figures are what is wanted")]
#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_a_stop_take_milliseconds() {
    let bench = Bench::process();
    let (mut starts, mut observes, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    for slot in 0..ROUNDS {
        let launch = Launch { instance: instance(slot), ..sleeper() };
        let began = Instant::now();
        assert_eq!(bench.start(1, &launch).await.0, Ensured::Added);
        starts.push(began.elapsed());
        let began = Instant::now();
        bench.observe().await;
        observes.push(began.elapsed());
    }
    for slot in 0..ROUNDS {
        let began = Instant::now();
        assert_eq!(bench.stop(1, slot).await, Ensured::Updated);
        stops.push(began.elapsed());
    }
    let (start, stop) = (middle_and_least(starts), middle_and_least(stops));
    let observe = middle_and_least(observes);
    eprintln!("start {start:?}, observe {observe:?}, stop {stop:?}");
    assert!(start.1 < Duration::from_millis(100), "{start:?}");
    assert!(stop.1 < Duration::from_millis(50), "{stop:?}");
}

#[expect(clippy::print_stderr, reason = "the figures are what is wanted")]
#[tokio::test]
async fn an_http_probe_is_cheap() {
    let server = super::probe::answering(super::probe::GOOD).await;
    let probe = super::probe::probe(super::probe::http(None));
    let mut times = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        assert!(super::probe::ask(&probe, Some(server)).await.ok);
        times.push(began.elapsed());
    }
    let took = middle_and_least(times);
    eprintln!("http probe, with the server that answers it {took:?}");
    assert!(took.1 < Duration::from_millis(20), "{took:?}");
}
