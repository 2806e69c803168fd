//! One measure of difference for all tests and parity checks; a failure names the first bad
//! coordinate.

use std::fmt;

/// How far `got` is from `want`.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Largest |got − want| over the largest |want| (over 1 where `want` is all zero).
    pub worst: f64,
    /// ‖got − want‖₂ / ‖want‖₂ (over 1 where `want` is all zero).
    pub relative_l2: f64,
    /// Values off by more than the tolerance times the largest |want|.
    pub n_bad: usize,
    /// The first of those in row-major order.
    pub first_bad: Option<Bad>,
}

/// A value that is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Bad {
    /// Its place in each dimension.
    pub coordinate: Vec<usize>,
    /// The value compared.
    pub got: f32,
    /// The value that it should be near.
    pub want: f32,
}

/// Compares row-major values of the given shape. NaN equals NaN and an infinity itself; any other
/// pair with a non-finite value is bad whatever the tolerance, and makes both ratios infinite.
///
/// # Panics
/// If the lengths differ from each other or from the shape.
pub fn difference(got: &[f32], want: &[f32], shape: &[usize], tolerance: f64) -> Difference {
    assert_eq!(got.len(), want.len(), "got {} values, want {}", got.len(), want.len());
    assert_eq!(got.len(), shape.iter().product::<usize>(), "shape {shape:?} does not fit {} values", got.len());
    let or_one = |x: f64| if x > 0.0 { x } else { 1.0 };
    let finite = || want.iter().filter(|w| w.is_finite()).map(|&w| f64::from(w));
    let scale = or_one(finite().fold(0.0, |largest, w| w.abs().max(largest)));
    let norm = or_one(finite().map(|w| w * w).sum::<f64>().sqrt());

    let (mut largest, mut squares, mut n_bad, mut first_bad) = (0.0_f64, 0.0, 0, None);
    for (index, (&g, &w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan());
        let off = match (same, g.is_finite() && w.is_finite()) {
            (true, _) => 0.0,
            (false, true) => (f64::from(g) - f64::from(w)).abs(),
            (false, false) => f64::INFINITY,
        };
        largest = largest.max(off);
        squares += off * off;
        if off > tolerance * scale {
            n_bad += 1;
            first_bad.get_or_insert_with(|| Bad { coordinate: coordinate(index, shape), got: g, want: w });
        }
    }
    Difference { worst: largest / scale, relative_l2: squares.sqrt() / norm, n_bad, first_bad }
}

/// Panics unless every value is within `tolerance` times the largest |want|; `what` names the
/// compared quantity in the message.
///
/// # Panics
/// See above, and as [`difference`].
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], want: &[f32], shape: &[usize], tolerance: f64) {
    let found = difference(got, want, shape, tolerance);
    assert!(found.n_bad == 0, "{what} {shape:?}, tolerance {tolerance:e}: {found}");
}

/// Panics unless both slices hold the same bits (any NaN equals any NaN).
///
/// # Panics
/// See above, and as [`difference`].
#[track_caller]
pub fn assert_same_bits(what: &str, got: &[f32], want: &[f32], shape: &[usize]) {
    assert_eq!(got.len(), want.len(), "{what}: got {} values, want {}", got.len(), want.len());
    let differs = |(g, w): (&f32, &f32)| g.to_bits() != w.to_bits() && !(g.is_nan() && w.is_nan());
    if let Some(index) = got.iter().zip(want).position(differs) {
        let (g, w) = (got[index], want[index]);
        panic!(
            "{what} {shape:?}: other bits at {:?}: got {g:e} ({:#010x}), want {w:e} ({:#010x})",
            coordinate(index, shape),
            g.to_bits(),
            w.to_bits()
        );
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worst {:.3e}, relative L2 {:.3e}", self.worst, self.relative_l2)?;
        if let Some(Bad { coordinate, got, want }) = &self.first_bad {
            write!(f, ", {} bad, first at {coordinate:?}: got {got:e}, want {want:e}", self.n_bad)?;
        }
        Ok(())
    }
}

fn coordinate(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut coordinate = vec![0; shape.len()];
    for (place, &size) in coordinate.iter_mut().zip(shape).rev() {
        *place = index % size;
        index /= size;
    }
    coordinate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_bad_coordinate() {
        let want = [0.0, 1.0, -2.0, 4.0, 0.5, 0.0];
        let mut got = want;
        assert_eq!(difference(&got, &want, &[2, 3], 0.0).worst, 0.0);
        got[4] = 0.75;
        got[5] = -0.25;
        let found = difference(&got, &want, &[2, 3], 0.01);
        assert_eq!((found.worst, found.n_bad), (0.0625, 2));
        assert_eq!(found.first_bad.as_ref().map(|bad| bad.coordinate.clone()), Some(vec![1, 1]));
        assert!(found.to_string().contains("first at [1, 1]: got 7.5e-1, want 5e-1"));
        assert_eq!(difference(&got, &want, &[2, 3], 0.0625).n_bad, 0);
    }

    #[test]
    fn values_that_are_not_finite() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        assert_eq!(difference(&[nan, inf], &[nan, inf], &[2], 0.0).n_bad, 0);
        for (got, want) in [(nan, 1.0), (1.0, nan), (inf, 1.0), (inf, -inf), (1.0, inf)] {
            let found = difference(&[got], &[want], &[1], 1e30);
            assert_eq!((found.n_bad, found.worst), (1, f64::INFINITY), "{got} against {want}");
        }
    }

    #[test]
    #[should_panic(expected = "logits [2]: other bits at [1]: got -0e0 (0x80000000), want 0e0 (0x00000000)")]
    fn bits_tell_the_zeros_apart() {
        assert_same_bits("logits", &[1.0, -0.0], &[1.0, 0.0], &[2]);
    }
}
