//! Learning rates, batch sizes and switches over a run, as functions of how far it is.

use reseek_spec::PretrainRecipe;

/// V3's pre-training schedule (V3 report, 4.2), with every length as a share of the run's tokens.
#[derive(Clone, Debug)]
pub struct PretrainSchedule {
    recipe: PretrainRecipe,
}

impl PretrainSchedule {
    /// The schedule of `recipe`.
    pub fn new(recipe: &PretrainRecipe) -> Self {
        Self { recipe: recipe.clone() }
    }

    /// Warm-up to the peak, constant, cosine to `lr_decay`, constant there, and last at `lr_final`.
    pub fn lr(&self, done: f64) -> f64 {
        let r = &self.recipe;
        let cosine_from = r.warmup_fraction + r.constant_fraction;
        let cosine_to = cosine_from + r.cosine_fraction;
        if done < r.warmup_fraction {
            r.lr_peak * done / r.warmup_fraction
        } else if done < cosine_from {
            r.lr_peak
        } else if done < cosine_to {
            cosine(r.lr_peak, r.lr_decay, (done - cosine_from) / r.cosine_fraction)
        } else if done < cosine_to + r.decay_fraction {
            r.lr_decay
        } else {
            r.lr_final
        }
    }

    /// Sequences in the batch: from `sequences_start` to `sequences` over the ramp, in steps of one a lane.
    pub fn sequences(&self, done: f64) -> usize {
        let r = &self.recipe;
        let ramp = if r.ramp_fraction > 0.0 { (done / r.ramp_fraction).min(1.0) } else { 1.0 };
        let exact = r.sequences_start as f64 + (r.sequences as f64 - r.sequences_start as f64) * ramp;
        let lanes = r.lanes.max(1);
        ((exact / lanes as f64).floor() as usize * lanes).clamp(lanes.min(r.sequences), r.sequences)
    }

    /// Speed γ of the routers' correction biases; 0 at the end, so that they rest.
    pub fn bias_speed(&self, done: f64) -> f32 {
        if done < 1.0 - self.recipe.bias_off_fraction { self.recipe.bias_speed as f32 } else { 0.0 }
    }

    /// λ of the MTP loss.
    pub fn mtp_lambda(&self, done: f64) -> f32 {
        let r = &self.recipe;
        (if done < r.mtp_switch_fraction { r.mtp_lambda } else { r.mtp_lambda_late }) as f32
    }
}

/// From `from` to `to` along half a cosine.
pub fn cosine(from: f64, to: f64, done: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * done.clamp(0.0, 1.0)).cos())
}
