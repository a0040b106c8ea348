//! Hooks: commands of the user's at the turning points of a deployment.

use std::path::Path;
use std::process::Stdio;

use rollway_core::spec::Hook;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// So much of a hook's output is kept, in bytes: enough for the last lines.
const OUTPUT_MAX: usize = 4096;

/// What a hook is told in its environment.
pub(super) struct Told {
    pub variables: Vec<(&'static str, String)>,
}

/// Runs a hook to its end; whether it did well, and its exit with the last lines of its output.
pub(super) async fn run(hook: &Hook, folder: &Path, told: &Told) -> (bool, String) {
    let Some((program, arguments)) = hook.command.split_first() else {
        return (false, "the hook has no command".into());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for (name, value) in &told.variables {
        command.env(name, value);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return (false, format!("could not start {program}: {error}")),
    };
    let group = child.id();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let output = async {
        let (mut first, mut second) = tokio::join!(tail(out), tail(err));
        first.append(&mut second);
        String::from_utf8_lossy(&first).trim().to_owned()
    };
    let ended =
        tokio::time::timeout(hook.timeout.duration(), async { tokio::join!(child.wait(), output) })
            .await;
    match ended {
        Ok((Ok(status), output)) => (status.success(), describe(&status.to_string(), &output)),
        Ok((Err(error), output)) => (false, describe(&error.to_string(), &output)),
        Err(_) => {
            kill_group(group);
            (false, format!("it took longer than {} and was killed", hook.timeout))
        }
    }
}

fn describe(status: &str, output: &str) -> String {
    if output.is_empty() { status.to_owned() } else { format!("{status}: {output}") }
}

fn kill_group(group: Option<u32>) {
    let pid = group.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended just now: then there is nothing left to kill.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

async fn tail(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..length]);
        let surplus = kept.len().saturating_sub(OUTPUT_MAX);
        kept.drain(..surplus);
    }
    kept
}
