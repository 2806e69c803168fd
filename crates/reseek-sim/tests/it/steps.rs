//! Steps, whole runs and their intervals: what must hold whatever the rates are.

use reseek_sim::deepseek::{DeepSeek, Draws};
use reseek_sim::ops::{LayerOps, OpName, Unit, unit_ops};
use reseek_sim::rates::Rate;
use reseek_sim::recipe::{distil, r1, r1_plan, r1_zero, v3};
use reseek_sim::run::{Phase, Work, run};
use reseek_sim::uncertainty::{AS_WIDE_AS, INPUTS, draw, intervals, tornado};
use reseek_sim::validate::{MEAN_MAX, TRACE, V3, WORST_MAX, covered, validate};
use reseek_sim::{Plan, Rates, Recompute, SimError, step};
use reseek_spec::schedule::ScheduleKind;
use reseek_spec::{ClusterSpec, GPUS, ModelSpec, preset};

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
    let counted = found.counted;
    assert!(counted.mean <= MEAN_MAX && counted.worst <= WORST_MAX, "{counted:?}");
    assert!(found.unseen.runs > 0, "every run sets a rate: nothing is predicted");
}

#[test]
fn figures_of_one_run_are_one_run_and_name_the_rates_that_it_set() {
    let found = validate().unwrap();
    let of = |name: &str| found.rows.iter().filter(|row| row.name == name).collect::<Vec<_>>();
    let v3 = of("DeepSeek-V3, 2048 H800");
    assert_eq!(v3.len(), 5);
    // Its bubble set the waiting, which is in its step, its optimizer and its hours too; its passes rest on the trace of its stack.
    for row in &v3 {
        assert!(row.run == v3[0].run && row.sets_rates == V3 && V3.contains(&Rate::Waiting), "{row:?}");
    }
    assert!(of("DeepSeek-V3, one pair").iter().all(|row| row.sets_rates == TRACE && row.run != v3[0].run));
    for name in ["Megatron 18B", "Megatron 39B", "LLAMA 7B", "Llama 2 70B"].map(|name| name.replace("LLAMA", "LLaMA")) {
        assert!(!of(&name)[0].sets_rates.is_empty(), "{name}");
    }
    // The first row of Llama 3's table helped to set rates, the others have other sizes.
    let llama = of("Llama 3.1 405B, 8K");
    assert!(!llama[0].sets_rates.is_empty() && llama[1].sets_rates.is_empty() && llama[0].run != llama[1].run);
    // The mean over runs, added up here once more.
    let counted = |row: &&reseek_sim::validate::Outcome| row.counts && row.unit != "points";
    let runs: std::collections::BTreeSet<usize> = found.rows.iter().filter(counted).map(|row| row.run).collect();
    let mean = |run: &usize| {
        let errors: Vec<f64> =
            found.rows.iter().filter(counted).filter(|row| row.run == *run).map(|row| row.error.abs()).collect();
        errors.iter().sum::<f64>() / errors.len() as f64
    };
    assert_eq!((found.counted.runs, found.counted.figures), (runs.len(), found.rows.iter().filter(counted).count()));
    assert!(found.counted.runs < found.counted.figures);
    let expect = runs.iter().map(mean).sum::<f64>() / runs.len() as f64;
    assert!((found.counted.mean - expect).abs() < 1e-9, "{} {expect}", found.counted.mean);
}

#[test]
fn intervals_are_as_wide_as_the_errors_and_say_so() {
    let (inside, of) = covered(100, 1, 2).unwrap();
    // They were made as wide as this: it is what they claim, and no test of a confidence level.
    assert!(10 * inside >= 9 * of, "{inside} of {of}");
    assert!(AS_WIDE_AS.contains("our errors") && INPUTS[16].source.contains("our errors"));
}

