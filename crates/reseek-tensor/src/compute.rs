//! In which precision a model computes: what `compute` in a recipe and `--dtype` choose between.
//!
//! | | linear layers | head, attention | gate | sums, gradients, master weights |
//! |---|---|---|---|---|
//! | `f32` | f32 | f32 | f32 | f32 |
//! | `bf16` | bf16 | bf16 | f32 | f32 |
//! | `fp8` | E4M3 with scales, all three products ([`crate::fp8`]) | bf16 | f32 | f32 |

use std::fmt;
use std::str::FromStr;

use crate::dtype::Dtype;

/// The precision of a model's products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compute {
    /// Everything in f32.
    #[default]
    F32,
    /// Operands rounded to bf16.
    Bf16,
    /// Operands of linear layers in 8 bits with scales for tiles, as V3 was trained; the rest as in bf16.
    Fp8,
}

impl Compute {
    /// The format in which operands meet in the kernels; in fp8 also that of head and attention. (Every E4M3 value is a bf16 value.)
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 | Self::Fp8 => Dtype::Bf16,
        }
    }

    /// The format in which a product takes its left operand: in fp8 f32 values, which the product itself rounds tile by tile.
    pub fn operand_dtype(self) -> Dtype {
        match self {
            Self::F32 | Self::Fp8 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
        }
    }
}

impl From<Dtype> for Compute {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::F32 | Self::Bf16 => self.dtype().fmt(f),
            Self::Fp8 => f.write_str("fp8"),
        }
    }
}

impl FromStr for Compute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "fp8" => Ok(Self::Fp8),
            other => Err(format!("no dtype is called {other:?}; there are f32, bf16 and fp8")),
        }
    }
}
