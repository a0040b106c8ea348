use expect_test::expect_file;
use proptest::strategy::Strategy as Generator;
use proptest::test_runner::Config;
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::super::node::Node;
use super::super::shape::{Need, Shape, Table, Tagged};
use super::*;

fn of(text: &str) -> Spec {
    match read(text, Format::Yaml) {
        Ok((spec, _)) => spec,
        Err(_) => panic!("{}\n{}", said(text, Format::Yaml), text),
    }
}

#[test]
fn three_formats_give_one_spec() {
    let yaml = full();
    let toml = read(FULL_TOML, Format::Toml).map(|(spec, _)| spec);
    assert_eq!(toml.as_ref(), Ok(&yaml), "{}", said(FULL_TOML, Format::Toml));
    let json = serde_json::to_string_pretty(&yaml).expect("a spec is JSON");
    let again = read(&json, Format::Json).map(|(spec, _)| spec);
    assert_eq!(again.as_ref(), Ok(&yaml), "{}", said(&json, Format::Json));
    let flow = read(&json, Format::Yaml).map(|(spec, _)| spec);
    assert_eq!(flow, Ok(yaml), "JSON is YAML");
}

#[test]
fn the_full_example_has_no_warnings() {
    assert_eq!(said(FULL_YAML, Format::Yaml), "");
    assert_eq!(said(FULL_TOML, Format::Toml), "");
}

#[test]
fn numbers_and_words_are_the_text_that_is_written() {
    let spec = full();
    let env: Vec<&str> = spec.run.env.values().map(String::as_str).collect();
    assert_eq!(env, ["010", "no", "true", "grüß dich, {{version}} 🚀", "fast"]);
    let spec = of("{service: a, version: 1.10, run: {command: [x, 0x1F, 1e3, ~x]}, health: [tcp]}");
    assert_eq!(spec.version.expect("it was given").as_str(), "1.10");
    assert_eq!(spec.run.command, ["x", "0x1F", "1e3", "~x"]);
}

#[test]
fn a_kind_alone_has_its_defaults() {
    let base = "{service: a, run: {command: [x]}, health: [http, tcp], traffic: {listen: [1]}";
    let spec = of(&format!("{base}, strategy: canary}}"));
    assert_eq!(spec.strategy, Strategy::Canary(Canary::default()));
    assert_eq!(spec.health[0].check, Check::Http(HttpCheck::default()));
    let spec = of(&format!("{base}, strategy: {{blue_green: }}}}"));
    assert_eq!(spec.strategy, Strategy::BlueGreen(BlueGreen::default()));
    let spec = of(&format!("{base}, strategy: {{rolling: {{}}}}}}"));
    assert_eq!(spec.strategy, Strategy::Rolling);
}

#[test]
fn a_spec_without_traffic_or_command_can_be_right() {
    let spec = of("service: db\nrun: {driver: null}\n");
    assert_eq!(spec.run.driver, "null");
    assert_eq!(spec.traffic, None);
}

/// Every default of the tables is the model's: written out, it changes nothing.
#[test]
fn the_defaults_are_the_models() {
    for text in minimal() {
        let root = yaml::read(&Text::new(&text)).expect("it is YAML");
        let mut written = String::new();
        with_defaults(&super::super::format::SPEC, Some(&root), &mut written);
        assert_eq!(of(&text), of(&written), "{written}");
    }
}

/// A spec for each kind of probe and strategy, with what is required alone.
fn minimal() -> Vec<String> {
    let head = "service: a\nrun: {command: [x]}\ntraffic: {listen: [1], sticky: {cookie: c}}\n\
                hooks: {before_deploy: {command: [x]}}\n";
    let probes = ["http: {}", "tcp: {}", "grpc: {}", "command: {argv: [x]}"];
    let probes = probes.map(|probe| format!("{head}health: [{{{probe}}}]\n"));
    let strategies = ["rolling: {}", "blue_green: {}", "canary: {}", "recreate: {}"];
    let strategies = strategies.map(|one| format!("{head}strategy: {{{one}}}\n"));
    let judges = [
        "threshold: {metrics: [{measure: error_rate, success_condition: result < 1, count: 1}]}",
        "mann_whitney: {metrics: [{measure: error_rate, effect: {}}]}",
        "kayenta: {metrics: [{measure: error_rate, effect: {}}]}",
    ];
    let judges = judges
        .map(|one| format!("{head}strategy: {{canary: {{analysis: {{judge: {{{one}}}}}}}}}\n"));
    probes.into_iter().chain(strategies).chain(judges).collect()
}

