//! The two floating-point formats of 8 bits (Micikevicius et al., "FP8 formats for deep learning", 2022), slowly and by definition.

use super::AMAX_FLOOR;

/// How 8 bits are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Four bits of exponent, three of mantissa, no infinity, up to 448: V3 uses it for every operand.
    E4M3,
    /// Five bits of exponent, two of mantissa, up to 57,344: what others use for gradients.
    E5M2,
}

impl Format {
    /// The greatest finite value.
    pub fn greatest(self) -> f32 {
        match self {
            Self::E4M3 => 448.0,
            Self::E5M2 => 57_344.0,
        }
    }

    fn mantissa_bits(self) -> i32 {
        match self {
            Self::E4M3 => 3,
            Self::E5M2 => 2,
        }
    }

    /// Exponent of the least normal value.
    fn least_exponent(self) -> i32 {
        match self {
            Self::E4M3 => -6,
            Self::E5M2 => -14,
        }
    }

    /// The value next to `x`, of two the even one; what is greater than the greatest (infinity, too) becomes the greatest. NaN stays.
    pub fn round(self, x: f32) -> f32 {
        if x.is_nan() {
            return x;
        }
        let x = x.clamp(-self.greatest(), self.greatest());
        let exponent = f64::from(x.abs()).log2().floor() as i32;
        let exponent = if x == 0.0 { self.least_exponent() } else { exponent.max(self.least_exponent()) };
        let step = f64::from(exponent - self.mantissa_bits()).exp2();
        let rounded = (f64::from(x) / step).round_ties_even() * step;
        rounded as f32
    }

    /// (scale, its inverse) of a tile with greatest magnitude `amax`; (NaN, 0) where that is not finite.
    pub fn scale_of(self, amax: f32) -> (f32, f32) {
        if !amax.is_finite() {
            return (f32::NAN, 0.0);
        }
        let amax = amax.max(AMAX_FLOOR);
        (amax / self.greatest(), self.greatest() / amax)
    }

    /// Rounds the values of one tile and returns its scale: what they stand for is scale × value.
    pub fn quantise<'a>(self, tile: impl IntoIterator<Item = &'a mut f32>) -> f32 {
        let tile: Vec<&mut f32> = tile.into_iter().collect();
        let greater = |a: f32, x: f32| if x > a || x.is_nan() { x } else { a };
        let amax = tile.iter().fold(0.0, |amax, x| if f32::is_nan(amax) { amax } else { greater(amax, x.abs()) });
        let (scale, inverse) = self.scale_of(amax);
        tile.into_iter().for_each(|x| *x = self.round(*x * inverse));
        scale
    }
}

/// The E4M3 value of `code`: sign, four bits of exponent with bias 7 (0 for subnormal values), three of mantissa. 0x7f and 0xff are NaN.
pub fn decode_e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2.0_f32.powi(-9),
        _ => (8.0 + mantissa) * 2.0_f32.powi(exponent - 10),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}
