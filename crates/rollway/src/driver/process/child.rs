//! Starts an instance's process: its program, environment, user and limits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, PipeWriter, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rollway_core::template::{self, Values};
use rustix::fs::MemfdFlags;
use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};

use super::limits::{Kept, Rlimits};
use super::wire::Order;

/// What the first argument of a shim is when it is to become the instance.
pub const EXEC: &str = "--exec";
/// A process that could not be started ends with this, as a shell's would.
pub const NOT_STARTED: i32 = 127;
/// Names that an instance has from the control plane unless its spec says otherwise.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
/// Where programs are looked for when nobody says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All that is needed to start the process, each time the same.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    program: PathBuf,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    working_folder: PathBuf,
    user: Option<User>,
    groups: Vec<PathBuf>,
    rlimits: Rlimits,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct User {
    name: String,
    id: u32,
    group: u32,
    home: String,
}

impl Plan {
    /// Checks what can be checked before the start; the error says what is wrong.
    pub fn new(order: &Order, port: Option<u16>, kept: &Kept) -> Result<Self, String> {
        let launch = &order.launch;
        let values = Values { port, ..Values::default() };
        let with_port = |text: &String| {
            template::render_last(text, &values).map_err(|problem| problem.to_string())
        };
        let user = launch.user.as_deref().map(find_user).transpose()?.flatten();
        let filled = |(name, value): (&String, &String)| Ok((name.clone(), with_port(value)?));
        let mut env: BTreeMap<String, String> =
            launch.env.iter().map(filled).collect::<Result<_, String>>()?;
        complete(&mut env, order, port, user.as_ref());
        let command: Vec<String> =
            launch.command.iter().map(with_port).collect::<Result<_, String>>()?;
        // We shall be in another folder when it is started.
        let folder = std::path::absolute(&launch.working_folder)
            .map_err(|error| format!("could not find the working folder: {error}"))?;
        if !folder.is_dir() {
            return Err(format!("the working folder {} is not there", folder.display()));
        }
        let name = command.first().ok_or("the command is empty")?;
        let program = find_program(name, &folder, &env["PATH"])?;
        let (groups, rlimits) = (kept.groups.clone(), kept.rlimits.clone());
        Ok(Self { program, command, env, working_folder: folder, user, groups, rlimits })
    }

    /// Starts the process in a process group of its own; its output goes into the pipe.
    pub fn spawn(&self, output: &PipeWriter) -> io::Result<i32> {
        let two_stages = !self.groups.is_empty() || self.rlimits != Rlimits::default();
        let mut command = if two_stages { self.second_stage()? } else { self.direct() };
        command.stdout(output.try_clone()?).stderr(output.try_clone()?).process_group(0);
        Ok(command.spawn()?.id().try_into().expect("process numbers are below 2^22"))
    }

    fn direct(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0(&self.command[0]).args(&self.command[1..]);
        command.env_clear().envs(&self.env).current_dir(&self.working_folder);
        command.stdin(Stdio::null());
        if let Some(user) = &self.user {
            // With a user given and root acting, supplementary groups are cleared as well.
            command.uid(user.id).gid(user.group);
        }
        command
    }

    /// Ourselves once more, to set limits on ourselves and then become the instance. The plan goes
    /// through an anonymous file, as it holds the environment; and that is not our environment,
    /// as we are still the control plane's user and `LD_PRELOAD` is the instance's to choose.
    fn second_stage(&self) -> io::Result<Command> {
        let fd: OwnedFd = rustix::fs::memfd_create("plan", MemfdFlags::CLOEXEC)?;
        let mut file = fs::File::from(fd);
        file.write_all(&serde_json::to_vec(self).expect("a plan has string keys only"))?;
        file.rewind()?;
        // Not by its path: the file there may be a newer program by now.
        let mut command = Command::new("/proc/self/exe");
        command.args(["shim", EXEC]).env_clear().stdin(file);
        Ok(command)
    }
}

/// The second stage: does not return unless the instance could not be started.
pub fn become_instance() -> i32 {
    let error = match read_plan().and_then(|plan| plan.limit().map(|()| plan)) {
        Ok(plan) => format!("could not start {}: {}", plan.command[0], plan.direct().exec()),
        Err(error) => format!("could not set the limits: {error}"),
    };
    // The output is the instance's log.
    let _ = writeln!(io::stderr(), "[rollway: {error}]");
    NOT_STARTED
}

fn read_plan() -> io::Result<Plan> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(serde_json::from_slice(&bytes)?)
}

