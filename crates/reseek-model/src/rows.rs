//! The rows that one pass computes: tokens of one or more sequences laid end to end, without padding.

use reseek_tensor::rope::RopeTable;

/// Tokens of several sequences, end to end. Attention never crosses from one segment into another.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Token of each row, n in all.
    pub tokens: Vec<u32>,
    /// Position of each row in its sequence.
    pub positions: Vec<u32>,
    /// Rows of each segment; their sum is n.
    pub segments: Vec<usize>,
}

impl Rows {
    /// Rows of whole sequences, each from position 0.
    ///
    /// # Panics
    /// If the segments do not add up to the tokens.
    pub fn new(tokens: &[u32], segments: &[usize]) -> Self {
        Self::starting_at(tokens, segments, &vec![0; segments.len()])
    }

    /// Rows that continue sequences: segment s begins at position `starts[s]`.
    pub(crate) fn starting_at(tokens: &[u32], segments: &[usize], starts: &[usize]) -> Self {
        let n: usize = segments.iter().sum();
        assert_eq!(n, tokens.len(), "segments of {n} rows in all for {} tokens", tokens.len());
        let positions = segments.iter().zip(starts).flat_map(|(&len, &start)| start as u32..(start + len) as u32);
        Self { tokens: tokens.to_vec(), positions: positions.collect(), segments: segments.to_vec() }
    }

    /// Adds a whole sequence, from position 0.
    pub fn push(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(0..tokens.len() as u32);
        self.segments.push(tokens.len());
    }

    /// Rows in all.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// What every layer needs beside its input: the rows and the rotary table.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub rows: &'a Rows,
    pub rope: &'a RopeTable,
}

/// The start and end row of each segment.
pub(crate) fn spans(segments: &[usize]) -> impl Iterator<Item = (usize, usize)> + '_ {
    segments.iter().scan(0, |start, &len| {
        let from = *start;
        *start += len;
        Some((from, *start))
    })
}
