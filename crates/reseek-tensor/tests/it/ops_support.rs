//! What the tests of the ops share: values, levels, and differences of f64 references.

use reseek_tensor::dispatch::{SimdLevel, with_level};
use reseek_tensor::numeric::{assert_close, assert_same_bits};
use reseek_tensor::random::Stream;

/// Standard normal values, the same for the same name and length.
pub fn normal(len: usize, name: &str) -> Vec<f32> {
    let mut stream = Stream::new(3, name, len as u64, 0);
    (0..len).map(|_| stream.normal()).collect()
}

pub fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

pub fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

pub fn inner(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum()
}

/// Gradient of `f` at `x` by central differences. In f64 they are good to about nine digits, so
/// the op's own f32 gradients can be held to tolerances near f32's rounding.
pub fn gradient(x: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f32> {
    const STEP: f64 = 1e-5;
    let mut x = widen(x);
    (0..x.len())
        .map(|i| {
            let at = x[i];
            x[i] = at + STEP;
            let above = f(&x);
            x[i] = at - STEP;
            let below = f(&x);
            x[i] = at;
            ((above - below) / (2.0 * STEP)) as f32
        })
        .collect()
}

/// Runs `compute` at every level of this machine. Each result must be close to `want`, and those
/// of the fused levels must have the same bits.
#[track_caller]
pub fn check_at_every_level(what: &str, shape: &[usize], want: &[f32], tolerance: f64, compute: impl Fn() -> Vec<f32>) {
    let mut fused: Option<Vec<f32>> = None;
    for level in levels() {
        let got = with_level(level, &compute);
        let what = format!("{what} at {level}");
        assert_close(&what, &got, want, shape, tolerance);
        if level.is_fused() {
            assert_same_bits(&what, &got, fused.get_or_insert_with(|| got.clone()), shape);
        }
    }
}

pub fn levels() -> impl Iterator<Item = SimdLevel> {
    SimdLevel::ALL.into_iter().filter(|level| level.is_supported())
}
