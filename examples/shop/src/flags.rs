//! The flags: which version this is, and how it is to misbehave.

use std::time::Duration;

/// What `--help` prints.
pub const HELP: &str = "\
shop: a small HTTP service that can be told to misbehave

usage: shop --port N [flags]

  --port N             listen on this port; 0 = any free one; default: $PORT
  --host ADDRESS       listen on this address; default: 127.0.0.1
  --version V          the version that it says it is; default: $ROLLWAY_VERSION, or dev
  --latency 20ms       answer this much later
  --tail 200ms         answer one request in twenty by this much later still
  --error-rate 5%      answer 500 to so many of a hundred requests, evenly spread
  --error-bound 2%     answer 503 to /healthz while more than that share of the last 200
                       requests was answered with 500 (of the last 60 at least)
  --listen-after 1s    open the port only this long after the start
  --ready-after 500ms  answer 503 to everything until this long after the start
  --never-healthy      answer 503 to /healthz, always
  --unhealthy-after 2s answer 503 to /healthz from this long after the start
  --crash-at-start     exit with 1 at once
  --crash-after 3s     exit with 1 this long after the start, whatever is in flight
  --ignore-term        take no notice of SIGTERM
  --help               print this

environment:
  PORT, ROLLWAY_VERSION, ROLLWAY_INSTANCE   defaults for the flags, and the instance's name
  SHOP_WITNESS=FILE                         append a JSON line for start, ready and stop
  SHOP_WITNESS_REQUESTS=1                   and one for every request
";

/// Everything that shop was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Flags {
    /// Where it listens.
    pub host: String,
    /// Where it listens; 0 = any free port.
    pub port: u16,
    /// Which version it says it is.
    pub version: String,
    /// Which instance it says it is.
    pub instance: String,
    /// How much later it answers.
    pub latency: Duration,
    /// How much later it answers one request in twenty still.
    pub tail: Duration,
    /// So many of a million requests are answered with 500.
    pub errors_per_million: u64,
    /// `/healthz` fails while a larger share of the last requests has failed, in millionths.
    pub error_bound_per_million: Option<u64>,
    /// When the port opens.
    pub listen_after: Duration,
    /// Until when everything is answered with 503.
    pub ready_after: Duration,
    /// Whether `/healthz` fails always.
    pub never_healthy: bool,
    /// From when `/healthz` fails.
    pub unhealthy_after: Option<Duration>,
    /// Whether it crashes at once.
    pub crash_at_start: bool,
    /// When it crashes.
    pub crash_after: Option<Duration>,
    /// Whether it takes no notice of SIGTERM.
    pub ignore_term: bool,
}

/// What the command line asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// To serve.
    Serve(Box<Flags>),
    /// To print the flags.
    Help,
}

const KNOWN: &str = "--crash-after, --crash-at-start, --error-bound, --error-rate, --help, \
    --host, --ignore-term, --latency, --listen-after, --never-healthy, --port, --ready-after, \
    --tail, --unhealthy-after, --version";

/// Reads the command line; `env` looks up an environment variable.
pub fn read(
    arguments: impl Iterator<Item = String>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Asked, String> {
    let mut port = None;
    let mut flags = Flags {
        host: "127.0.0.1".to_owned(),
        port: 0,
        version: env("ROLLWAY_VERSION").unwrap_or_else(|| "dev".to_owned()),
        instance: env("ROLLWAY_INSTANCE").unwrap_or_default(),
        latency: Duration::ZERO,
        tail: Duration::ZERO,
        errors_per_million: 0,
        error_bound_per_million: None,
        listen_after: Duration::ZERO,
        ready_after: Duration::ZERO,
        never_healthy: false,
        unhealthy_after: None,
        crash_at_start: false,
        crash_after: None,
        ignore_term: false,
    };
    let mut arguments = Arguments { rest: arguments, inline: None };
    while let Some(name) = arguments.name()? {
        match name.as_str() {
            "--port" => port = Some(port_of("--port", &arguments.value(&name)?)?),
            "--host" => flags.host = arguments.value(&name)?,
            "--version" => flags.version = label(&name, arguments.value(&name)?)?,
            "--latency" => flags.latency = duration(&name, &arguments.value(&name)?)?,
            "--tail" => flags.tail = duration(&name, &arguments.value(&name)?)?,
            "--error-rate" => flags.errors_per_million = rate(&name, &arguments.value(&name)?)?,
            "--error-bound" => {
                flags.error_bound_per_million = Some(rate(&name, &arguments.value(&name)?)?);
            }
            "--listen-after" => flags.listen_after = duration(&name, &arguments.value(&name)?)?,
            "--ready-after" => flags.ready_after = duration(&name, &arguments.value(&name)?)?,
            "--unhealthy-after" => {
                flags.unhealthy_after = Some(duration(&name, &arguments.value(&name)?)?);
            }
            "--crash-after" => flags.crash_after = Some(duration(&name, &arguments.value(&name)?)?),
            "--never-healthy" => flags.never_healthy = arguments.alone(&name)?,
            "--crash-at-start" => flags.crash_at_start = arguments.alone(&name)?,
            "--ignore-term" => flags.ignore_term = arguments.alone(&name)?,
            "--help" | "-h" => return Ok(Asked::Help),
            _ if name.starts_with('-') => {
                return Err(format!("unknown flag {name:?}; known: {KNOWN}"));
            }
            _ => return Err(format!("unexpected argument {name:?}; shop takes only flags")),
        }
    }
    flags.port = match (port, env("PORT")) {
        (Some(port), _) => port,
        (None, Some(text)) => port_of("PORT", &text)?,
        (None, None) => return Err("--port is missing, and PORT is not set".to_owned()),
    };
    Ok(Asked::Serve(Box::new(flags)))
}

/// The command line, where a value is the next word or follows `=`.
struct Arguments<I> {
    rest: I,
    inline: Option<String>,
}

impl<I: Iterator<Item = String>> Arguments<I> {
    fn name(&mut self) -> Result<Option<String>, String> {
        let Some(word) = self.rest.next() else { return Ok(None) };
        match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => {
                self.inline = Some(value.to_owned());
                Ok(Some(name.to_owned()))
            }
            _ => Ok(Some(word)),
        }
    }

    fn value(&mut self, name: &str) -> Result<String, String> {
        let value = self.inline.take().or_else(|| self.rest.next());
        value.ok_or_else(|| format!("{name} needs a value"))
    }

    /// A flag without a value; the answer is that it was given.
    fn alone(&mut self, name: &str) -> Result<bool, String> {
        match self.inline.take() {
            Some(_) => Err(format!("{name} takes no value")),
            None => Ok(true),
        }
    }
}

