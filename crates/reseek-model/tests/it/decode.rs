//! Decoding against the training pass: the same bits with the expanded cache, rounding only with the latent one, and no trace of
//! what else is in the batch.

use reseek_model::{CacheMode, KvCache, Model, Rows, Weights};
use reseek_spec::{ModelSpec, Scale};

use crate::fixture::{CASES, Fixture, errors};

#[test]
fn the_expanded_cache_has_the_bits_of_training() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let model = Model::new(&fixture.weights);
        let (tokens, _) = &fixture.sequences[0];
        let trained = hidden(&model, &[tokens]);
        for chunks in chunkings(tokens.len()) {
            let decoded = decode(&model, tokens, &chunks, CacheMode::Expanded);
            assert!(same_bits(&decoded, &trained), "{case}: chunks {chunks:?} change bits");
        }
    }
}

/// Longer than a tile of keys, with chunks that end inside of one.
#[test]
fn long_sequences_have_the_bits_of_training() {
    let weights = Weights::init(ModelSpec::ladder(Scale::Smoke, 512), 5).expect("the smallest model");
    let model = Model::new(&weights);
    let tokens: Vec<u32> = (0..230).map(|i| (i * i * 31 + i * 7) % 512).collect();
    let trained = hidden(&model, &[&tokens]);
    for chunks in [vec![1; 230], vec![63, 1, 1, 64, 2, 99], vec![100, 130]] {
        let decoded = decode(&model, &tokens, &chunks, CacheMode::Expanded);
        assert!(same_bits(&decoded, &trained), "chunks {chunks:?} change bits");
        let (l2, worst) = errors(&decode(&model, &tokens, &chunks, CacheMode::Latent), &trained);
        assert!(l2 < 1e-5 && worst < 1e-5, "latents are off by {l2:e}, one by {worst:e}");
    }
}

#[test]
fn a_model_for_passes_forward_alone_has_the_same_bits() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let (whole, mut half) = (Model::new(&fixture.weights), Model::forward_only(&fixture.weights));
        let (tokens, _) = &fixture.sequences[0];
        let trained = hidden(&whole, &[tokens]);
        half.repack(&fixture.weights);
        assert!(same_bits(&hidden(&half, &[tokens]), &trained), "{case}");
        for model in [&whole, &half] {
            let rows = Rows::new(tokens, &[tokens.len()]);
            assert!(same_bits(model.hidden(&rows).host(), &trained), "{case}: without what a backward pass needs");
        }
        for mode in [CacheMode::Expanded, CacheMode::Latent] {
            let decoded = [&whole, &half].map(|model| decode(model, tokens, &chunkings(tokens.len())[0], mode));
            assert!(same_bits(&decoded[0], &decoded[1]), "{case}: {mode:?}");
        }
    }
}

#[test]
fn the_latent_cache_differs_by_rounding_only() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let model = Model::new(&fixture.weights);
        let (tokens, _) = &fixture.sequences[0];
        let trained = hidden(&model, &[tokens]);
        for chunks in chunkings(tokens.len()) {
            let decoded = decode(&model, tokens, &chunks, CacheMode::Latent);
            let (l2, worst) = errors(&decoded, &trained);
            println!("{case}: latent {l2:.1e}, worst element {worst:.1e}, {} chunks", chunks.len());
            assert!(l2 < 1e-5 && worst < 1e-5, "{case}: latents are off by {l2:e}, one by {worst:e}");
        }
    }
}

#[test]
fn a_sequence_does_not_see_its_neighbours() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let model = Model::new(&fixture.weights);
        let (first, second) = (&fixture.sequences[0].0[..], &fixture.sequences[1].0[..17]);
        let (alone_first, alone_second) = (hidden(&model, &[first]), hidden(&model, &[second]));
        let mut both = alone_second.clone();
        both.extend_from_slice(&alone_first);
        both.extend_from_slice(&alone_second);
        assert!(same_bits(&hidden(&model, &[second, first, second]), &both), "{case}: training sees neighbours");

        for mode in [CacheMode::Expanded, CacheMode::Latent] {
            let alone_first = decode(&model, first, &vec![1; first.len()], mode);
            let alone_second = decode(&model, second, &vec![1; second.len()], mode);
            let (together_first, together_second) = decode_both(&model, first, second, mode);
            let same = same_bits(&together_first, &alone_first) && same_bits(&together_second, &alone_second);
            assert!(same, "{case}: decoding sees neighbours with {mode:?}");
        }
    }
}

