//! GRPO done right (Liu et al. 2025, arXiv 2503.20783, section 3): without the two divisors, by a group's deviation and by an answer's length,
//! that favour easy and hard questions and long wrong answers.

use reseek_spec::ScaleRewards;

use super::{Algorithm, Bounds, Ratio, advantage, ratio, reduction, term};

pub(super) const DR_GRPO: Algorithm = Algorithm {
    name: "dr_grpo",
    advantages: advantage::relative_to_the_group,
    scale: ScaleRewards::None,
    ratio: Ratio::OfToken(ratio::of_token),
    term: term::clipped,
    bounds: Bounds::AroundOne,
    reduction: reduction::sum_over_constant_length,
};
