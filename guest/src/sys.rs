//! Thin and safe faces of the kernel calls the standard library does not offer.

use std::ffi::{CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// A path as the kernel wants it; one with a zero byte is ENOENT, as it can name nothing.
pub fn path(path: impl AsRef<Path>) -> io::Result<CString> {
    CString::new(path.as_ref().as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::ENOENT))
}

pub fn open(name: impl AsRef<Path>, flags: c_int, mode: u32) -> io::Result<OwnedFd> {
    let name = path(name)?;
    // SAFETY: `name` ends with a zero byte; the descriptor is new and ours.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::open(
            name.as_ptr(),
            flags | libc::O_CLOEXEC,
            mode,
        ))?))
    }
}

/// Read into `buffer`; `None` means: nothing now.
pub fn read(fd: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        // SAFETY: pointer and length are those of `buffer`.
        let count = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match later(count)? {
            Progress::Again => continue,
            Progress::Blocked => return Ok(None),
            Progress::Count(count) => return Ok(Some(count)),
        }
    }
}

/// Write some of `buffer`; `None` means: no room now.
pub fn write(fd: &impl AsRawFd, buffer: &[u8]) -> io::Result<Option<usize>> {
    loop {
        // SAFETY: pointer and length are those of `buffer`.
        let count = unsafe { libc::write(fd.as_raw_fd(), buffer.as_ptr().cast(), buffer.len()) };
        match later(count)? {
            Progress::Again => continue,
            Progress::Blocked => return Ok(None),
            Progress::Count(count) => return Ok(Some(count)),
        }
    }
}

enum Progress {
    Count(usize),
    Blocked,
    Again,
}

fn later(count: isize) -> io::Result<Progress> {
    if count >= 0 {
        return Ok(Progress::Count(count as usize));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(Progress::Blocked),
        Some(libc::EINTR) => Ok(Progress::Again),
        _ => Err(error),
    }
}

/// A pipe, both ends closed on exec and blocking: (read end, write end).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has the two places the call fills; both descriptors are new and ours.
    unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

pub fn set_nonblocking(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: plain calls on an open descriptor.
    unsafe {
        let yes: c_int = 1;
        check(libc::ioctl(fd.as_raw_fd(), libc::FIONBIO, &yes))?;
    }
    Ok(())
}

/// Readiness of many descriptors. `token` comes back with the event.
pub struct Poller {
    fd: OwnedFd,
}

pub const READABLE: u32 = libc::EPOLLIN as u32;
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;
/// Told without being asked for.
pub const HUNG_UP: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;
pub const EDGE: u32 = libc::EPOLLET as u32;

impl Poller {
    pub fn new() -> io::Result<Poller> {
        // SAFETY: the descriptor is new and ours.
        unsafe {
            Ok(Poller {
                fd: OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?),
            })
        }
    }

    pub fn add(&self, fd: &impl AsRawFd, events: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), events, token)
    }

    pub fn change(&self, fd: &impl AsRawFd, events: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), events, token)
    }

    pub fn remove(&self, fd: &impl AsRawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd.as_raw_fd(), 0, 0);
    }

    fn control(&self, operation: c_int, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` lives through the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &mut event) }).map(|_| ())
    }

    /// Wait for events, at most `timeout` milliseconds (`None`: for ever). A signal ends the wait early.
    pub fn wait(&self, events: &mut [libc::epoll_event], timeout: Option<u64>) -> usize {
        let timeout = timeout.map_or(-1, |milliseconds| milliseconds.min(3_600_000) as c_int);
        // SAFETY: pointer and length are those of `events`.
        let count =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.as_mut_ptr(), events.len() as c_int, timeout) };
        usize::try_from(count).unwrap_or(0)
    }
}

/// Milliseconds of the clock that only runs while the machine runs, and is never stepped.
pub fn now_ms() -> u64 {
    clock(libc::CLOCK_MONOTONIC) / 1_000_000
}

/// Nanoseconds since the Unix epoch, by the guest's clock.
pub fn unix_ns() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` lives through the call.
    unsafe { libc::clock_gettime(id, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Undo what whoever started us had ignored: our own children would inherit it. The raw call, because glibc keeps two
/// signals to itself.
pub fn default_signals() {
    // The kernel's sigaction: handler, flags, restorer and mask, all zero, is the default.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the kernel reads 32 bytes of `default`; 8 is the size of its signal set.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null::<u8>(),
                8usize,
            )
        };
    }
}

/// A set of signals, for masks and descriptors.
pub fn signal_set(signals: &[c_int]) -> libc::sigset_t {
    // SAFETY: sigemptyset makes the set whole before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// As the agent in a guest: not to be killed for want of memory, nothing to do with the console's input, and memory
/// that is given back instead of kept in arenas of threads.
pub fn stand_apart() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    if let Ok(null) = open("/dev/null", libc::O_RDWR, 0) {
        // SAFETY: plain calls on open descriptors; stderr stays the console, for a panic's last words.
        unsafe {
            libc::dup2(null.as_raw_fd(), 0);
            libc::dup2(null.as_raw_fd(), 1);
        }
    }
    // SAFETY: plain settings, made before there are threads.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 10);
    }
}
