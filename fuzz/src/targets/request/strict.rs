//! A second reader of HTTP/1 (RFC 9112), strict to the letter: it shares nothing with the proxy.

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its method.
    pub method: String,
    /// Its target as it is written.
    pub target: String,
    /// The bytes of its body, if it ended.
    pub body: Option<u64>,
}

/// How the bytes end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Between two requests.
    Whole,
    /// In one.
    Cut,
    /// With what no strict reader takes.
    Wrong,
}

/// All requests, and how it ends.
pub fn read(bytes: &[u8]) -> (Vec<Message>, End) {
    let mut reader = Reader { rest: bytes };
    let mut messages = Vec::new();
    loop {
        while let [b'\r', b'\n', rest @ ..] = reader.rest {
            reader.rest = rest;
        }
        match reader.rest {
            [] => return (messages, End::Whole),
            [b'\r'] => return (messages, End::Cut),
            _ => {}
        }
        match reader.head() {
            Err(end) => return (messages, end),
            Ok((message, body)) => {
                messages.push(message);
                match reader.body(body) {
                    Err(end) => return (messages, end),
                    Ok(length) => {
                        messages.last_mut().expect("it was pushed").body = Some(length);
                    }
                }
            }
        }
    }
}

enum Body {
    Length(u64),
    Chunked,
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A line without its CR LF; neither may stand alone.
    fn line(&mut self) -> Result<&'a [u8], End> {
        let at = self.rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let Some(at) = at else { return Err(End::Cut) };
        match &self.rest[at..] {
            [b'\r', b'\n', rest @ ..] => {
                let line = &self.rest[..at];
                self.rest = rest;
                Ok(line)
            }
            [b'\r'] => Err(End::Cut),
            _ => Err(End::Wrong),
        }
    }

    fn head(&mut self) -> Result<(Message, Body), End> {
        let first = self.line()?;
        let parts: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
        let [method, target, version] = parts[..] else { return Err(End::Wrong) };
        // Bytes beyond ASCII are no URI, and yet every reader ends the target at the same place:
        // the proxy passes them on as they are.
        let is_part = |byte: &u8| byte.is_ascii_graphic() || *byte >= 0x80;
        let graphic = target.iter().all(is_part) && !target.is_empty();
        if method.is_empty() || !method.iter().all(is_token) || !graphic {
            return Err(End::Wrong);
        }
        let is_old = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(End::Wrong),
        };
        let body = self.headers(is_old)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((Message { method: text(method), target: text(target), body: None }, body))
    }

    fn headers(&mut self, is_old: bool) -> Result<Body, End> {
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(if chunked { Body::Chunked } else { Body::Length(length.unwrap_or(0)) });
            }
            let (name, value) = header(line).ok_or(End::Wrong)?;
            if name.eq_ignore_ascii_case(b"content-length") {
                if length.is_some() || chunked {
                    return Err(End::Wrong);
                }
                length = Some(digits(value).ok_or(End::Wrong)?);
            }
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                let is_plain = value.eq_ignore_ascii_case(b"chunked");
                if length.is_some() || chunked || is_old || !is_plain {
                    return Err(End::Wrong);
                }
                chunked = true;
            }
        }
    }

    fn body(&mut self, body: Body) -> Result<u64, End> {
        match body {
            Body::Length(length) => {
                self.skip(length)?;
                Ok(length)
            }
            Body::Chunked => self.chunks(),
        }
    }

    fn chunks(&mut self) -> Result<u64, End> {
        let mut total: u64 = 0;
        loop {
            // The proxy takes no extensions, and so none is right here.
            let line = self.line()?;
            let is_hex = !line.is_empty() && line.iter().all(u8::is_ascii_hexdigit);
            let text = std::str::from_utf8(line).ok().filter(|_| is_hex);
            let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
            let size = size.ok_or(End::Wrong)?;
            if size == 0 {
                break;
            }
            self.skip(size)?;
            match self.rest {
                [b'\r', b'\n', rest @ ..] => self.rest = rest,
                [] | [b'\r'] => return Err(End::Cut),
                _ => return Err(End::Wrong),
            }
            total = total.checked_add(size).ok_or(End::Wrong)?;
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(total);
            }
            header(line).ok_or(End::Wrong)?;
        }
    }

    fn skip(&mut self, count: u64) -> Result<(), End> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.rest = self.rest.get(count..).ok_or(End::Cut)?;
        Ok(())
    }
}

fn header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let is_value = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    let fine = !name.is_empty() && name.iter().all(is_token) && value.iter().all(is_value);
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
    fine.then(|| (name, &value[start..end]))
}

fn digits(value: &[u8]) -> Option<u64> {
    let plain = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| plain)?.parse().ok()
}

/// RFC 9110 5.6.2.
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_strict() {
        let read = |text: &str| {
            let (messages, end) = read(text.as_bytes());
            (messages.iter().map(|one| one.body).collect::<Vec<_>>(), end)
        };
        let post = "POST / HTTP/1.1\r\n";
        assert_eq!(read("GET / HTTP/1.1\r\n\r\n"), (vec![Some(0)], End::Whole));
        let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
        assert_eq!(read(&chunked), (vec![Some(2)], End::Whole));
        assert_eq!(read(&format!("{post}Content-Length: 3\r\n\r\nab")), (vec![None], End::Cut));
        for bad in ["A : b", " a: b", "a", "Content-Length: +1", "Transfer-Encoding: x", "a: \r"] {
            assert_eq!(read(&format!("{post}{bad}\r\n\r\n")).1, End::Wrong, "{bad}");
        }
        let both = "Content-Length: 1\r\nTransfer-Encoding: chunked";
        assert_eq!(read(&format!("{post}{both}\r\n\r\n")).1, End::Wrong);
    }
}
