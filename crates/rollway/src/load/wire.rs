//! HTTP/1.1 answers as bytes: the head, and where the body ends (RFC 9112).

/// What is wrong with an answer.
pub(super) type Wrong = &'static str;

/// The head of an answer, as far as the load generator cares.
#[derive(Debug, PartialEq)]
pub(super) struct Head {
    pub status: u16,
    /// Whether the connection can be used again afterwards.
    pub keeps: bool,
    pub version: Option<String>,
    pub body: Body,
    /// How many bytes the head takes.
    pub bytes: usize,
}

/// How much of the body is still to come.
#[derive(Debug, PartialEq)]
pub(super) enum Body {
    Length(u64),
    Chunked(Chunk),
    UntilClose,
    Done,
}

/// Where in a chunked body we are.
#[derive(Debug, PartialEq)]
pub(super) enum Chunk {
    /// In a line with a size.
    Size { value: u64, digits: u8 },
    /// In the rest of such a line, which means nothing.
    Extension { value: u64 },
    /// In a chunk, with so much to come and the line's end after it.
    Data { left: u64 },
    /// In the trailer; whether its line has anything in it.
    Trailer { empty: bool },
}

const START_OF_CHUNK: Chunk = Chunk::Size { value: 0, digits: 0 };

/// A version beyond this length is cut, as a name must be short to be kept.
const VERSION_BYTES_MAX: usize = 128;

/// Reads a head; `None` when it is not whole yet.
pub(super) fn head(
    bytes: &[u8],
    method: &str,
    version_header: &str,
) -> Result<Option<Head>, Wrong> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let Some(end) = end else {
        let begins = &bytes[..bytes.len().min(5)];
        return if b"HTTP/".starts_with(begins) { Ok(None) } else { Err("no HTTP answer") };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is not text")?;
    let mut lines = text.split("\r\n");
    let (minor, status) = status_line(lines.next().unwrap_or_default())?;
    let (mut length, mut chunked, mut version) = (None, false, None);
    let mut keeps = minor == 1;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a header line without a colon")?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let number = value.parse::<u64>().map_err(|_| "a bad content-length")?;
            if length.is_some_and(|before| before != number) {
                return Err("two different content-lengths");
            }
            length = Some(number);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            let last = value.rsplit(',').next().unwrap_or_default();
            chunked = last.trim().eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            let holds = |word| value.split(',').any(|w| w.trim().eq_ignore_ascii_case(word));
            keeps = !holds("close") && (keeps || holds("keep-alive"));
        } else if name.eq_ignore_ascii_case(version_header) {
            version = Some(value.chars().take(VERSION_BYTES_MAX).collect());
        }
    }
    // In the order of RFC 9112, section 6.3.
    let body = match (status, length) {
        (100..200 | 204 | 304, _) => Body::Done,
        _ if method == "HEAD" => Body::Done,
        _ if chunked => Body::Chunked(START_OF_CHUNK),
        (_, Some(0)) => Body::Done,
        (_, Some(length)) => Body::Length(length),
        (_, None) => Body::UntilClose,
    };
    // After 101 the connection speaks something else.
    let keeps = keeps && status != 101 && body != Body::UntilClose;
    Ok(Some(Head { status, keeps, version, body, bytes: end + 4 }))
}

/// `HTTP/1.1 200 OK`: the minor version and the status.
fn status_line(line: &str) -> Result<(u8, u16), Wrong> {
    let rest = line.strip_prefix("HTTP/1.").ok_or("an answer that is not HTTP/1")?;
    let mut words = rest.splitn(3, ' ');
    let minor = match words.next() {
        Some("0") => 0,
        Some("1") => 1,
        _ => return Err("an answer that is not HTTP/1.0 or 1.1"),
    };
    let status = words.next().and_then(|word| word.parse().ok());
    match status.filter(|status| (100..600).contains(status)) {
        Some(status) => Ok((minor, status)),
        None => Err("a bad status"),
    }
}

