//! Values put into blocks.

use half::{bf16, f16};

use super::BlockKind;

impl BlockKind {
    /// The kinds that [`BlockKind::encode`] writes.
    pub const WRITTEN: [Self; 6] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0, Self::Q4K];

    /// Appends the blocks of whole rows of values. F16 and BF16 are rounded to the nearest; Q8_0 and Q4_0 are rounded as ggml's reference does;
    /// for Q4_K scales and least values are searched.
    ///
    /// # Errors
    /// The index of a value that the kind cannot hold: one that is not finite where values share a scale, or one beyond f16's range.
    ///
    /// # Panics
    /// If the kind is not [`BlockKind::WRITTEN`], or the values are not whole blocks.
    pub fn encode(self, values: &[f32], out: &mut Vec<u8>) -> Result<(), usize> {
        let size = self.values_per_block();
        assert!(values.len().is_multiple_of(size), "{} values are not whole blocks of {self}", values.len());
        if let (true, Some(index)) = (self.is_quantised(), values.iter().position(|value| !value.is_finite())) {
            return Err(index);
        }
        out.reserve(values.len() / size * self.bytes_per_block());
        for (index, block) in values.chunks_exact(size).enumerate() {
            let done = match self {
                Self::F32 => single(Some(block[0].to_le_bytes()), out),
                Self::F16 => single(half_or_not_finite(block[0]).map(f16::to_le_bytes), out),
                Self::Bf16 => single(Some(bf16::from_f32(block[0]).to_le_bytes()), out),
                Self::Q8_0 => q8_0(block, out),
                Self::Q4_0 => q4_0(block, out),
                Self::Q4K => q4_k(block.as_chunks().0, out),
                _ => panic!("{self} is read and not written"),
            };
            done.ok_or(index * size)?;
        }
        Ok(())
    }
}

fn single<const SIZE: usize>(bytes: Option<[u8; SIZE]>, out: &mut Vec<u8>) -> Option<()> {
    out.extend(bytes?);
    Some(())
}

/// As [`to_half`], but what is not finite stays so.
fn half_or_not_finite(x: f32) -> Option<f16> {
    if x.is_finite() { to_half(x) } else { Some(f16::from_f32(x)) }
}

/// Rounded to the nearest, or nothing beyond its range.
fn to_half(x: f32) -> Option<f16> {
    Some(f16::from_f32(x)).filter(|half| half.is_finite())
}

/// 1/d, and 0 for 0.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// d = max|x| / 127; halves are rounded away from 0.
fn q8_0(x: &[f32], out: &mut Vec<u8>) -> Option<()> {
    let d = x.iter().fold(0.0_f32, |greatest, x| greatest.max(x.abs())) / 127.0;
    out.extend(to_half(d)?.to_le_bytes());
    let inverse = inverse(d);
    out.extend(x.iter().map(|x| (x * inverse).round() as i8 as u8));
    Some(())
}

/// The value of the greatest size becomes −8·d.
fn q4_0(x: &[f32], out: &mut Vec<u8>) -> Option<()> {
    let greatest = x.iter().fold(0.0_f32, |greatest, &x| if x.abs() > greatest.abs() { x } else { greatest });
    let d = greatest / -8.0;
    out.extend(to_half(d)?.to_le_bytes());
    let inverse = f64::from(inverse(d));
    // ggml's product and sum are fused where the machine can, and in f64 the product is exact.
    let code = |x: f32| ((f64::from(x) * inverse + 8.5) as f32 as u8).min(15);
    let (low, high) = x.split_at(16);
    out.extend(low.iter().zip(high).map(|(&low, &high)| code(low) | code(high) << 4));
    Some(())
}

/// Values that share a scale in Q4_K, and their greatest code.
const GROUP: usize = 32;
const GREATEST: f32 = 15.0;

/// Scale d and least value −m of a group, as Q4_K has them: both at least 0.
#[derive(Clone, Copy)]
struct Fit {
    d: f32,
    m: f32,
}

