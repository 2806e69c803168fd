//! How quantised values are held.

use half::f16;

use super::{BLOCK, LINE};
use crate::simd::LANES;

/// Bits of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Bits {
    Two,
    Three,
    Four,
    Five,
    Six,
    Eight,
}

impl Bits {
    /// Every width.
    pub const ALL: [Self; 6] = [Self::Two, Self::Three, Self::Four, Self::Five, Self::Six, Self::Eight];

    /// How many they are.
    pub fn count(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
            Self::Five => 5,
            Self::Six => 6,
            Self::Eight => 8,
        }
    }

    /// The width of so many bits, if there is one.
    pub fn of_count(count: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|bits| bits.count() == count)
    }

    /// Lines that the codes of a block of 16 rows take: one for each bit.
    pub(super) fn lines(self) -> usize {
        self.count()
    }
}

/// How scales are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// d and m in f16 for 32 values.
    Halves,
    /// Signed bytes for each group, times two f16 for 256 values.
    Bytes,
    /// Four bits for each group, times two f16 for 256 values.
    Nibbles,
}

/// How the values of a matrix are held: w = d·(q − z) + m.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Width of the codes q.
    pub bits: Bits,
    /// Values along k that share d and m: 16 or 32. With [`Scales::Halves`] 32.
    pub group: usize,
    /// How d and m are held.
    pub scales: Scales,
    /// Whether there is an m. Without one, m is 0.
    pub has_least: bool,
    /// z: the code of 0. With a table it does not count.
    pub zero: u8,
    /// With codes of four bits: the numbers that they stand for, in the place of q − z.
    pub table: Option<[i8; 16]>,
}

/// Values under one f16 where groups have whole numbers as scales.
pub(super) const SUPER: usize = 256;

/// 32 weights of a row: w = d·(q − z) + m with d = scale·scales[g] and m = least·leasts[g] in group g.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// q.
    pub codes: [u8; BLOCK],
    /// Of these values, or of the 256 among which they are.
    pub scale: f16,
    /// As `scale`.
    pub least: f16,
    /// Of each group, one of 32 values or two of 16; 1 with [`Scales::Halves`].
    pub scales: [i8; 2],
    /// As `scales`.
    pub leasts: [i8; 2],
}

impl Form {
    /// # Panics
    /// If parts of the form do not go together, or rows of k values are not whole blocks of it.
    #[track_caller]
    pub(super) fn check(&self, k: usize) {
        let Self { bits, group, scales, table, .. } = self;
        let unit = if *scales == Scales::Halves { BLOCK } else { SUPER };
        assert!(k.is_multiple_of(unit), "k is {k}, not whole blocks of {unit}");
        assert!(matches!(group, 16 | 32), "groups of {group} values (16 or 32)");
        assert!(*scales != Scales::Halves || *group == 32, "f16 scales for groups of {group} values (32)");
        assert!(table.is_none() || *bits == Bits::Four, "a table for codes of {} bits (4)", bits.count());
    }

    /// Groups of a block.
    pub(super) fn groups(&self) -> usize {
        BLOCK / self.group
    }

    /// z, for codes that went through the table, if there is one.
    pub(super) fn zero(&self) -> i32 {
        if self.table.is_some() { 128 } else { self.zero.into() }
    }

    /// What stands for each code of four bits, with 128 for 0.
    pub(super) fn table(&self) -> Option<[u8; 16]> {
        self.table.map(|table| table.map(|value| value as u8 ^ 0x80))
    }

    /// Bytes of the scales of a block of a panel but for those of 256 values.
    pub(super) fn small_bytes(&self) -> usize {
        let forms = 1 + usize::from(self.has_least);
        match self.scales {
            Scales::Halves => 2 * LANES * forms,
            Scales::Bytes => self.groups() * LANES * forms,
            Scales::Nibbles => self.groups() * LANES,
        }
    }

    /// Bytes of the scales of 256 values of a panel.
    pub(super) fn large_bytes(&self) -> usize {
        if self.scales == Scales::Halves { 0 } else { 2 * LANES * (1 + usize::from(self.has_least)) }
    }

    /// Blocks along k whose codes lie together before their scales: as few as fill whole lines, or those of 256 values. A panel is then one
    /// stream through memory, and a kernel finds scales where it has just been.
    pub(super) fn unit(&self) -> usize {
        match (self.scales, self.has_least) {
            (Scales::Halves, true) => 1,
            (Scales::Halves, false) => 2,
            (Scales::Bytes | Scales::Nibbles, _) => SUPER / BLOCK,
        }
    }

    /// Lines of a unit of a panel.
    pub(super) fn unit_lines(&self) -> usize {
        let scales = self.unit() * self.small_bytes() + self.large_bytes();
        self.unit() * self.bits.lines() + scales.div_ceil(LINE)
    }

    /// Lines of a panel with so many blocks along k.
    pub(super) fn panel_lines(&self, blocks: usize) -> usize {
        blocks.div_ceil(self.unit()) * self.unit_lines()
    }

    /// Where in a panel the codes of a block, its own scales, and those of its 256 values begin, in bytes.
    pub(super) fn places(&self, index: usize) -> [usize; 3] {
        let (unit, within) = (index / self.unit(), index % self.unit());
        let codes = unit * self.unit_lines() * LINE;
        let small = codes + self.unit() * self.bits.lines() * LINE;
        let large = small + self.unit() * self.small_bytes();
        [codes + within * self.bits.lines() * LINE, small + within * self.small_bytes(), large]
    }
}