impl Body {
    /// Takes as many of the bytes as belong to the body and says how many.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Wrong> {
        match self {
            Self::Done => Ok(0),
            Self::UntilClose => Ok(bytes.len()),
            Self::Length(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(taken)
            }
            Self::Chunked(_) => self.take_chunked(bytes),
        }
    }

    fn take_chunked(&mut self, bytes: &[u8]) -> Result<usize, Wrong> {
        let mut at = 0;
        while let Self::Chunked(chunk) = self {
            let Some(&byte) = bytes.get(at) else { return Ok(at) };
            if let Chunk::Data { left } = chunk
                && *left > 2
            {
                // The two last are the line's end, and are looked at.
                let room = usize::try_from(*left - 2).unwrap_or(usize::MAX);
                let taken = room.min(bytes.len() - at);
                *left -= taken as u64;
                at += taken;
                continue;
            }
            at += 1;
            match chunk.step(byte)? {
                Some(next) => *chunk = next,
                None => *self = Self::Done,
            }
        }
        Ok(at)
    }
}

impl Chunk {
    /// Where one byte leads; `None` is the end of the body.
    fn step(&self, byte: u8) -> Result<Option<Self>, Wrong> {
        let next = match (self, byte) {
            (Self::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // 15 digits are a petabyte and cannot overflow.
                if *digits == 15 {
                    return Err("a chunk of an absurd size");
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                Self::Size { value: value * 16 + u64::from(digit), digits: digits + 1 }
            }
            (Self::Size { digits: 0, .. }, _) => return Err("a chunk without a size"),
            (Self::Size { value, .. }, b';' | b' ' | b'\t' | b'\r') => {
                Self::Extension { value: *value }
            }
            (Self::Size { .. }, _) => return Err("a bad chunk size"),
            (Self::Extension { value: 0 }, b'\n') => Self::Trailer { empty: true },
            (Self::Extension { value }, b'\n') => Self::Data { left: value + 2 },
            (Self::Extension { value }, _) => Self::Extension { value: *value },
            (Self::Data { left: 2 }, b'\r') => Self::Data { left: 1 },
            (Self::Data { left: 1 }, b'\n') => START_OF_CHUNK,
            (Self::Data { .. }, _) => return Err("a chunk without an end"),
            (Self::Trailer { empty: true }, b'\n') => return Ok(None),
            (Self::Trailer { empty }, b'\r') => Self::Trailer { empty: *empty },
            (Self::Trailer { .. }, b'\n') => Self::Trailer { empty: true },
            (Self::Trailer { .. }, _) => Self::Trailer { empty: false },
        };
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Option<Head>, Wrong> {
        head(text.as_bytes(), "GET", "x-version")
    }

    #[test]
    fn heads_say_status_version_and_framing() {
        let text = "HTTP/1.1 200 OK\r\nX-Version: v2\r\nContent-Length: 3\r\n\r\nabc";
        let read = check(text).expect("a head").expect("a whole head");
        assert_eq!((read.status, read.keeps, read.bytes), (200, true, text.len() - 3));
        assert_eq!(read.version.as_deref(), Some("v2"));
        assert_eq!(read.body, Body::Length(3));
        for cut in 0..read.bytes {
            assert_eq!(check(&text[..cut]), Ok(None), "cut at {cut}");
        }
        let closing = check("HTTP/1.1 503 No\r\nconnection: close\r\n\r\n");
        let closing = closing.expect("a head").expect("a whole head");
        assert_eq!((closing.keeps, closing.body), (false, Body::UntilClose));
        assert_eq!(check("SSH-2.0-OpenSSH"), Err("no HTTP answer"));
        assert_eq!(check("HTTP/1.1 20 OK\r\n\r\n"), Err("a bad status"));
    }

    #[test]
    fn chunks_end_where_they_say_however_they_are_cut() {
        let text = b"5;x=y\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\ntrailer: 1\r\n\r\nEXTRA";
        for step in 1..text.len() {
            let mut body = Body::Chunked(START_OF_CHUNK);
            let mut taken = 0;
            for piece in text.chunks(step) {
                taken += body.take(piece).expect("well-formed chunks");
            }
            assert_eq!((&body, taken), (&Body::Done, text.len() - 5), "pieces of {step}");
        }
        for bad in ["x\r\n", "\r\n", "2\r\nabc\r\n", "fffffffffffffffff"] {
            let mut body = Body::Chunked(START_OF_CHUNK);
            assert!(body.take(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
