//! Threads for what may block: files, and asking systemd. A hanging mount holds one thread and nothing else.
//!
//! Threads are made when all are busy and end when idle for a while, so that a resting machine has only the loop.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::sys;

/// More than the protocol's 64 handles, so that stuck ones leave some for others.
const THREADS: usize = 80;
const IDLE: Duration = Duration::from_secs(5);
const STACK: usize = 128 << 10;

type Job<T> = Box<dyn FnOnce() -> T + Send>;

struct State<T> {
    jobs: VecDeque<Job<T>>,
    done: Vec<T>,
    threads: usize,
    idle: usize,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    work: Condvar,
    bell: OwnedFd,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // A panic aborts the process, so no lock is ever poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct Workers<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send + 'static> Workers<T> {
    pub fn new() -> io::Result<Workers<T>> {
        // SAFETY: the descriptor is new and ours.
        let bell =
            unsafe { OwnedFd::from_raw_fd(sys::check(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?) };
        let state = State {
            jobs: VecDeque::new(),
            done: Vec::new(),
            threads: 0,
            idle: 0,
        };
        Ok(Workers {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                work: Condvar::new(),
                bell,
            }),
        })
    }

    /// Readable when `take` has something.
    pub fn bell(&self) -> &impl AsRawFd {
        &self.shared.bell
    }

    pub fn submit(&self, job: impl FnOnce() -> T + Send + 'static) {
        let mut state = self.shared.state();
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() {
            self.shared.work.notify_one();
        } else if state.threads < THREADS {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().stack_size(STACK).spawn(move || work(&shared));
            // Without memory for a thread the job waits for one that is there.
            state.threads += usize::from(thread.is_ok());
        }
    }

    /// What has been done since the last time.
    pub fn take(&self) -> Vec<T> {
        let mut count = [0; 8];
        let _ = sys::read(&self.shared.bell, &mut count);
        std::mem::take(&mut self.shared.state().done)
    }
}

fn work<T>(shared: &Shared<T>) {
    let mut state = shared.state();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            let done = job();
            state = shared.state();
            state.done.push(done);
            if state.done.len() == 1 {
                let _ = sys::write(&shared.bell, &1u64.to_ne_bytes());
            }
            continue;
        }
        state.idle += 1;
        let (woken, timeout) = shared
            .work
            .wait_timeout(state, IDLE)
            .unwrap_or_else(PoisonError::into_inner);
        state = woken;
        state.idle -= 1;
        if timeout.timed_out() && state.jobs.is_empty() {
            state.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_job_holds_up_no_other() {
        let workers: Workers<u32> = Workers::new().unwrap();
        let (release, stuck) = std::sync::mpsc::channel::<()>();
        workers.submit(move || {
            let _ = stuck.recv();
            1
        });
        workers.submit(|| 2);
        let poller = sys::Poller::new().unwrap();
        poller.add(workers.bell(), sys::READABLE, 0).unwrap();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }];
        assert_eq!(poller.wait(&mut events, Some(10_000)), 1);
        assert_eq!(workers.take(), [2]);
        release.send(()).unwrap();
        assert_eq!(poller.wait(&mut events, Some(10_000)), 1);
        assert_eq!(workers.take(), [1]);
    }
}
