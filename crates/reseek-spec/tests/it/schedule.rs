//! Pipeline schedules: each pass once and in its place, memory, refusals, and the published figures' orders.

use std::collections::HashSet;

use reseek_spec::schedule::{Action, PipelineSchedule, ScheduleKind, closed_form_bubble_s};

const INTERLEAVED: ScheduleKind = ScheduleKind::Interleaved { virtual_stages: 2 };
const KINDS: [ScheduleKind; 7] = [
    ScheduleKind::OneFOneB,
    ScheduleKind::Interleaved { virtual_stages: 1 },
    INTERLEAVED,
    ScheduleKind::Interleaved { virtual_stages: 5 },
    ScheduleKind::Zb1p,
    ScheduleKind::DualPipe,
    ScheduleKind::DualPipeV,
];

/// Every schedule of a few ranks and micro-batches that can be made.
fn schedules() -> Vec<PipelineSchedule> {
    let sizes = (1..=9).flat_map(|pp| (1..=36).map(move |micro_batches| (pp, micro_batches)));
    let made = |(pp, n)| KINDS.into_iter().filter_map(move |kind| PipelineSchedule::new(kind, pp, n).ok());
    let all: Vec<PipelineSchedule> = sizes.flat_map(made).collect();
    for kind in KINDS {
        assert!(all.iter().filter(|schedule| schedule.kind == kind).count() > 30, "{kind:?} is missing");
    }
    all
}

/// Passes of an action: (what, chunk, micro-batch), where what is F, I for inputs or W for weights.
fn passes(action: Action) -> Vec<(char, usize, usize)> {
    match action {
        Action::Forward { chunk, micro_batch } => vec![('F', chunk, micro_batch)],
        Action::BackwardInput { chunk, micro_batch } => vec![('I', chunk, micro_batch)],
        Action::BackwardWeight { chunk, micro_batch } => vec![('W', chunk, micro_batch)],
        Action::Backward { chunk, micro_batch } => vec![('I', chunk, micro_batch), ('W', chunk, micro_batch)],
        Action::Overlapped { forward, backward } => {
            vec![('F', forward.0, forward.1), ('I', backward.0, backward.1), ('W', backward.0, backward.1)]
        }
    }
}

#[test]
fn every_pass_runs_once_and_on_its_rank() {
    for schedule in schedules() {
        let label = (schedule.kind, schedule.pp, schedule.micro_batches);
        let mut seen = HashSet::new();
        for (rank, actions) in schedule.ranks.iter().enumerate() {
            for pass in actions.iter().flat_map(|&action| passes(action)) {
                assert!(seen.insert(pass), "{label:?}: {pass:?} twice");
                assert_eq!(schedule.rank_of(pass.1, pass.2), rank, "{label:?}: {pass:?}");
                assert!(schedule.chunks_of_rank(rank).contains(&pass.1), "{label:?}: {pass:?}");
            }
        }
        assert_eq!(seen.len(), 3 * schedule.chunks() * schedule.micro_batches, "{label:?}");
        assert!(seen.iter().all(|&(_, chunk, n)| chunk < schedule.chunks() && n < schedule.micro_batches), "{label:?}");
    }
}

#[test]
fn a_rank_goes_forward_then_back_then_to_the_weights() {
    for schedule in schedules() {
        for actions in &schedule.ranks {
            let mut seen = HashSet::new();
            for action in actions {
                if let Action::Overlapped { forward, backward } = action {
                    assert_ne!(forward.1, backward.1, "a pair of one micro-batch");
                }
                // Parts of a pair do not wait for each other, so all inputs are there before it.
                let passes = passes(*action);
                for &(what, chunk, micro_batch) in &passes {
                    let (needs, own) = match what {
                        'F' => continue,
                        'I' => ('F', false),
                        _ => ('I', passes.contains(&('I', chunk, micro_batch))),
                    };
                    assert!(own || seen.contains(&(needs, chunk, micro_batch)), "{:?}: {action:?}", schedule.kind);
                }
                seen.extend(passes);
            }
        }
    }
}

/// The table's last column, in chunks: PP, PP and PP + 1; DualPipeV's PP is its 2·pp stages.
#[test]
fn activations_in_flight_are_the_published_ones() {
    for schedule in schedules() {
        let (pp, n) = (schedule.pp, schedule.micro_batches);
        let want = |rank: usize| match schedule.kind {
            ScheduleKind::OneFOneB | ScheduleKind::Interleaved { virtual_stages: 1 } => (pp - rank).min(n),
            ScheduleKind::Interleaved { virtual_stages: v } => (2 * (pp - 1 - rank) + (v - 1) * pp + 1).min(v * n),
            ScheduleKind::Zb1p => pp.min(n),
            ScheduleKind::DualPipe => pp + 1,
            ScheduleKind::DualPipeV => 2 * pp + 1,
        };
        let want: Vec<usize> = (0..pp).map(want).collect();
        assert_eq!(schedule.activations_in_flight(), want, "{:?} {pp} {n}", schedule.kind);
    }
}

#[test]
fn only_dualpipe_has_two_copies_of_the_parameters() {
    for schedule in schedules() {
        let copies: usize = (0..schedule.pp).map(|rank| schedule.chunks_of_rank(rank).len()).sum();
        assert_eq!(copies, schedule.directions() * schedule.chunks(), "{:?}", schedule.kind);
        assert_eq!(schedule.directions() == 2, schedule.kind == ScheduleKind::DualPipe);
    }
}

