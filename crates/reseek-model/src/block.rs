//! One decoder layer: x + attention(norm(x)), then + feed-forward(norm(x)). The norms' outputs are computed again in the backward
//! pass instead of kept (V3 report, 3.2.3).

use std::borrow::Cow;

use reseek_tensor::buffer::Buffer;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::elementwise::add;
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::operand::Operand;

use crate::cache::{CacheMode, LayerCache};
use crate::gqa::{Gqa, GqaSaved};
use crate::mla::{Mla, MlaSaved};
use crate::moe::{Mlp, MlpSaved, Moe, MoeSaved};
use crate::part::Norm;
use crate::pending::Backward;
use crate::rows::Pass;
use crate::source::Source;
use crate::{ModelError, Weights};

/// A layer of any family.
#[derive(Debug)]
pub(crate) struct Block {
    attention_norm: Norm,
    attention: Attention,
    ffn_norm: Norm,
    ffn: Ffn,
}

#[derive(Debug)]
enum Attention {
    Mla(Box<Mla>),
    Gqa(Box<Gqa>),
}

impl Attention {
    fn dtype(&self) -> Dtype {
        match self {
            Attention::Mla(mla) => mla.dtype(),
            Attention::Gqa(gqa) => gqa.dtype(),
        }
    }
}

#[derive(Debug)]
enum Ffn {
    Dense(Box<Mlp>),
    Moe(Box<Moe>),
}

/// What a layer keeps for its backward pass: its input [n, d], the input of its second half [n, d] and what its parts keep.
#[derive(Debug)]
pub(crate) struct BlockSaved {
    x: Buffer,
    attention: AttentionSaved,
    mid: Buffer,
    ffn: FfnSaved,
}

#[derive(Debug)]
enum AttentionSaved {
    Mla(MlaSaved),
    Gqa(GqaSaved),
}

#[derive(Debug)]
enum FfnSaved {
    Dense(MlpSaved),
    Moe(Box<MoeSaved>),
}

impl Block {
    /// Layer `index` of the files; the one after the last is the MTP module's.
    pub fn new(source: Source, index: usize) -> Result<Self, ModelError> {
        let spec = source.spec;
        let prefix = format!("model.layers.{index}");
        let attention = match &spec.mla {
            Some(_) => Attention::Mla(Box::new(Mla::new(source, &format!("{prefix}.self_attn"))?)),
            None => Attention::Gqa(Box::new(Gqa::new(source, &format!("{prefix}.self_attn"))?)),
        };
        let mlp = format!("{prefix}.mlp");
        let ffn = match &spec.moe {
            Some(moe) if moe.is_in(index) => Ffn::Moe(Box::new(Moe::new(source, &mlp, moe)?)),
            _ => Ffn::Dense(Box::new(Mlp::new(source, &mlp)?)),
        };
        Ok(Self {
            attention_norm: Norm::new(source, &format!("{prefix}.input_layernorm"))?,
            attention,
            ffn_norm: Norm::new(source, &format!("{prefix}.post_attention_layernorm"))?,
            ffn,
        })
    }

    pub fn repack(&mut self, weights: &Weights) {
        self.attention_norm.repack(&weights.data);
        self.ffn_norm.repack(&weights.data);
        match &mut self.attention {
            Attention::Mla(mla) => mla.repack(&weights.data),
            Attention::Gqa(gqa) => gqa.repack(&weights.data),
        }
        match &mut self.ffn {
            Ffn::Dense(mlp) => mlp.repack(&weights.data),
            Ffn::Moe(moe) => moe.repack(weights),
        }
    }

