//! Decoupled clip and Dynamic sAmpling Policy Optimization (Yu et al. 2025, arXiv 2503.14476). This is its token-level loss (3.3); its
//! wider bound above is `clip_epsilon_high`, its dynamic sampling `dynamic_sampling`, its overlong filtering `mask_truncated`.

use reseek_spec::ScaleRewards;

use super::{Algorithm, Bounds, Ratio, advantage, ratio, reduction, term};

pub(super) const DAPO: Algorithm = Algorithm {
    name: "dapo",
    advantages: advantage::relative_to_the_group,
    scale: ScaleRewards::Group,
    ratio: Ratio::OfToken(ratio::of_token),
    term: term::clipped,
    bounds: Bounds::AroundOne,
    reduction: reduction::mean_of_step_tokens,
};
