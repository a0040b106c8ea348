//! The shim: a small process over one instance, which outlives the control plane.
//!
//! `rollway shim FOLDER` reads a launch from standard input, which is one end of a socket, starts
//! the instance and watches over it until it is stopped or ends for good. It keeps the instance's
//! log, restarts it, ends its whole tree, and answers on `shim.sock` in its folder. It is single
//! threaded and waits only in `poll`.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use super::child::{self, Plan};
use super::folder::{self, Entry};
use super::limits;
use super::link::Link;
use super::output::Output;
use super::port;
use super::supervise::Supervisor;
use super::wire::{FORMAT, Order, Outcome, Phase, Record, Report, Request};
use crate::crash;
use crate::os::proc::{self, Identity};

/// Whoever starts a shim has its launch ready.
const LAUNCH_WAIT_MAX: Duration = Duration::from_secs(10);
/// The number that the answer to a launch carries.
pub const LAUNCH_ID: u64 = 0;

/// The argument that asks a shim program which one it is.
const WHO: &str = "--who";
/// The shim as a program of its own, beside this one.
const PROGRAM: &str = "rollway-shim";

/// What a shim program of this version says of itself.
fn who() -> String {
    format!("rollway-shim {} format {FORMAT}", env!("CARGO_PKG_VERSION"))
}

/// The command that runs a shim: the small program beside `program` if it is of this version, and
/// else `program shim`.
pub fn command_line(program: &Path) -> Vec<OsString> {
    let small = program.with_file_name(PROGRAM);
    let said = Command::new(&small).arg(WHO).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let same = said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).trim() == who());
    if same { vec![small.into()] } else { vec![program.into(), "shim".into()] }
}

/// The whole life of a shim; the answer is the exit code. `first` is the argument after `shim`:
/// the instance's folder, `--exec` for the second stage of a start, or `--who`.
#[must_use]
pub fn shim_main(first: &Path) -> i32 {
    if first.as_os_str() == WHO {
        // Whoever asked reads it, or does not: then it is not taken.
        let _ = writeln!(std::io::stdout(), "{}", who());
        return 0;
    }
    if first.as_os_str() == child::EXEC {
        return child::become_instance();
    }
    let Some((mut link, order)) = receive_launch() else { return 2 };
    harden(&order);
    match begin(first, order, &mut link) {
        Ok(begun) => Supervisor::new(begun, link).run(),
        Err(outcome) => {
            link.say(&Report::Reply { id: LAUNCH_ID, outcome });
            link.flush();
            1
        }
    }
}

/// All that a shim has when its instance runs.
pub struct Begun {
    /// The instance's folder.
    pub folder: PathBuf,
    /// What was asked for.
    pub order: Order,
    /// How to start it again.
    pub plan: Plan,
    /// What is known about it.
    pub record: Record,
    /// Its output.
    pub output: Output,
    /// Where control planes connect.
    pub listener: UnixListener,
    /// Its port, reserved as long as this lives.
    pub port: Option<port::Port>,
}

fn receive_launch() -> Option<(Link, Order)> {
    let stream = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    let stream = UnixStream::from(stream);
    let until = Instant::now() + LAUNCH_WAIT_MAX;
    let mut link = Link::new(0, stream).ok()?;
    while !link.is_closed() && Instant::now() < until {
        link.wait(LAUNCH_WAIT_MAX);
        match link.receive().into_iter().next() {
            Some(Request::Launch(order)) => return Some((link, *order)),
            Some(Request::Touch { .. } | Request::Stop { .. }) => return None,
            None => {}
        }
    }
    None
}

/// Makes us a supervisor that keeps its children and gives nothing away. What fails here fails on
/// systems that do not have it, and is not worth failing a start for.
fn harden(order: &Order) {
    let _ = rustix::process::setsid();
    // Orphans of the tree become our children, so that none is lost and all can be ended.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    // Inherited: no instance gains a right by a setuid program.
    let _ = rustix::thread::set_no_new_privs(true);
    rustix::process::umask(Mode::from_raw_mode(0o027));
    let core = Some(order.launch.limits.core.0);
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: core, maximum: core });
    // Our memory holds the environment: nobody but root may look into it.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Fence, check, reserve, start: all in the critical section of the service's fence.
