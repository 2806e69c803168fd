//! Played schedules against what must hold of any timeline, and against the published bubbles.

use std::collections::HashMap;

use reseek_sim::timeline::{ChunkCosts, Span, Timeline, play};
use reseek_spec::schedule::{Action, PipelineSchedule, ScheduleKind, closed_form_bubble_s};

/// Numerical Recipes' linear congruential generator: the same draws in every run.
struct Draws(u64);

impl Draws {
    /// From `low` to `high`, both included.
    fn draw(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        low + (self.0 >> 33) % (high - low + 1)
    }

    /// A schedule of any kind that can be made.
    fn schedule(&mut self) -> PipelineSchedule {
        let (pp, extra) = (self.draw(1, 9) as usize, self.draw(0, 9) as usize);
        let (kind, pp, micro_batches) = match self.draw(0, 4) {
            0 => (ScheduleKind::OneFOneB, pp, 1 + 2 * extra),
            1 => (ScheduleKind::Zb1p, pp, 1 + 2 * extra),
            2 => (ScheduleKind::Interleaved { virtual_stages: 1 + self.draw(0, 3) as usize }, pp, pp * (1 + extra % 4)),
            3 => (ScheduleKind::DualPipe, 2 * pp, 4 * pp + 2 * extra),
            _ => (ScheduleKind::DualPipeV, pp, 2 * pp + extra),
        };
        PipelineSchedule::new(kind, pp, micro_batches).unwrap()
    }
}

/// Times of a pass by (what, chunk, micro-batch), where what is F, I or W. Parts of an action have the action's times.
fn passes(timeline: &Timeline) -> HashMap<(char, usize, usize), (f64, f64)> {
    let mut times = HashMap::new();
    for Span { action, start_s, end_s } in timeline.spans.iter().flatten() {
        let mut note = |what: &str, (chunk, micro_batch)| {
            for what in what.chars() {
                times.insert((what, chunk, micro_batch), (*start_s, *end_s));
            }
        };
        match *action {
            Action::Forward { chunk, micro_batch } => note("F", (chunk, micro_batch)),
            Action::BackwardInput { chunk, micro_batch } => note("I", (chunk, micro_batch)),
            Action::BackwardWeight { chunk, micro_batch } => note("W", (chunk, micro_batch)),
            Action::Backward { chunk, micro_batch } => note("IW", (chunk, micro_batch)),
            Action::Overlapped { forward, backward } => {
                note("F", forward);
                note("IW", backward);
            }
        }
    }
    times
}

fn near(got: f64, want: f64) -> bool {
    (got - want).abs() <= 1e-9 * want.abs().max(1.0)
}

fn idle_s(timeline: &Timeline) -> Vec<f64> {
    (0..timeline.spans.len()).map(|rank| timeline.makespan_s - timeline.busy_s(rank)).collect()
}

/// Each pass starts when its inputs have come and its rank is free, and not later.
fn check_order(schedule: &PipelineSchedule, timeline: &Timeline, p2p_s: f64) {
    let times = passes(timeline);
    let chunks = schedule.chunks();
    assert_eq!(times.len(), 3 * chunks * schedule.micro_batches);
    let arrives = |what: char, from: usize, to: usize, n: usize| {
        let way_s = if schedule.rank_of(from, n) == schedule.rank_of(to, n) { 0.0 } else { p2p_s };
        times[&(what, from, n)].1 + way_s
    };
    let forward = |c: usize, n: usize| if c == 0 { 0.0 } else { arrives('F', c - 1, c, n) };
    let backward = |c: usize, n: usize| {
        let gradient_s = if c + 1 == chunks { 0.0 } else { arrives('I', c + 1, c, n) };
        gradient_s.max(times[&('F', c, n)].1)
    };
    for spans in &timeline.spans {
        let mut free_s = 0.0;
        for span in spans {
            let ready_s = match span.action {
                Action::Forward { chunk, micro_batch } => forward(chunk, micro_batch),
                Action::Backward { chunk, micro_batch } | Action::BackwardInput { chunk, micro_batch } => {
                    backward(chunk, micro_batch)
                }
                Action::BackwardWeight { chunk, micro_batch } => times[&('I', chunk, micro_batch)].1,
                Action::Overlapped { forward: f, backward: b } => forward(f.0, f.1).max(backward(b.0, b.1)),
            };
            assert!(span.start_s >= free_s, "{:?} while its rank is busy", span.action);
            assert!(span.start_s >= ready_s, "{:?} before its inputs", span.action);
            assert!(near(span.start_s, f64::max(free_s, ready_s)), "{:?} waits for nothing", span.action);
            free_s = span.end_s;
        }
    }
}

