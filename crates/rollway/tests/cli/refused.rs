//! What a control plane refuses: each is said, ends with 2, and changes nothing.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use expect_test::expect_file;
use rollway_core::view::ServiceView;

use crate::support::{World, free_port, spec, wait_until};

const CANARY: &str = "strategy:\n  canary:\n    steps: [{weight: 50}, {approve: look}]\n";

struct Transcript<'a> {
    world: &'a World,
    ports: Vec<u16>,
    text: String,
}

impl Transcript<'_> {
    /// Runs what is to be refused.
    fn refused(&mut self, title: &str, arguments: &[&str]) {
        let before = seen(self.world);
        let said = self.world.run(arguments);
        assert_eq!(said.code, 2, "{title}: {}{}", said.stdout, said.stderr);
        assert_eq!(said.stdout, "", "{title}");
        assert_eq!(seen(self.world), before, "{title} changed something");
        let mut stderr = said.stderr;
        for port in &self.ports {
            stderr = stderr.replace(&port.to_string(), "[PORT]");
        }
        let command = arguments.join(" ");
        self.text.push_str(&format!("#### {title}\n$ rollway {command}\n----\n{stderr}\n"));
    }
}

/// Everything that a refusal could have changed: events and instances.
fn seen(world: &World) -> (String, String) {
    let services = world.run(&["status", "--json"]).stdout;
    let services: Vec<ServiceView> = serde_json::from_str(&services).unwrap_or_default();
    let seqs: Vec<String> =
        services.iter().map(|view| format!("{} {}", view.service, view.last_seq)).collect();
    let instances = world.run(&["ps", "shop", "--json"]).stdout;
    let instances: serde_json::Value = serde_json::from_str(&instances).unwrap_or_default();
    let processes = instances.as_array().into_iter().flatten();
    let processes: Vec<String> = processes.map(|view| view["incarnation"].to_string()).collect();
    (seqs.join(", "), processes.join(", "))
}

#[test]
fn what_is_refused_is_said_and_changes_nothing() {
    let world = World::new();
    let port = free_port();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let good = spec(1, port, "");
    world.write("rollway.yaml", &good);
    world.write("not-executable", "to do\n");
    let program = |path: &str| {
        let rest = good.split_once("\", \"--port").unwrap().1;
        format!("service: cart\nrun:\n  command: [\"{path}\", \"--port{rest}")
    };
    world.write("missing.yaml", program("./missing"));
    world.write("nowhere.yaml", program("no-such-program"));
    world.write("notes.yaml", program("./not-executable"));
    world.write("taken.yaml", spec(1, taken_port, "").replace("service: shop", "service: cart"));
    world.write("variable.yaml", good.replace("\"{{version}}\"]", "\"{{env.NOT_SET}}\"]"));
    let mut transcript =
        Transcript { world: &world, ports: vec![port, taken_port], text: "".into() };
    let mut refused = |title: &str, arguments: &[&str]| transcript.refused(title, arguments);
    world.done(&["deploy", "--version", "v1"]);
    refused("a program that is not there", &["deploy", "missing.yaml", "--version", "v1"]);
    refused("a program that is not in PATH", &["deploy", "nowhere.yaml", "--version", "v1"]);
    refused("a file that is no program", &["deploy", "notes.yaml", "--version", "v1"]);
    refused("an address that is taken", &["deploy", "taken.yaml", "--version", "v1"]);
    refused("a variable that is not set", &["deploy", "variable.yaml", "--version", "v2"]);
    refused("the version that serves", &["deploy", "--version", "v1"]);
    refused("a service that there is not", &["status", "shoop"]);
    refused("events of a service that there is not", &["events", "cart"]);
    refused("a rollback with nothing before", &["rollback"]);
    refused("a rollback to nothing", &["rollback", "--to", "r9"]);
    refused("a rollback to what serves", &["rollback", "--to", "v1"]);
    refused("a release that there is not", &["release", "show", "v9"]);
    refused("an instance that there is not", &["logs", "shop", "r9-0"]);
    refused("an abort of nothing", &["abort"]);
    refused("a promotion of nothing", &["promote"]);
    refused("a pause of nothing", &["pause"]);
    refused("a resumption of nothing", &["resume"]);
    refused("as many instances as there are", &["scale", "1"]);
    refused("no instances", &["scale", "0"]);
    world.write("rollway.yaml", format!("{good}{CANARY}"));
    world.done(&["deploy", "--version", "v2", "--detach"]);
    wait_until("it waits for approval", || {
        let said = world.run(&["status", "shop", "--json"]);
        let view: Option<ServiceView> = serde_json::from_str(&said.stdout).ok();
        let waiting = view.and_then(|view| view.deployment).and_then(|view| view.waiting);
        waiting.is_some_and(|waiting| waiting.what.contains("promote"))
    });
    refused("a second deployment", &["deploy", "--version", "v3"]);
    refused("a resumption of what is not paused", &["resume"]);
    refused("another number of instances meanwhile", &["scale", "2"]);
    refused("a stop meanwhile", &["down"]);
    drop(taken);
    expect_file!["refused.txt"].assert_eq(&format!("{}\n", transcript.text.trim_end()));
}

