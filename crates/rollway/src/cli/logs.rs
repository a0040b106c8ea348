//! `rollway logs`: what instances print, read from their log files.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rollway_core::ids::{InstanceId, ServiceName};
use rollway_core::problem::{Problem, unknown};
use rustix::fs::OFlags;

use super::args::LogsFlags;
use super::out::{Out, Tone, clean};
use super::wrong::Wrong;
use super::{Context, place};
use crate::failure::{Failure, FailureKind};

/// The time between two looks at files that grow.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After so many looks at the files, the control plane is asked for new instances.
const LOOKS_UNTIL_ASKING: u32 = 10;
/// The end of a log that its last lines are looked for in.
const TAIL_BYTES_MAX: u64 = 8 << 20;
/// One look reads at most so much of each log.
const READ_BYTES_MAX: u64 = 1 << 20;
/// A line without an end is printed at this length.
const LINE_BYTES_MAX: usize = 64 << 10;

/// `rollway logs`.
pub async fn logs(ctx: &Context, flags: &LogsFlags) -> Result<(), Wrong> {
    let (service, only) = meant(ctx, flags).await?;
    let mut logs: BTreeMap<String, Tail> = BTreeMap::new();
    let found = paths(ctx, &service, only).await?;
    let several = found.len() > 1 || (flags.follow && only.is_none());
    let lines = usize::try_from(flags.lines).unwrap_or(usize::MAX);
    for (instance, path) in found {
        let tail = Tail::open(&path, lines).map_err(|error| unreadable(&path, error))?;
        logs.insert(instance, tail);
    }
    let printer = Printer { out: ctx.out, several };
    printer.print(&mut logs)?;
    if !flags.follow {
        return printer.rest(&mut logs);
    }
    let mut looks = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        looks += 1;
        if looks % LOOKS_UNTIL_ASKING == 0 {
            // Without a control plane the logs that are known go on.
            for (instance, path) in paths(ctx, &service, only).await.unwrap_or_default() {
                if let std::collections::btree_map::Entry::Vacant(free) = logs.entry(instance)
                    && let Ok(tail) = Tail::open(&path, usize::MAX)
                {
                    free.insert(tail);
                }
            }
        }
        printer.print(&mut logs)?;
    }
}

/// The service and the instance; one argument that reads as an instance is one.
async fn meant(
    ctx: &Context,
    flags: &LogsFlags,
) -> Result<(ServiceName, Option<InstanceId>), Wrong> {
    let (service, instance) = match (&flags.service, &flags.instance) {
        (Some(one), None) if InstanceId::parse(one).is_ok() => (None, Some(one.clone())),
        (service, instance) => (service.clone(), instance.clone()),
    };
    let only = match instance {
        Some(text) => Some(InstanceId::parse(&text).map_err(|what| Problem::new("", what))?),
        None => None,
    };
    Ok((place::service(ctx, service).await?, only))
}

/// The instances and their logs; the log of one that is gone is kept for a while.
async fn paths(
    ctx: &Context,
    service: &ServiceName,
    only: Option<InstanceId>,
) -> Result<Vec<(String, PathBuf)>, Wrong> {
    let views = ctx.client().instances(service).await?;
    let here = |instance: &str| {
        ctx.state_dir.join("instances").join(service.as_str()).join(instance).join("log")
    };
    let gone = |instance: &str| {
        ctx.state_dir.join("logs").join(service.as_str()).join(format!("{instance}.log"))
    };
    let mut found: Vec<(String, PathBuf)> = views
        .iter()
        .map(|view| {
            let path = view.log.as_ref().map(PathBuf::from);
            (view.instance.clone(), path.unwrap_or_else(|| here(&view.instance)))
        })
        .collect();
    let Some(only) = only.map(|id| id.to_string()) else {
        found.retain(|(_, path)| path.exists());
        return Ok(found);
    };
    found.retain(|(instance, _)| *instance == only);
    if let Some((_, path)) = found.iter().find(|(_, path)| path.exists()) {
        return Ok(vec![(only, path.clone())]);
    }
    if gone(&only).exists() {
        return Ok(vec![(only.clone(), gone(&only))]);
    }
    let known: Vec<&str> = views.iter().map(|view| view.instance.as_str()).collect();
    Err(Problem::new("", unknown("instance", &only, &known))
        .hint(format!("`rollway ps {service}` shows them"))
        .into())
}

fn unreadable(path: &Path, error: io::Error) -> Failure {
    Failure::because(FailureKind::NotDone, format!("could not read {}", path.display()), error)
}

/// A log file that is read on from where the last look ended.
struct Tail {
    path: PathBuf,
    file: File,
    inode: u64,
    /// What came without an end of line yet.
    open: Vec<u8>,
}

impl Tail {
    /// Opens a log at its last lines.
    fn open(path: &Path, lines: usize) -> io::Result<Self> {
        let mut file = open(path)?;
        let metadata = file.metadata()?;
        let start = last_lines_start(&mut file, metadata.len(), lines)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(Self { path: path.to_owned(), file, inode: metadata.ino(), open: Vec::new() })
    }

