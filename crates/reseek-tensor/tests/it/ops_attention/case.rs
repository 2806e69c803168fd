//! The slow reference of attention, and the comparison with it.

use reseek_tensor::attention::{
    AttentionGradients, AttentionPass, AttentionShape, attention_backward, attention_forward,
};
use reseek_tensor::dtype::Dtype;

use crate::ops_support::{check_at_every_level, narrow, normal, widen};

/// One set of sizes with its random operands.
pub struct Case {
    pub shape: AttentionShape,
    pub q_len: usize,
    pub kv_len: usize,
}

/// The backward pass in f64: gradients of q, k and v.
pub type Gradients = (Vec<f64>, Vec<f64>, Vec<f64>);

impl Case {
    pub fn new(n_heads: usize, n_kv_heads: usize, d_qk: usize, d_v: usize, q_len: usize, kv_len: usize) -> Self {
        let scale = 1.0 / (d_qk as f32).sqrt();
        let shape = AttentionShape { n_heads, n_kv_heads, d_qk, d_v, scale, window: None, dtype: Dtype::F32 };
        Self { shape, q_len, kv_len }
    }

    /// The same in a window.
    pub fn in_window(mut self, window: usize) -> Self {
        self.shape.window = Some(window);
        self
    }

    /// The same in bf16.
    pub fn in_bf16(mut self) -> Self {
        self.shape.dtype = Dtype::Bf16;
        self
    }

    pub fn q(&self) -> Vec<f32> {
        normal(self.q_len * self.shape.n_heads * self.shape.d_qk, "q")
    }

    pub fn k(&self) -> Vec<f32> {
        normal(self.kv_len * self.shape.n_kv_heads * self.shape.d_qk, "k")
    }

    pub fn v(&self) -> Vec<f32> {
        normal(self.kv_len * self.shape.n_kv_heads * self.shape.d_v, "v")
    }

    pub fn d_o(&self) -> Vec<f32> {
        normal(self.q_len * self.shape.n_heads * self.shape.d_v, "d_o")
    }

    pub fn o_shape(&self) -> [usize; 3] {
        [self.q_len, self.shape.n_heads, self.shape.d_v]
    }

    pub fn name(&self) -> String {
        format!("{} of {} in {:?}", self.q_len, self.kv_len, self.shape)
    }

