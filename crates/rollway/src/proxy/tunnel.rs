//! Carries an upgraded connection. A WebSocket that a drain has to cut gets a close frame first,
//! put between two frames of the instance, so that the client knows to come back.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::answer::Exchange;
use super::endpoint::Relay;
use super::stats::Fault;

/// Read at once, per direction.
const BUFFER_BYTES: usize = 16 * 1024;
/// A cut connection has this long to come to the end of its frame and take the close frame.
const FAREWELL: Duration = Duration::from_secs(1);
/// A close frame: final, opcode 8, two bytes of payload: 1001, "going away" (RFC 6455 7.4.1).
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// An upgraded connection between a client and an instance.
pub struct Tunnel {
    /// Tells when it is to be cut.
    pub relay: Arc<Relay>,
    /// Whether it speaks WebSocket.
    pub websocket: bool,
    /// What is noted when it ends.
    pub exchange: Exchange,
}

type Half<T> = (ReadHalf<T>, WriteHalf<T>);

impl Tunnel {
    /// Carries bytes both ways until both sides are done, or it is cut.
    pub async fn run(mut self, client: OnUpgrade, upstream: OnUpgrade) {
        let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else {
            self.exchange.fail(Fault::Broken);
            return;
        };
        let (mut from_client, to_client): Half<TokioIo<Upgraded>> =
            tokio::io::split(TokioIo::new(client));
        let (from_instance, mut to_instance) = tokio::io::split(TokioIo::new(upstream));
        let up = async {
            // Either side may end its direction while the other goes on.
            let _ = tokio::io::copy(&mut from_client, &mut to_instance).await;
            let _ = to_instance.shutdown().await;
            std::future::pending::<()>().await;
        };
        let down = Down {
            reader: from_instance,
            writer: to_client,
            frames: Frames::default(),
            websocket: self.websocket,
            relay: &self.relay,
            bytes: 0,
        };
        let overdue = async {
            self.relay.cut_notified().await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            // The instance's end is the end: it has said all it will say.
            bytes = down.run() => self.exchange.bytes = bytes,
            () = up => {}
            () = overdue => {}
        }
        if self.relay.is_cut() {
            self.exchange.fail(Fault::Cut);
        } else {
            self.exchange.finish();
        }
    }
}

/// The direction from the instance to the client.
struct Down<'a> {
    reader: ReadHalf<TokioIo<Upgraded>>,
    writer: WriteHalf<TokioIo<Upgraded>>,
    frames: Frames,
    websocket: bool,
    relay: &'a Relay,
    bytes: u64,
}

impl Down<'_> {
    async fn run(mut self) -> u64 {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let is_cut = self.relay.is_cut();
            if is_cut && (!self.websocket || self.frames.at_boundary()) {
                self.say_goodbye().await;
                return self.bytes;
            }
            let read = tokio::select! {
                read = self.reader.read(&mut buffer) => read,
                () = self.relay.cut_notified(), if !is_cut => continue,
            };
            let Ok(count @ 1..) = read else { break };
            let mut bytes = &buffer[..count];
            if self.websocket {
                // After a cut only the present frame is still passed on.
                let until_boundary = self.frames.follow(bytes, is_cut);
                bytes = &bytes[..until_boundary];
            }
            if self.writer.write_all(bytes).await.is_err() {
                break;
            }
            self.bytes += bytes.len() as u64;
        }
        let _ = self.writer.shutdown().await;
        self.bytes
    }

    async fn say_goodbye(&mut self) {
        if self.websocket && !self.frames.closed {
            let _ = self.writer.write_all(&GOING_AWAY).await;
        }
        let _ = self.writer.flush().await;
        let _ = self.writer.shutdown().await;
    }
}

/// Follows WebSocket frames (RFC 6455 5.2), just enough to know where one ends.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    payload_left: u64,
    /// The instance has sent a close frame.
    closed: bool,
}

impl Frames {
    fn at_boundary(&self) -> bool {
        self.head.is_empty() && self.payload_left == 0
    }

    /// Follows bytes; stops at the first boundary if told to. Returns how many were followed.
    fn follow(&mut self, bytes: &[u8], stop_at_boundary: bool) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.payload_left > 0 {
                let step = self.payload_left.min((bytes.len() - at) as u64);
                self.payload_left -= step;
                at += usize::try_from(step).unwrap_or(bytes.len() - at);
            } else {
                self.head.push(bytes[at]);
                at += 1;
                if let Some(length) = payload_length(&self.head) {
                    self.closed |= self.head[0] & 0x0f == 8;
                    self.payload_left = length;
                    self.head.clear();
                }
            }
            if stop_at_boundary && self.at_boundary() {
                break;
            }
        }
        at
    }
}

/// The length of the payload, once the whole head is there.
fn payload_length(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if head.len() < 2 + extended + mask {
        return None;
    }
    let number = head[2..2 + extended].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some(if extended == 0 { u64::from(second & 0x7f) } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_found_in_pieces_and_whole() {
        let mut bytes = vec![0x81, 3, b'a', b'b', b'c', 0x82, 126, 1, 0];
        bytes.extend([7; 256]);
        bytes.extend([0x82, 127, 0, 0, 0, 0, 0, 0, 0, 2, 1, 1, 0x89, 0x80, 1, 2, 3, 4]);
        let mut frames = Frames::default();
        assert_eq!(frames.follow(&bytes, false), bytes.len());
        assert!(frames.at_boundary() && !frames.closed);
        let mut pieces = Frames::default();
        let mut boundaries = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            pieces.follow(&[*byte], false);
            if pieces.at_boundary() {
                boundaries.push(at + 1);
            }
        }
        assert_eq!(boundaries, [5, 265, 277, 283]);
        assert_eq!(Frames::default().follow(&bytes, true), 5);
        frames.follow(&GOING_AWAY, false);
        assert!(frames.closed && frames.at_boundary());
    }
}