fn port_of(name: &str, text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{name} is {text:?}; expected a port from 0 to 65535"))
}

/// A version goes into a header, so it must be printable and short.
fn label(name: &str, text: String) -> Result<String, String> {
    const LABEL_BYTES_MAX: usize = 128;
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    if text.is_empty() || !printable || text.len() > LABEL_BYTES_MAX {
        return Err(format!(
            "{name} is {text:?}; expected 1 to {LABEL_BYTES_MAX} printable characters, no spaces"
        ));
    }
    Ok(text)
}

/// Reads `20ms`, `1.5s` or `2m`.
fn duration(name: &str, text: &str) -> Result<Duration, String> {
    /// A day: nobody waits longer for a demonstration.
    const SECONDS_MAX: f64 = 86_400.0;
    let wrong = || format!("{name} is {text:?}; expected a duration such as 20ms, 3s or 1m");
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let number: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let seconds = match &text[digits..] {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "" if number == 0.0 => 0.0,
        _ => return Err(wrong()),
    };
    if seconds > SECONDS_MAX {
        return Err(format!("{name} is {text:?}; the longest is a day"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads `5%` or `0.05` as parts of a million.
fn rate(name: &str, text: &str) -> Result<u64, String> {
    let wrong = || format!("{name} is {text:?}; expected a share such as 5% or 0.05");
    let (number, whole) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share = number.parse::<f64>().map_err(|_| wrong())? / whole;
    if !(0.0..=1.0).contains(&share) {
        return Err(wrong());
    }
    Ok((share * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Asked, String> {
        let words = line.split_whitespace().map(str::to_owned);
        read(words, |name| (name == "PORT").then(|| "7000".to_owned()))
    }

    fn flags(line: &str) -> Flags {
        match check(line) {
            Ok(Asked::Serve(flags)) => *flags,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn flags_are_read_with_their_units() {
        let read =
            flags("--port 80 --version v2 --latency 20ms --error-rate 5% --crash-after=1.5s");
        assert_eq!((read.port, read.version.as_str()), (80, "v2"));
        assert_eq!(read.latency, Duration::from_millis(20));
        assert_eq!(read.errors_per_million, 50_000);
        assert_eq!(read.crash_after, Some(Duration::from_millis(1500)));
        assert_eq!(flags("--tail 200ms").tail, Duration::from_millis(200));
        assert_eq!(flags("--error-bound 2%").error_bound_per_million, Some(20_000));
        assert!(!read.never_healthy && flags("--never-healthy").never_healthy);
    }

    #[test]
    fn the_environment_gives_the_defaults() {
        assert_eq!(flags("").port, 7000);
        assert_eq!(flags("--port 0").port, 0);
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (line, expected) in [
            ("--prot 80", "unknown flag \"--prot\"; known: --crash-after, "),
            ("--port", "--port needs a value"),
            ("--port 70000", "--port is \"70000\"; expected a port from 0 to 65535"),
            ("--latency fast", "--latency is \"fast\"; expected a duration such as 20ms"),
            ("--latency 20", "--latency is \"20\"; expected a duration"),
            ("--error-rate 120%", "--error-rate is \"120%\"; expected a share"),
            ("--never-healthy=yes", "--never-healthy takes no value"),
            ("80", "unexpected argument \"80\""),
        ] {
            let wrong = check(line).expect_err(line);
            assert!(wrong.starts_with(expected), "{line}: {wrong}");
        }
    }
}