#[test]
fn every_gpu_has_the_rates_of_its_own_generation() {
    for gpu in GPUS {
        assert_eq!(gpu.name, gpu.kind.name());
        let rates = Rates::of(&gpu);
        // Products on Ampere know no fp8, so none of its GPUs may have Hopper's rates.
        assert_eq!(rates.fp8.share > 0.0, gpu.fp8_flops.is_some(), "{}", gpu.name);
        assert_eq!(rates.fp8_wgrad.share > 0.5, gpu.has_mx, "{}", gpu.name);
    }
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
fn what_shows_of_communication_is_a_part_of_all_of_it() {
    let dense = |schedule, tp, cp| {
        let plan = Plan { tp, cp, dp: 16 / (tp * cp), global_batch: 128, ..small(schedule, 16) };
        (preset("llama-3.1-8b").unwrap(), h800(64), plan)
    };
    let interleaved = ScheduleKind::Interleaved { virtual_stages: 2 };
    for (model, cluster, plan) in [
        dense(ScheduleKind::OneFOneB, 8, 1),
        dense(interleaved, 4, 2),
        (v3_model(), h800(2048), Plan::v3()),
        (v3_model(), h800(512), r1_plan()),
    ] {
        for tp_exposed in [1.0, 0.5] {
            let report = step(&model, &cluster, &plan, &Rates { tp_exposed, ..rates() }).unwrap().report;
            assert!(report.exposed_comm_s > 0.0 && report.exposed_comm_s <= report.comm_s + 1e-12, "{report:?}");
        }
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
fn what_is_computed_again_is_what_v3_says() {
    let model = v3_model();
    let of = |recompute| {
        let plan = Plan { recompute, ..Plan::v3() };
        unit_ops(&model, &plan, Unit::Layer { is_moe: true }, 1.0)
    };
    let (none, selective, full) = (of(Recompute::None), of(Recompute::Selective), of(Recompute::Full));
    for some in [&selective, &full] {
        assert!(some.backward_input.ends_with(&none.backward_input));
        assert_eq!((&some.forward, &some.backward_weight), (&none.forward, &none.backward_weight));
    }
    let again = |ops: &LayerOps| ops.backward_input[..ops.backward_input.len() - none.backward_input.len()].to_vec();
    let names: Vec<OpName> = again(&selective).iter().map(|op| op.name).collect();
    // Activations of the shared expert and of the routed ones; casts are not made again.
    let expect = [OpName::Norms, OpName::QueryUp, OpName::KeyValueUp, OpName::Activation, OpName::Activation];
    assert_eq!(names, expect);
    assert_eq!(again(&full), none.forward);
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
fn a_phase_has_the_step_of_its_own_plan() {
    let (model, r1_cluster, v3_cluster) = (v3_model(), h800(512), h800(2048));
    for (cluster, phases) in [(&v3_cluster, v3(&Plan::v3(), 14.8e12)), (&r1_cluster, r1(&r1_plan(), 1.0))] {
        let reports = run(&model, cluster, &phases, &rates(), 2.0).unwrap().phases;
        assert_eq!(reports.len(), phases.len());
        for (phase, report) in phases.iter().zip(reports) {
            assert_eq!(report.step, step(&model, cluster, &phase.plan, &rates()).unwrap().report, "{}", phase.name);
            assert_eq!(report.memory_peak_bytes, report.step.memory_peak_bytes);
        }
    }
}

#[test]
fn deepseeks_runs_stand_beside_what_was_published_of_their_phases() {
    let runs = DeepSeek::new().unwrap();
    assert_eq!(runs.r1_cluster, h800(512));
    let draws = Draws { count: 40, seed: 1, threads: 2 };
    let step = runs.step_beside(draws).unwrap();
    let report = runs.step(&Plan::v3()).unwrap().report;
    let simulated = [report.step_s, report.parts.passes_s(), report.bubble_s, report.parts.optimizer_s];
    assert_eq!(step.parts.map(|part| part.seconds.mid), simulated);
    for part in step.parts {
        assert!((part.seconds.mid / part.published.value - 1.0).abs() < 0.15, "{part:?}");
    }
    let whole = runs.whole_runs(draws).unwrap();
    for run in &whole {
        assert_eq!(run.phases.len(), run.report.phases.len());
        assert!(run.published.iter().map(|(phases, _)| phases).sum::<usize>() <= run.phases.len(), "{}", run.name);
        for (range, phase) in run.phases.iter().zip(&run.report.phases) {
            assert_eq!(range.mid, phase.gpu_hours, "{}", phase.name);
        }
        assert_eq!(run.gpu_hours.mid, run.report.gpu_hours);
    }
    // Pre-training is within a tenth of its figure; both extensions follow it.
    let [v3, zero, _] = whole;
    let [(1, pre_training), (2, _)] = v3.published[..] else { panic!("{:?}", v3.published) };
    assert!((v3.phases[0].mid / pre_training.value - 1.0).abs() < 0.1, "{:?}", v3.phases);
    assert_eq!(runs.r1_zero_gpu_hours().unwrap()[1], zero.gpu_hours.mid);
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
        assert!(error.to_lowercase().contains(names) && error.contains(". "), "{error}");
    }
}
