//! One process as the agent knows it: its output kept, its input waiting, and who waits for it. No kernel calls here
//! except those on its own descriptors.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use serde_json::{Value, json};

use crate::frames::Frame;
use crate::stream::{Kept, Overflow};
use crate::sys::{self, EDGE, READABLE, WRITABLE};

/// A process that ended while a descendant holds its pipes is told as ended after this time.
pub const GRACE_MS: u64 = 200;
/// Few bytes wait a moment for more, so that a short command is answered in one page, its exit included, and a long output
/// in large pages. Nobody talks with such a process: after input has been written, and with a terminal, all is told at once.
const FIRST_LINGER_MS: u64 = 10;
const LINGER_MS: u64 = 2;
const LINGER_BELOW: usize = 64 << 10;
const TALK_MS: u64 = 100;
/// Bytes taken from one pipe before others have their turn.
const TURN: usize = 256 << 10;

pub const STDOUT: usize = 0;
pub const STDERR: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub status: i32,
    pub timed_out: bool,
}

impl Exit {
    pub fn value(self) -> Value {
        let code = libc::WIFEXITED(self.status).then(|| libc::WEXITSTATUS(self.status));
        let signal = libc::WIFSIGNALED(self.status).then(|| libc::WTERMSIG(self.status));
        json!({"code": code, "signal": signal, "timed_out": self.timed_out})
    }
}

/// One of its output streams.
#[derive(Default)]
pub struct Source {
    pub fd: Option<OwnedFd>,
    pub kept: Kept,
    /// Not being watched, because what is kept is full and unread.
    pub paused: bool,
    /// A terminal nobody has open just now, though its process runs: watched for changes only.
    pub hushed: bool,
}

/// What came of reading a source.
pub enum Pulled {
    Open,
    Full,
    Ended,
}

impl Source {
    pub fn new(fd: Option<OwnedFd>) -> Source {
        Source {
            fd,
            ..Source::default()
        }
    }

    /// Take what is in the pipe, as far as it may be kept.
    pub fn pull(&mut self, scratch: &mut [u8], limit: usize, overflow: Overflow) -> Pulled {
        let Some(fd) = &self.fd else { return Pulled::Ended };
        let mut taken = 0;
        while taken < TURN {
            let room = self.kept.room(limit, overflow).min(scratch.len());
            if room == 0 {
                return Pulled::Full;
            }
            match sys::read(fd, &mut scratch[..room]) {
                Ok(None) => return Pulled::Open,
                // A terminal says EIO when nobody holds its other side.
                Ok(Some(0)) | Err(_) => return Pulled::Ended,
                Ok(Some(count)) => {
                    self.kept.push(&scratch[..count], limit);
                    taken += count;
                }
            }
        }
        Pulled::Open
    }
}

/// One `proc.write`, waiting its turn. An `id` of a former conversation is simply not answered.
pub struct Write {
    pub conversation: u64,
    pub id: u64,
    pub frame: Frame,
    pub at: usize,
    pub end: bool,
}

/// Its input: a pipe, or its terminal.
#[derive(Default)]
pub struct Stdin {
    pub fd: Option<OwnedFd>,
    pub queue: VecDeque<Write>,
    pub watched: bool,
    /// When something was last written to it.
    pub written: Option<u64>,
}

impl Stdin {
    /// Write what waits, as far as it goes: the writes that are done. An error: nobody reads any more.
    pub fn push(&mut self, tty: bool) -> (Vec<Write>, io::Result<()>) {
        let mut done = Vec::new();
        while let Some(write) = self.queue.front_mut() {
            let Some(fd) = &self.fd else {
                return (done, Err(io::Error::from_raw_os_error(libc::EPIPE)));
            };
            let rest = &write.frame.body()[write.at..];
            if !rest.is_empty() {
                match sys::write(fd, rest) {
                    Ok(None) => return (done, Ok(())),
                    Ok(Some(count)) => {
                        write.at += count;
                        self.written = Some(sys::now_ms());
                    }
                    Err(error) => return (done, Err(error)),
                }
                continue;
            }
            if write.end && !self.close(tty) {
                return (done, Ok(()));
            }
            done.extend(self.queue.pop_front());
        }
        (done, Ok(()))
    }

