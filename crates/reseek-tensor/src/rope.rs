//! Rotary position embedding (Su et al. 2021): pairs of values turned by position × frequency.
//! Frequencies come from the specification, which has YaRN and Llama 3 scaling applied.

use std::sync::OnceLock;

use crate::buffer::ViewMut;
use crate::heads::Heads;
use crate::profile::{Op, span};

/// Cosines and sines of positions, computed by blocks when the first position of one is asked for: a model of 131,072 positions would spend
/// seconds and tens of MB on all of them, and most sequences are short.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// Of [`BLOCK`] positions each, `[positions, 2, rope_dim / 2]`: `mscale * cos`, then `mscale * sin`.
    blocks: Vec<OnceLock<Box<[f32]>>>,
    inv_freq: Vec<f64>,
    max_positions: usize,
    mscale: f32,
}

/// Positions that are computed at once, in some milliseconds.
const BLOCK: usize = 1024;

/// Which two values of a head are a pair, in Hugging Face's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// (2i, 2i + 1): DeepSeek's `rope_interleave`.
    Interleaved,
    /// (i, i + rope_dim / 2): `rotate_half` of Llama and Qwen.
    HalfSplit,
}

/// Which way to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeDirection {
    /// By the position's angle.
    Forward,
    /// The transpose, which is the gradient; also the inverse where `mscale` is 1.
    Inverse,
}

impl RopeTable {
    /// Angles are computed in f64 from `inv_freq`, radians a position, one a pair. `mscale`
    /// multiplies the rotated values (Hugging Face's `attention_scaling`). Positions past those that a u32 can name are left out.
    ///
    /// # Panics
    /// If there is no frequency.
    pub fn new(inv_freq: &[f64], max_positions: usize, mscale: f32) -> Self {
        assert!(!inv_freq.is_empty(), "RoPE without frequencies");
        let max_positions = max_positions.min((u32::MAX as usize).saturating_add(1));
        let blocks = (0..max_positions.div_ceil(BLOCK)).map(|_| OnceLock::new()).collect();
        Self { blocks, inv_freq: inv_freq.to_vec(), max_positions, mscale }
    }

    /// Values of a head that are turned: two a frequency.
    pub fn rope_dim(&self) -> usize {
        2 * self.inv_freq.len()
    }

    /// Positions in the table, from 0 on.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// The cosines and sines of a position that is in the table.
    fn at(&self, position: u32) -> (&[f32], &[f32]) {
        let (block, row) = (position as usize / BLOCK, position as usize % BLOCK);
        let values = self.blocks[block].get_or_init(|| self.block(block));
        values[row * self.rope_dim()..(row + 1) * self.rope_dim()].split_at(self.inv_freq.len())
    }

    #[cold]
    fn block(&self, block: usize) -> Box<[f32]> {
        let positions = block * BLOCK..((block + 1) * BLOCK).min(self.max_positions);
        let mut values = vec![0.0; positions.len() * self.rope_dim()];
        for (position, row) in positions.zip(values.chunks_exact_mut(self.rope_dim())) {
            let (cosines, sines) = row.split_at_mut(self.inv_freq.len());
            for ((to_cos, to_sin), frequency) in cosines.iter_mut().zip(sines).zip(&self.inv_freq) {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                *to_cos = (cos * f64::from(self.mscale)) as f32;
                *to_sin = (sin * f64::from(self.mscale)) as f32;
            }
        }
        values.into()
    }
}

/// Turns in place the part `heads` of every row r, [`RopeTable::rope_dim`] values of each head, by `positions[r]`: with the pair (a, b),
/// `a·cos − b·sin` and `b·cos + a·sin`.
///
/// # Panics
/// If a position is not in the table, if the part has another width, or if `x` is not one row for each position.
pub fn rope<'m>(
    x: impl Into<ViewMut<'m>>,
    positions: &[u32],
    table: &RopeTable,
    heads: Heads,
    style: RopeStyle,
    direction: RopeDirection,
) {
    let x = x.into().0;
    assert_eq!(heads.width, table.rope_dim(), "the table turns another width than {heads:?}");
    assert_eq!(heads.rows("x", x.len()), positions.len(), "rows for {} positions", positions.len());
    let values = positions.len() * heads.count * heads.width;
    let _span = span(Op::Rope, 3 * values, 2 * values);
    let sign = match direction {
        RopeDirection::Forward => 1.0,
        RopeDirection::Inverse => -1.0,
    };
    for (row, &position) in positions.iter().enumerate() {
        assert!(
            (position as usize) < table.max_positions(),
            "position {position} is outside the RoPE table of {} positions",
            table.max_positions()
        );
        let (cos, sin) = table.at(position);
        for head in 0..heads.count {
            let x = &mut x[heads.at(row, head)];
            match style {
                RopeStyle::Interleaved => turn_interleaved(x, cos, sin, sign),
                RopeStyle::HalfSplit => turn_half_split(x, cos, sin, sign),
            }
        }
    }
}

fn turn_interleaved(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    for ([a, b], (cos, sin)) in x.as_chunks_mut().0.iter_mut().zip(cos.iter().zip(sin)) {
        (*a, *b) = turn(*a, *b, *cos, sign * sin);
    }
}

fn turn_half_split(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let (first, second) = x.split_at_mut(cos.len());
    for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(cos.iter().zip(sin)) {
        (*a, *b) = turn(*a, *b, *cos, sign * sin);
    }
}

#[inline(always)]
fn turn(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, b * cos + a * sin)
}
