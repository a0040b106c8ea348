//! One HTTP/1.1 request to a server that users name, over TLS where its address says so.
//!
//! Redirects are not followed: where they lead, another may answer, and would get the token.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rollway_core::spec::Access;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// A longer answer is none: a document of counters is some lines.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Where systems keep the certificates that they trust: Debian, Fedora, SUSE, Alpine.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A request.
pub struct Asked<'a> {
    /// Where.
    pub url: String,
    /// How.
    pub method: Method,
    /// Further headers.
    pub headers: Vec<(&'a str, &'a str)>,
    /// The body; its kind is among the headers.
    pub body: String,
    /// Who asks.
    pub access: &'a Access,
}

impl Asked<'_> {
    /// Asks; the answer's status and body.
    pub async fn send(self) -> Result<(StatusCode, Bytes), String> {
        let uri: Uri = self.url.parse().map_err(|why| format!("{:?}: {why}", self.url))?;
        let host = uri.host().ok_or_else(|| format!("{:?} has no host", self.url))?;
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        // An address of IPv6 is in brackets, which belong to the URL.
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let at = format!("{host}:{port}");
        let stream = TcpStream::connect((name.as_str(), port)).await;
        let stream = stream.map_err(|why| format!("could not connect to {at}: {why}"))?;
        let request = self.request(&uri, &at)?;
        if !is_tls {
            return exchange(stream, request).await.map_err(|why| format!("{at}: {why}"));
        }
        let config = tls(self.access.ca.as_deref())?;
        let server = ServerName::try_from(name).map_err(|why| format!("{at}: {why}"))?;
        let stream = TlsConnector::from(config).connect(server, stream).await;
        let stream = stream.map_err(|why| format!("no TLS with {at}: {why}"))?;
        exchange(stream, request).await.map_err(|why| format!("{at}: {why}"))
    }

    /// Asks; the body of an answer of the class 2xx.
    pub async fn body(self) -> Result<Bytes, String> {
        let (status, body) = self.send().await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(format!("status {}, expected 2xx: {}", status.as_u16(), super::answer::shown(&body)))
    }

    fn request(&self, uri: &Uri, at: &str) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::new(Full::new(Bytes::from(self.body.clone())));
        *request.method_mut() = self.method.clone();
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        *request.uri_mut() = target.parse().map_err(|why| format!("{target:?}: {why}"))?;
        let headers = request.headers_mut();
        let host = uri.authority().map_or(at, |authority| authority.as_str());
        let host = HeaderValue::from_str(host).map_err(|why| format!("{host:?}: {why}"))?;
        headers.insert(HOST, host);
        headers.insert(USER_AGENT, HeaderValue::from_static("rollway"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(authorization) = authorization(self.access)? {
            headers.insert(AUTHORIZATION, authorization);
        }
        for (name, value) in &self.headers {
            let key = HeaderName::from_bytes(name.as_bytes());
            let key = key.map_err(|_| format!("{name:?} is no valid header"))?;
            // The value may be a secret: it is not told.
            let value = HeaderValue::from_str(value)
                .map_err(|_| format!("the value of header {name} is not valid"))?;
            headers.insert(key, value);
        }
        Ok(request)
    }
}

/// The headers of users, and the kind of the body.
pub fn headers<'a>(
    own: &'a std::collections::BTreeMap<String, String>,
    content_type: &'a str,
) -> Vec<(&'a str, &'a str)> {
    let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    std::iter::once((CONTENT_TYPE.as_str(), content_type)).chain(own).collect()
}

/// The text with everything but letters, digits and `-._~` as `%XX`, for queries (RFC 3986, 2.3).
pub fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

fn authorization(access: &Access) -> Result<Option<HeaderValue>, String> {
    let text = match (&access.token_file, &access.username, &access.password_file) {
        (Some(token), _, _) => format!("Bearer {}", secret(token)?),
        (None, Some(name), Some(password)) => {
            format!("Basic {}", base64(format!("{name}:{}", secret(password)?).as_bytes()))
        }
        (None, _, _) => return Ok(None),
    };
    let value = HeaderValue::from_str(&text);
    let mut value = value.map_err(|_| "the secret has characters that no header may have")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The first line of a file.
fn secret(file: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|why| format!("could not read {file}: {why}"));
    let line = text?.lines().next().unwrap_or_default().trim().to_owned();
    if line.is_empty() { Err(format!("there is nothing in {file}")) } else { Ok(line) }
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4u32 {
            let is_there = digit as usize <= chunk.len();
            let place = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if is_there { char::from(DIGITS[place]) } else { '=' });
        }
    }
    text
}

fn tls(ca: Option<&str>) -> Result<Arc<ClientConfig>, String> {
    let file = match ca {
        Some(file) => file,
        None => SYSTEM_ROOTS
            .into_iter()
            .find(|file| Path::new(file).is_file())
            .ok_or("this system has no certificates to trust; name some in `access.ca`")?,
    };
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| format!("could not read the certificates in {file}: {why}"))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(format!("there is no certificate in {file}"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|why| why.to_string())?;
    // Ends with us, answered or not.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(|why| why.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|why| format!("the answer could not be read: {why}"))?;
    Ok((status, body.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_those_of_their_standards() {
        for (text, written) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), written, "RFC 4648, 10");
        }
        assert_eq!(encoded("a{b=\"ü\"} +1"), "a%7Bb%3D%22%C3%BC%22%7D%20%2B1");
    }
}
