//! Reinforcement learning, cold start, rewards, distillation.

use reseek_sim::published::Report;

use super::{HIGHER_SCORE, experiment};
use crate::claim::Answer::{OneRun, TwoRuns};
use crate::claim::Claim;

pub(crate) static LEARNING: &[Claim] = &[
    experiment(
        "r1-rl-without-sft",
        (Report::R1, "section 2.2"),
        "Reinforcement learning of a base model with rule rewards alone makes it reason (AIME 15.6 to 71.0).",
        Some(OneRun("zero-base")),
        "Pass@1 on held-out problems is higher after R1-Zero than before",
        HIGHER_SCORE,
    ),
    experiment(
        "r1-longer-answers",
        (Report::R1, "section 2.2.4, figure 3"),
        "Answers grow longer by themselves as reasoning improves. Against it stands Dr. GRPO: the loss' division by length makes wrong answers long.",
        None,
        "Right answers grow longer too, also with Dr. GRPO's loss without division by length",
        "Slope of mean length of right answers, and its difference between the two losses, over seeds: holds if both slopes' 95 % intervals are \
         above 0, fails if only wrong answers grow, else inconclusive.",
    ),
    experiment(
        "r1-longer-cap",
        (Report::R1, "version in Nature, methods: R1-Zero's training"),
        "Raising the cap on length in mid-run (at step 8.2K from 32,768 to 65,536) makes score and length jump.",
        None,
        "After the change length and pass@1 are higher than in the same run without it",
        HIGHER_SCORE,
    ),
    experiment(
        "r1-majority",
        (Report::R1, "section 2.2.4, table 2"),
        "Majority voting over 64 answers beats the mean answer (AIME 71.0 to 86.7).",
        Some(OneRun("zero-majority")),
        "cons@k is higher than pass@1",
        "Paired difference of cons@k and pass@1, clustered by problem: holds if its 95 % interval is above 0, fails if below, else inconclusive.",
    ),
    experiment(
        "r1-grpo-vs-reinforce",
        (Report::R1, "section 2.2.1"),
        "Advantages relative to a group, clipped, serve without a value model; plain REINFORCE is the baseline to beat.",
        None,
        "Pass@1 at equal samples is higher with GRPO",
        HIGHER_SCORE,
    ),
    experiment(
        "r1-k3",
        (Report::R1, "section 2.2.1, the estimator of KL"),
        "The estimator r − log r − 1 of KL is unbiased and never negative.",
        None,
        "Its mean over samples is the exact KL, its minimum is at least 0",
        "Mean less exact KL over seeds: holds if its 95 % t-interval has 0 and no sample is below 0, else fails.",
    ),
    experiment(
        "r1-clip-10",
        (Report::R1, "version in Nature, methods: R1's training"),
        "A wide clip (ε = 10) does better: a narrow one cuts the gradients of many tokens, too wide a one is unstable.",
        None,
        "Pass@1 with ε = 10 is at least that with 0.2, without divergence",
        HIGHER_SCORE,
    ),
    experiment(
        "r1-reference-refresh",
        (Report::R1, "version in Nature, methods: R1-Zero's training"),
        "Replacing the reference by the policy every 400 steps helps long training.",
        Some(TwoRuns("zero.reference_interval")),
        "Pass@1 at the end is higher with replacement",
        HIGHER_SCORE,
    ),
    experiment(
        "r1-language-mixing",
        (Report::R1, "sections 2.2.4 and 2.3"),
        "R1-Zero mixes languages in its answers; R1's stages mend that.",
        Some(OneRun("r1-zero-language")),
        "The share of words in the question's language is higher in R1's answers than in R1-Zero's",
        "Paired difference of the share, clustered by problem: holds if its 95 % interval is above 0, fails if below, else inconclusive.",
    ),
    experiment(
        "r1-language-reward",
        (Report::R1, "section 2.3.2"),
        "The reward for keeping to one language costs a little accuracy.",
        None,
        "Share of words in the target language is higher, pass@1 slightly lower, with the reward",
        "Both paired differences over seeds: holds if the 95 % interval of the share is above 0 and that of pass@1 below 0, fails if the share does \
         not rise, else inconclusive.",
    ),
    experiment(
        "r1-cold-start",
        (Report::R1, "section 2.3.1"),
        "A small cold start before reinforcement learning gives readable chains and better results.",
        None,
        "Pass@1 at equal steps is higher from a cold start than from the base",
        HIGHER_SCORE,
    ),
    experiment(
        "r1-neural-reward-hacked",
        (Report::R1, "section 2.2.2"),
        "A neural reward model gets exploited in long reinforcement learning.",
        None,
        "The model's reward keeps rising while the verdict of the rules falls or stays",
        "Late slopes over seeds: holds if the 95 % interval of the reward's is above 0 and that of pass@1 is not, fails if both are above 0, else \
         inconclusive.",
    ),
    experiment(
        "r1-distillation-beats-rl",
        (Report::R1, "section 4.1, table 6"),
        "A small model learns more from a large one's answers than from reinforcement learning of its own (32B, AIME: 72.6 to 47.0).",
        Some(OneRun("student-student_rl")),
        "The student's pass@1 is higher after distillation than after reinforcement learning alone",
        HIGHER_SCORE,
    ),
];
