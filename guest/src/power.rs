//! The end of a machine.

use std::ffi::CString;
use std::ptr;
use std::time::{Duration, Instant};

use crate::mounts;
use crate::sys;

/// How long processes may take to end themselves.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    PowerOff,
    Reboot,
}

/// Ask process 1 to power off: systemd and ours understand the same signal.
pub fn ask_init() {
    // SAFETY: a plain call.
    unsafe { libc::kill(1, libc::SIGRTMIN() + 4) };
}

/// As process 1: end all processes, leave the disk in order, and end the machine. The agent does not listen to TERM.
pub fn end(ending: Ending, agent: Option<i32>) -> ! {
    // SAFETY: plain calls; from process 1, -1 is everybody else.
    unsafe {
        if let Some(agent) = agent {
            libc::kill(agent, libc::SIGKILL);
        }
        libc::kill(-1, libc::SIGTERM);
    }
    wait_for_children(GRACE);
    // SAFETY: as above.
    unsafe { libc::kill(-1, libc::SIGKILL) };
    wait_for_children(Duration::from_secs(1));
    mounts::unmount_all();
    let root = CString::from(c"/");
    // SAFETY: the path ends with a zero byte.
    unsafe {
        libc::sync();
        libc::mount(
            ptr::null(),
            root.as_ptr(),
            ptr::null(),
            libc::MS_REMOUNT | libc::MS_RDONLY,
            ptr::null(),
        );
    }
    halt(ending)
}

/// End the machine at once. If it cannot be powered off it is reset, which ends QEMU too.
pub fn halt(ending: Ending) -> ! {
    // SAFETY: plain calls.
    unsafe {
        libc::sync();
        if ending == Ending::PowerOff {
            libc::reboot(libc::RB_POWER_OFF);
        }
        libc::reboot(libc::RB_AUTOBOOT);
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Every orphan is our child, so there is nobody left when there are no children.
fn wait_for_children(limit: Duration) {
    let end = Instant::now() + limit;
    let set = sys::signal_set(&[libc::SIGCHLD]);
    loop {
        // SAFETY: plain calls on values that live through them.
        unsafe {
            while libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) > 0 {}
            if *libc::__errno_location() == libc::ECHILD {
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let time = libc::timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            libc::sigtimedwait(&set, ptr::null_mut(), &time);
        }
    }
}
