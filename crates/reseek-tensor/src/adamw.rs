//! AdamW (Loshchilov and Hutter 2019) with decoupled weight decay, in the form and order of
//! operations of PyTorch's `torch.optim.AdamW`.

use crate::profile::{Op, span};
use crate::simd::{LANES, Lanes, multiversion};

/// Settings of a step. In f64 as schedules compute them; values are updated in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
}

/// One step on parameters `p` with gradients `g * grad_scale` (the scale carries the clipping of
/// the norm) and the two moments `m` and `v`; `step` counts from 1.
///
/// 1. p ← p·(1 − lr·weight_decay)
/// 2. m ← m + (g − m)·(1 − β₁)
/// 3. v ← β₂·v + (1 − β₂)·g²
/// 4. p ← p − lr/(1 − β₁ˢᵗᵉᵖ) · m / (√v / √(1 − β₂ˢᵗᵉᵖ) + eps)
///
/// # Panics
/// If `step` is 0 or if the four lengths differ.
pub fn adamw(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], config: &AdamW, step: u64, grad_scale: f32) {
    assert!(step > 0, "AdamW counts its steps from 1, got 0");
    for (name, len) in [("g", g.len()), ("m", m.len()), ("v", v.len())] {
        assert_eq!(len, p.len(), "{name} has {len} values, p {}", p.len());
    }
    let _span = span(Op::AdamW, 13 * p.len(), 7 * p.len());
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
    update(p, g, m, v, &factors);
}

/// What all values of a step have in common.
struct Factors {
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

/// Multiplications and additions are rounded one by one, as PyTorch's vector code does.
#[inline(always)]
fn update_body<V: Lanes>(p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], factors: &Factors) {
    for at in (0..p.len()).step_by(LANES) {
        let g = V::load_at(g, at, 0.0).mul(V::splat(factors.grad_scale));
        let m_old = V::load_at(m, at, 0.0);
        let m_new = m_old.add(g.sub(m_old).mul(V::splat(factors.one_minus_beta1)));
        let v_decayed = V::load_at(v, at, 0.0).mul(V::splat(factors.beta2));
        let v_new = v_decayed.add(V::splat(factors.one_minus_beta2).mul(g).mul(g));
        let denominator = v_new.sqrt().div(V::splat(factors.root_correction)).add(V::splat(factors.eps));
        let step = m_new.div(denominator).mul(V::splat(factors.step_size));
        V::load_at(p, at, 0.0).mul(V::splat(factors.keep)).sub(step).store_at(p, at);
        m_new.store_at(m, at);
        v_new.store_at(v, at);
    }
}
