//! GRPO with the mean over the tokens of a mini-batch (TRL's "bnpo"). A mini-batch is what an optimizer step sees, however it is cut for
//! memory; where a step of sampling has one of them this is `dapo`.

use reseek_spec::ScaleRewards;

use super::{Algorithm, Bounds, Ratio, advantage, ratio, reduction, term};

pub(super) const BNPO: Algorithm = Algorithm {
    name: "bnpo",
    advantages: advantage::relative_to_the_group,
    scale: ScaleRewards::Group,
    ratio: Ratio::OfToken(ratio::of_token),
    term: term::clipped,
    bounds: Bounds::AroundOne,
    reduction: reduction::mean_of_minibatch_tokens,
};
