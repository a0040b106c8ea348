//! The shim's loop: output, ends, restarts, requests, stops.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rollway_core::spec::{Restart, RestartPolicy};
use rollway_core::units::Millis;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

use super::folder::{self, Entry};
use super::limits;
use super::link::Link;
use super::shim::Begun;
use super::signals;
use super::wire::{End, Outcome, Phase, Report, Request};
use crate::crash;
use crate::os::proc::{self, Stat};
use crate::os::tree;

/// A process that lived this long starts its back-off afresh.
const STEADY_MS: u64 = 10_000;
/// Orphans that came to us and ended are taken away at least this often.
const REAP_MS: u64 = 10_000;
/// Without a handle to the process (too many open files) its end is looked for this often.
const BLIND_MS: u64 = 100;
/// So many control planes may be connected at once; there is one, and the one before.
const LINKS_MAX: usize = 8;
/// What a process has ended with that could not be started again.
const NOT_STARTED: i32 = super::child::NOT_STARTED;

/// A running shim.
pub struct Supervisor {
    begun: Begun,
    links: Vec<Link>,
    links_seen: u64,
    /// The process, while it runs.
    child: Option<Child>,
    /// The wait before the last restart.
    waited: Option<Millis>,
    stop: Option<Stop>,
}

struct Child {
    pid: i32,
    handle: Option<OwnedFd>,
}

struct Stop {
    until: u64,
    askers: Vec<(u64, u64)>,
    others: Vec<OwnedFd>,
}

/// Whether to go on.
enum Next {
    Wait,
    Exit(i32),
}

#[derive(Default)]
struct Ready {
    output: bool,
    newcomer: bool,
}

impl Supervisor {
    /// Watches over what has begun.
    pub fn new(begun: Begun, first: Link) -> Self {
        let child = begun.record.child.map(|child| Child::new(child.pid));
        Self { begun, links: vec![first], links_seen: 1, child, waited: None, stop: None }
    }

    /// Until the instance is stopped or has ended for good.
    pub fn run(mut self) -> i32 {
        loop {
            let ready = self.wait();
            if ready.output {
                self.begun.output.take();
            }
            if ready.newcomer {
                self.welcome();
            }
            self.serve();
            if let Next::Exit(code) = self.look_after() {
                self.links.iter_mut().for_each(Link::flush);
                folder::prune_logs(&self.begun.folder);
                return code;
            }
        }
    }

