//! Addresses to listen on, as the proxy's tables and a spec's `listen` have them.

use std::net::SocketAddr;

use rollway::proxy::table::listen_address;

use super::equal;
use crate::{Marks, Target};

/// The target.
pub static TARGET: Target = Target {
    name: "address",
    about: "addresses to listen on: never port 0, printed and read the same",
    words: &[
        "127.0.0.1:8080",
        "[::1]:80",
        "8080",
        ":8080",
        "0.0.0.0",
        "::",
        "[",
        "]",
        "%eth0",
        "localhost",
        "unix:",
        "[::ffff:127.0.0.1]:1",
        "/",
        " ",
        "+80",
        "080",
    ],
    bytes_max: 96,
    check,
};

fn check(input: &[u8], marks: &mut Marks) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let address: SocketAddr = match listen_address(&text) {
        Ok(address) => address,
        Err(what) => {
            marks.mark_words(&what);
            return Ok(());
        }
    };
    marks.mark((address.is_ipv4(), address.ip().is_unspecified(), text.len()));
    if address.port() == 0 {
        return Err("an address with port 0".to_owned());
    }
    equal("an address printed and read", &Ok(address), &listen_address(&address.to_string()))
}
