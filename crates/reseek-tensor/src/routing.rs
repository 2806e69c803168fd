//! The gate of a mixture, in the order of DeepSeek's V3 report (2.1.2): scores, selection with the correction bias
//! inside the best groups, weights from the scores without the bias. And its derivative.
//!
//! V3 scores by sigmoid; Mixtral, Qwen2-MoE, Qwen3-MoE and DeepSeek-V2 by softmax and without a bias.
//!
//! Shapes: n tokens, e experts, k experts a token, g groups.

use std::ops::Range;

use crate::buffer::{Buffer, View, ViewMut};
use crate::elementwise::{sigmoid, softmax_rows};

/// What makes scores of a token's logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// Of each logit alone.
    Sigmoid,
    /// Over all experts.
    Softmax,
}

impl Scoring {
    /// What the derivative of a score by its own logit has beside the score, where the scores' gradients, weighted by the scores, sum to 0.
    fn slope(self, score: f32) -> f32 {
        match self {
            Self::Sigmoid => 1.0 - score,
            Self::Softmax => 1.0,
        }
    }
}

/// What ranks a group of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupScore {
    /// The sum of its two best scores (V3).
    TwoBest,
    /// Its best score (V2's `group_limited_greedy`).
    Best,
}

/// How a gate chooses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// Routed experts, e.
    pub experts: usize,
    /// Experts that a token goes to, k.
    pub experts_per_token: usize,
    /// What makes scores of logits.
    pub scoring: Scoring,
    /// Groups of neighbouring experts, g; divides e.
    pub groups: usize,
    /// Groups that a token's experts come from.
    pub groups_kept: usize,
    /// What ranks groups.
    pub group_score: GroupScore,
    /// Whether the weights of a token's experts are divided by their sum.
    pub normalised: bool,
    /// Factor of all weights.
    pub scale: f32,
}

impl Gate {
    /// Tokens that so many logits are for.
    #[track_caller]
    fn rows(self, logits: usize) -> usize {
        let n = logits / self.experts;
        assert_eq!(logits, n * self.experts, "{logits} logits are not whole rows of {} experts", self.experts);
        n
    }
}

/// Where each token goes and with what weight.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Scores s of the logits, [n, e].
    pub scores: Buffer,
    /// Chosen experts in order of preference, [n, k].
    pub experts: Vec<u32>,
    /// Their weights, [n, k]: s / Σ s (over the chosen, if [`Gate::normalised`]) · [`Gate::scale`].
    pub weights: Buffer,
}

/// Routes every row of `logits` [n, e] with the correction `bias` [e], which is empty where a model has none.
///
/// # Panics
/// If the logits are not whole rows, or there is not one bias for each expert.
pub fn route(logits: Buffer, bias: &[f32], gate: Gate) -> Routing {
    let (e, k) = (gate.experts, gate.experts_per_token);
    let n = gate.rows(logits.len());
    assert!(bias.is_empty() || bias.len() == e, "{} biases for {e} experts", bias.len());
    let mut scores = logits;
    match gate.scoring {
        Scoring::Sigmoid => sigmoid(&mut scores),
        Scoring::Softmax => softmax_rows(&mut scores, e),
    }
    let (mut experts, mut weights) = (vec![0; n * k], Buffer::uncleared(n * k));
    let mut choice = vec![0.0; e];
    let mut groups = GroupMask::new(gate);
    let rows = experts.chunks_exact_mut(k).zip(weights.host_mut().chunks_exact_mut(k));
    for (row, (experts, weights)) in scores.host().chunks_exact(e).zip(rows) {
        choice.copy_from_slice(row);
        choice.iter_mut().zip(bias).for_each(|(c, b)| *c += b);
        groups.apply(&mut choice);
        best(&choice, experts, weights);
        weights.iter_mut().zip(&*experts).for_each(|(weight, &i)| *weight = row[i as usize]);
        let total: f32 = weights.iter().sum::<f32>() + 1e-20;
        let scale = gate.scale / if gate.normalised { total } else { 1.0 };
        weights.iter_mut().for_each(|weight| *weight *= scale);
    }
    Routing { scores, experts, weights }
}

/// The gradient of the logits [n, e] from the gradient of the weights [n, k].
///
/// With w_i = c·s_i/S over the chosen i: ds_i = c·(dw_i − Σ_j dw_j·s_j/S)/S, or c·dw_i if not [`Gate::normalised`]. Then with sigmoid scores
/// dz_i = ds_i·s_i·(1 − s_i), and by softmax dz_i = s_i·(ds_i − Σ_j ds_j·s_j), whose sum is 0 if normalised.
///
/// # Panics
/// If `dweights` are not as many as the routing's weights.
pub fn route_backward<'v>(dweights: impl Into<View<'v>>, routing: &Routing, gate: Gate) -> Buffer {
    let dweights = dweights.into().0;
    let (e, k, c) = (gate.experts, gate.experts_per_token, gate.scale);
    assert_eq!(dweights.len(), routing.experts.len(), "gradients of other weights than the routing's");
    let mut dlogits = Buffer::zeros(routing.scores.len());
    let rows = dlogits.host_mut().chunks_exact_mut(e).zip(routing.scores.host().chunks_exact(e));
    for (t, (dz, s)) in rows.enumerate() {
        let chosen = &routing.experts[t * k..(t + 1) * k];
        let dw = &dweights[t * k..(t + 1) * k];
        let (total, mean) = if gate.normalised {
            let total = chosen.iter().map(|&i| s[i as usize]).sum::<f32>() + 1e-20;
            (total, chosen.iter().zip(dw).map(|(&i, d)| d * s[i as usize]).sum::<f32>() / total)
        } else {
            (1.0, 0.0)
        };
        for (&i, d) in chosen.iter().zip(dw) {
            let s = s[i as usize];
            dz[i as usize] = c * (d - mean) / total * s * gate.scoring.slope(s);
        }
        if gate.scoring == Scoring::Softmax && !gate.normalised {
            let sum = chosen.iter().zip(dw).map(|(&i, d)| c * d * s[i as usize]).sum::<f32>();
            dz.iter_mut().zip(s).for_each(|(dz, s)| *dz -= s * sum);
        }
    }
    dlogits
}

