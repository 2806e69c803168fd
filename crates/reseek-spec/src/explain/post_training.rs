//! Everything behind the base model but reinforcement learning.

use super::{Entry, Section};

pub(super) const R1: Section = Section {
    title: "r1: R1's other stages (R1 report, 2.3)",
    entries: &[
        Entry {
            key: "r1.cold_start_samples",
            what: "Long, readable answers that the base is fine-tuned on before RL.",
            unit: "answers",
            paper: "thousands",
            from: "R1 report, 2.3.1",
            known_as: &["max_samples"],
        },
        Entry {
            key: "r1.cold_start_epochs",
            what: "Passes over them.",
            unit: "passes",
            paper: "not given",
            from: "ours: as many as the fine-tuning has in R1",
            known_as: &["num_train_epochs", "total_epochs"],
        },
        Entry {
            key: "r1.cold_start_lr",
            what: "Learning rate of the cold start, by a cosine to its tenth.",
            unit: "none",
            paper: "not given",
            from: "ours: as the fine-tuning's",
            known_as: &["learning_rate"],
        },
        Entry {
            key: "r1.rejection_questions",
            what: "Questions that the RL model answers for the fine-tuning; 0 leaves general data alone.",
            unit: "questions",
            paper: "600K answers were kept, questions not given",
            from: "R1 report, 2.3.3; the number is ours, what the scale's time allows",
            known_as: &[],
        },
        Entry {
            key: "r1.rejection_samples",
            what: "Answers sampled to each; right, well-formed ones in the question's language are kept.",
            unit: "answers",
            paper: "several, not given",
            from: "R1 report, 2.3.3; the number is ours",
            known_as: &["num_return_sequences", "num_generations"],
        },
        Entry {
            key: "r1.general_samples",
            what: "General prompts with answers that the fine-tuning has beside them.",
            unit: "answers",
            paper: "200K beside 600K",
            from: "R1 report, 2.3.3",
            known_as: &[],
        },
        Entry {
            key: "r1.reward_model_pairs",
            what: "Pairs of a better and a worse answer that the reward model learns from.",
            unit: "pairs",
            paper: "66K",
            from: "R1, Nature, methods; the number is ours, as the pairs are easy",
            known_as: &[],
        },
        Entry {
            key: "r1.reward_model_steps",
            what: "Steps of its training.",
            unit: "steps",
            paper: "one pass in batches of 256",
            from: "R1, Nature, methods; the number is ours",
            known_as: &[],
        },
        Entry {
            key: "r1.reward_model_lr",
            what: "Learning rate of its training.",
            unit: "none",
            paper: "6e-6",
            from: "R1, Nature, methods; the rate is ours, because small models stand and need larger ones",
            known_as: &["learning_rate"],
        },
    ],
};

pub(super) const SFT: Section = Section {
    title: "r1.sft, distil.sft: fine-tuning (R1 report, 2.3.3 and 2.4)",
    entries: &[
        Entry {
            key: "{sft}.epochs",
            what: "Passes over the lessons.",
            unit: "passes",
            paper: "2",
            from: "R1 report, 2.3.3",
            known_as: &["num_train_epochs", "total_epochs", "n_epochs"],
        },
        Entry {
            key: "{sft}.lr",
            what: "Learning rate at the cosine's beginning.",
            unit: "none",
            paper: "5e-5; 1e-4 for the 1.5B student, 2e-5 for the 70B",
            from: "R1, Nature, methods; the rate is ours, because small models stand and need larger ones",
            known_as: &["learning_rate"],
        },
        Entry {
            key: "{sft}.lr_final",
            what: "Learning rate at its end.",
            unit: "none",
            paper: "5e-6, a tenth",
            from: "R1, Nature, methods",
            known_as: &["min_lr", "min_lr_rate"],
        },
        Entry {
            key: "{sft}.sequences",
            what: "Samples in a batch. The cold start has r1.sft's.",
            unit: "samples",
            paper: "128",
            from: "R1, Nature, methods; the number is ours, as there are fewer samples",
            known_as: &["per_device_train_batch_size", "train_batch_size", "batch_size", "global_batch_size"],
        },
    ],
};

pub(super) const DISTIL: Section = Section {
    title: "distil: a dense student (R1 report, 2.4 and 4.1)",
    entries: &[Entry {
        key: "distil.pretrain_tokens",
        what: "Tokens of the student's own pre-training, on V3's mixture and schedule.",
        unit: "tokens",
        paper: "none: R1's students begin as Qwen2.5 and Llama 3",
        from: "ours: nothing is downloaded, so the student's base is made here too",
        known_as: &[],
    }],
};

pub(super) const EVAL: Section = Section {
    title: "eval: pass@1 with intervals (R1 report, 3)",
    entries: &[
        Entry {
            key: "eval.problems",
            what: "Problems that every model answers.",
            unit: "problems",
            paper: "30 (AIME) to 500 (MATH-500) in the reasoning tasks",
            from: "R1 report, 3; the number is ours, what makes intervals narrow enough",
            known_as: &["max_eval_samples", "limit", "num_eval_samples"],
        },
        Entry {
            key: "eval.k",
            what: "Answers to each: pass@1 is their mean, cons@k their majority.",
            unit: "answers",
            paper: "4 to 64",
            from: "R1 report, 3",
            known_as: &["num_return_sequences", "n_samples", "num_generations", "num_samples"],
        },
        Entry {
            key: "eval.temperature",
            what: "Temperature of the sampler; 0 takes the most likely token.",
            unit: "none",
            paper: "0.6",
            from: "R1 report, 3",
            known_as: &[],
        },
        Entry {
            key: "eval.top_p",
            what: "Only the most likely tokens that together reach this probability are drawn.",
            unit: "probability",
            paper: "0.95",
            from: "R1 report, 3",
            known_as: &["nucleus"],
        },
        Entry {
            key: "eval.max_new_tokens",
            what: "Tokens of an answer at most.",
            unit: "tokens",
            paper: "32768",
            from: "R1 report, 3; the number is ours, as long as R1's samples are in training",
            known_as: &["max_completion_length", "max_response_length", "max_gen_toks", "max_tokens"],
        },
        Entry {
            key: "eval.text_bytes",
            what: "Bytes of held-out text that bits per byte are measured on.",
            unit: "bytes",
            paper: "the Pile's test set",
            from: "V3 report, 4.4; the size is ours, what takes seconds",
            known_as: &[],
        },
    ],
};
