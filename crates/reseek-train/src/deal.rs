//! How a batch is dealt to lanes and cut into chunks: by the recipe, never by the number of threads.

use reseek_model::Rows;
use reseek_spec::ROWS_OF_GROUPS;
use reseek_tensor::cross_entropy::IGNORE;

use crate::{Chunk, Sequence};

/// Sequences that go on from one beginning, such as the completions of a prompt.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// Tokens before each sequence, of which nothing is learnt; none is allowed.
    pub prefix: &'a [u32],
    /// What comes after the prefix.
    pub sequences: &'a [Sequence],
}

/// Sequences (tokens and targets) dealt to `lanes` neighbouring shares of about equal rows, each cut into chunks of at most `chunk_rows`
/// rows unless one sequence alone is longer. Rows are numbered in the order of the sequences.
///
/// The MTP module learns from the first chunks of each lane, until they hold `mtp_share` of its rows: whole chunks, so that the lanes
/// stay even and nothing is split for it.
pub fn deal(sequences: &[Sequence], lanes: usize, mtp_share: f32, chunk_rows: usize) -> Vec<Vec<Chunk>> {
    let groups: Vec<Group> = sequences.chunks(1).map(|sequences| Group { prefix: &[], sequences }).collect();
    let mut lanes = deal_all(&groups, lanes, chunk_rows);
    lanes.iter_mut().for_each(|chunks| mark_mtp(chunks, mtp_share));
    lanes
}

/// The sequences of groups dealt likewise, those of a group sharing the rows of its prefix. Where a group does not fit into one chunk or
/// crosses into another lane, the prefix is repeated; rows are numbered in the order of the chunks, repetitions included. The MTP module
/// learns nothing.
pub fn deal_groups(groups: &[Group], lanes: usize) -> Vec<Vec<Chunk>> {
    deal_all(groups, lanes, ROWS_OF_GROUPS)
}

fn mark_mtp(chunks: &mut [Chunk], share: f32) {
    let rows: usize = chunks.iter().map(|chunk| chunk.targets.len()).sum();
    let mut before = 0;
    for chunk in chunks {
        chunk.mtp = (before as f64) < share as f64 * rows as f64;
        before += chunk.targets.len();
    }
}

fn deal_all(groups: &[Group], lanes: usize, chunk_rows: usize) -> Vec<Vec<Chunk>> {
    let total: usize = groups.iter().map(Group::rows).sum();
    let mut out: Vec<Vec<Chunk>> = vec![Vec::new(); lanes.max(1)];
    // Rows dealt so far: of the groups, and with repeated prefixes.
    let (mut dealt, mut row) = (0, 0);
    for group in groups {
        // The segment that holds the prefix in the open chunk.
        let mut prefix = None;
        for (i, (tokens, targets)) in group.sequences.iter().enumerate() {
            assert_eq!(tokens.len(), targets.len(), "{} targets for {} tokens", targets.len(), tokens.len());
            let rows = if i == 0 { group.prefix.len() + tokens.len() } else { tokens.len() };
            let middle = dealt + rows / 2;
            let lane = (middle * out.len() / total.max(1)).min(out.len() - 1);
            let lane = &mut out[lane];
            // A group is not torn where it fits into a chunk of its own.
            let needed = if i == 0 { group.rows() } else { tokens.len() };
            if lane.last().is_none_or(|chunk| chunk.targets.len() + needed > chunk_rows) {
                lane.push(Chunk { first: row, rows: Rows::new(&[], &[]), targets: Vec::new(), mtp: false });
                prefix = None;
            }
            let chunk = lane.last_mut().expect("an open chunk");
            if prefix.is_none() && !group.prefix.is_empty() {
                prefix = Some(chunk.rows.segments.len());
                chunk.rows.push(group.prefix);
                chunk.targets.resize(chunk.rows.len(), IGNORE);
                row += group.prefix.len();
            }
            match prefix {
                Some(prefix) => chunk.rows.push_after(prefix, tokens),
                None => chunk.rows.push(tokens),
            }
            chunk.targets.extend_from_slice(targets);
            row += tokens.len();
            dealt += rows;
        }
    }
    out
}

impl Group<'_> {
    /// Rows of the group where nothing is repeated.
    fn rows(&self) -> usize {
        self.prefix.len() + self.sequences.iter().map(|(tokens, _)| tokens.len()).sum::<usize>()
    }
}
