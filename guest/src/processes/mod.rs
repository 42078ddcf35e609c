//! The processes the host started: kept by id with their output, tied to no conversation.
//!
//! Memory is bounded whatever host and processes do: 1 MiB a stream, and when all streams together hold more than the
//! budget, 64 KiB for each that goes on; 512 running and 256 ended processes; 8 MiB of input waiting.

mod input;
mod output;
mod process;
mod start;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::environment::Variables;
use crate::failure::{Code, Failure, Outcome};
use crate::frames::LIST_LIMIT;
use crate::pty;
use crate::request::Request;
use crate::spawn::Spawner;
use crate::stats;
use crate::sys::{self, Poller};
use crate::users::Users;
use output::{KEEP, tell};
use process::{Exit, GRACE_MS, Process, STDERR, STDOUT};

const BUDGET: usize = 32 << 20;
const RUNNING_LIMIT: usize = 512;
const ENDED_LIMIT: usize = 256;

/// The two low bits of a token: which descriptor of the process it is.
const STDIN: u64 = 2;
const KINDS: u64 = 4;

pub struct Processes {
    poller: Rc<Poller>,
    spawner: Spawner,
    users: Users,
    null: OwnedFd,
    /// Laid under every new process's own.
    pub environment: Variables,
    table: BTreeMap<u64, Process>,
    names: BTreeMap<String, u64>,
    pids: BTreeMap<i32, u64>,
    ended: VecDeque<u64>,
    /// Pipes that outlived their process: read and discarded, so that a daemon left behind does not die of SIGPIPE.
    orphans: BTreeMap<u64, OwnedFd>,
    timers: BTreeSet<(u64, u64)>,
    next: u64,
    budget: usize,
    kept: usize,
    stdin_waiting: usize,
    scratch: Vec<u8>,
    /// Reads that are due but wait for room in the conversation.
    held: BTreeSet<u64>,
}

impl Processes {
    pub fn new(poller: Rc<Poller>) -> io::Result<Processes> {
        let memory = stats::memory_total().unwrap_or(0) as usize;
        Ok(Processes {
            poller,
            spawner: Spawner::new(),
            users: Users::new(),
            null: sys::open("/dev/null", libc::O_RDWR, 0)?,
            environment: Variables::new(),
            table: BTreeMap::new(),
            names: BTreeMap::new(),
            pids: BTreeMap::new(),
            ended: VecDeque::new(),
            orphans: BTreeMap::new(),
            timers: BTreeSet::new(),
            next: 1,
            budget: BUDGET.min(memory / 8).max(KEEP),
            kept: 0,
            stdin_waiting: 0,
            scratch: vec![0; 64 << 10],
            held: BTreeSet::new(),
        })
    }

    // ---- operations

    pub fn signal(&mut self, request: &Request) -> Outcome<Value> {
        let number = self.find(request)?;
        let signal = request.integer("signal")?;
        if !(1..=64).contains(&signal) {
            return Err(Failure::invalid("signal must be a number from 1 to 64"));
        }
        let process = self.process(number)?;
        if process.exit.is_none() {
            kill_group(process.pid, signal as i32);
        }
        Ok(json!({}))
    }

    pub fn resize(&mut self, request: &Request) -> Outcome<Value> {
        let number = self.find(request)?;
        let (columns, rows) = request.size(None)?;
        let process = self.process(number)?;
        if !process.tty {
            return Err(Failure::invalid(format!("process '{}' has no terminal", process.name)));
        }
        match &process.sources[STDOUT].fd {
            Some(fd) => pty::resize(fd, columns, rows).map_err(|error| Failure::of_io("the terminal", &error))?,
            None => {
                return Err(Failure::new(
                    Code::Ended,
                    format!("process '{}' has ended", process.name),
                ));
            }
        }
        Ok(json!({}))
    }

    pub fn list(&self, request: &Request) -> Outcome<Value> {
        let after = request.optional_integer("after")?.unwrap_or(0);
        let mut size = 0;
        let mut procs = Vec::new();
        for (&number, process) in self.table.range(after + 1..) {
            let entry = process.describe(number);
            size += entry.to_string().len() + 1;
            if size > LIST_LIMIT {
                return Ok(json!({"procs": procs, "more": true}));
            }
            procs.push(entry);
        }
        Ok(json!({"procs": procs, "more": false}))
    }

    pub fn forget(&mut self, request: &Request, conversation: &mut Conversation) -> Outcome<Value> {
        let number = self.find(request)?;
        let process = self.process(number)?;
        if process.exit.is_none() {
            kill_group(process.pid, libc::SIGKILL);
        }
        self.remove(number, conversation);
        Ok(json!({}))
    }

