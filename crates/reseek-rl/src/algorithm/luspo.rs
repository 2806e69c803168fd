//! Length-Unbiased Sequence Policy Optimization (arXiv 2602.05261): GSPO whose sequences count by their length, so that long answers are not
//! held at a discount.

use reseek_spec::ScaleRewards;

use super::{Algorithm, Bounds, advantage, ratio, reduction, term};

pub(super) const LUSPO: Algorithm = Algorithm {
    name: "luspo",
    advantages: advantage::relative_to_the_group,
    scale: ScaleRewards::Group,
    ratio: ratio::OF_MEAN_TOKEN,
    term: term::clipped,
    bounds: Bounds::AroundOne,
    reduction: reduction::mean_of_sequence_sums,
};
