//! Distillation (R1 report, 2.4): a dense student fine-tuned on R1's samples, and the same student trained by RL alone for the same
//! operations.

use reseek_spec::{ModelSpec, PretrainRecipe};

use super::base::pretrain_model;
use super::r1::{fine_tune, lessons};
use super::rl::{Extent, reinforce};
use super::{Chain, summary::flops_of};
use crate::error::Outcome;
use crate::folder::with_vocabulary;

/// The student's own base training, on V3's mixture and schedule.
pub fn student_base(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("student_base")? else { return Ok(()) };
    let tokens = chain.recipe.distil.pretrain_tokens;
    // Needles are for a context that is to be extended, and the student's is not.
    let recipe = PretrainRecipe { tokens, needle_share: 0.0, ..chain.recipe.pretrain.clone() };
    let tokenizer = chain.tokenizer()?;
    let mut spec = with_vocabulary(ModelSpec::student(chain.scale(), 0), &tokenizer)?;
    spec.max_position_embeddings = recipe.seq_len;
    let weights = chain.init_weights(spec)?;
    let (weights, usage) = pretrain_model(chain, &work, weights, &recipe)?;
    chain.finish_model(work, &weights, usage)
}

/// Fine-tuning of the student's base on R1's samples.
pub fn by_samples(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("student")? else { return Ok(()) };
    let recipe = chain.recipe.distil.sft.clone();
    let weights = chain.load_weights("student_base")?;
    let lessons = lessons(chain)?;
    let (weights, usage) = fine_tune(chain, &work, weights, &lessons, &recipe)?;
    chain.finish_model(work, &weights, usage)
}

/// RL alone, from the same base, with the operations that distillation took: the teacher's sampling and the student's fine-tuning.
pub fn by_rl(chain: &mut Chain) -> Outcome<()> {
    let Some(work) = chain.begin("student_rl")? else { return Ok(()) };
    let recipe = chain.recipe.distil.rl.clone();
    let budget = flops_of(chain, "student")? + flops_of(chain, "r1_rejection")?;
    let weights = chain.load_weights("student_base")?;
    let budgeted = Extent { reward_model: None, budget: Some(budget) };
    let (weights, usage) = reinforce(chain, &work, weights, &recipe, budgeted)?;
    chain.finish_model(work, &weights, usage)
}
