//! Weights in FP8 as DeepSeek-V3's files have them: E4M3 codes (Micikevicius et al., "FP8 formats for deep learning", 2022) and an f32 scale
//! for each block of 128 × 128, `weight_scale_inv`. A value is code × scale (DeepSeek-V3, README_WEIGHTS.md).
//!
//! The kernels' FP8 is reseek-tensor's, this is a file's: rows along the blocks' first side, blocks at the edges cut off.

use reseek_spec::Fp8Blocks;

/// Rows and columns of a block that is written.
pub(crate) const BLOCK: [usize; 2] = Fp8Blocks::V3.weight_block_size;
/// E4M3's greatest value.
const GREATEST: f32 = 448.0;

/// The value of `code`: sign, four bits of exponent with bias 7 (0 for subnormal values), three of mantissa. 0x7f and 0xff are NaN.
pub(crate) const fn decode_e4m3(code: u8) -> f32 {
    VALUES[code as usize]
}

const VALUES: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let (exponent, mantissa) = (code >> 3 & 15, code & 7);
        // 2^(e−7)·(1 + m/8) put together as an f32; below, m·2⁻⁹.
        let magnitude = match exponent {
            15 if mantissa == 7 => f32::NAN,
            0 => mantissa as f32 / 512.0,
            _ => f32::from_bits(((exponent + 120) << 23 | mantissa << 20) as u32),
        };
        values[code] = if code < 128 { magnitude } else { -magnitude };
        code += 1;
    }
    values
};

/// The code of the value next to `x`, of two the even one; what is beyond the greatest becomes that.
pub(crate) fn encode_e4m3(x: f32) -> u8 {
    const LEAST_NORMAL: f32 = 1.0 / 64.0;
    let sign = (x.to_bits() >> 24) as u8 & 0x80;
    let magnitude = x.abs();
    let code = if magnitude.is_nan() {
        0x7f
    } else if magnitude < LEAST_NORMAL {
        // Steps of 2⁻⁹; the eighth is the least normal value, whose code is 8 too.
        (magnitude * 512.0).round_ties_even() as u8
    } else {
        let bits = magnitude.min(GREATEST).to_bits();
        let to_even = 0x7_ffff + (bits >> 20 & 1);
        (((bits + to_even) >> 20) - (120 << 3)) as u8
    };
    sign | code
}

/// Blocks along both sides of a matrix.
pub(crate) fn blocks_of(shape: [usize; 2], block: [usize; 2]) -> [usize; 2] {
    [shape[0].div_ceil(block[0]), shape[1].div_ceil(block[1])]
}

