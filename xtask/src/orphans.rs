//! Source files that no module names: the compiler never reads them, so nothing else would say that they are dead.

use std::path::{Path, PathBuf};

/// Every file of every crate's sources and tests is part of it.
pub fn none() -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut wrong = Vec::new();
    for krate in entries(&root.join("crates"))?.into_iter().chain([root.join("xtask")]) {
        for folder in ["src", "tests/it"].map(|folder| krate.join(folder)) {
            if folder.exists() {
                look(&folder, &mut wrong)?;
            }
        }
    }
    match wrong[..] {
        [] => Ok("files: each is part of a crate".to_string()),
        _ => Err(format!("no module names {}. Name it with `mod`, or delete it.", wrong.join(", "))),
    }
}

/// Adds the files of `folder`, and of the folders in it, that none of the files beside it or above it names.
fn look(folder: &Path, wrong: &mut Vec<String>) -> Result<(), String> {
    let inside = entries(folder)?;
    let roots = ["lib.rs", "main.rs", "mod.rs"].map(|root| folder.join(root));
    let text: String = roots.iter().filter_map(|root| std::fs::read_to_string(root).ok()).collect();
    for path in inside {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            look(&path, wrong)?;
        } else if path.extension().is_none_or(|end| end != "rs") || roots.contains(&path) {
            continue;
        }
        let is_source = !path.is_dir() || path.join("mod.rs").exists();
        if is_source && !names(&text, &name) {
            wrong.push(path.display().to_string());
        }
    }
    Ok(())
}

/// Whether a line of `text` has `mod name;`.
fn names(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.trim().split_once("mod ").is_some_and(|(_, rest)| rest == format!("{name};")))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let list = std::fs::read_dir(folder).and_then(|list| list.map(|entry| entry.map(|entry| entry.path())).collect());
    let mut list: Vec<PathBuf> = list.map_err(|error| format!("{}: {error}", folder.display()))?;
    list.sort();
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_has_none() {
        none().unwrap();
    }

    #[test]
    fn a_file_beside_the_modules_is_found() {
        let folder = std::env::temp_dir().join(format!("orphans-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("deep")).unwrap();
        for (file, text) in [
            ("lib.rs", "pub mod used;\nmod deep;\n// mod orphan is gone"),
            ("used.rs", ""),
            ("orphan.rs", ""),
            ("words.txt", ""),
            ("deep/mod.rs", "pub(crate) mod inner;"),
            ("deep/inner.rs", ""),
            ("deep/lost.rs", ""),
        ] {
            std::fs::write(folder.join(file), text).unwrap();
        }
        let mut wrong = Vec::new();
        look(&folder, &mut wrong).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let ends = ["deep/lost.rs", "orphan.rs"];
        assert!(wrong.len() == 2 && wrong.iter().zip(ends).all(|(path, end)| path.ends_with(end)), "{wrong:?}");
    }
}
