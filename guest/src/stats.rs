//! What the kernel says of the machine, from /proc.

use std::ffi::CString;
use std::fs;
use std::io;

use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};

pub fn collect() -> Outcome<Value> {
    let text = |path: &str| fs::read_to_string(path).map_err(|error| Failure::of_io(path, &error));
    let (cpu_busy, cpu_total) = cpu(&text("/proc/stat")?);
    let memory = text("/proc/meminfo")?;
    let (disk_total, disk_available) = disk().map_err(|error| Failure::of_io("/", &error))?;
    Ok(json!({
        "uptime": uptime(&text("/proc/uptime")?), "cpu_busy": cpu_busy, "cpu_total": cpu_total,
        "memory_total": meminfo(&memory, "MemTotal:"), "memory_available": meminfo(&memory, "MemAvailable:"),
        "disk_total": disk_total, "disk_available": disk_available, "processes": processes(),
    }))
}

pub fn memory_total() -> Option<u64> {
    fs::read_to_string("/proc/meminfo")
        .ok()
        .map(|text| meminfo(&text, "MemTotal:"))
}

/// Seconds of all vCPUs since boot: (not idle, in all).
fn cpu(stat: &str) -> (f64, f64) {
    // user nice system idle iowait irq softirq steal; the guest's share is in user already.
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or("")
        .split_ascii_whitespace()
        .skip(1)
        .take(8)
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let total: u64 = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    // Linux tells 100 ticks a second to all programs.
    ((total - idle) as f64 / 100.0, total as f64 / 100.0)
}

fn uptime(text: &str) -> f64 {
    text.split_ascii_whitespace()
        .next()
        .and_then(|field| field.parse().ok())
        .unwrap_or(0.0)
}

/// Bytes.
fn meminfo(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib: Option<u64> = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    kib.unwrap_or(0) * 1024
}

fn processes() -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .count()
}

/// Bytes of the root file system: (in all, left for programs).
pub fn disk() -> io::Result<(u64, u64)> {
    let root = CString::from(c"/");
    // SAFETY: the path ends with a zero byte; `found` lives through the call.
    unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        crate::sys::check(libc::statvfs(root.as_ptr(), &mut found))?;
        Ok((found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_time_is_not_busy() {
        assert_eq!(cpu("cpu  100 0 100 700 100 0 0 0 55 0\ncpu0 1 1\n"), (2.0, 10.0));
        assert_eq!(cpu(""), (0.0, 0.0));
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(
            meminfo("MemTotal:       2048 kB\nMemAvailable:   1024 kB\n", "MemAvailable:"),
            1 << 20
        );
        assert_eq!(meminfo("", "MemTotal:"), 0);
    }
}
