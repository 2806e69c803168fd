//! Claims that nobody outside can check, with the reason.

use reseek_sim::published::Report;

use crate::claim::{Check, Claim, Tolerance};

pub(crate) static UNKNOWABLE: &[Claim] = &[
    unknowable(
        "v3-data-quality",
        (Report::V3, "section 4.1"),
        "The 14.8T tokens are of high quality and diverse.",
        "the data are not published, so neither their number nor their quality can be seen",
    ),
    unknowable(
        "v3-benchmark-scores",
        (Report::V3, "sections 4.4 and 5.3; R1, section 3.1"),
        "The models reach the printed scores, with no test problem in the training data.",
        "the weights can be evaluated again, but contamination cannot be excluded without the data, and training from scratch to these scores \
         takes the cluster",
    ),
    unknowable(
        "v3-no-rollbacks",
        (Report::V3, "section 1"),
        "Training had no loss spike that could not be recovered from, and no rollback.",
        "logs and checkpoints of the run are not published",
    ),
    unknowable(
        "v3-price-of-an-hour",
        (Report::V3, "section 1, table 1"),
        "An H800 hour rents for 2 USD.",
        "the report assumes this price; whether DeepSeek rents, and for how much, is not published. 1.5 to 4 USD make 4.2M to 11.2M of the same \
         hours",
    ),
];

const fn unknowable(
    id: &'static str,
    place: (Report, &'static str),
    statement: &'static str,
    reason: &'static str,
) -> Claim {
    let tolerance = Tolerance::None { why: "there is nothing to compare with" };
    Claim::words(id, place, statement, tolerance, Check::CannotBeChecked { reason })
}
