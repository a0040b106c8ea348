//! Every rule catches a fault that is planted for it, and leaves alone what only looks like one.

use crate::source::Source;
use crate::{edges, rules};

/// What is found in a file of this name and text, a line each.
fn found(path: &str, text: &str) -> String {
    let source = Source::new(path, text);
    let mut wrong = rules::check(&source);
    wrong.extend(edges::check(&source));
    let lines: Vec<String> =
        wrong.iter().map(|wrong| format!("{}: {}", wrong.place, wrong.what)).collect();
    lines.join("\n")
}

const PROBE: &str = "crates/rollway/src/probe/tcp.rs";
const CORE: &str = "crates/rollway-core/src/plan.rs";

#[track_caller]
fn check(path: &str, text: &str, expected: &str) {
    let expected = if expected.is_empty() { String::new() } else { format!("{path}:{expected}") };
    assert_eq!(found(path, &format!("//! A file.\n{text}")), expected);
}

#[test]
fn a_head_is_wanted_in_sources_only() {
    assert_eq!(found(PROBE, "use x;\n"), format!("{PROBE}:1: a file without a head"));
    assert_eq!(found("crates/rollway/tests/it/main.rs", "use x;\n"), "");
}

#[test]
fn long_lines_are_found_by_characters_not_bytes() {
    check(PROBE, &"x".repeat(101), "2: a line of 101 characters; 100 is the most");
    check(PROBE, &format!("// {}", "\u{e9}".repeat(97)), "");
    let expected = format!("const A: &str = \"\n{}\n\";", "x y ".repeat(30));
    check("crates/rollway/tests/cli/main.rs", &expected, "");
    check(PROBE, &expected, "3: a line of 120 characters; 100 is the most");
}

#[test]
fn long_files_are_found_by_lines_of_code() {
    check(PROBE, &"const A: u8 = 1;\n".repeat(501), {
        "1: a file of 501 lines of code; 500 is the most"
    });
    check(PROBE, &"// words\n\n".repeat(501), "");
    let tests = "const A: u8 = 1;\n".repeat(501);
    check(PROBE, &format!("#[cfg(test)]\nmod tests {{\n{tests}}}\n"), "");
}

#[test]
fn long_functions_are_found() {
    let body = "    act();\n".repeat(69);
    let text = format!("fn long() where [u8; 4]: Copy {{\n{body}}}\n");
    check(PROBE, &text, "2: `long` has 71 lines; 70 are the most");
    check(PROBE, &format!("fn fits() {{\n{}}}\n", "    act();\n".repeat(68)), "");
    check(PROBE, &format!("#[cfg(test)]\nmod tests {{\n{text}}}\n"), "");
}

#[test]
fn many_arguments_are_found_beside_self() {
    let six = "fn f<F: Fn(&str) -> u8>(&self, a: F, b: &[u8; 2], c: (u8, u8), d: u8, e: u8, g: u8)";
    check(PROBE, &format!("{six} {{}}"), "2: `f` takes 6 arguments; 5 are the most");
    check(PROBE, "fn f(self: Arc<Self>, a: Map<u8, u8>, b: u8, c: u8, d: u8, e: u8,) {}", "");
}

#[test]
fn wide_traits_are_found() {
    let methods = "    fn a(&self) { let f: fn() = b; }\n".repeat(5);
    check(PROBE, &format!("trait Wide {{\n{methods}}}\n"), "");
    check(PROBE, &format!("trait Wide {{\n{methods}    fn b();\n}}\n"), {
        "2: `Wide` has 6 methods; 5 are the most"
    });
}

#[test]
fn bad_habits_are_found() {
    let planted = [
        (concat!("let a = b.unwrap", "();"), concat!("2: `.unwrap", "()`")),
        (concat!("#[", "allow(dead_code)]"), concat!("2: `#[", "allow`")),
        (concat!("#![", "allow(dead_code)]"), concat!("2: `#![", "allow`")),
        (concat!("#[", "ignore]"), concat!("2: `#[", "ignore`")),
        (concat!("todo", "!(\"later\")"), concat!("2: `todo", "!`")),
        (concat!("unimplemented", "!()"), concat!("2: `unimplemented", "!`")),
    ];
    for (text, expected) in planted {
        check(PROBE, text, expected);
        check(PROBE, &format!("// {text}\n/* {text} /* */ {text} */"), "");
        check(PROBE, &format!("const A: &str = r#\"{text} \"quoted\" \"#;"), "");
        check(PROBE, &format!("const A: char = '\"'; // {text}"), "");
    }
    let unwrap = planted[0].0;
    check(PROBE, &format!("#[cfg(test)]\nmod tests {{ fn a() {{ {unwrap} }} }}"), "");
    check("crates/rollway/src/proxy/table/tests.rs", unwrap, "");
}

