//! The search over plans.

use reseek_sim::sweep::{Search, sweep};
use reseek_sim::{Precision, Rates, step};
use reseek_spec::{ClusterSpec, preset};

#[test]
fn what_is_found_holds_and_is_the_best() {
    let (model, cluster) = (preset("llama-3.1-8b").unwrap(), ClusterSpec::parse("h800x64").unwrap());
    let rates = Rates::of(&cluster.gpu);
    let search = Search { global_batch: 512, seq: 4096, precision: Precision::Bf16, top: 5 };
    let found = sweep(&model, &cluster, &rates, &search, 1).unwrap();
    assert_eq!(found, sweep(&model, &cluster, &rates, &search, 3).unwrap());
    let out = found.ruled_out;
    assert!(out.divisibility + out.schedule + out.memory < found.plans);
    for (list, key) in [(&found.fastest, 0), (&found.cheapest, 1)] {
        assert_eq!(list.len(), 5);
        let value = |i: usize| [list[i].step_s, list[i].gpu_hours_per_t_tokens][key];
        assert!((1..list.len()).all(|i| value(i - 1) <= value(i)));
        for candidate in list {
            let part = ClusterSpec { gpus: candidate.plan.gpus(), ..cluster.clone() };
            let report = step(&model, &part, &candidate.plan, &rates).unwrap().report;
            assert!(report.memory_peak_bytes <= part.gpu.memory_bytes as f64);
            assert!((report.step_s / candidate.step_s - 1.0).abs() < 1e-12);
        }
    }
    assert!(found.cheapest[0].gpu_hours_per_t_tokens <= found.fastest[0].gpu_hours_per_t_tokens);
}

#[test]
fn a_model_that_fits_nowhere_says_so() {
    let (model, cluster) = (preset("v3-671b").unwrap(), ClusterSpec::parse("a100-40x8").unwrap());
    let search = Search { global_batch: 64, seq: 4096, precision: Precision::Bf16, top: 3 };
    let error = sweep(&model, &cluster, &Rates::of(&cluster.gpu), &search, 2).unwrap_err().to_string();
    assert!(error.contains("fail in memory") && error.contains("more GPUs"), "{error}");
}
