//! Ports for instances: outside the range that the kernel gives to outgoing connections, and
//! reserved machine-wide for as long as the shim lives.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where ports are looked for. Below the kernel's default range, above what services are
/// usually configured to.
const RANGE: Range<u16> = 20_000..32_000;
/// So many ports are tried before giving up; each try costs some microseconds.
const TRIES_MAX: u32 = 2_000;

/// A port that is this shim's until it ends.
pub struct Port {
    /// The number.
    pub number: u16,
    _reservation: Option<UnixDatagram>,
}

/// Finds a free port.
///
/// Between two starts of an instance nothing listens on its port. So that nobody else's shim takes
/// it meanwhile, not even that of another state folder, a name in the abstract socket namespace
/// stands for it: it is as wide as the ports are (a network namespace), and ends with its owner.
pub fn reserve() -> Result<Port, String> {
    let ephemeral = ephemeral_range().unwrap_or(32_768..60_999);
    for _ in 0..TRIES_MAX {
        let number = fastrand::u16(RANGE);
        if ephemeral.contains(&number) && !covers(&ephemeral, &RANGE) {
            continue;
        }
        let Ok(reservation) = claim(number) else { continue };
        if TcpListener::bind(("127.0.0.1", number)).is_ok() {
            return Ok(Port { number, _reservation: reservation });
        }
    }
    Err(format!("no free port was found from {} to {}", RANGE.start, RANGE.end - 1))
}

/// An error means taken; `None` that this system knows no such names, and does without.
fn claim(number: u16) -> io::Result<Option<UnixDatagram>> {
    let name = SocketAddr::from_abstract_name(format!("rollway-port-{number}"))?;
    match UnixDatagram::bind_addr(&name) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => Ok(None),
    }
}

fn covers(outer: &Range<u16>, inner: &Range<u16>) -> bool {
    outer.start <= inner.start && outer.end >= inner.end
}

fn ephemeral_range() -> Option<Range<u16>> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_ascii_whitespace().map(str::parse);
    let (first, last) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    Some(first..u16::saturating_add(last, 1))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn reserved_ports_are_distinct_though_nobody_listens() {
        let ports: Vec<Port> = (0..200).map(|_| reserve().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(|port| port.number).collect();
        assert_eq!(numbers.len(), 200);
        assert!(numbers.iter().all(|number| RANGE.contains(number)));
    }

    #[test]
    fn a_claim_ends_with_its_owner() {
        let port = reserve().unwrap();
        let number = port.number;
        assert!(claim(number).is_err());
        drop(port);
        assert!(claim(number).is_ok());
    }
}
