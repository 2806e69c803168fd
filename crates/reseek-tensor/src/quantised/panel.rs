//! 16 rows of W: codes in bit planes, scales behind those of a few blocks ([`Form::unit`]).
//!
//! A *word* is 4 codes of a row along k, a byte each; a block has 8 words a row, and word j of all 16 rows is a line of 64 bytes once it is
//! taken apart. A plane of b bits holds 8/b words in each of its b lines, the first in the lowest bits of the bytes. Codes of 8, 4 and 2 bits
//! are one plane; those of 6, 5 and 3 have a second one with their upper bits.

use half::f16;

use super::form::{Bits, Form, Scales};
use super::{BLOCK, LINE};
use crate::simd::LANES;

/// Words of a row in a block.
pub(super) const WORDS: usize = 8;

/// Some bits of all codes of a block.
#[derive(Clone, Copy)]
pub(super) struct Plane {
    /// Lines of the block before it.
    pub line: usize,
    /// Bits of a code that it holds: 1, 2, 4 or 8.
    pub width: usize,
    /// The lowest of these bits.
    pub shift: usize,
}

impl Plane {
    /// Words that a line holds.
    pub const fn words(self) -> usize {
        8 / self.width
    }

    /// Its bits in each of 4 bytes, at the lowest place.
    pub const fn mask(self) -> u32 {
        0x0101_0101 * (0xff >> (8 - self.width))
    }
}

/// The planes of codes of so many bits.
pub(super) const fn planes(bits: usize) -> &'static [Plane] {
    const fn plane(line: usize, width: usize, shift: usize) -> Plane {
        Plane { line, width, shift }
    }
    match bits {
        2 => &[const { plane(0, 2, 0) }],
        3 => &[const { plane(0, 2, 0) }, const { plane(2, 1, 2) }],
        4 => &[const { plane(0, 4, 0) }],
        5 => &[const { plane(0, 4, 0) }, const { plane(4, 1, 4) }],
        6 => &[const { plane(0, 4, 0) }, const { plane(4, 2, 4) }],
        8 => &[const { plane(0, 8, 0) }],
        _ => panic!("codes have 2, 3, 4, 5, 6 or 8 bits"),
    }
}

/// 16 rows of W as the kernels read them.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    pub form: &'a Form,
    /// Of the codes as they are here.
    pub bits: Bits,
    /// What stands for codes of four bits, if these are indices.
    pub table: Option<[u8; 16]>,
    /// z.
    pub zero: i32,
    /// Blocks along k.
    pub blocks: usize,
    /// Groups of a block.
    pub groups: usize,
    bytes: &'a [u8],
    /// Of the units as they are packed.
    unit: Unit,
    /// The codes laid out a byte each, block after block, where they are.
    laid_out: Option<&'a [u8]>,
}

/// Where things lie in a unit, in bytes. Blocks of a unit are a power of two.
#[derive(Clone, Copy)]
struct Unit {
    blocks_log2: u32,
    bytes: usize,
    codes: usize,
    small_at: usize,
    small: usize,
    large_at: usize,
    large: usize,
}

impl<'a> Panel<'a> {
    pub fn new(form: &'a Form, bytes: &'a [u8], blocks: usize) -> Self {
        let (bits, table, zero, groups) = (form.bits, form.table(), form.zero(), form.groups());
        let [_, small_at, large_at] = form.places(0);
        let unit = Unit {
            blocks_log2: form.unit().ilog2(),
            bytes: form.unit_lines() * LINE,
            codes: bits.lines() * LINE,
            small_at,
            small: form.small_bytes(),
            large_at,
            large: form.large_bytes(),
        };
        Self { form, bits, table, zero, blocks, groups, bytes, unit, laid_out: None }
    }

    /// The same panel with the codes laid out a byte each, after the table if there is one.
    pub fn with_bytes(&self, codes: &'a [u8]) -> Self {
        Self { bits: Bits::Eight, table: None, laid_out: Some(codes), ..*self }
    }

    /// The unit of a block, and its number there.
    #[inline(always)]
    fn place(&self, index: usize) -> (usize, usize) {
        let log2 = self.unit.blocks_log2;
        (index >> log2, index & ((1 << log2) - 1))
    }

    /// The lines of a block's codes.
    #[inline(always)]
    pub fn codes(&self, index: usize) -> &'a [u8] {
        if let Some(codes) = self.laid_out {
            return &codes[index * Bits::Eight.lines() * LINE..][..Bits::Eight.lines() * LINE];
        }
        let (unit, within) = self.place(index);
        &self.bytes[unit * self.unit.bytes + within * self.unit.codes..][..self.unit.codes]
    }

    /// The scales of a block: 16 rows' f16 (and 16 more for least values), or bytes of 16 rows for each group (least values behind).
    #[inline(always)]
    pub fn small(&self, index: usize) -> &'a [u8] {
        let (unit, within) = self.place(index);
        &self.bytes[unit * self.unit.bytes + self.unit.small_at + within * self.unit.small..][..self.unit.small]
    }

    /// The scales in f16 of the 256 values in which a block lies: of 16 rows, then the least values'.
    #[inline(always)]
    pub fn large(&self, index: usize) -> &'a [u8] {
        let (unit, _) = self.place(index);
        &self.bytes[unit * self.unit.bytes + self.unit.large_at..][..self.unit.large]
    }

    /// d of a group of a row.
    #[inline(always)]
    pub fn scale(&self, index: usize, group: usize, lane: usize) -> f32 {
        let small = self.small(index);
        match self.form.scales {
            Scales::Halves => half(small, lane),
            Scales::Bytes => half(self.large(index), lane) * f32::from(small[group * LANES + lane] as i8),
            Scales::Nibbles => half(self.large(index), lane) * f32::from(small[group * LANES + lane] & 15),
        }
    }

    /// m of a group of a row. Only for forms with least values.
    #[inline(always)]
    pub fn least(&self, index: usize, group: usize, lane: usize) -> f32 {
        let small = self.small(index);
        match self.form.scales {
            Scales::Halves => half(small, LANES + lane),
            Scales::Bytes => {
                let whole = small[(self.groups + group) * LANES + lane] as i8;
                half(self.large(index), LANES + lane) * f32::from(whole)
            }
            Scales::Nibbles => half(self.large(index), LANES + lane) * f32::from(small[group * LANES + lane] >> 4),
        }
    }

    /// The values of a row in a block.
    pub fn values(&self, index: usize, lane: usize, values: &mut [f32; BLOCK]) {
        let codes = self.codes(index);
        for (i, value) in values.iter_mut().enumerate() {
            let (word, byte) = (i / 4, i % 4);
            let code = planes(self.bits.count()).iter().fold(0, |code, plane| {
                let line = &codes[(plane.line + word / plane.words()) * LINE..][..LINE];
                let bits = line[4 * lane + byte] >> (plane.width * (word % plane.words()));
                code | (bits & plane.mask() as u8) << plane.shift
            });
            let code = self.table.map_or(code, |table| table[usize::from(code)]);
            let group = i / self.form.group;
            *value = self.scale(index, group, lane) * (i32::from(code) - self.zero) as f32;
            if self.form.has_least {
                *value += self.least(index, group, lane);
            }
        }
    }
}

#[inline(always)]
fn half(bytes: &[u8], index: usize) -> f32 {
    f16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]).to_f32()
}
