//! Named random streams: every draw in a run comes from a stream that is a pure function of
//! `(seed, purpose, step, index)`, so resuming equals never stopping and one thread equals many.
//!
//! A stream is the ChaCha8 keystream (stream id 0, block counter from 0) under the 256-bit key
//!
//! ```text
//! seed (8 bytes, little endian) | FNV-1a-64(purpose) | step | index
//! ```
//!
//! Two names give the same key only if two purposes collide under FNV-1a; the purposes of a run
//! are a handful of constants. ChaCha8 is a pseudo-random function of its key, so neighbouring
//! names need no further mixing.
//!
//! Every draw uses only integer arithmetic and IEEE operations that are rounded exactly
//! (`+ - * /` and square root; the logarithm is this module's own), hence the same values on
//! every platform. The golden values in the tests pin all of it: changing any of them changes
//! every run ever recorded. Not for cryptography.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// A stream of random values, named by what it is for.
///
/// ```
/// use reseek_tensor::random::Stream;
/// let mut stream = Stream::new(7, "data-order", 3, 0);
/// let again = Stream::new(7, "data-order", 3, 0).next_u64();
/// assert_eq!(stream.next_u64(), again);
/// ```
#[derive(Clone, Debug)]
pub struct Stream {
    rng: ChaCha8Rng,
    /// Second value of the last pair that [`Stream::normal`] drew.
    spare_normal: Option<f64>,
}

impl Stream {
    /// The stream `(seed, purpose, step, index)`: `seed` of the run, `purpose` a constant of the
    /// calling module, `step` of the optimizer or the sampler, `index` of the item in the step.
    pub fn new(seed: u64, purpose: &str, step: u64, index: u64) -> Self {
        let mut key = [0_u8; 32];
        let words = [seed, fnv1a_64(purpose.as_bytes()), step, index];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self { rng: ChaCha8Rng::from_seed(key), spare_normal: None }
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Uniform in `[0, 1)`: a multiple of 2⁻⁵³, from the upper 53 bits of one draw.
    pub fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }

    /// Uniform in `0..n` without bias (Lemire, "Fast random integer generation in an interval",
    /// 2019: multiply, and draw again in the few cases that would favour some values).
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0): there is no value to draw");
        let n = n as u64;
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let reject_below = n.wrapping_neg() % n;
            while (product as u64) < reject_below {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as usize
    }

    /// Standard normal by Marsaglia's polar method, computed in f64. Values come in pairs: every
    /// second call draws nothing from the stream.
    pub fn normal(&mut self) -> f32 {
        if let Some(value) = self.spare_normal.take() {
            return value as f32;
        }
        loop {
            let u = 2.0 * self.uniform() - 1.0;
            let v = 2.0 * self.uniform() - 1.0;
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let scale = (-2.0 * ln(s) / s).sqrt();
                self.spare_normal = Some(v * scale);
                return (u * scale) as f32;
            }
        }
    }

    /// Overwrites `values`, in order, with normal ones of standard deviation `std`.
    pub fn fill_normal(&mut self, values: &mut [f32], std: f32) {
        values.iter_mut().for_each(|value| *value = std * self.normal());
    }

    /// Fisher–Yates: every order of `items` is equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

fn fnv1a_64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Natural logarithm of a positive normal number from exactly rounded operations only, because
/// the platforms' own differ in the last bit.
///
/// x = 2ᵉ·m with m in [√½, √2); ln m = 2·artanh(s), s = (m−1)/(m+1), |s| < 0.172, whose series
/// 2·(s + s³/3 + s⁵/5 + …) is cut where the next term is below 2⁻⁵³ of the first.
fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & MANTISSA) | (1023 << 52));
    if mantissa >= std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..=11).rev().fold(0.0, |sum, i| sum * square + 1.0 / f64::from(2 * i + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::ln;

    #[test]
    fn logarithm_agrees_with_the_platform() {
        let mut x = 1e-32_f64;
        while x < 1e3 {
            let want = x.ln();
            assert!((ln(x) - want).abs() <= 4e-16 * want.abs().max(1.0), "ln({x}) is {} instead of {want}", ln(x));
            x *= 1.000_37;
        }
        assert_eq!(ln(1.0), 0.0);
    }
}
