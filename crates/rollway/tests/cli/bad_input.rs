//! What people get wrong, and what they are told: `bad_input.txt` has both.

use std::fs;
use std::os::unix::fs::symlink;

use expect_test::expect_file;

use crate::support::World;

/// Each case is `#### title`, files as `=== name` and their lines, settings as `! word`, the
/// command line as `$ rollway ...`, then `----`, and what is said. `UPDATE_EXPECT=1` writes what
/// is said now. Every case ends with 2, and changes nothing.
#[test]
fn what_is_wrong_is_said_and_nothing_is_changed() {
    let mut said_now = String::new();
    let mut cases = 0;
    for case in include_str!("bad_input.txt").split("#### ").skip(1) {
        let (given, _) = case.split_once("----\n").expect("a case has what is said");
        let said = run(given);
        said_now.push_str(&format!("#### {given}----\n{said}\n"));
        cases += 1;
    }
    assert!(cases >= 40, "{cases} cases");
    expect_file!["bad_input.txt"].assert_eq(&format!("{}\n", said_now.trim_end()));
}

fn run(given: &str) -> String {
    let world = World::new();
    let mut lines = given.lines().skip(1).peekable();
    let mut said = None;
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("=== ") {
            let mut text = String::new();
            while let Some(line) = lines.next_if(|line| !is_mark(line)) {
                text.push_str(line);
                text.push('\n');
            }
            world.write(name, text);
        } else if let Some(setting) = line.strip_prefix("! ") {
            set(&world, setting);
        } else if let Some(command) = line.strip_prefix("$ rollway") {
            let arguments: Vec<&str> = command.split_whitespace().collect();
            let before = world.files();
            let result = world.run(&arguments);
            assert_eq!(result.code, 2, "{given}{}{}", result.stdout, result.stderr);
            assert_eq!(result.stdout, "", "{given}");
            assert!(world.files() == before, "something was changed by {given}");
            said = Some(result.stderr);
        } else {
            panic!("{line:?} is neither a file, a setting nor a command");
        }
    }
    said.expect("a case has a command line")
}

fn is_mark(line: &str) -> bool {
    ["=== ", "! ", "$ "].iter().any(|mark| line.starts_with(mark))
}

/// What a text file cannot say.
fn set(world: &World, setting: &str) {
    let file = |name: &str| world.folder().join(name);
    match setting.split_once(' ') {
        Some(("folder", name)) => fs::create_dir(file(name)).unwrap(),
        Some(("dangling", name)) => symlink("nowhere", file(name)).unwrap(),
        Some(("loop", name)) => symlink(name, file(name)).unwrap(),
        Some(("bytes", name)) => world.write(name, b"service: shop\nrun: \xff\xfe\n"),
        Some(("escapes", name)) => {
            world.write(name, b"service: shop\nrun: {command: [x]}\n\x1b[2Jname: \x07\n");
        }
        Some(("huge", name)) => world.write(name, "# much\n".repeat(200_000)),
        Some(("wide", name)) => {
            let text = format!("service: shop\nrun: {{command: [{}], x: 1}}\n", "a, ".repeat(500));
            world.write(name, text);
        }
        _ => panic!("unknown setting {setting:?}"),
    }
}
