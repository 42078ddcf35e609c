//! The processes the host started: kept by id with their output, tied to no conversation.
//!
//! Memory is bounded whatever host and processes do: 1 MiB a stream, and when all streams together hold more than the
//! budget, 64 KiB for each that goes on; 512 running and 256 ended processes; 8 MiB of input waiting.

mod process;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use serde_json::{Value, json};

use crate::conversation::Conversation;
use crate::environment::{self, Variables};
use crate::failure::{Code, Failure, Outcome};
use crate::frames::LIST_LIMIT;
use crate::pty;
use crate::request::Request;
use crate::spawn::{Program, Spawner, Standard};
use crate::stats;
use crate::stream::Overflow;
use crate::sys::{self, Poller, READABLE, WRITABLE};
use crate::users::Users;
use process::{Exit, GRACE_MS, Process, Pulled, STDERR, STDOUT, Source, Stdin, Waiting, Write};

const KEEP: usize = 1 << 20;
const KEEP_TIGHT: usize = 64 << 10;
const BUDGET: usize = 32 << 20;
const RUNNING_LIMIT: usize = 512;
const ENDED_LIMIT: usize = 256;
const STDIN_LIMIT: usize = 8 << 20;
const ORPHAN_LIMIT: usize = 256;
const PAGE_LIMIT: u64 = 512 << 10;
const WAIT_LIMIT_MS: u64 = 3_600_000;
/// Of a process's arguments, so much is kept to be listed.
const ARGV_KEPT: usize = 4 << 10;

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

    pub fn start(&mut self, request: &Request) -> Outcome<Value> {
        let name = process_name(request)?;
        if self.names.contains_key(name) {
            return Err(Failure::new(
                Code::Exists,
                format!("there is a process '{name}' already"),
            ));
        }
        if self.pids.len() >= RUNNING_LIMIT {
            return Err(Failure::new(
                Code::TooMany,
                format!("{RUNNING_LIMIT} processes are running already"),
            ));
        }
        let argv = request.texts("argv")?;
        if argv.is_empty() {
            return Err(Failure::invalid("argv is missing or empty"));
        }
        let overflow = match request.optional_text("overflow")? {
            None | Some("block") => Overflow::Block,
            Some("drop") => Overflow::Drop,
            Some(_) => return Err(Failure::invalid("overflow must be block or drop")),
        };
        let timeout = request.optional_integer("timeout_ms")?;
        let user = self.users.find(request.optional_text("user")?)?;
        let tty = if request.has("tty") {
            Some(request.size(Some("tty"))?)
        } else {
            None
        };
        let own = request.variables("env")?.unwrap_or_default();
        let variables = environment::build(&user, tty.is_some(), &self.environment, &own);
        let program = Program {
            argv: &argv,
            environment: environment::strings(&variables),
            path: &variables["PATH"],
            cwd: request.optional_text("cwd")?.unwrap_or("/"),
            user: &user,
        };
        let ends = match tty {
            Some((columns, rows)) => Ends::terminal(columns, rows),
            None => Ends::pipes(request.flag("stdin")?),
        };
        let ends = ends.map_err(|error| Failure::of_io("pipes for a new process", &error))?;
        let pid = self.spawner.spawn(&program, &ends.standard(&self.null))?;
        let now = sys::now_ms();
        let process = Process {
            name: name.to_owned(),
            pid,
            argv: shortened(argv),
            started_ms: sys::unix_ns() / 1_000_000,
            tty: tty.is_some(),
            overflow,
            sources: [Source::new(ends.stdout), Source::new(ends.stderr)],
            stdin: Stdin {
                fd: ends.stdin,
                ..Stdin::default()
            },
            timeout: timeout.map(|timeout| now.saturating_add(timeout)),
            timed_out: false,
            exit: None,
            grace: None,
            waiting: Vec::new(),
            timer: None,
        };
        self.adopt(process)?;
        Ok(json!({"pid": pid}))
    }

    fn adopt(&mut self, process: Process) -> Outcome<()> {
        let number = self.next;
        self.next += 1;
        for kind in [STDOUT, STDERR] {
            if let Some(fd) = &process.sources[kind].fd {
                let added = self.poller.add(fd, READABLE, number * KINDS + kind as u64);
                added.map_err(|error| Failure::of_io("watching a new process", &error))?;
            }
        }
        self.names.insert(process.name.clone(), number);
        self.pids.insert(process.pid, number);
        self.table.insert(number, process);
        self.reschedule(number);
        Ok(())
    }

    pub fn write(&mut self, request: Request, conversation: &mut Conversation) {
        let id = request.id;
        match self.accept_write(request, conversation.number) {
            Ok(number) => self.feed(number, conversation),
            Err(failure) => conversation.answer(id, Err(failure)),
        }
    }

    fn accept_write(&mut self, request: Request, conversation: u64) -> Outcome<u64> {
        let number = self.find(&request)?;
        let end = request.flag("end")?;
        let process = self.process(number)?;
        if process.stdin.fd.is_none() {
            return Err(nobody_reads(&process.name));
        }
        let write = Write {
            conversation,
            id: request.id,
            frame: request.frame,
            at: 0,
            end,
        };
        let weight = write.frame.weight();
        if self.stdin_waiting + weight > STDIN_LIMIT {
            return Err(Failure::new(
                Code::Busy,
                "too much input is waiting to be read by processes",
            ));
        }
        self.stdin_waiting += weight;
        self.process(number)?.stdin.queue.push_back(write);
        Ok(number)
    }

    pub fn read(&mut self, request: &Request, conversation: &mut Conversation) {
        if let Err(failure) = self.accept_read(request, conversation) {
            conversation.answer(request.id, Err(failure));
        }
    }

    fn accept_read(&mut self, request: &Request, conversation: &mut Conversation) -> Outcome<()> {
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

    fn limit(&self) -> usize {
        if self.kept > self.budget { KEEP_TIGHT } else { KEEP }
    }

    fn pull(&mut self, number: u64, kind: usize) {
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
        match pulled {
            Pulled::Open => {}
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

    /// What ended processes have told already is kept only while there is memory for it.
    fn relieve(&mut self) {
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

    fn resume(&mut self, number: u64, kind: usize) {
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
        if let Some(fd) = &source.fd {
            let writable = if process.tty && process.stdin.watched {
                WRITABLE
            } else {
                0
            };
            let _ = self.poller.add(fd, READABLE | writable, number * KINDS + kind as u64);
        }
        self.pull(number, kind);
    }

    /// Write waiting input, and watch for room as long as there is some left.
    pub fn feed(&mut self, number: u64, conversation: &mut Conversation) {
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        let (mut done, result) = process.stdin.push(process.tty);
        let failed = result.is_err();
        for write in done.drain(..) {
            self.stdin_waiting -= write.frame.weight();
            if write.conversation == conversation.number {
                conversation.answer(write.id, Ok(json!({})));
            }
            conversation.recycle(write.frame.into_buffer());
        }
        if failed {
            process.stdin.fd = None;
            let failure = nobody_reads(&process.name);
            for write in process.stdin.queue.drain(..) {
                self.stdin_waiting -= write.frame.weight();
                if write.conversation == conversation.number {
                    conversation.answer(write.id, Err(failure.clone()));
                }
            }
        }
        self.watch_input(number);
    }

    fn watch_input(&mut self, number: u64) {
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        let wanted = !process.stdin.queue.is_empty();
        if wanted == process.stdin.watched {
            return;
        }
        process.stdin.watched = wanted;
        if process.tty {
            let source = &process.sources[STDOUT];
            if let Some(fd) = source.fd.as_ref().filter(|_| !source.paused) {
                let events = if wanted { READABLE | WRITABLE } else { READABLE };
                let _ = self.poller.change(fd, events, number * KINDS + STDOUT as u64);
            }
        } else if let Some(fd) = &process.stdin.fd {
            if wanted {
                let _ = self.poller.add(fd, WRITABLE, number * KINDS + STDIN);
            } else {
                self.poller.remove(fd);
            }
        }
    }

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

    /// A process that is over, or whose terminal is gone, takes no more input.
    fn close_input(&mut self, number: u64, conversation: &mut Conversation) {
        let Some(process) = self.table.get_mut(&number) else {
            return;
        };
        let hung_up = process.tty && process.sources[STDOUT].fd.is_none();
        if process.stdin.fd.is_some() && (hung_up || process.is_finished()) {
            process.stdin.fd = None;
            self.feed(number, conversation);
        }
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

    /// The process has ended, but its pipes live on in a daemon: its output ends here.
    fn abandon(&mut self, number: u64) {
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

    fn discard(&mut self, token: u64) {
        let Some(fd) = self.orphans.get(&token) else { return };
        if matches!(sys::read(fd, &mut self.scratch), Ok(Some(0)) | Err(_)) {
            self.orphans.remove(&token);
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

fn tell(process: &Process, waiting: &Waiting, conversation: &mut Conversation) {
    let page = process.page(waiting);
    let header = json!({
        "stdout_at": page.at[STDOUT], "stdout_len": page.len(STDOUT),
        "stderr_at": page.at[STDERR], "stderr_len": page.len(STDERR),
        "exit": page.exit.map(Exit::value),
    });
    let [[a, b], [c, d]] = page.parts;
    conversation.answer_body(waiting.id, header, &[a, b, c, d]);
}

fn process_name(request: &Request) -> Outcome<&str> {
    let name = request.text("p")?;
    if (1..=64).contains(&name.len()) {
        Ok(name)
    } else {
        Err(Failure::invalid("p must have 1 to 64 bytes"))
    }
}

fn nobody_reads(name: &str) -> Failure {
    Failure::new(Code::Ended, format!("nobody reads the input of process '{name}'"))
}

fn kill_group(pid: i32, signal: i32) {
    // SAFETY: a plain call. The leader is not reaped yet, so the number is still its own.
    unsafe { libc::kill(-pid, signal) };
}

fn shortened(argv: Vec<String>) -> Vec<String> {
    let mut room = ARGV_KEPT;
    let mut kept = Vec::new();
    for mut argument in argv {
        if argument.len() + 4 > room {
            let end = (0..=room).rev().find(|&at| argument.is_char_boundary(at)).unwrap_or(0);
            argument.truncate(end.min(argument.len()));
            argument.push('…');
            kept.push(argument);
            break;
        }
        room -= argument.len() + 4;
        kept.push(argument);
    }
    kept
}

/// Both ends of what a new process reads and writes.
struct Ends {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// The child's: closed here once it runs. A terminal is only the first.
    theirs: [Option<OwnedFd>; 3],
}

impl Ends {
    fn pipes(stdin: bool) -> io::Result<Ends> {
        let (stdout, their_stdout) = sys::pipe()?;
        let (stderr, their_stderr) = sys::pipe()?;
        sys::set_nonblocking(&stdout)?;
        sys::set_nonblocking(&stderr)?;
        let (mut input, mut their_input) = (None, None);
        if stdin {
            let (theirs, ours) = sys::pipe()?;
            sys::set_nonblocking(&ours)?;
            (input, their_input) = (Some(ours), Some(theirs));
        }
        let theirs = [their_input, Some(their_stdout), Some(their_stderr)];
        Ok(Ends {
            stdin: input,
            stdout: Some(stdout),
            stderr: Some(stderr),
            theirs,
        })
    }

    fn terminal(columns: u16, rows: u16) -> io::Result<Ends> {
        let (ours, theirs) = pty::open(columns, rows)?;
        sys::set_nonblocking(&ours)?;
        let input = ours.try_clone()?;
        Ok(Ends {
            stdin: Some(input),
            stdout: Some(ours),
            stderr: None,
            theirs: [Some(theirs), None, None],
        })
    }

    fn standard(&self, null: &OwnedFd) -> Standard {
        let raw = |end: &Option<OwnedFd>, otherwise: i32| end.as_ref().map_or(otherwise, AsRawFd::as_raw_fd);
        let [stdin, stdout, stderr] = &self.theirs;
        let stdin = raw(stdin, null.as_raw_fd());
        Standard {
            stdin,
            stdout: raw(stdout, stdin),
            stderr: raw(stderr, stdin),
            tty: stdout_is_stdin(&self.theirs),
        }
    }
}

fn stdout_is_stdin(theirs: &[Option<OwnedFd>; 3]) -> bool {
    theirs[1].is_none()
}
