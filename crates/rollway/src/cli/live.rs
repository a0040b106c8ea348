//! A few lines on a terminal that are drawn again and again in their place.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::out::WIDTH;

/// So many lines fit beside what else is on a small terminal.
pub const LINES_MAX: usize = 20;
/// Drawing oftener than this is not seen.
const DRAWS_A_SECOND: u8 = 10;

/// The lines; they go away when this is dropped.
#[derive(Debug)]
pub struct Live {
    bar: ProgressBar,
}

impl Live {
    /// No lines yet.
    #[must_use]
    pub fn new() -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_A_SECOND);
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{msg}").expect("the template is right");
        bar.set_style(style);
        Self { bar }
    }

    /// Draws these lines in the place of the ones before.
    pub fn draw(&self, lines: &[String]) {
        self.bar.set_message(lines[..lines.len().min(LINES_MAX)].join("\n"));
        self.bar.tick();
    }

    /// Says a line above the others; it stays.
    pub fn say(&self, line: &str) {
        self.bar.println(line);
    }

    /// Takes the lines away for as long as something else needs the terminal.
    pub fn hide(&self) {
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// Brings them back.
    pub fn show(&self) {
        self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_A_SECOND));
    }

    /// Takes the lines away for good.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

/// How many columns the terminal has.
#[must_use]
pub fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(WIDTH)
}

/// The time between two looks at something that cannot be waited for.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
