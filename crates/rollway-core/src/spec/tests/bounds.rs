use proptest::prelude::*;

use super::*;

const FORMATS: [Format; 3] = [Format::Yaml, Format::Toml, Format::Json];

/// Reads it as everything: no panic, and every place is inside the text.
fn survives(text: &str) -> Result<(), TestCaseError> {
    for format in FORMATS {
        let report = match read(text, format) {
            Ok((_, warnings)) => Report { problems: Vec::new(), warnings },
            Err(report) => {
                prop_assert!(!report.problems.is_empty());
                report
            }
        };
        for problem in report.problems.iter().chain(&report.warnings) {
            let Some(place) = problem.place else { continue };
            let written = text.get(place.offset..place.offset + place.length);
            prop_assert!(written.is_some(), "{format:?} {problem:?}");
            let before = &text[..place.offset];
            let before = before.strip_prefix('\u{feff}').unwrap_or(before);
            let line = before.matches('\n').count() + 1;
            let start = before.rfind('\n').map_or(0, |at| at + 1);
            let column = before[start..].chars().count() + 1;
            prop_assert_eq!((line, column), (place.line, place.column), "{:?}", problem);
        }
    }
    Ok(())
}

/// A few on every run; many when the slow tests are wanted.
fn cases() -> ProptestConfig {
    let cases = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 20_000 } else { 300 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_text_survives(text in "\u{feff}?(.|\n){0,60}") {
        survives(&text)?;
    }

    #[test]
    fn any_soup_of_the_formats_marks_survives(
        text in "([-:{}\\[\\],&*!|>'\"%@`#?~=\n\r\t ]|a|é|🚀|1|\\.|run|null|---|\\\\){0,60}",
    ) {
        survives(&text)?;
    }

    #[test]
    fn mutated_examples_survive(
        which in 0usize..3, at in 0.0f64..1.0, length in 0usize..12,
        put in "([-:{}\\[\\],&*!|>'\"%#?~=\n\t ]|a|é|🚀|0|zz){0,4}",
    ) {
        let json = serde_json::to_string_pretty(&full()).expect("a spec is JSON");
        let text = [FULL_YAML, FULL_TOML, &json][which];
        let start = (at * text.len() as f64) as usize;
        let start = text.floor_char_boundary(start);
        let end = text.floor_char_boundary((start + length).min(text.len()));
        survives(&format!("{}{put}{}", &text[..start], &text[end..]))?;
    }
}

/// Is refused in every format. That it does not take long is held by the fuzz targets, which
/// measure the thread's own time: a busy machine says nothing about this code.
fn refused(text: &str, expected: &str) {
    for format in FORMATS {
        let said = said(text, format);
        assert!(!said.is_empty(), "{format:?}");
        if format == Format::Yaml {
            assert!(said.contains(expected), "{}", &said[..said.len().min(300)]);
        }
    }
}

#[test]
fn large_documents_are_refused() {
    refused(&format!("service: {}", "a".repeat(10 << 20)), "at most 1048576 are read");
}

#[test]
fn deep_documents_are_refused() {
    let deep = 100_000;
    refused(&"[".repeat(deep), "recursion limit exceeded");
    refused(&"- ".repeat(deep), "nested deeper than 64 levels");
    refused(&"? ".repeat(deep), "nested deeper than 64 levels");
    refused(&"{a: ".repeat(70), "nested deeper than 64 levels");
    refused(&"{\"a\":".repeat(deep), "");
    refused(&format!("{}1", "a.".repeat(deep)), "");
    let lines: String = (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    refused(&lines, "nested deeper than 64 levels");
}

#[test]
fn wide_documents_are_refused() {
    refused(&format!("[{}]", "1,".repeat(400_000)), "more than 50000 values");
    refused(&"a: 1\n".repeat(100_000), "more than 50000 values");
    let keys: String = (0..20_000).map(|n| format!("k{n}: 1\n")).collect();
    refused(&keys, "unknown key");
    refused(&"a: 1\n".repeat(20_000), "is given twice");
}

#[test]
fn long_lines_of_any_kind_are_read_or_refused() {
    for piece in
        ["\r", "é", "#", " ", "\t", "'", "\"", "|", ">", "&a ", "*a ", "!a ", "%a\n", "\\", "🚀"]
    {
        let text = format!("a: {}", piece.repeat((1 << 20) / piece.len() - 3));
        refused(&text, "");
    }
    refused(&format!("[{}]", "é,".repeat(40_000)), "expected a map");
}

#[test]
fn aliases_do_not_grow() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..30 {
        let list = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    refused(&bomb, "anchors (`&name`) are not part of a spec");
}

#[test]
fn numbers_beyond_all_limits_are_refused() {
    for number in ["1e309", "-1", ".inf", ".nan", "99999999999999999999999", "0x7fffffffffffffff"] {
        for (key, path) in [
            ("instances", "instances"),
            ("update: {max_failure_ratio", "update.max_failure_ratio"),
            ("update: {min_healthy_time", "update.min_healthy_time"),
            ("update: {max_surge", "update.max_surge"),
            ("run: {limits: {memory", "run.limits.memory"),
            ("run: {limits: {cpus", "run.limits.cpus"),
        ] {
            let close = "}".repeat(key.matches('{').count());
            let said = said(&format!("{key}: {number}{close}"), Format::Yaml);
            assert!(said.contains(&format!(" {path}: ")), "{key}: {number}: {said}");
        }
    }
}

#[test]
fn patterns_cannot_take_much() {
    for pattern in
        ["(a{1000}){1000}", "(((((((((a{9}){9}){9}){9}){9}){9}){9}){9}){9})", r"\p{L}{900}"]
    {
        let text = format!("health: [{{http: {{body: '{pattern}'}}}}]");
        assert!(said(&text, Format::Yaml).contains("regular expression"), "{pattern}");
    }
}
