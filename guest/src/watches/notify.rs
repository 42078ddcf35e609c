//! inotify: an instance, its watches, and what it reports.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use crate::sys;

const WANTED: u32 = libc::IN_CREATE
    | libc::IN_MODIFY
    | libc::IN_DELETE
    | libc::IN_MOVED_FROM
    | libc::IN_MOVED_TO
    | libc::IN_ATTRIB
    | libc::IN_DELETE_SELF
    | libc::IN_MOVE_SELF
    | libc::IN_ONLYDIR;
/// struct inotify_event without its name: wd, mask, cookie, len.
const HEAD: usize = 16;

pub struct Event {
    pub wd: i32,
    pub mask: u32,
    pub cookie: u32,
    pub name: Vec<u8>,
}

pub struct Notify {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Notify {
    pub fn new() -> io::Result<Notify> {
        // SAFETY: the descriptor is new and ours.
        let fd =
            unsafe { OwnedFd::from_raw_fd(sys::check(libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK))?) };
        Ok(Notify {
            fd,
            buffer: vec![0; 16 << 10],
        })
    }

    /// Watch a directory; the same number again if it is watched already.
    pub fn add(&self, path: &Path, follow: bool) -> io::Result<i32> {
        let path = sys::path(path)?;
        let mask = WANTED | if follow { 0 } else { libc::IN_DONT_FOLLOW };
        // SAFETY: the path ends with a zero byte.
        sys::check(unsafe { libc::inotify_add_watch(self.fd.as_raw_fd(), path.as_ptr(), mask) })
    }

    pub fn remove(&self, wd: i32) {
        // SAFETY: a plain call.
        unsafe { libc::inotify_rm_watch(self.fd.as_raw_fd(), wd) };
    }

    /// Wait for something. False when `end` is rung.
    pub fn wait(&self, end: &OwnedFd) -> bool {
        let ready = |fd: &OwnedFd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let mut both = [ready(&self.fd), ready(end)];
        // SAFETY: pointer and count are those of `both`.
        unsafe { libc::poll(both.as_mut_ptr(), 2, -1) };
        both[1].revents == 0
    }

    /// What has been reported; nothing if nothing was.
    pub fn read(&mut self) -> io::Result<Vec<Event>> {
        let count = sys::read(&self.fd, &mut self.buffer)?.unwrap_or(0);
        Ok(parse(&self.buffer[..count]))
    }
}

fn parse(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while bytes.len() >= HEAD {
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let end = (HEAD + word(12) as usize).min(bytes.len());
        let name = bytes[HEAD..end].split(|&byte| byte == 0).next().unwrap_or(&[]);
        events.push(Event {
            wd: word(0) as i32,
            mask: word(4),
            cookie: word(8),
            name: name.to_vec(),
        });
        bytes = &bytes[end..];
    }
    events
}
