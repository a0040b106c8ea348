//! What people get wrong, and what they are told: `bad.txt` has both.

use expect_test::expect_file;

use super::*;

/// Each case is `#### format: topic`, the text, `----`, and what is said. A `part` is YAML whose
/// other keys are right. `UPDATE_EXPECT=1` writes what is said now.
#[test]
fn what_is_wrong_is_said_where_it_is() {
    let mut said_now = String::new();
    let cases = include_str!("bad.txt").split("#### ").skip(1);
    for case in cases {
        let (head, rest) = case.split_once('\n').expect("a case has a head");
        let (text, _) = rest.split_once("----\n").expect("a case has a text and what is said");
        let said = match head.split_once(':').expect("a head has a format").0 {
            "yaml" => said(text, Format::Yaml),
            "part" => said(&with_the_rest(text), Format::Yaml),
            "toml" => said(text, Format::Toml),
            "json" => said(text, Format::Json),
            other => panic!("{other} is no format"),
        };
        assert!(!said.is_empty(), "nothing is wrong with {text}");
        said_now.push_str(&format!("#### {head}\n{text}----\n{said}\n"));
    }
    expect_file!["bad.txt"].assert_eq(said_now.trim_end_matches('\n').trim_end());
}

fn with_the_rest(part: &str) -> String {
    let mut text = part.to_owned();
    for (key, line) in [
        ("service:", "service: shop\n"),
        ("run:", "run: {command: [./shop]}\n"),
        ("health:", "health: [tcp]\n"),
        ("traffic:", "traffic: {listen: [8080]}\n"),
    ] {
        if !part.lines().any(|line| line.starts_with(key)) {
            text.push_str(line);
        }
    }
    text
}

#[test]
fn a_mark_at_the_start_and_other_line_ends_move_no_place() {
    let text = "\u{feff}service: a_b\r\nupdate: {order: 1}\r\nrun: {command: x}\r\n";
    let said = said(text, Format::Yaml);
    let places: Vec<&str> = said.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["1:10", "2:17", "3:16"], "{said}");
}

#[test]
fn the_ending_of_a_file_is_its_format() {
    assert_eq!(Format::of("a/rollway.YML"), Ok(Format::Yaml));
    assert_eq!(Format::of("rollway.toml"), Ok(Format::Toml));
    let problem = Format::of("rollway.ymal").expect_err("there is no such format");
    assert_eq!(problem.what, r#"unknown ending "ymal"; known: yaml, json, toml"#);
    assert!(Format::of("rollway").is_err());
}
