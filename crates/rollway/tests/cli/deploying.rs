//! Deployments from the command line: real instances of the example service.

use std::process::{Child, Stdio};

use rollway_core::event::DeploymentState;
use rollway_core::view::{DeploymentView, InstanceView, ServiceView};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{World, free_port, spec, wait_until};

const CANARY: &str = "strategy:\n  canary:\n    steps: [{weight: 50}, {approve: look}]\n";

fn world(instances: u32, more: &str) -> World {
    let world = World::new();
    world.write("rollway.yaml", spec(instances, free_port(), more));
    world
}

fn begin(world: &World, arguments: &[&str]) -> Child {
    let mut command = world.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn service(world: &World) -> ServiceView {
    serde_json::from_str(&world.done(&["status", "shop", "--json"]).stdout).unwrap()
}

fn deployment(world: &World) -> Option<DeploymentView> {
    let said = world.run(&["status", "shop", "--json"]);
    let view: ServiceView = serde_json::from_str(&said.stdout).ok()?;
    view.deployment
}

fn waits_for_approval(world: &World, id: &str) {
    wait_until("the deployment waits for approval", || {
        deployment(world).is_some_and(|view| {
            let waits = view.waiting.is_some_and(|waiting| waiting.what.contains("promote"));
            view.id == id && waits && view.state == DeploymentState::InProgress
        })
    });
}

fn control_plane(world: &World) -> Pid {
    let said = world.command(&["doctor", "--json"]).output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    let number = text.split("(process ").nth(1).unwrap().split(')').next().unwrap();
    Pid::from_raw(number.parse().unwrap()).unwrap()
}

#[test]
fn the_first_deployment_starts_everything_and_the_second_replaces_it() {
    let world = world(2, "");
    let said = world.done(&["deploy", "--version", "v1"]);
    assert!(said.stdout.starts_with("shop-1 completed: r1 (v1) serves, 2 instances, after "));
    assert!(said.stderr.starts_with("control plane started (process [PID])\nshop-1: rolling"));
    assert!(said.stderr.contains("has reached its goal"), "{}", said.stderr);
    let said = world.done(&["deploy", "--version", "v2", "--json"]);
    let view: DeploymentView = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((view.number, view.state), (2, DeploymentState::Completed));
    assert!(said.stderr.starts_with("shop-2: rolling to r2 (v2), from r1 (v1)\n"));
    let status = world.done(&["status"]).stdout;
    let lines: Vec<&str> = status.lines().collect();
    assert_eq!(lines[0], "SERVICE  DESIRED  SERVING  READY  TRAFFIC   DEPLOYMENT");
    assert_eq!(lines[1], "shop     up       r2 (v2)  2/2    r2 100 %  shop-2 completed, just now");
    assert_eq!(world.done(&["deploy", "--version", "v3", "-q"]).stderr, "");
}

#[test]
fn a_plan_changes_nothing() {
    let world = world(3, CANARY);
    world.done(&["deploy", "--version", "v1"]);
    let before = service(&world).last_seq;
    let text = world.done(&["plan", "--version", "v2"]).stdout;
    assert!(
        text.starts_with("shop: canary to r2 (v2), from r1 (v1)\n\n  1. canary 50 %"),
        "{text}"
    );
    assert!(text.contains("  ~ version: v1 -> v2\n"), "{text}");
    let judged = "\nwhat the judge can tell\n  canary 50 %: at 10 req/s and 50 %, a version of ";
    assert!(text.contains(judged), "{text}");
    assert_eq!(world.done(&["deploy", "--plan", "--version", "v2"]).stdout, text);
    let after = service(&world);
    assert_eq!((after.last_seq, after.serving.unwrap().number), (before, 1));
}

#[test]
fn a_failed_deployment_is_said_with_its_evidence() {
    let world = world(2, "");
    world.done(&["deploy", "--version", "v1"]);
    let good = std::fs::read_to_string(world.folder().join("rollway.yaml")).unwrap();
    let bad = good.replace("\"{{version}}\"]", "\"{{version}}\", \"--crash-at-start\"]");
    world.write("rollway.yaml", bad);
    let said = world.run(&["deploy", "--version", "v2"]);
    assert_eq!(said.code, 1);
    assert!(said.stdout.starts_with("shop-2 rolled back: r1 (v1) serves again, after "));
    let error = said.stderr.split_once("error: ").unwrap().1;
    assert!(error.contains("  r2-0 exited with code 1"), "{error}");
    assert!(error.contains("    | shop: crashed at the start, as told\n"), "{error}");
    assert!(error.contains("hint: `rollway logs shop r2-0` shows what it printed"), "{error}");
    let log = world.done(&["logs", "r2-0"]).stdout;
    assert_eq!(log, "shop: crashed at the start, as told\n");
    let said = world.run(&["deploy", "--version", "v3", "--json"]);
    let view: DeploymentView = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, view.state), (1, DeploymentState::RolledBack));
    let history = world.done(&["history"]).stdout;
    let outcomes: Vec<&str> =
        history.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(outcomes, ["DEPLOYMENT", "shop-3", "shop-2", "shop-1"]);
    assert!(history.lines().nth(1).unwrap().contains("rolled back: "), "{history}");
}

