//! The probe `tcp`: a connection can be made.
//!
//! ```yaml
//! health:
//!   - tcp: {}
//! ```

use std::net::SocketAddr;

use super::{Found, connect};

/// Connects, and hangs up.
pub(super) async fn check(address: SocketAddr) -> Found {
    match connect(address).await {
        Ok(_) => Found::good("connected"),
        Err(found) => found,
    }
}
