//! The texts of the format, each with its rules: names, paths, addresses, headers, patterns.

use std::net::{IpAddr, SocketAddr};

use crate::ids;
use crate::problem::{Problem, unknown};
use crate::template;

/// Longest text anywhere in a spec, in bytes: a quarter of what Linux takes as one argument.
pub const TEXT_BYTES_MAX: usize = 32 << 10;
/// Most memory that a compiled regular expression may take, in bytes.
pub const REGEX_BYTES_MAX: usize = 1 << 20;
/// Longest regular expression, in bytes.
pub const REGEX_LENGTH_MAX: usize = 1000;

/// A text with rules.
#[derive(Debug)]
pub struct Word {
    /// What is expected: `a service name`.
    pub expected: &'static str,
    /// The rules as a regular expression for editors; empty where there is none that is exact.
    pub pattern: &'static str,
    /// The rules.
    pub check: fn(&str) -> Result<(), Problem>,
    /// The template names that may be used; empty where braces are just braces.
    pub names: &'static [&'static str],
    /// Whether a message may show it.
    pub echo: Echo,
}

/// Whether a message may show a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// It may.
    Shown,
    /// It may be a secret.
    Hidden,
}

const fn word(
    expected: &'static str,
    pattern: &'static str,
    check: fn(&str) -> Result<(), Problem>,
) -> Word {
    Word { expected, pattern, check, names: &[], echo: Echo::Shown }
}

