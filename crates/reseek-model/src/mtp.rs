//! Multi-token prediction, depth 1 (V3 report, 2.2): from the main model's hidden row at t and the embedding of token t + 1, one
//! more layer predicts token t + 2 through the shared head.
//!
//! Order of the concatenation as in the published weights: [enorm(embedding); hnorm(hidden)], eh_proj, layer, shared_head.norm.

use std::borrow::Cow;

use reseek_tensor::buffer::Buffer;
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::operand::Operand;
use reseek_tensor::permute::{join_rows, split_rows};

use crate::block::{Block, BlockSaved};
use crate::norm::Norm;
use crate::part::{Embedding, Matrix};
use crate::pending::Backward;
use crate::rows::Pass;
use crate::source::Source;
use crate::{ModelError, Weights};

/// The module.
#[derive(Debug)]
pub(crate) struct Mtp {
    enorm: Norm,
    hnorm: Norm,
    eh_proj: Matrix,
    pub block: Block,
    norm: Norm,
}

/// What it keeps: the next tokens, its layer's activations and the layer's output [n, d].
#[derive(Debug)]
pub(crate) struct MtpSaved {
    next: Vec<u32>,
    pub block: BlockSaved,
    y: Buffer,
    pub hidden: Buffer,
}

impl Mtp {
    pub fn new(source: Source) -> Result<Self, ModelError> {
        let index = source.spec.num_hidden_layers;
        let norm = |part: &str| Norm::new(source, &format!("model.layers.{index}.{part}"));
        Ok(Self {
            enorm: norm("enorm")?,
            hnorm: norm("hnorm")?,
            // In bf16 where the rest is in fp8, as in V3's files.
            eh_proj: Matrix::in_format(source, &format!("model.layers.{index}.eh_proj"), source.compute.dtype())?,
            block: Block::new(source, index)?,
            norm: norm("shared_head.norm")?,
        })
    }

    pub fn repack(&mut self, weights: &Weights) {
        [&mut self.enorm, &mut self.hnorm, &mut self.norm].into_iter().for_each(|norm| norm.repack(&weights.data));
        self.eh_proj.repack(&weights.data);
        self.block.repack(weights);
    }

    /// `hidden` [n, d] of the main model after its last norm, `next` the token after each row.
    pub fn forward(&self, hidden: &Buffer, embedding: &Embedding, next: Vec<u32>, pass: Pass) -> MtpSaved {
        let x = self.eh_proj.forward(&self.join(hidden, &embedding.forward(&next)), next.len());
        let (y, block) = self.block.forward(x, pass);
        let hidden = self.norm.forward(&y);
        MtpSaved { next, block, y, hidden }
    }

    /// Adds to the gradient of the main model's hidden rows; those of the embedding and of the weights are left to `back`.
    pub fn backward<'a>(
        &'a self,
        dhidden: &mut Buffer,
        dy: Buffer,
        hidden: &'a Buffer,
        embedding: &'a Embedding,
        saved: &'a MtpSaved,
        back: &mut Backward<'a, '_>,
    ) {
        let (len, d) = (dy.len(), self.eh_proj.out);
        let mut dx = Buffer::uncleared(len);
        self.norm.backward(&mut dx, Accumulate::Set, dy, Cow::Borrowed(&saved.y), back);
        let dx = self.block.backward_input(dx, &saved.block, back);
        let emb = embedding.forward(&saved.next);
        let joined = self.join(hidden, &emb);
        let mut djoined = Buffer::uncleared(2 * len);
        self.eh_proj.backward(&mut djoined, Accumulate::Set, Cow::Owned(dx), &joined, back);

        let (mut demb_normed, mut dhidden_normed) = (Buffer::uncleared(len), Buffer::uncleared(len));
        split_rows(&mut demb_normed, d, &mut dhidden_normed, d, &djoined);
        self.hnorm.backward(dhidden, Accumulate::Add, dhidden_normed, Cow::Borrowed(hidden), back);
        let mut demb = Buffer::uncleared(len);
        self.enorm.backward(&mut demb, Accumulate::Set, demb_normed, Cow::Owned(emb), back);
        embedding.backward(demb, &saved.next, back);
    }

    /// [enorm(embedding of next); hnorm(hidden)], [n, 2d].
    fn join(&self, hidden: &Buffer, emb: &Buffer) -> Operand<'static> {
        let d = self.eh_proj.out;
        let (emb, hidden) = (self.enorm.forward(emb), self.hnorm.forward(hidden));
        let mut joined = Buffer::uncleared(2 * hidden.len());
        join_rows(&mut joined, &emb, d, &hidden, d);
        Operand::owned(joined, 2 * d, self.eh_proj.dtype())
    }
}