/// A rank's order: micro-batches of the second phase have a prime.
fn drawn(schedule: &PipelineSchedule, rank: usize) -> String {
    let part = |(chunk, micro_batch): (usize, usize)| {
        let is_second = match schedule.kind {
            ScheduleKind::DualPipe => micro_batch >= schedule.micro_batches / 2,
            _ => chunk >= schedule.pp,
        };
        let shift = if schedule.kind == ScheduleKind::DualPipe && is_second { schedule.micro_batches / 2 } else { 0 };
        format!("{}{}", micro_batch - shift, if is_second { "'" } else { "" })
    };
    let draw = |action: &Action| match *action {
        Action::Forward { chunk, micro_batch } => format!("F{}", part((chunk, micro_batch))),
        Action::Backward { chunk, micro_batch } => format!("B{}", part((chunk, micro_batch))),
        Action::BackwardInput { chunk, micro_batch } => format!("I{}", part((chunk, micro_batch))),
        Action::BackwardWeight { chunk, micro_batch } => format!("W{}", part((chunk, micro_batch))),
        Action::Overlapped { forward, backward } => format!("{}&{}", part(forward), part(backward)),
    };
    schedule.ranks[rank].iter().map(draw).collect::<Vec<_>>().join(" ")
}

/// Rows of the figures in the V3 report (figure 5: 8 ranks, 20 micro-batches) and DualPipe's README (4 ranks, 10 of them).
#[test]
fn orders_are_those_of_the_published_figures() {
    let dualpipe = PipelineSchedule::new(ScheduleKind::DualPipe, 8, 20).unwrap();
    let first = "F0 F1 F2 F3 F4 F5 F6 F0' I0' W0' F1' I1' W1' F2' I2' W2' F3' 7&3' 4'&0 8&4' 5'&1 9&5' 6'&2 B6' 7'&3 \
                 B7' 8'&4 B8' 9'&5 B9' I6 W6 I7 W7 I8 W8 I9 W9";
    assert_eq!(drawn(&dualpipe, 0), first);
    let v = PipelineSchedule::new(ScheduleKind::DualPipeV, 4, 10).unwrap();
    let second = "F0 F1 F2 F3 F4 F0' F5 F1' I0' W0' F2' I1' W1' F3' 6&2' 4'&0 7&3' 5'&1 8&4' 6'&2 9&5' 7'&3 B6' 8'&4 \
                  B7' 9'&5 B8' B6 I9' I7 W9' I8 W7 I9 W8 W9";
    assert_eq!(drawn(&v, 1), second);
    // The first half of DualPipe's ranks does the same on 4 ranks.
    for rank in 0..4 {
        assert_eq!(drawn(&dualpipe, rank), drawn(&v, rank));
    }
}

#[test]
fn names_are_read_back() {
    for kind in KINDS {
        let virtual_stages = kind.chunks_per_rank();
        assert_eq!(ScheduleKind::parse(kind.name(), virtual_stages).unwrap(), kind);
    }
    let error = ScheduleKind::parse("gpipe", 1).unwrap_err().to_string();
    assert!(error.contains("gpipe") && error.contains("dualpipev"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_with_both_values() {
    let check = |kind, pp, micro_batches, parts: &[&str]| {
        let error = PipelineSchedule::new(kind, pp, micro_batches).unwrap_err().to_string();
        assert!(parts.iter().chain(&["will not do"]).all(|part| error.contains(part)), "{error}");
    };
    for kind in KINDS {
        check(kind, 0, 8, &["0 ranks", "8 micro-batches", "at least 1"]);
        check(kind, 8, 0, &["8 ranks", "0 micro-batches", "at least 1"]);
        check(kind, usize::MAX, usize::MAX, &["passes", "at most"]);
        check(kind, 1 << 20, 1 << 20, &["passes", "at most"]);
    }
    check(ScheduleKind::Interleaved { virtual_stages: 0 }, 4, 8, &["0 virtual stages"]);
    check(ScheduleKind::Interleaved { virtual_stages: usize::MAX }, 4, 8, &["passes", "at most"]);
    check(INTERLEAVED, 4, 10, &["10 micro-batches", "pp 4", "Use 12"]);
    check(ScheduleKind::DualPipe, 5, 20, &["pp 5", "even", "dualpipev"]);
    check(ScheduleKind::DualPipe, 4, 9, &["9 micro-batches", "even"]);
    check(ScheduleKind::DualPipe, 4, 6, &["6 micro-batches", "2·pp = 8"]);
    check(ScheduleKind::DualPipeV, 5, 9, &["9 micro-batches", "2·pp = 10"]);
}

/// V3's PP of 16 with F = 1, B = 2, W = 1, F&B = 3: table 2 of its report.
#[test]
fn bubbles_by_the_table() {
    let bubble = |kind, pp| closed_form_bubble_s(kind, pp, 1.0, 2.0, 1.0, 3.0);
    assert_eq!(bubble(ScheduleKind::OneFOneB, 16), Some(45.0));
    assert_eq!(bubble(ScheduleKind::Zb1p, 16), Some(15.0));
    assert_eq!(bubble(ScheduleKind::DualPipe, 16), Some(14.0));
    assert_eq!(bubble(INTERLEAVED, 16), Some(22.5));
    // As many stages on half the ranks.
    assert_eq!(bubble(ScheduleKind::DualPipeV, 8), Some(14.0));
    assert_eq!(bubble(ScheduleKind::DualPipe, 5), None);
    assert_eq!(bubble(ScheduleKind::OneFOneB, 0), None);
}