impl Fit {
    /// The code nearest to x.
    fn code(self, inverse: f32, x: f32) -> f32 {
        ((x + self.m) * inverse).round_ties_even().clamp(0.0, GREATEST)
    }

    /// Σ weight·(d·q − m − x)² with the nearest codes.
    fn error(self, x: &[f32; GROUP], weights: &[f32; GROUP]) -> f32 {
        let inverse = inverse(self.d);
        let one = |(&x, &weight): (&f32, &f32)| {
            let off = self.d * self.code(inverse, x) - self.m - x;
            weight * off * off
        };
        x.iter().zip(weights).map(one).sum()
    }

    /// The best d and m for the codes that `self` gives: weighted least squares, and m = 0 where that wants it below.
    fn solved(self, x: &[f32; GROUP], weights: &[f32; GROUP]) -> Option<Self> {
        let inverse = inverse(self.d);
        let [mut w, mut wx, mut wq, mut wqq, mut wqx] = [0.0_f32; 5];
        for (&x, &weight) in x.iter().zip(weights) {
            let q = self.code(inverse, x);
            w += weight;
            wx += weight * x;
            wq += weight * q;
            wqq += weight * q * q;
            wqx += weight * q * x;
        }
        let determinant = w * wqq - wq * wq;
        let free = Self { d: (w * wqx - wx * wq) / determinant, m: (wq * wqx - wqq * wx) / determinant };
        let fit = if free.m < 0.0 { Self { d: wqx / wqq, m: 0.0 } } else { free };
        (fit.d.is_finite() && fit.d > 0.0 && fit.m.is_finite()).then_some(fit)
    }
}

/// Larger values count more, as in ggml.
fn weights(x: &[f32; GROUP]) -> [f32; GROUP] {
    let size = (x.iter().map(|x| x * x).sum::<f32>() / GROUP as f32).sqrt();
    x.map(|x| size + x.abs())
}

/// Searches d and m of a group: from grids of 14 to 17 steps between the least and the greatest value, each solved, and the best solved on.
fn fit(x: &[f32; GROUP], weights: &[f32; GROUP]) -> Fit {
    let least = x.iter().fold(0.0_f32, |least, &x| least.min(x));
    let greatest = x.iter().fold(f32::NEG_INFINITY, |greatest, &x| greatest.max(x));
    let range = greatest - least;
    let mut best = Fit { d: range.max(0.0) / GREATEST, m: -least };
    if best.d == 0.0 {
        return best;
    }
    let mut error = best.error(x, weights);
    let mut take = |candidate: Option<Fit>, best: &mut Fit| {
        let better = candidate.map(|fit| (fit, fit.error(x, weights))).filter(|(_, other)| *other < error);
        if let Some((fit, other)) = better {
            (*best, error) = (fit, other);
        }
        better.is_some()
    };
    for step in 0..=30 {
        let grid = Fit { d: range / (GREATEST - 1.0 + 0.1 * step as f32), m: -least };
        take(grid.solved(x, weights), &mut best);
    }
    for _ in 0..4 {
        if !take(best.solved(x, weights), &mut best) {
            break;
        }
    }
    best
}

/// Groups under two f16.
const GROUPS: usize = 8;

/// Q4_K's numbers of 256 values: in group g, d = scale·s[g] and m = least·t[g], s and t of 6 bits.
struct Super {
    scale: f16,
    least: f16,
    s: [u8; GROUPS],
    t: [u8; GROUPS],
    error: f32,
}

impl Super {
    /// s and t next to the fits under these two: of nine pairs each the best.
    fn nearest(
        scale: f16,
        least: f16,
        fits: &[Fit; GROUPS],
        x: &[[f32; GROUP]],
        weights: &[[f32; GROUP]; GROUPS],
    ) -> Self {
        let mut chosen = Self { scale, least, s: [0; GROUPS], t: [0; GROUPS], error: 0.0 };
        let near = |value: f32, unit: f16| (value * inverse(unit.to_f32())).round_ties_even() as i32;
        let around = |whole: i32| [0, -1, 1].map(|by| whole.saturating_add(by).clamp(0, 63) as u8);
        for g in 0..GROUPS {
            let mut best = f32::INFINITY;
            for s in around(near(fits[g].d, scale)) {
                for t in around(near(fits[g].m, least)) {
                    let fit = Fit { d: scale.to_f32() * f32::from(s), m: least.to_f32() * f32::from(t) };
                    let error = fit.error(&x[g], &weights[g]);
                    if error < best {
                        (best, chosen.s[g], chosen.t[g]) = (error, s, t);
                    }
                }
            }
            chosen.error += best;
        }
        chosen
    }

