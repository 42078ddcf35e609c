//! From a process's pipes to the host: taking, keeping, answering.

use serde_json::json;

use super::process::{Exit, Process, Pulled, STDERR, STDOUT, Waiting};
use super::{KINDS, Processes};
use crate::conversation::Conversation;
use crate::failure::Outcome;
use crate::request::Request;
use crate::sys::{self, READABLE};

pub(super) const KEEP: usize = 1 << 20;
const KEEP_TIGHT: usize = 64 << 10;
const ORPHAN_LIMIT: usize = 256;
const PAGE_LIMIT: u64 = 512 << 10;
const WAIT_LIMIT_MS: u64 = 3_600_000;

impl Processes {
    pub fn read(&mut self, request: &Request, conversation: &mut Conversation) {
        if let Err(failure) = self.accept_read(request, conversation) {
            conversation.answer(request.id, Err(failure));
        }
    }

    pub(super) fn accept_read(&mut self, request: &Request, conversation: &mut Conversation) -> Outcome<()> {
        let number = self.find(request)?;
        let (stdout, stderr) = (request.integer("stdout")?, request.integer("stderr")?);
        let limit = request.integer("limit")?.clamp(1, PAGE_LIMIT) as usize;
        let wait = request.optional_integer("wait_ms")?.unwrap_or(0).min(WAIT_LIMIT_MS);
        let process = self.process(number)?;
        process.sources[STDOUT].kept.acknowledge(stdout);
        process.sources[STDERR].kept.acknowledge(stderr);
        let until = sys::now_ms() + wait;
        process.waiting.push(Waiting {
            id: request.id,
            stdout,
            stderr,
            limit,
            until,
            linger: None,
        });
        for kind in [STDOUT, STDERR] {
            self.resume(number, kind);
        }
        self.settle(number, conversation);
        Ok(())
    }

    pub(super) fn pull(&mut self, number: u64, kind: usize) {
        let limit = self.limit();
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        let overflow = process.overflow;
        let source = &mut process.sources[kind];
        if source.fd.is_none() {
            return;
        }
        let before = source.kept.len();
        let pulled = source.pull(&mut self.scratch, limit, overflow);
        self.kept = self.kept + source.kept.len() - before;
        let silent = process.tty && process.exit.is_none() && matches!(pulled, Pulled::Ended);
        match pulled {
            _ if silent => self.hush(number, kind, true),
            Pulled::Open => self.hush(number, kind, false),
            Pulled::Full if source.paused => {}
            Pulled::Full => {
                // Not merely masked: a hang-up would be told all the same, again and again.
                source.paused = true;
                if let Some(fd) = &source.fd {
                    self.poller.remove(fd);
                }
            }
            Pulled::Ended => {
                // A terminal has a second descriptor, which would keep it watched.
                if let Some(fd) = source.fd.take().filter(|_| !source.paused) {
                    self.poller.remove(&fd);
                }
            }
        }
        if self.kept > self.budget {
            self.relieve();
        }
    }

    /// A terminal that all have closed may be opened again by its process, and closing our side would kill it with HUP.
    /// As long as nobody has it open it says so without end, so it is watched for changes only.
    fn hush(&mut self, number: u64, kind: usize, hushed: bool) {
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        if process.sources[kind].hushed == hushed || process.sources[kind].paused {
            return;
        }
        process.sources[kind].hushed = hushed;
        let events = process.events(kind);
        if let Some(fd) = &process.sources[kind].fd {
            let _ = self.poller.change(fd, events, number * KINDS + kind as u64);
        }
    }

    /// What ended processes have told already is kept only while there is memory for it.
    pub(super) fn relieve(&mut self) {
        for number in &self.ended {
            let Some(process) = self.table.get_mut(number) else {
                continue;
            };
            self.kept -= process
                .sources
                .iter_mut()
                .map(|source| source.kept.release())
                .sum::<usize>();
        }
    }

    pub(super) fn resume(&mut self, number: u64, kind: usize) {
        let limit = self.limit();
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        let overflow = process.overflow;
        let source = &mut process.sources[kind];
        if !source.paused || source.kept.room(limit, overflow) == 0 {
            return;
        }
        source.paused = false;
        let events = process.events(kind);
        if let Some(fd) = &process.sources[kind].fd {
            let _ = self.poller.add(fd, events, number * KINDS + kind as u64);
        }
        self.pull(number, kind);
    }

    /// The process has ended, but its pipes live on in a daemon: its output ends here.
    pub(super) fn abandon(&mut self, number: u64) {
        for kind in [STDOUT, STDERR] {
            let Some(process) = self.table.get_mut(&number) else {
                return;
            };
            let source = &mut process.sources[kind];
            let Some(fd) = source.fd.take() else { continue };
            let token = number * KINDS + kind as u64;
            // Freshly watched: it may have been paused, or watched for input too.
            self.poller.remove(&fd);
            let _ = self.poller.add(&fd, READABLE, token);
            self.orphans.insert(token, fd);
            if self.orphans.len() > ORPHAN_LIMIT {
                self.orphans.pop_first();
            }
        }
    }

    pub(super) fn discard(&mut self, token: u64) {
        let Some(fd) = self.orphans.get(&token) else { return };
        if matches!(sys::read(fd, &mut self.scratch), Ok(Some(0)) | Err(_)) {
            self.orphans.remove(&token);
        }
    }

    pub(super) fn limit(&self) -> usize {
        if self.kept > self.budget { KEEP_TIGHT } else { KEEP }
    }
}

pub(super) fn tell(process: &Process, waiting: &Waiting, conversation: &mut Conversation) {
    let page = process.page(waiting);
    let header = json!({
        "stdout_at": page.at[STDOUT], "stdout_len": page.len(STDOUT),
        "stderr_at": page.at[STDERR], "stderr_len": page.len(STDERR),
        "exit": page.exit.map(Exit::value),
    });
    let [[a, b], [c, d]] = page.parts;
    conversation.answer_body(waiting.id, header, &[a, b, c, d]);
}
