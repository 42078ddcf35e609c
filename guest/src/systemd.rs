//! One question to systemd, over its private socket: how far is the boot?
//!
//! D-Bus by hand: the alternative, `systemctl is-system-running`, costs a cold process each time, and it is asked often
//! while the machine boots.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const SOCKET: &str = "/run/systemd/private";
const LIMIT: Duration = Duration::from_secs(10);
/// A message of PID 1 that is longer is not the answer.
const MESSAGE_LIMIT: usize = 1 << 20;

/// `initializing`, `starting`, `running`, `degraded`, `maintenance`, `stopping`.
pub fn state() -> io::Result<String> {
    let mut socket = UnixStream::connect(SOCKET)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_write_timeout(Some(LIMIT))?;
    // "30" is uid 0 in hexadecimal digits of its text.
    socket.write_all(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")?;
    expect_ok(&mut socket)?;
    // Not sooner: what comes together with BEGIN lies unread until more comes.
    socket.write_all(&question())?;
    // Signals may come before the answer.
    for _ in 0..1000 {
        if let Some(state) = answer(&mut socket)? {
            return Ok(state);
        }
    }
    Err(io::Error::other("systemd does not answer"))
}

fn expect_ok(socket: &mut UnixStream) -> io::Result<()> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") && line.len() < 200 {
        socket.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    if line.starts_with(b"OK ") {
        Ok(())
    } else {
        Err(io::Error::other("systemd refuses the connection"))
    }
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

/// Properties.Get(Manager, SystemState), as message 1.
fn question() -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "org.freedesktop.systemd1.Manager");
    text(&mut body, "SystemState");
    let mut fields = Vec::new();
    let mut field = |code: u8, kind: u8, value: &str| {
        pad(&mut fields, 8);
        fields.extend_from_slice(&[code, 1, kind, 0]);
        if kind == b'g' {
            fields.push(value.len() as u8);
            fields.extend_from_slice(value.as_bytes());
            fields.push(0);
        } else {
            text(&mut fields, value);
        }
    };
    field(1, b'o', "/org/freedesktop/systemd1");
    field(2, b's', "org.freedesktop.DBus.Properties");
    field(3, b's', "Get");
    field(6, b's', "org.freedesktop.systemd1");
    field(8, b'g', "ss");
    // Little endian, a method call, no flags, version 1.
    let mut message = vec![b'l', 1, 0, 1];
    message.extend_from_slice(&(body.len() as u32).to_le_bytes());
    message.extend_from_slice(&1u32.to_le_bytes());
    message.extend_from_slice(&(fields.len() as u32).to_le_bytes());
    message.extend_from_slice(&fields);
    pad(&mut message, 8);
    message.extend_from_slice(&body);
    message
}

/// Read one message: the state if it is the answer, `None` if it is something else.
fn answer(socket: &mut UnixStream) -> io::Result<Option<String>> {
    let mut head = [0; 16];
    socket.read_exact(&mut head)?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
    let (body, fields) = (number(4), number(12));
    if head[0] != b'l' || body > MESSAGE_LIMIT || fields > MESSAGE_LIMIT {
        return Err(io::Error::other("systemd answers in an unknown way"));
    }
    let mut rest = vec![0; fields.next_multiple_of(8) + body];
    socket.read_exact(&mut rest)?;
    match head[1] {
        2 => Ok(Some(variant(&rest[fields.next_multiple_of(8)..])?)),
        3 => Err(io::Error::other("systemd does not tell its state")),
        _ => Ok(None),
    }
}

/// A string in a variant: signature "s", then length and bytes.
fn variant(body: &[u8]) -> io::Result<String> {
    let wrong = || io::Error::other("systemd's state is no text");
    let length = body
        .strip_prefix(&[1, b's', 0, 0])
        .and_then(<[u8]>::first_chunk::<4>)
        .ok_or_else(wrong)?;
    let bytes = body
        .get(8..8 + u32::from_le_bytes(*length) as usize)
        .ok_or_else(wrong)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_among_signals() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let signal = [
            &[b'l', 4, 1, 1][..],
            &[3, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0],
            b"abcde\0\0\0xyz",
        ]
        .concat();
        let mut reply = [&[b'l', 2, 1, 1][..], &[16, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]].concat();
        reply.extend_from_slice(b"\x01s\0\0\x07\0\0\0running\0");
        theirs.write_all(&signal).unwrap();
        theirs.write_all(&reply).unwrap();
        assert_eq!(answer(&mut ours).unwrap(), None);
        assert_eq!(answer(&mut ours).unwrap().as_deref(), Some("running"));
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        for bytes in [
            &b""[..],
            b"\x01s\0\0",
            b"\x01s\0\0\xff\xff\xff\xffabc",
            b"\x01u\0\0\x01\0\0\0",
        ] {
            assert!(variant(bytes).is_err());
        }
    }
}