    fn fit(&self, g: usize) -> Fit {
        Fit { d: self.scale.to_f32() * f32::from(self.s[g]), m: self.least.to_f32() * f32::from(self.t[g]) }
    }

    fn codes(&self, g: usize, x: &[f32; GROUP]) -> [f32; GROUP] {
        let fit = self.fit(g);
        let inverse = inverse(fit.d);
        x.map(|x| fit.code(inverse, x))
    }

    /// The best scale and least value for these codes, s and t: weighted least squares over all groups.
    fn solved(&self, x: &[[f32; GROUP]], weights: &[[f32; GROUP]; GROUPS]) -> Option<(f16, f16)> {
        let [mut aa, mut ab, mut bb, mut ax, mut bx] = [0.0_f32; 5];
        for g in 0..GROUPS {
            let (s, b) = (f32::from(self.s[g]), -f32::from(self.t[g]));
            for ((q, &x), &weight) in self.codes(g, &x[g]).iter().zip(&x[g]).zip(&weights[g]) {
                let a = s * q;
                aa += weight * a * a;
                ab += weight * a * b;
                bb += weight * b * b;
                ax += weight * a * x;
                bx += weight * b * x;
            }
        }
        let determinant = aa * bb - ab * ab;
        let (scale, least) = ((ax * bb - bx * ab) / determinant, (bx * aa - ax * ab) / determinant);
        (scale >= 0.0 && least >= 0.0).then_some((to_half(scale)?, to_half(least)?))
    }
}

/// Fits of the groups, then scales of 6 bits next to them, then the two f16 for these, as long as the error falls.
fn q4_k(x: &[[f32; GROUP]], out: &mut Vec<u8>) -> Option<()> {
    let weights: [_; GROUPS] = std::array::from_fn(|g| weights(&x[g]));
    let fits: [_; GROUPS] = std::array::from_fn(|g| fit(&x[g], &weights[g]));
    let greatest = |of: fn(&Fit) -> f32| fits.iter().map(of).fold(0.0_f32, f32::max);
    let (scale, least) = (to_half(greatest(|fit| fit.d) / 63.0)?, to_half(greatest(|fit| fit.m) / 63.0)?);
    let mut best = Super::nearest(scale, least, &fits, x, &weights);
    for _ in 0..3 {
        let solved = best.solved(x, &weights);
        let next = solved.map(|(scale, least)| Super::nearest(scale, least, &fits, x, &weights));
        match next.filter(|next| next.error < best.error) {
            Some(next) => best = next,
            None => break,
        }
    }
    out.extend(best.scale.to_le_bytes());
    out.extend(best.least.to_le_bytes());
    out.extend(packed(&best.s, &best.t));
    for g in (0..GROUPS).step_by(2) {
        let (low, high) = (best.codes(g, &x[g]), best.codes(g + 1, &x[g + 1]));
        out.extend(low.iter().zip(high).map(|(&low, high)| low as u8 | (high as u8) << 4));
    }
    Some(())
}

/// Eight times 6 bits of s and of t; `decode.rs` says where they lie.
fn packed(s: &[u8; GROUPS], t: &[u8; GROUPS]) -> [u8; 12] {
    let mut packed = [0; 12];
    for g in 0..4 {
        packed[g] = s[g] | s[g + 4] >> 4 << 6;
        packed[g + 4] = t[g] | t[g + 4] >> 4 << 6;
        packed[g + 8] = s[g + 4] & 15 | t[g + 4] << 4;
    }
    packed
}
