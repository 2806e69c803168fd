//! The stages of a run, one row each: what makes it, what it is made from, the model that it leaves. Whoever names a stage (the chain, the
//! command line, the store, the page) reads it here.

use std::collections::BTreeMap;

/// How a model wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// It completes text. In evaluation it is asked as R1-Zero is, which starts from it; its folder carries no template, as it has learnt
    /// no conversation.
    Text,
    /// The R1-Zero prompt around a plain completion.
    Zero,
    /// R1's chat template.
    Chat,
}

/// A stage: a folder of the run with a record of what it was made from. Some commands make several.
#[derive(Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name, and that of its folder.
    pub name: &'static str,
    /// The command that makes it.
    pub command: &'static str,
    /// What it is, on the page.
    pub title: &'static str,
    /// Keys of the recipe that decide its bytes: whole names, sections, or beginnings that end in `*`; `!` takes one out again.
    pub reads: &'static [&'static str],
    /// Stages whose outputs it reads.
    pub after: &'static [&'static str],
    /// Stages whose operations it counts.
    pub costs: &'static [&'static str],
    /// The model in its folder.
    pub model: Option<StageModel>,
}

/// The model that a stage leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct StageModel {
    /// How it was trained, so how it is asked: evaluation and the chat template in its folder follow from this.
    pub style: Style,
    /// What it is and what it was trained on, within a sentence.
    pub what: &'static str,
    /// What evaluation calls it; nothing of one that is not examined.
    pub examined: Option<Examined>,
}

/// A model that is asked held-out problems.
#[derive(Debug, PartialEq, Eq)]
pub struct Examined {
    /// Its name in summary.json, in tables and in charts.
    pub name: &'static str,
    /// What it is, on the page.
    pub title: &'static str,
}

/// Every stage, in the order in which they run. Whatever trains reads `compute`, `moments` and the number of lanes.
pub static TABLE: [Stage; 13] = [
    Stage {
        name: "tokenizer",
        command: "tokenizer",
        title: "byte-level BPE on the corpus",
        reads: &[
            "tokenizer",
            "tasks",
            "pretrain.seq_len",
            "pretrain.problem_share",
            "pretrain.conversation_share",
            "pretrain.mixed_language_share",
            "pretrain.direct_share",
        ],
        after: &[],
        costs: &[],
        model: None,
    },
    Stage {
        name: "pretrain",
        command: "pretrain",
        title: "V3's base: MLA, DeepSeekMoE, MTP",
        reads: &["scale", "compute", "moments", "tasks", "pretrain"],
        after: &["tokenizer"],
        costs: &[],
        model: Some(StageModel {
            style: Style::Text,
            what: "V3's base model before its context was extended",
            examined: None,
        }),
    },
    Stage {
        name: "extend",
        command: "extend",
        title: "YaRN to four times the length",
        // Batches, losses and optimizer of the extension are those of pre-training.
        reads: &["compute", "moments", "tasks", "pretrain", "extend"],
        after: &["pretrain", "tokenizer"],
        costs: &[],
        model: Some(StageModel {
            style: Style::Text,
            what: "V3's base model",
            examined: Some(Examined { name: "base", title: "V3's base" }),
        }),
    },
    Stage {
        name: "zero",
        command: "zero",
        title: "R1-Zero: GRPO on the base",
        reads: &["compute", "moments", "pretrain.lanes", "tasks", "zero"],
        after: &["extend", "tokenizer"],
        costs: &[],
        model: Some(StageModel {
            style: Style::Zero,
            what: "R1-Zero: the base model after reinforcement learning by rules alone",
            examined: Some(Examined { name: "zero", title: "R1-Zero" }),
        }),
    },
    Stage {
        name: "r1_cold_start",
        command: "r1",
        title: "fine-tuning on long, readable chains",
        reads: &["compute", "moments", "pretrain.lanes", "tasks", "r1.cold_start_*", "r1.sft"],
        after: &["extend", "tokenizer"],
        costs: &[],
        model: Some(StageModel {
            style: Style::Chat,
            what: "R1's cold start: the base model fine-tuned on a few long, readable answers",
            examined: None,
        }),
    },
    Stage {
        name: "r1_rl",
        command: "r1",
        title: "reasoning RL with the language reward",
        reads: &["compute", "moments", "pretrain.lanes", "tasks", "r1.rl"],
        after: &["r1_cold_start", "tokenizer"],
        costs: &[],
        model: Some(StageModel {
            style: Style::Chat,
            what: "R1's cold start after reinforcement learning on reasoning",
            examined: None,
        }),
    },
    Stage {
        name: "r1_rejection",
        command: "r1",
        title: "rejection sampling and general data",
        reads: &["compute", "tasks", "r1.rejection_*", "r1.general_samples", "r1.rl.max_new_tokens"],
        after: &["r1_rl", "tokenizer"],
        costs: &[],
        model: None,
    },
    Stage {
        name: "r1_sft",
        command: "r1",
        title: "fine-tuning of the base on them",
        reads: &["compute", "moments", "pretrain.lanes", "r1.sft"],
        after: &["extend", "r1_rejection", "tokenizer"],
        costs: &[],
        model: Some(StageModel {
            style: Style::Chat,
            what: "the base model fine-tuned on R1's own best answers and on general ones",
            examined: None,
        }),
    },
    Stage {
        name: "r1",
        command: "r1",
        title: "RL over all scenarios",
        reads: &["compute", "moments", "pretrain.lanes", "tasks", "r1.rl_all", "r1.reward_model_*"],
        after: &["r1_sft", "tokenizer"],
        costs: &[],
        model: Some(StageModel {
            style: Style::Chat,
            what: "R1: fine-tuned on its own best answers, then reinforcement learning over all scenarios",
            examined: Some(Examined { name: "r1", title: "R1" }),
        }),
    },
    Stage {
        name: "student_base",
        command: "distil",
        title: "the dense student's base",
        reads: &["scale", "compute", "moments", "tasks", "pretrain", "!pretrain.tokens", "distil.pretrain_tokens"],
        after: &["tokenizer"],
        costs: &[],
        model: Some(StageModel { style: Style::Text, what: "the student's base model", examined: None }),
    },
    Stage {
        name: "student",
        command: "distil",
        title: "distilled from R1's samples",
        reads: &["compute", "moments", "pretrain.lanes", "distil.sft"],
        after: &["student_base", "r1_rejection", "tokenizer"],
        costs: &[],
        model: Some(StageModel {
            style: Style::Chat,
            what: "the student, fine-tuned on R1's answers",
            examined: Some(Examined { name: "student", title: "distilled student" }),
        }),
    },
    Stage {
        name: "student_rl",
        command: "distil",
        title: "the same student by RL alone",
        reads: &["compute", "moments", "pretrain.lanes", "tasks", "distil.rl"],
        after: &["student_base", "tokenizer"],
        costs: &["student", "r1_rejection"],
        model: Some(StageModel {
            style: Style::Zero,
            what: "the student by reinforcement learning alone",
            examined: Some(Examined { name: "student_rl", title: "student by RL alone" }),
        }),
    },
    Stage {
        name: "eval",
        command: "eval",
        title: "held-out problems and text",
        reads: &["compute", "tasks", "eval", "pretrain.seq_len"],
        after: &["extend", "zero", "r1", "student", "student_rl", "tokenizer"],
        costs: &[],
        model: None,
    },
];

