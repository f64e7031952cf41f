//! Resource usage of processes, from Linux's `/proc`. `None` where that is not available.

use std::fs;
use std::time::Duration;

/// CPU time that these processes have used so far.
pub fn cpu(pids: &[u32]) -> Option<Duration> {
    pids.iter().map(|pid| cpu_of(*pid)).sum()
}

fn cpu_of(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name in parentheses, user and system time are the 12th and 13th; in hundredths of a second.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks()? + ticks()?)))
}

/// Time in which the cores of this machine were not used, in total so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unused {
    pub idle: Duration,
    /// Idle, waiting for the disk.
    pub disk: Duration,
    /// The machine is virtual, and another one had the core.
    pub stolen: Duration,
}

pub fn unused() -> Option<Unused> {
    unused_of(&fs::read_to_string("/proc/stat").ok()?)
}

fn unused_of(stat: &str) -> Option<Unused> {
    // user, nice, system, idle, iowait, irq, softirq, steal; in hundredths of a second.
    let fields: Vec<u64> = (stat.lines().next()?.strip_prefix("cpu ")?)
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let time = |place: usize| Some(Duration::from_millis(10 * fields.get(place)?));
    Some(Unused {
        idle: time(3)?,
        disk: time(4)?,
        stolen: time(7)?,
    })
}

/// Bytes in memory now.
pub fn resident(pids: &[u32]) -> Option<u64> {
    pids.iter().map(|pid| status(*pid, "VmRSS:")).sum()
}

/// Most bytes ever in memory.
pub fn peak(pids: &[u32]) -> Option<u64> {
    pids.iter().map(|pid| status(*pid, "VmHWM:")).sum()
}

fn status(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kib(&status, name)
}

/// Bytes that the kernel holds in its own structures, sockets among them, and in the buffers of TCP.
pub fn kernel() -> Option<u64> {
    let slab = kib(&fs::read_to_string("/proc/meminfo").ok()?, "Slab:")?;
    let sockets = fs::read_to_string("/proc/net/sockstat").ok()?;
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:"))?;
    let pages: u64 = tcp.rsplit_once("mem ")?.1.trim().parse().ok()?;
    Some(slab + pages * 4096)
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_unused_is_read_from_the_first_line() {
        let stat = "cpu  10 20 30 400 50 60 70 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        let unused = Unused {
            idle: Duration::from_secs(4),
            disk: Duration::from_millis(500),
            stolen: Duration::from_millis(80),
        };
        assert_eq!(unused_of(stat), Some(unused));
        assert_eq!(unused_of("cpu  1 2"), None);
        assert!(super::unused().is_some());
    }

    #[test]
    fn this_process_uses_something() {
        let me = [std::process::id()];
        assert!(resident(&me).is_some_and(|bytes| bytes > 100_000));
        assert!(peak(&me).is_some_and(|bytes| bytes > 100_000));
        assert!(cpu(&me).is_some());
        assert!(kernel().is_some_and(|bytes| bytes > 100_000));
        assert_eq!(cpu(&[u32::MAX]), None);
    }
}