fn begin(folder: &Path, order: Order, link: &mut Link) -> Result<Begun, Outcome> {
    let failed = |what: &str, error: std::io::Error| Outcome::NotDone(format!("{what}: {error}"));
    let service_folder = folder.parent().expect("an instance's folder is in its service's");
    let _lock = match folder::enter(service_folder, order.generation) {
        Ok(Entry::Open(lock)) => lock,
        Ok(Entry::Stale(seen)) => return Err(Outcome::Stale(seen)),
        Err(error) => return Err(failed("could not pass the fence", error)),
    };
    let boot = proc::boot_id().map_err(|error| failed("could not read the boot id", error))?;
    let there = folder::read_record(folder).map_err(|error| failed("could not read", error))?;
    if there.is_some_and(|record| runs(&record, &boot)) {
        return Err(Outcome::NotNeeded);
    }
    crash::point("shim.start.fenced");
    folder::make(folder).map_err(|error| failed("could not make the folder", error))?;
    let begun = prepare(folder, order, boot).and_then(|begun| launch(begun, link));
    if begun.is_err() {
        let _ = folder::remove(folder);
    }
    begun.map_err(Outcome::NotDone)
}

fn runs(record: &Record, boot: &str) -> bool {
    let lives = record.shim.lives() || record.child.is_some_and(Identity::lives);
    record.boot == boot && record.phase != Phase::Ended && lives
}

fn prepare(folder: &Path, order: Order, boot: String) -> Result<Begun, String> {
    let us = Identity::of(rustix::process::getpid().as_raw_pid()).ok_or("could not read /proc")?;
    let reserved = order.launch.port.then(port::reserve).transpose()?;
    let number = reserved.as_ref().map(|port| port.number);
    let name = format!("{}.{}.{}", order.service, order.launch.instance, us.pid);
    let kept = limits::keep(&order.launch.limits, &name);
    let plan = Plan::new(&order, number, &kept).inspect_err(|_| limits::remove(&kept.groups))?;
    let record = Record {
        format: FORMAT,
        service: order.service.clone(),
        instance: order.launch.instance,
        version: order.launch.version.clone(),
        generation: order.generation,
        boot,
        shim: us,
        child: None,
        port: number,
        phase: Phase::Starting,
        restarts: 0,
        started_at: proc::since_boot_ms(),
        end: None,
        limited_by: kept.by,
        groups: kept.groups,
    };
    // Known before there is anything to know about: a kill in between leaves a trace.
    let told = folder::write_record(folder, &record);
    told.map_err(|error| format!("could not write {}: {error}", folder::RECORD))?;
    crash::point("shim.start.recorded");
    let output = Output::open(folder, &order.launch.log);
    let output = output.map_err(|error| format!("could not open the log: {error}"))?;
    let listener = listen(folder).map_err(|error| format!("could not listen: {error}"))?;
    let folder = folder.to_owned();
    Ok(Begun { folder, order, plan, record, output, listener, port: reserved })
}

/// Binds by a short relative name, as the path may be longer than a socket's name can be. Being
/// in the folder is harmless: it can be removed under us.
#[expect(clippy::disallowed_methods, reason = "a shim is a process of its own, in its own folder")]
fn listen(folder: &Path) -> std::io::Result<UnixListener> {
    std::env::set_current_dir(folder)?;
    let _ = fs::remove_file(folder::SOCKET);
    let listener = UnixListener::bind(folder::SOCKET)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn launch(mut begun: Begun, link: &mut Link) -> Result<Begun, String> {
    let command = &begun.order.launch.command[0];
    let writer = begun.output.writer().map_err(|error| error.to_string())?;
    let pid = begun.plan.spawn(&writer).map_err(|error| {
        limits::remove(&begun.record.groups);
        format!("could not start {command}: {error}")
    })?;
    crash::point("shim.start.spawned");
    begun.record.ran(pid);
    // The instance runs, and its session and environment can be found: a record that cannot be
    // written is no reason to say that it does not.
    let _ = folder::write_record(&begun.folder, &begun.record);
    link.say(&Report::State(Box::new(begun.record.clone())));
    link.say(&Report::Reply { id: LAUNCH_ID, outcome: Outcome::Done });
    crash::point("shim.start.told");
    Ok(begun)
}
