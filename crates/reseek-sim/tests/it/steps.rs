//! Steps, whole runs and their intervals: what must hold whatever the rates are.

use reseek_sim::run::{Phase, Work, distil, r1, r1_plan, r1_zero, run, v3};
use reseek_sim::uncertainty::{INPUTS, draw, intervals, tornado};
use reseek_sim::validate::{MEAN_MAX, WORST_MAX, covered, validate};
use reseek_sim::{Plan, Rates, Recompute, SimError, step};
use reseek_spec::schedule::ScheduleKind;
use reseek_spec::{ClusterSpec, ModelSpec, preset};

fn v3_model() -> ModelSpec {
    preset("v3-671b").unwrap()
}

fn h800(gpus: usize) -> ClusterSpec {
    ClusterSpec::parse(&format!("h800x{gpus}")).unwrap()
}

fn rates() -> Rates {
    Rates::of(&h800(2048).gpu)
}

/// Llama 3.1 8B on 64 GPUs.
fn small(schedule: ScheduleKind, micro_batches: usize) -> Plan {
    Plan {
        tp: 2,
        pp: 4,
        dp: 8,
        micro_batch: 1,
        global_batch: 8 * micro_batches,
        seq: 4096,
        schedule,
        ..Plan::data_parallel(64, 1, 4096)
    }
}

#[test]
fn published_runs_are_met_within_their_tolerances() {
    let found = validate().unwrap();
    let late: Vec<String> =
        found.rows.iter().filter(|row| !row.passes).map(|row| format!("{} {:+.1} %", row.name, row.error)).collect();
    assert!(found.passes, "{late:?}");
    assert!(
        found.mean_error <= MEAN_MAX && found.worst_error <= WORST_MAX,
        "{} {}",
        found.mean_error,
        found.worst_error
    );
    assert!(found.rows.iter().any(|row| !row.sets_rates), "every row sets a rate: nothing is predicted");
}

#[test]
fn intervals_of_95_percent_hold_nine_published_values_of_ten() {
    let (inside, of) = covered(100, 1, 2).unwrap();
    assert!(10 * inside >= 9 * of, "{inside} of {of}");
}

#[test]
fn every_recipe_fits_in_the_memory_of_its_cluster() {
    let model = v3_model();
    let (v3_cluster, r1_cluster) = (h800(2048), h800(512));
    for (cluster, phases) in [
        (&v3_cluster, v3(&Plan::v3(), 14.8e12)),
        (&r1_cluster, r1_zero(&r1_plan(), 1.0)),
        (&r1_cluster, r1(&r1_plan(), 1.0)),
    ] {
        for phase in run(&model, cluster, &phases, &rates(), 2.0).unwrap().phases {
            assert!(phase.memory_peak_bytes <= cluster.gpu.memory_bytes as f64, "{phase:?}");
        }
    }
}

#[test]
fn the_parts_of_a_step_are_the_step() {
    let (model, cluster) = (preset("llama-3.1-8b").unwrap(), h800(64));
    for schedule in [ScheduleKind::OneFOneB, ScheduleKind::Interleaved { virtual_stages: 2 }, ScheduleKind::Zb1p] {
        let report = step(&model, &cluster, &small(schedule, 16), &rates()).unwrap().report;
        let p = report.parts;
        let sum = p.forward_s + p.backward_s + p.weight_s + p.forward_backward_s + p.bubble_s + p.optimizer_s;
        assert!((sum / report.step_s - 1.0).abs() < 1e-9, "{schedule:?}: {sum} of {}", report.step_s);
        assert!(report.mfu_causal > 0.0 && report.mfu_causal < report.mfu_noncausal && report.mfu_noncausal < 1.0);
    }
}

#[test]
fn the_bubble_is_a_smaller_share_of_more_work() {
    let (model, cluster) = (preset("llama-3.1-8b").unwrap(), h800(64));
    let of =
        |micro_batches| step(&model, &cluster, &small(ScheduleKind::OneFOneB, micro_batches), &rates()).unwrap().report;
    let (few, many) = (of(8), of(32));
    assert!(many.step_s > few.step_s && many.gpu_hours_per_t_tokens < few.gpu_hours_per_t_tokens);
    assert!(many.bubble_s / many.step_s < few.bubble_s / few.step_s, "{} {}", many.bubble_s, few.bubble_s);
}

#[test]
fn recomputing_takes_time_and_gives_memory() {
    let (model, cluster) = (preset("llama-3.1-8b").unwrap(), h800(64));
    let of = |recompute| {
        let plan = Plan { recompute, ..small(ScheduleKind::OneFOneB, 16) };
        step(&model, &cluster, &plan, &rates()).unwrap().report
    };
    let (none, selective, full) = (of(Recompute::None), of(Recompute::Selective), of(Recompute::Full));
    assert!(none.step_s <= selective.step_s && selective.step_s < full.step_s);
    assert!(
        none.memory_peak_bytes >= selective.memory_peak_bytes && selective.memory_peak_bytes > full.memory_peak_bytes
    );
}

