//! Blocks taken apart. Layouts are those of ggml's `ggml-common.h`, the order of the values that of `dequantize_row_*` in `ggml-quants.c`.

use half::{bf16, f16};

use super::{BlockKind, CODES, CodeBlock};

/// A single value of a plain format.
pub(super) fn single(kind: BlockKind, bytes: &[u8]) -> f32 {
    match kind {
        BlockKind::F32 => f32::from_le_bytes(*bytes.first_chunk().expect("4 bytes")),
        BlockKind::F16 => half(bytes, 0).to_f32(),
        BlockKind::Bf16 => bf16::from_le_bytes(*bytes.first_chunk().expect("2 bytes")).to_f32(),
        _ => unreachable!("{kind} has no single values"),
    }
}

/// 32 values, the `part`-th of a block.
pub(super) fn code_block(kind: BlockKind, block: &[u8], part: usize) -> CodeBlock {
    let with_halves =
        |least: f16, codes| CodeBlock { codes, scale: half(block, 0), least, scales: [1; 2], leasts: [1; 2] };
    match kind {
        BlockKind::Q4_0 | BlockKind::Iq4Nl => with_halves(f16::ZERO, nibbles(&block[2..])),
        BlockKind::Q4_1 => with_halves(half(block, 2), nibbles(&block[4..])),
        BlockKind::Q5_0 => with_halves(f16::ZERO, with_fifth_bits(nibbles(&block[6..]), &block[2..])),
        BlockKind::Q5_1 => with_halves(half(block, 2), with_fifth_bits(nibbles(&block[8..]), &block[4..])),
        BlockKind::Q8_0 => with_halves(f16::ZERO, std::array::from_fn(|i| block[2 + i] ^ 0x80)),
        BlockKind::Q2K => q2_k(block, part),
        BlockKind::Q3K => q3_k(block, part),
        BlockKind::Q4K | BlockKind::Q5K => q4_k_or_q5_k(kind, block, part),
        BlockKind::Q6K => q6_k(block, part),
        BlockKind::Iq4Xs => iq4_xs(block, part),
        BlockKind::F32 | BlockKind::F16 | BlockKind::Bf16 => unreachable!("{kind} has no codes"),
    }
}

fn half(bytes: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// 32 values of 16 bytes: low halves first.
fn nibbles(bytes: &[u8]) -> [u8; CODES] {
    std::array::from_fn(|i| bytes[i % 16] >> (i / 16 * 4) & 15)
}

/// Bit i of 4 bytes on top of code i.
fn with_fifth_bits(codes: [u8; CODES], bits: &[u8]) -> [u8; CODES] {
    std::array::from_fn(|i| codes[i] | (bits[i / 8] >> (i % 8) & 1) << 4)
}

/// Bits `shift..` of each of 32 bytes.
fn bits(bytes: &[u8], shift: usize, mask: u8) -> [u8; CODES] {
    std::array::from_fn(|i| bytes[i] >> shift & mask)
}

/// scales [16]: scale in the low halves, least value in the high ones; codes [64]; d; dmin.
fn q2_k(block: &[u8], part: usize) -> CodeBlock {
    let [first, second] = [block[2 * part], block[2 * part + 1]];
    CodeBlock {
        codes: bits(&block[16 + part / 4 * 32..], 2 * (part % 4), 3),
        scale: half(block, 80),
        least: -half(block, 82),
        scales: [first, second].map(|both| (both & 15) as i8),
        leasts: [first, second].map(|both| (both >> 4) as i8),
    }
}

/// Third bits [32]; lower bits [64]; scales of 6 bits [12]; d.
fn q3_k(block: &[u8], part: usize) -> CodeBlock {
    let (third, lower) = (bits(block, part, 1), bits(&block[32 + part / 4 * 32..], 2 * (part % 4), 3));
    let scales = &block[96..108];
    let scale = |s: usize| {
        let (low, high) = (scales[s % 8] >> (s / 8 * 4) & 15, scales[8 + s % 4] >> (s / 4 * 2) & 3);
        (low | high << 4) as i8 - 32
    };
    CodeBlock {
        codes: std::array::from_fn(|i| lower[i] | third[i] << 2),
        scale: half(block, 108),
        least: f16::ZERO,
        scales: [scale(2 * part), scale(2 * part + 1)],
        leasts: [0; 2],
    }
}

/// d; dmin; scales and least values of 6 bits [12]; with 5 bits the fifth of each [32]; lower bits [128].
fn q4_k_or_q5_k(kind: BlockKind, block: &[u8], part: usize) -> CodeBlock {
    let (packed, rest) = block[4..].split_at(12);
    let (scale, least) = scale_and_least(packed, part);
    let lower_of = |rest: &[u8]| bits(&rest[part / 2 * 32..], part % 2 * 4, 15);
    let codes = if kind == BlockKind::Q5K {
        let (lower, fifth) = (lower_of(&rest[32..]), bits(rest, part, 1));
        std::array::from_fn(|i| lower[i] | fifth[i] << 4)
    } else {
        lower_of(rest)
    };
    CodeBlock {
        codes,
        scale: half(block, 0),
        least: -half(block, 2),
        scales: [scale as i8, 0],
        leasts: [least as i8, 0],
    }
}

/// Of part `part`, 6 bits each: the first four parts have theirs in the low bits of bytes 0 to 7; the others have 4 bits in bytes 8 to 11 and
/// 2 on top of those of the first.
fn scale_and_least(packed: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        (packed[part + 4] & 15 | packed[part - 4] >> 6 << 4, packed[part + 4] >> 4 | packed[part] >> 6 << 4)
    }
}

/// Lower 4 bits [128]; upper 2 bits [64]; scales [16]; d.
fn q6_k(block: &[u8], part: usize) -> CodeBlock {
    let (half_block, place) = (part / 4, part % 4);
    let lower = bits(&block[half_block * 64 + place % 2 * 32..], place / 2 * 4, 15);
    let upper = bits(&block[128 + half_block * 32..], 2 * place, 3);
    CodeBlock {
        codes: std::array::from_fn(|i| lower[i] | upper[i] << 4),
        scale: half(block, 208),
        least: f16::ZERO,
        scales: [block[192 + 2 * part] as i8, block[193 + 2 * part] as i8],
        leasts: [0; 2],
    }
}

/// d; upper 2 bits of the scales [2]; their lower 4 bits [4]; codes [128].
fn iq4_xs(block: &[u8], part: usize) -> CodeBlock {
    let upper = u16::from_le_bytes([block[2], block[3]]) >> (2 * part) & 3;
    let lower = block[4 + part / 2] >> (part % 2 * 4) & 15;
    CodeBlock {
        codes: nibbles(&block[8 + part * 16..]),
        scale: half(block, 0),
        least: f16::ZERO,
        scales: [(lower | (upper as u8) << 4) as i8 - 32, 0],
        leasts: [0; 2],
    }
}