#[test]
fn following_survives_the_control_plane() {
    let world = world(2, CANARY);
    world.done(&["deploy", "--version", "v1"]);
    let deploy = begin(&world, &["deploy", "--version", "v2"]);
    waits_for_approval(&world, "shop-2");
    kill_process(control_plane(&world), Signal::KILL).unwrap();
    // The one who follows brings it back; nobody else does.
    wait_until("it is promoted", || world.run(&["promote"]).code == 0);
    let said = world.said(&deploy.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.starts_with("shop-2 completed: r2 (v2) serves"), "{}", said.stdout);
    let expected = "control plane 2 (process [PID]) goes on";
    assert!(said.stderr.contains(expected), "{}", said.stderr);
}

#[test]
fn an_interrupt_leaves_the_deployment_alone() {
    let world = world(2, CANARY);
    world.done(&["deploy", "--version", "v1"]);
    let deploy = begin(&world, &["deploy", "--version", "v2"]);
    waits_for_approval(&world, "shop-2");
    let pid = Pid::from_raw(i32::try_from(deploy.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let said = world.said(&deploy.wait_with_output().unwrap());
    assert_eq!((said.code, said.stdout.as_str()), (130, ""));
    assert!(said.stderr.contains("shop-2 goes on without being watched"), "{}", said.stderr);
    waits_for_approval(&world, "shop-2");
    let said = world.done(&["abort", "--reason", "seen enough"]);
    assert!(said.stdout.starts_with("shop-2 rolled back: r1 (v1) serves again"));
    let reasons = deployment(&world).unwrap().reasons;
    assert!(reasons[0].ends_with(": seen enough"), "{reasons:?}");
}

#[test]
fn every_verb_does_its_work() {
    let world = world(2, CANARY);
    world.done(&["deploy", "--version", "v1"]);
    let said = world.done(&["deploy", "--version", "v2", "--detach"]);
    assert_eq!(said.stdout, "shop-2 has begun: canary to r2 (v2)\n");
    waits_for_approval(&world, "shop-2");
    world.done(&["pause"]);
    assert_eq!(deployment(&world).unwrap().state, DeploymentState::Paused);
    world.done(&["resume"]);
    waits_for_approval(&world, "shop-2");
    world.done(&["promote", "--full"]);
    let completed = |view: DeploymentView| view.state == DeploymentState::Completed;
    wait_until("it has completed", || deployment(&world).is_some_and(completed));
    assert!(world.done(&["scale", "3"]).stdout.contains("3 instances"));
    assert!(world.done(&["restart"]).stdout.contains(" completed: "));
    let said = world.done(&["rollback", "--to", "v1"]);
    assert!(said.stdout.contains(" completed: r1 (v1) serves, 3 instances"), "{}", said.stdout);
    assert!(world.done(&["down"]).stdout.contains(" completed: shop is down"));
    let instances: Vec<InstanceView> =
        serde_json::from_str(&world.done(&["ps", "--json"]).stdout).unwrap();
    assert_eq!(instances, []);
    assert!(world.done(&["up"]).stdout.contains(" completed: r1 (v1) serves, 3 instances"));
}

#[test]
fn what_has_happened_can_be_seen() {
    let world = world(2, "");
    world.done(&["deploy", "--version", "v1"]);
    world.done(&["deploy", "--version", "v2"]);
    let last = service(&world).last_seq;
    let events = world.done(&["events", "-n", "100000"]).stdout;
    assert_eq!(events.lines().count() as u64, last);
    assert_eq!(world.done(&["events", "-n", "3"]).stdout.lines().count(), 3);
    let export = world.done(&["history", "export"]).stdout;
    assert!(export.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    let verified = world.done(&["history", "verify"]).stdout;
    assert!(verified.contains("shop "), "{verified}");
    assert!(verified.lines().skip(1).all(|line| line.ends_with("as they were written")));
    let list = world.done(&["release", "list"]).stdout;
    assert!(list.lines().nth(1).unwrap().starts_with("r2       v2       serving  sha256:"));
    let diff = world.done(&["release", "diff", "r1", "v2"]).stdout;
    assert!(diff.contains("  ~ version: v1 -> v2\n"), "{diff}");
    assert!(world.done(&["release", "show", "shop", "1"]).stdout.starts_with("release     r1 of"));
    let logs = world.done(&["logs"]).stdout;
    let mut lines: Vec<&str> =
        logs.lines().map(|line| line.split(" on ").next().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["r2-0 | shop v2 listens", "r2-1 | shop v2 listens"]);
    let ps = world.done(&["ps"]).stdout;
    assert_eq!(ps.lines().count(), 3, "{ps}");
}

#[test]
fn several_first_deployments_at_once_share_one_control_plane() {
    let world = World::new();
    let names = ["one", "two", "three", "four"];
    for name in names {
        let text = spec(1, free_port(), "").replace("service: shop", &format!("service: {name}"));
        world.write(&format!("{name}.yaml"), text);
    }
    let file = |name: &str| format!("{name}.yaml");
    let all: Vec<Child> = names
        .iter()
        .map(|name| begin(&world, &["deploy", &file(name), "--version", "v1"]))
        .collect();
    for deploy in all {
        let said = world.said(&deploy.wait_with_output().unwrap());
        assert_eq!(said.code, 0, "{}", said.stderr);
    }
    let services: Vec<ServiceView> =
        serde_json::from_str(&world.done(&["status", "--json"]).stdout).unwrap();
    assert_eq!(services.len(), 4);
    for name in names {
        world.done(&["down", name]);
    }
}

#[test]
fn a_value_of_the_environment_goes_into_the_release() {
    let world = world(1, "");
    let text = std::fs::read_to_string(world.folder().join("rollway.yaml")).unwrap();
    let text = text.replace("\"{{version}}\"]", "\"{{env.LABEL}}\"]");
    world.write("rollway.yaml", text);
    let output = world.command(&["deploy", "--version", "v1"]).env("LABEL", "mine").output();
    assert!(output.unwrap().status.success());
    assert!(world.done(&["release", "show", "r1"]).stdout.contains("\"mine\""));
}

/// A version at 48 requests a second of which this many fail every ten seconds.
fn series(bad: u32) -> String {
    let line = |n: u32| format!("{},480,{bad}\n", n * 10);
    format!("time,total,bad\n{}", (1..=40).map(line).collect::<String>())
}

#[test]
fn two_files_of_numbers_are_judged_without_a_deployment() {
    let world = World::new();
    world.write("worse.csv", series(24));
    world.write("stable.csv", series(1));
    let said = world.done(&["analysis", "try", "worse.csv", "stable.csv", "--svg", "p.svg"]);
    assert!(
        said.stdout.starts_with("roll back: errors is worse\n  decided after "),
        "{}",
        said.stdout
    );
    let picture = std::fs::read_to_string(world.folder().join("p.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains("roll back: errors is worse"));
    let said = world.done(&["analysis", "try", "worse.csv", "stable.csv", "--json"]);
    let tried: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(tried["points"].as_array().unwrap().len(), 40);
    assert_eq!(tried["decided"]["decision"]["rollback"]["metric"], "errors");
    let said = world.done(&["analysis", "try", "stable.csv", "stable.csv"]);
    assert!(!said.stdout.contains("roll back"), "{}", said.stdout);
    assert!(!world.state().exists(), "nobody was asked");
}
