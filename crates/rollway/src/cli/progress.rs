//! What is shown of a deployment on its way: a picture on a terminal, lines elsewhere.

use std::future::Future;
use std::time::Instant;

use rollway_core::event::{DeploymentState, Event, What};
use rollway_core::plan::Split;
use rollway_core::view::{ArmView, DeploymentView, EventView, ServiceView};

use super::live::{LINES_MAX, Live, columns};
use super::out::{Out, Tone, one_line};
use super::words;

/// The bar of ready instances is this wide.
const BAR_WIDTH: usize = 20;
/// Lines of the picture that are not stages.
const OTHER_LINES: usize = 4;

/// Shows a deployment.
pub enum Reporter {
    /// On a terminal.
    Picture(Box<Picture>),
    /// Elsewhere.
    Lines(Lines),
}

/// A picture that is drawn again and again.
pub struct Picture {
    live: Live,
    out: Out,
    lines: Lines,
    view: DeploymentView,
    service: Option<ServiceView>,
    clock: Option<u64>,
    seen: Instant,
}

/// One line for everything that matters.
pub struct Lines {
    out: Out,
    started_at_ms: i64,
    split: Option<(Split, u32)>,
    waiting: Option<String>,
    waiting_said: bool,
    said: Option<String>,
}

impl Reporter {
    /// Begins to show a deployment.
    #[must_use]
    pub fn new(out: Out, view: &DeploymentView) -> Self {
        let lines = Lines {
            out,
            started_at_ms: view.started_at_ms,
            split: None,
            waiting: None,
            waiting_said: false,
            said: None,
        };
        if out.quiet || !out.stderr_is_terminal() {
            out.note(&headline(view));
            return Self::Lines(lines);
        }
        Self::Picture(Box::new(Picture {
            live: Live::new(),
            out,
            lines,
            view: view.clone(),
            service: None,
            clock: None,
            seen: Instant::now(),
        }))
    }

    /// Takes what has happened.
    pub fn news(&mut self, events: &[EventView], view: &DeploymentView, service: &ServiceView) {
        match self {
            Self::Lines(lines) => {
                for event in events {
                    if let Some(text) = lines.event(event, view, service.instances_wanted) {
                        lines.say(event.at_ms, &text);
                    }
                }
                if let Some(text) = lines.waiting(events, view) {
                    lines.say(words::now_ms(), &text);
                }
            }
            Self::Picture(picture) => picture.news(events, view, service),
        }
    }

    /// Draws what changes by itself: times.
    pub fn draw(&self) {
        if let Self::Picture(picture) = self {
            picture.draw();
        }
    }

    /// Says something beside the deployment.
    pub fn note(&self, text: &str) {
        match self {
            Self::Lines(lines) => lines.out.note(text),
            Self::Picture(picture) => picture.live.say(text),
        }
    }

    /// Leaves the terminal to something else for a while.
    pub async fn aside<T>(&self, other: impl Future<Output = T>) -> T {
        let Self::Picture(picture) = self else { return other.await };
        picture.live.hide();
        let result = other.await;
        picture.live.show();
        result
    }

    /// There is nothing more to show.
    pub fn end(&self) {
        if let Self::Picture(picture) = self {
            picture.live.clear();
        }
    }
}

impl Picture {
    fn news(&mut self, events: &[EventView], view: &DeploymentView, service: &ServiceView) {
        for event in events {
            if is_alarm(&event.kind)
                && let Some(text) = self.lines.event(event, view, service.instances_wanted)
            {
                let time = self.lines.time(event.at_ms);
                self.live.say(&format!("{time}  {}", self.out.paint_error(Tone::Bad, &text)));
            }
        }
        if let Some(last) = events.last() {
            self.clock = words::service_clock(last, words::now_ms());
        } else if let Some(clock) = &mut self.clock {
            *clock += u64::try_from(self.seen.elapsed().as_millis()).unwrap_or(0);
        }
        self.view = view.clone();
        self.service = Some(service.clone());
        self.seen = Instant::now();
        self.draw();
    }

    fn draw(&self) {
        let passed = u64::try_from(self.seen.elapsed().as_millis()).unwrap_or(0);
        let clock = self.clock.map(|clock| clock + passed);
        let lines = picture(terminal_marks(), &self.view, self.service.as_ref(), (clock, passed));
        let width = columns();
        // Colours come as marks around whole lines, so that a cut never leaves one open.
        let lines: Vec<String> = lines
            .into_iter()
            .map(|(tone, line)| {
                let line: String = line.chars().take(width.saturating_sub(1)).collect();
                self.out.paint_error(tone, &line)
            })
            .collect();
        self.live.draw(&lines);
    }
}

