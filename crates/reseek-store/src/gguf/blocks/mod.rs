//! The kinds of blocks that a GGUF tensor is stored in: ggml's block formats, in and out.

mod decode;
mod encode;

use std::fmt;

use half::f16;

use super::QuantisedTensor;

/// How values are stored; along a row, in blocks of 32 or 256 but for the plain formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlockKind {
    /// Single values of 4 bytes.
    F32,
    /// Single values of 2 bytes.
    F16,
    /// Single values of 2 bytes with f32's exponent.
    Bf16,
    /// 4 bits: d·(q − 8).
    Q4_0,
    /// 4 bits: d·q + m.
    Q4_1,
    /// 5 bits: d·(q − 16).
    Q5_0,
    /// 5 bits: d·q + m.
    Q5_1,
    /// 8 bits: d·q, q signed.
    Q8_0,
    /// 2 bits; 4 bits of scale and of least value for 16 values, under two f16 for 256.
    Q2K,
    /// 3 bits, 6 bits of scale for 16 values.
    Q3K,
    /// 4 bits, 6 bits of scale and of least value for 32 values.
    Q4K,
    /// 5 bits, else as Q4_K.
    Q5K,
    /// 6 bits, 8 bits of scale for 16 values.
    Q6K,
    /// 4 bits, which name one of 16 numbers.
    Iq4Nl,
    /// As IQ4_NL, with 6 bits of scale for 32 values.
    Iq4Xs,
}

/// Kind, number in a file, ggml's name, values and bytes of a block.
const KINDS: [(BlockKind, u32, &str, usize, usize); 15] = [
    (BlockKind::F32, 0, "F32", 1, 4),
    (BlockKind::F16, 1, "F16", 1, 2),
    (BlockKind::Q4_0, 2, "Q4_0", 32, 18),
    (BlockKind::Q4_1, 3, "Q4_1", 32, 20),
    (BlockKind::Q5_0, 6, "Q5_0", 32, 22),
    (BlockKind::Q5_1, 7, "Q5_1", 32, 24),
    (BlockKind::Q8_0, 8, "Q8_0", 32, 34),
    (BlockKind::Q2K, 10, "Q2_K", 256, 84),
    (BlockKind::Q3K, 11, "Q3_K", 256, 110),
    (BlockKind::Q4K, 12, "Q4_K", 256, 144),
    (BlockKind::Q5K, 13, "Q5_K", 256, 176),
    (BlockKind::Q6K, 14, "Q6_K", 256, 210),
    (BlockKind::Iq4Nl, 20, "IQ4_NL", 32, 18),
    (BlockKind::Iq4Xs, 23, "IQ4_XS", 256, 136),
    (BlockKind::Bf16, 30, "BF16", 1, 2),
];

/// Values of a [`CodeBlock`].
const CODES: usize = 32;

/// The numbers that the codes of IQ4_NL and IQ4_XS name.
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// How the codes q of a quantised kind stand for values: d·(q − zero) + m.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeForm {
    /// Bits of a code.
    pub bits: usize,
    /// Values along a row that share d and m: 16 or 32.
    pub group: usize,
    /// How d and m are given.
    pub scales: ScaleForm,
    /// Whether there is an m.
    pub has_least: bool,
    /// The code of 0.
    pub zero: u8,
    /// Numbers that the codes name, in the place of q − zero.
    pub table: Option<[i8; 16]>,
}

/// How the scale d and the least value m of a group are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleForm {
    /// As f16.
    Halves,
    /// As signed bytes, times f16 that 256 values share.
    Bytes,
    /// As 4 bits, times f16 that 256 values share.
    Nibbles,
}

/// 32 values along a row: in group g, d = scale·scales[g] and m = least·leasts[g].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeBlock {
    /// q.
    pub codes: [u8; CODES],
    /// Of the block or the 256 values.
    pub scale: f16,
    /// 0 where the form has no m.
    pub least: f16,
    /// Of each group; 1 where scales are f16.
    pub scales: [i8; 2],
    /// Of each group.
    pub leasts: [i8; 2],
}

impl BlockKind {
    /// From the number that the file has.
    pub(super) fn of_number(number: u32) -> Option<Self> {
        KINDS.iter().find_map(|&(kind, own, ..)| (own == number).then_some(kind))
    }

    /// Its number in a file.
    pub fn number(self) -> u32 {
        self.entry().1
    }