const fn template(expected: &'static str, names: &'static [&'static str]) -> Word {
    Word { expected, pattern: "", check: any, names, echo: Echo::Shown }
}

/// A service's name.
pub static SERVICE: Word = word("a service name", "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", |text| {
    ids::ServiceName::parse(text).map(drop).map_err(|what| Problem::new("", what))
});
/// A version's label.
pub static VERSION: Word = word("a version", "^[A-Za-z0-9][A-Za-z0-9._+/:@-]{0,127}$", |text| {
    ids::Version::parse(text).map(drop).map_err(|what| Problem::new("", what))
});
/// An argument of an instance's command or of a probe's.
pub static ARGUMENT: Word = template("an argument", template::IN_COMMAND);
/// An argument of a hook.
pub static HOOK_ARGUMENT: Word = template("an argument", template::IN_HOOK);
/// The name of an environment variable that a spec may set.
pub static VARIABLE: Word = word("a variable name", "^[A-Za-z_][A-Za-z0-9_]*$", variable);
/// The value of an environment variable.
pub static VARIABLE_VALUE: Word =
    Word { echo: Echo::Hidden, ..template("a text", template::IN_ENVIRONMENT) };
/// A path.
pub static PATH: Word = word("a path", "", plain_path);
/// A path that is found when a release is made.
pub static RELEASE_PATH: Word = Word { check: path, ..template("a path", template::IN_PATH) };
/// A digest.
pub static DIGEST: Word =
    word("a digest: sha256: and 64 hex digits", "^sha256:[0-9a-f]{64}$", digest);
/// A user of the system.
pub static USER: Word = word("a user name or number", "^[A-Za-z0-9_][A-Za-z0-9_.-]*$", user);
/// A signal.
pub static SIGNAL: Word = word("a signal such as SIGTERM", "^SIG[A-Z0-9]+$", signal);
/// A label for messages.
pub static LABEL: Word = word("a name", "^[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}$", label);
/// An HTTP method.
pub static METHOD: Word = word("an HTTP method such as GET", "^[A-Z]+(-[A-Z]+)*$", method);
/// A path with its query, of a request.
pub static REQUEST_PATH: Word = word("a path that begins with /", "^/[!-~]*$", request_path);
/// A path prefix of requests.
pub static PATH_PREFIX: Word = word("a path that begins with /", "^/[!-~]*$", path_prefix);
/// The name of a header.
pub static HEADER: Word = word("a header name", "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", header);
/// The value of a header.
pub static HEADER_VALUE: Word =
    Word { echo: Echo::Hidden, ..word("a header value", "", header_value) };
/// The name of a cookie.
pub static COOKIE: Word = word("a cookie name", "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", cookie);
/// A regular expression.
pub static REGEX: Word = word("a regular expression", "", regular_expression);
/// A host of requests.
pub static HOST: Word = word("a host name such as shop.example.org or *.example.org", "", host);
/// An address to listen on.
pub static LISTEN: Word =
    word("an address such as 127.0.0.1:8080, or a port", "", |text| listen_address(text).map(drop));
/// The address of a server.
pub static URL: Word = word("a URL such as http://127.0.0.1:9090", "", |text| {
    refuse_template(text)?;
    url(text)
});
/// The address of a document about a release.
pub static QUERY_URL: Word =
    Word { check: url, ..template("a URL such as http://127.0.0.1:9090", template::IN_QUERY) };
/// A query about a release, or an argument of a command that makes one.
pub static QUERY: Word = template("a text", template::IN_QUERY);
/// A condition of a measurement; `lint` reads it.
pub static CONDITION: Word = word("a condition such as result < 0.05", "", any);
/// A place in a JSON document.
pub static POINTER: Word = word("a JSON pointer such as /http/requests", "^/", |text| {
    if !text.starts_with('/') {
        let problem = wrong("a JSON pointer begins with /");
        return Err(problem.hint(format!("write /{}", text.replace('.', "/"))));
    }
    any(text)
});
/// Any text.
pub static TEXT: Word = word("a text", "", any);

fn wrong(what: impl Into<String>) -> Problem {
    Problem::new("", what)
}

/// What every text must be: short enough, and without the byte that ends a C string.
fn any(text: &str) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(wrong("a text must not contain a zero byte"));
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(wrong(format!("a text has at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn path(text: &str) -> Result<(), Problem> {
    const BYTES_MAX: usize = 4095;
    match text {
        "" => Err(wrong("a path must not be empty")),
        _ if text.len() > BYTES_MAX => Err(wrong(format!("a path has at most {BYTES_MAX} bytes"))),
        _ => any(text),
    }
}

/// A path that is used as it is written.
fn plain_path(text: &str) -> Result<(), Problem> {
    refuse_template(text)?;
    path(text)
}

/// Says so where a template would stay what it is: nobody means the braces.
fn refuse_template(text: &str) -> Result<(), Problem> {
    if !text.contains("{{") {
        return Ok(());
    }
    let problem = wrong("nothing is filled in here, so `{{...}}` would stay as it is");
    Err(problem.hint("`rollway docs templates` says where names are filled in"))
}

/// Names that Rollway sets, and those that change which code an instance runs.
const RESERVED: [&str; 2] = ["PORT", "BASH_ENV"];
const RESERVED_STARTS: [&str; 3] = ["ROLLWAY_", "LD_", "BASH_FUNC"];

fn variable(text: &str) -> Result<(), Problem> {
    let start = RESERVED_STARTS.iter().find(|start| text.starts_with(**start));
    if let Some(start) = start {
        let what = format!("the variable {text:?} is reserved: names that begin with {start}");
        return Err(match *start {
            "ROLLWAY_" => wrong(what).hint("Rollway sets these itself"),
            _ => wrong(what).hint("they change which code runs; put them into a start script"),
        });
    }
    if RESERVED.contains(&text) {
        let hint = match text {
            "PORT" => "Rollway chooses it; `{{port}}` in `command` is the same number",
            _ => "it changes which code runs; put it into a start script",
        };
        return Err(wrong(format!("the variable {text:?} is reserved")).hint(hint));
    }
    if template::is_variable_name(text) {
        return Ok(());
    }
    Err(wrong("a variable name is letters, digits and _, and does not begin with a digit"))
}

fn digest(text: &str) -> Result<(), Problem> {
    let hex = |rest: &str| {
        rest.len() == 64 && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if text.strip_prefix("sha256:").is_some_and(hex) {
        return Ok(());
    }
    let problem = wrong("a digest is sha256: and 64 digits of 0-9 and a-f");
    let lower = text.to_lowercase();
    let digits = lower.strip_prefix("sha256:").unwrap_or(&lower);
    match hex(digits) {
        true => Err(problem.hint(format!("write sha256:{digits}"))),
        false => Err(problem.hint("`sha256sum FILE` prints the digits")),
    }
}

fn user(text: &str) -> Result<(), Problem> {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || b"_.-".contains(b);
    let first = bytes.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let number = bytes.iter().all(u8::is_ascii_digit);
    if !first || bytes.len() > 32 || !bytes.iter().all(inner) {
        return Err(wrong("a user is a name of letters, digits, _ . and -, or a number"));
    }
    if number && text.parse::<u32>().is_err() {
        return Err(wrong("a user's number is at most 4294967295"));
    }
    Ok(())
}

const SIGNALS: [&str; 12] = [
    "SIGABRT", "SIGALRM", "SIGHUP", "SIGINT", "SIGKILL", "SIGPIPE", "SIGPWR", "SIGQUIT", "SIGTERM",
    "SIGUSR1", "SIGUSR2", "SIGWINCH",
];

fn signal(text: &str) -> Result<(), Problem> {
    if SIGNALS.contains(&text) {
        return Ok(());
    }
    let problem = wrong(unknown("signal", text, &SIGNALS));
    let full = format!("SIG{}", text.to_uppercase().trim_start_matches("SIG"));
    match SIGNALS.contains(&full.as_str()) {
        true => Err(problem.hint(format!("write {full}"))),
        false => Err(problem),
    }
}

fn label(text: &str) -> Result<(), Problem> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b" ._-".contains(&b);
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.len() <= 40 && text.bytes().all(inner) {
        return Ok(());
    }
    Err(wrong("a name is 1 to 40 letters, digits, spaces, . _ and -, and begins with a letter"))
}

fn method(text: &str) -> Result<(), Problem> {
    let inner = |b: u8| b.is_ascii_uppercase() || b == b'-';
    if !text.is_empty() && text.len() <= 20 && text.bytes().all(inner) {
        return Ok(());
    }
    let problem = wrong("an HTTP method is upper-case letters, such as GET");
    let upper = text.to_ascii_uppercase();
    match !text.is_empty() && upper.bytes().all(inner) {
        true => Err(problem.hint(format!("write {upper}"))),
        false => Err(problem),
    }
}

fn request_path(text: &str) -> Result<(), Problem> {
    if !text.starts_with('/') {
        let problem = wrong("a path of a request begins with /");
        return Err(match text.split_once("://").and_then(|(_, rest)| rest.split_once('/')) {
            Some((_, path)) => {
                problem.hint(format!("write /{path}; the address is the instance's"))
            }
            None => problem.hint(format!("write /{text}")),
        });
    }
    refuse_template(text)?;
    if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        let problem = wrong("a path of a request has no spaces, # or characters beyond ASCII");
        return Err(problem.hint("write them as %20 and the like"));
    }
    any(text)
}

fn url(text: &str) -> Result<(), Problem> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Err(wrong("a URL begins with http:// or https://"));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        let problem = wrong("a URL must not have a name or a password in it");
        return Err(problem.hint("use `access`: secrets are in files"));
    }
    if host.is_empty() || host.starts_with(':') {
        return Err(wrong("a URL needs a host"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        let problem = wrong("a URL has no spaces, # or characters beyond ASCII");
        return Err(problem.hint("write them as %20 and the like"));
    }
    any(text)
}

fn path_prefix(text: &str) -> Result<(), Problem> {
    request_path(text)?;
    if text.contains(['?', '*']) {
        let problem = wrong("a rule's path is a prefix, without ? and *");
        return Err(problem.hint("/api is /api and everything below it"));
    }
    Ok(())
}

fn header(text: &str) -> Result<(), Problem> {
    token("a header name", text)
}

fn cookie(text: &str) -> Result<(), Problem> {
    token("a cookie name", text)
}

fn token(what: &str, text: &str) -> Result<(), Problem> {
    // RFC 9110, section 5.6.2.
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(inner) {
        return Ok(());
    }
    Err(wrong(format!(
        "{what} is 1 to 128 letters, digits and !#$%&'*+-.^_`|~, so no spaces and no colon"
    )))
}

fn header_value(text: &str) -> Result<(), Problem> {
    let visible = |b: u8| b == b'\t' || (0x20..0x7f).contains(&b);
    if text.len() <= 4096 && text.bytes().all(visible) && text.trim() == text {
        return Ok(());
    }
    Err(wrong(
        "a header value is at most 4096 characters of ASCII, without line breaks, and neither \
         begins nor ends with a space",
    ))
}

fn regular_expression(text: &str) -> Result<(), Problem> {
    if text.len() > REGEX_LENGTH_MAX {
        return Err(wrong(format!("a regular expression has at most {REGEX_LENGTH_MAX} bytes")));
    }
    compile(text).map(drop)
}

/// Compiles a regular expression within the limits that every spec is held to.
pub fn compile(text: &str) -> Result<regex::Regex, Problem> {
    const NESTING_MAX: u32 = 50;
    let mut builder = regex::RegexBuilder::new(text);
    builder.size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).nest_limit(NESTING_MAX);
    builder.build().map_err(|error| {
        if let regex::Error::CompiledTooBig(_) = error {
            let problem = wrong("this regular expression takes too much memory");
            return problem.hint("use smaller repetitions");
        }
        // The last line says what is wrong; those before it draw the expression.
        let message = error.to_string();
        let last = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
        wrong(format!("this is not a regular expression: {last}"))
    })
}

fn host(text: &str) -> Result<(), Problem> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    let label = |label: &str| {
        let ends = !label.starts_with('-') && !label.ends_with('-');
        !label.is_empty() && label.len() <= 63 && label.bytes().all(plain) && ends
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Ok(());
    }
    let problem = wrong("a host is a name such as shop.example.org or *.example.org");
    if let Some((name, port)) = text.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(problem.hint(format!("write {name}; the port is in `traffic.listen`")));
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(problem.hint("write it in lower case; requests are compared without case"));
    }
    Err(problem)
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    /// The address; none is all of them.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl ListenAddress {
    /// Whether two cannot be listened on at once.
    #[must_use]
    pub fn collides(self, other: Self) -> bool {
        let all = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_unspecified());
        self.port == other.port && (self.ip == other.ip || all(self.ip) || all(other.ip))
    }
}

