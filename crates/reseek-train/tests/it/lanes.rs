//! How a batch is dealt to lanes, and that lanes and threads do not change what it says.

use reseek_tensor::cross_entropy::IGNORE;
use reseek_tensor::pool::set_threads;
use reseek_train::{Gradients, Group, OwnTerms, TokenLoss, deal, deal_groups, deal_whole, mtp_targets};

use crate::common::{bits, learner, sequences, student, v3};

#[test]
fn the_mtp_module_predicts_the_token_after_the_next() {
    let i = IGNORE;
    assert_eq!(mtp_targets(&[2, 3, 4, 5], &[4]), [3, 4, 5, i]);
    assert_eq!(mtp_targets(&[2, 3, 4, 5], &[2, 2]), [3, i, 5, i], "nothing from the next segment");
    assert_eq!(mtp_targets(&[i, 3, 4, i], &[4]), [i, 4, i, i], "the next token itself is unknown");
    assert_eq!(mtp_targets(&[2, i, 4, 5], &[4]), [i, i, 5, i]);
    assert_eq!(mtp_targets(&[7], &[1]), [i]);
    assert!(mtp_targets(&[], &[]).is_empty());
}

#[test]
fn every_row_is_dealt_once_and_in_order() {
    let shapes: [&[usize]; 7] =
        [&[1], &[64; 16], &[256; 9], &[1500, 3, 2000], &[5, 900, 200, 7, 1, 1024, 30], &[3; 400], &[1024, 1]];
    for lens in shapes {
        let batch = sequences(lens, 2);
        let total: usize = lens.iter().sum();
        for lanes in [0, 1, 2, 3, 8, 500] {
            let dealt = deal(&batch, lanes, 1.0, 1024);
            assert_eq!(dealt.len(), lanes.max(1), "the recipe's number of lanes, empty ones too");
            let (mut tokens, mut targets, mut segments) = (Vec::new(), Vec::new(), Vec::new());
            for chunk in dealt.iter().flatten() {
                assert_eq!(chunk.first_row, tokens.len(), "rows are numbered as in the batch");
                assert_eq!(chunk.rows.len(), chunk.targets.len());
                assert!(chunk.rows.len() <= 1024 || chunk.rows.segments.len() == 1, "a chunk of {}", chunk.rows.len());
                assert!(!chunk.rows.is_empty());
                assert_eq!(chunk.mtp_targets, Some(mtp_targets(&chunk.targets, &chunk.rows.segments)));
                assert_eq!((chunk.first_sequence, chunk.sequences.len()), (segments.len(), chunk.rows.segments.len()));
                tokens.extend_from_slice(&chunk.rows.tokens);
                targets.extend_from_slice(&chunk.targets);
                segments.extend_from_slice(&chunk.rows.segments);
            }
            assert_eq!(segments, lens, "{lanes} lanes");
            assert_eq!(tokens, batch.iter().flat_map(|(t, _)| t.clone()).collect::<Vec<_>>());
            assert_eq!(targets, batch.iter().flat_map(|(_, t)| t.clone()).collect::<Vec<_>>());
            let longest = *lens.iter().max().unwrap();
            let share = total.div_ceil(lanes.max(1));
            for lane in &dealt {
                let rows: usize = lane.iter().map(|chunk| chunk.rows.len()).sum();
                assert!(rows <= share + longest, "{rows} rows in a lane for a share of {share}");
            }
        }
    }
}

#[test]
fn equal_sequences_make_equal_lanes() {
    let rows = |n: usize, lanes: usize| -> Vec<usize> {
        let dealt = deal(&sequences(&vec![128; n], 1), lanes, 0.0, 1024);
        dealt.iter().map(|lane| lane.iter().map(|chunk| chunk.rows.len() / 128).sum()).collect()
    };
    assert_eq!(rows(8, 2), [4, 4]);
    assert_eq!(rows(16, 4), [4; 4]);
    assert_eq!(rows(3, 3), [1; 3]);
}

