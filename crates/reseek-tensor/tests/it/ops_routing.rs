//! The gate against a slow reading of the V3 report (2.1.2) and of the gates by softmax, and its derivatives against finite differences.

use reseek_tensor::buffer::Buffer;
use reseek_tensor::random::Stream;
use reseek_tensor::routing::{
    Gate, GroupScore, Routing, Scoring, balance_loss, balance_loss_backward, expert_counts, route, route_backward,
};
use reseek_tensor::slots::Slots;

use crate::ops_support::widen;

const TOKENS: usize = 40;

#[test]
fn routes_as_the_report_says() {
    for gate in gates() {
        let mut stream = Stream::new(1, "router test", 0, 0);
        let bias = normals(&mut stream, gate.experts, 0.1);
        let logits = normals(&mut stream, TOKENS * gate.experts, 1.5);
        assert_eq!(routed(&logits, &bias, gate).experts, slow_choice(&logits, &bias, gate), "{gate:?}");
        check_weights(&routed(&logits, &bias, gate), gate);

        // Coarse logits and no bias: ties, which the lower index wins.
        let coarse: Vec<f32> = logits.iter().map(|z| z.round()).collect();
        let none = vec![0.0; gate.experts];
        assert_eq!(routed(&coarse, &none, gate).experts, slow_choice(&coarse, &none, gate), "ties of {gate:?}");
        let (with, without) = (routed(&logits, &none, gate), routed(&logits, &[], gate));
        assert_eq!((with.experts, with.weights.host()), (without.experts, without.weights.host()));
    }
}

#[test]
fn the_bias_turns_choices_but_no_weights() {
    let gate = gate(8, 2, 1, 1, true);
    let logits = [2.0, 1.9, -1.0, 0.0, 0.5, -2.0, 0.1, -0.3];
    let mut bias = [0.0; 8];
    bias[2] = 10.0;
    let routing = routed(&logits, &bias, gate);
    assert_eq!(routing.experts, [2, 0]);
    let s = |z: f32| 1.0 / (1.0 + (-z).exp());
    let total = s(-1.0) + s(2.0);
    let expected = [2.5 * s(-1.0) / total, 2.5 * s(2.0) / total];
    assert!(
        routing.weights.host().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6),
        "{:?}",
        routing.weights.host()
    );
}