/// Reads `127.0.0.1:8080`, `[::1]:8080` or `8080`.
pub fn listen_address(text: &str) -> Result<ListenAddress, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let address = match text.parse::<SocketAddr>() {
        Ok(address) => Some(ListenAddress { ip: Some(address.ip()), port: address.port() }),
        Err(_) if digits => text.parse().ok().map(|port| ListenAddress { ip: None, port }),
        Err(_) => None,
    };
    if let Some(address) = address.filter(|address| address.port != 0) {
        return Ok(address);
    }
    let problem = wrong("an address is written 127.0.0.1:8080, [::1]:8080, or 8080 for all");
    let hint = match text.rsplit_once(':') {
        _ if address.is_some() => {
            Some("port 0 is chosen by the system, and nobody would know it".into())
        }
        Some(("localhost", port)) => Some(format!("write 127.0.0.1:{port}")),
        Some(("" | "*", port)) => Some(format!("write {port}")),
        Some((ip, port)) if ip.parse::<std::net::Ipv6Addr>().is_ok() => {
            Some(format!("write [{ip}]:{port}"))
        }
        Some((_, port)) if port.parse::<u16>().is_ok() => {
            Some("write the number of the address, not a name".into())
        }
        Some(_) => Some("a port is 1 to 65535".into()),
        None if digits => Some("a port is 1 to 65535".into()),
        None if text.parse::<IpAddr>().is_ok() => Some("a port is missing".into()),
        None => None,
    };
    Err(match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    })
}
