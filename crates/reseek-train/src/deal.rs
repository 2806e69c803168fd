//! How a batch is dealt to lanes and cut into chunks: by the recipe, never by the number of threads.

use reseek_model::Rows;
use reseek_spec::ROWS_OF_GROUPS;
use reseek_tensor::cross_entropy::IGNORE;

/// A sequence: its tokens, and the token after each or [`IGNORE`].
pub type Sequence<T = Vec<u32>> = (T, T);

/// Rows that a lane computes in one pass, and what they should predict.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Number of the first row in the whole batch.
    pub first_row: usize,
    /// Tokens in segments, n rows.
    pub rows: Rows,
    /// The token after each row, or [`IGNORE`], [n].
    pub targets: Vec<u32>,
    /// Number of the first sequence in the whole batch.
    pub first_sequence: usize,
    /// The segments that are sequences, in order; the others are prefixes.
    pub sequences: Vec<usize>,
    /// The token after the next of each row or [`IGNORE`], [n], where the MTP module learns from the chunk.
    pub mtp_targets: Option<Vec<u32>>,
}

/// Sequences that go on from one beginning, such as the completions of a prompt.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a, T = Vec<u32>> {
    /// Tokens before each sequence, of which nothing is learnt; none is allowed.
    pub prefix: &'a [u32],
    /// What comes after the prefix.
    pub sequences: &'a [Sequence<T>],
}

/// Sequences (tokens and targets) dealt to `lanes` neighbouring shares of about equal rows, each cut into chunks of at most `chunk_rows`
/// rows unless one sequence alone is longer. Rows are numbered in the order of the sequences.
///
/// The MTP module learns from the first chunks of each lane, until they hold `mtp_share` of its rows: whole chunks, so that the lanes
/// stay even and nothing is split for it.
pub fn deal<T: AsRef<[u32]>>(
    sequences: &[Sequence<T>],
    lanes: usize,
    mtp_share: f32,
    chunk_rows: usize,
) -> Vec<Vec<Chunk>> {
    let groups: Vec<Group<T>> = sequences.chunks(1).map(|sequences| Group { prefix: &[], sequences }).collect();
    let mut lanes = deal_all(&groups, lanes, chunk_rows);
    lanes.iter_mut().for_each(|chunks| mark_mtp(chunks, mtp_share));
    lanes
}

/// The sequences of groups dealt likewise, those of a group sharing the rows of its prefix. Where a group does not fit into one chunk or
/// crosses into another lane, the prefix is repeated; rows are numbered in the order of the chunks, repetitions included. The MTP module
/// learns nothing.
pub fn deal_groups<T: AsRef<[u32]>>(groups: &[Group<T>], lanes: usize) -> Vec<Vec<Chunk>> {
    deal_all(groups, lanes, ROWS_OF_GROUPS)
}

/// Each group as a chunk of its own, however long, in `lanes` neighbouring shares of about as many groups: for losses that see all
/// sequences of a group. The MTP module learns nothing.
pub fn deal_whole<T: AsRef<[u32]>>(groups: &[Group<T>], lanes: usize) -> Vec<Vec<Chunk>> {
    let per_lane = groups.len().div_ceil(lanes.max(1)).max(1);
    let mut next = (0, 0);
    let mut chunk = |group: &Group<T>| {
        let mut chunk = Chunk::open(next);
        let mut prefix = None;
        group.sequences.iter().for_each(|sequence| chunk.push(group.prefix, &mut prefix, sequence));
        next = (next.0 + chunk.targets.len(), next.1 + chunk.sequences.len());
        chunk
    };
    groups.chunks(per_lane).map(|groups| groups.iter().map(&mut chunk).collect()).collect()
}

fn mark_mtp(chunks: &mut [Chunk], share: f32) {
    let rows: usize = chunks.iter().map(|chunk| chunk.targets.len()).sum();
    let mut before = 0;
    for chunk in chunks {
        let learns = (before as f64) < share as f64 * rows as f64;
        chunk.mtp_targets = learns.then(|| mtp_targets(&chunk.targets, &chunk.rows.segments));
        before += chunk.targets.len();
    }
}

fn deal_all<T: AsRef<[u32]>>(groups: &[Group<T>], lanes: usize, chunk_rows: usize) -> Vec<Vec<Chunk>> {
    let total: usize = groups.iter().map(Group::rows).sum();
    let mut out: Vec<Vec<Chunk>> = vec![Vec::new(); lanes.max(1)];
    // Rows dealt so far of the groups; rows, with repeated prefixes, and sequences before the next.
    let (mut dealt, mut next) = (0, (0, 0));
    for group in groups {
        // The segment that holds the prefix in the open chunk.
        let mut prefix = None;
        for (i, sequence) in group.sequences.iter().enumerate() {
            let own = sequence.0.as_ref().len();
            let rows = if i == 0 { group.prefix.len() + own } else { own };
            let middle = dealt + rows / 2;
            let lane = (middle * out.len() / total.max(1)).min(out.len() - 1);
            let lane = &mut out[lane];
            // A group is not torn where it fits into a chunk of its own.
            let needed = if i == 0 { group.rows() } else { own };
            if lane.last().is_none_or(|chunk| chunk.targets.len() + needed > chunk_rows) {
                lane.push(Chunk::open(next));
                prefix = None;
            }
            let chunk = lane.last_mut().expect("an open chunk");
            chunk.push(group.prefix, &mut prefix, sequence);
            next = (chunk.first_row + chunk.targets.len(), next.1 + 1);
            dealt += rows;
        }
    }
    out
}

impl Chunk {
    /// An empty one, before which lie so many rows and sequences.
    fn open((first_row, first_sequence): (usize, usize)) -> Self {
        Self {
            first_row,
            rows: Rows::new(&[], &[]),
            targets: Vec::new(),
            first_sequence,
            sequences: Vec::new(),
            mtp_targets: None,
        }
    }

    /// Adds a sequence of a group whose `prefix` the segment `held` has, or none in this chunk yet.
    fn push<T: AsRef<[u32]>>(&mut self, prefix: &[u32], held: &mut Option<usize>, sequence: &Sequence<T>) {
        let (tokens, targets) = (sequence.0.as_ref(), sequence.1.as_ref());
        assert_eq!(tokens.len(), targets.len(), "{} targets for {} tokens", targets.len(), tokens.len());
        if held.is_none() && !prefix.is_empty() {
            *held = Some(self.rows.segments.len());
            self.rows.push(prefix);
            self.targets.resize(self.rows.len(), IGNORE);
        }
        self.sequences.push(self.rows.segments.len());
        match *held {
            Some(prefix) => self.rows.push_after(prefix, tokens),
            None => self.rows.push(tokens),
        }
        self.targets.extend_from_slice(targets);
    }
}

impl<T: AsRef<[u32]>> Group<'_, T> {
    /// Rows of the group where nothing is repeated.
    fn rows(&self) -> usize {
        self.prefix.len() + self.sequences.iter().map(|(tokens, _)| tokens.as_ref().len()).sum::<usize>()
    }
}

/// The token after the next: each segment's targets moved by one, nothing after its end, and nothing where the next token that the
/// module is given is itself unknown.
pub fn mtp_targets(targets: &[u32], segments: &[usize]) -> Vec<u32> {
    let mut out = Vec::with_capacity(targets.len());
    let mut from = 0;
    for &len in segments {
        let segment = &targets[from..from + len];
        let after = segment.iter().skip(1).chain(std::iter::once(&IGNORE));
        out.extend(segment.iter().zip(after).map(|(&next, &after)| if next == IGNORE { IGNORE } else { after }));
        from += len;
    }
    out
}
