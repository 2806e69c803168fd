//! The rows that one pass computes: tokens of one or more sequences laid end to end, without padding. Sequences that begin alike can
//! share the rows of their beginning.

use std::ops::Range;

use reseek_tensor::buffer::Buffer;
use reseek_tensor::rope::RopeTable;

/// Tokens of several sequences, end to end. Attention never crosses from one segment into another, but for a segment that continues an
/// earlier one, its prefix: it sees that one's rows as its own beginning. Gradients of all that continue a prefix add up in its rows.
/// The balance loss takes every segment for a sequence.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Token of each row, n in all.
    pub tokens: Vec<u32>,
    /// Position of each row in its sequence.
    pub positions: Vec<u32>,
    /// Rows of each segment; their sum is n.
    pub segments: Vec<usize>,
    /// Number of the segment that each segment continues, if it continues one.
    pub prefixes: Vec<Option<usize>>,
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
        let prefixes = vec![None; segments.len()];
        Self { tokens: tokens.to_vec(), positions: positions.collect(), segments: segments.to_vec(), prefixes }
    }

    /// Adds a whole sequence, from position 0.
    pub fn push(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(0..tokens.len() as u32);
        self.segments.push(tokens.len());
        self.prefixes.push(None);
    }

    /// Adds tokens that continue segment `prefix`, a whole sequence's beginning that others may continue too. The new rows have the bits
    /// that they have behind a copy of the prefix.
    ///
    /// # Panics
    /// If there is no such segment, or it continues another one itself.
    pub fn push_after(&mut self, prefix: usize, tokens: &[u32]) {
        assert!(self.prefixes[prefix].is_none(), "segment {prefix} is no whole beginning: it continues another");
        let start = self.segments[prefix] as u32;
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(start..start + tokens.len() as u32);
        self.segments.push(tokens.len());
        self.prefixes.push(Some(prefix));
    }

    /// Each segment's own rows, and those of its prefix.
    pub(crate) fn views(&self) -> impl Iterator<Item = (Range<usize>, Option<Range<usize>>)> + '_ {
        let all: Vec<Range<usize>> = spans(&self.segments).map(|(from, to)| from..to).collect();
        self.prefixes.iter().enumerate().map(move |(i, prefix)| (all[i].clone(), prefix.map(|p| all[p].clone())))
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

/// What every layer needs beside its input: the rows, the model's rotary tables and, where queries have them, the factors of their positions.
#[derive(Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub rows: &'a Rows,
    pub ropes: &'a [RopeTable],
    /// [n].
    pub query_scales: Option<&'a Buffer>,
}

/// The start and end row of each segment.
pub(crate) fn spans(segments: &[usize]) -> impl Iterator<Item = (usize, usize)> + '_ {
    segments.iter().scan(0, |start, &len| {
        let from = *start;
        *start += len;
        Some((from, *start))
    })
}
