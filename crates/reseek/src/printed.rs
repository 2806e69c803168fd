//! Tests of what the project prints: that every command in README, guides, help, claims and messages is one that the program reads, and that
//! errors have one form.

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use crate::cli::Cli;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Pages that tell people what to type. CHANGELOG.md and LOG.md say what was typed once.
const PAGES: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "BENCHMARKS.md", "CONTRIBUTING.md", "corpus/README.md", "docs"];

/// Files below `path` whose names end in `ending`, or the file itself.
fn files(path: &Path, ending: &str) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.retain(|entry| entry.is_dir() || entry.to_string_lossy().ends_with(ending));
    entries.iter().flat_map(|entry| files(entry, ending)).collect()
}

/// The string literals of Rust source with their lines; `\n` ends a line of theirs, and one that goes on behind `\` is joined.
fn literals(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'', 'r']) {
        let line = || source[..source.len() - rest.len() + at].matches('\n').count() + 1;
        let here = &rest[at..];
        let hashes = here[1..].chars().take_while(|c| *c == '#').count();
        if here.starts_with("//") {
            rest = &here[here.find('\n').unwrap_or(here.len())..];
        } else if here.starts_with("'\"'") || here.starts_with("'\\\"'") {
            rest = &here[here[1..].find('\'').unwrap() + 2..];
        } else if here.starts_with('r') && here[1 + hashes..].starts_with('"') {
            let from = at + 2 + hashes;
            let Some(length) = rest[from..].find(&format!("\"{}", "#".repeat(hashes))) else { break };
            found.push((line(), rest[from..from + length].to_string()));
            rest = &rest[from + length + 1 + hashes..];
        } else if let Some(inside) = here.strip_prefix('"') {
            let mut escaped = false;
            let end = inside.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let Some(end) = end else { break };
            let text = &inside[..end];
            let joined: Vec<&str> =
                text.split("\\\n").enumerate().map(|(i, l)| if i > 0 { l.trim_start() } else { l }).collect();
            found.push((line(), joined.concat().replace("\\n", "\n")));
            rest = &here[end + 2..];
        } else {
            rest = &here[1..];
        }
    }
    found
}

/// Every literal of the crates' sources with its place. Code behind `#[cfg(test)]` prints nothing.
fn printed() -> Vec<(String, String)> {
    let sources =
        [files(&Path::new(ROOT).join("crates"), ".rs"), files(&Path::new(ROOT).join("xtask/src"), ".rs")].concat();
    let mut found = Vec::new();
    for path in sources.iter().filter(|path| !path.components().any(|part| part.as_os_str() == "tests")) {
        if path.ends_with("printed.rs") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(ROOT).unwrap().display().to_string();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        found.extend(literals(code).into_iter().map(|(line, text)| (format!("{name}:{line}"), text)));
    }
    assert!(found.len() > 1000, "{} literals", found.len());
    found
}

/// Commands in a text: what stands in backticks, and lines of examples. Shell around them is cut off.
fn commands(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text.split('`').skip(1).step_by(2).map(str::to_string).collect();
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches("next:").trim_start();
        let line =
            line.strip_prefix("Example:").or_else(|| line.strip_prefix("Examples:")).unwrap_or(line).trim_start();
        if line.starts_with("reseek ") || line.starts_with("cargo run") || line.contains("| reseek ") {
            found.push(line.to_string());
        }
    }
    let shell = |line: String| line.split(['|', ';']).map(str::to_string).collect::<Vec<_>>();
    let mut calls: Vec<String> = found.into_iter().flat_map(shell).filter_map(|part| call(&part)).collect();
    calls.dedup();
    calls
}

/// One call of the program, from its name on.
fn call(part: &str) -> Option<String> {
    let part = part.trim();
    let part = part.strip_prefix("cargo run --release -- ").map_or(part.to_string(), |rest| format!("reseek {rest}"));
    let end = [" > ", " #", "  ", "\n"].iter().filter_map(|mark| part.find(mark)).min().unwrap_or(part.len());
    let name = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '{' || c == '-');
    part.strip_prefix("reseek ").filter(|rest| name(rest)).map(|_| part[..end].trim_end().to_string())
}

