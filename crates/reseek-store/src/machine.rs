//! What this machine is, from the standard library and /proc alone.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine of a run, as summary.json names it. Where the system does not say, texts are "unknown" and sizes 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Hardware threads that this process may use.
    pub cores: usize,
    /// Main memory.
    pub memory_bytes: u64,
    /// Operating system, its release and the processor architecture.
    pub os: String,
    /// Vector extensions of use to the kernels, widest last.
    pub simd: Vec<String>,
}

impl Machine {
    /// Looks at the machine that this process runs on.
    pub fn detect() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let release = read("/proc/sys/kernel/osrelease");
        let os = [std::env::consts::OS, release.trim(), std::env::consts::ARCH];
        Self {
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal").and_then(kibibytes).unwrap_or(0),
            os: os.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "),
            simd: simd().into_iter().map(str::to_owned).collect(),
        }
    }
}

/// Most memory that this process has held at once, or 0 where the system does not say.
pub fn peak_memory_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmHWM").and_then(kibibytes).unwrap_or(0)
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// Bytes of `N kB`, by which /proc means KiB.
fn kibibytes(value: &str) -> Option<u64> {
    value.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(target_arch = "x86_64")]
fn simd() -> Vec<&'static str> {
    let found = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ];
    found.into_iter().filter(|&(_, has)| has).map(|(name, _)| name).collect()
}

#[cfg(target_arch = "aarch64")]
fn simd() -> Vec<&'static str> {
    vec!["neon"]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_fields_are_read() {
        let meminfo = "MemTotal:       32791628 kB\nMemFree:         1 kB\n";
        assert_eq!(field(meminfo, "MemTotal").and_then(kibibytes), Some(32_791_628 * 1024));
        assert_eq!(field("model name\t: Some CPU @ 2.0: GHz\n", "model name"), Some("Some CPU @ 2.0: GHz"));
        assert_eq!(field("", "VmHWM"), None);
        assert_eq!(kibibytes("18446744073709551615 kB"), None);
    }

    #[test]
    fn this_machine_has_a_core_and_a_system() {
        let machine = Machine::detect();
        assert!(machine.cores >= 1);
        assert!(machine.os.starts_with(std::env::consts::OS));
    }
}