    pub fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let mut o = vec![f32::NAN; self.o_shape().iter().product()];
        let mut lse = vec![f32::NAN; self.q_len * self.shape.n_heads];
        attention_forward(&mut o, &mut lse, q, k, v, self.shape);
        (o, lse)
    }

    /// Weights of query i in head h, and the log-sum-exp.
    fn weights(&self, q: &[f64], k: &[f64], i: usize, h: usize) -> (Vec<f64>, f64) {
        let AttentionShape { n_heads, n_kv_heads, d_qk, scale, window, .. } = self.shape;
        let q = &q[(i * n_heads + h) * d_qk..][..d_qk];
        let position = self.kv_len - self.q_len + i;
        let scores: Vec<f64> = (0..=position)
            .map(|j| {
                if window.is_some_and(|window| j + window <= position) {
                    return f64::NEG_INFINITY;
                }
                let k = &k[(j * n_kv_heads + h * n_kv_heads / n_heads) * d_qk..][..d_qk];
                f64::from(scale) * q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>()
            })
            .collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = max + scores.iter().map(|s| (s - max).exp()).sum::<f64>().ln();
        (scores.iter().map(|s| (s - lse).exp()).collect(), lse)
    }

    pub fn reference(&self, q: &[f64], k: &[f64], v: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let AttentionShape { n_heads, n_kv_heads, d_v, .. } = self.shape;
        let (mut o, mut all_lse) = (Vec::new(), Vec::new());
        for (i, h) in self.rows() {
            let (weights, lse) = self.weights(q, k, i, h);
            let value = |j: usize, c: usize| v[(j * n_kv_heads + h * n_kv_heads / n_heads) * d_v + c];
            o.extend((0..d_v).map(|c| weights.iter().enumerate().map(|(j, p)| p * value(j, c)).sum::<f64>()));
            all_lse.push(lse);
        }
        (o, all_lse)
    }

    pub fn reference_backward(&self, d_o: &[f64], q: &[f64], k: &[f64], v: &[f64]) -> Gradients {
        let AttentionShape { n_heads, n_kv_heads, d_qk, d_v, scale, .. } = self.shape;
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        for (i, h) in self.rows() {
            let (weights, _) = self.weights(q, k, i, h);
            let row = i * n_heads + h;
            let d_o = &d_o[row * d_v..][..d_v];
            let kv = |j: usize| j * n_kv_heads + h * n_kv_heads / n_heads;
            let d_weight = |j: usize| v[kv(j) * d_v..][..d_v].iter().zip(d_o).map(|(v, d)| v * d).sum::<f64>();
            let delta: f64 = weights.iter().enumerate().map(|(j, p)| p * d_weight(j)).sum();
            for (j, p) in weights.iter().enumerate() {
                let d_score = f64::from(scale) * p * (d_weight(j) - delta);
                for c in 0..d_qk {
                    dq[row * d_qk + c] += d_score * k[kv(j) * d_qk + c];
                    dk[kv(j) * d_qk + c] += d_score * q[row * d_qk + c];
                }
                for c in 0..d_v {
                    dv[kv(j) * d_v + c] += p * d_o[c];
                }
            }
        }
        (dq, dk, dv)
    }

    fn rows(&self) -> impl Iterator<Item = (usize, usize)> {
        let n_heads = self.shape.n_heads;
        (0..self.q_len).flat_map(move |i| (0..n_heads).map(move |h| (i, h)))
    }

    pub fn check_forward(&self, tolerance: f64) {
        let (q, k, v) = (self.q(), self.k(), self.v());
        let (o, lse) = self.reference(&widen(&q), &widen(&k), &widen(&v));
        check_at_every_level(&self.name(), &self.o_shape(), &narrow(&o), tolerance, || self.forward(&q, &k, &v).0);
        check_at_every_level(&self.name(), &self.o_shape()[..2], &narrow(&lse), tolerance, || {
            self.forward(&q, &k, &v).1
        });
    }

    pub fn check_backward(&self, tolerance: f64) {
        let (q, k, v, d_o) = (self.q(), self.k(), self.v(), self.d_o());
        let (dq, dk, dv) = self.reference_backward(&widen(&d_o), &widen(&q), &widen(&k), &widen(&v));
        let compute = || {
            let (o, lse) = self.forward(&q, &k, &v);
            backward(&d_o, [&q, &k, &v, &o, &lse], self.shape)
        };
        let AttentionShape { n_heads, n_kv_heads, d_qk, d_v, .. } = self.shape;
        check_at_every_level("dq", &[self.q_len, n_heads, d_qk], &narrow(&dq), tolerance, || compute().0);
        check_at_every_level("dk", &[self.kv_len, n_kv_heads, d_qk], &narrow(&dk), tolerance, || compute().1);
        check_at_every_level("dv", &[self.kv_len, n_kv_heads, d_v], &narrow(&dv), tolerance, || compute().2);
    }
}

/// [`attention_backward`] into vectors full of NaN; `pass` are q, k, v, o and lse.
pub fn backward(d_o: &[f32], pass: [&[f32]; 5], shape: AttentionShape) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let [q, k, v, o, lse] = pass;
    let [mut dq, mut dk, mut dv] = [q, k, v].map(|x| vec![f32::NAN; x.len()]);
    let gradients = AttentionGradients { dq: (&mut dq).into(), dk: (&mut dk).into(), dv: (&mut dv).into() };
    let pass = AttentionPass { q: q.into(), k: k.into(), v: v.into(), o: o.into(), lse: lse.into() };
    attention_backward(gradients, d_o, pass, shape);
    (dq, dk, dv)
}
