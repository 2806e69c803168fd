//! The gate against a slow reading of the V3 report (2.1.2), and its derivatives against finite differences.

use reseek_model::{Routing, balance_loss, expert_counts, route, route_backward};
use reseek_spec::{MoeSpec, Scoring};
use reseek_tensor::random::Stream;

const TOKENS: usize = 40;

#[test]
fn routes_as_the_report_says() {
    for moe in mixtures() {
        let mut stream = Stream::new(1, "router test", 0, 0);
        let bias = normals(&mut stream, moe.n_routed_experts, 0.1);
        let logits = normals(&mut stream, TOKENS * moe.n_routed_experts, 1.5);
        assert_eq!(route(&logits, &bias, &moe).experts, slow_choice(&logits, &bias, &moe), "{moe:?}");
        check_weights(&route(&logits, &bias, &moe), &moe);

        // Coarse logits and no bias: ties, which the lower index wins.
        let coarse: Vec<f32> = logits.iter().map(|z| z.round()).collect();
        let none = vec![0.0; moe.n_routed_experts];
        assert_eq!(route(&coarse, &none, &moe).experts, slow_choice(&coarse, &none, &moe), "ties of {moe:?}");
    }
}

#[test]
fn the_bias_turns_choices_but_no_weights() {
    let moe = mixture(8, 2, 1, 1, true);
    let logits = [2.0, 1.9, -1.0, 0.0, 0.5, -2.0, 0.1, -0.3];
    let mut bias = [0.0; 8];
    bias[2] = 10.0;
    let routing = route(&logits, &bias, &moe);
    assert_eq!(routing.experts, [2, 0]);
    let s = |z: f32| 1.0 / (1.0 + (-z).exp());
    let total = s(-1.0) + s(2.0);
    let expected = [2.5 * s(-1.0) / total, 2.5 * s(2.0) / total];
    assert!(routing.weights.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", routing.weights);
}

#[test]
fn broken_logits_stay_in_range() {
    for moe in mixtures() {
        let logits = vec![f32::NAN; 3 * moe.n_routed_experts];
        let routing = route(&logits, &vec![0.0; moe.n_routed_experts], &moe);
        assert!(routing.experts.iter().all(|&i| (i as usize) < moe.n_routed_experts));
    }
}

#[test]
fn route_backward_is_the_derivative() {
    for moe in mixtures() {
        let (e, k) = (moe.n_routed_experts, moe.num_experts_per_tok);
        let mut stream = Stream::new(2, "router test", 0, 0);
        let logits = normals(&mut stream, TOKENS * e, 1.5);
        let dweights = normals(&mut stream, TOKENS * k, 1.0);
        let routing = route(&logits, &normals(&mut stream, e, 0.1), &moe);
        let loss = |z: &[f64]| {
            let mut loss = 0.0;
            for (t, z) in z.chunks_exact(e).enumerate() {
                let chosen = &routing.experts[t * k..][..k];
                let weights = slow_weights(z, chosen, &moe);
                loss += weights.iter().zip(&dweights[t * k..]).map(|(w, &d)| w * d as f64).sum::<f64>();
            }
            loss
        };
        compare(&route_backward(&dweights, &routing, &moe), &logits, loss);
    }
}

#[test]
fn balance_loss_and_its_derivative() {
    for moe in mixtures() {
        let e = moe.n_routed_experts;
        let mut stream = Stream::new(3, "router test", 0, 0);
        let logits = normals(&mut stream, TOKENS * e, 1.5);
        let routing = route(&logits, &vec![0.0; e], &moe);
        let counts = expert_counts(&routing.experts, e);
        assert_eq!(counts.iter().sum::<u32>() as usize, TOKENS * moe.num_experts_per_tok);
        let slow = |z: &[f64]| slow_balance(z, &counts, &moe);

        let alpha = 0.3;
        let mut dlogits = vec![1.0; logits.len()];
        let loss = balance_loss(&routing.scores, &routing.experts, Some(&mut dlogits), alpha, &moe);
        assert!((loss as f64 - slow(&wide(&logits))).abs() < 1e-6, "{loss}");
        assert_eq!(loss, balance_loss(&routing.scores, &routing.experts, None, 0.0, &moe));
        // It adds to the 1 that was there.
        dlogits.iter_mut().for_each(|d| *d -= 1.0);
        compare(&dlogits, &logits, |z| alpha as f64 * slow(z));
    }
}

#[test]
fn an_even_load_costs_one() {
    let moe = mixture(4, 1, 1, 1, true);
    let experts = [0, 1, 2, 3];
    assert_eq!(balance_loss(&[0.5; 16], &experts, None, 0.0, &moe), 1.0);
}

fn mixtures() -> Vec<MoeSpec> {
    vec![
        mixture(8, 2, 4, 2, true),
        mixture(16, 4, 4, 2, true),
        mixture(12, 3, 3, 1, false),
        mixture(8, 3, 1, 1, true),
        mixture(6, 2, 6, 3, true),
    ]
}

fn mixture(experts: usize, chosen: usize, groups: usize, kept: usize, norm_topk_prob: bool) -> MoeSpec {
    MoeSpec {
        n_routed_experts: experts,
        n_shared_experts: 1,
        num_experts_per_tok: chosen,
        moe_intermediate_size: 4,
        first_k_dense_replace: 0,
        n_group: groups,
        topk_group: kept,
        routed_scaling_factor: 2.5,
        norm_topk_prob,
        scoring: Scoring::Sigmoid,
    }
}

/// Sorts where the crate searches.
fn slow_choice(logits: &[f32], bias: &[f32], moe: &MoeSpec) -> Vec<u32> {
    let size = moe.n_routed_experts / moe.n_group;
    let best_first = |values: &[f32]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        order
    };
    let mut out = Vec::new();
    for z in logits.chunks_exact(moe.n_routed_experts) {
        let choice: Vec<f32> = z.iter().zip(bias).map(|(z, b)| 1.0 / (1.0 + (-z).exp()) + b).collect();
        let score = |group: &[f32]| best_first(group).iter().take(2).map(|&i| group[i]).sum::<f32>();
        let groups: Vec<f32> = choice.chunks_exact(size).map(score).collect();
        let kept = &best_first(&groups)[..moe.topk_group];
        let order = best_first(&choice);
        let inside = order.iter().filter(|&&i| kept.contains(&(i / size)));
        out.extend(inside.take(moe.num_experts_per_tok).map(|&i| i as u32));
    }
    out
}

