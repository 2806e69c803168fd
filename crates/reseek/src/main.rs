//! The command line of reseek: the only room that prints.

mod chain;
mod cli;
mod cli_eval;
mod cli_full_scale;
mod cli_runs;
mod cli_stages;
mod commands;
mod error;
mod folder;
mod gguf_text;
mod inside;
mod memory;
mod opened;
mod out;
mod post;
#[cfg(test)]
mod printed;
mod style;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use crate::error::Failure;

fn main() -> ExitCode {
    reseek_tensor::memory::prepare();
    let cli = cli::Cli::parse();
    if let Err(error) = reseek_tensor::env::check() {
        eprintln!("error: {error}");
        return ExitCode::from(2);
    }
    match commands::dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Interrupted(message)) => {
            eprintln!("{message}. The same command again goes on from there.");
            ExitCode::from(130)
        }
        Err(Failure::No) => ExitCode::from(1),
        Err(Failure::Error(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}
