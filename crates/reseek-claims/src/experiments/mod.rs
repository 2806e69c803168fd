//! Claims that need an experiment. Each says beforehand which way the result should go and which test decides. Some are answered by a run's
//! summary, with `reseek claims verify ID --run DIR`; for the others no command exists, and none is printed.
//! Effects as small as the reports' (0.005 nats) are below the noise of seeds at nano scale, so every test has room for "inconclusive".

mod learning;
mod machinery;

use reseek_sim::published::Report;

use crate::claim::{Answer, Check, Claim, Plan, Tolerance};

pub(crate) use learning::LEARNING;
pub(crate) use machinery::MACHINERY;

/// Fewest seeds of a comparison.
const SEEDS_MIN: u32 = 3;

const NOT_WORSE: &str = "Paired difference of validation loss over seeds: holds if the upper end of its 95 % t-interval is below +0.5 %, fails if \
                         the lower end is above, else inconclusive.";
const LOWER_LOSS: &str = "Paired difference of validation loss over seeds: holds if its 95 % t-interval is below 0, fails if above, else \
                          inconclusive.";
const HIGHER_SCORE: &str = "Paired difference of pass@1 over seeds, clustered by problem: holds if its 95 % interval is above 0, fails if below, \
                            else inconclusive.";

const fn experiment(
    id: &'static str,
    place: (Report, &'static str),
    statement: &'static str,
    answer: Option<Answer>,
    direction: &'static str,
    test: &'static str,
) -> Claim {
    let plan = Plan { answer, direction, test, seeds_min: SEEDS_MIN };
    Claim::words(id, place, statement, Tolerance::Test { rule: test }, Check::Experiment(plan))
}