#[test]
fn any_timeline_keeps_order_and_work() {
    let mut draws = Draws(7);
    for _ in 0..400 {
        let schedule = draws.schedule();
        let mut seconds = || draws.draw(1, 1000) as f64 / 64.0;
        let costs: Vec<ChunkCosts> = (0..schedule.chunks())
            .map(|_| ChunkCosts { forward_s: seconds(), backward_input_s: seconds(), backward_weight_s: seconds() })
            .collect();
        let p2p_s = seconds() / 8.0;
        let whole = |c: usize| costs[c].forward_s + costs[c].backward_input_s + costs[c].backward_weight_s;
        // A pair as long as its parts, so that work is the same in any order.
        let pair = |f: usize, b: usize| costs[f].forward_s + whole(b) - costs[b].forward_s;
        let timeline = play(&schedule, &costs, &pair, p2p_s).unwrap();
        check_order(&schedule, &timeline, p2p_s);

        let each = schedule.micro_batches as f64 / schedule.directions() as f64;
        for rank in 0..schedule.pp {
            let work_s = each * schedule.chunks_of_rank(rank).iter().map(|&chunk| whole(chunk)).sum::<f64>();
            assert!(near(timeline.busy_s(rank), work_s), "{:?} rank {rank}", schedule.kind);
            assert!(timeline.makespan_s >= work_s * (1.0 - 1e-12));
        }
        let idle_s = idle_s(&timeline);
        assert!(near(timeline.bubble_s(), idle_s.iter().sum::<f64>() / schedule.pp as f64));
        // One micro-batch goes through all chunks and back, over every border twice.
        let borders = (1..schedule.chunks()).filter(|&c| schedule.rank_of(c, 0) != schedule.rank_of(c - 1, 0)).count();
        let through_s: f64 = costs.iter().map(|cost| cost.forward_s + cost.backward_input_s).sum();
        assert!(timeline.makespan_s >= (through_s + 2.0 * borders as f64 * p2p_s) * (1.0 - 1e-12));
    }
}

/// The timeline of even chunks without messages. Small whole seconds, so that sums are exact.
fn even(schedule: &PipelineSchedule, f: f64, input: f64, w: f64, pair: f64) -> Timeline {
    let cost = ChunkCosts { forward_s: f, backward_input_s: input, backward_weight_s: w };
    play(schedule, &vec![cost; schedule.chunks()], &|_, _| pair, 0.0).unwrap()
}

/// 1F1B and the interleaved schedule wait as published whatever the costs; ZB1P from `pp` micro-batches if W ≤ min(F, I),
/// else longer.
#[test]
fn bubbles_of_one_f_one_b_interleaved_and_zb1p() {
    let mut draws = Draws(1);
    let (mut exact, mut longer) = (0, 0);
    for _ in 0..2000 {
        let schedule = draws.schedule();
        let mut seconds = || draws.draw(1, 12) as f64;
        let (f, input, w) = (seconds(), seconds(), seconds());
        let (pp, kind) = (schedule.pp, schedule.kind);
        if kind.is_paired() {
            continue;
        }
        let idle_s = idle_s(&even(&schedule, f, input, w, f64::NAN));
        let v = kind.chunks_per_rank() as f64;
        let want = closed_form_bubble_s(kind, pp, v * f, v * (input + w), v * w, f64::NAN).unwrap();
        if kind != ScheduleKind::Zb1p || (w <= f.min(input) && schedule.micro_batches >= pp) {
            exact += 1;
            assert!(idle_s.iter().all(|&idle_s| idle_s == want), "{kind:?} {pp}: {idle_s:?}, not {want}");
        } else {
            longer += 1;
            assert!(idle_s.iter().all(|&idle_s| idle_s >= want), "{kind:?} {pp}: {idle_s:?} under {want}");
        }
    }
    assert!(exact > 500 && longer > 100, "{exact} {longer}");
}