impl Plan {
    fn limit(&self) -> io::Result<()> {
        for group in &self.groups {
            fs::write(group.join("cgroup.procs"), "0")?;
        }
        let set = |resource, limit: Option<u64>| match limit {
            Some(_) => {
                rustix::process::setrlimit(resource, Rlimit { current: limit, maximum: limit })
            }
            None => Ok(()),
        };
        set(Resource::Nofile, self.rlimits.open_files)?;
        set(Resource::Nproc, self.rlimits.processes)?;
        // Last, as we too live in it from here on.
        set(Resource::As, self.rlimits.address_space)?;
        Ok(())
    }
}

fn complete(
    env: &mut BTreeMap<String, String>,
    order: &Order,
    port: Option<u16>,
    user: Option<&User>,
) {
    let launch = &order.launch;
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
    set("ROLLWAY_SERVICE", order.service.to_string());
    set("ROLLWAY_VERSION", launch.version.to_string());
    set("ROLLWAY_RELEASE", launch.instance.release.0.to_string());
    set("ROLLWAY_INSTANCE", launch.instance.to_string());
    if let Some(port) = port {
        set("PORT", port.to_string());
    }
    if let Some(user) = user {
        env.entry("HOME".into()).or_insert_with(|| user.home.clone());
    }
    for name in INHERITED {
        let ours = std::env::var_os(name).map(OsString::into_string);
        if let Some(Ok(value)) = ours {
            env.entry(name.into()).or_insert(value);
        }
    }
    env.entry("PATH".into()).or_insert_with(|| PATH.into());
}

/// A name with a slash is a path, relative to the working folder; any other is looked for.
fn find_program(name: &str, folder: &Path, path: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        let program = folder.join(name);
        return match fs::metadata(&program) {
            Ok(meta) if is_program(&meta) => Ok(program),
            Ok(_) => Err(format!("{} is not a program: try chmod +x", program.display())),
            Err(error) => Err(format!("could not find {}: {error}", program.display())),
        };
    }
    let mut places = path.split(':').filter(|place| place.starts_with('/'));
    let found = places.find_map(|place| {
        let program = Path::new(place).join(name);
        fs::metadata(&program).is_ok_and(|meta| is_program(&meta)).then_some(program)
    });
    found.ok_or_else(|| format!("could not find the program {name:?} in PATH={path}"))
}

fn is_program(meta: &fs::Metadata) -> bool {
    meta.is_file() && meta.permissions().mode() & 0o111 != 0
}

/// The user, unless it is us.
fn find_user(name: &str) -> Result<Option<User>, String> {
    let text = fs::read_to_string("/etc/passwd")
        .map_err(|error| format!("could not look for user {name:?} in /etc/passwd: {error}"))?;
    let user = text.lines().find_map(|line| parse_user(line, name));
    let user = user.ok_or_else(|| {
        format!("there is no user {name:?} in /etc/passwd: make it, or leave run.user out")
    })?;
    let us = rustix::process::geteuid();
    if us.as_raw() == user.id {
        return Ok(None);
    }
    if !us.is_root() {
        return Err(format!("only root can start instances as another user ({name})"));
    }
    Ok(Some(user))
}

fn parse_user(line: &str, name: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let (id, group) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
    let ours = fields[0] == name || fields[2] == name;
    ours.then(|| User {
        name: fields[0].into(),
        id,
        group,
        home: fields.get(5).unwrap_or(&"/").to_string(),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let line = "app:x:1001:1002:An app:/srv/app:/bin/false";
        let user = parse_user(line, "app").unwrap();
        assert_eq!((user.id, user.group, user.home.as_str()), (1001, 1002, "/srv/app"));
        assert_eq!(parse_user(line, "1001"), Some(user));
        assert_eq!(parse_user(line, "ap"), None);
        let error = find_user("nobody-at-all").unwrap_err();
        assert!(error.contains("there is no user"), "{error}");
    }

    #[test]
    fn programs_are_found_and_errors_say_where_they_were_looked_for() {
        let folder = Path::new("/");
        assert_eq!(find_program("sh", folder, "/nowhere:/bin"), Ok("/bin/sh".into()));
        assert_eq!(find_program("bin/sh", folder, ""), Ok("/bin/sh".into()));
        assert!(find_program("etc/passwd", folder, "").unwrap_err().contains("chmod +x"));
        let error = find_program("no-such", folder, "/bin").unwrap_err();
        assert_eq!(error, "could not find the program \"no-such\" in PATH=/bin");
    }
}
