//! The whole model: embedding, layers, last norm, head, and the MTP module beside them.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use reseek_spec::{MlaSpec, ModelSpec, RotaryTable};
use reseek_tensor::buffer::Buffer;
use reseek_tensor::compute::Compute;
use reseek_tensor::linear::Linear;
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::pool::map_lanes;
use reseek_tensor::rope::RopeTable;

use crate::block::{Block, BlockSaved};
use crate::cache::{CacheMode, KvCache};
use crate::mtp::{Mtp, MtpSaved};
use crate::norm::Norm;
use crate::part::Embedding;
use crate::pending::{Backward, Pending, Sink};
use crate::rows::{Pass, Rows};
use crate::source::{Source, Tensors, Use};
use crate::{Layout, ModelError, Weights};

/// A model ready to compute: weights packed for the kernels. [`Model::repack`] follows an update of the weights.
#[derive(Debug)]
pub struct Model {
    spec: Arc<ModelSpec>,
    layout: Arc<Layout>,
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    head_range: Range<usize>,
    mtp: Option<Mtp>,
    ropes: Vec<RopeTable>,
}

/// What a training pass leaves for the loss and for the backward pass.
#[derive(Debug)]
pub struct Activations {
    rows: Rows,
    query_scales: Option<Buffer>,
    blocks: Vec<BlockSaved>,
    y: Buffer,
    hidden: Buffer,
    mtp: Option<MtpSaved>,
}

/// Gradients of a loss with respect to what a pass gave.
#[derive(Debug)]
pub struct OutputGradients {
    /// Of [`Activations::hidden`], [n, d].
    pub hidden: Buffer,
    /// Of [`Activations::mtp_hidden`], [n, d], where the pass ran the module.
    pub mtp_hidden: Option<Buffer>,
    /// The sequence-wise balance loss's α divided by the rows of the whole batch, so that lanes add up to the mean.
    pub balance: f32,
}

impl Model {
    /// Packs `weights`.
    pub fn new(weights: &Weights) -> Self {
        Self::in_memory(weights, Use::Trained)
    }

    /// Packs `weights` for passes forward alone, in half the memory: the same values, but [`Model::backward`] panics. For a reference
    /// policy, or a model to sample from.
    pub fn forward_only(weights: &Weights) -> Self {
        Self::in_memory(weights, Use::Followed)
    }

    /// A model to sample from and to score with, of tensors that are read one by one: beside the packed ones there is one at a time in
    /// memory. [`Model::backward`] and [`Model::repack`] panic.
    ///
    /// # Errors
    /// If this crate does not compute such a model, or a tensor cannot be read or has another shape than `spec` says.
    pub fn open(spec: ModelSpec, tensors: &dyn Tensors, compute: impl Into<Compute>) -> Result<Self, ModelError> {
        crate::check(&spec)?;
        let layout = Arc::new(Layout::new(&spec));
        let spec = Arc::new(spec);
        let source = Source { spec: &spec, layout: &layout, tensors, compute: compute.into(), how: Use::Fixed };
        Self::pack(source, spec.clone(), layout.clone())
    }

    fn in_memory(weights: &Weights, how: Use) -> Self {
        let Weights { spec, layout, compute, .. } = weights;
        let source = Source { spec, layout, tensors: weights, compute: *compute, how };
        Self::pack(source, spec.clone(), layout.clone()).expect("weights in memory have every tensor")
    }

    fn pack(source: Source, spec: Arc<ModelSpec>, layout: Arc<Layout>) -> Result<Self, ModelError> {
        let embedding = Embedding::new(source)?;
        let head_name = if spec.tie_word_embeddings { Embedding::NAME } else { "lm_head.weight" };
        let head = match embedding.as_head().filter(|_| spec.tie_word_embeddings) {
            Some(head) => head,
            // V3 keeps the head out of fp8 (report, 3.3.1).
            None => source.linear(head_name, source.compute.dtype().into())?,
        };
        Ok(Self {
            embedding,
            blocks: (0..spec.num_hidden_layers).map(|i| Block::new(source, i)).collect::<Result<_, _>>()?,
            norm: Norm::new(source, "model.norm")?,
            mtp: if spec.num_nextn_predict_layers > 0 { Some(Mtp::new(source)?) } else { None },
            head,
            ropes: spec.rotary_tables().iter().map(|t| rope_table(t, spec.max_position_embeddings)).collect(),
            head_range: layout.range(head_name),
            layout,
            spec,
        })
    }