/// The published form of DualPipe and DualPipeV holds for F = I; in general for W ≤ I and max(F, B) ≤ F&B ≤ F + B the rank
/// that waits longest, in the middle, waits by it less min((D−1)(I−F), F), and the others less by the pairs that they
/// have fewer.
#[test]
fn bubbles_of_dualpipe() {
    let mut draws = Draws(3);
    let (mut published, mut others) = (0, 0);
    for _ in 0..3000 {
        let schedule = draws.schedule();
        let (pp, kind) = (schedule.pp, schedule.kind);
        let depths = match kind {
            ScheduleKind::DualPipe => pp / 2,
            ScheduleKind::DualPipeV => pp,
            _ => continue,
        };
        let (f, input) = (draws.draw(1, 12), draws.draw(1, 12));
        let f = if draws.draw(0, 2) == 0 { input } else { f };
        let w = draws.draw(0, input);
        let pair = draws.draw(f.max(input + w), f + input + w) as f64;
        let (f, input, w) = (f as f64, input as f64, w as f64);
        let b = input + w;
        let table = closed_form_bubble_s(kind, pp, f, b, w, pair).unwrap();
        let middle = table - f64::min((depths as f64 - 1.0) * (input - f), f);
        let want = |rank: usize| {
            let depth = if kind == ScheduleKind::DualPipe { rank.min(pp - 1 - rank) } else { rank };
            middle - depths.saturating_sub(2 + depth) as f64 * (f + b - pair)
        };
        let want: Vec<f64> = (0..pp).map(want).collect();
        let timeline = even(&schedule, f, input, w, pair);
        assert_eq!(idle_s(&timeline), want, "{kind:?} {pp} {} F {f} I {input} W {w}", schedule.micro_batches);
        if f == input {
            published += 1;
            assert_eq!(idle_s(&timeline)[depths - 1], table);
        } else {
            others += 1;
        }
        if f == input && pair == f + b {
            assert_eq!(timeline.bubble_s(), table);
        }
    }
    assert!(published > 200 && others > 200, "{published} {others}");
}

/// Figure 5 of the V3 report and DualPipeV's figure, in cells of F = I = W = 1 and F&B = 3: 66 long, 6 of them empty.
#[test]
fn figures_are_as_long_as_published() {
    for (kind, pp, micro_batches) in [(ScheduleKind::DualPipe, 8, 20), (ScheduleKind::DualPipeV, 4, 10)] {
        let schedule = PipelineSchedule::new(kind, pp, micro_batches).unwrap();
        let timeline = even(&schedule, 1.0, 1.0, 1.0, 3.0);
        assert_eq!(timeline.makespan_s, 66.0);
        assert_eq!(idle_s(&timeline), vec![6.0; pp]);
    }
}

/// V3's pipeline at even costs: the three rows of table 2 in their order.
#[test]
fn dualpipe_waits_least() {
    let bubble_s = |kind, pair| even(&PipelineSchedule::new(kind, 16, 120).unwrap(), 1.0, 1.0, 1.0, pair).bubble_s();
    assert_eq!(bubble_s(ScheduleKind::OneFOneB, 3.0), 45.0);
    assert_eq!(bubble_s(ScheduleKind::Zb1p, 3.0), 15.0);
    assert_eq!(bubble_s(ScheduleKind::DualPipe, 3.0), 14.0);
}

/// A message takes time between ranks only: one micro-batch pays it twice at each border.
#[test]
fn messages_lie_between_ranks_only() {
    let cost = ChunkCosts { forward_s: 1.0, backward_input_s: 1.0, backward_weight_s: 1.0 };
    let makespan_s = |schedule: &PipelineSchedule, p2p_s| {
        play(schedule, &vec![cost; schedule.chunks()], &|_, _| 3.0, p2p_s).unwrap().makespan_s
    };
    let alone = PipelineSchedule::new(ScheduleKind::Interleaved { virtual_stages: 4 }, 1, 3).unwrap();
    assert_eq!(makespan_s(&alone, 5.0), makespan_s(&alone, 0.0));
    let single = PipelineSchedule::new(ScheduleKind::OneFOneB, 4, 1).unwrap();
    assert_eq!(makespan_s(&single, 0.5), makespan_s(&single, 0.0) + 2.0 * 3.0 * 0.5);
}

#[test]
fn what_cannot_be_played_is_an_error() {
    let check = |schedule: &PipelineSchedule, costs: &[ChunkCosts], p2p_s, parts: &[&str]| {
        let error = play(schedule, costs, &|_, _| 1.0, p2p_s).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let cost = ChunkCosts { forward_s: 1.0, backward_input_s: 1.0, backward_weight_s: 1.0 };
    let schedule = PipelineSchedule::new(ScheduleKind::OneFOneB, 2, 4).unwrap();
    check(&schedule, &[cost], 0.0, &["1 chunks", "2, one for each"]);
    check(&schedule, &[cost; 2], f64::NAN, &["NaN s for a message"]);
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        check(&schedule, &[cost, ChunkCosts { forward_s: bad, ..cost }], 0.0, &["Forward", "chunk: 1", "finite"]);
    }
    let mut knot = schedule.clone();
    knot.ranks[1].reverse();
    check(&knot, &[cost; 2], 0.0, &["waits forever", "rank 0"]);
    // Each rank waits for what the other has planned later.
    let mut cross = PipelineSchedule::new(ScheduleKind::DualPipe, 2, 4).unwrap();
    cross.ranks[0].swap(0, 1);
    cross.ranks[1].swap(0, 1);
    check(&cross, &[cost; 2], 0.0, &["waits forever"]);
}