#[test]
fn the_mtp_module_learns_from_whole_chunks_of_every_lane() {
    let marks = |lens: &[usize], lanes: usize, share: f32| -> Vec<Vec<bool>> {
        let dealt = deal(&sequences(lens, 1), lanes, share, 256);
        dealt.iter().map(|lane| lane.iter().map(|chunk| chunk.mtp_targets.is_some()).collect()).collect()
    };
    assert_eq!(marks(&[256; 8], 2, 0.5), [[true, true, false, false]; 2]);
    assert_eq!(marks(&[256; 8], 2, 0.0), [[false; 4]; 2]);
    // Too few chunks for a part: rather more than less, and never none.
    assert_eq!(marks(&[256; 6], 2, 0.5), [[true, true, false]; 2]);
    assert_eq!(marks(&[128; 4], 2, 0.1), [[true]; 2]);
    assert_eq!(marks(&[10], 3, 0.5), [vec![], vec![true], vec![]]);
}

/// Every sequence once and in order behind its own prefix, which a chunk holds once.
#[test]
fn groups_share_their_prefixes() {
    let group = |prefix: usize, lens: &[usize]| (vec![3; prefix], sequences(lens, prefix as u64));
    let batches = [
        vec![group(50, &[30; 16]), group(20, &[40, 1, 7]), group(0, &[9, 9]), group(1, &[5])],
        vec![group(100, &[200; 16])],
        vec![group(600, &[300, 500]), group(1, &[1500]), group(2000, &[3, 4])],
    ];
    for batch in batches {
        let groups: Vec<Group> = batch.iter().map(|(prefix, sequences)| Group { prefix, sequences }).collect();
        let all = || batch.iter().flat_map(|(prefix, of)| of.iter().map(move |sequence| (prefix, sequence)));
        let once: usize = batch.iter().map(|(p, of)| p.len() + of.iter().map(|(t, _)| t.len()).sum::<usize>()).sum();
        for lanes in [1, 2, 3, 50] {
            let (mut expected, mut row, mut sequence) = (all(), 0, 0);
            let dealt = deal_groups(&groups, lanes);
            assert_eq!(dealt.len(), lanes);
            for chunk in dealt.iter().flatten() {
                assert_eq!(
                    (chunk.first_row, chunk.first_sequence, chunk.rows.len()),
                    (row, sequence, chunk.targets.len())
                );
                assert!(chunk.mtp_targets.is_none());
                row += chunk.rows.len();
                sequence += chunk.sequences.len();
                let (mut first, mut own) = (0, 0);
                let mut held: Vec<&[u32]> = Vec::new();
                for (i, (&len, &prefix)) in chunk.rows.segments.iter().zip(&chunk.rows.prefixes).enumerate() {
                    let (tokens, targets) =
                        (&chunk.rows.tokens[first..first + len], &chunk.targets[first..first + len]);
                    first += len;
                    held.push(tokens);
                    if !chunk.sequences.contains(&i) {
                        assert!(prefix.is_none() && targets.iter().all(|&target| target == IGNORE));
                        continue;
                    }
                    let (before, sequence) = expected.next().unwrap();
                    assert_eq!((tokens, targets), (&sequence.0[..], &sequence.1[..]));
                    assert_eq!(prefix.map_or(&[][..], |prefix| held[prefix]), before);
                    own += 1;
                }
                assert!(chunk.rows.len() <= 1024 || own == 1, "{} rows of {own} sequences", chunk.rows.len());
            }
            assert!(expected.next().is_none());
            let longest = batch.iter().map(|(prefix, _)| prefix.len()).max().unwrap();
            let chunks = dealt.iter().flatten().count();
            assert!(row <= once + longest * chunks, "{row} rows of {once} in {chunks} chunks");
        }
    }
    // A group that fits into a chunk is not torn for one that was there before.
    let (prefix, first, second) = ([1; 10], sequences(&[700], 1), sequences(&[200; 3], 2));
    let groups = [&first, &second].map(|sequences| Group { prefix: &prefix, sequences });
    let segments: Vec<_> = deal_groups(&groups, 1).remove(0).into_iter().map(|chunk| chunk.rows.segments).collect();
    assert_eq!(segments, [vec![10, 700], vec![10, 200, 200, 200]]);
}

