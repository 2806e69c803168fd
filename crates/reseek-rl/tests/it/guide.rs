//! docs/guide/algorithms.md says what there is.

use reseek_rl::algorithm::TABLE;

#[test]
fn the_guide_has_a_row_for_every_algorithm_and_key() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/algorithms.md");
    let guide = std::fs::read_to_string(path).unwrap();
    let rows: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let keys = ["scale_rewards", "clip_epsilon_high", "clip_delta", "kl_estimator", "reference_mixup_alpha"];
    let more = ["num_iterations", "mask_truncated", "dynamic_sampling", "k1", "k2", "k3", "k3_corrected"];
    for name in TABLE.map(|algorithm| algorithm.name).into_iter().chain(keys).chain(more) {
        assert!(rows.contains(&name), "no row for {name}");
    }
}
