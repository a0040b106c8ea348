//! Help, lint, docs, schema, init and completions.

use expect_test::{expect, expect_file};

use crate::support::World;

const VERBS: [&str; 30] = [
    "deploy",
    "plan",
    "status",
    "ps",
    "logs",
    "events",
    "history",
    "explain",
    "analysis",
    "rollback",
    "promote",
    "pause",
    "resume",
    "abort",
    "restart",
    "scale",
    "up",
    "down",
    "release",
    "gitops",
    "lint",
    "schema",
    "init",
    "docs",
    "doctor",
    "demo",
    "completions",
    "serve",
    "shutdown",
    "proxy",
];

#[test]
fn help_is_short_and_the_same_everywhere() {
    let world = World::new();
    let mut text = world.done(&["--help"]).stdout;
    for verb in VERBS {
        text.push_str(&format!("\n######## rollway {verb} --help\n\n"));
        text.push_str(&world.done(&[verb, "--help"]).stdout);
    }
    expect_file!["help.txt"].assert_eq(&text);
    assert!(text.lines().all(|line| line.chars().count() <= 100));
    assert!(!world.has_state());
}

#[test]
fn every_verb_is_in_the_help() {
    let help = World::new().done(&["-h"]).stdout;
    let listed = help.lines().skip_while(|line| *line != "Verbs:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    let verbs: Vec<&str> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(verbs, VERBS);
}

#[test]
fn without_a_verb_the_help_is_shown_and_it_is_an_error() {
    let said = World::new().run(&[]);
    assert_eq!((said.code, said.stdout.as_str()), (2, ""));
    assert!(said.stderr.contains("Usage: rollway [OPTIONS] <VERB>"), "{}", said.stderr);
}

#[test]
fn what_init_writes_is_a_good_spec() {
    let world = World::new();
    world.write("server.py", "print('hello')\n");
    let said = world.done(&["init", "server.py"]);
    expect!["rollway.yaml\n"].assert_eq(&said.stdout);
    let text = std::fs::read_to_string(world.folder().join("rollway.yaml")).unwrap();
    assert!(text.contains(r#"command: ["python3", "./server.py"]"#), "{text}");
    let said = world.done(&["lint"]);
    expect!["rollway.yaml is a good spec of server\n"].assert_eq(&said.stdout);
}

#[test]
fn init_knows_projects_by_their_files() {
    let kinds = [
        ("Cargo.toml", "[package]\nname = \"till\"\n", "target/release/till"),
        ("package.json", "{}", r#"["npm", "run", "start", "--silent"]"#),
        (
            "pyproject.toml",
            "[project]\nname = \"till-point\"\n",
            r#"["python3", "-m", "till_point"]"#,
        ),
        ("README", "nothing is known", r#"["./program"]"#),
    ];
    for (file, text, command) in kinds {
        let world = World::new();
        world.write(file, text);
        world.done(&["init"]);
        let spec = std::fs::read_to_string(world.folder().join("rollway.yaml")).unwrap();
        assert!(spec.contains(command), "{file}: {spec}");
        world.done(&["lint"]);
    }
}

#[test]
fn lint_as_json_has_places() {
    let world = World::new();
    world.write("rollway.yaml", "service: shop\ninstances: many\nrun: {command: [x]}\n");
    let said = world.run(&["lint", "--json"]);
    assert_eq!((said.code, said.stderr.as_str()), (2, ""));
    expect![[r#"
        {
          "ok": false,
          "problems": [
            {
              "path": "instances",
              "what": "expected a whole number from 1 to 10000, found the text \"many\"",
              "place": {
                "line": 2,
                "column": 12,
                "offset": 25,
                "length": 4
              }
            }
          ],
          "warnings": []
        }
    "#]]
    .assert_eq(&said.stdout);
}

#[test]
fn warnings_go_to_stderr_and_are_no_failure() {
    let world = World::new();
    world.write("rollway.yaml", "service: shop\nrun: {command: [x], artifact: {path: x}}\n");
    let said = world.done(&["lint"]);
    assert!(said.stdout.starts_with("rollway.yaml is a good spec of shop, with "));
    assert!(said.stderr.starts_with("warning: "), "{}", said.stderr);
    assert_eq!(world.done(&["lint", "-q"]).stderr, "");
}

#[test]
fn docs_schema_and_completions_are_data() {
    let world = World::new();
    assert!(world.done(&["docs", "spec"]).stdout.starts_with("# spec\n"));
    let kinds = world.done(&["docs"]).stdout;
    for kind in kinds.lines() {
        assert!(world.done(&["docs", kind]).stdout.starts_with("# "), "{kind}");
    }
    let schema: serde_json::Value = serde_json::from_str(&world.done(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["service"].is_object());
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(world.done(&["completions", shell]).stdout.contains("rollback"), "{shell}");
    }
    assert!(!world.has_state());
}

#[test]
fn output_that_nobody_reads_to_its_end_is_no_failure() {
    let world = World::new();
    let mut child = world
        .command(&["schema"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}

#[test]
fn the_doctor_finds_nothing_wrong_with_a_fresh_folder() {
    let world = World::new();
    let said = world.done(&["doctor", "--json"]);
    let findings: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let of = |what: &str| {
        let all = findings.as_array().unwrap().iter();
        all.clone().find(|finding| finding["what"] == what).unwrap()["found"].clone()
    };
    assert_eq!(of("state folder"), "[FOLDER]/state will be made by the first deployment");
    assert_eq!(of("control plane"), "none runs; `rollway deploy` starts one");
    assert!(!world.has_state());
}

#[test]
fn the_doctor_refuses_a_folder_that_others_may_enter() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    std::fs::create_dir(world.state()).unwrap();
    std::fs::write(world.state().join("file"), "").unwrap();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(world.state(), open).unwrap();
    let said = world.run(&["doctor"]);
    assert_eq!(said.code, 1);
    let line = said.stdout.lines().find(|line| line.starts_with("bad")).unwrap();
    assert!(line.contains("others may enter it (mode 0755)"), "{line}");
}
