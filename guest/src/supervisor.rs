//! Keep an agent running: whatever ends it, a new one takes the port. Its table of processes is lost; the machine lives.

use std::ffi::CString;
use std::io;
use std::ptr;
use std::time::{Duration, Instant};

use crate::agent::Init;
use crate::power::{self, Ending};
use crate::sys;

/// An agent that ended sooner than this is not started again at once.
const SOON: Duration = Duration::from_secs(1);

/// systemd leaves alone what has a name like this.
const NAME: &str = "@hutch-agent";

/// Start this program anew in a child, under a name and for a job of its own.
pub fn start(job: &str, init: Init) -> io::Result<i32> {
    let texts = [NAME, job, init.name()];
    let texts: Vec<CString> = texts.iter().filter_map(|text| CString::new(*text).ok()).collect();
    let argv: Vec<*const libc::c_char> = texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
    let none: [*const libc::c_char; 1] = [ptr::null()];
    // SAFETY: the child makes plain system calls only; both lists end with a null pointer.
    unsafe {
        let pid = sys::check(libc::fork())?;
        if pid == 0 {
            libc::setsid();
            libc::execve(c"/proc/self/exe".as_ptr(), argv.as_ptr(), none.as_ptr());
            libc::_exit(127);
        }
        Ok(pid)
    }
}

/// For images with systemd: a process of its own looks after the agent.
pub fn supervise(init: Init) -> ! {
    look_after(init, &[]);
}

/// For images without: process 1 looks after the agent, reaps orphans, and ends the machine when asked to.
pub fn reign() -> ! {
    let asked = [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGPWR,
        libc::SIGRTMIN() + 3,
        libc::SIGRTMIN() + 4,
        libc::SIGRTMIN() + 5,
    ];
    look_after(Init::Agent, &asked);
}

fn look_after(init: Init, asked: &[i32]) -> ! {
    let mut watched = asked.to_vec();
    watched.push(libc::SIGCHLD);
    let set = sys::signal_set(&watched);
    // SAFETY: the set lives through the call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &set, ptr::null_mut()) };
    let mut agent = start("serve", init).ok();
    let mut started = Instant::now();
    loop {
        while let Some(ended) = reap() {
            if Some(ended) == agent {
                agent = None;
            }
        }
        if agent.is_none() && started.elapsed() >= SOON {
            agent = start("serve", init).ok();
            started = Instant::now();
        }
        let patience = if agent.is_none() {
            SOON
        } else {
            Duration::from_secs(3600)
        };
        if let Some(ending) = wait(&set, patience).and_then(ending) {
            power::end(ending, agent);
        }
    }
}

fn reap() -> Option<i32> {
    // SAFETY: a plain call.
    let pid = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) };
    (pid > 0).then_some(pid)
}

fn wait(set: &libc::sigset_t, patience: Duration) -> Option<i32> {
    let time = libc::timespec {
        tv_sec: patience.as_secs() as i64,
        tv_nsec: 0,
    };
    // SAFETY: set and time live through the call.
    let signal = unsafe { libc::sigtimedwait(set, ptr::null_mut(), &time) };
    (signal > 0).then_some(signal)
}

/// What a signal asks of process 1: those of systemd, and of busybox's and sysvinit's `poweroff` and `reboot`.
fn ending(signal: i32) -> Option<Ending> {
    match signal {
        libc::SIGCHLD => None,
        libc::SIGTERM | libc::SIGINT => Some(Ending::Reboot),
        _ if signal == libc::SIGRTMIN() + 5 => Some(Ending::Reboot),
        _ => Some(Ending::PowerOff),
    }
}