    /// End of input: a pipe is closed, a terminal is told ^D. False: there is no room for it now.
    fn close(&mut self, tty: bool) -> bool {
        match &self.fd {
            Some(fd) if tty => !matches!(sys::write(fd, b"\x04"), Ok(None)),
            _ => {
                self.fd = None;
                true
            }
        }
    }
}

/// One `proc.read` that has nothing to tell yet.
pub struct Waiting {
    pub id: u64,
    pub stdout: u64,
    pub stderr: u64,
    pub limit: usize,
    pub until: u64,
    /// When few bytes have waited long enough.
    pub linger: Option<u64>,
}

pub struct Process {
    pub name: String,
    pub pid: i32,
    pub argv: Vec<String>,
    pub started_ms: u64,
    pub tty: bool,
    pub overflow: Overflow,
    pub sources: [Source; 2],
    pub stdin: Stdin,
    pub timeout: Option<u64>,
    pub timed_out: bool,
    pub exit: Option<Exit>,
    pub grace: Option<u64>,
    pub waiting: Vec<Waiting>,
    /// The entry it has in the table of timers.
    pub timer: Option<u64>,
}

/// An answer to `proc.read`: where the parts begin, and the parts.
pub struct Page<'a> {
    pub at: [u64; 2],
    pub parts: [[&'a [u8]; 2]; 2],
    pub exit: Option<Exit>,
}

impl Page<'_> {
    pub fn len(&self, source: usize) -> usize {
        self.parts[source].iter().map(|part| part.len()).sum()
    }
}

impl Process {
    /// It has ended and all its output is here.
    pub fn is_finished(&self) -> bool {
        self.exit.is_some() && self.sources.iter().all(|source| source.fd.is_none())
    }

    /// What its source is watched for.
    pub fn events(&self, kind: usize) -> u32 {
        let input = if self.tty && self.stdin.watched { WRITABLE } else { 0 };
        let hushed = if self.sources[kind].hushed { EDGE } else { 0 };
        READABLE | input | hushed
    }

    pub fn kept(&self) -> usize {
        self.sources.iter().map(|source| source.kept.len()).sum()
    }

    pub fn page(&self, waiting: &Waiting) -> Page<'_> {
        let [stdout, stderr] = &self.sources;
        let (stdout_at, stdout_parts) = stdout.kept.from(waiting.stdout, waiting.limit);
        let (stderr_at, stderr_parts) = stderr.kept.from(waiting.stderr, waiting.limit);
        let mut page = Page {
            at: [stdout_at, stderr_at],
            parts: [stdout_parts, stderr_parts],
            exit: None,
        };
        let whole = |source: usize| page.at[source] + page.len(source) as u64 == self.sources[source].kept.end();
        if self.is_finished() && whole(STDOUT) && whole(STDERR) {
            page.exit = self.exit;
        }
        page
    }

    /// Whether this wait is over. Remembers when bytes first came.
    pub fn is_due(&mut self, index: usize, now: u64) -> bool {
        let page = self.page(&self.waiting[index]);
        let bytes = page.len(STDOUT) + page.len(STDERR);
        let until = self.waiting[index].until;
        if page.exit.is_some() || now >= until || bytes >= LINGER_BELOW.min(self.waiting[index].limit) {
            return true;
        }
        if bytes == 0 {
            return false;
        }
        let talking = self.stdin.written.is_some_and(|at| now < at + TALK_MS);
        if self.tty || talking || self.is_finished() {
            return true;
        }
        let waiting = &mut self.waiting[index];
        let first = waiting.stdout == 0 && waiting.stderr == 0;
        now >= *waiting
            .linger
            .get_or_insert(now + if first { FIRST_LINGER_MS } else { LINGER_MS })
    }

    /// When something is to be done for it next, if nothing happens before.
    pub fn deadline(&self) -> Option<u64> {
        let timeout = self.timeout.filter(|_| self.exit.is_none() && !self.timed_out);
        let grace = self.grace.filter(|_| !self.is_finished());
        let waits = self
            .waiting
            .iter()
            .map(|waiting| waiting.linger.map_or(waiting.until, |at| at.min(waiting.until)));
        waits.chain(timeout).chain(grace).min()
    }

    pub fn describe(&self, number: u64) -> Value {
        json!({
            "n": number, "p": self.name, "pid": self.pid, "argv": self.argv, "started_ms": self.started_ms,
            "stdout": self.sources[STDOUT].kept.end(), "stderr": self.sources[STDERR].kept.end(),
            "exit": self.exit.map(Exit::value),
        })
    }
}