fn slow_weights(z: &[f64], chosen: &[u32], moe: &MoeSpec) -> Vec<f64> {
    let s: Vec<f64> = chosen.iter().map(|&i| sigmoid(z[i as usize])).collect();
    let total = if moe.norm_topk_prob { s.iter().sum() } else { 1.0 };
    s.iter().map(|s| s / total * moe.routed_scaling_factor).collect()
}

fn check_weights(routing: &Routing, moe: &MoeSpec) {
    let k = moe.num_experts_per_tok;
    for (chosen, weights) in routing.experts.chunks_exact(k).zip(routing.weights.chunks_exact(k)) {
        let mut distinct = chosen.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), k, "{chosen:?}");
        if moe.norm_topk_prob {
            assert!((weights.iter().sum::<f32>() - moe.routed_scaling_factor as f32).abs() < 1e-5, "{weights:?}");
        }
    }
}

fn slow_balance(z: &[f64], counts: &[u32], moe: &MoeSpec) -> f64 {
    let (e, k) = (moe.n_routed_experts, moe.num_experts_per_tok);
    let share = |i: usize| {
        let of_token = |z: &[f64]| sigmoid(z[i]) / z.iter().map(|&z| sigmoid(z)).sum::<f64>();
        z.chunks_exact(e).map(of_token).sum::<f64>() / TOKENS as f64
    };
    (0..e).map(|i| e as f64 / (k * TOKENS) as f64 * counts[i] as f64 * share(i)).sum()
}

/// `gradient` against central differences of `loss` at `x`.
fn compare(gradient: &[f32], x: &[f32], loss: impl Fn(&[f64]) -> f64) {
    const STEP: f64 = 1e-5;
    let mut x = wide(x);
    for (i, &gradient) in gradient.iter().enumerate() {
        let at = x[i];
        x[i] = at + STEP;
        let above = loss(&x);
        x[i] = at - STEP;
        let difference = (above - loss(&x)) / (2.0 * STEP);
        x[i] = at;
        assert!((gradient as f64 - difference).abs() < 1e-6, "element {i}: {gradient} for {difference}");
    }
}

fn normals(stream: &mut Stream, n: usize, std: f32) -> Vec<f32> {
    (0..n).map(|_| std * stream.normal()).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| v as f64).collect()
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}
