//! The gate of DeepSeekMoE, in the order of the V3 report (2.1.2): sigmoid scores, selection with the correction bias
//! inside the best groups, weights from the scores without the bias. And its derivative.
//!
//! Shapes: n tokens, e experts, k experts a token, g groups.

use reseek_spec::MoeSpec;
use reseek_tensor::elementwise::sigmoid;

/// Where each token goes and with what weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// Scores s = sigmoid(logits), [n, e].
    pub scores: Vec<f32>,
    /// Chosen experts in order of preference, [n, k].
    pub experts: Vec<u32>,
    /// Their weights, [n, k]: s / Σ s (over the chosen, if `norm_topk_prob`) · `routed_scaling_factor`.
    pub weights: Vec<f32>,
}

/// Routes every row of `logits` [n, e] with the correction `bias` [e].
pub fn route(logits: &[f32], bias: &[f32], moe: &MoeSpec) -> Routing {
    let (e, k) = (moe.n_routed_experts, moe.num_experts_per_tok);
    let n = logits.len() / e;
    let mut scores = logits.to_vec();
    sigmoid(&mut scores);
    let mut experts = vec![0; n * k];
    let mut weights = vec![0.0; n * k];
    let mut choice = vec![0.0; e];
    let mut groups = GroupMask::new(moe);
    let rows = experts.chunks_exact_mut(k).zip(weights.chunks_exact_mut(k));
    for (row, (experts, weights)) in scores.chunks_exact(e).zip(rows) {
        choice.iter_mut().zip(row).zip(bias).for_each(|((c, s), b)| *c = s + b);
        groups.apply(&mut choice);
        best(&choice, experts, weights);
        weights.iter_mut().zip(&*experts).for_each(|(weight, &i)| *weight = row[i as usize]);
        let total: f32 = weights.iter().sum::<f32>() + 1e-20;
        let scale = moe.routed_scaling_factor as f32 / if moe.norm_topk_prob { total } else { 1.0 };
        weights.iter_mut().for_each(|weight| *weight *= scale);
    }
    Routing { scores, experts, weights }
}

/// The gradient of the logits [n, e] from the gradient of the weights [n, k].
///
/// With w_i = c·s_i/S over the chosen i: ds_i = c·(dw_i − Σ_j dw_j·s_j/S)/S, then dz = ds·s·(1 − s).
pub fn route_backward(dweights: &[f32], routing: &Routing, moe: &MoeSpec) -> Vec<f32> {
    let (e, k) = (moe.n_routed_experts, moe.num_experts_per_tok);
    let c = moe.routed_scaling_factor as f32;
    let mut dlogits = vec![0.0; routing.scores.len()];
    let rows = dlogits.chunks_exact_mut(e).zip(routing.scores.chunks_exact(e));
    for (t, (dz, s)) in rows.enumerate() {
        let chosen = &routing.experts[t * k..(t + 1) * k];
        let dw = &dweights[t * k..(t + 1) * k];
        let (total, mean) = if moe.norm_topk_prob {
            let total = chosen.iter().map(|&i| s[i as usize]).sum::<f32>() + 1e-20;
            (total, chosen.iter().zip(dw).map(|(&i, d)| d * s[i as usize]).sum::<f32>() / total)
        } else {
            (1.0, 0.0)
        };
        for (&i, d) in chosen.iter().zip(dw) {
            let s = s[i as usize];
            dz[i as usize] = c * (d - mean) / total * s * (1.0 - s);
        }
    }
    dlogits
}

/// The sequence-wise balance loss of one segment and its gradient (V3 report, equations 17–20).
///
/// `scores` [t, e] and `experts` [t, k] of the segment; L = α·Σ_i f_i·P_i with f_i = e/(k·t)·|{tokens that chose i}| and
/// P_i the mean of the scores normalised over experts. Adds `weight`·dL/dz (α inside the weight) to `dlogits` and
/// returns Σ_i f_i·P_i, which is 1 when the load is even.
pub fn balance_loss(scores: &[f32], experts: &[u32], dlogits: Option<&mut [f32]>, weight: f32, moe: &MoeSpec) -> f32 {
    let e = moe.n_routed_experts;
    let t = scores.len() / e;
    let mut f = vec![0.0f32; e];
    experts.iter().for_each(|&i| f[i as usize] += 1.0);
    let even = e as f32 / (moe.num_experts_per_tok * t) as f32;
    f.iter_mut().for_each(|f| *f *= even);

    let mut loss = 0.0f64;
    let mut dlogits = dlogits;
    for (row, s) in scores.chunks_exact(e).enumerate() {
        let total: f32 = s.iter().sum::<f32>() + 1e-20;
        let mean = s.iter().zip(&f).map(|(s, f)| s * f).sum::<f32>() / total;
        loss += mean as f64 / t as f64;
        if let Some(dz) = dlogits.as_deref_mut() {
            let dz = &mut dz[row * e..(row + 1) * e];
            for ((dz, s), f) in dz.iter_mut().zip(s).zip(&f) {
                *dz += weight / t as f32 * (f - mean) / total * s * (1.0 - s);
            }
        }
    }
    loss as f32
}

/// Tokens that each expert received.
pub fn expert_counts(experts: &[u32], n_experts: usize) -> Vec<u32> {
    let mut counts = vec![0; n_experts];
    experts.iter().for_each(|&i| counts[i as usize] += 1);
    counts
}

/// Leaves the experts of the `topk_group` best groups; a group's score is the sum of its two best (V3).
struct GroupMask {
    size: usize,
    scores: Vec<f32>,
    kept: Vec<u32>,
    kept_scores: Vec<f32>,
}

impl GroupMask {
    fn new(moe: &MoeSpec) -> Self {
        let kept = moe.topk_group.min(moe.n_group);
        let (size, scores) = (moe.n_routed_experts / moe.n_group, vec![0.0; moe.n_group]);
        Self { size, scores, kept: vec![0; kept], kept_scores: vec![0.0; kept] }
    }

    fn apply(&mut self, choice: &mut [f32]) {
        if self.kept.len() == self.scores.len() {
            return;
        }
        let groups = choice.chunks_exact_mut(self.size);
        self.scores.iter_mut().zip(groups).for_each(|(score, group)| *score = sum_of_two_best(group));
        best(&self.scores, &mut self.kept, &mut self.kept_scores);
        for (i, group) in choice.chunks_exact_mut(self.size).enumerate() {
            if !self.kept.contains(&(i as u32)) {
                group.fill(f32::NEG_INFINITY);
            }
        }
    }
}

fn sum_of_two_best(values: &[f32]) -> f32 {
    let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
    for &v in values {
        if v > first {
            (first, second) = (v, first);
        } else if v > second {
            second = v;
        }
    }
    if second == f32::NEG_INFINITY { first } else { first + second }
}

/// The places of the `places.len()` largest values and these, largest first and the first of equals first. What is not a number is never
/// chosen; place 0 stands where there is nothing to choose, so that broken weights cannot send a token out of range.
fn best(values: &[f32], places: &mut [u32], largest: &mut [f32]) {
    places.fill(0);
    largest.fill(f32::NEG_INFINITY);
    let last = largest.len() - 1;
    for (i, &value) in values.iter().enumerate() {
        if value > largest[last] {
            let mut at = last;
            while at > 0 && value > largest[at - 1] {
                (largest[at], places[at]) = (largest[at - 1], places[at - 1]);
                at -= 1;
            }
            (largest[at], places[at]) = (value, i as u32);
        }
    }
}
