//! `reseek-model` looks into no tensor: what is computed value by value is an op of `reseek-tensor`, where it has a reference, vector code
//! and, later, other devices. Loops over layers, experts and segments are the model's own.
//!
//! This refuses the spellings in which code walks through the values of a slice. It does not understand the code: whoever wants to get
//! round it can, and a reader will see it.

use std::path::{Path, PathBuf};

/// What must not stand in the code of the model.
const SPELLINGS: [&str; 10] =
    ["host_mut", "chunks", "iter_mut", "windows(", "step_by", "in 0..", "mul_add", "f32>()", "split_at", "unsafe"];

/// Every file of the model is free of loops over values.
pub fn none_in_the_model() -> Result<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/reseek-model/src");
    let mut wrong = Vec::new();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&src)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| format!("{}: {error}", src.display()))?;
    paths.sort();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        wrong.extend(loops(&text).map(|(line, spelling)| format!("reseek-model/src/{name}:{line} has `{spelling}`")));
    }
    if wrong.is_empty() {
        return Ok("floats: the model looks into no tensor".to_string());
    }
    Err(format!(
        "{}. Make the loop an op of reseek-tensor, with a test against a plain reference there (as in heads.rs, elementwise.rs, \
         routing.rs, slots.rs), and call it; walk over layers or experts with `for layer in &mut layers`.",
        wrong.join("; ")
    ))
}

/// Lines with a spelling that is refused, before the file's tests, outside of comments.
fn loops(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    code.enumerate().filter_map(|(i, line)| {
        let code = line.split("//").next().unwrap_or_default();
        SPELLINGS.into_iter().find(|spelling| code.contains(spelling)).map(|spelling| (i + 1, spelling))
    })
}

#[cfg(test)]
mod tests {
    use super::{loops, none_in_the_model};

    #[test]
    fn the_model_passes() {
        none_in_the_model().unwrap();
    }

    #[test]
    fn a_planted_loop_is_refused_where_it_stands() {
        let planted = [
            "    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);",
            "    for row in y.chunks_exact(d) {",
            "    let (a, b) = y.as_chunks_mut::<16>();",
            "    for i in 0..n {",
            "    let total = row.iter().sum::<f32>();",
        ];
        for line in planted {
            let file = format!("fn forward() {{\n{line}\n}}\n");
            assert_eq!(loops(&file).map(|(line, _)| line).collect::<Vec<_>>(), [2], "{line}");
        }
    }

    #[test]
    fn loops_over_layers_comments_and_tests_are_not() {
        let file = "// rows.chunks_exact(d) was here\nfor (block, saved) in blocks.iter().zip(saved).rev() {\n\
                    for layer in &mut self.layers {\n#[cfg(test)]\nfor row in y.chunks_exact(d) {\n";
        assert_eq!(loops(file).count(), 0);
    }
}
