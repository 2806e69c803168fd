//! Blocks of rows put into panels.

use std::ops::Range;
use std::sync::Arc;

use super::form::{Block, Form, SUPER, Scales};
use super::panel::{WORDS, planes};
use super::{BLOCK, LINE, Quantised};
use crate::aligned::Line;
use crate::pool::map_lanes;
use crate::simd::LANES;

impl Quantised {
    /// Packs W `[n, k]`: `fill` gives each panel its rows. Panels are filled on all threads, in no order, with nothing but the panels in memory.
    ///
    /// # Errors
    /// The first of `fill`'s errors in the panels' order.
    ///
    /// # Panics
    /// If rows of k values are not whole blocks of the form, or parts of the form do not go together.
    pub fn pack<E: Send>(
        form: Form,
        n: usize,
        k: usize,
        fill: impl Fn(&mut PanelMut) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        form.check(k);
        let blocks = k / BLOCK;
        let panel_lines = form.panel_lines(blocks);
        let mut lines = Line::zeros(n.div_ceil(LANES) * panel_lines * Line::VALUES);
        if panel_lines > 0 {
            let panels: Vec<PanelMut> = lines
                .chunks_exact_mut(panel_lines)
                .enumerate()
                .map(|(index, lines)| PanelMut {
                    form: &form,
                    rows: index * LANES..n.min((index + 1) * LANES),
                    blocks,
                    bytes: Line::bytes_mut(lines),
                })
                .collect();
            map_lanes(panels, |mut panel| fill(&mut panel)).into_iter().collect::<Result<(), E>>()?;
        }
        Ok(Self { n, k, form, lines: Arc::new(lines) })
    }
}

/// Up to 16 rows of a matrix that is packed. A row that is not set is zeros.
pub struct PanelMut<'a> {
    form: &'a Form,
    rows: Range<usize>,
    blocks: usize,
    bytes: &'a mut [u8],
}

impl PanelMut<'_> {
    /// The matrix's rows that it holds.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Sets a row from its blocks.
    ///
    /// # Panics
    /// If the row is none of [`PanelMut::rows`], the blocks are not k/32, or a code does not fit in the form's bits.
    pub fn set_row(&mut self, row: usize, blocks: impl IntoIterator<Item = Block>) {
        assert!(self.rows.contains(&row), "row {row} for a panel of the rows {:?}", self.rows);
        let (lane, mut count) = (row - self.rows.start, 0);
        for block in blocks {
            assert!(count < self.blocks, "row {row} has more than {} blocks", self.blocks);
            self.set(lane, count, &block);
            count += 1;
        }
        assert_eq!(count, self.blocks, "blocks of row {row}");
    }

    fn set(&mut self, lane: usize, index: usize, block: &Block) {
        let form = self.form;
        let lines = form.bits.lines();
        let [codes, small, large] = form.places(index);
        set_codes(&mut self.bytes[codes..][..lines * LINE], lane, form.bits.count(), &block.codes);
        let (own, others) = self.bytes.split_at_mut(large);
        let small = &mut own[small..][..form.small_bytes()];
        if form.scales == Scales::Halves {
            return set_halves(small, lane, block, form.has_least);
        }
        if (index * BLOCK).is_multiple_of(SUPER) {
            set_halves(&mut others[..form.large_bytes()], lane, block, form.has_least);
        }
        for group in 0..form.groups() {
            let (scale, least) = (block.scales[group] as u8, block.leasts[group] as u8);
            if form.scales == Scales::Nibbles {
                assert!(scale < 16 && least < 16, "scales {scale} and {least} in four bits");
                small[group * LANES + lane] = scale | least << 4;
            } else {
                small[group * LANES + lane] = scale;
                if form.has_least {
                    small[(form.groups() + group) * LANES + lane] = least;
                }
            }
        }
    }
}

fn set_halves(halves: &mut [u8], lane: usize, block: &Block, has_least: bool) {
    halves[2 * lane..][..2].copy_from_slice(&block.scale.to_le_bytes());
    if has_least {
        halves[2 * (LANES + lane)..][..2].copy_from_slice(&block.least.to_le_bytes());
    }
}

/// Codes into the planes of a block.
fn set_codes(lines: &mut [u8], lane: usize, bits: usize, codes: &[u8; BLOCK]) {
    let words: [u32; WORDS] =
        std::array::from_fn(|word| u32::from_le_bytes(*codes[4 * word..].first_chunk().expect("a block has 8 words")));
    let all = words.iter().fold(0, |all, word| all | word);
    assert!(all & !(0x0101_0101 * (0xff >> (8 - bits))) == 0, "a code of {bits} bits is above {}", (1 << bits) - 1);
    for plane in planes(bits) {
        for (line, words) in words.chunks_exact(plane.words()).enumerate() {
            let together = words
                .iter()
                .enumerate()
                .fold(0, |line, (place, word)| line | (word >> plane.shift & plane.mask()) << (plane.width * place));
            lines[(plane.line + line) * LINE + 4 * lane..][..4].copy_from_slice(&together.to_le_bytes());
        }
    }
}