/// The stage called `name`.
///
/// # Panics
/// If there is none: names come from the code.
pub fn find(name: &str) -> &'static Stage {
    get(name).unwrap_or_else(|| panic!("no stage is called {name}"))
}

/// The stage called `name`, if there is one: a name that was read from a file.
pub fn get(name: &str) -> Option<&'static Stage> {
    TABLE.iter().find(|stage| stage.name == name)
}

/// The commands that make stages, each once, in order.
pub fn commands() -> Vec<&'static str> {
    let mut commands: Vec<&str> = TABLE.iter().map(|stage| stage.command).collect();
    commands.dedup();
    commands
}

/// The models that evaluation asks, in the order in which they come to be, each with its stage.
pub fn examined() -> impl Iterator<Item = (&'static Examined, &'static Stage)> {
    TABLE.iter().filter_map(|stage| Some((stage.model.as_ref()?.examined.as_ref()?, stage)))
}

/// Keys of a recipe with their values as TOML writes them, such as `zero.steps` and `40`.
pub type Keys = BTreeMap<String, String>;

impl Stage {
    /// Whether `key` decides what comes out.
    pub fn is_made_from(&self, key: &str) -> bool {
        let names = |pattern: &str| match pattern.strip_suffix('*') {
            Some(beginning) => key.starts_with(beginning),
            None => key == pattern || key.strip_prefix(pattern).is_some_and(|rest| rest.starts_with('.')),
        };
        let is_out = self.reads.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(names);
        !is_out && self.reads.iter().any(|pattern| names(pattern))
    }

    /// The keys of `all` that the stage reads.
    pub fn keys(&self, all: &Keys) -> Keys {
        all.iter().filter(|(key, _)| self.is_made_from(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Every stage that it was made from: those whose outputs it reads and those whose operations it counts.
    pub fn inputs(&self) -> impl Iterator<Item = &'static str> {
        self.after.iter().chain(self.costs).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_input_comes_before() {
        for (i, stage) in TABLE.iter().enumerate() {
            assert!(TABLE[..i].iter().all(|earlier| earlier.name != stage.name), "{} stands twice", stage.name);
            for input in stage.inputs() {
                assert!(TABLE[..i].iter().any(|earlier| earlier.name == input), "{} reads {input}", stage.name);
            }
        }
    }

    /// A command makes its stages one after the other.
    #[test]
    fn the_stages_of_a_command_are_neighbours() {
        let commands = commands();
        for (i, command) in commands.iter().enumerate() {
            assert!(!commands[..i].contains(command), "{command} is interrupted by another command");
        }
    }

    /// A model whose stage evaluation does not read could be made anew and leave its scores up to date.
    #[test]
    fn evaluation_reads_what_it_examines() {
        let eval = find("eval");
        for (model, stage) in examined() {
            assert!(
                eval.after.contains(&stage.name),
                "{} is examined, and eval does not read {}",
                model.name,
                stage.name
            );
        }
    }

    #[test]
    fn a_pattern_is_a_name_a_section_or_a_beginning() {
        let stage = find("student_base");
        assert!(stage.is_made_from("scale") && stage.is_made_from("pretrain.seq_len"));
        assert!(!stage.is_made_from("pretrain.tokens") && !stage.is_made_from("scales"));
        assert!(find("r1").is_made_from("r1.reward_model_lr") && !find("r1").is_made_from("r1.rl.steps"));
    }
}
