//! A WebSocket that sends back what it gets (RFC 6455), as much of it as an echo needs.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::routes::{Answered, text};
use crate::server::Shop;

/// The largest frame that is sent back.
const FRAME_BYTES_MAX: u64 = 1 << 20;

/// The constant of RFC 6455, section 1.3.
const HANDSHAKE_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

// Opcodes of RFC 6455, section 5.2; 0 to 2 carry data.
const DATA_LAST: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

// Reasons for a close, section 7.4.1.
const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;

/// Accepts the handshake and echoes from then on.
pub fn answer(mut request: Request<hyper::body::Incoming>, shop: &Arc<Shop>) -> Response<Answered> {
    let holds = |name: HeaderName, word: &str| {
        let value = request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let upgrades = holds(UPGRADE, "websocket") && holds(CONNECTION, "upgrade");
    let key = request.headers().get(SEC_WEBSOCKET_KEY).filter(|_| upgrades);
    let Some(accept) = key.map(|key| accept_of(key.as_bytes())) else {
        return text(StatusCode::UPGRADE_REQUIRED, "this path speaks WebSocket\n");
    };
    tokio::spawn(echo_when_upgraded(hyper::upgrade::on(&mut request), Arc::clone(shop)));
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, Bytes::new());
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&accept).expect("base64 is a valid header value");
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

fn accept_of(key: &[u8]) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, HANDSHAKE_GUID.as_bytes()].concat());
    base64(hash.as_ref())
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

async fn echo_when_upgraded(upgrade: OnUpgrade, shop: Arc<Shop>) {
    if let Ok(upgraded) = upgrade.await {
        // A peer that vanishes is the ordinary end of an echo.
        drop(echo(TokioIo::new(upgraded), &shop).await);
    }
}

/// Sends frames back until the peer closes; a stop asks the peer to close.
async fn echo(mut peer: TokioIo<Upgraded>, shop: &Shop) -> io::Result<()> {
    let mut stopping = false;
    let mut received = BytesMut::new();
    loop {
        let answer = match take_frame(&mut received) {
            Taken::Nothing => {
                tokio::select! {
                    read = peer.read_buf(&mut received) => if read? == 0 { return Ok(()) },
                    () = shop.stopped(), if !stopping => {
                        stopping = true;
                        peer.write_all(&close_frame(GOING_AWAY)).await?;
                    }
                }
                continue;
            }
            Taken::Frame(first, payload) => match first & 0x0F {
                0..=DATA_LAST => frame(first, &payload),
                PING => frame(0x80 | PONG, &payload),
                CLOSE => {
                    if !stopping {
                        peer.write_all(&frame(0x80 | CLOSE, &payload)).await?;
                    }
                    return peer.shutdown().await;
                }
                _ => continue,
            },
            Taken::Refused(reason) => {
                peer.write_all(&close_frame(reason)).await?;
                return peer.shutdown().await;
            }
        };
        peer.write_all(&answer).await?;
    }
}

/// What the bytes received so far begin with.
enum Taken {
    /// Not yet a whole frame.
    Nothing,
    /// A frame: its first byte (FIN, opcode) and its payload, unmasked.
    Frame(u8, Bytes),
    /// Something that ends the connection, for this reason.
    Refused(u16),
}

fn take_frame(received: &mut BytesMut) -> Taken {
    let &[first, second, ..] = &received[..] else { return Taken::Nothing };
    let extended_bytes = match second & 0x7F {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    // A client masks everything that it sends (section 5.1).
    if second & 0x80 == 0 {
        return Taken::Refused(PROTOCOL_ERROR);
    }
    let head_bytes = 2 + extended_bytes + 4;
    if received.len() < head_bytes {
        return Taken::Nothing;
    }
    let length = match extended_bytes {
        0 => u64::from(second & 0x7F),
        size => (&received[2..2 + size]).get_uint(size),
    };
    if length > FRAME_BYTES_MAX {
        return Taken::Refused(TOO_BIG);
    }
    let length = usize::try_from(length).expect("FRAME_BYTES_MAX fits in memory");
    if received.len() < head_bytes + length {
        return Taken::Nothing;
    }
    let head = received.split_to(head_bytes);
    let mut payload = received.split_to(length);
    let mask = &head[head_bytes - 4..];
    payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= mask[at % 4]);
    Taken::Frame(first, payload.freeze())
}

fn close_frame(reason: u16) -> Bytes {
    frame(0x80 | CLOSE, &reason.to_be_bytes())
}

fn frame(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    frame.put_u8(first);
    match payload.len() {
        length @ 0..126 => frame.put_u8(length as u8),
        length @ 126..=0xFFFF => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_the_one_of_the_rfc() {
        // RFC 6455, section 1.3.
        assert_eq!(accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_masked_frame_is_taken_only_when_whole() {
        // RFC 6455, section 5.7: a masked "Hello".
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        for cut in 0..hello.len() {
            let mut part = BytesMut::from(&hello[..cut]);
            assert!(matches!(take_frame(&mut part), Taken::Nothing), "cut at {cut}");
        }
        let mut whole = BytesMut::from(&hello[..]);
        let Taken::Frame(0x81, payload) = take_frame(&mut whole) else { panic!("no frame") };
        assert_eq!((&payload[..], whole.len()), (&b"Hello"[..], 0));
    }
}