#[test]
fn a_cleared_or_copied_slot_is_as_good_as_a_new_one() {
    let fixture = Fixture::load("v3");
    let model = Model::new(&fixture.weights);
    let (first, second) = (&fixture.sequences[0].0, &fixture.sequences[1].0);
    for mode in [CacheMode::Expanded, CacheMode::Latent] {
        let expected = decode(&model, first, &[20, 4], mode);
        let mut cache = KvCache::new(model.spec(), 2, mode);
        model.decode(&mut cache, second, &[second.len()], &[0]);
        model.decode(&mut cache, &second[..5], &[5], &[1]);
        cache.clear(0);
        assert!(cache.is_empty(0));
        let mut decoded = model.decode(&mut cache, &first[..20], &[20], &[0]).host().to_vec();
        cache.copy(0, 1);
        assert_eq!(cache.len(1), 20);
        decoded.extend_from_slice(model.decode(&mut cache, &first[20..], &[4], &[1]).host());
        assert!(same_bits(&decoded, &expected), "{mode:?}: a used slot leaves traces");
    }
}

/// Token by token, all at once, and an uneven mixture of both.
pub fn chunkings(len: usize) -> [Vec<usize>; 3] {
    let mut uneven = vec![len - 15, 1, 7, 1, 1, 5];
    assert_eq!(uneven.iter().sum::<usize>(), len);
    uneven.rotate_left(1);
    [vec![1; len], vec![len], uneven]
}

/// Hidden rows of a training pass over sequences laid end to end.
pub fn hidden(model: &Model, sequences: &[&[u32]]) -> Vec<f32> {
    let segments: Vec<usize> = sequences.iter().map(|tokens| tokens.len()).collect();
    model.forward(Rows::new(&sequences.concat(), &segments), None).hidden().to_vec()
}

/// Hidden rows of one sequence that is decoded chunk by chunk.
pub fn decode(model: &Model, tokens: &[u32], chunks: &[usize], mode: CacheMode) -> Vec<f32> {
    let mut cache = KvCache::new(model.spec(), 1, mode);
    let mut out = Vec::new();
    let mut rest = tokens;
    for &len in chunks {
        let (chunk, tail) = rest.split_at(len);
        out.extend_from_slice(model.decode(&mut cache, chunk, &[len], &[0]).host());
        rest = tail;
    }
    out
}

/// The same of two sequences in one batch: the second joins three tokens late, with two tokens at once, and ends early.
fn decode_both(model: &Model, first: &[u32], second: &[u32], mode: CacheMode) -> (Vec<f32>, Vec<f32>) {
    let d = model.spec().hidden_size;
    let mut cache = KvCache::new(model.spec(), 3, mode);
    let (mut out_first, mut out_second) = (Vec::new(), Vec::new());
    let mut from = 0;
    for (i, &token) in first.iter().enumerate() {
        let take = match i {
            0..3 => 0,
            3 => 2,
            _ => 1.min(second.len() - from),
        };
        let mut tokens = second[from..from + take].to_vec();
        tokens.push(token);
        from += take;
        let rows = if take > 0 {
            model.decode(&mut cache, &tokens, &[take, 1], &[2, 0])
        } else {
            model.decode(&mut cache, &tokens, &[1], &[0])
        };
        let (second, first) = rows.host().split_at(take * d);
        out_second.extend_from_slice(second);
        out_first.extend_from_slice(first);
    }
    (out_first, out_second)
}

pub fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
