//! One decoder layer: x + attention(norm(x)), then + feed-forward(norm(x)); the norms stand before, as here, or behind what they belong to,
//! or on both sides. The outputs of norms before are computed again in the backward pass instead of kept (V3 report, 3.2.3).

use std::borrow::Cow;

use reseek_spec::NormPlaces;
use reseek_tensor::buffer::Buffer;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::elementwise::add;
use reseek_tensor::matmul::Accumulate;
use reseek_tensor::operand::Operand;

use crate::cache::{CacheMode, LayerCache};
use crate::gqa::{Gqa, GqaSaved};
use crate::mla::{Mla, MlaSaved};
use crate::mlp::{Mlp, MlpSaved};
use crate::moe::{Moe, MoeSaved};
use crate::norm::Norm;
use crate::pending::Backward;
use crate::rows::Pass;
use crate::source::Source;
use crate::{ModelError, Weights};

/// A layer of any family.
#[derive(Debug)]
pub(crate) struct Block {
    attention_norms: Norms,
    attention: Attention,
    ffn_norms: Norms,
    ffn: Ffn,
}

/// The norms around one half of a layer.
#[derive(Debug)]
struct Norms {
    before: Option<Norm>,
    after: Option<Norm>,
    /// Values of a row.
    d: usize,
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

/// What a layer keeps for its backward pass: its input [n, d], the input of its second half [n, d], what its parts keep, and what norms
/// behind them were given, [n, d].
#[derive(Debug)]
pub(crate) struct BlockSaved {
    x: Buffer,
    attention: AttentionSaved,
    attention_out: Option<Buffer>,
    mid: Buffer,
    ffn: FfnSaved,
    ffn_out: Option<Buffer>,
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

impl Norms {
    fn new(source: Source, prefix: &str, names: [Option<&str>; 2]) -> Result<Self, ModelError> {
        let norm = |name: Option<&str>| name.map(|name| Norm::new(source, &format!("{prefix}.{name}"))).transpose();
        let [before, after] = names.map(norm);
        Ok(Self { before: before?, after: after?, d: source.spec.hidden_size })
    }

    fn repack(&mut self, data: &[f32]) {
        [&mut self.before, &mut self.after].into_iter().flatten().for_each(|norm| norm.repack(data));
    }

    /// What the half is given, as the operand of products in `dtype`.
    fn operand<'a>(&self, x: &'a Buffer, dtype: Dtype) -> Operand<'a> {
        match &self.before {
            Some(norm) => norm.operand(x, dtype),
            None => Operand::of(x, self.d, dtype),
        }
    }

    /// What the half is given.
    fn rows(&self, x: &Buffer) -> Buffer {
        self.before.as_ref().map_or_else(|| x.clone(), |norm| norm.forward(x))
    }

    /// x and what the half made of it, summed; with what a norm behind it was given.
    fn join(&self, y: Buffer, x: &Buffer) -> (Buffer, Option<Buffer>) {
        let (mut sum, out) = match &self.after {
            Some(norm) => (norm.forward(&y), Some(y)),
            None => (y, None),
        };
        add(&mut sum, x);
        (sum, out)
    }

    /// The gradient of what the half made, from that of the sum.
    fn backward_after<'a, 'd>(
        &'a self,
        dy: &'d Buffer,
        out: &'a Option<Buffer>,
        back: &mut Backward<'a, '_>,
    ) -> Cow<'d, Buffer> {
        let (Some(norm), Some(out)) = (&self.after, out) else { return Cow::Borrowed(dy) };
        let mut d_out = Buffer::uncleared(out.len());
        norm.backward(&mut d_out, Accumulate::Set, dy.clone(), Cow::Borrowed(out), back);
        Cow::Owned(d_out)
    }

    /// Adds to the gradient of x what comes through the half, dh of what that was given.
    fn backward_before<'a>(&'a self, dx: &mut Buffer, dh: Buffer, x: &'a Buffer, back: &mut Backward<'a, '_>) {
        match &self.before {
            Some(norm) => norm.backward(dx, Accumulate::Add, dh, Cow::Borrowed(x), back),
            None => add(dx, &dh),
        }
    }
}

