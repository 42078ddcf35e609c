//! From the initramfs to the image's own root: drivers, disk, mounts, and the switch.

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::Path;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::Init;
use crate::disk;
use crate::environment;
use crate::network;
use crate::power::{self, Ending};
use crate::sys;

const DEVICE: &str = "/dev/vda";
const DEVICE_LIMIT: Duration = Duration::from_secs(10);
const ROOT: &str = "/newroot";
const INITS: [&str; 3] = ["/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd"];
/// Open files, as systemd gives them: few at first, many for those who ask.
const FILES: libc::rlimit = libc::rlimit {
    rlim_cur: 1024,
    rlim_max: 524_288,
};

type Step = Result<(), String>;

/// Everything before the image's own init. An error is the reason why there is no machine.
pub fn prepare() -> Result<Init, String> {
    mount("proc", "/proc", "proc", NOTHING, "")?;
    mount("sysfs", "/sys", "sysfs", NOTHING, "")?;
    mount("devtmpfs", "/dev", "devtmpfs", libc::MS_NOSUID, "mode=0755")?;
    open_console();
    load_modules()?;
    wait_for_device()?;
    mount(DEVICE, ROOT, "ext4", libc::MS_NOATIME, "")?;
    if asked_for("hutch.grow") {
        disk::grow(ROOT).map_err(|error| format!("growing the root file system: {error}"))?;
    }
    furnish()?;
    switch()?;
    let init = which_init();
    if init == Init::Agent {
        settle()?;
    }
    // Without loopback much still works; it is not worth a machine.
    let _ = network::up("lo");
    // SAFETY: the limit lives through the call.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &FILES) };
    Ok(init)
}

/// Become the image's init. Returns only if that fails.
pub fn become_systemd() -> String {
    let path = INITS.iter().find(|path| is_systemd(path)).unwrap_or(&INITS[0]);
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let program = text(path);
    let variables = [
        text(&format!("PATH={}", environment::PATH)),
        text("HOME=/"),
        text("TERM=linux"),
    ];
    let environment: Vec<_> = variables
        .iter()
        .map(|text| text.as_ptr())
        .chain([ptr::null()])
        .collect();
    let argv = [program.as_ptr(), ptr::null()];
    // SAFETY: both lists end with a null pointer.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr()) };
    format!("{path}: {}", io::Error::last_os_error())
}

/// Say why there is no machine, and end it: a boot never hangs.
pub fn fail(reason: &str) -> ! {
    let text = format!("hutch: this machine cannot boot: {reason}\n");
    for device in ["/dev/console", "/dev/kmsg"] {
        if let Ok(fd) = sys::open(device, libc::O_WRONLY | libc::O_NOCTTY, 0) {
            let _ = fs::File::from(fd).write_all(text.as_bytes());
        }
    }
    power::halt(Ending::PowerOff)
}

const NOTHING: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) -> Step {
    let _ = fs::create_dir_all(target);
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let (from, to, kind_text, data) = (text(source), text(target), text(kind), text(data));
    // SAFETY: all texts end with a zero byte.
    let result = unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            kind_text.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    };
    sys::check(result)
        .map(|_| ())
        .map_err(|error| format!("mounting {source} on {target} as {kind}: {error}"))
}

/// Whoever comes after us has its three descriptors, also when the kernel found no console in the initramfs.
fn open_console() {
    let Ok(console) = sys::open("/dev/console", libc::O_RDWR | libc::O_NOCTTY, 0) else {
        return;
    };
    let console = console.into_raw_fd();
    // SAFETY: plain calls on open descriptors.
    unsafe {
        for standard in 0..3 {
            if console != standard {
                libc::dup2(console, standard);
            } else {
                libc::fcntl(console, libc::F_SETFD, 0);
            }
        }
        if console > 2 {
            libc::close(console);
        }
    }
}

/// In the order of the list, which is that of their dependencies.
fn load_modules() -> Step {
    let list = fs::read_to_string("/modules/load").map_err(|error| format!("/modules/load: {error}"))?;
    for name in list.split_ascii_whitespace() {
        let path = Path::new("/modules").join(name);
        let failure = |error: io::Error| format!("loading {name}: {error}");
        let file = sys::open(&path, libc::O_RDONLY, 0).map_err(failure)?;
        // SAFETY: an open descriptor and an empty text.
        let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
        if result < 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EEXIST) {
                return Err(failure(error));
            }
        }
    }
    Ok(())
}

fn wait_for_device() -> Step {
    let end = Instant::now() + DEVICE_LIMIT;
    while !Path::new(DEVICE).exists() {
        if Instant::now() > end {
            return Err(format!("{DEVICE} did not appear within {} s", DEVICE_LIMIT.as_secs()));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn asked_for(word: &str) -> bool {
    fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.split_ascii_whitespace().any(|given| given == word))
}

/// Give the new root what every image expects.
fn furnish() -> Step {
    for name in ["dev", "proc", "sys"] {
        let target = format!("{ROOT}/{name}");
        let _ = fs::create_dir_all(&target);
        move_mount(&format!("/{name}"), &target)?;
    }
    let quiet = libc::MS_NOSUID | libc::MS_NODEV;
    mount(
        "devpts",
        &format!("{ROOT}/dev/pts"),
        "devpts",
        NOTHING & !libc::MS_NODEV,
        "gid=5,mode=620,ptmxmode=666",
    )?;
    mount("tmpfs", &format!("{ROOT}/dev/shm"), "tmpfs", quiet, "mode=1777")?;
    mount("tmpfs", &format!("{ROOT}/run"), "tmpfs", quiet, "mode=0755")?;
    mount("tmpfs", &format!("{ROOT}/tmp"), "tmpfs", quiet, "mode=1777")?;
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        let _ = std::os::unix::fs::symlink(format!("/proc/self/{target}"), format!("{ROOT}/dev/{name}"));
    }
    let _ = fs::create_dir(format!("{ROOT}/workspace"));
    Ok(())
}

fn move_mount(from: &str, to: &str) -> Step {
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let (source, target) = (text(from), text(to));
    // SAFETY: both texts end with a zero byte.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            ptr::null(),
            libc::MS_MOVE,
            ptr::null(),
        )
    };
    sys::check(result)
        .map(|_| ())
        .map_err(|error| format!("moving {from} to {to}: {error}"))
}

/// The new root becomes the root; what the initramfs held is freed, except ourselves.
fn switch() -> Step {
    let _ = fs::remove_dir_all("/modules");
    let failure = |error: io::Error| format!("switching to the new root: {error}");
    std::env::set_current_dir(ROOT).map_err(failure)?;
    move_mount(".", "/")?;
    std::os::unix::fs::chroot(".").map_err(failure)?;
    std::env::set_current_dir("/").map_err(failure)
}

fn is_systemd(path: &str) -> bool {
    fs::canonicalize(path).is_ok_and(|path| path.file_name().is_some_and(|name| name == "systemd"))
}

fn which_init() -> Init {
    if INITS.iter().any(|path| is_systemd(path)) {
        Init::Systemd
    } else {
        Init::Agent
    }
}

/// What systemd would do for the image.
fn settle() -> Step {
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", NOTHING, "")?;
    if let Ok(name) = fs::read_to_string("/etc/hostname") {
        let name = name.trim();
        // SAFETY: pointer and length are those of `name`.
        unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    }
    Ok(())
}