/// Writes a table in flow style: what is given, and every default that is not.
fn with_defaults(table: &'static Table, given: Option<&Node>, out: &mut String) {
    out.push('{');
    for field in table.fields {
        let value = given.and_then(|node| node.get(field.key)).map(|(_, value)| value);
        match (&field.shape, value, field.need) {
            (Shape::Table(inner), Some(_), _) | (Shape::Table(inner), None, Need::Default(_)) => {
                out.push_str(&format!("{}: ", field.key));
                with_defaults(inner, value, out);
                out.push_str(", ");
            }
            (Shape::List(Shape::Table(inner), _, _), Some(node), _) => {
                let super::super::node::Value::List(items) = &node.value else { continue };
                out.push_str(&format!("{}: [", field.key));
                for item in items {
                    with_defaults(inner, Some(item), out);
                }
                out.push_str("], ");
            }
            (Shape::Tagged(tagged), Some(node), _) => {
                out.push_str(&format!("{}: {{", field.key));
                kind_with_defaults(tagged, node, out);
                out.push_str("}, ");
            }
            (_, Some(node), _) => out.push_str(&format!("{}: {}, ", field.key, flow(node))),
            (_, None, Need::Default(text)) => out.push_str(&format!("{}: {text}, ", field.key)),
            (_, None, Need::Optional | Need::Required) => {}
        }
    }
    if let (Some(tagged), Some(node)) = (table.one_of, given) {
        kind_with_defaults(tagged, node, out);
    }
    out.push('}');
}

fn kind_with_defaults(tagged: &'static Tagged, node: &Node, out: &mut String) {
    for variant in tagged.variants {
        let Some((_, value)) = node.get(variant.name) else { continue };
        out.push_str(&format!("{}: ", variant.name));
        match &variant.shape {
            Some(Shape::Table(inner)) => with_defaults(inner, Some(value), out),
            Some(_) => out.push_str(&flow(value)),
            None => out.push_str("{}"),
        }
    }
}

fn flow(node: &Node) -> String {
    super::super::schema::json_of(node).to_string()
}

