//! Sixteen f32 lanes: the vector that the row ops and attention are written in, once for all
//! instruction sets, and [`multiversion!`], which compiles such code for each of them.
//!
//! **Invariant:** `Avx512`, `Avx2` and `Neon` give the same bits in every operation, reductions
//! included. [`Portable`] does too where the target has fused multiply-add by default; elsewhere
//! [`Lanes::mul_add`] rounds twice. Which level runs is decided in [`crate::dispatch`].

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512, pair_lanes, pair_neighbouring_lanes};

/// Lanes in a vector.
pub(crate) const LANES: usize = 16;

/// Sixteen f32 values. Everything is inlined into a function that has the instruction set
/// enabled, see [`multiversion!`]; NaN is handled as the comments say.
pub(crate) trait Lanes: Copy {
    /// Whether there are registers for 24 accumulators; otherwise 4 can be held.
    const MANY_REGISTERS: bool;

    fn splat(x: f32) -> Self;
    /// # Safety
    /// 16 values at `from` are readable.
    unsafe fn load_from(from: *const f32) -> Self;
    /// # Safety
    /// 16 values at `to` are writable.
    unsafe fn store_to(self, to: *mut f32);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn sqrt(self) -> Self;
    /// `self * factor + summand`.
    fn mul_add(self, factor: Self, summand: Self) -> Self;
    /// The greater; `other` where either is NaN.
    fn max(self, other: Self) -> Self;
    /// `yes` where `self < bound`, `no` elsewhere and where either is NaN.
    fn select_lt(self, bound: Self, yes: Self, no: Self) -> Self;
    /// The value whose bits are `self`'s shifted up by the 23 bits of the mantissa.
    fn mantissa_to_exponent(self) -> Self;
    /// Of a pair of bf16 the even one, in the low half, as f32.
    fn even_of_pair(self) -> Self;
    /// Of a pair of bf16 the odd one as f32.
    fn odd_of_pair(self) -> Self;
    /// The pair with 0 in the place of the odd one.
    fn pair_without_odd(self) -> Self;
    /// Sum by halves: lanes i and i + 8, then i and i + 4, i + 2, i + 1.
    fn reduce_add(self) -> f32;
    /// Maximum by the same halves.
    fn reduce_max(self) -> f32;

