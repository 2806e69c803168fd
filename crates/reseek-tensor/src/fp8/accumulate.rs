//! Sums as the tensor cores of a Hopper GPU make them in fp8, emulated slowly and clearly, for experiments on their error.
//!
//! A tensor core takes 32 products at once, shifts them and the sum so far to the exponent of the greatest, cuts off what lies below a
//! fixed number of bits, and adds (V3 report, 3.3.2 and 3.5.2). Each step loses up to a unit in that last place of the *sum*, always toward 0,
//! so over a long k with terms of one sign the error grows with k. V3 therefore moves the sum to an f32 every 128 places.

/// Products that a tensor core adds in one step: k of `wgmma` in fp8.
const STEP: usize = 32;

/// How a long sum is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accumulator {
    /// Bits that are kept behind the leading bit of the greatest term. The report says "around 14 bits".
    pub fraction_bits: i32,
    /// Places after which the sum is added to an f32 and begins again at 0: V3's N_C is 128.
    pub promote_every: Option<usize>,
}

impl Accumulator {
    /// Σ a·b of values that E4M3 holds.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn dot(self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len(), "a dot product of different lengths");
        let interval = self.promote_every.unwrap_or(a.len()).max(1);
        let parts = a.chunks(interval).zip(b.chunks(interval));
        parts.fold(0.0, |total, (a, b)| total + self.unpromoted(a, b) as f32)
    }

    /// The same in one go; f64 holds every product and every cut sum exactly.
    fn unpromoted(self, a: &[f32], b: &[f32]) -> f64 {
        a.chunks(STEP).zip(b.chunks(STEP)).fold(0.0, |sum, (a, b)| {
            let products = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b));
            let terms = || products.clone().chain([sum]);
            let greatest = terms().fold(0.0, |greatest: f64, term| greatest.max(term.abs()));
            if greatest == 0.0 {
                return 0.0;
            }
            let unit = (greatest.log2().floor() - f64::from(self.fraction_bits)).exp2();
            terms().map(|term| (term / unit).trunc() * unit).sum()
        })
    }
}