#[test]
fn the_core_is_pure() {
    check(CORE, "use std::{fmt, fs};", "2: the core uses `std::fs`");
    check(CORE, "use std::time::{Duration, Instant};", "2: the core uses `std::time::Instant`");
    check(CORE, "fn f() { std::time::SystemTime::now(); }", {
        "2: the core uses `std::time::SystemTime`"
    });
    check(CORE, "use std::net::TcpStream;", "2: the core uses `std::net::TcpStream`");
    check(CORE, "use tokio::sync::mpsc;", "2: the core uses `tokio`");
    check(CORE, "fn f() { jiff::Timestamp::now(); }", "2: the core uses `jiff::Timestamp::now`");
    check(CORE, "use std::net::{IpAddr, SocketAddr};\nuse std::time::Duration;", "");
}

#[test]
fn siblings_do_not_know_each_other() {
    check(PROBE, "use crate::store::Store;", "2: `probe` uses `store`");
    check(PROBE, "use crate::{failure::Failure, driver::Driver};", "2: `probe` uses `driver`");
    check(PROBE, "fn f() { crate::proxy::run(); }", "2: `probe` uses `proxy`");
    check(PROBE, "use super::super::engine::Engine;", "2: `probe` uses `engine`");
    check(PROBE, "use super::http::Client;", "2: the probe `tcp` uses the probe `http`");
    check(PROBE, "use super::Verdict;\nuse super::helper;\nuse crate::os::run;", "");
    let rolling = "crates/rollway-core/src/strategy/rolling.rs";
    check(rolling, "use super::canary::steps;", {
        "2: the strategy `rolling` uses the strategy `canary`"
    });
}

#[test]
fn knowledge_points_downward() {
    let engine = "crates/rollway/src/engine/actor.rs";
    check(engine, "use crate::store::Store;\nuse crate::driver;", "");
    check(engine, "use crate::api::serve;", "2: `engine` uses `api`");
    check(engine, "use crate::proxy::table::Table;", "2: `engine` uses `proxy`");
    check("crates/rollway/src/traffic/embedded.rs", "use crate::proxy::table;", "");
    check("crates/rollway/src/files.rs", "use crate::store::Store;", "2: `files` uses `store`");
    check("crates/rollway/src/new.rs", "use crate::store::Store;", {
        "2: `new` is no module of EDGES"
    });
}

#[test]
fn the_proxy_knows_nothing_of_deployments() {
    let proxy = "crates/rollway/src/proxy/table.rs";
    check(proxy, "use rollway_core::ids::ServiceName;", "");
    check(proxy, "use rollway_core::{ids, plan::Split};", "2: the proxy uses `plan` of the core");
}

#[test]
fn the_lock_does_not_grow() {
    let lock = "source = \"x\"\n".repeat(rules::PACKAGES_MAX);
    assert_eq!(rules::lock(&lock), None);
    assert!(rules::lock(&format!("{lock}source = \"y\"\n")).is_some());
}

#[test]
fn unused_dependencies_are_found() {
    let manifest =
        "[package]\nname = \"a\"\n[dependencies]\nfast-rand.workspace = true\nhttp = \"1\"";
    let sources = [
        Source::new("crates/a/src/lib.rs", "use fast_rand::Rng;"),
        Source::new("crates/b/src/lib.rs", "use http::Uri;"),
    ];
    let wrong = rules::unused("crates/a/Cargo.toml", manifest, &sources);
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].place, "crates/a/Cargo.toml:5");
}

#[test]
fn paths_of_one_machine_are_found() {
    let planted = concat!("see /wo", "rk/notes");
    let wrong = rules::machine_paths("README.md", planted);
    assert_eq!(wrong.len(), 1);
    assert_eq!(wrong[0].place, "README.md:1");
    assert!(rules::machine_paths("README.md", "./work/notes, /network/, a/work/b").is_empty());
}
