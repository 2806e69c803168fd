//! The options of `reseek runs`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub enum RunsCommand {
    /// Every run in a folder: its recipe, what is finished, what is out of date, its scores
    #[command(after_help = "Example: reseek runs list")]
    List {
        /// The folder that holds the runs
        #[arg(value_name = "DIR", default_value = "runs")]
        dir: PathBuf,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Two runs beside each other: keys of the recipe that differ, and scores with intervals of their differences
    #[command(after_help = "Example: reseek runs diff runs/first runs/second --json")]
    Diff {
        /// The run that differences start from
        a: PathBuf,
        /// The run that is held against it
        b: PathBuf,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy a run, to try other settings on the copy; it appears whole or not at all
    #[command(
        after_help = "Example: reseek runs copy runs/first runs/longer\n         reseek replicate --out runs/longer --set zero.steps=400 --redo"
    )]
    Copy {
        /// The run
        from: PathBuf,
        /// The folder of the copy, which must not be there
        to: PathBuf,
        /// Answer in JSON: files and bytes
        #[arg(long)]
        json: bool,
    },
}
