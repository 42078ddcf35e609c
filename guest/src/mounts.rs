//! Volumes: disks beside the root's, known by their serials and mounted where the host says.
//!
//! A machine that comes out of a template has another disk than its kernel has seen: size and caches are of that one. So a
//! disk that is not mounted is taken from its driver and given back before it is.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Code, Failure, Outcome};
use crate::files::{absolute, paths};
use crate::ground::Ground;
use crate::request::Request;
use crate::sys;

const BLOCK: &str = "/sys/block";
const DRIVER: &str = "/sys/bus/virtio/drivers/virtio_blk";
const PAUSE: Duration = Duration::from_millis(2);
/// Milliseconds to wait for a disk at most.
const WAIT_LIMIT: u64 = 60_000;
/// What the machine could not do without, or what is no place for files.
const TAKEN: [&str; 5] = ["/dev", "/proc", "/run/hutch", "/run/systemd", "/sys"];

pub struct Mount {
    serial: String,
    path: String,
    readonly: bool,
    again: bool,
    wait: Duration,
}

impl Mount {
    pub fn parse(request: &Request, ground: &Ground) -> Outcome<Mount> {
        let serial = request.text("serial")?;
        if serial.is_empty() || serial.len() > 20 || !serial.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::invalid("serial must have 1 to 20 plain characters"));
        }
        Ok(Mount {
            serial: serial.to_owned(),
            path: target(request, ground)?,
            readonly: request.flag("readonly")?,
            again: request.flag("again")?,
            wait: Duration::from_millis(request.optional_integer("wait_ms")?.unwrap_or(0).min(WAIT_LIMIT)),
        })
    }

    /// Mount it, unless it is mounted there; `again` takes away what is mounted there first.
    pub fn perform(&self) -> Outcome<Value> {
        let failure = |error: io::Error| Failure::of_io(&self.path, &error);
        let end = Instant::now() + self.wait;
        paths::make_directory(&self.path, 0o755)?;
        let place = fs::canonicalize(&self.path).map_err(failure)?;
        allowed(&self.path, &place)?;
        let mut disk = self.find(end)?;
        if self.again {
            while is_mounted(&disk, Some(&place)).map_err(failure)? {
                detach(&place, libc::MNT_DETACH).map_err(failure)?;
            }
        }
        if is_mounted(&disk, Some(&place)).map_err(failure)? {
            return Ok(json!({}));
        }
        if !is_mounted(&disk, None).map_err(failure)? {
            bind_anew(&disk).map_err(failure)?;
            disk = self.find(end)?;
        }
        attach(&Path::new("/dev").join(&disk), &place, self.readonly).map_err(failure)?;
        Ok(json!({}))
    }

    /// The disk's name, when it and its device are there.
    fn find(&self, end: Instant) -> Outcome<String> {
        loop {
            if let Some(disk) = disk_of(Path::new(BLOCK), &self.serial) {
                if Path::new("/dev").join(&disk).exists() {
                    return Ok(disk);
                }
            }
            if Instant::now() >= end {
                let text = format!("{}: there is no disk with the serial {}", self.path, self.serial);
                return Err(Failure::new(Code::NotFound, text));
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Where to mount or unmount. A host is left alone.
pub fn target(request: &Request, ground: &Ground) -> Outcome<String> {
    if !ground.is_guest() {
        return Err(Failure::invalid(format!(
            "{} would change the host the agent runs on",
            request.op
        )));
    }
    let path = absolute(request)?;
    allowed(&path, Path::new(&path))?;
    Ok(path)
}

/// Nothing happens if nothing is mounted there.
pub fn unmount(path: &str) -> Outcome<Value> {
    let failure = |error: io::Error| Failure::of_io(path, &error);
    let place = match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(json!({})),
        place => place.map_err(failure)?,
    };
    allowed(path, &place)?;
    match detach(&place, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(json!({})),
        result => result.map(|()| json!({})).map_err(failure),
    }
}

/// At the end of the machine: leave all disks but the root's in order.
pub fn unmount_all() {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for (device, place) in entries(&table).collect::<Vec<_>>().into_iter().rev() {
        let is_disk = !device.starts_with("0:");
        if place != Path::new("/") && is_disk {
            let _ = detach(&place, 0);
        }
    }
}

/// The path itself, not what its links mean, is checked too: `..` could lead anywhere later.
fn allowed(path: &str, place: &Path) -> Outcome<()> {
    let is_plain = !path.split('/').any(|part| part == "..");
    let is_taken = place == Path::new("/") || TAKEN.iter().any(|taken| place.starts_with(taken));
    if is_plain && !is_taken {
        return Ok(());
    }
    Err(Failure::invalid(format!("{path}: nothing can be mounted there")))
}

fn disk_of(block: &Path, serial: &str) -> Option<String> {
    let disks = fs::read_dir(block).ok()?;
    disks.flatten().find_map(|disk| {
        let told = fs::read_to_string(disk.path().join("serial")).ok()?;
        (told.trim_end_matches(['\n', '\0']) == serial).then(|| disk.file_name().to_string_lossy().into_owned())
    })
}

/// Have the driver let go of a disk and take it up again, as it is now.
fn bind_anew(disk: &str) -> io::Result<()> {
    let device = fs::read_link(Path::new(BLOCK).join(disk).join("device"))?;
    let name = device.file_name().ok_or(ErrorKind::NotFound)?.to_owned();
    fs::write(Path::new(DRIVER).join("unbind"), name.as_encoded_bytes())?;
    fs::write(Path::new(DRIVER).join("bind"), name.as_encoded_bytes())
}

fn attach(device: &Path, place: &Path, readonly: bool) -> io::Result<()> {
    let (source, target) = (sys::path(device)?, sys::path(place)?);
    let flags = libc::MS_NOATIME | libc::MS_NODEV | if readonly { libc::MS_RDONLY } else { 0 };
    // SAFETY: all texts end with a zero byte.
    let result = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), c"ext4".as_ptr(), flags, ptr::null()) };
    sys::check(result).map(|_| ())
}

