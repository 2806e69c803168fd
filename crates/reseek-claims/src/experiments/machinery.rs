//! Architecture, balance, prediction, precision.

use reseek_sim::published::Report;

use super::{HIGHER_SCORE, LOWER_LOSS, NOT_WORSE, experiment};
use crate::claim::Claim;

pub(crate) static MACHINERY: &[Claim] = &[
    experiment(
        "v3-mla-vs-mha",
        (Report::V3, "section 2.1.1"),
        "Multi-head latent attention is as good as multi-head attention with a smaller cache.",
        None,
        "MLA's loss is no higher, at equal parameters and tokens; its cache is smaller",
        NOT_WORSE,
    ),
    experiment(
        "repos-absorbed-equals-naive",
        (Report::Repos, "DeepSeek-V3, inference/model.py"),
        "Attention over the cached latent (absorbed) gives what attention over expanded keys and values gives.",
        None,
        "Log-probabilities are equal but for rounding",
        "Holds if the largest difference over all positions is below 1e-4 on every seed, else fails.",
    ),
    experiment(
        "v3-bias-balances",
        (Report::V3, "sections 2.1.2 and 4.5.2"),
        "A bias on the gate, moved by a fixed step, balances the experts' load without hurting the loss.",
        None,
        "Load is more even than without balancing, and the loss no higher than with an auxiliary loss",
        "Both over seeds: the largest violation of balance falls (95 % t-interval below 0), and the loss is not worse by more than 0.5 %; fails if \
         either interval is on the other side, else inconclusive.",
    ),
    experiment(
        "v3-balance-scope",
        (Report::V3, "section 4.5.3"),
        "Balance over a batch is as good as the bias, and both beat balance within each sequence: at 1B 2.253, 2.253 and 2.258, at 3B 2.080, 2.080 \
         and 2.085.",
        None,
        "Loss: batch-wise equals bias, both below sequence-wise",
        "Sequence-wise less each of the others over seeds: holds if both 95 % t-intervals are above 0 and the two others differ by less than their \
         noise, fails if one is below 0, else inconclusive.",
    ),
    experiment(
        "v3-specialisation",
        (Report::V3, "section 4.5.3, figure 9"),
        "Without an auxiliary loss experts specialise more on domains.",
        None,
        "An expert's load differs more between domains than with an auxiliary loss",
        "Mutual information of domain and expert, paired over seeds: holds if the 95 % t-interval of the difference is above 0, fails if below, else \
         inconclusive.",
    ),
    experiment(
        "v3-nothing-dropped",
        (Report::V3, "section 2.1.2"),
        "No token is dropped, in training or inference.",
        None,
        "Every token reaches all of its chosen experts at every step",
        "Holds if assignments equal tokens times chosen experts in every recorded step of each seed, else fails.",
    ),
    experiment(
        "v3-mtp-helps",
        (Report::V3, "section 4.5.1, table 4"),
        "Predicting one more token in training improves the main model on most benchmarks (at 15.7B GSM8K 25.4 to 31.4; not NQ).",
        None,
        "Pass@1 of the main model is higher with the MTP loss, at equal tokens",
        HIGHER_SCORE,
    ),
    experiment(
        "v3-mtp-acceptance",
        (Report::V3, "section 5.4.3"),
        "The second predicted token is accepted 85 to 90 % of the time, which makes decoding 1.8 times as fast.",
        None,
        "Acceptance at temperature 0 is above one half at nano scale; the printed range is of the full model",
        "Share of accepted drafts over seeds, clustered by answer: holds if its 95 % interval is above 0.5, fails if below, else inconclusive.",
    ),
    experiment(
        "v3-mtp-lossless",
        (Report::V3, "section 5.4.3"),
        "Decoding with MTP drafts gives the text of greedy decoding.",
        None,
        "All answers are equal token by token",
        "Holds if no token differs on any seed, else fails.",
    ),
    experiment(
        "v3-fp8-loss",
        (Report::V3, "section 3.3 and appendix B.1"),
        "Training in fp8 with fine scales stays within 0.25 % of bf16's loss.",
        None,
        "The relative gap of the loss stays below 0.25 %",
        "Smoothed relative gap over seeds: holds if the upper end of its 95 % t-interval is below 0.25 %, fails if the lower end is above, else \
         inconclusive.",
    ),
    experiment(
        "v3-fp8-accumulation",
        (Report::V3, "section 3.3.2"),
        "Products in fp8 that accumulate in about 14 bits err by almost 2 % at worst over K = 4096.",
        None,
        "The worst relative error at 14 bits and K = 4096 is between 1 and 5 % (emulated before: 3.7 %)",
        "Worst error of random matrices over seeds: holds if every seed is between 1 and 5 %, fails if none is, else inconclusive.",
    ),
    experiment(
        "v3-fp8-promotion",
        (Report::V3, "section 3.3.2"),
        "Promotion to f32 every 128 elements cures the error of accumulation.",
        None,
        "The worst relative error falls by a factor of ten or more (emulated before: 3.7 to 0.02 %)",
        "Ratio of worst errors over seeds: holds if it is at least 10 on every seed, fails if on none, else inconclusive.",
    ),
    experiment(
        "v3-fp8-tiles",
        (Report::V3, "section 3.3.2"),
        "Scales for tiles of 1 × 128 and blocks of 128 × 128 withstand outliers that a scale for a whole tensor does not.",
        None,
        "With outliers the error of tiles is lower",
        "Paired difference of relative error over seeds: holds if its 95 % t-interval is below 0, fails if above, else inconclusive.",
    ),
    experiment(
        "v3-e4m3-everywhere",
        (Report::V3, "section 3.3.2"),
        "With fine scales E4M3 serves all tensors, gradients too, and beats E5M2.",
        None,
        "The loss with E4M3 is lower than with E5M2 in the backward pass, both with tiles",
        LOWER_LOSS,
    ),
    experiment(
        "v3-bf16-moments",
        (Report::V3, "section 3.3.3"),
        "AdamW's moments in bf16 do no visible harm.",
        None,
        "The loss is no higher than with f32 moments",
        NOT_WORSE,
    ),
    experiment(
        "v3-fim",
        (Report::V3, "section 4.1"),
        "Fill-in-the-middle at a rate of 0.1 does not hurt prediction of the next token.",
        None,
        "The loss on ordinary text is no higher with a rate of 0.1",
        NOT_WORSE,
    ),
    experiment(
        "v3-yarn",
        (Report::V3, "section 4.3"),
        "YaRN and short training extend the context: facts are found at every depth of the long window.",
        None,
        "Needles are found more often after extension than before, beyond the first window",
        "Paired difference of retrieval over seeds: holds if its 95 % interval is above 0, fails if below, else inconclusive.",
    ),
];
