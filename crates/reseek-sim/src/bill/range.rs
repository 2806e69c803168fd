//! A low, a middle and a high value of one quantity.

use serde::{Deserialize, Serialize};

/// Low, middle and high of one quantity; equal where it is exact. Adding and multiplying take the ends together, so a sum of
/// ranges is wider than an interval of independent errors would be: nobody knows how such errors hang together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Range {
    /// The lowest that is thought possible.
    pub low: f64,
    /// The best guess.
    pub mid: f64,
    /// The highest that is thought possible.
    pub high: f64,
}

/// How a range may be written: a number, three of them, or by name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Exact(f64),
    Three([f64; 3]),
    Named { low: f64, mid: f64, high: f64 },
}

impl From<Written> for Range {
    fn from(written: Written) -> Self {
        match written {
            Written::Exact(value) => Self::exact(value),
            Written::Three([low, mid, high]) | Written::Named { low, mid, high } => Self { low, mid, high },
        }
    }
}

impl Range {
    /// Nothing.
    pub const ZERO: Self = Self::exact(0.0);

    /// A quantity without doubt.
    pub const fn exact(value: f64) -> Self {
        Self { low: value, mid: value, high: value }
    }

    /// A quantity between two ends.
    pub const fn new(low: f64, mid: f64, high: f64) -> Self {
        Self { low, mid, high }
    }

    /// Ends added to ends.
    pub fn plus(self, other: Self) -> Self {
        Self::new(self.low + other.low, self.mid + other.mid, self.high + other.high)
    }

    /// Ends multiplied by ends; right for quantities that are not negative.
    pub fn times(self, other: Self) -> Self {
        Self::new(self.low * other.low, self.mid * other.mid, self.high * other.high)
    }

    /// Ends divided by the opposite ends; right for quantities that are positive.
    pub fn over(self, other: Self) -> Self {
        Self::new(self.low / other.high, self.mid / other.mid, self.high / other.low)
    }

    /// Why this cannot be a quantity of at least `floor`, or nothing.
    pub(super) fn fault(&self, floor: f64) -> Option<String> {
        let values = [self.low, self.mid, self.high];
        if let Some(value) = values.iter().find(|v| !v.is_finite()) {
            return Some(format!("{value} is no finite number"));
        }
        if let Some(value) = values.iter().find(|v| **v < floor) {
            return Some(format!("{value} is below {floor}"));
        }
        if self.low > self.mid || self.mid > self.high {
            return Some(format!("low {}, mid {}, high {} do not rise", self.low, self.mid, self.high));
        }
        None
    }
}

impl std::iter::Sum for Range {
    fn sum<I: Iterator<Item = Self>>(ranges: I) -> Self {
        ranges.fold(Self::ZERO, Self::plus)
    }
}
