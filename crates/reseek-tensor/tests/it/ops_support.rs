//! What the tests of the ops share: values, levels, and differences of f64 references.

use reseek_tensor::dispatch::{SimdLevel, with_level};
use reseek_tensor::numeric::{assert_close, assert_same_bits};
use reseek_tensor::random::Stream;

/// Standard normal values, the same for the same name and length.
pub fn normal(len: usize, name: &str) -> Vec<f32> {
    let mut stream = Stream::new(3, name, len as u64, 0);
    (0..len).map(|_| stream.normal()).collect()
}

/// Values with which arithmetic goes differently.
pub const SPECIAL: [f32; 12] = [
    0.0,
    -0.0,
    1e-40,
    -3e-39,
    f32::MIN_POSITIVE,
    1e-36,
    -1e30,
    3e38,
    f32::MIN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

/// [`normal`] values with some of `special` among them, one in `every`.
pub fn sprinkled(len: usize, name: &str, special: &[f32], every: usize) -> Vec<f32> {
    let mut stream = Stream::new(4, name, len as u64, 0);
    let mut values = normal(len, name);
    for _ in 0..len.div_ceil(every) {
        if len > 0 {
            values[stream.below(len)] = special[stream.below(special.len())];
        }
    }
    values
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

/// Runs `compute` at every level that fuses multiply-adds, and compares the bits (any NaN equals any NaN).
#[track_caller]
pub fn check_bits_at_every_level(what: &str, compute: impl Fn() -> Vec<f32>) {
    let mut fused: Option<Vec<f32>> = None;
    for level in levels().filter(|level| level.is_fused()) {
        let got = with_level(level, &compute);
        assert_same_bits(&format!("{what} at {level}"), &got, fused.get_or_insert_with(|| got.clone()), &[got.len()]);
    }
}

pub fn levels() -> impl Iterator<Item = SimdLevel> {
    SimdLevel::ALL.into_iter().filter(|level| level.is_supported())
}
