//! What is asked of a path at once: stat, list, make, remove, rename, change.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsString};
use std::fs::{self, DirBuilder, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::frames::LIST_LIMIT;
use crate::sys;
use crate::users::Ownership;

/// Entries of one answer, if no other limit was given.
const ENTRIES: usize = 1000;

pub fn describe(path: &str, found: &Metadata, target: Option<&Path>) -> Value {
    let kind = match found.file_type() {
        kind if kind.is_file() => "file",
        kind if kind.is_dir() => "directory",
        kind if kind.is_symlink() => "symlink",
        _ => "other",
    };
    json!({
        "path": path, "kind": kind, "size": found.size(), "mode": found.mode() & 0o7777,
        "uid": found.uid(), "gid": found.gid(),
        "mtime_ms": found.mtime().saturating_mul(1000).saturating_add(found.mtime_nsec() / 1_000_000),
        "target": target.map(Path::to_string_lossy),
    })
}

/// Of the path itself: links are not followed.
pub fn stat(path: &str) -> Outcome<Value> {
    let found = fs::symlink_metadata(path).map_err(|error| Failure::of_io(path, &error))?;
    let target = if found.is_symlink() {
        fs::read_link(path).ok()
    } else {
        None
    };
    Ok(describe(path, &found, target.as_deref()))
}

/// The first entries after a name, by name. Memory stays flat however many there are.
pub fn list(path: &str, after: &str, limit: Option<u64>) -> Outcome<Value> {
    let failure = |error: io::Error| Failure::of_io(path, &error);
    let limit = limit.map_or(ENTRIES, |limit| limit.clamp(1, ENTRIES as u64) as usize);
    let mut names: BTreeMap<String, OsString> = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(failure)? {
        let name = entry.map_err(failure)?.file_name();
        let shown = name.to_string_lossy();
        if *shown > *after {
            names.insert(shown.into_owned(), name);
        }
        // One more than is shown tells whether there is more.
        if names.len() > limit + 1 {
            names.pop_last();
        }
    }
    let found = names.len();
    let prefix = path.trim_end_matches('/');
    let (mut entries, mut size, mut seen) = (Vec::new(), 0, 0);
    let mut last = after.to_owned();
    for (shown, name) in names.into_iter().take(limit) {
        let place = Path::new(path).join(&name);
        seen += 1;
        // What has gone since is not there.
        let Ok(metadata) = fs::symlink_metadata(&place) else {
            last = shown;
            continue;
        };
        let target = if metadata.is_symlink() {
            fs::read_link(&place).ok()
        } else {
            None
        };
        let entry = describe(&format!("{prefix}/{shown}"), &metadata, target.as_deref());
        size += entry.to_string().len() + 1;
        if size > LIST_LIMIT && !entries.is_empty() {
            seen -= 1;
            break;
        }
        entries.push(entry);
        last = shown;
    }
    Ok(json!({"entries": entries, "more": seen < found, "last": last}))
}

pub fn make_directory(path: &str, mode: u32) -> Outcome<Value> {
    make_directories(Path::new(path), mode).map_err(|error| Failure::of_io(path, &error))?;
    Ok(json!({}))
}

/// Make a directory and what is missing above it. `mode` is for the last; no error if it is there.
pub fn make_directories(path: &Path, mode: u32) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        // The umask took bits away that were asked for.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    }
}

pub fn remove(path: &str, recursive: bool) -> Outcome<Value> {
    let failure = |error: io::Error| Failure::of_io(path, &error);
    let place = Path::new(path);
    if place.file_name().is_none() {
        return Err(Failure::invalid(format!("{path}: cannot be removed")));
    }
    let found = fs::symlink_metadata(path).map_err(failure)?;
    if !found.is_dir() {
        fs::remove_file(path).map_err(failure)?;
    } else if recursive {
        remove_tree(place).map_err(failure)?;
    } else {
        fs::remove_dir(path).map_err(failure)?;
    }
    Ok(json!({}))
}