#[test]
fn a_state_folder_that_others_may_enter_is_refused() {
    let world = World::new();
    world.write("rollway.yaml", spec(1, free_port(), ""));
    fs::create_dir(world.state()).unwrap();
    fs::write(world.state().join("file"), "").unwrap();
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o755)).unwrap();
    let said = world.run(&["deploy", "--version", "v1"]);
    assert_eq!(said.code, 2);
    assert_eq!(
        said.stderr,
        "error: --state-dir: could not use the state folder [FOLDER]/state: others may enter it \
         (mode 0755)\nhint: chmod 700 [FOLDER]/state, or choose another folder\n"
    );
    assert_eq!(fs::read_dir(world.state()).unwrap().count(), 1);
}

#[test]
fn a_state_folder_of_another_user_is_refused() {
    let world = World::new();
    world.write("rollway.yaml", spec(1, free_port(), ""));
    // Without being root nothing can be given away; then one that is root's serves as well.
    let is_root = rustix::process::geteuid().is_root();
    let folder = if is_root {
        fs::create_dir(world.state()).unwrap();
        std::os::unix::fs::chown(world.state(), Some(12_345), None).unwrap();
        world.state().display().to_string()
    } else {
        "/usr".to_owned()
    };
    let said = world.run(&["deploy", "--version", "v1", "--state-dir", &folder]);
    assert_eq!(said.code, 2, "{}", said.stderr);
    assert!(said.stderr.contains("it belongs to user "), "{}", said.stderr);
}

#[test]
fn a_damaged_database_is_left_as_it_is() {
    let world = World::new();
    world.write("rollway.yaml", spec(1, free_port(), ""));
    fs::create_dir(world.state()).unwrap();
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o700)).unwrap();
    let database = world.state().join("rollway.db");
    fs::write(&database, "this is no database").unwrap();
    let said = world.run(&["deploy", "--version", "v1"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("error: the control plane did not start: "), "{}", said.stderr);
    assert!(said.stderr.contains("rollway.db"), "{}", said.stderr);
    assert!(said.stderr.contains("hint: "), "{}", said.stderr);
    assert_eq!(fs::read(&database).unwrap(), b"this is no database");
    // Nothing can be asked to end, and nothing was started.
    fs::remove_file(&database).unwrap();
}

#[test]
fn without_a_control_plane_looking_is_a_failure_and_starts_none() {
    let world = World::new();
    for verb in [&["status"][..], &["events", "shop"], &["history", "shop"], &["rollback", "shop"]]
    {
        let said = world.run(verb);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{verb:?}");
        assert_eq!(
            said.stderr,
            "error: no control plane answers at [FOLDER]/state/control.sock\n\
             hint: `rollway serve` starts it, and `rollway deploy` does so by itself\n"
        );
    }
    assert!(!world.has_state());
}
