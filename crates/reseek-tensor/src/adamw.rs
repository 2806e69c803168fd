//! AdamW (Loshchilov and Hutter 2019) with decoupled weight decay, in the form and order of
//! operations of PyTorch's `torch.optim.AdamW`. The moments are kept in f32 or, as V3 does (report, 3.3.2),
//! in bf16; the arithmetic is f32 in both.

use half::bf16;

use crate::dtype::bf16_bits;
use crate::profile::{Op, span};
use crate::simd::{LANES, Lanes, multiversion};

/// Settings of a step. In f64 as schedules compute them; values are updated in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Share of the first moment that stays.
    pub beta1: f64,
    /// Share of the second moment that stays.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of a value that a step takes away, in units of `lr`.
    pub weight_decay: f64,
}

/// A format in which moments are kept.
pub trait Moment: Copy + Default + Send + Sync + Sized {
    #[doc(hidden)]
    fn step(p: &mut [f32], g: &[f32], m: &mut [Self], v: &mut [Self], factors: &Factors);
}

impl Moment for f32 {
    fn step(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], factors: &Factors) {
        update(p, g, m, v, factors);
    }
}

impl Moment for bf16 {
    fn step(p: &mut [f32], g: &[f32], m: &mut [bf16], v: &mut [bf16], factors: &Factors) {
        update_bf16(p, g, m, v, factors);
    }
}

/// One step on parameters `p` with gradients `g * grad_scale` (the scale carries the clipping of
/// the norm) and the two moments `m` and `v`; `step` counts from 1.
///
/// 1. p ← p·(1 − lr·weight_decay)
/// 2. m ← m + (g − m)·(1 − β₁)
/// 3. v ← β₂·v + (1 − β₂)·g²
/// 4. p ← p − lr/(1 − β₁ˢᵗᵉᵖ) · m / (√v / √(1 − β₂ˢᵗᵉᵖ) + eps)
///
/// In bf16 the moments are rounded to nearest even as they are stored, after step 4 has used them. A moment that moves by less than
/// 1/512 of itself stays where it is, so β₂ must not be much above 0.99: V3's is 0.95.
///
/// # Panics
/// If `step` is 0 or if the four lengths differ.
pub fn adamw<M: Moment>(
    p: &mut [f32],
    g: &[f32],
    m: &mut [M],
    v: &mut [M],
    config: &AdamW,
    step: u64,
    grad_scale: f32,
) {
    assert!(step > 0, "AdamW counts its steps from 1, got 0");
    for (name, len) in [("g", g.len()), ("m", m.len()), ("v", v.len())] {
        assert_eq!(len, p.len(), "{name} has {len} values, p {}", p.len());
    }
    let _span = span(Op::AdamW, 13 * p.len(), (3 + size_of::<M>()) * p.len());
    let correction = |beta: f64| 1.0 - power(beta, step);
    let factors = Factors {
        grad_scale,
        keep: (1.0 - config.lr * config.weight_decay) as f32,
        one_minus_beta1: (1.0 - config.beta1) as f32,
        beta2: config.beta2 as f32,
        one_minus_beta2: (1.0 - config.beta2) as f32,
        step_size: (config.lr / correction(config.beta1)) as f32,
        root_correction: correction(config.beta2).sqrt() as f32,
        eps: config.eps as f32,
    };
    M::step(p, g, m, v, &factors);
}

/// What all values of a step have in common.
#[doc(hidden)]
pub struct Factors {
    grad_scale: f32,
    keep: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    step_size: f32,
    root_correction: f32,
    eps: f32,
}

/// `base` to the `exponent` by squaring: the same bits everywhere, unlike the platform's `pow`.
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut result = 1.0;
    while exponent > 0 {
        if exponent % 2 == 1 {
            result *= base;
        }
        base *= base;
        exponent /= 2;
    }
    result
}

multiversion! {
    fn update(
        p: &mut [f32],
        g: &[f32],
        m: &mut [f32],
        v: &mut [f32],
        factors: &Factors,
    ) = update_body
}

multiversion! {
    fn update_bf16(
        p: &mut [f32],
        g: &[f32],
        m: &mut [bf16],
        v: &mut [bf16],
        factors: &Factors,
    ) = update_bf16_body
}

#[inline(always)]
fn update_body<V: Lanes>(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], factors: &Factors) {
    for at in (0..p.len()).step_by(LANES) {
        // No `map` over arrays here: it is a function of its own, without the instructions.
        let (p_old, g) = (V::load_at(p, at, 0.0), V::load_at(g, at, 0.0));
        let (m_old, v_old) = (V::load_at(m, at, 0.0), V::load_at(v, at, 0.0));
        let [p_new, m_new, v_new] = updated(p_old, g, m_old, v_old, factors);
        p_new.store_at(p, at);
        m_new.store_at(m, at);
        v_new.store_at(v, at);
    }
}

#[inline(always)]
fn update_bf16_body<V: Lanes>(p: &mut [f32], g: &[f32], m: &mut [bf16], v: &mut [bf16], factors: &Factors) {
    for (i, (m, v)) in m.chunks_mut(LANES).zip(v.chunks_mut(LANES)).enumerate() {
        let at = i * LANES;
        let (p_old, g) = (V::load_at(p, at, 0.0), V::load_at(g, at, 0.0));
        let (m_old, v_old) = (V::load(&widened(m)), V::load(&widened(v)));
        let [p_new, m_new, v_new] = updated(p_old, g, m_old, v_old, factors);
        p_new.store_at(p, at);
        for (to, new) in [(m, m_new), (v, v_new)] {
            let mut lanes = [0.0; LANES];
            new.store(&mut lanes);
            to.iter_mut().zip(lanes).for_each(|(to, x)| *to = bf16::from_bits(bf16_bits(x) as u16));
        }
    }
}

/// At most 16 values, then zeros.
#[inline(always)]
fn widened(values: &[bf16]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    lanes.iter_mut().zip(values).for_each(|(lane, x)| *lane = f32::from_bits(u32::from(x.to_bits()) << 16));
    lanes
}

/// Parameters and moments after a step. Multiplications and additions are rounded one by one, as PyTorch's vector code does.
#[inline(always)]
fn updated<V: Lanes>(p: V, g: V, m: V, v: V, factors: &Factors) -> [V; 3] {
    let g = g.mul(V::splat(factors.grad_scale));
    let m = m.add(g.sub(m).mul(V::splat(factors.one_minus_beta1)));
    let v = v.mul(V::splat(factors.beta2)).add(V::splat(factors.one_minus_beta2).mul(g).mul(g));
    let denominator = v.sqrt().div(V::splat(factors.root_correction)).add(V::splat(factors.eps));
    let step = m.div(denominator).mul(V::splat(factors.step_size));
    [p.mul(V::splat(factors.keep)).sub(step), m, v]
}
