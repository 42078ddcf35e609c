//! What makes a restored machine itself: fresh randomness, the time, its names, its environment.

use std::os::fd::AsRawFd;

use serde_json::{Value, json};

use crate::environment::Variables;
use crate::failure::{Failure, Outcome};
use crate::ground::Ground;
use crate::request::Request;
use crate::sys;

const ENTROPY_LIMIT: usize = 512;
const ENTROPY_LEAST: usize = 32;
/// _IOW('R', 0x03, int[2]) and _IO('R', 0x07) of linux/random.h.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// Where the machine's environment is, for an agent that had to be started anew.
const ENVIRONMENT: &str = "/run/hutch/environment.json";
const INSTANCE_ID: &str = "/run/hutch/instance-id";

/// What a `restore` asks for, checked.
struct Wanted<'a> {
    entropy: &'a [u8],
    time: Option<i64>,
    machine_id: Option<&'a str>,
    hostname: Option<&'a str>,
    instance_id: Option<&'a str>,
    variables: Option<Variables>,
}

/// All of it or an error: all is checked before anything is done, and entropy comes first, so that nothing is done on a
/// pool that others share.
pub fn restore(request: &Request, ground: &Ground, environment: &mut Variables) -> Outcome<Value> {
    ground.allow("restore")?;
    let wanted = understand(request)?;
    if ground.is_guest() {
        change_kernel(&wanted)?;
    }
    if let Some(id) = wanted.machine_id {
        ground.write("/etc/machine-id", &format!("{id}\n"), 0o644)?;
    }
    if let Some(name) = wanted.hostname {
        ground.write("/etc/hostname", &format!("{name}\n"), 0o644)?;
    }
    if let Some(id) = wanted.instance_id {
        ground.write(INSTANCE_ID, &format!("{id}\n"), 0o644)?;
    }
    if let Some(variables) = wanted.variables {
        keep(ground, &variables)?;
        *environment = variables;
    }
    Ok(json!({}))
}

fn understand(request: &Request) -> Outcome<Wanted<'_>> {
    let wanted = Wanted {
        entropy: request.body(),
        time: request.optional_signed("time_ns")?,
        machine_id: request.optional_text("machine_id")?,
        hostname: request.optional_text("hostname")?,
        instance_id: request.optional_text("instance_id")?,
        variables: request.variables("env")?,
    };
    if !wanted.entropy.is_empty() && !(ENTROPY_LEAST..=ENTROPY_LIMIT).contains(&wanted.entropy.len()) {
        return Err(Failure::invalid("entropy must have 32 to 512 bytes"));
    }
    if wanted
        .machine_id
        .is_some_and(|id| id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(Failure::invalid("machine_id must be 32 hexadecimal digits"));
    }
    if wanted
        .hostname
        .is_some_and(|name| !(1..=64).contains(&name.len()) || name.contains(['\n', '/']))
    {
        return Err(Failure::invalid(
            "hostname must have 1 to 64 bytes, none of them a slash or a line's end",
        ));
    }
    if wanted.instance_id.is_some_and(|id| id.len() > 64 || id.contains('\n')) {
        return Err(Failure::invalid("instance_id must be a UUID"));
    }
    Ok(wanted)
}

fn change_kernel(wanted: &Wanted) -> Outcome<()> {
    if !wanted.entropy.is_empty() {
        reseed(wanted.entropy).map_err(|error| Failure::of_io("/dev/urandom", &error))?;
    }
    if let Some(time) = wanted.time {
        set_clock(time).map_err(|error| Failure::of_io("the clock", &error))?;
    }
    if let Some(name) = wanted.hostname {
        set_hostname(name).map_err(|error| Failure::of_io("the hostname", &error))?;
    }
    Ok(())
}

/// Mix in and credit, then reseed: getrandom is different from the next call on.
fn reseed(entropy: &[u8]) -> std::io::Result<()> {
    #[repr(C)]
    struct PoolInfo {
        bits: libc::c_int,
        size: libc::c_int,
        bytes: [u8; ENTROPY_LIMIT],
    }
    let size = entropy.len() as libc::c_int;
    let mut info = PoolInfo {
        bits: size * 8,
        size,
        bytes: [0; ENTROPY_LIMIT],
    };
    info.bytes[..entropy.len()].copy_from_slice(entropy);
    let device = sys::open("/dev/urandom", libc::O_RDWR, 0)?;
    // SAFETY: the kernel reads two numbers and `size` bytes, all within `info`.
    unsafe {
        sys::check(libc::ioctl(device.as_raw_fd(), RNDADDENTROPY, &info))?;
        sys::check(libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG))?;
    }
    Ok(())
}

fn set_clock(unix_ns: i64) -> std::io::Result<()> {
    let time = libc::timespec {
        tv_sec: unix_ns.div_euclid(1_000_000_000),
        tv_nsec: unix_ns.rem_euclid(1_000_000_000),
    };
    // SAFETY: `time` lives through the call.
    sys::check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &time) }).map(|_| ())
}

fn set_hostname(name: &str) -> std::io::Result<()> {
    // SAFETY: pointer and length are those of `name`.
    sys::check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(|_| ())
}

/// Values may be secrets: only root reads them here, as in the processes themselves.
fn keep(ground: &Ground, environment: &Variables) -> Outcome<()> {
    let object: serde_json::Map<String, Value> = environment
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    ground.write(ENVIRONMENT, &Value::Object(object).to_string(), 0o600)
}

/// Have the files that a restore writes: writing to what is there is much faster.
pub fn prepare(ground: &Ground) {
    for path in [ENVIRONMENT, INSTANCE_ID] {
        if !ground.path(path).exists() {
            let _ = ground.write(path, "\n", if path == ENVIRONMENT { 0o600 } else { 0o644 });
        }
    }
}

/// What a former agent was told.
pub fn kept_environment(ground: &Ground) -> Variables {
    let text = std::fs::read(ground.path(ENVIRONMENT)).unwrap_or_default();
    let Ok(Value::Object(object)) = serde_json::from_slice(&text) else {
        return Variables::new();
    };
    object
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
        .collect()
}
