//! The output of an instance: from its pipe into a log file of bounded size, and its last lines.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rollway_core::spec::Log;
use rustix::fs::OFlags;

use super::folder;

/// So many last lines are kept in memory.
pub const LAST_LINES_MAX: usize = 20;
/// A last line is cut at this length.
pub const LINE_BYTES_MAX: usize = 4096;
/// One read takes at most what a pipe holds by default.
const READ_BYTES: usize = 64 << 10;
/// So many reads are done before others have their turn.
const READS_MAX: usize = 16;

/// The reading end of an instance's output.
pub struct Output {
    reader: PipeReader,
    writer: PipeWriter,
    log: LogFile,
    last: LastLines,
    buffer: Vec<u8>,
}

impl Output {
    /// A fresh pipe, and the log file in the instance's folder.
    pub fn open(folder: &Path, limits: &Log) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        let log = LogFile::open(folder, limits)?;
        let buffer = vec![0; READ_BYTES];
        Ok(Self { reader, writer, log, last: LastLines::default(), buffer })
    }

    /// An end to write to, for one process.
    pub fn writer(&self) -> io::Result<PipeWriter> {
        self.writer.try_clone()
    }

    /// What to wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Takes what is there.
    pub fn take(&mut self) {
        for _ in 0..READS_MAX {
            match self.reader.read(&mut self.buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => {
                    self.log.append(&self.buffer[..length]);
                    self.last.take(&self.buffer[..length]);
                }
            }
        }
    }

    /// The last lines until now; the next ones are another process's.
    pub fn last_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.last).finish()
    }
}

struct LogFile {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    size_max: u64,
    keep: u32,
    lost: u64,
}

impl LogFile {
    fn open(folder: &Path, limits: &Log) -> io::Result<Self> {
        let path = folder.join(folder::LOG);
        let file = open_log(&path)?;
        let size = file.metadata()?.len();
        // Less than a page would rotate all the time.
        let size_max = limits.max_size.0.max(4096);
        Ok(Self { path, file: Some(file), size, size_max, keep: limits.keep, lost: 0 })
    }

    /// Appends; a full disk loses output and says so later, but never holds up the instance.
    fn append(&mut self, bytes: &[u8]) {
        if self.size + bytes.len() as u64 > self.size_max && self.size > 0 {
            self.rotate();
        }
        if self.lost > 0 {
            let note = format!("[rollway: {} bytes of output could not be kept]\n", self.lost);
            if self.write(note.as_bytes()) {
                self.lost = 0;
            }
        }
        if !self.write(bytes) {
            self.lost += bytes.len() as u64;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        let Some(file) = &mut self.file else { return false };
        let written = file.write_all(bytes).is_ok();
        self.size += if written { bytes.len() as u64 } else { 0 };
        written
    }

    fn rotate(&mut self) {
        let numbered = |number: u32| self.path.with_extension(number.to_string());
        if self.keep == 0 {
            let _ = fs::remove_file(&self.path);
        }
        for number in (1..self.keep).rev() {
            let _ = fs::rename(numbered(number), numbered(number + 1));
        }
        if self.keep > 0 {
            let _ = fs::rename(&self.path, numbered(1));
        }
        self.file = open_log(&self.path).ok();
        self.size = 0;
    }
}

/// Never through a link that somebody put there.
fn open_log(path: &Path) -> io::Result<File> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).expect("the flag is a low bit");
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(nofollow).open(path)
}

#[derive(Default)]
struct LastLines {
    lines: VecDeque<Vec<u8>>,
    open: Vec<u8>,
}

impl LastLines {
    fn take(&mut self, bytes: &[u8]) {
        let mut parts = bytes.split(|b| *b == b'\n');
        // A split has at least one part; what follows the last line feed is an open line.
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            self.extend(part);
            self.close();
        }
        self.extend(last);
    }

    fn extend(&mut self, part: &[u8]) {
        let room = LINE_BYTES_MAX - self.open.len();
        self.open.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn close(&mut self) {
        if self.lines.len() == LAST_LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(std::mem::take(&mut self.open));
    }

    fn finish(mut self) -> Vec<String> {
        if !self.open.is_empty() {
            self.close();
        }
        self.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use rollway_core::units::Bytes;

    #[test]
    fn last_lines_are_few_and_short_however_they_arrive() {
        let mut last = LastLines::default();
        for number in 0..50 {
            last.take(format!("line {number}").as_bytes());
            last.take(b"\n");
        }
        last.take(&vec![b'x'; 3 * LINE_BYTES_MAX]);
        let lines = last.finish();
        assert_eq!(lines.len(), LAST_LINES_MAX);
        assert_eq!(lines[0], "line 31");
        assert_eq!(lines[LAST_LINES_MAX - 1].len(), LINE_BYTES_MAX);
    }

    #[test]
    fn a_log_is_rotated_and_only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Log { max_size: Bytes(8192), keep: 2 };
        let mut log = LogFile::open(folder.path(), &limits).unwrap();
        for _ in 0..10 {
            log.append(&[b'a'; 4000]);
        }
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        assert_eq!(fs::metadata(folder.path().join("log.1")).unwrap().len(), 8000);
    }

    #[test]
    fn a_link_in_the_place_of_the_log_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.path().join(folder::LOG)).unwrap();
        assert!(LogFile::open(folder.path(), &Log::default()).is_err());
    }
}