fn detach(place: &Path, flags: libc::c_int) -> io::Result<()> {
    let place = sys::path(place)?;
    // SAFETY: the path ends with a zero byte.
    sys::check(unsafe { libc::umount2(place.as_ptr(), flags | libc::UMOUNT_NOFOLLOW) }).map(|_| ())
}

/// Whether a disk is what one sees at a place, or is mounted at all.
fn is_mounted(disk: &str, place: Option<&Path>) -> io::Result<bool> {
    let number = fs::read_to_string(Path::new(BLOCK).join(disk).join("dev"))?;
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(is_in(&table, number.trim(), place))
}

fn is_in(table: &str, number: &str, place: Option<&Path>) -> bool {
    match place {
        None => entries(table).any(|(device, _)| device == number),
        Some(place) => entries(table)
            .filter(|(_, there)| there == place)
            .last()
            .is_some_and(|(device, _)| device == number),
    }
}

/// Device number and place of each mount, oldest first.
fn entries(table: &str) -> impl Iterator<Item = (&str, PathBuf)> {
    table.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        let device = fields.next()?;
        Some((device, PathBuf::from(plain(fields.nth(1)?))))
    })
}

/// Spaces and the like are written as \040.
fn plain(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        match part.get(..3).map(|digits| u8::from_str_radix(digits, 8)) {
            Some(Ok(byte)) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[3..]);
            }
            _ => {
                bytes.push(b'\\');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::paths::tests::Scratch;

    const TABLE: &str = "22 1 254:0 / / rw,noatime - ext4 /dev/vda rw\n\
        30 22 254:16 / /data rw,noatime - ext4 /dev/vdb rw\n\
        31 22 254:32 / /with\\040space ro - ext4 /dev/vdc ro\n\
        32 22 0:40 / /data rw - tmpfs tmpfs rw\n";

    #[test]
    fn what_is_on_top_is_what_is_mounted() {
        assert!(is_in(TABLE, "254:16", None));
        assert!(!is_in(TABLE, "254:16", Some(Path::new("/data"))));
        assert!(is_in(TABLE, "0:40", Some(Path::new("/data"))));
        assert!(is_in(TABLE, "254:32", Some(Path::new("/with space"))));
        assert!(!is_in(TABLE, "254:48", None));
    }

    #[test]
    fn a_disk_is_found_by_its_whole_serial() {
        let scratch = Scratch::new("serial");
        for (disk, serial) in [("vda", ""), ("vdb", "abc"), ("vdc", "abcdefghijklmnopqrst")] {
            fs::create_dir(scratch.path(disk)).unwrap();
            fs::write(scratch.path(&format!("{disk}/serial")), serial).unwrap();
        }
        fs::create_dir(scratch.path("loop0")).unwrap();
        assert_eq!(disk_of(&scratch.0, "abcdefghijklmnopqrst"), Some("vdc".into()));
        assert_eq!(disk_of(&scratch.0, "abcd"), None);
    }

    #[test]
    fn places_that_a_machine_needs_are_refused() {
        for path in [
            "/",
            "/proc",
            "/proc/self",
            "/sys/x",
            "/dev/shm",
            "/run/hutch/x",
            "/data/../proc",
        ] {
            assert!(allowed(path, Path::new(path)).is_err(), "{path}");
        }
        for path in ["/data", "/processes", "/srv/a b", "/run/media/x"] {
            assert!(allowed(path, Path::new(path)).is_ok(), "{path}");
        }
        assert!(allowed("/data", Path::new("/proc/self")).is_err());
    }
}