    fn wait(&self) -> Ready {
        let timeout = tree::timespec(self.next_due().saturating_sub(proc::since_boot_ms()));
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.begun.output.fd(), PollFlags::IN),
            PollFd::new(&self.begun.listener, PollFlags::IN),
        ];
        fds.extend(self.links.iter().map(|link| {
            let (fd, flags) = link.interest();
            PollFd::from_borrowed_fd(fd, flags)
        }));
        let handle = self.child.as_ref().and_then(|child| child.handle.as_ref());
        let others = self.stop.iter().flat_map(|stop| &stop.others);
        fds.extend(handle.into_iter().chain(others).map(|fd| PollFd::new(fd, PollFlags::IN)));
        // Interrupted or not: all that may be ready is looked at, and nothing of it waits.
        let _ = rustix::event::poll(&mut fds, Some(&timeout));
        Ready { output: !fds[0].revents().is_empty(), newcomer: !fds[1].revents().is_empty() }
    }

    fn next_due(&self) -> u64 {
        let soon = proc::since_boot_ms() + REAP_MS;
        let stop = self.stop.as_ref().map_or(soon, |stop| stop.until);
        match self.begun.record.phase {
            Phase::Restarting { at } => at.min(stop).min(soon),
            Phase::Running if self.is_blind() => proc::since_boot_ms() + BLIND_MS,
            Phase::Starting | Phase::Running | Phase::Stopping | Phase::Ended => stop.min(soon),
        }
    }

    fn is_blind(&self) -> bool {
        self.child.as_ref().is_some_and(|child| child.handle.is_none())
    }

    fn welcome(&mut self) {
        while let Ok((stream, _)) = self.begun.listener.accept() {
            if self.links.len() >= LINKS_MAX || !is_ours(&stream) {
                continue;
            }
            let Ok(mut link) = Link::new(self.links_seen, stream) else { continue };
            self.links_seen += 1;
            link.say(&Report::State(Box::new(self.begun.record.clone())));
            self.links.push(link);
        }
    }

    fn serve(&mut self) {
        let mut asked = Vec::new();
        for link in &mut self.links {
            link.send();
            asked.extend(link.receive().into_iter().map(|request| (link.number, request)));
        }
        self.links.retain(|link| !link.is_closed());
        for (link, request) in asked {
            match request {
                Request::Touch { id, generation } => {
                    let outcome = self.touch(generation);
                    self.reply(link, id, outcome);
                }
                Request::Stop { id, generation, signal, timeout_ms } => {
                    let begun = self.begin_stop(generation, &signal, timeout_ms);
                    match (begun, &mut self.stop) {
                        (Ok(()), Some(stop)) => stop.askers.push((link, id)),
                        (Ok(()), None) => self.reply(link, id, Outcome::NotNeeded),
                        (Err(outcome), _) => self.reply(link, id, outcome),
                    }
                }
                Request::Launch(_) => {}
            }
        }
    }

    fn touch(&self, generation: rollway_core::ids::Generation) -> Outcome {
        match folder::enter(self.service_folder(), generation) {
            Ok(Entry::Open(_)) if self.stop.is_some() => Outcome::Stopping,
            Ok(Entry::Open(_)) => Outcome::NotNeeded,
            Ok(Entry::Stale(seen)) => Outcome::Stale(seen),
            Err(error) => Outcome::NotDone(format!("could not pass the fence: {error}")),
        }
    }

    /// The signal is sent in the same critical section in which the generation was compared.
    fn begin_stop(
        &mut self,
        generation: rollway_core::ids::Generation,
        signal: &str,
        timeout_ms: u64,
    ) -> Result<(), Outcome> {
        let signal = signals::parse(signal).map_err(Outcome::NotDone)?;
        let _lock = match folder::enter(self.service_folder(), generation) {
            Ok(Entry::Open(lock)) => lock,
            Ok(Entry::Stale(seen)) => return Err(Outcome::Stale(seen)),
            Err(error) => {
                return Err(Outcome::NotDone(format!("could not pass the fence: {error}")));
            }
        };
        let until = proc::since_boot_ms().saturating_add(timeout_ms);
        let stop = self.stop.get_or_insert(Stop { until, askers: vec![], others: vec![] });
        // A second order may be more urgent than the first, never less.
        stop.until = stop.until.min(until);
        self.signal_tree(signal);
        crash::point("shim.stop.signalled");
        self.begun.record.phase = Phase::Stopping;
        self.tell();
        Ok(())
    }

    /// The process group in one go, so that no fork escapes; then whoever left the group.
    fn signal_tree(&self, signal: Signal) {
        let group = self.child.as_ref().map(|child| child.pid);
        if let Some(pid) = group.and_then(Pid::from_raw) {
            // Not reaped yet, so that the number is still this group's.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
        for one in proc::descendants(our_pid()) {
            if Stat::of(one.pid).is_some_and(|stat| Some(stat.group) != group) {
                one.signal(signal);
            }
        }
    }

    /// Takes away what has ended, and decides what comes next.
    fn look_after(&mut self) -> Next {
        let (ended, none_left) = self.reap();
        if let Some(status) = ended {
            self.child = None;
            if self.stop.is_none() {
                return self.ended_by_itself(status.exit_status(), status.terminating_signal());
            }
        }
        if none_left && self.stop.is_none() && self.child.take().is_some() {
            // Somebody has us ignore our children's ends, so that nobody can see how.
            return self.ended_by_itself(None, None);
        }
        let now = proc::since_boot_ms();
        match (&mut self.stop, self.begun.record.phase) {
            (Some(_), _) if none_left => self.finish_stop(),
            (Some(stop), _) if now >= stop.until => self.kill(),
            (Some(stop), _) => {
                stop.others = tree::handles(&proc::descendants(our_pid()));
                Next::Wait
            }
            (None, Phase::Restarting { at }) if now >= at => self.start_again(),
            (None, _) => Next::Wait,
        }
    }

    /// The end of the process if it has ended, and whether no descendant is left: orphans come to
    /// us, so that having no child means having no descendant.
    fn reap(&self) -> (Option<WaitStatus>, bool) {
        let mut ended = None;
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let ours = self.child.as_ref().is_some_and(|c| c.pid == pid.as_raw_pid());
                    ended = if ours { Some(status) } else { ended };
                }
                Ok(None) => return (ended, false),
                Err(_) => return (ended, true),
            }
        }
    }

    fn ended_by_itself(&mut self, code: Option<i32>, signal: Option<i32>) -> Next {
        // The instance is its process; what that left behind must not hold its port.
        tree::kill_all(&self.begun.record.groups, || proc::descendants(our_pid()));
        self.reap();
        self.begun.output.take();
        let last_lines = self.begun.output.last_lines();
        let now = proc::since_boot_ms();
        self.begun.record.end = Some(End { code, signal, at: now, last_lines });
        let restart = &self.begun.order.launch.restart;
        if !comes_back(restart.policy, code) {
            return self.end_for_good();
        }
        let lived = now.saturating_sub(self.begun.record.started_at);
        let wait = next_wait(restart, lived, self.waited);
        self.waited = Some(wait);
        self.begun.record.phase = Phase::Restarting { at: now.saturating_add(wait.0) };
        self.write_and_tell();
        Next::Wait
    }

    fn end_for_good(&mut self) -> Next {
        limits::remove(&std::mem::take(&mut self.begun.record.groups));
        self.begun.record.phase = Phase::Ended;
        self.write_and_tell();
        Next::Exit(0)
    }

    fn start_again(&mut self) -> Next {
        let spawned = self.begun.output.writer().and_then(|pipe| self.begun.plan.spawn(&pipe));
        self.begun.record.restarts += 1;
        match spawned {
            Ok(pid) => {
                self.begun.record.ran(pid);
                self.child = Some(Child::new(pid));
                self.write_and_tell();
                Next::Wait
            }
            Err(error) => {
                let next = self.ended_by_itself(Some(NOT_STARTED), None);
                if let Some(end) = &mut self.begun.record.end {
                    end.last_lines = vec![format!("[rollway: could not start again: {error}]")];
                }
                self.write_and_tell();
                next
            }
        }
    }

    fn kill(&mut self) -> Next {
        if let Some(pid) = self.child.as_ref().and_then(|child| Pid::from_raw(child.pid)) {
            // In one go, so that nothing in the group is faster; the number is still the group's.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        let groups = self.begun.record.groups.clone();
        if tree::kill_all(&groups, || proc::descendants(our_pid())) {
            self.reap();
            return self.finish_stop();
        }
        let why = format!("something is left {} ms after the kill", tree::KILL_WAIT_MS_MAX);
        self.answer(&Outcome::Unfinished(why));
        if let Some(stop) = &mut self.stop {
            // Stuck in the kernel: it ends when it ends, and another order tries again.
            stop.until = u64::MAX;
        }
        Next::Wait
    }

    fn finish_stop(&mut self) -> Next {
        self.begun.output.take();
        crash::point("shim.stop.stopped");
        let lock = folder::lock(self.service_folder());
        let removed = folder::remove(&self.begun.folder);
        crash::point("shim.stop.removed");
        drop(lock);
        limits::remove(&self.begun.record.groups);
        let outcome = match removed {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Unfinished(format!("could not remove its folder: {error}")),
        };
        self.answer(&outcome);
        Next::Exit(0)
    }

    fn answer(&mut self, outcome: &Outcome) {
        let askers = self.stop.as_mut().map(|stop| std::mem::take(&mut stop.askers));
        for (link, id) in askers.unwrap_or_default() {
            self.reply(link, id, outcome.clone());
        }
    }

    fn reply(&mut self, link: u64, id: u64, outcome: Outcome) {
        if let Some(link) = self.links.iter_mut().find(|one| one.number == link) {
            link.say(&Report::Reply { id, outcome });
        }
    }

    fn write_and_tell(&mut self) {
        // The truth is here, in this process; the file is for when it is gone.
        let _ = folder::write_record(&self.begun.folder, &self.begun.record);
        self.tell();
    }

    fn tell(&mut self) {
        let report = Report::State(Box::new(self.begun.record.clone()));
        self.links.iter_mut().for_each(|link| link.say(&report));
    }

    fn service_folder(&self) -> &std::path::Path {
        self.begun.folder.parent().expect("an instance's folder is in its service's")
    }
}

