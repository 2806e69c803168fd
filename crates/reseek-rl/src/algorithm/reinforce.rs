//! REINFORCE++ (Hu et al. 2025, arXiv 2501.03262): rewards are normalised by the whole step, since a group's own deviation is a noisy and
//! biased measure. Without a baseline ("reinforce_plus_plus" in verl, "reinforce" in OpenRLHF), and with the mean of the group as one
//! ("reinforce_plus_plus_baseline", "reinforce_baseline").
//!
//! The KL stays in the loss, as in the paper's second variant, which takes k2; the first has k1 in the reward, whose expected gradient is
//! k2's. verl and OpenRLHF take mean and deviation over tokens; here each answer counts once, as in the paper.

use reseek_spec::ScaleRewards;

use super::{Algorithm, Bounds, Ratio, advantage, ratio, reduction, term};

pub(super) const REINFORCE_PP: Algorithm = Algorithm {
    name: "reinforce++",
    advantages: advantage::normalised_by_the_batch,
    scale: ScaleRewards::Auto,
    ratio: Ratio::OfToken(ratio::of_token),
    term: term::clipped,
    bounds: Bounds::AroundOne,
    reduction: reduction::mean_of_step_tokens,
};

pub(super) const REINFORCE_PP_BASELINE: Algorithm = Algorithm {
    name: "reinforce++-baseline",
    advantages: advantage::centred_then_normalised_by_the_batch,
    ..REINFORCE_PP
};
