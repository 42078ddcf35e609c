//! The loop: one thread that sleeps until the host, a process, a worker or a timer wants something.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use serde_json::{Value, json};

use crate::conversation::{Conversation, Heard, VERSION};
use crate::disk;
use crate::failure::{Code, Failure, Outcome};
use crate::files::{Done, Files, questions};
use crate::ground::Ground;
use crate::identity;
use crate::mounts::{self, Mount};
use crate::network;
use crate::port::Port;
use crate::power;
use crate::processes::Processes;
use crate::request::Request;
use crate::stats;
use crate::sys::{self, HUNG_UP, Poller, READABLE, WRITABLE};
use crate::watches::Watches;
use crate::workers::Workers;

// Processes' tokens begin above these.
const PORT: u64 = 0;
const SIGNALS: u64 = 1;
const WORKERS: u64 = 2;
const LISTENER: u64 = 3;
const WATCHES: u64 = u64::MAX;

/// Reads from the port before others have their turn: 1 MiB, as the driver gives 4 KiB at a time.
const TURN: usize = 256;

/// When nothing has happened for so long, memory kept for speed is given back.
const REST_MS: u64 = 1000;

/// Who process 1 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    Systemd,
    Agent,
}

impl Init {
    pub fn name(self) -> &'static str {
        match self {
            Init::Systemd => "systemd",
            Init::Agent => "agent",
        }
    }
}

pub struct Agent {
    poller: Rc<Poller>,
    port: Port,
    signals: OwnedFd,
    workers: Workers<Done>,
    conversation: Conversation,
    processes: Processes,
    files: Files,
    watches: Watches,
    ground: Ground,
    init: Init,
    boot_id: String,
    /// The port may have bytes that were not read yet.
    readable: bool,
    /// The port's last word was that nobody is there.
    hung_up: bool,
    /// The machine is to be shut down once its answer is written.
    ending: bool,
}

impl Agent {
    /// In a guest: serve the virtio port.
    pub fn guest(init: Init) -> io::Result<Agent> {
        let poller = Rc::new(Poller::new()?);
        let port = Port::virtio(&poller, PORT);
        let mut agent = Agent::new(poller, port, Ground::Guest, init)?;
        agent.disown();
        Ok(agent)
    }

    /// A host that is in a conversation with a former agent learns at once that it is over. One that is not yet in one
    /// discards this, and where there is none it is lost.
    fn disown(&mut self) {
        self.conversation.refuse("the agent was started anew");
        if let Some(line) = self.port.line() {
            let _ = self.conversation.flush(line);
        }
        self.conversation.end();
    }

    /// In development: serve a unix socket of the host.
    pub fn host(socket: &Path, ground: Ground) -> io::Result<Agent> {
        let poller = Rc::new(Poller::new()?);
        let port = Port::listening(socket, &poller, LISTENER)?;
        Agent::new(poller, port, ground, Init::Agent)
    }

