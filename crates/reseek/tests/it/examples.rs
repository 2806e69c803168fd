//! Every example of every help text is run, in a folder where `runs/nano` is a finished run of the smallest size and
//! `model.gguf` a small model.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use reseek_spec::stages::commands;

use crate::common::{Finished, Scratch, copy, finished, reseek, stderr, succeed};

/// Whether a command works on a run, so that it is told to be of its size.
fn is_of_a_run(command: &str) -> bool {
    ["replicate", "report", "config"].contains(&command) || commands().contains(&command)
}

/// The help of the command that `path` names, and of all below it.
fn helps(path: &[String], found: &mut Vec<String>) {
    let help = succeed(reseek().args(path).arg("--help"));
    let commands = help.split_once("Commands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap_or(rest));
    for line in commands.lines() {
        // The description of a command may go on in lines that are indented further.
        let name = line.strip_prefix("  ").unwrap_or_default().split(' ').next().unwrap_or_default();
        if !name.is_empty() && name != "help" {
            helps(&[path, &[name.to_string()]].concat(), found);
        }
    }
    found.push(help);
}

/// The lines behind `Example:` or `Examples:`.
fn examples() -> Vec<String> {
    let mut texts = Vec::new();
    helps(&[], &mut texts);
    let mut found: Vec<String> = Vec::new();
    for text in texts {
        let Some((_, behind)) = text.split_once("Example") else { continue };
        let behind = behind.trim_start_matches('s').trim_start_matches(':');
        let lines = behind.lines().map(str::trim).take_while(|line| !line.is_empty());
        found.extend(lines.map(str::to_string));
    }
    found.sort();
    found.dedup();
    found
}

/// The example at the smallest size, as a shell reads it.
fn small(example: &str, run: &Finished) -> String {
    let calls = example.split("; ").map(|call| {
        let words: Vec<&str> = call.split(' ').collect();
        let (command, rest) =
            call.split_once(" > ").map_or((call, String::new()), |(c, file)| (c, format!(" > {file}")));
        let mut command = command.to_string();
        if words[0] == "reseek" && is_of_a_run(words[1]) && words.get(2) != Some(&"sim") {
            let mut give = |option: &str, value: &str| {
                if option == "--recipe" || !words.contains(&option) {
                    command = format!("{command} {option} {value}");
                }
            };
            give("--recipe", "tiny.toml");
            if words[1] != "config" {
                give("--scale", "smoke");
                give("--data", &run.text.display().to_string());
                give("--out", "runs/nano");
            } else if !words.contains(&"--scale") {
                give("--scale", "smoke");
            }
        }
        if command.contains(" bench train-v3") {
            command += " --scale smoke";
        }
        command + &rest
    });
    calls.collect::<Vec<_>>().join(" && ")
}

fn folder(scratch: &Scratch, name: &str, example: &str, run: &Finished) -> std::path::PathBuf {
    let folder = scratch.join(name);
    copy(&run.out, &folder.join("runs/nano"));
    copy(&run.out, &folder.join("runs/nano-f32"));
    // Runs that an example reads; one that it makes must not be there.
    if example.starts_with("reseek runs") {
        ["first", "second"].into_iter().for_each(|other| copy(&run.out, &folder.join("runs").join(other)));
    }
    fs::copy(scratch.join("tiny.toml"), folder.join("tiny.toml")).unwrap();
    let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf/tiny.gguf");
    fs::copy(gguf, folder.join("model.gguf")).unwrap();
    folder
}

#[test]
fn every_example_of_every_help_runs() {
    let run = finished();
    let scratch = Scratch::new();
    let program = Path::new(env!("CARGO_BIN_EXE_reseek")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let examples = examples();
    assert!(examples.len() > 30, "{examples:?}");
    let mut failed = Vec::new();
    for (number, example) in examples.iter().enumerate().filter(|(_, example)| !example.contains("cost serve")) {
        let folder = folder(&scratch, &number.to_string(), example, &run);
        let line = small(example, &run);
        let output = Command::new("sh")
            .args(["-c", &line])
            .current_dir(&folder)
            .env("PATH", &path)
            .env("RESEEK_THREADS", "2")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if !output.status.success() {
            failed.push(format!("{example}\n  ran as: {line}\n  {}\n  {}", output.status, stderr(&output)));
        }
        let _ = fs::remove_dir_all(&folder);
    }
    assert!(failed.is_empty(), "{} of {} examples fail:\n{}", failed.len(), examples.len(), failed.join("\n"));
}

#[test]
fn the_example_that_serves_a_page_serves_it() {
    assert!(examples().iter().any(|example| example == "reseek cost serve --port 8671"));
    // Any free port, as another may be in use here.
    let mut child =
        reseek().args(["cost", "serve", "--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("127.0.0.1:"), "{line:?}");
}
