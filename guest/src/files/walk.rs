//! Going through all below a directory. Bounded in time, in names, and in what is kept of directories still to come.

use std::fs::{self, Metadata};
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::failure::{Code, Failure, Outcome};
use crate::sys;

/// Less than a host waits for an answer.
const TIME: Duration = Duration::from_secs(25);
const NAMES: usize = 2_000_000;
/// Bytes of the paths of directories still to be read.
const WAITING: usize = 2 << 20;
/// File systems that are the kernel's words and no files: proc, sysfs, debugfs, tracefs, securityfs, cgroup2, bpf, pstore.
const KERNELS: [u64; 8] = [
    0x9fa0,
    0x6265_6572,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6367_7270,
    0xcafe_4a11,
    0x6165_676c,
];

/// Whether to go on.
#[derive(PartialEq, Eq)]
pub enum Step {
    On,
    Enough,
}

pub struct Limit {
    subject: String,
    end: Instant,
    names: usize,
}

impl Limit {
    pub fn new(subject: &str) -> Limit {
        Limit {
            subject: subject.to_owned(),
            end: Instant::now() + TIME,
            names: 0,
        }
    }

    /// An error when time is up.
    pub fn check(&self) -> Outcome<()> {
        if Instant::now() > self.end {
            return Err(self.failure());
        }
        Ok(())
    }

    fn count(&mut self) -> Outcome<()> {
        self.names += 1;
        if self.names > NAMES {
            return Err(self.failure());
        }
        self.check()
    }

    fn failure(&self) -> Failure {
        Failure::new(
            Code::TooMany,
            format!("{}: too much to go through: name a smaller directory", self.subject),
        )
    }
}

/// Show every path below `start` to `visit`. Links are not followed, except `start` itself; what cannot be read is passed
/// over; file systems of the kernel are entered only when `start` is in one.
pub fn below(
    start: &Path,
    limit: &mut Limit,
    visit: &mut dyn FnMut(&Path, &Metadata, &Limit) -> Outcome<Step>,
) -> Outcome<()> {
    let failure = |error| Failure::of_io(&start.to_string_lossy(), &error);
    fs::read_dir(start).map_err(failure)?;
    let mut waiting = vec![(start.to_path_buf(), fs::metadata(start).map_err(failure)?.dev())];
    let mut kept = 0;
    while let Some((directory, device)) = waiting.pop() {
        kept -= weight(&directory).min(kept);
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries {
            let Ok(entry) = entry else { break };
            limit.count()?;
            let Ok(found) = entry.metadata() else { continue };
            let path = entry.path();
            if visit(&path, &found, limit)? == Step::Enough {
                return Ok(());
            }
            if found.is_dir() && (found.dev() == device || !is_kernels(&path)) {
                kept += weight(&path);
                if kept > WAITING {
                    return Err(limit.failure());
                }
                waiting.push((path, found.dev()));
            }
        }
    }
    Ok(())
}

fn weight(path: &Path) -> usize {
    path.as_os_str().len() + mem::size_of::<(PathBuf, u64)>()
}

fn is_kernels(path: &Path) -> bool {
    let Ok(path) = sys::path(path) else { return true };
    // SAFETY: the path ends with a zero byte; `found` lives through the call.
    unsafe {
        let mut found: libc::statfs = mem::zeroed();
        libc::statfs(path.as_ptr(), &mut found) != 0 || KERNELS.contains(&(found.f_type as u64))
    }
}