    /// Takes the values of `weights`, of the same layout, after an update.
    pub fn repack(&mut self, weights: &Weights) {
        assert_eq!(weights.data.len(), self.layout.parameters(), "weights of another layout");
        self.norm.repack(&weights.data);
        let Self { embedding, blocks, head, head_range, mtp, .. } = self;
        let mut parts: Vec<Box<dyn FnMut() + Send>> = vec![
            Box::new(|| head.repack(&weights.data[head_range.clone()])),
            Box::new(|| embedding.repack(&weights.data)),
        ];
        for block in blocks {
            parts.push(Box::new(|| block.repack(weights)));
        }
        if let Some(mtp) = mtp {
            parts.push(Box::new(|| mtp.repack(weights)));
        }
        map_lanes(parts, |mut repack| repack());
    }

    /// What the model is.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The head's weight [vocab, d], packed: losses and samplers apply it to hidden rows.
    pub fn head(&self) -> &Linear {
        &self.head
    }

    /// Where the head's gradient lies in the flat buffer; the embedding's place when the two are tied.
    pub fn head_range(&self) -> Range<usize> {
        self.head_range.clone()
    }

    /// Whether the model has a multi-token prediction module.
    pub fn has_mtp(&self) -> bool {
        self.mtp.is_some()
    }

    /// Values in the flat gradient buffer.
    pub fn parameters(&self) -> usize {
        self.layout.parameters()
    }

    /// Bytes of the weights in the format of the head, about what a forward pass reads.
    pub fn weight_bytes(&self) -> usize {
        self.parameters() * self.head.input_dtype().bytes()
    }

    /// Bytes that a token of a sequence takes in a [`KvCache`] of this mode.
    pub fn cache_bytes_per_token(&self, mode: CacheMode) -> usize {
        let expanded = |mla: &MlaSpec| {
            let head = mla.qk_nope_head_dim + mla.qk_rope_head_dim + mla.v_head_dim;
            self.spec.num_hidden_layers * self.spec.num_attention_heads * head
        };
        let bytes = self.head.input_dtype().bytes();
        match (&self.spec.mla, mode) {
            (Some(mla), CacheMode::Expanded) => expanded(mla) * bytes,
            _ => self.spec.kv_bytes_per_token(bytes as u64) as usize,
        }
    }

