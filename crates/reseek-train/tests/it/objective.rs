//! The two forms of a loss of log-probabilities: where both can say it they are one, and the second sees what it is said to see.

use std::sync::Mutex;

use reseek_tensor::cross_entropy::IGNORE;
use reseek_train::{Gradients, Group, OwnTerms, Sequence, SequenceLogprobs, SequenceLoss, TokenLoss, deal_groups};

use crate::common::{bits, learner, sequences, student, v3};

/// Groups with prefixes, of which one does not fit into a chunk; one sequence has nothing to learn, one learns in its middle only.
fn groups() -> Vec<(Vec<u32>, Vec<Sequence>)> {
    let mut first = sequences(&[30, 1, 12], 3);
    first[1].1.fill(IGNORE);
    first[2].1[..5].fill(IGNORE);
    first[2].1[9..].fill(IGNORE);
    vec![(vec![4; 20], first), (vec![], sequences(&[8], 4)), (vec![5; 3], sequences(&[240, 230, 2, 250, 245, 240], 5))]
}

#[test]
fn a_loss_of_tokens_said_by_sequences_has_the_same_bits() {
    let groups = groups();
    let groups: Vec<Group> = groups.iter().map(|(prefix, sequences)| Group { prefix, sequences }).collect();
    for (what, spec) in [("v3", v3()), ("student", student())] {
        let model = learner(spec).model;
        for temperature in [1.0, 0.7] {
            for lanes in [1, 3] {
                let slope = |logp: f32| -0.01 * logp.exp() - 0.003;
                let tokens = TokenLoss { temperature, slope: |_, logp| slope(logp) };
                let mut gradients = Gradients::default();
                let (expect, seen) =
                    gradients.compute(&model, deal_groups(&groups, lanes), OwnTerms::default(), &tokens);
                let whole = SequenceLoss {
                    temperature,
                    slopes: |sequences: &[SequenceLogprobs]| {
                        sequences.iter().flat_map(|s| s.logprobs).map(|&logp| slope(logp)).collect()
                    },
                };
                let mut gradients = Gradients::default();
                let (got, stats) = gradients.compute(&model, deal_groups(&groups, lanes), OwnTerms::default(), &whole);
                assert!(bits(got) == bits(expect), "{what}, T {temperature}, {lanes} lanes");
                assert!(got.iter().any(|g| *g != 0.0));
                assert_eq!((stats.logprobs, stats.entropy, stats.nll), (seen.logprobs, seen.entropy, seen.nll));
            }
        }
    }
}

#[test]
fn every_sequence_is_seen_once_with_its_own_targets() {
    let groups = groups();
    let all: Vec<_> = groups.iter().flat_map(|(_, sequences)| sequences).collect();
    let groups: Vec<Group> = groups.iter().map(|(prefix, sequences)| Group { prefix, sequences }).collect();
    let model = learner(v3()).model;
    for lanes in [1, 2, 5] {
        let seen = Mutex::new(Vec::new());
        let loss = SequenceLoss {
            temperature: 1.0,
            slopes: |sequences: &[SequenceLogprobs]| {
                let of = |s: &SequenceLogprobs| (s.sequence, s.logprobs.to_vec(), s.entropies.to_vec());
                seen.lock().unwrap().extend(sequences.iter().map(of));
                vec![0.0; sequences.iter().map(|s| s.logprobs.len()).sum()]
            },
        };
        let mut gradients = Gradients::default();
        let (grads, stats) = gradients.compute(&model, deal_groups(&groups, lanes), OwnTerms::default(), &loss);
        assert!(grads.iter().all(|g| *g == 0.0));
        let mut seen = seen.into_inner().unwrap();
        seen.sort_by_key(|(sequence, ..)| *sequence);
        assert_eq!(seen.iter().map(|(sequence, ..)| *sequence).collect::<Vec<_>>(), (0..all.len()).collect::<Vec<_>>());
        for ((_, logprobs, entropies), (_, targets)) in seen.iter().zip(&all) {
            let targets = targets.iter().filter(|&&target| target != IGNORE).count();
            assert_eq!((logprobs.len(), entropies.len()), (targets, targets));
        }
        let in_order: Vec<u32> = seen.iter().flat_map(|(_, logprobs, _)| bits(logprobs)).collect();
        assert_eq!(in_order, stats.logprobs.iter().map(|(_, logp)| logp.to_bits()).collect::<Vec<_>>());
    }
}