    fn find(&self, request: &Request) -> Outcome<u64> {
        let name = process_name(request)?;
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| Failure::new(Code::NotFound, format!("there is no process '{name}'")))
    }

    fn process(&mut self, number: u64) -> Outcome<&mut Process> {
        self.table
            .get_mut(&number)
            .ok_or_else(|| Failure::new(Code::NotFound, "the process was forgotten"))
    }

    // ---- what happens

    /// A descriptor of a process is ready.
    pub fn ready(&mut self, token: u64, conversation: &mut Conversation) {
        let (number, kind) = (token / KINDS, token % KINDS);
        if self.orphans.contains_key(&token) {
            return self.discard(token);
        }
        let Some(process) = self.table.get(&number) else { return };
        let tty_input = process.tty && process.stdin.watched;
        if kind == STDIN || tty_input {
            self.feed(number, conversation);
        }
        if kind != STDIN {
            self.pull(number, kind as usize);
        }
        self.settle(number, conversation);
    }

    /// Children have ended: record how, and take what is left in their pipes.
    pub fn reap(&mut self, conversation: &mut Conversation) {
        loop {
            let mut status = 0;
            // SAFETY: `status` lives through the call.
            let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            let Some(number) = self.pids.remove(&pid) else { continue };
            let Some(process) = self.table.get_mut(&number) else {
                continue;
            };
            process.exit = Some(Exit {
                status,
                timed_out: process.timed_out,
            });
            process.grace = Some(sys::now_ms() + GRACE_MS);
            self.ended.push_back(number);
            for kind in [STDOUT, STDERR] {
                self.pull(number, kind);
            }
            self.settle(number, conversation);
            if self.ended.len() > ENDED_LIMIT {
                if let Some(&oldest) = self.ended.front() {
                    self.remove(oldest, conversation);
                }
            }
        }
    }

    /// Milliseconds until something is due.
    pub fn next_timer(&self) -> Option<u64> {
        self.timers.first().map(|&(at, _)| at)
    }

    pub fn tick(&mut self, conversation: &mut Conversation) {
        let now = sys::now_ms();
        while let Some(&(at, number)) = self.timers.first() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            let Some(process) = self.table.get_mut(&number) else {
                continue;
            };
            process.timer = None;
            if process.exit.is_none() && !process.timed_out && process.timeout.is_some_and(|timeout| timeout <= now) {
                process.timed_out = true;
                kill_group(process.pid, libc::SIGKILL);
            }
            if process.grace.is_some_and(|grace| grace <= now) {
                self.abandon(number);
            }
            self.settle(number, conversation);
        }
    }

    /// The conversation has room again.
    pub fn serve_held(&mut self, conversation: &mut Conversation) {
        while conversation.has_room() {
            let Some(number) = self.held.pop_first() else { return };
            self.settle(number, conversation);
        }
    }

    /// The host is gone: nobody waits any more. Input it has sent is still written.
    pub fn drop_waits(&mut self) {
        self.held.clear();
        for process in self.table.values_mut() {
            process.waiting.clear();
        }
        let timed: Vec<u64> = self.timers.iter().map(|&(_, number)| number).collect();
        for number in timed {
            self.reschedule(number);
        }
    }

    /// End all, with the agent itself.
    pub fn kill_all(&self) {
        for &pid in self.pids.keys() {
            kill_group(pid, libc::SIGKILL);
        }
    }

    // ---- how

    /// Answer every read that has something to tell, and see when to look again.
    fn settle(&mut self, number: u64, conversation: &mut Conversation) {
        self.close_input(number, conversation);
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        let now = if process.waiting.is_empty() { 0 } else { sys::now_ms() };
        let mut index = 0;
        while index < process.waiting.len() {
            if !process.is_due(index, now) {
                index += 1;
                continue;
            }
            if !conversation.has_room() {
                self.held.insert(number);
                break;
            }
            let waiting = process.waiting.remove(index);
            tell(process, &waiting, conversation);
        }
        self.reschedule(number);
    }

    fn reschedule(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        // A held read is due already; it waits for room, not for time.
        let deadline = if self.held.contains(&number) {
            None
        } else {
            process.deadline()
        };
        if deadline == process.timer {
            return;
        }
        if let Some(at) = process.timer {
            self.timers.remove(&(at, number));
        }
        process.timer = deadline;
        if let Some(at) = deadline {
            self.timers.insert((at, number));
        }
    }

    fn remove(&mut self, number: u64, conversation: &mut Conversation) {
        let Some(process) = self.table.remove(&number) else {
            return;
        };
        self.names.remove(&process.name);
        self.ended.retain(|&ended| ended != number);
        self.held.remove(&number);
        if let Some(at) = process.timer {
            self.timers.remove(&(at, number));
        }
        self.kept -= process.kept();
        let gone = || Failure::new(Code::NotFound, format!("process '{}' was forgotten", process.name));
        for waiting in &process.waiting {
            conversation.answer(waiting.id, Err(gone()));
        }
        for write in &process.stdin.queue {
            self.stdin_waiting -= write.frame.weight();
            if write.conversation == conversation.number {
                conversation.answer(write.id, Err(gone()));
            }
        }
    }
}

fn process_name(request: &Request) -> Outcome<&str> {
    let name = request.text("p")?;
    if (1..=64).contains(&name.len()) {
        Ok(name)
    } else {
        Err(Failure::invalid("p must have 1 to 64 bytes"))
    }
}

fn kill_group(pid: i32, signal: i32) {
    // SAFETY: a plain call. The leader is not reaped yet, so the number is still its own.
    unsafe { libc::kill(-pid, signal) };
}
