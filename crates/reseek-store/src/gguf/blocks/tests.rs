//! Blocks against ggml's own functions: fixtures/make_blocks.py wrote what they say.

use std::collections::BTreeMap;

use super::*;

/// Bytes by name.
fn fixture() -> BTreeMap<String, Vec<u8>> {
    let bytes = include_bytes!("../../../tests/fixtures/blocks.safetensors");
    let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    BlockKind::F32.values(bytes)
}

fn quantised() -> impl Iterator<Item = BlockKind> {
    KINDS.iter().map(|&(kind, ..)| kind).filter(|kind| kind.is_quantised())
}

#[test]
fn blocks_stand_for_ggmls_values_bit_by_bit() {
    let fixture = fixture();
    for kind in quantised() {
        let (got, want) =
            (kind.values(&fixture[&format!("{kind}.blocks")]), floats(&fixture[&format!("{kind}.values")]));
        assert_eq!(got.len(), want.len(), "{kind}");
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got.to_bits(), want.to_bits(), "{kind}, value {i}: {got} for {want}");
        }
    }
}

#[test]
fn single_values_are_read_and_rounded() {
    let values = [0.0, -0.0, 1.25, -3.3, 65504.0, 1e-7, 6e-8, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for kind in [BlockKind::F32, BlockKind::F16, BlockKind::Bf16] {
        let mut bytes = Vec::new();
        kind.encode(&values, &mut bytes).unwrap();
        let back = kind.values(&bytes);
        for (x, y) in values.iter().zip(&back) {
            let allowed = if kind == BlockKind::F32 { 0.0 } else { 0.004 * x.abs() + 6e-8 };
            assert!(x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= allowed, "{kind}: {y} for {x}");
        }
        // What has been rounded once stays.
        let mut again = Vec::new();
        kind.encode(&back, &mut again).unwrap();
        assert_eq!(bytes, again, "{kind}");
    }
    assert_eq!(BlockKind::F16.encode(&[1.0, 65519.0, 65520.0], &mut Vec::new()), Err(2));
}

#[test]
fn the_references_rounding_is_ours() {
    let fixture = fixture();
    let x = floats(&fixture["x"]);
    for kind in [BlockKind::Q8_0, BlockKind::Q4_0] {
        let mut bytes = Vec::new();
        kind.encode(&x, &mut bytes).unwrap();
        assert!(bytes == fixture[&format!("{kind}.of_x")], "{kind} differs from ggml's");
    }
}

/// Σ (y − x)² and the same with the weights of the search.
fn errors(x: &[f32], y: &[f32]) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for (x, y) in x.chunks(32).zip(y.chunks(32)) {
        let size = (x.iter().map(|x| x * x).sum::<f32>() / 32.0).sqrt();
        for (x, y) in x.iter().zip(y) {
            let square = f64::from(x - y).powi(2);
            sums[0] += square;
            sums[1] += square * f64::from(size + x.abs());
        }
    }
    sums
}

#[test]
fn the_search_of_q4_k_leaves_no_more_error_than_ggmls() {
    let fixture = fixture();
    let x = floats(&fixture["x"]);
    let mut bytes = Vec::new();
    BlockKind::Q4K.encode(&x, &mut bytes).unwrap();
    let (ours, theirs) = (BlockKind::Q4K.values(&bytes), BlockKind::Q4K.values(&fixture["Q4_K.of_x"]));
    let mut sums = [0.0; 2];
    for (block, x) in x.chunks(256).enumerate() {
        let of = |values: &[f32]| errors(x, &values[256 * block..][..256]);
        let ([ours, our_weighted], [theirs, their_weighted]) = (of(&ours), of(&theirs));
        println!("block {block}: ours {:.4} of ggml's, weighted {:.4}", ours / theirs, our_weighted / their_weighted);
        assert!(our_weighted <= 1.03 * their_weighted, "block {block}: {our_weighted:e} for {their_weighted:e}");
        assert!(ours <= 1.05 * theirs, "block {block}: {ours:e} for {theirs:e}");
        if theirs > 0.0 {
            sums = [sums[0] + ours / theirs, sums[1] + our_weighted / their_weighted];
        }
    }
    // All blocks but the one of zeros.
    let [mean, weighted] = sums.map(|sum| sum / (x.len() / 256 - 1) as f64);
    println!("of ggml's error, in the mean: {mean:.4}, with its weights {weighted:.4}");
    assert!(mean < 1.0 && weighted < 1.0, "{mean} and {weighted} of ggml's error");
}

#[test]
fn what_a_kind_cannot_hold_is_named() {
    for kind in BlockKind::WRITTEN.into_iter().filter(|kind| kind.is_quantised()) {
        let mut x = vec![0.1; 512];
        assert_eq!(kind.encode(&x, &mut Vec::new()), Ok(()));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            x[300] = bad;
            assert_eq!(kind.encode(&x, &mut Vec::new()), Err(300), "{kind}: {bad}");
        }
        for huge in [1e9, -1e9, f32::MAX, f32::MIN] {
            x[300] = huge;
            let first = 300 / kind.values_per_block() * kind.values_per_block();
            assert_eq!(kind.encode(&x, &mut Vec::new()), Err(first), "{kind}: {huge}");
        }
        for tiny in [0.0, -0.0, 1e-45, -1e-42, 1e-12] {
            let mut bytes = Vec::new();
            assert_eq!(kind.encode(&[tiny; 256], &mut bytes), Ok(()));
            assert!(kind.values(&bytes).iter().all(|y| (y - tiny).abs() <= 1e-6), "{kind}: {tiny}");
        }
    }
}

/// Any bytes are blocks: nothing overflows, and scales that are not finite give values that are not.
#[test]
fn any_bytes_can_be_read() {
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    for kind in quantised() {
        let form = kind.code_form().unwrap();
        for _ in 0..300 {
            let bytes: Vec<u8> = (0..kind.bytes_per_block()).map(|_| byte()).collect();
            for block in kind.code_blocks(&bytes) {
                assert!(block.codes.iter().all(|&code| u32::from(code) < 1 << form.bits), "{kind}");
            }
            assert_eq!(kind.values(&bytes).len(), kind.values_per_block());
        }
        assert!(kind.values(&vec![0xff; kind.bytes_per_block()]).iter().any(|x| x.is_nan()), "{kind}");
    }
}

#[test]
fn numbers_and_names_are_ggmls() {
    for (kind, number, name, ..) in KINDS {
        assert_eq!(
            (BlockKind::of_number(number), kind.number(), kind.to_string()),
            (Some(kind), number, name.to_owned())
        );
    }
    for number in [4, 5, 9, 15, 16, 29, 31, u32::MAX] {
        assert_eq!(BlockKind::of_number(number), None);
    }
}

#[test]
fn a_row_is_its_own_blocks() {
    let fixture = fixture();
    let kind = BlockKind::Q6K;
    let bytes = fixture["Q6_K.blocks"][..4 * kind.bytes_per_block()].to_vec();
    let values = kind.values(&bytes);
    let tensor = QuantisedTensor { name: "w".to_owned(), shape: [2, 512], kind, bytes };
    let form = kind.code_form().unwrap();
    let row: Vec<u32> = tensor.row(1).flat_map(|block| block.values(&form)).map(f32::to_bits).collect();
    assert_eq!(row, values[512..].iter().map(|x| x.to_bits()).collect::<Vec<u32>>());
}