    #[inline(always)]
    fn load(from: &[f32; LANES]) -> Self {
        // SAFETY: the array has 16 values.
        unsafe { Self::load_from(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, to: &mut [f32; LANES]) {
        // SAFETY: the array has 16 values.
        unsafe { self.store_to(to.as_mut_ptr()) }
    }

    /// Values `start..start + 16` of `from`, lanes past its end `fill`.
    #[inline(always)]
    fn load_at(from: &[f32], start: usize, fill: f32) -> Self {
        match from.get(start..start + LANES) {
            // SAFETY: these are 16 values.
            Some(all) => unsafe { Self::load_from(all.as_ptr()) },
            None => Self::load(&pad(&from[start..], fill)),
        }
    }

    /// Overwrites the values `start..start + 16` of `to`, up to its end.
    #[inline(always)]
    fn store_at(self, to: &mut [f32], start: usize) {
        match to.get_mut(start..start + LANES) {
            // SAFETY: these are 16 values.
            Some(all) => unsafe { self.store_to(all.as_mut_ptr()) },
            None => {
                let mut lanes = [0.0; LANES];
                self.store(&mut lanes);
                let to = &mut to[start..];
                to.copy_from_slice(&lanes[..to.len()]);
            }
        }
    }
}

#[cold]
fn pad(values: &[f32], fill: f32) -> [f32; LANES] {
    let mut lanes = [fill; LANES];
    lanes[..values.len()].copy_from_slice(values);
    lanes
}

/// `⟨a, b⟩`: one chain of multiply-adds a lane, then [`Lanes::reduce_add`].
#[inline(always)]
pub(crate) fn dot<V: Lanes>(a: &[f32], b: &[f32]) -> f32 {
    let b = &b[..a.len()];
    let mut sum = V::splat(0.0);
    for start in (0..a.len()).step_by(LANES) {
        sum = V::load_at(a, start, 0.0).mul_add(V::load_at(b, start, 0.0), sum);
    }
    sum.reduce_add()
}

/// The transposed block.
#[inline(always)]
pub(crate) fn transpose_4x4(rows: [&[f32; 4]; 4]) -> [[f32; 4]; 4] {
    #[cfg(target_arch = "x86_64")]
    {
        x86::transpose_4x4(rows)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::array::from_fn(|i| rows.map(|row| row[i]))
    }
}

/// Defines a function as the generic `$body::<V>` compiled for every instruction set, and runs
/// the one of [`crate::dispatch::level`]. `$body` must be `#[inline(always)]`.
macro_rules! multiversion {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?
            = $body:ident
    ) => {
        $(#[$attribute])*
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx2,fma")]
                fn avx512($($argument: $type),*) $(-> $result)? {
                    $body::<$crate::simd::Avx512>($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) $(-> $result)? {
                    $body::<$crate::simd::Avx2>($($argument),*)
                }
                match $crate::dispatch::level() {
                    // SAFETY: `level` is supported by the machine.
                    $crate::dispatch::SimdLevel::Avx512 => return unsafe { avx512($($argument),*) },
                    // SAFETY: as above.
                    $crate::dispatch::SimdLevel::Avx2 => return unsafe { avx2($($argument),*) },
                    $crate::dispatch::SimdLevel::Portable | $crate::dispatch::SimdLevel::Neon => {}
                }
            }
            #[cfg(target_arch = "aarch64")]
            {
                #[target_feature(enable = "neon")]
                fn neon($($argument: $type),*) $(-> $result)? {
                    $body::<$crate::simd::Neon>($($argument),*)
                }
                if $crate::dispatch::level() == $crate::dispatch::SimdLevel::Neon {
                    // SAFETY: `level` is supported by the machine.
                    return unsafe { neon($($argument),*) };
                }
            }
            $body::<$crate::simd::Portable>($($argument),*)
        }
    };
}
pub(crate) use multiversion;

/// Plain arrays, vectorised by the compiler.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut result = self;
        for i in 0..LANES {
            result.0[i] = f(self.0[i], other.0[i]);
        }
        result
    }

    #[inline(always)]
    fn reduce(self, f: impl Fn(f32, f32) -> f32) -> f32 {
        let mut x = self.0;
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                x[i] = f(x[i], x[i + half]);
            }
        }
        x[0]
    }
}

#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

impl Lanes for Portable {
    const MANY_REGISTERS: bool = false;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; LANES])
    }
    #[inline(always)]
    unsafe fn load_from(from: *const f32) -> Self {
        // SAFETY: the caller's promise; an array of f32 is aligned as f32.
        Self(unsafe { from.cast::<[f32; LANES]>().read() })
    }
    #[inline(always)]
    unsafe fn store_to(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { to.cast::<[f32; LANES]>().write(self.0) }
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.zip(self, |a, _| a.sqrt())
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        let mut result = self;
        for i in 0..LANES {
            result.0[i] = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                self.0[i].mul_add(factor.0[i], summand.0[i])
            } else {
                self.0[i] * factor.0[i] + summand.0[i]
            };
        }
        result
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, greater)
    }
    #[inline(always)]
    fn select_lt(self, bound: Self, yes: Self, no: Self) -> Self {
        let mut result = no;
        for i in 0..LANES {
            if self.0[i] < bound.0[i] {
                result.0[i] = yes.0[i];
            }
        }
        result
    }
    #[inline(always)]
    fn mantissa_to_exponent(self) -> Self {
        self.zip(self, |a, _| f32::from_bits(a.to_bits() << 23))
    }
    #[inline(always)]
    fn even_of_pair(self) -> Self {
        self.zip(self, |a, _| f32::from_bits(a.to_bits() << 16))
    }
    #[inline(always)]
    fn odd_of_pair(self) -> Self {
        self.zip(self, |a, _| f32::from_bits(a.to_bits() & 0xffff_0000))
    }
    #[inline(always)]
    fn pair_without_odd(self) -> Self {
        self.zip(self, |a, _| f32::from_bits(a.to_bits() & 0xffff))
    }
    #[inline(always)]
    fn reduce_add(self) -> f32 {
        self.reduce(|a, b| a + b)
    }
    #[inline(always)]
    fn reduce_max(self) -> f32 {
        self.reduce(greater)
    }
}
