//! Starting a process: from a request to an entry in the table.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use serde_json::{Value, json};

use super::process::{Process, STDERR, STDOUT, Source, Stdin};
use super::{KINDS, Processes, RUNNING_LIMIT, process_name};
use crate::environment;
use crate::failure::{Code, Failure, Outcome};
use crate::pty;
use crate::request::Request;
use crate::spawn::{Program, Standard};
use crate::stream::Overflow;
use crate::sys::{self, READABLE};
use crate::users::User;

/// Of a process's arguments, so much is kept to be listed.
const ARGV_KEPT: usize = 4 << 10;

/// A `proc.start` understood.
struct Wish {
    argv: Vec<String>,
    user: User,
    variables: BTreeMap<String, String>,
    cwd: String,
    tty: Option<(u16, u16)>,
    stdin: bool,
    overflow: Overflow,
    timeout: Option<u64>,
}

impl Processes {
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
        let wish = self.understand(request)?;
        let ends = match wish.tty {
            Some((columns, rows)) => Ends::terminal(columns, rows),
            None => Ends::pipes(wish.stdin),
        };
        let ends = ends.map_err(|error| Failure::of_io("pipes for a new process", &error))?;
        let program = Program {
            argv: &wish.argv,
            environment: environment::strings(&wish.variables),
            path: wish.variables.get("PATH").map_or("", String::as_str),
            cwd: &wish.cwd,
            user: &wish.user,
        };
        let pid = self.spawner.spawn(&program, &ends.standard(&self.null))?;
        let process = Process {
            name: name.to_owned(),
            pid,
            argv: shortened(wish.argv),
            started_ms: sys::unix_ns() / 1_000_000,
            tty: wish.tty.is_some(),
            overflow: wish.overflow,
            sources: [Source::new(ends.stdout), Source::new(ends.stderr)],
            stdin: Stdin {
                fd: ends.stdin,
                ..Stdin::default()
            },
            timeout: wish.timeout.map(|timeout| sys::now_ms().saturating_add(timeout)),
            timed_out: false,
            exit: None,
            grace: None,
            waiting: Vec::new(),
            timer: None,
        };
        self.adopt(process)?;
        Ok(json!({"pid": pid}))
    }

    fn understand(&mut self, request: &Request) -> Outcome<Wish> {
        let argv = request.texts("argv")?;
        if argv.is_empty() {
            return Err(Failure::invalid("argv is missing or empty"));
        }
        let user = self.users.find(request.optional_text("user")?)?;
        let tty = if request.has("tty") {
            Some(request.size(Some("tty"))?)
        } else {
            None
        };
        let own = request.variables("env")?.unwrap_or_default();
        Ok(Wish {
            argv,
            variables: environment::build(&user, tty.is_some(), &self.environment, &own),
            user,
            cwd: request.optional_text("cwd")?.unwrap_or("/").to_owned(),
            tty,
            stdin: request.flag("stdin")?,
            overflow: match request.optional_text("overflow")? {
                None | Some("block") => Overflow::Block,
                Some("drop") => Overflow::Drop,
                Some(_) => return Err(Failure::invalid("overflow must be block or drop")),
            },
            timeout: request.optional_integer("timeout_ms")?,
        })
    }

    pub(super) fn adopt(&mut self, process: Process) -> Outcome<()> {
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
            tty: self.theirs[1].is_none(),
        }
    }
}