/// Multiplies the values of a matrix by the scales of their blocks.
pub(crate) fn scale_blocks(values: &mut [f32], columns: usize, block: [usize; 2], scales: &[f32]) {
    let per_row = columns.div_ceil(block[1]);
    for (row, values) in values.chunks_exact_mut(columns).enumerate() {
        let scales = &scales[row / block[0] * per_row..][..per_row];
        for (values, scale) in values.chunks_mut(block[1]).zip(scales) {
            values.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

/// The scale of each block of a matrix of finite values, in row order.
pub(crate) fn scales_of(values: &[f32], columns: usize) -> Vec<f32> {
    let mut scales = Vec::new();
    for band in values.chunks(BLOCK[0] * columns) {
        for from in (0..columns).step_by(BLOCK[1]) {
            let to = columns.min(from + BLOCK[1]);
            scales.push(scale_of(|| band.chunks_exact(columns).flat_map(|row| &row[from..to]).copied()));
        }
    }
    scales
}

/// The greatest magnitude over [`GREATEST`], 1 for a block of zeros. Values that came from FP8 keep theirs: 448·s/448 can be the neighbour
/// of s, so where a neighbour gives all values back exactly it is taken.
fn scale_of<I: Iterator<Item = f32>>(values: impl Fn() -> I) -> f32 {
    let greatest = values().fold(0.0, |greatest: f32, value| greatest.max(value.abs()));
    if greatest == 0.0 {
        return 1.0;
    }
    let scale = (greatest / GREATEST).max(f32::MIN_POSITIVE);
    let is_exact = |scale: f32| values().all(|value| decode_e4m3(encode_e4m3(value / scale)) * scale == value);
    [scale, scale.next_down(), scale.next_up()].into_iter().find(|&scale| is_exact(scale)).unwrap_or(scale)
}

/// The codes of rows of a matrix from row `first` on.
pub(crate) fn encode_rows(values: &[f32], columns: usize, first: usize, scales: &[f32], codes: &mut Vec<u8>) {
    let per_row = columns.div_ceil(BLOCK[1]);
    for (row, values) in values.chunks_exact(columns).enumerate() {
        let scales = &scales[(first + row) / BLOCK[0] * per_row..][..per_row];
        for (values, scale) in values.chunks(BLOCK[1]).zip(scales) {
            codes.extend(values.iter().map(|value| encode_e4m3(value / scale)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_and_has_the_value_of_the_format() {
        let values = |codes: &[u8]| codes.iter().map(|&code| decode_e4m3(code)).collect::<Vec<_>>();
        // Zero, the least subnormal, the greatest subnormal, the least normal, one, the greatest, minus that.
        let expected = [0.0, 2_f32.powi(-9), 7.0 * 2_f32.powi(-9), 2_f32.powi(-6), 1.0, 448.0, -448.0];
        assert_eq!(values(&[0, 1, 7, 8, 0x38, 0x7e, 0xfe]), expected);
        for code in 0..=255 {
            let value = decode_e4m3(code);
            assert_eq!(value.is_nan(), code & 0x7f == 0x7f, "{code:#x}");
            assert_eq!(encode_e4m3(value), code, "{code:#x}");
        }
    }

    /// Of all codes the one with the nearest value, of two the even one.
    fn nearest(x: f32) -> u8 {
        let sign = if x.is_sign_negative() { 0x80 } else { 0 };
        let distance = |code: &u8| (f64::from(decode_e4m3(*code)) - f64::from(x.abs())).abs();
        let order = |a: &u8, b: &u8| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1)));
        sign | (0..=0x7e).min_by(order).unwrap()
    }

    #[test]
    fn rounding_is_to_the_nearest_and_of_two_to_the_even() {
        for code in 0..0x7e {
            let (low, high) = (decode_e4m3(code), decode_e4m3(code + 1));
            let middle = (low + high) / 2.0;
            for x in [middle, middle.next_down(), middle.next_up(), low.next_up(), high.next_down()] {
                assert_eq!((encode_e4m3(x), encode_e4m3(-x)), (nearest(x), nearest(-x)), "{x}");
            }
        }
        for x in [448.5, 464.0, 1e9, f32::INFINITY] {
            assert_eq!((encode_e4m3(x), encode_e4m3(-x)), (0x7e, 0xfe), "{x}");
        }
        for x in [f32::MIN_POSITIVE, 1e-45, 2_f32.powi(-10), 2_f32.powi(-10).next_up()] {
            assert_eq!(encode_e4m3(x), nearest(x), "{x}");
        }
    }

    #[test]
    fn scales_are_found_again() {
        let mut state = 7_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for _ in 0..2000 {
            let scale = f32::from_bits(0x3a00_0000 + next());
            let mut values: Vec<f32> = (0..16).map(|_| decode_e4m3((next() % 0x7e) as u8) * scale).collect();
            values.push(448.0 * scale);
            assert_eq!(scales_of(&values, 17), [scale]);
        }
        assert_eq!(scales_of(&[0.0, -0.0], 2), [1.0]);
        assert_eq!(scales_of(&[1e-45], 1), [f32::MIN_POSITIVE]);
    }

    #[test]
    fn blocks_at_the_edges_are_cut_off() {
        let (rows, columns) = (130, 257);
        assert_eq!(blocks_of([rows, columns], BLOCK), [2, 3]);
        let block = |i: usize| (i / columns / 128) * 3 + i % columns / 128;
        // The greatest value of each block is its number + 1.
        let values: Vec<f32> = (0..rows * columns).map(|i| (block(i) + 1) as f32 * [1.0, -0.5][i % 2]).collect();
        let scales = scales_of(&values, columns);
        let expected: Vec<f32> = (1..=6).map(|n| n as f32 / 448.0).collect();
        assert_eq!(scales, expected);
        let mut codes = Vec::new();
        encode_rows(&values[..129 * columns], columns, 0, &scales, &mut codes);
        encode_rows(&values[129 * columns..], columns, 129, &scales, &mut codes);
        let mut back: Vec<f32> = codes.into_iter().map(decode_e4m3).collect();
        scale_blocks(&mut back, columns, BLOCK, &scales);
        let wrong = back.iter().zip(&values).position(|(a, b)| (a - b).abs() > b.abs() * 2_f32.powi(-23));
        assert_eq!(wrong, None);
    }
}
