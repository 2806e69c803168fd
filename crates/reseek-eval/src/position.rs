//! Loss by position in long windows, and with less context than a window has.

use reseek_engine::logprobs;
use reseek_model::{Model, Rows};
use reseek_tensor::cross_entropy::IGNORE;

/// Tokens of a window, and the token after each: `[T]` both.
pub type Window = (Vec<u32>, Vec<u32>);

/// Nats a token of every window, one mean for each `bucket` of its positions: `[windows][T / bucket]`.
///
/// # Panics
/// If `bucket` is 0.
pub fn nats_by_position(model: &Model, windows: &[Window], bucket: usize) -> Vec<Vec<f64>> {
    let lanes = windows.iter().map(|(tokens, targets)| (Rows::new(tokens, &[tokens.len()]), targets.clone()));
    let of_window = |logps: Vec<f32>| logps.chunks_exact(bucket).map(mean_nats).collect();
    logprobs(model, lanes.collect(), 1.0).into_iter().map(of_window).collect()
}

/// Nats a token of the last `bucket` targets of every window, each predicted from the `context` tokens before it and at most
/// `stride` − 1 more: `[windows]`. The tokens are those of the last bucket of [`nats_by_position`], which sees the whole window.
///
/// # Panics
/// If a window is shorter than `bucket` + `context`, `context` is 0, or `stride` does not divide `bucket`.
pub fn nats_in_short_context(
    model: &Model,
    windows: &[Window],
    bucket: usize,
    context: usize,
    stride: usize,
) -> Vec<f64> {
    assert!(bucket.is_multiple_of(stride), "a stride of {stride} tokens in a bucket of {bucket}");
    let piece = |(tokens, targets): &Window, end: usize| {
        let start = end + 1 - stride - context;
        let mut scored = vec![IGNORE; context - 1];
        scored.extend_from_slice(&targets[end - stride..end]);
        (Rows::new(&tokens[start..end], &[end - start]), scored)
    };
    let ends = |window: &Window| {
        let n = window.0.len();
        (n - bucket..n).step_by(stride).map(|from| from + stride).collect::<Vec<_>>()
    };
    let pieces = windows.iter().flat_map(|window| ends(window).into_iter().map(|end| piece(window, end)));
    let logps = logprobs(model, pieces.collect(), 1.0);
    logps
        .chunks_exact(bucket / stride)
        .map(|of_window| {
            let scored: Vec<f32> = of_window.iter().flat_map(|logps| logps[context - 1..].iter().copied()).collect();
            mean_nats(&scored)
        })
        .collect()
}

fn mean_nats(logps: &[f32]) -> f64 {
    -logps.iter().map(|&logp| f64::from(logp)).sum::<f64>() / logps.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseek_model::Weights;
    use reseek_spec::{ModelSpec, Scale};

    fn model() -> Model {
        Model::forward_only(&Weights::init(ModelSpec::ladder(Scale::Smoke, 64), 3).expect("the smallest model"))
    }

    fn windows() -> Vec<Window> {
        let token = |window: u32, i: u32| (i * i + 7 * window + 3) % 64;
        (0..3).map(|w| ((0..64).map(|i| token(w, i)).collect(), (1..65).map(|i| token(w, i)).collect())).collect()
    }

    #[test]
    fn buckets_are_means_of_the_windows_own_tokens() {
        let (model, windows) = (model(), windows());
        let found = nats_by_position(&model, &windows, 16);
        for ((tokens, targets), buckets) in windows.iter().zip(&found) {
            let logps = logprobs(&model, vec![(Rows::new(tokens, &[64]), targets.clone())], 1.0).remove(0);
            assert_eq!(buckets.len(), 4);
            for (i, &bucket) in buckets.iter().enumerate() {
                let expect = -logps[16 * i..16 * (i + 1)].iter().map(|&l| f64::from(l)).sum::<f64>() / 16.0;
                assert!((bucket - expect).abs() < 1e-12, "bucket {i}: {bucket} and {expect}");
            }
        }
    }

    /// With a stride of one every token has exactly its context, and with a context that is the window nothing is lost.
    #[test]
    fn short_contexts_end_where_they_should() {
        let (model, windows) = (model(), windows());
        let found = nats_in_short_context(&model, &windows, 4, 10, 1);
        for ((tokens, targets), nats) in windows.iter().zip(found) {
            let one = |row: usize| {
                let mut scored = vec![IGNORE; 9];
                scored.push(targets[row]);
                logprobs(&model, vec![(Rows::new(&tokens[row - 9..=row], &[10]), scored)], 1.0)[0][9]
            };
            let expect = -(60..64).map(|row| f64::from(one(row))).sum::<f64>() / 4.0;
            assert!((nats - expect).abs() < 1e-6, "{nats} and {expect}");
        }
        let whole = nats_by_position(&model, &windows, 8);
        for (nats, buckets) in nats_in_short_context(&model, &windows, 8, 57, 8).into_iter().zip(whole) {
            assert!((nats - buckets[7]).abs() < 1e-6, "{nats} and {}", buckets[7]);
        }
    }
}
