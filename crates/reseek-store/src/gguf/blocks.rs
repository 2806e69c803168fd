//! The kinds of blocks that a GGUF tensor is stored in.

use half::f16;

use super::QuantisedTensor;

/// How values are stored; along a row, in blocks of 32 but for the plain formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Single values of 4 bytes.
    F32,
    /// Single values of 2 bytes.
    F16,
    /// A scale d (f16) and 16 bytes of 4 bits q, the first 16 values in the low halves: d·(q − 8).
    Q4_0,
    /// A scale d and a least value m (f16), then as Q4_0: d·q + m.
    Q4_1,
    /// A scale d (f16) and 32 signed bytes q: d·q.
    Q8_0,
}

impl BlockKind {
    /// From the number that the file has.
    pub(super) fn of_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::F32),
            1 => Some(Self::F16),
            2 => Some(Self::Q4_0),
            3 => Some(Self::Q4_1),
            8 => Some(Self::Q8_0),
            _ => None,
        }
    }

    /// The number that the file has of it.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 8,
        }
    }

    /// Whether values share a scale.
    pub fn is_quantised(self) -> bool {
        !matches!(self, Self::F32 | Self::F16)
    }

    /// Values of a block.
    pub fn values_per_block(self) -> usize {
        if self.is_quantised() { 32 } else { 1 }
    }

    /// Bytes of a block.
    pub fn bytes_per_block(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
        }
    }

    /// The values that whole blocks stand for.
    pub fn values(self, bytes: &[u8]) -> Vec<f32> {
        let blocks = bytes.chunks_exact(self.bytes_per_block());
        let mut out = Vec::with_capacity(blocks.len() * self.values_per_block());
        let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        for block in blocks {
            match self {
                Self::F32 => out.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
                Self::F16 => out.push(half(block)),
                Self::Q4_0 => out.extend(nibbles(&block[2..]).map(|q| half(block) * (f32::from(q) - 8.0))),
                Self::Q4_1 => out.extend(nibbles(&block[4..]).map(|q| half(block) * f32::from(q) + half(&block[2..]))),
                Self::Q8_0 => out.extend(block[2..].iter().map(|&q| half(block) * f32::from(q as i8))),
            }
        }
        out
    }
}

impl QuantisedTensor {
    /// Block `index` of a row as scale·q + least with unsigned q: scale, least, q.
    ///
    /// # Panics
    /// If there is no such block, or the values are not quantised.
    pub fn block(&self, row: usize, index: usize) -> (f16, f16, [u8; 32]) {
        let size = self.kind.bytes_per_block();
        let per_row = self.shape[1] / self.kind.values_per_block();
        let bytes = &self.bytes[(row * per_row + index) * size..][..size];
        let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]);
        let scale = half(bytes);
        let least = |q: f32| f16::from_f32(scale.to_f32() * q);
        let mut q = [0; 32];
        match self.kind {
            BlockKind::Q4_0 => fill(&mut q, nibbles(&bytes[2..])),
            BlockKind::Q4_1 => fill(&mut q, nibbles(&bytes[4..])),
            BlockKind::Q8_0 => fill(&mut q, bytes[2..].iter().map(|&q| q ^ 0x80)),
            BlockKind::F32 | BlockKind::F16 => panic!("{} is not quantised", self.name),
        }
        let least = match self.kind {
            BlockKind::Q4_1 => half(&bytes[2..]),
            BlockKind::Q4_0 => least(-8.0),
            _ => least(-128.0),
        };
        (scale, least, q)
    }
}

fn fill(q: &mut [u8; 32], values: impl Iterator<Item = u8>) {
    q.iter_mut().zip(values).for_each(|(q, value)| *q = value);
}

/// The 32 values of 16 bytes: low halves first.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_stand_for_their_values() {
        let d = f16::from_f32(0.5).to_le_bytes();
        let m = f16::from_f32(-3.0).to_le_bytes();
        let packed: Vec<u8> = (0..16).map(|i| i | (15 - i) << 4).collect();
        let four: Vec<u8> = [&d[..], &m, &packed].concat();
        let values = BlockKind::Q4_1.values(&four);
        assert_eq!((values.len(), values[0], values[5], values[16], values[31]), (32, -3.0, -0.5, 4.5, -3.0));
        let values = BlockKind::Q4_0.values(&[&d[..], &packed].concat());
        assert_eq!((values[0], values[15], values[16]), (-4.0, 3.5, 3.5));
        let eight: Vec<u8> = d.iter().copied().chain((0..32).map(|i| (i * 8 - 128) as i8 as u8)).collect();
        let values = BlockKind::Q8_0.values(&eight);
        assert_eq!((values[0], values[16], values[31]), (-64.0, 0.0, 60.0));
        for (kind, bytes) in [(BlockKind::Q4_1, four), (BlockKind::Q8_0, eight)] {
            let values = kind.values(&bytes);
            let tensor = QuantisedTensor { name: "w".to_owned(), shape: [1, 32], kind, bytes };
            let (scale, least, q) = tensor.block(0, 0);
            let of_parts = q.map(|q| scale.to_f32() * f32::from(q) + least.to_f32());
            assert_eq!(of_parts[..], values[..], "{kind:?}");
        }
        assert_eq!(BlockKind::F32.values(&1.25_f32.to_le_bytes()), [1.25]);
    }
}
