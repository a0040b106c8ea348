//! A web server in front of `git http-backend`, with faults on demand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// How it answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Mood {
    /// As it should.
    Well,
    /// With this head and body.
    Says(String, String),
    /// Only to who sends these credentials.
    Asks(String),
    /// It closes the connection.
    Resets,
    /// It begins to answer, and says nothing more.
    Stalls,
}

/// The server; it ends with the process.
pub struct Server {
    pub address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves the repositories of a folder.
    pub fn new(root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (mood, requests) = (Arc::new(Mutex::new(Mood::Well)), Arc::default());
        let (shared, seen) = (Arc::clone(&mood), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (root, mood) = (root.clone(), shared.lock().unwrap().clone());
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || {
                    // A client that goes away is its own matter.
                    let _ = answer(stream.unwrap(), &root, &mood, &seen);
                });
            }
        });
        Self { address, mood, requests }
    }

    pub fn url(&self) -> String {
        format!("http://{}/repo.git", self.address)
    }

    pub fn feels(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// The first lines of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    stream: TcpStream,
    root: &PathBuf,
    mood: &Mood,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    seen.lock().unwrap().push(first.trim().to_owned());
    let header =
        |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, v)| v.clone());
    match mood {
        Mood::Well => {}
        Mood::Says(head, body) => {
            let length = body.len();
            write!(
                out,
                "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )?;
            return Ok(());
        }
        Mood::Asks(wanted) if header("authorization").as_deref() == Some(wanted) => {}
        Mood::Asks(_) => {
            let ask = "WWW-Authenticate: Basic realm=\"git\"";
            return write!(
                out,
                "HTTP/1.1 401 No\r\n{ask}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Mood::Resets => return Ok(()),
        Mood::Stalls => {
            write!(out, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
            // Until the client has had enough.
            reader.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
    }
    let mut body =
        vec![0; header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    if header("transfer-encoding").is_some() {
        body = chunks(&mut reader)?;
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    backend.stdin.take().unwrap().write_all(&body)?;
    let output = backend.wait_with_output()?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0);
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    write!(out, "HTTP/1.1 {status}\r\n{head}\r\nConnection: close\r\n\r\n")?;
    out.write_all(&output[end + 4..])
}

fn chunks(reader: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk)?;
        if length == 0 {
            return Ok(all);
        }
        all.extend_from_slice(&chunk[..length]);
    }
}
