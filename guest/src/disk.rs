//! The root file system grows to the size of its device.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::sys;

/// _IOW('f', 16, __u64) of the kernel's ext4 documentation.
const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;

/// Grow the ext4 mounted at `mount`: its size in bytes. Nothing happens if it is as large as its device.
pub fn grow(mount: &str) -> io::Result<u64> {
    let device = fs::metadata(mount)?.dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    let sectors = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/size"))?;
    let bytes = sectors.trim().parse::<u64>().map_err(io::Error::other)? * 512;
    let root = sys::open(Path::new(mount), libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    // SAFETY: `found` and `blocks` live through their calls.
    unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        sys::check(libc::fstatfs(root.as_raw_fd(), &mut found))?;
        let size = found.f_bsize as u64;
        let blocks = bytes / size;
        sys::check(libc::ioctl(root.as_raw_fd(), EXT4_IOC_RESIZE_FS, &blocks))?;
        Ok(blocks * size)
    }
}
