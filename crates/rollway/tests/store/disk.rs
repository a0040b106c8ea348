//! A disk whose power can be cut: ext4 on a loop device, with the ioctl that forgets what was not
//! synced. It takes root; where it cannot be had, the tests that want one say so.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Small, so that making it is quick; large enough for ext4's journal.
const BYTES: u64 = 48 << 20;
/// `FS_IOC_SHUTDOWN` with `NOLOGFLUSH`: from then on nothing reaches the disk, not even what waits
/// in the journal. Rust has no ioctl without `unsafe`, so a child does it.
const CUT: &str = "
import fcntl, os, struct, sys, time
folder = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
sys.stdin.readline()
began = time.monotonic_ns()
fcntl.ioctl(folder, 0x8004587d, struct.pack('I', 2))
print(began, time.monotonic_ns(), flush=True)
";

/// A disk, mounted.
pub struct Disk {
    image: PathBuf,
    /// Where it is mounted.
    pub folder: PathBuf,
    _home: tempfile::TempDir,
}

/// Someone with a hand on the plug.
pub struct Plug {
    child: Child,
    said: BufReader<ChildStdout>,
}

/// When the power was cut, in nanoseconds of the monotonic clock. Before it began all was well;
/// amid it some writes get through and some do not; from its end on nothing does.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    pub began_ns: u64,
    pub ended_ns: u64,
}

impl Disk {
    /// A fresh one, or why there cannot be one here.
    pub fn new() -> Result<Self, String> {
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        let folder = home.path().join("disk");
        fs::create_dir(&folder).map_err(|error| error.to_string())?;
        Self::at(home, folder)
    }

    /// The same, mounted over a folder that is there.
    pub fn at(home: tempfile::TempDir, folder: PathBuf) -> Result<Self, String> {
        let image = home.path().join("image");
        let file = fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(BYTES).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), &image])?;
        let disk = Self { image, folder, _home: home };
        disk.mount()?;
        // Nobody else has files on it.
        let _ = fs::remove_dir(disk.folder.join("lost+found"));
        let ours_alone = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&disk.folder, ours_alone).map_err(|error| error.to_string())?;
        // What was there when it was bought stays.
        run("sync", &["-f".as_ref(), &disk.folder])?;
        disk.plug()?.leave();
        Ok(disk)
    }

    pub fn mount(&self) -> Result<(), String> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), &self.image, &self.folder])
    }

    /// Nobody may have a file on it open.
    pub fn unmount(&self) -> Result<(), String> {
        run("umount", &[&self.folder])
    }

    /// Gets ready for a cut, so that it is quick when it comes.
    pub fn plug(&self) -> Result<Plug, String> {
        let mut child = Command::new("python3")
            .args(["-c", CUT])
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let mut said = BufReader::new(child.stdout.take().ok_or("python3 has no output")?);
        let mut line = String::new();
        match (said.read_line(&mut line), line.trim()) {
            (Ok(_), "ready") => Ok(Plug { child, said }),
            (_, line) => Err(format!("python3 cannot cut the power: {line:?}")),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, should somebody still look at it; it may be unmounted already.
        let _ = run("umount", &["-l".as_ref(), &self.folder]);
    }
}

impl Plug {
    /// Cuts the power.
    pub fn pull(mut self) -> Result<Cut, String> {
        let told = self.child.stdin.take().map(|mut stdin| stdin.write_all(b"now\n"));
        let mut line = String::new();
        let said = self.said.read_line(&mut line);
        let status = self.child.wait().map_err(|error| error.to_string())?;
        let times = line.trim().split_once(' ');
        let times = times.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        match (told, said, times) {
            (Some(Ok(())), Ok(_), Some((began_ns, ended_ns))) => Ok(Cut { began_ns, ended_ns }),
            (_, _, _) => Err(format!("the power was not cut: {status}")),
        }
    }

    /// Leaves it in.
    pub fn leave(mut self) {
        // It is only needed for its answer.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(program: &str, arguments: &[&Path]) -> Result<(), String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(arguments)
        // Where the tools of root are, whoever runs this.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Says why a test was not made.
#[expect(clippy::print_stderr, reason = "what was not tried has to be said")]
pub fn not_here(what: &str, why: &str) {
    eprintln!("{what}: not here: {why}");
}
