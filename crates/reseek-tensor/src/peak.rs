//! This machine's peak rate of multiply-adds, the yardstick for every kernel: chains in registers,
//! without a load or a store.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::compute::Compute;
use crate::dispatch::{self, SimdLevel, multiply_add};
use crate::dtype::Dtype;
use crate::pool;

/// Steps of all chains between two looks at the clock: some microseconds.
const STEPS: usize = 1000;

/// Most GFLOP/s (one FMA is two operations) that one thread reaches at the level of
/// [`dispatch::level`] in `millis` milliseconds: the best of many short windows, because other
/// load and the clock's ramp only ever slow it down.
pub fn fma_peak_gflops(millis: u64, compute: impl Into<Compute>) -> f64 {
    let dtype = compute.into().dtype();
    let level = dispatch::level();
    let window = Duration::from_micros((millis * 1000 / 20).max(50));
    let start = Instant::now();
    let mut best = 0.0_f64;
    loop {
        best = best.max(window_gflops(level, dtype, window));
        if start.elapsed() >= Duration::from_millis(millis) {
            return best;
        }
    }
}

/// As [`fma_peak_gflops`], the sum over all threads of the pool running at the same time: each
/// one's mean over `millis`, because here the load of the others is part of the answer.
pub fn fma_peak_gflops_of_pool(millis: u64, compute: impl Into<Compute>) -> f64 {
    let dtype = compute.into().dtype();
    let level = dispatch::level();
    let window = Duration::from_millis(millis.max(1));
    pool::map_lanes(0..pool::threads(), |_| window_gflops(level, dtype, window)).iter().sum()
}

fn window_gflops(level: SimdLevel, dtype: Dtype, window: Duration) -> f64 {
    let start = Instant::now();
    let mut operations = 0;
    loop {
        operations += chains(level, dtype);
        let elapsed = start.elapsed();
        if elapsed >= window {
            return operations as f64 / elapsed.as_secs_f64() / 1e9;
        }
    }
}

/// Runs [`STEPS`] steps of enough chains to hide the latency; returns the number of operations.
/// Where bf16 has no instruction of its own, its peak is that of f32.
fn chains(level: SimdLevel, dtype: Dtype) -> usize {
    match (level, dtype) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine supports the instructions.
        (SimdLevel::Avx512, Dtype::Bf16) if dtype.is_native() => unsafe { x86::chains_avx512_bf16() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: dispatch only returns levels that the machine supports.
        (SimdLevel::Avx512, _) => unsafe { x86::chains_avx512() },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        (SimdLevel::Avx2, _) => unsafe { x86::chains_avx2() },
        // On AArch64 this is also the peak of NEON, which the compiler makes of it.
        _ => chains_portable(),
    }
}

fn chains_portable() -> usize {
    /// Vectors of four values that fit into the registers of the target's baseline.
    const CHAINS: usize = if cfg!(target_arch = "aarch64") { 24 } else { 12 };
    let (factor, summand) = (black_box([0.5_f32; 4]), black_box([0.5_f32; 4]));
    let mut sums = black_box([[0.0_f32; 4]; CHAINS]);
    for _ in 0..STEPS {
        for sum in &mut sums {
            for lane in 0..4 {
                sum[lane] = multiply_add(sum[lane], factor[lane], summand[lane]);
            }
        }
    }
    black_box(sums);
    2 * STEPS * 4 * CHAINS
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_fmadd_ps, _mm256_set1_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_set1_ps,
    };
    use std::hint::black_box;

    use super::STEPS;

    /// Two FMAs a cycle with a latency of at most five, and registers left over.
    const CHAINS: usize = 12;

    #[target_feature(enable = "avx512f")]
    pub(super) fn chains_avx512() -> usize {
        let (factor, summand) = (black_box(_mm512_set1_ps(0.5)), black_box(_mm512_set1_ps(0.5)));
        let mut sums = black_box([summand; CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, summand);
            }
        }
        black_box(sums);
        2 * STEPS * 16 * CHAINS
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn chains_avx512_bf16() -> usize {
        let ones = _mm512_set1_ps(1.0);
        let pairs = black_box(_mm512_cvtne2ps_pbh(ones, ones));
        let mut sums = black_box([ones; CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, pairs, pairs);
            }
        }
        black_box(sums);
        4 * STEPS * 16 * CHAINS
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn chains_avx2() -> usize {
        let (factor, summand) = (black_box(_mm256_set1_ps(0.5)), black_box(_mm256_set1_ps(0.5)));
        let mut sums = black_box([summand; CHAINS]);
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, summand);
            }
        }
        black_box(sums);
        2 * STEPS * 8 * CHAINS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_rate() {
        for level in SimdLevel::ALL.into_iter().filter(|level| level.is_supported()) {
            for dtype in [Dtype::F32, Dtype::Bf16] {
                let rate = dispatch::with_level(level, || fma_peak_gflops(1, dtype));
                assert!(rate.is_finite() && rate > 0.0, "{level} {dtype}: {rate} GFLOP/s");
            }
        }
        assert!(fma_peak_gflops_of_pool(1, Dtype::F32) > 0.0);
    }
}
