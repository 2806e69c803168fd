//! Group Relative Policy Optimization (DeepSeekMath, 4.1; R1 report, equation 1).

use super::{Algorithm, Ratio, advantage, ratio, reduction, term};

pub(super) const GRPO: Algorithm = Algorithm {
    name: "grpo",
    advantages: advantage::relative_to_the_group,
    ratio: Ratio::OfToken(ratio::of_token),
    term: term::clipped,
    reduction: reduction::mean_of_sequence_means,
};
