//! Tables that are refused, and what they are told.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use expect_test::{Expect, expect};

use super::*;

fn check(text: &str, want: &Expect) {
    let table: ServiceTable = serde_json::from_str(text).unwrap();
    let lines: Vec<String> = table.problems().iter().map(ToString::to_string).collect();
    want.assert_eq(&lines.join("\n"));
}

#[test]
fn a_small_table_is_enough() {
    check(
        r#"{"service": "shop", "generation": 1, "listen": ["8080"], "arms": []}"#,
        &expect![[""]],
    );
}

#[test]
fn every_problem_is_told_at_once() {
    check(
        r#"{"service": "Shop", "generation": 1, "listen": ["here"], "newest": 9,
            "rules": [{"host": "a b", "path": "x"}], "sticky": {"cookie": "a b"},
            "preview": {"listen": "1.2.3.4:0", "release": 1},
            "health": {"http": "x", "interval_ms": 0},
            "testers": [{"header": "x y", "value": "\n"}],
            "arms": [{"release": 1, "weight": 50},
                     {"release": 1, "weight": 20,
                      "members": [{"instance": "a", "address": "127.0.0.1:1"},
                                  {"instance": "a", "address": "127.0.0.1:0"}]}]}"#,
        &expect![[r#"
            service: a service name is 1 to 40 characters of a-z, 0-9 and '-', and begins and ends with a letter or digit
            listen[0]: "here" is not an address; write 127.0.0.1:8080, [::1]:80 or 8080
            arms: the weights sum to 70, not to 100
            arms[0]: weight 50 but no members
            arms[1]: release 1 has two arms
            arms[1].members: instance "a" is empty or listed twice
            arms[1].members: instance a has port 0
            newest: no arm has release 9; known: 1
            rules[0].host: a host is a name such as shop.example.org or *.example.org
            rules[0].path: a path begins with '/' and has no '?', '#', '%', '.' or '..' segment
            testers[0].header: "x y" is not a header name
            testers[0].value: not a header value
            sticky: "a b" is not a name
            preview.listen: "1.2.3.4:0" has port 0, and nobody would know where to ask
            health.http: a path begins with '/'
            health: interval_ms and timeout_ms must be above 0"#]],
    );
}
