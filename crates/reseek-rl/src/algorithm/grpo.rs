//! Group Relative Policy Optimization (DeepSeekMath, 4.1; R1 report, equation 1).

use reseek_spec::ScaleRewards;

use super::{Algorithm, Bounds, Ratio, advantage, ratio, reduction, term};

pub(super) const GRPO: Algorithm = Algorithm {
    name: "grpo",
    advantages: advantage::relative_to_the_group,
    scale: ScaleRewards::Group,
    ratio: Ratio::OfToken(ratio::of_token),
    term: term::clipped,
    bounds: Bounds::AroundOne,
    reduction: reduction::mean_of_sequence_means,
};