#[test]
fn threads_change_no_bit_and_lanes_only_rounding() {
    let batch = sequences(&[40, 90, 7, 64, 64, 33], 4);
    for (what, spec, mtp) in [("v3", v3(), 1.0), ("student", student(), 0.0)] {
        let model = learner(spec).model;
        let with = |lanes: usize, threads: usize| {
            set_threads(threads);
            let mut gradients = Gradients::default();
            let own = OwnTerms { mtp: 0.3 / 200.0, balance: 1e-3 / 298.0 };
            let loss = TokenLoss { temperature: 1.0, slope: |row, _| -1.0 / (200.0 + row as f32) };
            let (grads, stats) = gradients.compute(&model, deal(&batch, lanes, mtp, 1024), own, &loss);
            (grads.to_vec(), stats)
        };
        let (reference, stats) = with(2, 1);
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| (v as f64).powi(2)).sum::<f64>().sqrt();
        let size = norm(&mut reference.iter().copied());
        for (lanes, threads) in [(2, 2), (2, 5), (1, 2), (3, 2), (6, 1), (9, 2)] {
            let (grads, seen) = with(lanes, threads);
            let rows: Vec<(usize, u32)> = seen.logprobs.iter().map(|&(row, l)| (row, l.to_bits())).collect();
            let expect: Vec<(usize, u32)> = stats.logprobs.iter().map(|&(row, l)| (row, l.to_bits())).collect();
            assert_eq!(rows, expect, "{what}: {lanes} lanes change a log-probability");
            assert_eq!(seen.expert_counts, stats.expert_counts);
            assert_eq!((seen.targets, seen.mtp_targets, seen.rows), (stats.targets, stats.mtp_targets, stats.rows));
            if lanes == 2 {
                assert!(bits(&grads) == bits(&reference), "{what}: {threads} threads change a gradient");
            }
            let gap = norm(&mut grads.iter().zip(&reference).map(|(a, b)| a - b));
            assert!(gap < 1e-5 * size, "{what}: {lanes} lanes are off by {gap} of {size}");
        }
    }
}

#[test]
fn buffers_of_a_wider_batch_leave_nothing_behind() {
    let model = learner(v3()).model;
    let mut used = Gradients::default();
    let run = |gradients: &mut Gradients, lanes: usize| {
        let batch = deal(&sequences(&[30, 30, 30, 30], 7), lanes, 1.0, 1024);
        let loss = TokenLoss { temperature: 1.0, slope: |_, _| -0.01 };
        bits(gradients.compute(&model, batch, OwnTerms { mtp: 0.01, ..OwnTerms::default() }, &loss).0)
    };
    run(&mut used, 4);
    assert!(run(&mut used, 2) == run(&mut Gradients::default(), 2));
}

/// Whole groups, one a chunk, however long; lanes get neighbours, about as many each.
#[test]
fn groups_dealt_whole_are_chunks_of_their_own() {
    let of = [sequences(&[5, 9], 1), sequences(&[1500, 3], 2), sequences(&[1, 1], 3)];
    let groups: Vec<Group> = of.iter().map(|sequences| Group { prefix: &[7, 8], sequences }).collect();
    for (lanes, expect) in [(1, vec![3]), (2, vec![2, 1]), (3, vec![1; 3]), (50, vec![1; 3])] {
        let dealt = deal_whole(&groups, lanes);
        assert_eq!(dealt.iter().map(Vec::len).collect::<Vec<_>>(), expect);
        let (mut row, mut sequence) = (0, 0);
        for (chunk, group) in dealt.iter().flatten().zip(&of) {
            assert_eq!((chunk.first_row, chunk.first_sequence, &chunk.sequences[..]), (row, sequence, &[1, 2][..]));
            assert_eq!(chunk.rows.segments, [2, group[0].0.len(), group[1].0.len()]);
            assert_eq!(chunk.rows.prefixes, [None, Some(0), Some(0)]);
            row += chunk.rows.len();
            sequence += 2;
        }
    }
    assert!(deal_whole::<Vec<u32>>(&[], 2).is_empty());
}
