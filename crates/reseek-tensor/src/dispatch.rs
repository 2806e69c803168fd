//! Which vector instructions the kernels use: found at run time once, or forced down by
//! `RESEEK_SIMD` (`avx512`, `avx2`, `neon` or `portable`) to compare or to work around a machine.
//!
//! AVX-512, AVX2 and NEON give the same bits: the same chains of fused multiply-adds, only in
//! registers of other widths. The portable kernels give those bits too where the target has fused multiply-add
//! by default (AArch64); on x86 they multiply, round and then add.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;

use crate::env::EnvError;

/// Environment variable that forces a level.
pub const SIMD_ENV: &str = "RESEEK_SIMD";

/// Whether the instructions that the compiler may use everywhere include fused multiply-add.
const BASELINE_HAS_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// Kernel family. A value is only used for kernels after [`SimdLevel::is_supported`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimdLevel {
    /// Plain Rust, vectorised by the compiler for the target's baseline.
    Portable,
    /// AArch64 with NEON, which every such processor under an operating system has.
    Neon,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512F (and AVX2 and FMA, which every such processor has).
    Avx512,
}

impl SimdLevel {
    /// All levels, from the narrowest up.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Neon, Self::Avx2, Self::Avx512];

    /// Whether this machine can run the level's kernels.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(not(target_arch = "aarch64"))]
            Self::Neon => false,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Self::Avx2.is_supported() && is_x86_feature_detected!("avx512f"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Whether a matmul at this level is one chain of fused multiply-adds, so that its bits are
    /// those of every other level for which this is true.
    pub fn is_fused(self) -> bool {
        self != Self::Portable || BASELINE_HAS_FMA
    }

    fn best() -> Self {
        let supported = |level: &Self| level.is_supported();
        Self::ALL.into_iter().rev().find(supported).unwrap_or(Self::Portable)
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

/// a·b + c of the portable kernels: fused where the baseline has the instruction; elsewhere
/// `mul_add` would be a library call.
#[inline(always)]
pub(crate) fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if BASELINE_HAS_FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The level of this thread's kernels. Always supported by the machine.
///
/// # Panics
/// If `RESEEK_SIMD` is set wrongly; [`crate::env::check`] reports the same as an error.
pub fn level() -> SimdLevel {
    static LEVEL: OnceLock<SimdLevel> = OnceLock::new();
    FORCED.get().unwrap_or_else(|| *LEVEL.get_or_init(|| from_env().unwrap_or_else(|error| panic!("{error}"))))
}

/// Runs `f` with every kernel called from this thread at `level`: for tests that compare levels
/// and benches that measure them.
///
/// # Panics
/// If the machine does not support `level`.
pub fn with_level<R>(level: SimdLevel, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<SimdLevel>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCED.set(self.0);
        }
    }
    assert!(level.is_supported(), "this machine has no {level}");
    let _restore = Restore(FORCED.replace(Some(level)));
    f()
}

/// The level that `RESEEK_SIMD` asks for, or the best one.
///
/// # Errors
/// If the variable names no level, or one that this machine lacks.
pub(crate) fn from_env() -> Result<SimdLevel, EnvError> {
    let Some(text) = crate::env::read(SIMD_ENV)? else {
        return Ok(SimdLevel::best());
    };
    parse(&text, SimdLevel::is_supported)
}

fn parse(text: &str, is_supported: impl Fn(SimdLevel) -> bool) -> Result<SimdLevel, EnvError> {
    let error = |expected: String| Err(EnvError::new(SIMD_ENV, text, expected));
    let mut levels = SimdLevel::ALL.into_iter();
    match levels.find(|level| level.to_string() == text) {
        None => error(names(|_| true)),
        Some(level) if !is_supported(level) => error(format!("{}: this machine has no {level}", names(is_supported))),
        Some(level) => Ok(level),
    }
}

/// The names of some levels, the widest first: `avx2 or portable`.
fn names(of: impl Fn(SimdLevel) -> bool) -> String {
    let names: Vec<String> =
        SimdLevel::ALL.into_iter().rev().filter(|&level| of(level)).map(|level| level.to_string()).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

thread_local! {
    static FORCED: Cell<Option<SimdLevel>> = const { Cell::new(None) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_refuses() {
        for level in SimdLevel::ALL {
            assert_eq!(parse(&level.to_string(), |_| true), Ok(level));
        }
        let without_avx512 = |level| matches!(level, SimdLevel::Avx2 | SimdLevel::Portable);
        let message = |text| parse(text, without_avx512).unwrap_err().to_string();
        assert_eq!(
            message("sse9"),
            "RESEEK_SIMD=sse9 will not do: it takes avx512, avx2, neon or portable. Unset RESEEK_SIMD for the default."
        );
        assert!(message("avx512").contains("it takes avx2 or portable: this machine has no avx512"));
        // NEON stands below AVX2 in the list and is not on its machines.
        assert!(message("neon").contains("this machine has no neon"));
        assert!(
            parse("avx2", |level| level == SimdLevel::Portable).unwrap_err().to_string().contains("it takes portable:")
        );
    }

    #[test]
    fn a_forced_level_ends_with_its_scope() {
        let before = level();
        assert_eq!(with_level(SimdLevel::Portable, level), SimdLevel::Portable);
        let panicked = std::panic::catch_unwind(|| with_level(SimdLevel::Portable, || panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(level(), before);
    }
}