/// Every key of the tables is one of the model's, and the other way round: the model's own
/// complaint about an unknown key lists its keys.
#[test]
fn the_keys_are_the_models() {
    let json = serde_json::to_value(full()).expect("a spec is JSON");
    let mut blue_green = json.clone();
    blue_green["strategy"] = serde_json::json!({"blue_green": {}});
    let at = |pointer: &str| {
        let mut json =
            if pointer.contains("blue_green") { blue_green.clone() } else { json.clone() };
        let url = "http://127.0.0.1:1";
        let metric = serde_json::json!({"measure": "value", "effect": {}});
        for (name, judge) in [
            ("threshold", serde_json::json!({"metrics": [{"measure": "value"}]})),
            ("mann_whitney", serde_json::json!({"metrics": [metric]})),
            (
                "kayenta",
                serde_json::json!({
                    "metrics": [metric],
                    "group_weights": [{"name": "a", "weight": 1.0}],
                }),
            ),
        ] {
            if pointer.contains(&format!("/judge/{name}")) {
                json["strategy"]["canary"]["analysis"]["judge"] =
                    serde_json::json!({ name: judge });
            }
        }
        for (name, source) in [
            ("prometheus", serde_json::json!({"address": url, "total": "t", "bad": "b"})),
            ("http", serde_json::json!({"url": url})),
            ("webhook", serde_json::json!({"url": url, "access": {}})),
            ("command", serde_json::json!({"argv": ["x"]})),
        ] {
            if pointer.contains(&format!("/source/{name}")) {
                json["strategy"]["canary"]["analysis"]["source"] =
                    serde_json::json!({ name: source });
            }
        }
        json.pointer_mut(pointer).expect("it is there")["zzz"] = true.into();
        let error = serde_json::from_value::<Spec>(json).expect_err("zzz is no key").to_string();
        let known = error.split("expected").nth(1).unwrap_or_else(|| panic!("{pointer}: {error}"));
        let mut keys: Vec<String> =
            known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        keys.sort();
        keys
    };
    let mut seen = 0;
    reference::visit(&super::super::format::SPEC, &mut |table| {
        let pointer = match table.name {
            "spec" => "",
            "run" => "/run",
            "artifact" => "/run/artifact",
            "limits" => "/run/limits",
            "restart" => "/run/restart",
            "log" => "/run/log",
            // Kinds are flattened into a probe, where serde cannot refuse unknown keys.
            "probe" => return,
            "http" => "/health/0/http",
            "tcp" => "/health/1/tcp",
            "grpc" => "/health/2/grpc",
            "command" => "/health/3/command",
            "disk" => "/health/4/disk",
            "memory" => "/health/5/memory",
            "update" => "/update",
            "canary" => "/strategy/canary",
            "analysis" => "/strategy/canary/analysis",
            "sequential" => "/strategy/canary/analysis/judge/sequential",
            "threshold" => "/strategy/canary/analysis/judge/threshold",
            "threshold_metric" => "/strategy/canary/analysis/judge/threshold/metrics/0",
            "mann_whitney" => "/strategy/canary/analysis/judge/mann_whitney",
            "rank_metric" => "/strategy/canary/analysis/judge/mann_whitney/metrics/0",
            "effect" => "/strategy/canary/analysis/judge/mann_whitney/metrics/0/effect",
            "kayenta" => "/strategy/canary/analysis/judge/kayenta",
            "kayenta_metric" => "/strategy/canary/analysis/judge/kayenta/metrics/0",
            "group_weight" => "/strategy/canary/analysis/judge/kayenta/group_weights/0",
            "prometheus" => "/strategy/canary/analysis/source/prometheus",
            "http_source" => "/strategy/canary/analysis/source/http",
            "webhook" => "/strategy/canary/analysis/source/webhook",
            "command_source" => "/strategy/canary/analysis/source/command",
            "access" => "/strategy/canary/analysis/source/webhook/access",
            "blue_green" => "/strategy/blue_green",
            "traffic" => "/traffic",
            "tls" => "/traffic/tls",
            "rule" => "/traffic/rules/0",
            "tester" => "/traffic/testers/0",
            "timeouts" => "/traffic/timeouts",
            "hooks" => "/hooks",
            "hook" => "/hooks/before_deploy",
            "rollback" => "/rollback",
            other => panic!("say here where {other} is in the full example"),
        };
        let mut keys = table.keys();
        keys.sort_unstable();
        assert_eq!(at(pointer), keys, "{}", table.name);
        seen += 1;
    });
    assert!(seen >= 23, "{seen}");
}

/// Every example of the reference is right where it stands.
#[test]
fn the_examples_are_right() {
    reference::visit(&super::super::format::SPEC, &mut |table| {
        for field in table.fields {
            let mut written = format!("{{{}: {}", field.key, field.example);
            for other in table.fields {
                if other.need == Need::Required && other.key != field.key {
                    written.push_str(&format!(", {}: {}", other.key, other.example));
                }
            }
            if let Some(tagged) = table.one_of {
                let kind = &tagged.variants[0];
                written.push_str(&format!(", {}: {}", kind.name, kind.example));
            }
            written.push('}');
            shape_holds(&Shape::Table(table), &written);
        }
        let mut kinds: Vec<&'static Tagged> = table.one_of.into_iter().collect();
        for field in table.fields {
            let shape = &field.shape;
            let shape = if let Shape::List(of, _, _) = shape { of } else { shape };
            if let Shape::Tagged(tagged) = shape {
                kinds.push(tagged);
            }
        }
        for tagged in kinds {
            for variant in tagged.variants {
                let value = if variant.example.is_empty() { "{}" } else { variant.example };
                shape_holds(&Shape::Tagged(tagged), &format!("{{{}: {value}}}", variant.name));
            }
        }
    });
}

fn shape_holds(shape: &Shape, written: &str) {
    let text = Text::new(written);
    let root = yaml::read(&text).unwrap_or_else(|problems| panic!("{written}: {problems:?}"));
    if let Err(problems) = check::check_as(shape, &root, &text) {
        panic!("{written}: {problems:?}");
    }
}

#[test]
fn the_reference_is_in_the_docs() {
    expect_file!["../../../../../docs/spec.md"].assert_eq(&reference::document());
}