/// Words of a call; quotes hold words together, and `{…}` stands for something that a message fills in.
fn words(call: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quote, mut hole) = (None, false);
    for c in call.chars() {
        match c {
            '{' => hole = true,
            '}' if hole => {
                hole = false;
                words.last_mut().unwrap().push_str("zero");
            }
            _ if hole => {}
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ if Some(c) == quote => quote = None,
            ' ' if quote.is_none() => words.push(String::new()),
            _ => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Why the program does not read a call; nothing if it does, or if the call is the name of a command alone.
fn refusal(cli: &Command, call: &str) -> Option<String> {
    let words = words(call);
    let named =
        words[1..].iter().all(|word| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
    let error = cli.clone().try_get_matches_from(&words).err()?;
    let name_alone = named && !words.iter().any(|word| word.starts_with("--"));
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        ErrorKind::MissingRequiredArgument | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if name_alone => None,
        _ => Some(format!("{call}: {}", error.to_string().lines().next().unwrap_or_default())),
    }
}

/// Holds all commands of `texts`, each with its place, to the command line; there must be `at_least` so many.
fn check(texts: impl IntoIterator<Item = (String, String)>, at_least: usize) {
    let cli = Cli::command();
    let mut count = 0;
    let mut refused = Vec::new();
    for (place, text) in texts {
        for call in commands(&text) {
            count += 1;
            refused.extend(refusal(&cli, &call).map(|why| format!("{place}: {why}")));
        }
    }
    assert!(refused.is_empty(), "{} of {count} commands are none:\n{}", refused.len(), refused.join("\n"));
    assert!(count >= at_least, "only {count} commands were found");
}

#[test]
fn commands_in_readme_and_guides_are_commands() {
    let pages = PAGES.iter().flat_map(|page| files(&Path::new(ROOT).join(page), ".md"));
    check(pages.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())), 20);
}

fn help(command: &Command, texts: &mut Vec<(String, String)>) {
    let of_args = command.get_arguments().flat_map(|arg| [arg.get_help(), arg.get_long_help()]);
    let of_command =
        [command.get_about(), command.get_long_about(), command.get_after_help(), command.get_after_long_help()];
    let name = command.get_name();
    texts.extend(of_args.chain(of_command).flatten().map(|text| (format!("help of {name}"), text.to_string())));
    command.get_subcommands().for_each(|inner| help(inner, texts));
}

#[test]
fn commands_in_help_are_commands() {
    let mut texts = Vec::new();
    help(&Cli::command(), &mut texts);
    check(texts, 30);
}

#[test]
fn commands_in_claims_are_commands() {
    let command =
        |claim: &'static reseek_claims::Claim| Some((claim.id.to_string(), format!("`{}`", claim.command()?)));
    check(reseek_claims::list().iter().copied().filter_map(command), 5);
}

#[test]
fn commands_in_messages_are_commands() {
    check(printed(), 10);
}

#[test]
fn errors_are_sentences_of_one_form() {
    let marks = ["hint:", " is expected", " are expected", ", expected ", ": expected "];
    let wrong: Vec<String> = printed()
        .into_iter()
        .filter(|(_, text)| marks.iter().any(|mark| text.contains(mark)) || text.starts_with("expected "))
        .map(|(place, text)| format!("{place}: {text}"))
        .collect();
    assert!(wrong.is_empty(), "write what is wrong, then what to do, as sentences:\n{}", wrong.join("\n"));
}

#[test]
fn commands_are_found_and_refused() {
    let text = "Run `reseek zero --set zero.lr=1` or\n  reseek sim run v3-671b --cluster h800x2048   # 20 s\nExample: echo 'a b.' | reseek chat runs/x > y";
    let expect = ["reseek zero --set zero.lr=1", "reseek sim run v3-671b --cluster h800x2048", "reseek chat runs/x"];
    assert_eq!(commands(text), expect);
    let cli = Cli::command();
    assert_eq!(refusal(&cli, "reseek generate"), None);
    assert_eq!(refusal(&cli, "reseek sim"), None);
    assert_eq!(refusal(&cli, "reseek {}"), None);
    for wrong in
        ["reseek lab clip", "reseek sim calibrate --out", "reseek tokenizer train", "reseek config --scale huge"]
    {
        assert!(refusal(&cli, wrong).is_some(), "{wrong}");
    }
    let source = "let a = \"one \\\n    two\"; // \"three\"\nlet b = '\"'; let c = r#\"fo\"ur\"#;";
    assert_eq!(literals(source), [(1, "one two".to_string()), (3, "fo\"ur".to_string())]);
}

#[test]
fn every_command_and_option_says_what_it_is() {
    fn silent(command: &Command, found: &mut Vec<String>) {
        let name = command.get_name();
        if command.get_about().is_none() {
            found.push(name.to_string());
        }
        let mute = |arg: &&clap::Arg| arg.get_help().is_none() && !["help", "version"].contains(&arg.get_id().as_str());
        found.extend(command.get_arguments().filter(mute).map(|arg| format!("{name} {}", arg.get_id())));
        command.get_subcommands().for_each(|inner| silent(inner, found));
    }
    let mut found = Vec::new();
    silent(&Cli::command(), &mut found);
    assert!(found.is_empty(), "no help for {found:?}");
}
