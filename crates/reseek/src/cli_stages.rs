//! The commands that make the stages of a run: all take the same options. `eval`, which has more, is `cli_eval`'s.

use clap::{ArgMatches, Args, FromArgMatches, Subcommand};

use crate::cli::RunArgs;

/// A command that makes stages.
pub struct StageCommand {
    /// Which: the `command` of its rows in the table of stages.
    pub name: &'static str,
    pub args: RunArgs,
}

/// Name, what help says of it, and an example.
const COMMANDS: [(&str, &str, &str); 6] = [
    (
        "tokenizer",
        "Stage 1: train the tokenizer, byte-level BPE, on the corpus",
        "reseek tokenizer --out runs/words --set tokenizer.vocab_size=4096",
    ),
    ("pretrain", "Stage 2: pre-train V3's base model", "reseek pretrain --out runs/nano"),
    (
        "extend",
        "Stage 3: extend the context, the tokens that the base reads at once, with YaRN",
        "reseek extend --out runs/nano",
    ),
    (
        "zero",
        "Stage 4: R1-Zero, reinforcement learning (GRPO) straight on the base, with rewards by rule alone",
        "reseek zero --out runs/nano --set zero.steps=200 --redo",
    ),
    (
        "r1",
        "Stage 5: R1, in the report's four stages: cold start, RL, rejection sampling with fine-tuning, RL over all scenarios",
        "reseek r1 --out runs/nano",
    ),
    (
        "distil",
        "Stage 6: a small dense model taught by R1's answers, and the same model by RL alone",
        "reseek distil --out runs/nano",
    ),
];

impl Subcommand for StageCommand {
    fn augment_subcommands(program: clap::Command) -> clap::Command {
        program.subcommands(COMMANDS.map(|(name, about, example)| {
            RunArgs::augment_args(clap::Command::new(name)).about(about).after_help(format!("Example: {example}"))
        }))
    }

    fn augment_subcommands_for_update(program: clap::Command) -> clap::Command {
        Self::augment_subcommands(program)
    }

    fn has_subcommand(name: &str) -> bool {
        COMMANDS.iter().any(|(known, ..)| *known == name)
    }
}

impl FromArgMatches for StageCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
        let (called, args) = matches.subcommand().ok_or_else(missing)?;
        let (name, ..) = COMMANDS.into_iter().find(|(name, ..)| *name == called).ok_or_else(missing)?;
        Ok(Self { name, args: RunArgs::from_arg_matches(args)? })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use reseek_spec::stages::commands;

    use super::*;
    use crate::chain::REPORT;
    use crate::cli::{Cli, Command, sections};

    #[test]
    fn the_commands_are_those_of_the_table_of_stages() {
        let names = COMMANDS.map(|(name, ..)| name);
        assert_eq!([&names[..], &["eval"]].concat(), commands());
        for name in names {
            let Ok(Cli { command: Command::Stage(found) }) =
                Cli::try_parse_from(["reseek", name, "--seed", "7", "--set", "zero.steps=1"])
            else {
                panic!("{name} is not read")
            };
            assert_eq!((found.name, found.args.seed), (name, Some(7)));
        }
    }

    /// What `replicate` says of itself, and the order of the commands in the help.
    #[test]
    fn help_lists_the_stages_in_their_order() {
        let all = [commands(), vec![REPORT]].concat();
        let program = Cli::command();
        let replicate = program.find_subcommand("replicate").unwrap().get_about().unwrap().to_string();
        assert_eq!(replicate, format!("The whole chain: {}", all.join(", ")));
        let listed: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(listed[..=all.len()], [&["replicate"], &all[..]].concat());
        for (i, name) in all.iter().enumerate() {
            let about = program.find_subcommand(name).unwrap().get_about().unwrap().to_string();
            assert!(about.starts_with(&format!("Stage {}: ", i + 1)), "{about}");
        }
    }

    #[test]
    fn the_parts_of_a_recipe_are_its_sections() {
        let recipe = reseek_spec::resolve(reseek_spec::Scale::Nano, &[], &[]).unwrap().recipe;
        let value = serde_json::to_value(recipe).unwrap();
        let parts = value.as_object().unwrap().iter().filter(|(_, part)| part.is_object());
        assert_eq!(parts.map(|(name, _)| name.as_str()).collect::<Vec<_>>(), sections());
    }
}
