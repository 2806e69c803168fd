//! What lies in a run, for a command that was given the run where it needs one of its models.

use std::path::Path;

use reseek_spec::stages::TABLE;
use reseek_store::RunDir;

use crate::error::{Outcome, fail};
use crate::post::folder::{MADE_FROM, MODEL};

/// Refuses a run's own folder and names the models in it, the best known first.
///
/// # Errors
/// If `path` is a run.
pub fn refuse_run(path: &Path) -> Outcome<()> {
    if RunDir::inspect(path).is_err() {
        return Ok(());
    }
    let last_first = TABLE.iter().rev().map(|stage| stage.name).chain([MODEL]).map(|name| path.join(name));
    let mut models: Vec<String> =
        last_first.filter(|folder| folder.join("config.json").is_file()).map(|f| f.display().to_string()).collect();
    // R1 is what most people come for.
    let r1 = path.join("r1").display().to_string();
    models.sort_by_key(|model| *model != r1);
    let is_of_rl = path.join(MADE_FROM).exists();
    let path = path.display();
    match models.is_empty() {
        true => fail(format!(
            "{path} is a run, not a model, and none of its models is finished yet. {}",
            if is_of_rl {
                "The command that began it goes on with it.".to_string()
            } else {
                format!("Run `reseek replicate --out {path}` to make them.")
            }
        )),
        false => fail(format!("{path} is a run, not a model. Name one of the models in it: {}.", models.join(", "))),
    }
}
