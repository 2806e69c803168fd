//! Published figures stand in one table: no code has a second copy, and sentences that quote one quote the table's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reseek_sim::published::{self, Quoted};
use reseek_spec::thousands;

use crate::common::{reseek, succeed};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The Rust files below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.extension().is_some_and(|ending| ending == "rs")).collect()
}

/// `source` without comments, strings and tests.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut out = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("'\"'") {
            3
        } else if let Some(inside) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = inside.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else {
            out.push(c);
            c.len_utf8()
        };
        rest = &rest[length..];
    }
    out
}

/// The numbers that stand in code, as Rust writes them.
fn numbers(code: &str) -> Vec<f64> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let words = code.split(|c: char| !is_part(c)).filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    words.filter_map(|word| word.replace('_', "").trim_end_matches("f64").parse().ok()).collect()
}

/// Whether a number is so long or so large that whoever writes it means the published figure.
fn is_distinctive(value: &f64) -> bool {
    let digits = format!("{value:e}");
    let digits = digits.split('e').next().unwrap_or_default().chars().filter(char::is_ascii_digit).count();
    digits >= 4 || *value >= 1e5
}

#[test]
fn no_code_has_a_second_copy() {
    let table = Path::new(ROOT).join("crates/reseek-sim/src/published.rs");
    let all = numbers(&code(&fs::read_to_string(&table).unwrap()));
    let bits: BTreeSet<u64> = all.into_iter().filter(is_distinctive).map(f64::to_bits).collect();
    assert!(bits.contains(&published::STEP.value.to_bits()) && bits.len() > 10, "{} figures", bits.len());
    let mut copies = Vec::new();
    for room in ["reseek", "reseek-claims", "reseek-sim", "reseek-report"] {
        for path in sources(&Path::new(ROOT).join("crates").join(room).join("src")) {
            let found = numbers(&code(&fs::read_to_string(&path).unwrap()));
            let found = found
                .into_iter()
                .filter(|value| path.file_name() != table.file_name() && bits.contains(&value.to_bits()));
            copies.extend(found.map(|value| format!("{}: {value}", path.display())));
        }
    }
    assert!(copies.is_empty(), "take these from reseek_sim::published:\n{}", copies.join("\n"));
}

/// In thousands, as tables print hours.
fn k(hours: Quoted) -> String {
    format!("{}K", thousands((hours.value / 1e3) as u64))
}

#[test]
fn pages_and_help_quote_the_table() {
    let usd = format!("${}M", published::TRAINING_USD.value / 1e6);
    let tokens = format!("{}T", published::TOKENS.value / 1e12);
    let hours = |figures: [Quoted; 3]| format!("{} H800 hours", figures.map(k).join(", "));
    let check = |text: &str, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    };
    let read = |path: &str| fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
    check(
        &read("crates/reseek-report/templates/page.html"),
        &[
            &tokens,
            &hours([published::PRE_TRAINING, published::EXTENSION, published::POST_TRAINING]),
            &format!("{} hours, {usd}", k(published::TRAINING)),
            &hours([published::R1_ZERO, published::R1_DATA, published::R1]),
        ],
    );
    check(
        &read("README.md"),
        &[&format!("what {usd} leaves out"), &format!("R1-Zero's {} hours", k(published::R1_ZERO))],
    );
    let price = format!("gpu_hour_usd={}", published::GPU_HOUR_USD.value);
    for command in ["run", "sweep"] {
        check(&succeed(reseek().args(["sim", command, "--help"])), &[&format!("[default: {price}]")]);
    }
    check(&succeed(reseek().args(["sim", "run", "--help"])), &[&format!("V3's {tokens}")]);
}
