//! The engine's loop as a state machine: what it is told comes from the bytes, in any order, with
//! outcomes that are late, doubled, of instances that never were, or of an earlier life.

mod cursor;
mod machine;
mod oracle;

use crate::{Marks, Target};
use cursor::Cursor;
use machine::Machine;

/// Most steps of one input.
const STEPS_MAX: usize = 250;

/// The target.
pub static TARGET: Target = Target {
    name: "engine",
    about: "the loop told anything in any order: fence, weights, ends, replay; never a panic",
    // Each byte is a choice; these are the steps of a deployment that gets somewhere.
    words: &[
        "\u{0}\u{0}\u{1}\u{0}",
        "\u{2}\u{2}\u{2}\u{2}",
        "\u{3}\u{0}\u{0}\u{2}\u{2}",
        "\u{3}\u{0}\u{0}\u{3}\u{0}\u{0}\u{2}",
        "\u{1}\u{0}",
        "\u{5}\u{1}\u{2}",
        "\u{6}\u{0}\u{2}",
        "\u{4}\u{6}\u{0}\u{0}",
        "\u{7}\u{0}",
    ],
    bytes_max: 768,
    check,
};

fn check(input: &[u8], marks: &mut Marks) -> Result<(), String> {
    let mut bytes = Cursor::new(input);
    let mut machine = Machine::new();
    for _ in 0..STEPS_MAX {
        if bytes.is_over() {
            break;
        }
        machine.step(&mut bytes, marks)?;
    }
    machine.oracle.replays(&machine.engine)
}