/// Mixtral's and Qwen3-MoE's gate: the weights of the chosen sum to 1. Qwen2-MoE's and DeepSeek-V2's: their share of all experts.
#[test]
fn softmax_weights_are_shares() {
    let logits = [1.0_f32, 3.0, 2.0, 0.0].map(f32::ln);
    for (normalised, expected) in [(true, [0.6, 0.4]), (false, [0.5, 2.0 / 6.0])] {
        let gate = Gate { scoring: Scoring::Softmax, scale: 1.0, ..gate(4, 2, 1, 1, normalised) };
        let routing = routed(&logits, &[], gate);
        assert_eq!(routing.experts, [1, 2]);
        assert!(routing.weights.host().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{routing:?}");
    }
}

/// Two groups of middling experts against one that has the best: V3 keeps the former, V2 the latter.
#[test]
fn a_group_is_ranked_by_two_or_by_one() {
    let logits = [2.0, -5.0, 1.0, 0.9, -3.0, -3.0];
    let of = |group_score| routed(&logits, &[], Gate { group_score, ..gate(6, 1, 3, 1, true) }).experts;
    assert_eq!((of(GroupScore::TwoBest), of(GroupScore::Best)), (vec![2], vec![0]));
}

#[test]
fn broken_logits_stay_in_range() {
    for gate in gates() {
        let logits = vec![f32::NAN; 3 * gate.experts];
        let routing = routed(&logits, &vec![0.0; gate.experts], gate);
        assert!(routing.experts.iter().all(|&i| (i as usize) < gate.experts));
    }
}

#[test]
fn route_backward_is_the_derivative() {
    for gate in gates() {
        let (e, k) = (gate.experts, gate.experts_per_token);
        let mut stream = Stream::new(2, "router test", 0, 0);
        let logits = normals(&mut stream, TOKENS * e, 1.5);
        let dweights = normals(&mut stream, TOKENS * k, 1.0);
        let routing = routed(&logits, &normals(&mut stream, e, 0.1), gate);
        let loss = |z: &[f64]| {
            let mut loss = 0.0;
            for (t, z) in z.chunks_exact(e).enumerate() {
                let chosen = &routing.experts[t * k..][..k];
                let weights = slow_weights(z, chosen, gate);
                loss += weights.iter().zip(&dweights[t * k..]).map(|(w, &d)| w * d as f64).sum::<f64>();
            }
            loss
        };
        compare(route_backward(&dweights, &routing, gate).host(), &logits, loss);
    }
}

#[test]
fn balance_loss_and_its_derivative() {
    for gate in gates() {
        let (e, k) = (gate.experts, gate.experts_per_token);
        let mut stream = Stream::new(3, "router test", 0, 0);
        let logits = normals(&mut stream, TOKENS * e, 1.5);
        let routing = routed(&logits, &vec![0.0; e], gate);
        // Two segments of unequal length: each has the loss that it has alone.
        let cut = 3 * TOKENS / 8;
        for rows in [0..TOKENS, 0..cut, cut..TOKENS] {
            let of_rows = |values: &[f32]| values[rows.start * e..rows.end * e].to_vec();
            let counts = expert_counts(&routing.experts[rows.start * k..rows.end * k], e);
            assert_eq!(counts.iter().sum::<u32>() as usize, rows.len() * k);
            let slow = |z: &[f64]| slow_balance(z, &counts, gate);
            let loss = balance_loss(&routing, rows.clone(), gate);
            assert!((loss as f64 - slow(&widen(&of_rows(&logits)))).abs() < 1e-6, "{loss}");

            let alpha = 0.3;
            let mut dlogits = vec![1.0; logits.len()];
            balance_loss_backward(&mut dlogits, &routing, rows.clone(), alpha, gate);
            // It adds to the 1 that was there, in its rows alone.
            dlogits.iter_mut().for_each(|d| *d -= 1.0);
            compare(&of_rows(&dlogits), &of_rows(&logits), |z| alpha as f64 * slow(z));
            let mut beside = dlogits[..rows.start * e].iter().chain(&dlogits[rows.end * e..]);
            assert!(beside.all(|&d| d == 0.0));
        }
    }
}

#[test]
fn an_even_load_costs_one() {
    let gate = gate(4, 1, 1, 1, true);
    let routing = Routing { scores: Buffer::of(&[0.5; 16]), experts: vec![0, 1, 2, 3], weights: Buffer::of(&[2.5; 4]) };
    assert_eq!(balance_loss(&routing, 0..4, gate), 1.0);
}

#[test]
fn no_tokens_are_no_work() {
    let gate = gate(8, 2, 4, 2, true);
    let routing = routed(&[], &[0.0; 8], gate);
    assert!(routing.experts.is_empty() && route_backward(&[], &routing, gate).is_empty());
    let slots = Slots::by_expert(&routing.experts, 2, 8);
    assert_eq!((slots.offsets(), slots.len()), (&[0; 9][..], 0));
}

#[test]
#[should_panic(expected = "9 logits are not whole rows of 8 experts")]
fn names_logits_of_another_width() {
    routed(&[0.0; 9], &[0.0; 8], gate(8, 2, 1, 1, true));
}

#[test]
fn slots_are_sorted_by_expert_and_then_by_token() {
    let mut stream = Stream::new(4, "router test", 0, 0);
    for (tokens, k, e) in [(1, 1, 1), (1, 4, 7), (40, 3, 12), (17, 2, 64)] {
        let experts: Vec<u32> = (0..tokens * k).map(|_| stream.below(e) as u32).collect();
        let slots = Slots::by_expert(&experts, k, e);
        // Choices sorted by expert; a stable sort keeps the order of the tokens.
        let mut choices: Vec<usize> = (0..experts.len()).collect();
        choices.sort_by_key(|&choice| experts[choice]);
        let tokens: Vec<u32> = choices.iter().map(|&choice| (choice / k) as u32).collect();
        assert_eq!(slots.tokens(), tokens);
        for (j, range) in slots.offsets().windows(2).enumerate() {
            assert!(choices[range[0]..range[1]].iter().all(|&choice| experts[choice] as usize == j));
        }
        assert_eq!((slots.offsets().len(), slots.offsets()[e]), (e + 1, experts.len()));
        for (slot, &choice) in choices.iter().enumerate() {
            assert_eq!(slots.of_choice()[choice] as usize, slot);
        }

        let of_choices = normals(&mut stream, experts.len(), 1.0);
        let (mut of_slots, mut back) = (vec![f32::NAN; experts.len()], vec![f32::NAN; experts.len()]);
        slots.by_slot(&mut of_slots, &of_choices);
        assert_eq!(of_slots, choices.iter().map(|&choice| of_choices[choice]).collect::<Vec<_>>());
        slots.by_choice(&mut back, &of_slots);
        assert_eq!(back, of_choices);
    }
}

#[test]
#[should_panic(expected = "3 values of slots and 4 of choices, there are 4")]
fn names_values_that_are_not_one_a_slot() {
    Slots::by_expert(&[0, 1, 1, 0], 2, 2).by_slot(&mut [0.0; 3], &[0.0; 4]);
}

/// Each as it is in V3, in V2, and with the two between.
fn gates() -> Vec<Gate> {
    let sizes = [
        gate(8, 2, 4, 2, true),
        gate(16, 4, 4, 2, true),
        gate(12, 3, 3, 1, false),
        gate(8, 3, 1, 1, true),
        gate(8, 3, 1, 1, false),
        gate(6, 2, 6, 3, true),
        gate(20, 6, 5, 2, false),
    ];
    let kinds = [Scoring::Sigmoid, Scoring::Softmax]
        .into_iter()
        .flat_map(|scoring| [GroupScore::TwoBest, GroupScore::Best].map(|group_score| (scoring, group_score)));
    kinds.flat_map(|(scoring, group_score)| sizes.map(|gate| Gate { scoring, group_score, ..gate })).collect()
}

fn gate(experts: usize, experts_per_token: usize, groups: usize, groups_kept: usize, normalised: bool) -> Gate {
    let (scoring, group_score) = (Scoring::Sigmoid, GroupScore::TwoBest);
    Gate { experts, experts_per_token, scoring, groups, groups_kept, group_score, normalised, scale: 2.5 }
}

fn routed(logits: &[f32], bias: &[f32], gate: Gate) -> Routing {
    route(Buffer::of(logits), bias, gate)
}

/// Sorts where the crate searches.
fn slow_choice(logits: &[f32], bias: &[f32], gate: Gate) -> Vec<u32> {
    let size = gate.experts / gate.groups;
    let best_first = |values: &[f32]| {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        order
    };
    let mut out = Vec::new();
    for z in logits.chunks_exact(gate.experts) {
        let scores = slow_scores(&widen(z), gate.scoring);
        let choice: Vec<f32> = scores.iter().zip(bias).map(|(&s, b)| s as f32 + b).collect();
        let counted = match gate.group_score {
            GroupScore::TwoBest => 2,
            GroupScore::Best => 1,
        };
        let score = |group: &[f32]| best_first(group).iter().take(counted).map(|&i| group[i]).sum::<f32>();
        let groups: Vec<f32> = choice.chunks_exact(size).map(score).collect();
        let kept = &best_first(&groups)[..gate.groups_kept];
        let order = best_first(&choice);
        let inside = order.iter().filter(|&&i| kept.contains(&(i / size)));
        out.extend(inside.take(gate.experts_per_token).map(|&i| i as u32));
    }
    out
}

fn slow_scores(z: &[f64], scoring: Scoring) -> Vec<f64> {
    match scoring {
        Scoring::Sigmoid => z.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect(),
        Scoring::Softmax => {
            let total: f64 = z.iter().map(|z| z.exp()).sum();
            z.iter().map(|z| z.exp() / total).collect()
        }
    }
}

fn slow_weights(z: &[f64], chosen: &[u32], gate: Gate) -> Vec<f64> {
    let all = slow_scores(z, gate.scoring);
    let s: Vec<f64> = chosen.iter().map(|&i| all[i as usize]).collect();
    let total = if gate.normalised { s.iter().sum() } else { 1.0 };
    s.iter().map(|s| s / total * f64::from(gate.scale)).collect()
}

fn check_weights(routing: &Routing, gate: Gate) {
    let k = gate.experts_per_token;
    for (chosen, weights) in routing.experts.chunks_exact(k).zip(routing.weights.host().chunks_exact(k)) {
        let mut distinct = chosen.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), k, "{chosen:?}");
        if gate.normalised {
            assert!((weights.iter().sum::<f32>() - gate.scale).abs() < 1e-5, "{weights:?}");
        }
    }
}

fn slow_balance(z: &[f64], counts: &[u32], gate: Gate) -> f64 {
    let (e, k) = (gate.experts, gate.experts_per_token);
    let t = z.len() / e;
    let mut shares = vec![0.0; e];
    for z in z.chunks_exact(e) {
        let s = slow_scores(z, gate.scoring);
        let total: f64 = s.iter().sum();
        shares.iter_mut().zip(s).for_each(|(share, s)| *share += s / total / t as f64);
    }
    shares.iter().zip(counts).map(|(share, &count)| e as f64 / (k * t) as f64 * f64::from(count) * share).sum()
}

/// `gradient` against central differences of `loss` at `x`.
fn compare(gradient: &[f32], x: &[f32], loss: impl Fn(&[f64]) -> f64) {
    const STEP: f64 = 1e-5;
    let mut x = widen(x);
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