/// Within one file system; what is at the other end is replaced, as rename(2) does.
pub fn rename(path: &str, to: &str) -> Outcome<Value> {
    fs::rename(path, to).map_err(|error| match error.raw_os_error() {
        Some(libc::EXDEV) => Failure::invalid(format!("{path}: {to} is on another file system")),
        // It may be either: what is moved has to be there in any case.
        _ if fs::symlink_metadata(path).is_ok() => Failure::of_io(to, &error),
        _ => Failure::of_io(path, &error),
    })?;
    Ok(json!({}))
}

/// Owner first: giving a file away takes set-user-id bits from it.
pub fn change(path: &str, mode: Option<u32>, owner: Option<Ownership>) -> Outcome<Value> {
    let failure = |error: io::Error| Failure::of_io(path, &error);
    let kept = fs::metadata(path).map_err(failure)?.mode() & 0o7777;
    if let Some(owner) = owner {
        std::os::unix::fs::chown(path, owner.uid, owner.gid).map_err(failure)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode.unwrap_or(kept))).map_err(failure)?;
    Ok(json!({}))
}

/// Remove a directory with all it holds. Iterative, with one descriptor, so that no depth ends our stack or our
/// descriptors; relative to descriptors, so that nobody can lead us elsewhere with a link.
fn remove_tree(path: &Path) -> io::Result<()> {
    let mut here = sys::open(path, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0)?;
    let mut above: Vec<(CString, u64, u64)> = Vec::new();
    loop {
        match empty(&here)? {
            Some(child) => {
                let next = open_at(&here, &child)?;
                let (device, inode) = identity(&here)?;
                above.push((child, device, inode));
                here = next;
            }
            None => {
                let Some((name, device, inode)) = above.pop() else {
                    break;
                };
                let parent = open_at(&here, c"..")?;
                if identity(&parent)? != (device, inode) {
                    return Err(io::Error::other("a directory was moved while it was being removed"));
                }
                unlink_at(&parent, &name, libc::AT_REMOVEDIR)?;
                here = parent;
            }
        }
    }
    fs::remove_dir(path)
}

/// Remove everything that is no directory; the name of the first directory met, if any.
fn empty(directory: &OwnedFd) -> io::Result<Option<CString>> {
    loop {
        let (names, more) = entries(directory)?;
        for name in names {
            match unlink_at(directory, &name, 0) {
                Err(error) if error.raw_os_error() == Some(libc::EISDIR) => return Ok(Some(name)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => result?,
            }
        }
        if !more {
            return Ok(None);
        }
    }
}

/// Some names a directory holds, and whether there may be more.
fn entries(directory: &OwnedFd) -> io::Result<(Vec<CString>, bool)> {
    const BATCH: usize = 1000;
    // A new description of the same directory, read from its start and closed with the stream.
    let fd = open_at(directory, c".")?;
    let mut names = Vec::new();
    // SAFETY: fdopendir takes over a descriptor of ours; readdir's entry is used before the next call.
    unsafe {
        let stream = libc::fdopendir(std::os::fd::IntoRawFd::into_raw_fd(fd));
        if stream.is_null() {
            return Err(io::Error::last_os_error());
        }
        while names.len() < BATCH {
            let entry = libc::readdir(stream);
            if entry.is_null() {
                break;
            }
            let name = CStr::from_ptr((*entry).d_name.as_ptr());
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        libc::closedir(stream);
    }
    let more = names.len() == BATCH;
    Ok((names, more))
}

fn open_at(directory: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the name ends with a zero byte; the descriptor is new and ours.
    unsafe {
        Ok(OwnedFd::from_raw_fd(sys::check(libc::openat(
            directory.as_raw_fd(),
            name.as_ptr(),
            flags,
        ))?))
    }
}

fn unlink_at(directory: &OwnedFd, name: &CStr, flags: i32) -> io::Result<()> {
    // SAFETY: the name ends with a zero byte.
    sys::check(unsafe { libc::unlinkat(directory.as_raw_fd(), name.as_ptr(), flags) }).map(|_| ())
}

fn identity(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    // SAFETY: `found` lives through the call.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        sys::check(libc::fstat(directory.as_raw_fd(), &mut found))?;
        Ok((found.st_dev, found.st_ino))
    }
}

#[cfg(test)]
pub mod tests;
