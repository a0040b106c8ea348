//! Runs a command to its end, with a limit on its time and on its output.
//!
//! When the time is over the whole tree is killed, children in other sessions included; when it
//! ends in time, whatever is left in its process group is.

use std::collections::BTreeMap;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, timeout_at};

use super::{proc, tree};

/// So much is read at once.
const READ_BYTES: usize = 8 << 10;
/// What ended in time may have left this much unread in its pipe.
const REST_READS_MAX: usize = 16;
/// Names the environment entry by which a command's strays are found.
const MARK: &str = "ROLLWAY_RUN";

/// One command.
#[derive(Debug, Clone)]
pub struct Job {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub working_folder: PathBuf,
    /// It is killed with its whole tree after this.
    pub longest: Duration,
    /// So much of its output is kept; the rest is read and dropped.
    pub output_bytes_max: usize,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it was killed because its time was over.
    pub timed_out: bool,
    /// The beginning of what it wrote to standard output and standard error.
    pub output: Vec<u8>,
}

/// Where a command's two streams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Streams {
    /// Both into one, in the order of writing.
    Together,
    /// Each into one of its own.
    Apart,
}

/// Runs it. The caller may give up at any time; the command still ends within its time.
pub async fn run(job: Job) -> io::Result<Ran> {
    let running = tokio::spawn(to_its_end(job, Streams::Together));
    running.await.map_err(io::Error::other)?.map(|(ran, _)| ran)
}

/// The same with only standard output as its output; standard error comes beside it.
pub async fn run_apart(job: Job) -> io::Result<(Ran, Vec<u8>)> {
    tokio::spawn(to_its_end(job, Streams::Apart)).await.map_err(io::Error::other)?
}

async fn to_its_end(job: Job, streams: Streams) -> io::Result<(Ran, Vec<u8>)> {
    let until = Instant::now() + job.longest;
    let mark = mark();
    let (limit, entry) = (job.output_bytes_max, format!("{MARK}={mark}"));
    let spawned = tokio::task::spawn_blocking(move || spawn(&job, &mark, streams)).await;
    let (mut child, reader, errors) = spawned.map_err(io::Error::other)??;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a pid is positive");
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let mut output = Output::new(reader, limit)?;
    let mut errors = errors.map(|reader| Output::new(reader, limit)).transpose()?;
    let in_time = {
        let beside = async {
            match &mut errors {
                Some(errors) => errors.read_until(std::future::pending()).await,
                None => std::future::pending().await,
            }
        };
        let reading = async {
            tokio::select! {
                () = output.read_until(proc::ended(handle)) => {}
                () = beside => {}
            }
        };
        timeout_at(until, reading).await.is_ok()
    };
    // Not waited for yet, so that the number is still this group's.
    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    if !in_time {
        let strays = move || {
            let entry = std::slice::from_ref(&entry);
            tree::kill_all(&[], || {
                let all = proc::all().into_iter().map(|stat| stat.identity);
                all.filter(|one| proc::environment_holds(one.pid, entry)).collect()
            })
        };
        let _ = tokio::task::spawn_blocking(strays).await;
    }
    let status = child.wait()?;
    output.read_rest();
    if let Some(errors) = &mut errors {
        errors.read_rest();
    }
    let ran = Ran {
        code: status.code(),
        signal: status.signal(),
        timed_out: !in_time,
        output: output.bytes,
    };
    Ok((ran, errors.map(|errors| errors.bytes).unwrap_or_default()))
}

type Spawned = (Child, PipeReader, Option<PipeReader>);

fn spawn(job: &Job, mark: &str, streams: Streams) -> io::Result<Spawned> {
    let (reader, writer) = io::pipe()?;
    let (errors, error_writer) = match streams {
        Streams::Together => (None, writer.try_clone()?),
        Streams::Apart => {
            let (errors, writer) = io::pipe()?;
            (Some(errors), writer)
        }
    };
    let name = job.argv.first().ok_or_else(|| io::Error::other("the command is empty"))?;
    let mut command = Command::new(name);
    command.args(&job.argv[1..]).env_clear().envs(&job.env).env(MARK, mark);
    command.current_dir(&job.working_folder).process_group(0);
    command.stdin(Stdio::null()).stdout(writer).stderr(error_writer);
    Ok((command.spawn()?, reader, errors))
}

/// Unlike that of any other command of any process of ours.
fn mark() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{number}", std::process::id(), proc::since_boot_ms())
}

struct Output {
    bytes: Vec<u8>,
    limit: usize,
    pipe: Receiver,
}

impl Output {
    fn new(reader: PipeReader, limit: usize) -> io::Result<Self> {
        let pipe = Receiver::from_owned_fd(OwnedFd::from(reader))?;
        Ok(Self { bytes: Vec::new(), limit, pipe })
    }

    /// Reads on while the command runs, so that it is never held up.
    async fn read_until(&mut self, ended: impl Future<Output = ()>) {
        tokio::pin!(ended);
        let mut buffer = vec![0; READ_BYTES];
        let mut open = true;
        loop {
            tokio::select! {
                () = &mut ended => return,
                read = self.pipe.read(&mut buffer), if open => match read {
                    Ok(length) if length > 0 => self.keep(&buffer[..length]),
                    Ok(_) | Err(_) => open = false,
                },
            }
        }
    }

    fn read_rest(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        for _ in 0..REST_READS_MAX {
            match self.pipe.try_read(&mut buffer) {
                Ok(length) if length > 0 => self.keep(&buffer[..length]),
                Ok(_) | Err(_) => return,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.limit.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn script(text: &str, milliseconds: u64) -> Job {
        Job {
            argv: ["/bin/sh", "-c", text].map(String::from).into(),
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
            working_folder: "/".into(),
            longest: Duration::from_millis(milliseconds),
            output_bytes_max: 100,
        }
    }

    #[tokio::test]
    async fn code_and_output_are_told() {
        let ran = run(script("echo out; echo err >&2; exit 3", 10_000)).await.unwrap();
        let output = b"out\nerr\n".to_vec();
        assert_eq!(ran, Ran { code: Some(3), signal: None, timed_out: false, output });
    }

    #[tokio::test]
    async fn streams_can_be_kept_apart() {
        let (ran, errors) =
            run_apart(script("echo out; echo err >&2; exit 3", 10_000)).await.unwrap();
        assert_eq!((ran.code, ran.output, errors), (Some(3), b"out\n".into(), b"err\n".into()));
    }

    #[tokio::test]
    async fn endless_output_neither_fills_memory_nor_holds_up_the_limit() {
        let ran = run(script("while :; do echo yes; done", 200)).await.unwrap();
        assert_eq!((ran.timed_out, ran.signal, ran.output.len()), (true, Some(9), 100));
    }

    #[tokio::test]
    async fn nothing_of_a_command_that_takes_too_long_remains() {
        let text = "setsid setsid sh -c 'echo $$; exec sleep 600' & sleep 600";
        let ran = run(script(text, 300)).await.unwrap();
        let stray: i32 = String::from_utf8(ran.output).unwrap().trim().parse().unwrap();
        assert!(ran.timed_out);
        assert_eq!(proc::Identity::of(stray), None);
    }
}
