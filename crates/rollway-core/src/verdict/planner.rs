//! How long a judgement will take, before it begins: the information of a second of traffic,
//! against the evidence that is needed.

use super::stats::special::least;

/// What a bet loses against the best one, in logarithms: measured for rollbacks.
const LOSS_ROLLBACK: f64 = 2.0;
/// The same for certificates.
const LOSS_CERTIFICATE: f64 = 1.2;
/// Shares of the traffic that are proposed, in percent.
const SHARES_PERCENT: [u32; 6] = [1, 2, 5, 10, 25, 50];

/// The traffic of both arms, and how often the stable version fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// Requests a second, of both arms.
    pub per_second: f64,
    /// The canary's share: 0.05 is 5 %.
    pub share: f64,
    /// The share of requests that fail on the stable version.
    pub baseline_rate: f64,
}

/// The divergence of Kullback and Leibler of two coins.
fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p == 0.0 { 0.0 } else { p * (p / q).ln() };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

impl Traffic {
    /// Seconds until a canary that fails at this rate is rolled back, about; infinite where it
    /// is no different.
    #[must_use]
    pub fn rollback_seconds(&self, canary_rate: f64, ln_needed: f64) -> f64 {
        let pooled = self.share * canary_rate + (1.0 - self.share) * self.baseline_rate;
        let information = self.share * divergence(canary_rate, pooled)
            + (1.0 - self.share) * divergence(self.baseline_rate, pooled);
        (ln_needed + LOSS_ROLLBACK) / (self.per_second * information)
    }

    /// Seconds until a canary that is as good as the stable version is certified to fail at most
    /// `ratio` times as often, and `margin` more.
    #[must_use]
    pub fn certificate_seconds(&self, ratio: f64, margin: f64, ln_needed: f64) -> f64 {
        let rate = self.baseline_rate;
        let information = least(1e-12, 1.0 - 1e-12, |p| {
            let allowed = (ratio * p + margin).clamp(1e-12, 1.0 - 1e-12);
            self.share * divergence(rate, allowed) + (1.0 - self.share) * divergence(rate, p)
        });
        (ln_needed + LOSS_CERTIFICATE) / (self.per_second * information.1)
    }

    /// Whether a certificate can be had before the deadline, and if not, which share would do; in
    /// words: "at 10 req/s a 5 % canary cannot be certified in 1 h; 50 % would take 13 min".
    #[must_use]
    pub fn advice(&self, ratio: f64, margin: f64, ln_needed: f64, deadline_seconds: f64) -> String {
        let seconds =
            |share: f64| Self { share, ..*self }.certificate_seconds(ratio, margin, ln_needed);
        let rate = short(self.per_second);
        let share = short(self.share * 100.0);
        let own = seconds(self.share);
        if own <= deadline_seconds {
            return format!(
                "at {rate} req/s a {share} % canary can be certified in about {}",
                duration(own)
            );
        }
        let limit = duration(deadline_seconds);
        let head = format!("at {rate} req/s a {share} % canary cannot be certified in {limit}");
        let shares = SHARES_PERCENT.iter().map(|percent| f64::from(*percent) / 100.0);
        let larger =
            shares.filter(|larger| *larger > self.share).map(|share| (share, seconds(share)));
        let fits = larger.clone().find(|(_, seconds)| *seconds <= deadline_seconds / 2.0);
        match fits.or_else(|| larger.clone().find(|(_, seconds)| *seconds <= deadline_seconds)) {
            Some((share, seconds)) => {
                let (percent, time) = (short(share * 100.0), duration(seconds));
                format!("{head}; {percent} % would take {time}")
            }
            None => match larger.clone().next_back() {
                Some((share, seconds)) => {
                    let (percent, time) = (short(share * 100.0), duration(seconds));
                    format!("{head}, nor can any other; {percent} % would take {time}")
                }
                None => format!("{head}; it would take {}", duration(own)),
            },
        }
    }
}

impl Traffic {
    /// When a regression is found, in words: "at 10 req/s and 5 %, a version of which 5 % fail is
    /// rolled back in about 2 min".
    #[must_use]
    pub fn warning(&self, canary_rate: f64, ln_needed: f64) -> String {
        let (rate, share) = (short(self.per_second), short(self.share * 100.0));
        let time = duration(self.rollback_seconds(canary_rate, ln_needed));
        let failing = short(canary_rate * 100.0);
        format!(
            "at {rate} req/s and {share} %, a version of which {failing} % fail is rolled back in \
             about {time}"
        )
    }
}

/// A number with at most one digit behind the point.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// A duration for people: one unit, rounded.
fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        "forever".to_owned()
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 3600.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{} h", short(seconds / 3600.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(per_second: f64, share: f64, baseline_rate: f64) -> Traffic {
        Traffic { per_second, share, baseline_rate }
    }

    fn advice(per_second: f64, share: f64) -> String {
        traffic(per_second, share, 0.001).advice(1.25, 0.002, 20f64.ln(), 3600.0)
    }

    #[test]
    fn advice_in_words() {
        let small = advice(10.0, 0.05);
        let head = "at 10 req/s a 5 % canary cannot be certified in 1 h; ";
        assert!(small.starts_with(head), "{small}");
        assert!(small.contains(" % would take "), "{small}");
        let large = advice(1000.0, 0.5);
        assert!(large.starts_with("at 1000 req/s a 50 % canary can be certified in about "));
        let least = advice(0.1, 0.5);
        assert!(least.contains("cannot be certified in 1 h; it would take"), "{least}");
        assert!(advice(0.1, 0.05).contains("nor can any other; 50 % would take"));
    }

    #[test]
    fn times_are_near_those_of_the_simulation() {
        // 1 % of 100 req/s at 5 %: medians of 320 s and 350 s were simulated.
        let needed = 100f64.ln();
        let first = traffic(100.0, 0.05, 0.001).rollback_seconds(0.005, needed);
        let second = traffic(100.0, 0.05, 0.01).rollback_seconds(0.02, needed);
        assert!((250.0..420.0).contains(&first), "{first}");
        assert!((250.0..420.0).contains(&second), "{second}");
        assert_eq!(traffic(100.0, 0.05, 0.01).rollback_seconds(0.01, needed), f64::INFINITY);
    }
}