#[test]
fn every_page_is_found_and_an_unknown_one_lists_them() {
    for kind in reference::kinds() {
        assert!(docs(kind).expect("it is listed").starts_with(&format!("# {kind}\n")));
    }
    assert!(docs("health").expect("it is a list of probes").starts_with("# probe\n"));
    let problem = docs("strategie").expect_err("there is no such page");
    assert!(
        problem.what.contains("known: strategy, access, analysis, artifact, "),
        "{}",
        problem.what
    );
}

#[test]
fn the_schema_is_stable() {
    let schema = serde_json::to_string_pretty(&json_schema()).expect("it is JSON");
    expect_file!["schema.json"].assert_eq(&(schema + "\n"));
}

#[test]
fn a_starter_is_right_as_it_is() {
    let kinds = [
        ProgramKind::Binary("./bin/my shop \"{{x}}".into()),
        ProgramKind::Script { interpreter: "python3".into(), path: "app: #1.py".into() },
        ProgramKind::Cargo { binary: "shop".into() },
        ProgramKind::Node,
        ProgramKind::Python { module: "shop.web".into() },
        ProgramKind::Unknown,
    ];
    for kind in kinds {
        for flag in [None, Some("--port"), Some("--listen=127.0.0.1:"), Some("{{")] {
            for path in [None, Some("/healthz"), Some("not a path")] {
                let text = starter(&ProgramFacts {
                    name: "My_Shop/Ünder".into(),
                    kind: kind.clone(),
                    port_flag: flag.map(str::to_owned),
                    health_path: path.map(str::to_owned),
                });
                assert_eq!(said(&text, Format::Yaml), "", "{text}");
                assert_eq!(of(&text).service.as_str(), "my-shop--nder");
            }
        }
    }
}

#[test]
fn a_starter_reads_well() {
    let text = starter(&ProgramFacts {
        name: "shop".into(),
        kind: ProgramKind::Cargo { binary: "shop".into() },
        port_flag: Some("--listen=127.0.0.1:".into()),
        health_path: None,
    });
    expect_file!["starter.yaml"].assert_eq(&text);
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_name_becomes_a_services(text in ".{0,80}") {
        let name = super::super::starter::service_name(&text);
        prop_assert!(crate::ids::ServiceName::parse(&name).is_ok(), "{name}");
    }

    #[test]
    fn what_is_printed_is_read_back(spec in spec()) {
        let json = serde_json::to_string(&spec).expect("a spec is JSON");
        let again = read(&json, Format::Json).map(|(spec, _)| spec);
        prop_assert_eq!(again.as_ref(), Ok(&spec), "{}", said(&json, Format::Json));
        let again = read(&json, Format::Yaml).map(|(spec, _)| spec);
        prop_assert_eq!(again, Ok(spec), "{}", said(&json, Format::Yaml));
    }
}

/// Right specs of many forms.
fn spec() -> impl Generator<Value = Spec> {
    let time = (1u64..86_400_000).prop_map(crate::units::Millis);
    let text = "[ -~äß\n\t]{0,12}".prop_map(|text: String| text.replace('{', "("));
    let env = proptest::collection::btree_map("[A-K][A-Z0-9_]{0,8}", text.clone(), 0..4);
    let command = proptest::collection::vec(text, 0..4);
    let weights = proptest::collection::btree_set(1u32..=100, 1..5);
    let surge = prop_oneof![
        (1u32..9).prop_map(crate::units::Amount::Count),
        (1u32..=100).prop_map(crate::units::Amount::Percent)
    ];
    (env, command, weights, surge, time, 0u8..4, 1u32..50).prop_map(
        |(env, command, weights, surge, time, which, instances)| {
            let mut spec = full();
            spec.run.env.extend(env);
            spec.run.command.extend(command);
            spec.instances = instances;
            spec.update.max_surge = surge;
            spec.update.order = Order::StartFirst;
            spec.traffic.as_mut().expect("it has traffic").drain = time;
            let steps = weights.into_iter();
            let steps = steps.flat_map(|w| [CanaryStep::Weight(w), CanaryStep::Hold(time)]);
            spec.strategy = match which {
                0 => Strategy::Rolling,
                1 => Strategy::Recreate,
                2 => Strategy::BlueGreen(BlueGreen::default()),
                _ => Strategy::Canary(Canary { steps: steps.collect(), ..Canary::default() }),
            };
            spec
        },
    )
}