/// What is worth a line of its own above the picture.
fn is_alarm(kind: &str) -> bool {
    matches!(kind, "instance_failed" | "action_failed" | "undo_began" | "took_over" | "hook_ended")
}

/// `shop-7: canary to r2 (v2), from r1 (v1)`.
#[must_use]
pub fn headline(view: &DeploymentView) -> String {
    let to = words::release(&view.to);
    let from = match &view.from {
        Some(from) if from.number != view.to.number => format!(", from {}", words::release(from)),
        Some(_) | None => String::new(),
    };
    one_line(&format!("{}: {} to {to}{from}", view.id, view.strategy))
}

/// The picture of a deployment: a tone and a text for each line.
#[must_use]
pub fn picture(
    marks: Marks,
    view: &DeploymentView,
    service: Option<&ServiceView>,
    (clock, passed): (Option<u64>, u64),
) -> Vec<(Tone, String)> {
    let running = if view.state.is_terminal() { 0 } else { passed };
    let elapsed = words::duration(view.elapsed_ms + running);
    let state = match (view.state, view.undoing) {
        (DeploymentState::Paused, _) => "  paused",
        (_, true) => "  going back",
        (_, false) => "",
    };
    let mut lines = vec![(Tone::Strong, format!("{}{state}  {elapsed}", headline(view)))];
    lines.extend(stages(marks, view, running));
    if let Some(service) = service {
        lines.push((Tone::Plain, format!("  {}", bar(service))));
    }
    if let Some(waiting) = waiting_words(view, clock) {
        let eta = view.eta_ms.map(|eta| eta.saturating_sub(passed)).filter(|eta| *eta > 0);
        let eta = eta.map(|eta| format!("; done in {} or more", words::duration(eta)));
        lines.push((Tone::Plain, format!("  waiting for {waiting}{}", eta.unwrap_or_default())));
    }
    if view.instances_failed > 0 {
        let failed = words::count(u64::from(view.instances_failed), "instance");
        lines.push((Tone::Bad, format!("  {failed} failed")));
    }
    lines
}

/// The stages, those around the active one where there are many.
fn stages(marks: Marks, view: &DeploymentView, passed: u64) -> Vec<(Tone, String)> {
    let room = LINES_MAX - OTHER_LINES;
    let active = view.stages.iter().position(|stage| stage.state == "active").unwrap_or(0);
    let first = active.saturating_sub(room / 2).min(view.stages.len().saturating_sub(room));
    let shown = &view.stages[first..view.stages.len().min(first + room)];
    let width = shown.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
    let line = |stage: &rollway_core::view::StageView| {
        let (tone, mark, more) = match stage.state.as_str() {
            "done" => (Tone::Good, marks[0], 0),
            "active" => (Tone::Plain, marks[1], passed),
            _ => (Tone::Faint, marks[2], 0),
        };
        let time = stage.elapsed_ms.map(|ms| words::duration(ms + more)).unwrap_or_default();
        let name = one_line(&stage.name);
        let goal = if stage.state == "active" { one_line(&stage.goal) } else { String::new() };
        (tone, format!("  {mark} {name:width$}  {time:>7}  {goal}").trim_end().to_owned())
    };
    shown.iter().map(line).collect()
}

/// Marks for done, active and pending.
pub type Marks = [&'static str; 3];

/// Those that every place can show.
pub const PLAIN_MARKS: Marks = ["+", ">", "."];

/// Those for a terminal.
#[must_use]
pub fn terminal_marks() -> Marks {
    if is_utf8() { ["\u{2713}", "\u{25cf}", "\u{25cb}"] } else { PLAIN_MARKS }
}

fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    locale.is_some_and(|locale| locale.to_uppercase().replace('-', "").contains("UTF8"))
}

/// `ready 3/4 [###############-----]  r1 90 % x3, r2 10 % x1`.
#[must_use]
pub fn bar(service: &ServiceView) -> String {
    let (ready, wanted) = (service.instances_ready, service.instances_wanted);
    let filled = match wanted {
        0 => BAR_WIDTH,
        wanted => BAR_WIDTH.min(BAR_WIDTH * ready as usize / wanted as usize),
    };
    let bar = format!("{}{}", "#".repeat(filled), "-".repeat(BAR_WIDTH - filled));
    format!("ready {ready}/{wanted} [{bar}]  {}", arms(&service.arms))
}