/// The sequence-wise balance loss of one segment, `rows` of the routing, without its α (V3 report, equations 17–20): Σ_i f_i·P_i with
/// f_i = e/(k·t)·|{tokens that chose i}| and P_i the mean over the segment's t tokens of the scores normalised over experts. 1 when the
/// load is even.
///
/// # Panics
/// If the routing has no such rows.
pub fn balance_loss(routing: &Routing, rows: Range<usize>, gate: Gate) -> f32 {
    let t = rows.len();
    let load = load(routing, rows.clone(), gate);
    let means = scores(routing, rows, gate).map(|s| mean_load(s, &load).1 as f64 / t as f64);
    means.fold(0.0, |sum, mean| sum + mean) as f32
}

/// The gradient of [`balance_loss`]: adds `weight`·dL/dz (α inside the weight) to the segment's rows of `dlogits` [n, e].
///
/// # Panics
/// If the routing has no such rows, or the logits are not as many as its scores.
pub fn balance_loss_backward<'m>(
    dlogits: impl Into<ViewMut<'m>>,
    routing: &Routing,
    rows: Range<usize>,
    weight: f32,
    gate: Gate,
) {
    let dlogits = dlogits.into().0;
    let (e, t) = (gate.experts, rows.len());
    assert_eq!(dlogits.len(), routing.scores.len(), "gradients of other logits than the routing's");
    let load = load(routing, rows.clone(), gate);
    let dlogits = dlogits[rows.start * e..rows.end * e].chunks_exact_mut(e);
    for (dz, s) in dlogits.zip(scores(routing, rows, gate)) {
        let (total, mean) = mean_load(s, &load);
        for ((dz, s), f) in dz.iter_mut().zip(s).zip(&load) {
            *dz += weight / t as f32 * (f - mean) / total * s * gate.scoring.slope(*s);
        }
    }
}

/// f of every expert.
fn load(routing: &Routing, rows: Range<usize>, gate: Gate) -> Vec<f32> {
    let (e, k) = (gate.experts, gate.experts_per_token);
    let even = e as f32 / (k * rows.len()) as f32;
    let counts = expert_counts(&routing.experts[rows.start * k..rows.end * k], e);
    counts.into_iter().map(|count| count as f32 * even).collect()
}

fn scores(routing: &Routing, rows: Range<usize>, gate: Gate) -> impl Iterator<Item = &[f32]> {
    routing.scores.host()[rows.start * gate.experts..rows.end * gate.experts].chunks_exact(gate.experts)
}

/// The sum of a row's scores, and the mean of the load weighted by them.
fn mean_load(scores: &[f32], load: &[f32]) -> (f32, f32) {
    let total: f32 = scores.iter().sum::<f32>() + 1e-20;
    (total, scores.iter().zip(load).map(|(s, f)| s * f).sum::<f32>() / total)
}

/// Tokens that each of `n_experts` received.
///
/// # Panics
/// If an expert is not below `n_experts`.
pub fn expert_counts(experts: &[u32], n_experts: usize) -> Vec<u32> {
    let mut counts = vec![0; n_experts];
    experts.iter().for_each(|&i| counts[i as usize] += 1);
    counts
}

/// Leaves the experts of the `topk_group` best groups.
struct GroupMask {
    size: usize,
    score: GroupScore,
    scores: Vec<f32>,
    kept: Vec<u32>,
    kept_scores: Vec<f32>,
}

impl GroupMask {
    fn new(gate: Gate) -> Self {
        let kept = gate.groups_kept.min(gate.groups);
        let (size, scores) = (gate.experts / gate.groups, vec![0.0; gate.groups]);
        Self { size, score: gate.group_score, scores, kept: vec![0; kept], kept_scores: vec![0.0; kept] }
    }

    fn apply(&mut self, choice: &mut [f32]) {
        if self.kept.len() == self.scores.len() {
            return;
        }
        let groups = choice.chunks_exact_mut(self.size);
        let of_group: fn(&[f32]) -> f32 = match self.score {
            GroupScore::TwoBest => sum_of_two_best,
            GroupScore::Best => |group| group.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        };
        self.scores.iter_mut().zip(groups).for_each(|(score, group)| *score = of_group(group));
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