    /// Whether values share a scale.
    pub fn is_quantised(self) -> bool {
        self.values_per_block() > 1
    }

    /// Values of a block.
    pub fn values_per_block(self) -> usize {
        self.entry().3
    }

    /// Bytes of a block.
    pub fn bytes_per_block(self) -> usize {
        self.entry().4
    }

    fn entry(self) -> (Self, u32, &'static str, usize, usize) {
        *KINDS.iter().find(|(kind, ..)| *kind == self).expect("every kind has its line")
    }

    /// How its codes stand for values; nothing for single values.
    pub fn code_form(self) -> Option<CodeForm> {
        use ScaleForm::{Bytes, Halves, Nibbles};
        let form = |bits, group, scales, has_least, zero| {
            let table = matches!(self, Self::Iq4Nl | Self::Iq4Xs).then_some(IQ4);
            Some(CodeForm { bits, group, scales, has_least, zero, table })
        };
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => None,
            Self::Q4_0 => form(4, 32, Halves, false, 8),
            Self::Q4_1 => form(4, 32, Halves, true, 0),
            Self::Q5_0 => form(5, 32, Halves, false, 16),
            Self::Q5_1 => form(5, 32, Halves, true, 0),
            Self::Q8_0 => form(8, 32, Halves, false, 128),
            Self::Q2K => form(2, 16, Nibbles, true, 0),
            Self::Q3K => form(3, 16, Bytes, false, 4),
            Self::Q4K => form(4, 32, Bytes, true, 0),
            Self::Q5K => form(5, 32, Bytes, true, 0),
            Self::Q6K => form(6, 16, Bytes, false, 32),
            Self::Iq4Nl => form(4, 32, Halves, false, 0),
            Self::Iq4Xs => form(4, 32, Bytes, false, 0),
        }
    }

    /// Whole blocks, 32 values at a time.
    ///
    /// # Panics
    /// If the kind is not quantised, or the bytes are not whole blocks.
    pub fn code_blocks(self, bytes: &[u8]) -> impl Iterator<Item = CodeBlock> {
        let (size, parts) = (self.bytes_per_block(), self.values_per_block() / CODES);
        assert!(self.is_quantised(), "{self} has no codes");
        assert!(bytes.len().is_multiple_of(size), "{} bytes are not whole blocks of {self}", bytes.len());
        bytes
            .chunks_exact(size)
            .flat_map(move |block| (0..parts).map(move |part| decode::code_block(self, block, part)))
    }

    /// The values that whole blocks stand for, with ggml's bits.
    ///
    /// # Panics
    /// If the bytes are not whole blocks.
    pub fn values(self, bytes: &[u8]) -> Vec<f32> {
        let Some(form) = self.code_form() else {
            let size = self.bytes_per_block();
            assert!(bytes.len().is_multiple_of(size), "{} bytes are not values of {self}", bytes.len());
            return bytes.chunks_exact(size).map(|bytes| decode::single(self, bytes)).collect();
        };
        let mut values = Vec::with_capacity(bytes.len() / self.bytes_per_block() * self.values_per_block());
        self.code_blocks(bytes).for_each(|block| values.extend(block.values(&form)));
        values
    }
}

impl fmt::Display for BlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().2)
    }
}

impl CodeBlock {
    /// What the codes stand for. d·(q − zero) is exact in f32 for all of ggml's kinds, so only adding m rounds.
    pub fn values(&self, form: &CodeForm) -> [f32; CODES] {
        std::array::from_fn(|i| {
            let (group, code) = (i / form.group, self.codes[i]);
            let d = self.scale.to_f32() * f32::from(self.scales[group]);
            let value = match form.table {
                Some(table) => d * f32::from(table[usize::from(code)]),
                None => d * (f32::from(code) - f32::from(form.zero)),
            };
            if form.has_least { value + self.least.to_f32() * f32::from(self.leasts[group]) } else { value }
        })
    }
}

impl QuantisedTensor {
    /// A row, 32 values at a time.
    ///
    /// # Panics
    /// If there is no such row, or the values are not quantised.
    pub fn row(&self, row: usize) -> impl Iterator<Item = CodeBlock> {
        let [rows, columns] = self.shape;
        assert!(row < rows, "row {row} of {rows}");
        let bytes = columns / self.kind.values_per_block() * self.kind.bytes_per_block();
        self.kind.code_blocks(&self.bytes[row * bytes..(row + 1) * bytes])
    }
}

#[cfg(test)]
mod tests;