impl Block {
    /// Layer `index` of the files; the one after the last is the MTP module's.
    pub fn new(source: Source, index: usize) -> Result<Self, ModelError> {
        let spec = source.spec;
        let prefix = format!("model.layers.{index}");
        let attention = match &spec.mla {
            Some(_) => Attention::Mla(Box::new(Mla::new(source, &format!("{prefix}.self_attn"))?)),
            None => Attention::Gqa(Box::new(Gqa::new(source, &format!("{prefix}.self_attn"), index)?)),
        };
        let ffn = match &spec.moe {
            Some(moe) if moe.is_in(index) => {
                Ffn::Moe(Box::new(Moe::new(source, &format!("{prefix}.{}", spec.family.mixture_name()), moe)?))
            }
            _ => Ffn::Dense(Box::new(Mlp::new(source, &format!("{prefix}.mlp"))?)),
        };
        let [of_attention, of_ffn] = match (spec.family.norm_places(), spec.family.layer_norms()) {
            (NormPlaces::Before, &[first, second]) => [[Some(first), None], [Some(second), None]],
            (NormPlaces::After, &[first, second]) => [[None, Some(first)], [None, Some(second)]],
            (NormPlaces::Both, &[a, b, c, d]) => [[Some(a), Some(b)], [Some(c), Some(d)]],
            (places, names) => unreachable!("norms {places:?} are not {names:?}"),
        };
        Ok(Self {
            attention_norms: Norms::new(source, &prefix, of_attention)?,
            attention,
            ffn_norms: Norms::new(source, &prefix, of_ffn)?,
            ffn,
        })
    }

    pub fn repack(&mut self, weights: &Weights) {
        self.attention_norms.repack(&weights.data);
        self.ffn_norms.repack(&weights.data);
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
        let h = self.attention_norms.operand(&x, self.attention.dtype());
        let (y, attention) = match &self.attention {
            Attention::Mla(mla) => {
                let (y, saved) = mla.forward(&h, pass);
                (y, AttentionSaved::Mla(saved))
            }
            Attention::Gqa(gqa) => {
                let (y, saved) = gqa.forward(&h, pass);
                (y, AttentionSaved::Gqa(saved))
            }
        };
        drop(h);
        let (mid, attention_out) = self.attention_norms.join(y, &x);
        let (y, ffn) = self.feed_forward(&mid, pass.rows.len());
        let (y, ffn_out) = self.ffn_norms.join(y, &mid);
        (y, BlockSaved { x, attention, attention_out, mid, ffn, ffn_out })
    }

    /// The gradient of the input, all that the layer before waits for; gradients of weights are left to `back`.
    pub fn backward_input<'a>(&'a self, dy: Buffer, saved: &'a BlockSaved, back: &mut Backward<'a, '_>) -> Buffer {
        let mut dh = Buffer::zeros(saved.mid.len());
        let d_out = self.ffn_norms.backward_after(&dy, &saved.ffn_out, back);
        match (&self.ffn, &saved.ffn) {
            (Ffn::Dense(mlp), FfnSaved::Dense(ffn)) => {
                let h = self.ffn_norms.operand(&saved.mid, mlp.dtype());
                mlp.down_bias_gradient(&d_out, back);
                let d_out = Operand::of(&*d_out, h.width(), mlp.dtype()).into_owned();
                mlp.backward(&mut dh, &d_out, &h, ffn, back);
            }
            (Ffn::Moe(moe), FfnSaved::Moe(ffn)) => {
                moe.backward(&mut dh, &d_out, self.ffn_norms.rows(&saved.mid), ffn, back);
            }
            _ => unreachable!("a layer's activations are its own"),
        }
        drop(d_out);
        let mut dmid = dy;
        self.ffn_norms.backward_before(&mut dmid, dh, &saved.mid, back);

        let d_out = self.attention_norms.backward_after(&dmid, &saved.attention_out, back);
        let h = self.attention_norms.operand(&saved.x, self.attention.dtype());
        let dh = match (&self.attention, &saved.attention) {
            (Attention::Mla(mla), AttentionSaved::Mla(saved)) => mla.backward(&d_out, &h, saved, back),
            (Attention::Gqa(gqa), AttentionSaved::Gqa(saved)) => gqa.backward(&d_out, &h, saved, back),
            _ => unreachable!("a layer's activations are its own"),
        };
        drop(d_out);
        let mut dx = dmid;
        self.attention_norms.backward_before(&mut dx, dh, &saved.x, back);
        dx
    }

    /// New rows of cached sequences.
    pub fn decode(&self, x: Buffer, pass: Pass, cache: &mut LayerCache, slots: &[usize], mode: CacheMode) -> Buffer {
        let h = self.attention_norms.operand(&x, self.attention.dtype());
        let y = match &self.attention {
            Attention::Mla(mla) => mla.decode(&h, pass, cache, slots, mode),
            Attention::Gqa(gqa) => gqa.decode(&h, pass, cache, slots),
        };
        let (mid, _) = self.attention_norms.join(y, &x);
        let (y, _) = self.feed_forward(&mid, pass.rows.len());
        self.ffn_norms.join(y, &mid).0
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
                let (y, saved) = mlp.forward(&self.ffn_norms.operand(mid, mlp.dtype()), n);
                (y, FfnSaved::Dense(saved))
            }
            Ffn::Moe(moe) => {
                let (y, saved) = moe.forward(&self.ffn_norms.rows(mid), n);
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
