//! Packing of prompts with their completions, for supervised fine-tuning.

/// The target of a token that is not trained on. The same value as in the room of ops.
pub const IGNORE: u32 = u32::MAX;

/// A prompt and what the model should have answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SftSample {
    /// From the begin token to the last token before the answer.
    pub prompt: Vec<u32>,
    /// The answer without the end token, which packing appends.
    pub completion: Vec<u32>,
}

/// Samples behind each other, each seeing only itself: attention must stay within the segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedSequence {
    /// `[T]`.
    pub tokens: Vec<u32>,
    /// `[T]`: the token after each where that is part of an answer or its end token, [`IGNORE`] elsewhere.
    pub targets: Vec<u32>,
    /// Lengths of the samples in order; they sum to T.
    pub segments: Vec<usize>,
    /// Indices of the samples.
    pub samples: Vec<usize>,
}

/// What packing makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SftPacking {
    pub sequences: Vec<PackedSequence>,
    /// Indices of samples that are longer than a sequence or empty.
    pub skipped: Vec<usize>,
}

/// Packs samples into sequences of at most `capacity` tokens, each into the first sequence that has room (first fit),
/// so the order of short samples changes a little and that of sequences does not.
///
/// A sample of p prompt and c completion tokens takes p + c: the end token is only a target.
pub fn pack_samples(samples: &[SftSample], capacity: usize, eos: u32) -> SftPacking {
    let mut packing = SftPacking::default();
    // Sequences that may still have room; full ones leave, or first fit would be quadratic.
    let mut open: Vec<usize> = Vec::new();
    let shortest = samples.iter().map(sample_len).filter(|&len| len > 0).min().unwrap_or(1);
    for (index, sample) in samples.iter().enumerate() {
        let length = sample_len(sample);
        if length == 0 || length > capacity {
            packing.skipped.push(index);
            continue;
        }
        let has_room = |&place: &usize| packing.sequences[place].tokens.len() + length <= capacity;
        let place = open.iter().copied().find(has_room).unwrap_or_else(|| {
            packing.sequences.push(PackedSequence::default());
            open.push(packing.sequences.len() - 1);
            packing.sequences.len() - 1
        });
        append(&mut packing.sequences[place], sample, index, eos);
        open.retain(|&place| packing.sequences[place].tokens.len() + shortest <= capacity);
    }
    packing
}

fn sample_len(sample: &SftSample) -> usize {
    sample.prompt.len() + sample.completion.len()
}

fn append(sequence: &mut PackedSequence, sample: &SftSample, index: usize, eos: u32) {
    let (prompt, completion) = (&sample.prompt, &sample.completion);
    sequence.tokens.extend(prompt.iter().chain(completion));
    // The last token of the prompt is the first that has a target.
    sequence.targets.extend(std::iter::repeat_n(IGNORE, prompt.len().saturating_sub(1)));
    let first = usize::from(prompt.is_empty());
    sequence.targets.extend(completion.iter().skip(first).copied().chain([eos]));
    sequence.segments.push(sample_len(sample));
    sequence.samples.push(index);
}