    fn pass<'a>(&'a self, rows: &'a Rows, query_scales: &'a Option<Buffer>) -> Pass<'a> {
        Pass { rows, ropes: &self.ropes, query_scales: query_scales.as_ref() }
    }

    /// Factors [n] of the rows' queries, of a model that has them.
    fn query_scales(&self, rows: &Rows) -> Option<Buffer> {
        let of = |&position: &u32| self.spec.query_scale(position as usize) as f32;
        let factors = || rows.positions.iter().map(of).collect::<Vec<f32>>();
        (self.spec.llama_4_scaling_beta != 0.0).then(|| Buffer::of(&factors()))
    }

    /// A training pass. With `next`, the token after each row, the MTP module runs too.
    ///
    /// # Panics
    /// If a token is outside of the vocabulary, a position outside of the rotary table, `next` has another length than the rows,
    /// or the model has no MTP module to run.
    pub fn forward(&self, rows: Rows, next: Option<Vec<u32>>) -> Activations {
        let query_scales = self.query_scales(&rows);
        let pass = self.pass(&rows, &query_scales);
        let mut x = self.embedding.forward(&rows.tokens);
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            let (y, saved) = block.forward(x, pass);
            blocks.push(saved);
            x = y;
        }
        let hidden = self.norm.forward(&x);
        let mtp = next.map(|next| {
            assert_eq!(next.len(), rows.len(), "{} next tokens for {} rows", next.len(), rows.len());
            let mtp = self.mtp.as_ref().expect("the model has an MTP module");
            mtp.forward(&hidden, &self.embedding, next, pass)
        });
        Activations { rows, query_scales, blocks, y: x, hidden, mtp }
    }

    /// The hidden rows [n, d] of a training pass, in its bits, where nothing else of it is wanted: each layer's activations go as soon as
    /// the next has its input.
    ///
    /// # Panics
    /// If a token is outside of the vocabulary or a position outside of the rotary table.
    pub fn hidden(&self, rows: &Rows) -> Buffer {
        let query_scales = self.query_scales(rows);
        let pass = self.pass(rows, &query_scales);
        let x = self.blocks.iter().fold(self.embedding.forward(&rows.tokens), |x, block| block.forward(x, pass).0);
        self.norm.forward(&x)
    }

    /// Adds the gradients of all weights to `grads`, laid out as [`Weights::data`]. The head's own gradient is the loss's to add,
    /// at [`Model::head_range`].
    pub fn backward(&self, activations: &Activations, outputs: OutputGradients, grads: &mut [f32]) {
        self.backward_into(activations, outputs, Sink::Now(grads));
    }

    /// [`Model::backward`] in two halves: the gradients of inputs now, those of weights, with the same bits, when the result is added.
    pub fn backward_input<'a>(&'a self, activations: &'a Activations, outputs: OutputGradients) -> Pending<'a> {
        let mut pending = Pending::default();
        self.backward_into(activations, outputs, Sink::Later(&mut pending));
        pending
    }

    fn backward_into<'a>(&'a self, activations: &'a Activations, outputs: OutputGradients, sink: Sink<'a, '_>) {
        let Activations { rows, query_scales, blocks, y, hidden, mtp } = activations;
        let pass = self.pass(rows, query_scales);
        let mut back = Backward { pass, balance: outputs.balance, sink };
        let mut dhidden = outputs.hidden;
        if let (Some(saved), Some(dy)) = (mtp, outputs.mtp_hidden) {
            let mtp = self.mtp.as_ref().expect("the model has an MTP module");
            mtp.backward(&mut dhidden, dy, hidden, &self.embedding, saved, &mut back);
        }
        let mut dx = Buffer::uncleared(dhidden.len());
        self.norm.backward(&mut dx, Accumulate::Set, dhidden, Cow::Borrowed(y), &mut back);
        for (block, saved) in self.blocks.iter().zip(blocks).rev() {
            dx = block.backward_input(dx, saved, &mut back);
        }
        self.embedding.backward(dx, &rows.tokens, &mut back);
    }

    /// Hidden rows [n, d] of new tokens of cached sequences: segment s, `segments[s]` tokens, continues slot `slots[s]`.
    ///
    /// # Panics
    /// As [`Model::forward`], and if a slot is named twice.
    pub fn decode(&self, cache: &mut KvCache, tokens: &[u32], segments: &[usize], slots: &[usize]) -> Buffer {
        assert_eq!(segments.len(), slots.len(), "{} segments for {} slots", segments.len(), slots.len());
        let starts: Vec<usize> = slots.iter().map(|&slot| cache.len(slot)).collect();
        let rows = Rows::starting_at(tokens, segments, &starts);
        let query_scales = self.query_scales(&rows);
        let pass = self.pass(&rows, &query_scales);
        let mut x = self.embedding.forward(tokens);
        let mode = cache.mode;
        for (block, layer) in self.blocks.iter().zip(&mut cache.layers) {
            x = block.decode(x, pass, layer, slots, mode);
        }
        cache.advance(&rows, slots);
        self.norm.forward(&x)
    }

    /// The places of the mixtures' correction biases in [`Weights::buffers`], empty of those without, in the order of [`Activations::expert_counts`].
    pub fn bias_ranges(&self) -> Vec<Range<usize>> {
        self.mixtures().map(|moe| moe.bias_range()).collect()
    }

    fn mixtures(&self) -> impl Iterator<Item = &crate::moe::Moe> {
        let mtp = self.mtp.iter().map(|mtp| &mtp.block);
        self.blocks.iter().chain(mtp).filter_map(Block::moe)
    }
}

fn rope_table(table: &RotaryTable, positions: usize) -> RopeTable {
    RopeTable::new(&table.inv_freq, positions, table.mscale as f32)
}

impl Activations {
    /// Hidden rows after the last norm, [n, d].
    pub fn hidden(&self) -> &[f32] {
        self.hidden.host()
    }

    /// The MTP module's hidden rows, [n, d].
    pub fn mtp_hidden(&self) -> Option<&[f32]> {
        self.mtp.as_ref().map(|mtp| mtp.hidden.host())
    }

    /// The rows of the pass.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Tokens that each expert of each mixture received, the MTP module's last.
    pub fn expert_counts(&self, model: &Model) -> Vec<Vec<u32>> {
        model.mixtures().zip(self.mixtures()).map(|(moe, saved)| moe.counts(saved)).collect()
    }

    /// Σ f·P of the balance loss, summed over rows and mixtures: rows × mixtures when every load is even.
    pub fn balance(&self, model: &Model) -> f64 {
        let of = |(moe, saved): (&crate::moe::Moe, _)| moe.balance(saved, &self.rows.segments);
        model.mixtures().zip(self.mixtures()).map(of).sum()
    }

    fn mixtures(&self) -> impl Iterator<Item = &crate::moe::MoeSaved> {
        let mtp = self.mtp.iter().map(|mtp| &mtp.block);
        self.blocks.iter().chain(mtp).filter_map(BlockSaved::moe)
    }
}
