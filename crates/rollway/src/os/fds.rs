//! Open files that were inherited from whoever started us, and must not be passed on.
//!
//! All that Rust opens is closed in programs that it starts. But a shell, a build tool or a test
//! runner may have left us files that are not, such as the pipe that a CI job waits on; an instance
//! that outlives us must not hold it open.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// The bit for "close when another program is started" in `/proc/self/fdinfo`.
const CLOSE_ON_EXEC: u32 = 0o2_000_000;
/// Where the shell is that can close any file; `sh` may know only numbers of one digit.
const SHELLS: [&str; 2] = ["/bin/bash", "/usr/bin/bash"];

/// The numbers of open files, beside the three standard ones, that a program which we start would
/// have as well.
#[must_use]
pub fn inherited() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut passed_on: Vec<u32> =
        numbers.filter(|number| *number > 2 && is_passed_on(*number)).collect();
    passed_on.sort_unstable();
    passed_on
}

fn is_passed_on(number: u32) -> bool {
    let Ok(text) = fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else { return false };
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & CLOSE_ON_EXEC == 0)
}

/// Starts this program once more in its own place without the files that it was left, so that
/// nothing it starts needs a shell for that; without such files it does nothing.
pub fn drop_inherited() -> io::Result<()> {
    let program = std::env::current_exe()?;
    let mut command = command_without(&inherited(), &program);
    if command.get_program() == program {
        return Ok(());
    }
    // The number of the process stays. This returns only if it could not be done.
    Err(command.args(std::env::args_os().skip(1)).exec())
}

/// A command that runs a program without the files of these numbers.
///
/// Safe Rust cannot close a file that it has not opened. So, where there are any, a shell does it
/// on the way; the only text that it reads is made of these numbers.
#[must_use]
pub fn command_without(inherited: &[u32], program: &Path) -> Command {
    let shell = SHELLS.iter().find(|shell| Path::new(shell).exists());
    let shell = shell.copied().unwrap_or("/bin/sh");
    let can_close = |number: &&u32| **number < 10 || shell != "/bin/sh";
    let closed: Vec<String> =
        inherited.iter().filter(can_close).map(|number| format!(" {number}>&-")).collect();
    if closed.is_empty() {
        return Command::new(program);
    }
    let mut command = Command::new(shell);
    if shell != "/bin/sh" {
        // With a socket as its standard input bash would read the user's start-up files.
        command.args(["--norc", "--noprofile", "-p"]);
    }
    command.arg("-c").arg(format!("exec \"$0\" \"$@\"{}", closed.concat())).arg(program);
    command
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn what_is_not_to_be_passed_on_is_not() {
        let ours = fs::File::open("/dev/null").unwrap();
        let number = u32::try_from(std::os::fd::AsRawFd::as_raw_fd(&ours)).unwrap();
        assert!(!inherited().contains(&number), "it is closed anyway");
        let passed_on = ours.try_clone().unwrap();
        let flags = rustix::io::FdFlags::empty();
        rustix::io::fcntl_setfd(&passed_on, flags).unwrap();
        let number = u32::try_from(std::os::fd::AsRawFd::as_raw_fd(&passed_on)).unwrap();
        assert!(inherited().contains(&number));
        let mut command = command_without(&inherited(), Path::new("/bin/ls"));
        let output = command.args(["/proc/self/fd"]).output().unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        // `ls` itself has the folder open.
        assert_eq!(listed, "0\n1\n2\n3\n");
    }
}