impl Child {
    /// Not reaped yet, so that the number is still this process's.
    fn new(pid: i32) -> Self {
        let open = |pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok();
        Self { pid, handle: Pid::from_raw(pid).and_then(open) }
    }
}

fn our_pid() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

/// Only our own user and root may give orders.
fn is_ours(stream: &UnixStream) -> bool {
    let us = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(stream.as_fd())
        .is_ok_and(|peer| peer.uid == us || peer.uid.is_root())
}

fn comes_back(policy: RestartPolicy, code: Option<i32>) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => code != Some(0),
        RestartPolicy::Never => false,
    }
}

/// The wait doubles until the process has lived long enough once.
fn next_wait(restart: &Restart, lived_ms: u64, before: Option<Millis>) -> Millis {
    let most = restart.backoff_max.0.max(restart.backoff.0);
    match before {
        Some(before) if lived_ms < STEADY_MS => Millis(before.0.saturating_mul(2).clamp(1, most)),
        Some(_) | None => restart.backoff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_its_limit_and_starts_afresh_after_a_steady_life() {
        let restart = Restart {
            policy: RestartPolicy::Always,
            backoff: Millis(100),
            backoff_max: Millis(500),
        };
        let mut before = None;
        let waits = [5, 5, 5, 5, 5, STEADY_MS, 5].map(|lived| {
            let wait = next_wait(&restart, lived, before);
            before = Some(wait);
            wait.0
        });
        assert_eq!(waits, [100, 200, 400, 500, 500, 100, 200]);
    }

    #[test]
    fn only_what_the_policy_names_comes_back() {
        let ends = [Some(0), Some(3), None];
        let kept = |policy| ends.map(|code| comes_back(policy, code));
        assert_eq!(kept(RestartPolicy::Always), [true, true, true]);
        assert_eq!(kept(RestartPolicy::OnFailure), [false, true, true]);
        assert_eq!(kept(RestartPolicy::Never), [false, false, false]);
    }
}
