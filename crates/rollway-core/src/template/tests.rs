use expect_test::{Expect, expect};
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;

fn values() -> Values {
    Values {
        version: Some("v2".into()),
        release: Some("3".into()),
        service: Some("shop".into()),
        artifact: Some("/kept/shop".into()),
        env: [("MODE".to_owned(), "fast{{".to_owned())].into(),
        ..Values::default()
    }
}

fn check(text: &str, expected: Expect) {
    let shown = |result: Result<String, Problem>| match result {
        Ok(text) => text,
        Err(Problem { what, hint, .. }) => format!("{what} ({})", hint.unwrap_or_default())
            .replace("; ", ";\n  ")
            .replace(" (", "\n  ("),
    };
    let first = render(text, &values());
    let second = first.clone().and_then(|text| {
        let port = Values { port: Some(8080), instance: Some("r3-0".into()), ..Values::default() };
        render_last(&text, &port)
    });
    expected.assert_eq(&format!("{}\n{}", shown(first), shown(second)));
}

#[test]
fn known_values_come_first_and_the_port_last() {
    check(
        "--listen=:{{port}} --name {{ service }}/{{version}}",
        expect![[r#"
        --listen=:{{port}} --name shop/v2
        --listen=:8080 --name shop/v2"#]],
    );
}

#[test]
fn braces_of_json_stay_and_escaped_ones_are_literal() {
    check(
        r#"{"port":{{port}}}"#,
        expect![[r#"
        {"port":{{port}}}
        {"port":8080}"#]],
    );
    check(
        "{{{port}}}",
        expect![[r#"
        {{{port}}}
        {8080}"#]],
    );
    check(
        "{{{{port}} {{{{{{port}}",
        expect![[r#"
        {{{{port}} {{{{{{port}}
        {{port}} {{8080"#]],
    );
}

#[test]
fn a_value_with_braces_is_not_a_template() {
    check(
        "{{env.MODE}}port}} {{env.MODE}}{{port}}",
        expect![[r#"
        fast{{{{port}} fast{{{{{{port}}
        fast{{port}} fast{{8080"#]],
    );
}

#[test]
fn unknown_and_unclosed_names_are_problems() {
    check(
        "{{prot}}",
        expect![[r#"
            unknown template name "prot";
              known: port, artifact, env.NAME, instance, release, service, version
              (write `{{{{` for a literal `{{`)
            unknown template name "prot";
              known: port, artifact, env.NAME, instance, release, service, version
              (write `{{{{` for a literal `{{`)"#]],
    );
    check(
        "{{port",
        expect![[r#"
            a `{{` is not closed with `}}`
              (write `{{{{` for a literal `{{`)
            a `{{` is not closed with `}}`
              (write `{{{{` for a literal `{{`)"#]],
    );
    check(
        "{{env.OTHER}}",
        expect![[r#"
            {{env.OTHER}}
            there is no value for {{env.OTHER}} here
              ()"#]],
    );
    check(
        "{{env}}",
        expect![[r#"
            unknown template name "env";
              known: artifact, env.NAME, instance, port, release, service, version
              (write `{{{{` for a literal `{{`)
            unknown template name "env";
              known: artifact, env.NAME, instance, port, release, service, version
              (write `{{{{` for a literal `{{`)"#]],
    );
}

#[test]
fn a_field_has_its_own_names() {
    let problem = names("{{port}}", IN_PATH).expect_err("a path has no port");
    assert_eq!(problem.what, r#"unknown template name "port"; known: env.NAME, service, version"#);
    assert_eq!(names("{{version}}-{{service}}", IN_PATH), Ok(vec!["version", "service"]));
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn two_passes_are_one(
        text in "([{}a ]{0,6}|\\{\\{(port|version|service|env\\.MODE)\\}\\}){0,8}",
        version in "[{}v]{0,6}",
    ) {
        let early = Values { version: Some(version), ..values() };
        let all = Values { port: Some(80), instance: Some("r1-0".into()), ..early.clone() };
        if let Ok(once) = render_last(&text, &all) {
            let twice = render(&text, &early).and_then(|text| render_last(&text, &all));
            prop_assert_eq!(twice, Ok(once));
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in ".*") {
        let _ = render(&text, &values());
        let _ = render_last(&text, &values());
    }
}
