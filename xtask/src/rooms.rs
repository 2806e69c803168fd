//! What each room reads: the table here, that of ARCHITECTURE.md and the Cargo.toml files say the same.

use serde_json::Value;

use crate::packages;

/// A room and the rooms that it reads, without tests. Each reads only rooms above its line.
const ROOMS: [(&str, &[&str]); 16] = [
    ("reseek-spec", &[]),
    ("reseek-tensor", &[]),
    ("reseek-tasks", &[]),
    ("reseek-text", &[]),
    ("reseek-data", &["tasks", "text"]),
    ("reseek-model", &["spec", "tensor"]),
    ("reseek-store", &["spec"]),
    ("reseek-train", &["spec", "tensor", "model", "store"]),
    ("reseek-engine", &["tensor", "model"]),
    ("reseek-rl", &["spec", "tensor", "tasks", "model", "train", "engine"]),
    ("reseek-eval", &["tensor", "tasks", "model", "store", "engine"]),
    ("reseek-report", &["spec", "store"]),
    ("reseek-sim", &["spec"]),
    ("reseek-claims", &["spec", "sim"]),
    ("reseek-hub", &[]),
    (
        "reseek",
        &[
            "spec", "tensor", "tasks", "text", "data", "model", "store", "train", "engine", "rl", "eval", "report",
            "sim", "claims", "hub",
        ],
    ),
];

/// Checks that the dependencies between rooms are those of the table: none more, and none that is only allowed.
pub fn directions(metadata: &Value) -> Result<String, String> {
    let rooms = packages(metadata).filter(|package| package["name"].as_str().is_some_and(|n| n.starts_with("reseek")));
    let wrong: Vec<String> = rooms.flat_map(differences).collect();
    if wrong.is_empty() { Ok("rooms: every arrow points down".to_string()) } else { Err(wrong.join("; ")) }
}

/// In what a package reads other rooms than the table says. What only its tests read is not counted.
fn differences(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or("");
    let Some((_, listed)) = ROOMS.iter().find(|(room, _)| *room == name) else {
        return vec![format!("{name} is not in the table of rooms")];
    };
    let dependencies = package["dependencies"].as_array().into_iter().flatten().filter(|of| of["kind"] != "dev");
    let read: Vec<&str> =
        dependencies.filter_map(|of| of["name"].as_str().unwrap_or("").strip_prefix("reseek-")).collect();
    let more = read.iter().filter(|room| !listed.contains(room)).map(|room| format!("{name} reads {room}"));
    let fewer = listed.iter().filter(|room| !read.contains(room));
    more.chain(fewer.map(|room| format!("{name} does not read {room}, as the table says"))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::json;

    use super::*;

    type Table<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

    fn ours() -> Table<'static> {
        ROOMS.iter().map(|(name, reads)| (*name, reads.iter().copied().collect())).collect()
    }

    /// The first and the last column of the table whose head is `| crate | makes | reads |`.
    fn documented(text: &str) -> Table<'_> {
        let (_, rows) = text.split_once("| crate | makes | reads |\n|---|---|---|\n").expect("the table of crates");
        rows.lines()
            .map_while(|line| line.strip_prefix("| `")?.strip_suffix(" |"))
            .map(|line| {
                let (name, rest) = line.split_once('`').expect("a crate's name in backticks");
                let reads = rest.rsplit_once(" | ").expect("three columns").1;
                let reads = match reads {
                    "nothing" => BTreeSet::new(),
                    "all" => ours()["reseek"].clone(),
                    some => some.split(", ").collect(),
                };
                (name, reads)
            })
            .collect()
    }

    #[test]
    fn architecture_md_says_what_each_crate_reads() {
        assert_eq!(documented(include_str!("../../ARCHITECTURE.md")), ours());
    }

    #[test]
    fn the_cargo_files_say_what_each_crate_reads() {
        directions(&crate::metadata().unwrap()).unwrap();
    }

    #[test]
    fn a_room_reads_only_rooms_before_it() {
        for (i, (name, reads)) in ROOMS.iter().enumerate() {
            for room in *reads {
                let earlier = ROOMS[..i].iter().any(|(other, _)| other.strip_prefix("reseek-") == Some(room));
                assert!(earlier, "{name} reads {room}, which stands below it");
            }
        }
    }

    #[test]
    fn a_dependency_too_many_and_one_too_few_are_found() {
        let package = |dependencies: Value| json!({"name": "reseek-store", "dependencies": dependencies});
        let of = |name: &str, kind: Value| json!({"name": name, "kind": kind});
        let spec = of("reseek-spec", Value::Null);
        assert!(differences(&package(json!([spec, of("serde", Value::Null)]))).is_empty());
        assert!(differences(&package(json!([spec, of("reseek-model", json!("dev"))]))).is_empty());
        assert_eq!(differences(&package(json!([spec, of("reseek-model", Value::Null)]))), ["reseek-store reads model"]);
        assert_eq!(differences(&package(json!([]))), ["reseek-store does not read spec, as the table says"]);
        let stranger = json!({"name": "reseek-utils", "dependencies": []});
        assert_eq!(differences(&stranger), ["reseek-utils is not in the table of rooms"]);
    }
}
