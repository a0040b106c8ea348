//! Recorded histories: what this version decides after every event of a history that an earlier one
//! wrote is what that one decided. `UPDATE_GOLDEN=1` records them anew.

use std::fs;
use std::path::{Path, PathBuf};

use rollway_core::event::FORMAT;
use serde_json::{Value, json};

use super::*;

/// The version of these files.
const GOLDEN: u32 = 1;
const NAMES: [&str; 4] = ["rolling", "blue_green", "canary", "recreate"];
const OUTCOMES: [&str; 3] = ["completed", "failed", "aborted"];

/// One event, what was seen when it was written, and what was decided then.
pub fn line(event: &Event, progress: &Progress, observed: &Observed, has_traffic: bool) -> String {
    let decision = decided(progress, observed, has_traffic, event.clock);
    json!({"event": event, "seen": seen(observed), "decision": decision}).to_string()
}

fn decided(progress: &Progress, observed: &Observed, has_traffic: bool, now: Millis) -> Value {
    let Some(active) = &progress.active else { return Value::Null };
    let Some(stage) = active.current() else { return Value::Null };
    let (plan, active) = (&active.plan, Some(active));
    match converge(&Situation { plan, stage, active, observed, has_traffic, now }) {
        Decision::Act(actions) => json!({"act": actions}),
        Decision::Wait(waiting) => json!({"wait": waiting}),
        Decision::Reached => json!("reached"),
        Decision::Done => json!("done"),
        Decision::Failed(reasons) => json!({"failed": reasons}),
    }
}

fn seen(observed: &Observed) -> Value {
    let mut instances = Vec::new();
    for (release, fleet) in observed.fleets() {
        for (slot, instance) in fleet.iter() {
            let health = match &instance.health {
                Health::Starting => json!("starting"),
                Health::Healthy(since) => json!(since.0),
                Health::Unhealthy(why) => json!({"unhealthy": why}),
            };
            let life = match instance.life {
                Life::Starting => "starting",
                Life::Running => "running",
                Life::Restarting => "restarting",
                Life::Ended => "ended",
                Life::Leaving => "leaving",
            };
            let id = InstanceId { release: *release, slot };
            let (started, ends) = (instance.started.0, instance.ends);
            instances.push(json!([id, life, health, started, ends]));
        }
    }
    json!({"instances": instances, "route": observed.route(), "routing": observed.routing})
}

fn observed_of(seen: &Value) -> Observed {
    let mut observed = Observed::default();
    for line in seen["instances"].as_array().expect("instances") {
        let life = match line[1].as_str().expect("a life") {
            "starting" => Life::Starting,
            "running" => Life::Running,
            "restarting" => Life::Restarting,
            "ended" => Life::Ended,
            "leaving" => Life::Leaving,
            other => panic!("no life is called {other}"),
        };
        let health = match (line[2].as_u64(), line[2]["unhealthy"].as_str()) {
            (Some(since), _) => Health::Healthy(Millis(since)),
            (None, Some(why)) => Health::Unhealthy(why.to_owned()),
            (None, None) => Health::Starting,
        };
        let mut instance = Instance::starting(Millis(line[3].as_u64().expect("a time")));
        (instance.life, instance.health) = (life, health);
        instance.ends = line[4].as_u64().expect("a count") as u32;
        observed.put(serde_json::from_value(line[0].clone()).expect("an id"), instance);
    }
    observed.set_route(serde_json::from_value(seen["route"].clone()).expect("a route"));
    observed.routing = seen["routing"] == true;
    observed
}

fn way(name: &str) -> Way {
    let steps = vec![CanaryStep::Weight(25), CanaryStep::Hold(Millis::seconds(5))];
    match name {
        "rolling" => Way::Rolling,
        "blue_green" => Way::BlueGreen(BlueGreen::default()),
        "canary" => Way::Canary(Canary { steps, ..Canary::default() }),
        "recreate" => Way::Recreate,
        other => panic!("no strategy is called {other}"),
    }
}

fn record(name: &str, outcome: &str) -> String {
    let spec = spec(Update::default(), way(name));
    let (instances, before) = (3, 3);
    let mut world = World::new(instances);
    world.recorded = Some(vec![json!({"golden": GOLDEN, "events": FORMAT}).to_string()]);
    match outcome {
        "failed" => world.bad = vec![0],
        "aborted" => world.aborts_after = Some(9),
        _ => {}
    }
    let request = Request { spec: &spec, from: Some(OLD), to: NEW, instances, before };
    world.begin(strategy::deploy(request));
    world.run(&spec, &[3, 1, 2], 0, 20);
    let undone = world.progress.active.as_ref().is_some_and(|active| active.undo.is_some());
    assert_eq!(undone, outcome != "completed", "{name} {outcome}\n{}", world.log);
    let mut text = world.recorded.take().expect("lines").join("\n");
    text.push('\n');
    text
}

/// Folds a history, and decides after each event; the first line that differs is an error.
fn replay(text: &str) -> Result<usize, String> {
    let mut lines = text.lines();
    let head: Value =
        serde_json::from_str(lines.next().unwrap_or("")).map_err(|e| e.to_string())?;
    if head["golden"] != GOLDEN {
        return Err(format!("a file of the form {}, not {GOLDEN}", head["golden"]));
    }
    let mut progress = World::new(3).before;
    let mut count = 0;
    for line in lines {
        let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let event: Event =
            serde_json::from_value(line["event"].clone()).map_err(|error| error.to_string())?;
        progress.apply(&event).map_err(|illegal| illegal.to_string())?;
        count += 1;
        let ours = decided(&progress, &observed_of(&line["seen"]), true, event.clock);
        if ours != line["decision"] {
            return Err(format!("event {count}: {ours}, but it was {}", line["decision"]));
        }
    }
    Ok(count)
}

fn file(name: &str, outcome: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(format!("{name}_{outcome}.jsonl"))
}

fn read(name: &str, outcome: &str) -> String {
    let path = file(name, outcome);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 records it", path.display()))
}

#[test]
fn histories_are_decided_as_they_were() {
    for name in NAMES {
        for outcome in OUTCOMES {
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(file(name, outcome), record(name, outcome)).expect("a file");
            }
            let count = replay(&read(name, outcome));
            let count = count.unwrap_or_else(|why| panic!("{name} {outcome}: {why}"));
            assert!(count > 8, "{name} {outcome} has only {count} events");
        }
    }
}

#[test]
fn another_decision_is_noticed() {
    let text = read("canary", "completed");
    let changed = text.replacen("\"decision\":\"reached\"", "\"decision\":\"done\"", 1);
    assert_ne!(changed, text);
    let why = replay(&changed).expect_err("another decision");
    assert!(why.contains("\"reached\", but it was \"done\""), "{why}");
}

#[test]
fn a_newer_format_is_refused() {
    let text = read("rolling", "completed");
    let next = FORMAT + 1;
    let newer = text.replacen("\"format\":1", &format!("\"format\":{next}"), 1);
    assert_ne!(newer, text);
    let why = replay(&newer).expect_err("a newer format");
    let (has, reads) = (format!("have the format {next}"), format!("reads up to {FORMAT}"));
    assert!(why.contains(&has) && why.contains(&reads), "{why}");
}
