//! Listening sockets, the administration's socket, and who else has an address.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, FailureKind};

/// Connections that may wait to be accepted; the kernel cuts it to its own limit.
const BACKLOG: i32 = 4096;
/// So many processes are asked who has an address.
const PROCESSES_MAX: usize = 10_000;

/// Listens on an address.
pub fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let attempt = || {
        let socket = TcpListener::bind(address)?;
        // Listening again only changes the length of the queue.
        rustix::net::listen(&socket, BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    attempt().map_err(|error: std::io::Error| {
        let taken = error.kind() == std::io::ErrorKind::AddrInUse;
        let owner = if taken { owner(address.port()) } else { None };
        let owner = owner.map(|owner| format!(", {owner} has it")).unwrap_or_default();
        let doing = format!("could not listen on {address}{owner}");
        Failure::because(FailureKind::NotDone, doing, error)
    })
}

/// Who listens on a port, as far as this user may know: `nginx (pid 123)`.
fn owner(port: u16) -> Option<String> {
    let wanted = format!(":{port:04X}");
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let text = std::fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // State 0A is "listening"; the tenth field is the socket's inode.
            (fields.get(1)?.ends_with(&wanted) && *fields.get(3)? == "0A")
                .then(|| fields.get(9).map(|inode| format!("socket:[{inode}]")))?
        })
    })?;
    let processes = std::fs::read_dir("/proc").ok()?.take(PROCESSES_MAX).flatten();
    for process in processes {
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let has = |file: std::fs::DirEntry| {
            std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == inode.as_str())
        };
        if open.flatten().any(has) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let pid = process.file_name();
            return Some(format!("{} (pid {})", name.trim(), pid.display()));
        }
    }
    None
}

/// The name of a socket in `folder` that fits into an address whatever the folder's length.
///
/// A socket's address has room for 107 bytes; the way over an open descriptor is always short.
pub fn short_path(folder: &std::fs::File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

/// Listens on `proxy.sock` in `folder`, instead of whoever did before.
pub fn bind_admin(folder: &Path) -> Result<UnixListener, Failure> {
    let attempt = || {
        let opened = std::fs::File::open(folder)?;
        // Bound beside and renamed: there is no moment without a socket.
        let fresh = short_path(&opened, "proxy.sock.new");
        let _ = std::fs::remove_file(&fresh);
        let socket = UnixListener::bind(&fresh)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&fresh, mode)?;
        std::fs::rename(&fresh, folder.join("proxy.sock"))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    attempt().map_err(|error: std::io::Error| {
        let doing = format!("could not listen on {}/proxy.sock", folder.display());
        Failure::because(FailureKind::NotDone, doing, error)
    })
}
