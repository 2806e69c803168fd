//! Multi-token prediction, depth 1 (V3 report, 2.2): from the main model's hidden row at t and the embedding of token t + 1, one
//! more layer predicts token t + 2 through the shared head.
//!
//! Order of the concatenation as in the published weights: [enorm(embedding); hnorm(hidden)], eh_proj, layer, shared_head.norm.

use reseek_tensor::buffer::Buffer;
use reseek_tensor::embedding::{embedding_backward, embedding_forward};
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::operand::Operand;
use reseek_tensor::permute::{join_rows, split_rows};

use crate::Weights;
use crate::block::{Block, BlockSaved};
use crate::part::{Matrix, Norm};
use crate::rows::Pass;
use crate::weights::Source;

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
    pub fn new(weights: Source) -> Self {
        let index = weights.spec.num_hidden_layers;
        let norm = |part: &str| Norm::new(weights, &format!("model.layers.{index}.{part}"));
        Self {
            enorm: norm("enorm"),
            hnorm: norm("hnorm"),
            // In bf16 where the rest is in fp8, as in V3's files.
            eh_proj: Matrix::in_format(weights, &format!("model.layers.{index}.eh_proj"), weights.compute.dtype()),
            block: Block::new(weights, index),
            norm: norm("shared_head.norm"),
        }
    }

    pub fn repack(&mut self, weights: &Weights) {
        [&mut self.enorm, &mut self.hnorm, &mut self.norm].into_iter().for_each(|norm| norm.repack(&weights.data));
        self.eh_proj.repack(&weights.data);
        self.block.repack(weights);
    }

    /// `hidden` [n, d] of the main model after its last norm, `next` the token after each row.
    pub fn forward(&self, hidden: &[f32], embedding: &[f32], next: Vec<u32>, pass: Pass) -> MtpSaved {
        let x = self.eh_proj.forward(&self.join(hidden, embedding, &next), next.len());
        let (y, block) = self.block.forward(x, pass);
        let hidden = self.norm.forward(&y);
        MtpSaved { next, block, y, hidden }
    }

    /// Adds to the gradients of the main model's hidden rows, of the embedding and of the weights.
    pub fn backward(
        &self,
        dhidden: &mut [f32],
        dembedding: std::ops::Range<usize>,
        grads: &mut [f32],
        dy: &[f32],
        hidden: &[f32],
        embedding: &[f32],
        saved: &MtpSaved,
        pass: Pass,
        balance: f32,
    ) {
        let d = hidden.len() / saved.next.len();
        let mut dx = Buffer::new(dy.len());
        self.norm.backward(&mut dx, grads, dy, &saved.y, Accumulate::Set);
        let dx = self.block.backward(dx, grads, &saved.block, pass, balance);
        let joined = self.join(hidden, embedding, &saved.next);
        let mut djoined = Buffer::new(2 * dy.len());
        self.eh_proj.backward(&mut djoined, Accumulate::Set, grads, &dx, &joined);

        let (mut demb_normed, mut dhidden_normed) = (Buffer::new(dy.len()), Buffer::new(dy.len()));
        split_rows(&mut demb_normed, d, &mut dhidden_normed, d, &djoined);
        self.hnorm.backward(dhidden, grads, &dhidden_normed, hidden, Accumulate::Add);
        let emb = self.embed(embedding, &saved.next, d);
        let mut demb = dhidden_normed;
        self.enorm.backward(&mut demb, grads, &demb_normed, &emb, Accumulate::Set);
        embedding_backward(&mut grads[dembedding], &demb, &saved.next, d);
    }

    /// [enorm(embedding of next); hnorm(hidden)], [n, 2d].
    fn join(&self, hidden: &[f32], embedding: &[f32], next: &[u32]) -> Operand<'static> {
        let d = hidden.len() / next.len();
        let emb = self.enorm.forward(&self.embed(embedding, next, d));
        let hidden = self.hnorm.forward(hidden);
        let mut joined = Buffer::new(2 * hidden.len());
        join_rows(&mut joined, &emb, d, &hidden, d);
        Operand::owned(joined, 2 * d, self.eh_proj.dtype())
    }

    fn embed(&self, embedding: &[f32], tokens: &[u32], d: usize) -> Buffer {
        let mut emb = Buffer::new(tokens.len() * d);
        embedding_forward(&mut emb, embedding, tokens, d);
        emb
    }
}
