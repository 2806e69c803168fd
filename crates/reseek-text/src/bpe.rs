//! Training of byte-pair merges (Sennrich et al. 2016, on bytes as in GPT-2).
//!
//! The result is a pure function of the words and their counts: words are sorted first, ties between pairs of equal
//! count go to the smaller pair of ids, and counts are integers, so neither the order of the documents nor the number
//! of threads matters. The trainer of the tokenizers crate walks hash maps with random keys and may name a pair twice;
//! on ordinary text both give the same merges (a test compares them).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

/// Two neighbouring token ids.
pub(crate) type Pair = (u32, u32);

/// What training makes: the bytes of each token in the order of their ids, the first 256 given, and the merges in
/// the order of their ranks.
pub(crate) struct Merges {
    pub tokens: Vec<Vec<u8>>,
    pub merges: Vec<Pair>,
}

/// A distinct word, as the tokens that it consists of so far, and how often it occurs.
struct Word {
    tokens: Vec<u32>,
    count: i64,
}

/// How often each pair occurs, and the words that hold it, or once held it.
#[derive(Default)]
struct PairTable {
    counts: HashMap<Pair, i64>,
    places: HashMap<Pair, Vec<usize>>,
}

impl PairTable {
    fn count(&mut self, pair: Pair, change: i64) {
        *self.counts.entry(pair).or_insert(0) += change;
    }

    fn place(&mut self, pair: Pair, word: usize) {
        let places = self.places.entry(pair).or_default();
        if places.last() != Some(&word) {
            places.push(word);
        }
    }
}

/// Merges the most frequent pair until there are `n_tokens` tokens (256 bytes and the merged ones) or no pair occurs
/// twice. `alphabet[b]` is the order of byte `b` among the 256 base tokens.
pub(crate) fn train(words: &BTreeMap<&str, u64>, n_tokens: usize, alphabet: &[u8; 256]) -> Merges {
    let mut id_of_byte = [0_u32; 256];
    for (id, &byte) in alphabet.iter().enumerate() {
        id_of_byte[usize::from(byte)] = id as u32;
    }
    let mut words: Vec<Word> = words
        .iter()
        .map(|(word, &count)| Word {
            tokens: word.bytes().map(|b| id_of_byte[usize::from(b)]).collect(),
            count: count as i64,
        })
        .collect();
    let mut tokens: Vec<Vec<u8>> = alphabet.iter().map(|&byte| vec![byte]).collect();
    let mut ids: HashMap<Vec<u8>, u32> = (0..).zip(&tokens).map(|(id, t)| (t.clone(), id)).collect();

    let mut table = PairTable::default();
    for (place, word) in words.iter().enumerate() {
        for pair in word.tokens.windows(2) {
            table.count((pair[0], pair[1]), word.count);
            table.place((pair[0], pair[1]), place);
        }
    }
    let mut queue: BinaryHeap<(i64, Reverse<Pair>)> =
        table.counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();

    let mut merges = Vec::new();
    let mut merged: HashSet<Pair> = HashSet::new();
    while tokens.len() < n_tokens {
        let Some((count, Reverse(pair))) = queue.pop() else {
            break;
        };
        let current = table.counts[&pair];
        if count != current {
            // The entry is from before other merges took occurrences away. (Gains were queued when they arose.)
            if current > 0 && current < count {
                queue.push((current, Reverse(pair)));
            }
            continue;
        }
        if count < 2 {
            break;
        }
        let text = [&tokens[pair.0 as usize][..], &tokens[pair.1 as usize]].concat();
        let id = *ids.entry(text).or_insert_with_key(|text| {
            tokens.push(text.clone());
            tokens.len() as u32 - 1
        });
        if merged.insert(pair) {
            merges.push(pair);
        }
        let mut places = table.places.remove(&pair).unwrap_or_default();
        places.sort_unstable();
        places.dedup();
        let mut gained = HashSet::new();
        for place in places {
            merge_word(&mut words[place], place, pair, id, &mut table, &mut gained);
        }
        queue.extend(gained.into_iter().map(|pair| (table.counts[&pair], Reverse(pair))));
    }
    Merges { tokens, merges }
}

/// Replaces every occurrence of `pair` in one word, from left to right, and books the pairs that come and go.
fn merge_word(word: &mut Word, place: usize, pair: Pair, id: u32, table: &mut PairTable, gained: &mut HashSet<Pair>) {
    if !word.tokens.windows(2).any(|w| (w[0], w[1]) == pair) {
        return;
    }
    for old in word.tokens.windows(2) {
        table.count((old[0], old[1]), -word.count);
    }
    let mut kept = 0;
    let mut next = 0;
    while next < word.tokens.len() {
        let hit = next + 1 < word.tokens.len() && (word.tokens[next], word.tokens[next + 1]) == pair;
        word.tokens[kept] = if hit { id } else { word.tokens[next] };
        next += 1 + usize::from(hit);
        kept += 1;
    }
    word.tokens.truncate(kept);
    for new in word.tokens.windows(2) {
        let new = (new[0], new[1]);
        table.count(new, word.count);
        // Only pairs with the merged token can have gained; the others got back what was taken above.
        if new.0 == id || new.1 == id {
            table.place(new, place);
            gained.insert(new);
        }
    }
}