    fn new(poller: Rc<Poller>, port: Port, ground: Ground, init: Init) -> io::Result<Agent> {
        let signals = watch_signals(&ground)?;
        let workers = Workers::new()?;
        poller.add(&signals, READABLE, SIGNALS)?;
        poller.add(workers.bell(), READABLE, WORKERS)?;
        let watches = Watches::new()?;
        poller.add(watches.bell(), READABLE, WATCHES)?;
        let mut processes = Processes::new(Rc::clone(&poller))?;
        processes.environment = identity::kept_environment(&ground);
        if ground.is_guest() {
            identity::prepare(&ground);
        }
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Agent {
            poller,
            port,
            signals,
            workers,
            conversation: Conversation::new(),
            processes,
            files: Files::default(),
            watches,
            ground,
            init,
            boot_id: boot_id.trim_end().to_owned(),
            readable: false,
            hung_up: false,
            ending: false,
        })
    }

    pub fn run(&mut self) -> ! {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        loop {
            let count = self.poller.wait(&mut events, self.patience());
            if count == 0 && !self.readable {
                self.conversation.rest();
            }
            for event in &events[..count] {
                self.happen(event.u64, event.events);
            }
            if self.readable {
                self.listen();
            }
            self.processes.tick(&mut self.conversation);
            self.watches.tick(&mut self.conversation);
            self.speak();
        }
    }

    /// Milliseconds to sleep at most.
    fn patience(&self) -> Option<u64> {
        if self.readable && self.conversation.has_room() {
            return Some(0);
        }
        let timers = self.processes.next_timer().into_iter().chain(self.watches.next_timer());
        let timer = timers.min().map(|at| at.saturating_sub(sys::now_ms()));
        if self.conversation.is_warm() {
            Some(timer.map_or(REST_MS, |timer| timer.min(REST_MS)))
        } else {
            timer
        }
    }

    fn happen(&mut self, token: u64, events: u32) {
        match token {
            PORT => {
                self.readable |= events & !WRITABLE != 0;
                self.hung_up = events & HUNG_UP != 0;
            }
            SIGNALS => self.hear_signals(),
            WORKERS => {
                for done in self.workers.take() {
                    self.files.finish(done, &mut self.conversation, &self.workers);
                }
            }
            WATCHES => self.watches.hear(&mut self.conversation),
            LISTENER => self.port.accept(&self.poller, PORT),
            _ => self.processes.ready(token, &mut self.conversation),
        }
    }

    fn hear_signals(&mut self) {
        // SAFETY: signalfd_siginfo is plain data; the buffer is one of it.
        let size = std::mem::size_of::<libc::signalfd_siginfo>();
        let mut bytes = vec![0; size];
        while let Ok(Some(count)) = sys::read(&self.signals, &mut bytes) {
            let number = bytes.first_chunk::<4>().map(|number| u32::from_ne_bytes(*number));
            if count == size && number != Some(libc::SIGCHLD as u32) {
                self.processes.kill_all();
                std::process::exit(0);
            }
        }
        self.processes.reap(&mut self.conversation);
    }

    /// Read and do what the host says, as long as there is room for answers.
    fn listen(&mut self) {
        if self.hung_up && !self.conversation.has_room() {
            // A host that is gone takes no answers, and without room nothing is read that would tell of its end.
            return self.hang_up();
        }
        for _ in 0..TURN {
            while self.conversation.has_room() {
                match self.conversation.hear() {
                    None => break,
                    Some(Heard::Anew) => self.begin_anew(),
                    Some(Heard::Request(request)) => self.perform(request),
                }
            }
            let Some(line) = self.port.line().filter(|_| self.conversation.has_room()) else {
                return;
            };
            match self.conversation.read(line) {
                Ok(None) => {
                    self.readable = false;
                    return;
                }
                Ok(Some(0)) | Err(_) => {
                    self.readable = false;
                    return self.hang_up();
                }
                Ok(Some(_)) => {}
            }
        }
    }

    fn hang_up(&mut self) {
        if self.port.is_lasting() && !self.conversation.believes_end() {
            return;
        }
        self.conversation.end();
        self.begin_anew();
        self.port.hang_up(&self.poller, LISTENER);
    }

    fn begin_anew(&mut self) {
        self.processes.drop_waits();
        self.files.drop_handles(&self.workers);
        self.watches.clear();
    }

    /// Write answers, and begin what had to wait for room.
    fn speak(&mut self) {
        while let Some(line) = self.port.line() {
            match self.conversation.flush(line) {
                Ok(true) => {}
                // Writing tells of a lost host as reading does; reading acts on it.
                Ok(false) | Err(_) => break,
            }
            self.processes.serve_held(&mut self.conversation);
            self.files.serve_held(&mut self.conversation, &self.workers);
            if !self.conversation.has_output() {
                break;
            }
        }
        if self.ending && !self.conversation.has_output() {
            self.ending = false;
            match self.ground {
                Ground::Guest => power::ask_init(),
                Ground::Host(_) => {
                    self.processes.kill_all();
                    std::process::exit(0)
                }
            }
        }
    }

    fn perform(&mut self, request: Request) {
        let conversation = &mut self.conversation;
        let outcome = match request.op.as_str() {
            "proc.start" => self.processes.start(&request),
            "proc.read" => return self.processes.read(&request, conversation),
            "proc.write" => return self.processes.write(request, conversation),
            "proc.signal" => self.processes.signal(&request),
            "proc.resize" => self.processes.resize(&request),
            "proc.list" => self.processes.list(&request),
            "proc.forget" => self.processes.forget(&request, conversation),
            "file.open_read" | "file.read" | "file.open_write" | "file.write" | "file.commit" | "file.close" => {
                return self.files.handle(request, conversation, &self.workers);
            }
            "file.stat" | "file.list" | "file.mkdir" | "file.remove" | "file.rename" | "file.change" | "file.find"
            | "file.search" => return questions::ask(&request, conversation, &self.workers),
            "watch.open" => return self.watches.open(&request, conversation),
            "watch.read" => return self.watches.read(&request, conversation),
            "watch.close" => self.watches.close(&request, conversation),
            "mount" => return self.mount(&request),
            "unmount" => return self.unmount(&request),
            "hello" => self.hello(&request),
            "restore" => identity::restore(&request, &self.ground, &mut self.processes.environment),
            "network" => network::configure(&request, &self.ground),
            "stats" => stats::collect(),
            "grow" => {
                let ground = self.ground.clone();
                return self.work(&request, move || grow(&ground));
            }
            "sync" => return self.work(&request, sync),
            "shutdown" => self.shutdown(),
            op => Err(Failure::new(Code::UnknownOp, format!("there is no operation '{op}'"))),
        };
        self.conversation.answer(request.id, outcome);
    }

    /// Do something that may take long where it holds up nothing.
    fn work(&self, request: &Request, act: impl FnOnce() -> Outcome<Value> + Send + 'static) {
        let (conversation, id) = (self.conversation.number, request.id);
        self.workers.submit(move || Done::plain(conversation, id, act()));
    }

    fn mount(&mut self, request: &Request) {
        match Mount::parse(request, &self.ground) {
            Ok(mount) => self.work(request, move || mount.perform()),
            Err(failure) => self.conversation.answer(request.id, Err(failure)),
        }
    }

    fn unmount(&mut self, request: &Request) {
        match mounts::target(request, &self.ground) {
            Ok(path) => self.work(request, move || mounts::unmount(&path)),
            Err(failure) => self.conversation.answer(request.id, Err(failure)),
        }
    }

    fn hello(&self, request: &Request) -> Outcome<Value> {
        Ok(json!({
            "version": request.integer("version")?.min(VERSION), "agent": env!("CARGO_PKG_VERSION"),
            "boot_id": self.boot_id, "init": self.init.name(), "pid": std::process::id(),
        }))
    }

    fn shutdown(&mut self) -> Outcome<Value> {
        self.ground.allow("shutdown")?;
        self.ending = true;
        Ok(json!({}))
    }
}

fn grow(ground: &Ground) -> Outcome<Value> {
    ground.allow("grow")?;
    let bytes = match ground {
        Ground::Guest => disk::grow("/"),
        Ground::Host(_) => stats::disk().map(|(total, _)| total),
    };
    bytes
        .map(|bytes| json!({"bytes": bytes}))
        .map_err(|error| Failure::of_io("/", &error))
}

fn sync() -> Outcome<Value> {
    // SAFETY: a plain call.
    unsafe { libc::sync() };
    Ok(json!({}))
}

/// Ended children wake the loop. A guest's agent cannot be ended by signals; in development it takes its processes along.
fn watch_signals(ground: &Ground) -> io::Result<OwnedFd> {
    let watched: &[i32] = if ground.is_guest() {
        &[libc::SIGCHLD]
    } else {
        &[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT]
    };
    let set = sys::signal_set(watched);
    // SAFETY: plain calls; the set lives through them; the descriptor is new and ours. Threads inherit the mask.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        sys::default_signals();
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        if ground.is_guest() {
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
        libc::umask(0o022);
        let fd = sys::check(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}