#[test]
fn every_input_of_every_draw_is_in_its_range_and_has_a_source() {
    let base = rates();
    for input in INPUTS {
        assert!(
            input.low <= 1.0 && input.high >= 1.0 && input.low < input.high && !input.source.is_empty(),
            "{}",
            input.key
        );
    }
    for index in 0..200 {
        assert_eq!(draw(&base, 3, index), draw(&base, 3, index));
        let drawn = draw(&base, 3, index);
        assert_ne!(drawn, draw(&base, 4, index));
        let failures = drawn.mtbf_gpu_hours / base.mtbf_gpu_hours;
        assert!((0.5..=2.0).contains(&failures), "{failures}");
    }
}

#[test]
fn intervals_hold_their_middle_on_any_number_of_threads() {
    let (model, cluster) = (v3_model(), h800(2048));
    let answer = |rates: &Rates| {
        let report = step(&model, &cluster, &Plan::v3(), rates)?.report;
        Ok([report.step_s, report.gpu_hours_per_t_tokens])
    };
    let of = |threads, seed| intervals(&rates(), 60, seed, threads, &answer).unwrap();
    let alone = of(1, 1);
    assert_eq!(alone, of(3, 1));
    assert_ne!(alone, of(1, 2));
    for range in alone {
        assert!(range.low < range.mid && range.mid < range.high, "{range:?}");
    }
    let refused: Result<[_; 2], SimError> = intervals(&rates(), 10, 1, 1, &answer);
    assert!(refused.unwrap_err().to_string().contains("40 or more"));
    let endless: Result<[_; 2], SimError> = intervals(&rates(), usize::MAX, 1, 1, &answer);
    assert!(endless.unwrap_err().to_string().contains("up to 100000"));
}

#[test]
fn a_tornado_is_sorted_and_moves() {
    let (model, cluster) = (v3_model(), h800(2048));
    let bars = tornado(&rates(), &|rates| Ok(step(&model, &cluster, &Plan::v3(), rates)?.report.step_s)).unwrap();
    assert_eq!(bars.len(), INPUTS.len());
    assert!(bars.windows(2).all(|pair| pair[0].width() >= pair[1].width()));
    assert!(bars[0].width() > 0.0);
}

#[test]
fn whole_runs_add_up() {
    let (model, cluster) = (v3_model(), h800(2048));
    let report = run(&model, &cluster, &v3(&Plan::v3(), 14.8e12), &rates(), 2.0).unwrap();
    let hours: f64 = report.phases.iter().map(|phase| phase.gpu_hours).sum();
    assert!((hours / report.gpu_hours - 1.0).abs() < 1e-9);
    assert!((report.cost_usd / report.gpu_hours - 2.0).abs() < 1e-9);
    assert!(report.goodput > 0.9 && report.goodput < 1.0, "{}", report.goodput);
    let dearer = run(&model, &cluster, &v3(&Plan::v3(), 14.8e12), &rates(), 3.0).unwrap();
    assert!((dearer.cost_usd / report.cost_usd - 1.5).abs() < 1e-9);
}

#[test]
fn longer_answers_cost_more_in_every_recipe_of_r1() {
    let (model, cluster, plan) = (v3_model(), h800(512), r1_plan());
    for recipe in [r1_zero, r1, distil] {
        let hours = |length| run(&model, &cluster, &recipe(&plan, length), &rates(), 2.0).unwrap().gpu_hours;
        assert!(hours(2.0) > hours(1.0) && hours(1.0) > 0.0);
    }
}

#[test]
fn nonsense_is_refused_with_its_value() {
    let (model, cluster) = (v3_model(), h800(2048));
    let error = |phases: &[Phase], usd| run(&model, &cluster, phases, &rates(), usd).unwrap_err().to_string();
    assert!(error(&v3(&Plan::v3(), 14.8e12), -2.0).contains("-2"));
    for tokens in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e308] {
        let none = Phase { name: "none", plan: Plan::v3(), work: Work::Train { tokens, ramp: None } };
        assert!(error(&[none], 2.0).contains("tokens"));
    }
    for (plan, names) in [
        (Plan { pp: 128, dp: 16, ..Plan::v3() }, "pp"),
        (Plan { ep: 48, ..Plan::v3() }, "ep"),
        (Plan { tp: 0, ..Plan::v3() }, "tp"),
        // Depth before the product of sizes: 62 divides no cluster of 2,048 either.
        (Plan { pp: 62, ..Plan::v3() }, "at most 61 layers"),
        (Plan { node_limit: Some(0), ..Plan::v3() }, "node-limit 0"),
        (Plan { global_batch: 15_361, ..Plan::v3() }, "batch"),
    ] {
        let error = step(&model, &cluster, &plan, &rates()).map(|_| ()).unwrap_err().to_string();
        assert!(error.to_lowercase().contains(names) && error.contains("hint"), "{error}");
    }
}