    pub fn forward(&self, x: Buffer, pass: Pass) -> (Buffer, BlockSaved) {
        let h = self.attention_norm.operand(&x, self.attention.dtype());
        let (mut mid, attention) = match &self.attention {
            Attention::Mla(mla) => {
                let (y, saved) = mla.forward(&h, pass);
                (y, AttentionSaved::Mla(saved))
            }
            Attention::Gqa(gqa) => {
                let (y, saved) = gqa.forward(&h, pass);
                (y, AttentionSaved::Gqa(saved))
            }
        };
        add(&mut mid, &x);
        let (mut y, ffn) = self.feed_forward(&mid, pass.rows.len());
        add(&mut y, &mid);
        (y, BlockSaved { x, attention, mid, ffn })
    }

    /// The gradient of the input, all that the layer before waits for; gradients of weights are left to `back`.
    pub fn backward_input<'a>(&'a self, dy: Buffer, saved: &'a BlockSaved, back: &mut Backward<'a, '_>) -> Buffer {
        let mut dh = Buffer::zeros(saved.mid.len());
        match (&self.ffn, &saved.ffn) {
            (Ffn::Dense(mlp), FfnSaved::Dense(ffn)) => {
                let h = self.ffn_norm.operand(&saved.mid, mlp.dtype());
                let dy = Operand::of(&dy, h.width(), mlp.dtype()).into_owned();
                mlp.backward(&mut dh, &dy, &h, ffn, back);
            }
            (Ffn::Moe(moe), FfnSaved::Moe(ffn)) => {
                moe.backward(&mut dh, &dy, self.ffn_norm.forward(&saved.mid), ffn, back);
            }
            _ => unreachable!("a layer's activations are its own"),
        }
        let mut dmid = dy;
        self.ffn_norm.backward(&mut dmid, Accumulate::Add, dh, Cow::Borrowed(&saved.mid), back);

        let h = self.attention_norm.operand(&saved.x, self.attention.dtype());
        let dh = match (&self.attention, &saved.attention) {
            (Attention::Mla(mla), AttentionSaved::Mla(saved)) => mla.backward(&dmid, &h, saved, back),
            (Attention::Gqa(gqa), AttentionSaved::Gqa(saved)) => gqa.backward(&dmid, &h, saved, back),
            _ => unreachable!("a layer's activations are its own"),
        };
        let mut dx = dmid;
        self.attention_norm.backward(&mut dx, Accumulate::Add, dh, Cow::Borrowed(&saved.x), back);
        dx
    }

    /// New rows of cached sequences.
    pub fn decode(&self, x: Buffer, pass: Pass, cache: &mut LayerCache, slots: &[usize], mode: CacheMode) -> Buffer {
        let h = self.attention_norm.operand(&x, self.attention.dtype());
        let mut mid = match &self.attention {
            Attention::Mla(mla) => mla.decode(&h, pass, cache, slots, mode),
            Attention::Gqa(gqa) => gqa.decode(&h, pass, cache, slots),
        };
        add(&mut mid, &x);
        let (mut y, _) = self.feed_forward(&mid, pass.rows.len());
        add(&mut y, &mid);
        y
    }

    /// The mixture, where this layer has one.
    pub fn moe(&self) -> Option<&Moe> {
        match &self.ffn {
            Ffn::Moe(moe) => Some(moe),
            Ffn::Dense(_) => None,
        }
    }

    fn feed_forward(&self, mid: &Buffer, n: usize) -> (Buffer, FfnSaved) {
        match &self.ffn {
            Ffn::Dense(mlp) => {
                let (y, saved) = mlp.forward(&self.ffn_norm.operand(mid, mlp.dtype()), n);
                (y, FfnSaved::Dense(saved))
            }
            Ffn::Moe(moe) => {
                let (y, saved) = moe.forward(&self.ffn_norm.forward(mid), n);
                (y, FfnSaved::Moe(Box::new(saved)))
            }
        }
    }
}

impl BlockSaved {
    /// What the mixture kept, where the layer has one.
    pub fn moe(&self) -> Option<&MoeSaved> {
        match &self.ffn {
            FfnSaved::Moe(saved) => Some(saved),
            FfnSaved::Dense(_) => None,
        }
    }
}
