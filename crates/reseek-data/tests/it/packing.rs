//! Packing: no token lost, and resuming equals never stopping.

use reseek_data::{Batch, Cursor, MixtureSpec, PackedBatches};
use reseek_text::Special;

use crate::{TOKENIZER, mixture};

fn batches(seq_len: usize, cursor: Cursor) -> PackedBatches {
    PackedBatches::new(mixture(MixtureSpec::default(), 9), seq_len, cursor).unwrap()
}

#[test]
fn no_token_is_lost_and_none_comes_twice() {
    let mut packed = batches(32, Cursor::default());
    let mut tokens = Vec::new();
    for n_sequences in [1, 7, 2, 16, 3] {
        let batch = packed.next_batch(n_sequences).unwrap();
        assert_eq!((batch.tokens.len(), batch.targets.len(), batch.seq_len), (32 * n_sequences, 32 * n_sequences, 32));
        tokens.extend(batch.tokens);
    }
    let mut mixture = mixture(MixtureSpec::default(), 9);
    let mut expect = Vec::new();
    for i in 0.. {
        if expect.len() >= tokens.len() {
            break;
        }
        expect.extend(mixture.item(i).unwrap().1);
    }
    assert_eq!(tokens, expect[..tokens.len()]);
}

#[test]
fn targets_are_the_next_tokens() {
    let mut packed = batches(20, Cursor::default());
    let first = packed.next_batch(4).unwrap();
    let second = packed.next_batch(1).unwrap();
    assert_eq!(first.targets[..79], first.tokens[1..]);
    assert_eq!(first.targets[79], second.tokens[0]);
}

#[test]
fn bytes_are_those_of_the_text() {
    let batch = batches(64, Cursor::default()).next_batch(8).unwrap();
    let text: Vec<u32> = batch.targets.iter().copied().filter(|&id| id as usize >= Special::ALL.len()).collect();
    let bytes: usize = text.iter().map(|&id| TOKENIZER.token_bytes(id).len()).sum();
    assert_eq!(batch.bytes, bytes);
    assert!(text.len() < batch.targets.len(), "the batch holds ends of documents");
}

#[test]
fn resuming_equals_never_stopping() {
    let mut undisturbed = batches(48, Cursor::default());
    let mut cursors = Vec::new();
    let all: Vec<Batch> = (0..40)
        .map(|_| {
            cursors.push(serde_json::to_string(&undisturbed.cursor()).unwrap());
            undisturbed.next_batch(3).unwrap()
        })
        .collect();
    for stop in [0, 1, 13, 14, 39] {
        let mut resumed = batches(48, serde_json::from_str(&cursors[stop]).unwrap());
        for batch in &all[stop..all.len().min(stop + 5)] {
            assert_eq!(&resumed.next_batch(3).unwrap(), batch, "stopped before batch {stop}");
        }
    }
}

#[test]
fn batch_size_does_not_change_the_stream() {
    let together = batches(48, Cursor::default()).next_batch(6).unwrap();
    let mut apart = batches(48, Cursor::default());
    let (one, other) = (apart.next_batch(2).unwrap(), apart.next_batch(4).unwrap());
    assert_eq!(together.tokens, [one.tokens, other.tokens].concat());
    assert_eq!(together.targets, [one.targets, other.targets].concat());
}

#[test]
fn damaged_cursors_are_refused() {
    let error = |seq_len, cursor| {
        PackedBatches::new(mixture(MixtureSpec::default(), 9), seq_len, cursor).unwrap_err().to_string()
    };
    let message = error(8, Cursor { item: 3, offset: 1_000_000 });
    assert!(message.contains("token 1000000 of item 3") && message.contains(". "), "{message}");
    assert!(error(0, Cursor::default()).starts_with("seq_len is 0"));
    // Far, but a place: items are made without those before them.
    let far = Cursor { item: u64::from(u32::MAX), offset: 0 };
    assert_eq!(batches(8, far).next_batch(1).unwrap().tokens[0], TOKENIZER.special(Special::Bos).unwrap());
}
