//! Asks a URL once, for those who check something that is no instance of ours.
//!
//! Unlike the probe `http` this resolves names, speaks TLS by the machine's own certificates, and
//! follows redirects of requests that change nothing, as users' checks of whole sites expect.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::{said, said_by_hyper};

/// So many redirects are followed; browsers follow twice as many.
const REDIRECTS_MAX: usize = 10;
/// So much of a body is read.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Where systems keep the certificates that they trust; the first that is there is read.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Question {
    /// `http` or `https`, host, port, path and query.
    pub url: String,
    /// The method.
    pub method: String,
    /// Headers to send.
    pub headers: Vec<(String, String)>,
    /// The status that ends it: a redirect with this status is not followed.
    pub expected: u16,
    /// All of it may take this long.
    pub longest: Duration,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The status of the last answer.
    pub status: u16,
    /// The beginning of its body, at most 4 MiB.
    pub body: Vec<u8>,
}

/// Asks; the error says in a few words why there is no answer.
pub async fn ask(question: &Question) -> Result<Answered, String> {
    let until = Instant::now() + question.longest;
    let asked = timeout_at(until, follow(question)).await;
    asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", question.longest)))
}

async fn follow(question: &Question) -> Result<Answered, String> {
    let method = Method::from_bytes(question.method.as_bytes())
        .map_err(|_| format!("{:?} is no valid method", question.method))?;
    let mut url: Uri =
        question.url.parse().map_err(|_| format!("{:?} is no valid URL", question.url))?;
    for _ in 0..=REDIRECTS_MAX {
        // The connection is driven for as long as the body is read.
        let (response, _driving) = once(question, &method, &url).await?;
        let (status, next) = (response.status().as_u16(), response.headers().get(LOCATION));
        let is_safe = matches!(method, Method::GET | Method::HEAD);
        let follows = is_safe && response.status().is_redirection() && status != question.expected;
        match next.filter(|_| follows).and_then(|next| next.to_str().ok()) {
            Some(next) => url = joined(&url, next)?,
            None => return Ok(Answered { status, body: read(response.into_body()).await? }),
        }
    }
    Err(format!("more than {REDIRECTS_MAX} redirects"))
}

/// Where a redirect leads, seen from where it came.
fn joined(from: &Uri, to: &str) -> Result<Uri, String> {
    let wrong = || format!("a redirect to {to:?}, which is no valid URL");
    let scheme = from.scheme_str().unwrap_or("http");
    let host = from.authority().ok_or_else(wrong)?;
    let full = if to.starts_with("http://") || to.starts_with("https://") {
        to.to_owned()
    } else if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{host}{to}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{host}{folder}/{to}")
    };
    full.split('#').next().unwrap_or_default().parse().map_err(|_| wrong())
}

type Driven = (http::Response<Incoming>, AbortOnDropHandle<hyper::Result<()>>);

async fn once(question: &Question, method: &Method, url: &Uri) -> Result<Driven, String> {
    let authority = url.authority().ok_or_else(|| format!("{url} has no host"))?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let is_tls = match url.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(format!("{url} is neither http:// nor https://")),
    };
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let request = request(question, method, url)?;
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| said(&error))?;
    if !is_tls {
        return send(stream, request).await;
    }
    let name = ServerName::try_from(host).map_err(|_| format!("{url} has no valid host name"))?;
    let config =
        tokio::task::spawn_blocking(trusting).await.map_err(|error| error.to_string())??;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
    send(stream, request).await
}

fn request(
    question: &Question,
    method: &Method,
    url: &Uri,
) -> Result<Request<Empty<Bytes>>, String> {
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    // What comes before the @ is for nobody's log.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let mut request = Request::new(Empty::new());
    *request.method_mut() = method.clone();
    *request.uri_mut() = path.parse().map_err(|_| format!("{path:?} is no valid path"))?;
    let headers = request.headers_mut();
    let host = HeaderValue::from_str(host).map_err(|_| format!("{host:?} is no valid host"))?;
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static("rollway-probe"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &question.headers {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("{name:?} is no valid header"))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of header {name} is not valid"))?;
        headers.insert(key, value);
    }
    Ok(request)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Driven, String> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| said_by_hyper(&error))?;
    let driving = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(|error| said_by_hyper(&error))?;
    Ok((response, driving))
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| said_by_hyper(&error))?.into_data() {
            let room = BODY_BYTES_MAX - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
        if bytes.len() == BODY_BYTES_MAX {
            break;
        }
    }
    Ok(bytes)
}

/// A client that trusts whom this machine trusts; `SSL_CERT_FILE` goes before its usual places.
fn trusting() -> Result<rustls::ClientConfig, String> {
    let named = std::env::var("SSL_CERT_FILE").ok().filter(|path| !path.is_empty());
    let usual = || BUNDLES.iter().find(|path| std::path::Path::new(path).exists());
    let path = named.or_else(|| usual().map(|path| (*path).to_owned()));
    let path = path.ok_or("this machine keeps no certificates that it trusts")?;
    let found = CertificateDer::pem_file_iter(&path)
        .map_err(|error| format!("could not read {path}: {error}"))?;
    let mut roots = rustls::RootCertStore::empty();
    // A bundle may hold some that this library does not take; the others count.
    roots.add_parsable_certificates(found.flatten());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_seen_from_where_they_came() {
        let from: Uri = "https://a.example:8443/x/y?z=1".parse().expect("a URL");
        let to = |text| joined(&from, text).map(|uri| uri.to_string());
        assert_eq!(to("/q#part").as_deref(), Ok("https://a.example:8443/q"));
        assert_eq!(to("q?r=2").as_deref(), Ok("https://a.example:8443/x/q?r=2"));
        assert_eq!(to("//b.example/").as_deref(), Ok("https://b.example/"));
        assert_eq!(to("http://b.example/").as_deref(), Ok("http://b.example/"));
    }
}
