//! Packing of samples.

use reseek_data::{IGNORE, SftSample, pack_samples};

const EOS: u32 = 1;

fn sample(prompt: std::ops::Range<u32>, completion: std::ops::Range<u32>) -> SftSample {
    SftSample { prompt: prompt.collect(), completion: completion.collect() }
}

#[test]
fn only_answers_and_their_end_are_targets() {
    let packing = pack_samples(&[sample(10..13, 20..22)], 8, EOS);
    let sequence = &packing.sequences[0];
    assert_eq!(sequence.tokens, [10, 11, 12, 20, 21]);
    assert_eq!(sequence.targets, [IGNORE, IGNORE, 20, 21, EOS]);
    assert_eq!(sequence.segments, [5]);
}

#[test]
fn samples_fill_sequences_and_none_is_lost() {
    let lengths = [(3, 2), (4, 6), (1, 1), (2, 3), (5, 5), (1, 4), (9, 9), (0, 3), (2, 0), (0, 0)];
    let samples: Vec<SftSample> =
        (0..).zip(lengths).map(|(i, (p, c))| sample(100 * i..100 * i + p, 100 * i + 50..100 * i + 50 + c)).collect();
    let packing = pack_samples(&samples, 10, EOS);
    assert_eq!(packing.skipped, [6, 9], "longer than a sequence, and empty");
    let mut seen = Vec::new();
    for sequence in &packing.sequences {
        assert!(sequence.tokens.len() <= 10);
        assert_eq!(sequence.tokens.len(), sequence.targets.len());
        assert_eq!(sequence.segments.iter().sum::<usize>(), sequence.tokens.len());
        let mut start = 0;
        for (&index, &length) in sequence.samples.iter().zip(&sequence.segments) {
            let (sample, range) = (&samples[index], start..start + length);
            assert_eq!(sequence.tokens[range.clone()], [&sample.prompt[..], &sample.completion].concat());
            let targets: Vec<u32> =
                sequence.targets[range].iter().copied().filter(|&target| target != IGNORE).collect();
            let first = usize::from(sample.prompt.is_empty());
            assert_eq!(targets, [&sample.completion[first..], &[EOS]].concat());
            start += length;
            seen.push(index);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 7, 8]);
    // 5+10+2+5+10+5+3+2 = 42 tokens in sequences of 10.
    assert_eq!(packing.sequences.len(), 5);
}

#[test]
fn nothing_packs_to_nothing() {
    assert_eq!(pack_samples(&[], 10, EOS), Default::default());
}