/// `r1 90 % x3, r2 10 % x1`.
#[must_use]
pub fn arms(arms: &[ArmView]) -> String {
    let words: Vec<String> = arms
        .iter()
        .map(|arm| {
            let count = match arm.ready == arm.instances {
                true => format!("x{}", arm.instances),
                false => format!("x{}/{}", arm.ready, arm.instances),
            };
            format!("r{} {} % {count}", arm.release.number, arm.weight)
        })
        .collect();
    if words.is_empty() { "no instances".to_owned() } else { words.join(", ") }
}

/// `hold 30s, 12s left`.
#[must_use]
pub fn waiting_words(view: &DeploymentView, clock: Option<u64>) -> Option<String> {
    let waiting = view.waiting.as_ref()?;
    let what = one_line(&waiting.what);
    let left = match (waiting.until, clock) {
        (Some(until), Some(clock)) => until.0.checked_sub(clock).filter(|left| *left > 0),
        (None, _) | (_, None) => None,
    };
    Some(match left {
        Some(left) => format!("{what}, {} left", words::duration(left)),
        None => what,
    })
}

/// Which quarter of the wanted instances has traffic: a rolling change of thousands of instances
/// is four lines.
fn quarter(members: u32, wanted: u32) -> u32 {
    (4 * members).checked_div(wanted).unwrap_or(0)
}

impl Lines {
    fn say(&mut self, at_ms: i64, text: &str) {
        if self.said.as_deref() == Some(text) {
            return;
        }
        self.said = Some(text.to_owned());
        self.out.note(&format!("{}  {text}", self.time(at_ms)));
    }

    fn time(&self, at_ms: i64) -> String {
        let passed = u64::try_from(at_ms - self.started_at_ms).unwrap_or(0);
        format!("{:>7}", words::duration(passed))
    }

    /// The event in words, if it is one that matters to somebody who waits.
    fn event(&mut self, event: &EventView, view: &DeploymentView, wanted: u32) -> Option<String> {
        let stage = |index: usize| {
            let name = view.stages.get(index).map(|stage| stage.name.as_str());
            let name = name.map(|name| format!(", {}", one_line(name))).unwrap_or_default();
            format!("stage {} of {}{name}", index + 1, view.stages.len())
        };
        let what = serde_json::from_value::<Event>(event.body.clone()).map(|event| event.what);
        match what {
            Ok(What::StageReached { stage: index }) => {
                Some(format!("{} has reached its goal", stage(index)))
            }
            Ok(
                What::DeploymentBegan { .. }
                | What::DeploymentEnded { .. }
                | What::Intended { .. }
                | What::InstanceStarted { .. }
                | What::InstancesStarted { .. }
                | What::InstanceHealthy { .. }
                | What::InstanceRetired { cut: 0, .. }
                | What::InstancesRetired { .. }
                | What::StageDone { .. }
                | What::StandbyEnded { .. },
            ) => None,
            Ok(What::Routed { split, members, .. }) => {
                let key = (split, quarter(members, wanted));
                let is_new = self.split.as_ref() != Some(&key);
                self.split = Some(key);
                is_new.then(|| one_line(&event.text))
            }
            // Also what this version does not know: better a line too many.
            Ok(_) | Err(_) => Some(one_line(&event.text)),
        }
    }

    /// What is waited for, once it has lasted.
    fn waiting(&mut self, events: &[EventView], view: &DeploymentView) -> Option<String> {
        let what = view.waiting.as_ref().map(|waiting| one_line(&waiting.what));
        let lasts = events.is_empty() && what == self.waiting;
        if what != self.waiting {
            (self.waiting, self.waiting_said) = (what, false);
        }
        if !lasts || self.waiting_said {
            return None;
        }
        self.waiting_said = true;
        let waiting = view.waiting.as_ref()?;
        let until = match waiting.until {
            Some(until) => {
                let length = words::duration(until.0.saturating_sub(waiting.since.0));
                format!(" (at most {length})")
            }
            None => String::new(),
        };
        Some(format!("waiting for {}{until}", one_line(&waiting.what)))
    }
}
