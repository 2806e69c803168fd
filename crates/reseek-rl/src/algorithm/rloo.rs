//! REINFORCE Leave-One-Out (Ahmadian et al. 2024, arXiv 2402.14740): the whole answer is one action, so that its ratio is the product of its
//! tokens' and its gradient A·∇log π(y). The clip is TRL's: on-policy it does nothing.

use reseek_spec::ScaleRewards;

use super::{Algorithm, Bounds, advantage, ratio, reduction, term};

pub(super) const RLOO: Algorithm = Algorithm {
    name: "rloo",
    advantages: advantage::leave_one_out,
    scale: ScaleRewards::Auto,
    ratio: ratio::OF_ANSWER,
    term: term::clipped,
    bounds: Bounds::AroundOne,
    reduction: reduction::mean_of_sequence_means,
};