    /// The whole lines that have come since.
    fn look(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut lines = self.read()?;
        // A rotated log has another file in its place; the old one was read to its end above.
        let Ok(fresh) = open(&self.path) else { return Ok(lines) };
        let metadata = fresh.metadata()?;
        if metadata.ino() != self.inode {
            lines.extend(self.read()?);
            (self.file, self.inode) = (fresh, metadata.ino());
            lines.extend(self.read()?);
        } else if metadata.len() < self.file.stream_position()? {
            self.file.seek(SeekFrom::Start(0))?;
        }
        Ok(lines)
    }

    fn read(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut bytes = std::mem::take(&mut self.open);
        (&mut self.file).take(READ_BYTES_MAX).read_to_end(&mut bytes)?;
        let mut lines: Vec<Vec<u8>> =
            bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        self.open = lines.pop().unwrap_or_default();
        if self.open.len() > LINE_BYTES_MAX {
            lines.push(std::mem::take(&mut self.open));
        }
        Ok(lines)
    }
}

/// Opens a log; never through a link, and never something that would keep us waiting.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).expect("the flags are low bits");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a file")),
    }
}

/// Where the last `lines` lines begin.
fn last_lines_start(file: &mut File, length: u64, lines: usize) -> io::Result<u64> {
    let from = length.saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    if lines == 0 {
        return Ok(from + bytes.len() as u64);
    }
    let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let start = ends.map(|(at, _)| at + 1).nth(lines - 1).unwrap_or(0);
    Ok(from + start as u64)
}

struct Printer {
    out: Out,
    several: bool,
}

impl Printer {
    fn print(&self, logs: &mut BTreeMap<String, Tail>) -> Result<(), Wrong> {
        for (instance, tail) in logs {
            let lines = tail.look().map_err(|error| unreadable(&tail.path, error))?;
            for line in lines {
                self.line(instance, &line)?;
            }
        }
        Ok(())
    }

    /// What has no end of line, at the very end.
    fn rest(&self, logs: &mut BTreeMap<String, Tail>) -> Result<(), Wrong> {
        loop {
            let before: Vec<u64> = logs.values_mut().filter_map(position).collect();
            self.print(logs)?;
            let after: Vec<u64> = logs.values_mut().filter_map(position).collect();
            if before == after {
                break;
            }
        }
        for (instance, tail) in logs {
            if !tail.open.is_empty() {
                self.line(instance, &std::mem::take(&mut tail.open))?;
            }
        }
        Ok(())
    }

    fn line(&self, instance: &str, line: &[u8]) -> Result<(), Wrong> {
        let text = String::from_utf8_lossy(line);
        if self.out.json {
            return self.out.value_line(&serde_json::json!({"instance": instance, "line": text}));
        }
        let prefix = match self.several {
            true => format!("{} ", self.out.paint(Tone::Faint, &format!("{instance} |"))),
            false => String::new(),
        };
        if self.out.stdout_is_terminal() {
            return self.out.line(&format!("{prefix}{}", clean(&text)));
        }
        // A program that reads this gets what the instance wrote, byte for byte.
        self.out.bytes(&[prefix.as_bytes(), line, b"\n"].concat())
    }
}

fn position(tail: &mut Tail) -> Option<u64> {
    tail.file.stream_position().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn texts(lines: Vec<Vec<u8>>) -> Vec<String> {
        lines.into_iter().map(|line| String::from_utf8(line).expect("text")).collect()
    }

    #[test]
    fn the_last_lines_come_first_and_then_what_is_added() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "1\n2\n3\n").expect("a log");
        let mut tail = Tail::open(&path, 2).expect("open");
        assert_eq!(texts(tail.look().expect("look")), ["2", "3"]);
        let mut file = OpenOptions::new().append(true).open(&path).expect("append");
        file.write_all(b"4\nhalf").expect("write");
        assert_eq!(texts(tail.look().expect("look")), ["4"]);
        file.write_all(b" a line\n").expect("write");
        assert_eq!(texts(tail.look().expect("look")), ["half a line"]);
    }

    #[test]
    fn nothing_is_lost_or_repeated_when_a_log_is_rotated() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "old 1\n").expect("a log");
        let mut tail = Tail::open(&path, 10).expect("open");
        assert_eq!(texts(tail.look().expect("look")), ["old 1"]);
        let mut file = OpenOptions::new().append(true).open(&path).expect("append");
        file.write_all(b"old 2\n").expect("write");
        std::fs::rename(&path, folder.path().join("log.1")).expect("rotate");
        file.write_all(b"old 3\n").expect("write");
        std::fs::write(&path, "new 1\n").expect("a new log");
        assert_eq!(texts(tail.look().expect("look")), ["old 2", "old 3", "new 1"]);
        assert!(tail.look().expect("look").is_empty());
    }

    #[test]
    fn a_link_in_the_place_of_a_log_is_not_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("log");
        std::os::unix::fs::symlink("/etc/hostname", &path).expect("a link");
        assert!(Tail::open(&path, 1).is_err());
    }
}
