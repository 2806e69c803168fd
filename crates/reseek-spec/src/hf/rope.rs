//! Rotation in a config.json: transformers 4 has `rope_theta` and `rope_scaling`, 5 both in `rope_parameters`, and of OLMo 3 and Gemma 3 one
//! of those for each kind of layer. Files may hold both forms, and both must say the same.

use super::config::Config;
use super::keys::Defaults;
use crate::rope::yarn_mscale;
use crate::{Family, Rope, RopeScaling, SpecError};

/// What a config.json says of rotation.
pub(crate) struct Ropes {
    pub main: Rope,
    pub local: Option<Rope>,
    pub partial_rotary_factor: f64,
    pub llama_4_scaling_beta: f64,
}

/// The two forms, as far as they are there.
struct Forms<'a> {
    parameters: Option<Config<'a>>,
    scaling: Option<Config<'a>>,
    local: Option<Config<'a>>,
}

impl Forms<'_> {
    /// A number of whichever of the two forms has it.
    fn inner(&self, key: &'static str) -> Result<Option<f64>, SpecError> {
        let of = |form: &Option<Config>| match form {
            Some(form) if form.value(key).is_some() => form.number(key).map(Some),
            _ => Ok(None),
        };
        one_of(key, [of(&self.parameters)?, of(&self.scaling)?])
    }
}

impl Config<'_> {
    pub fn ropes(&self, family: Family, context: usize, has_window: bool) -> Result<Ropes, SpecError> {
        let forms = self.rope_forms(family)?;
        if family == Family::Ministral3 && forms.parameters.is_none() && forms.scaling.is_none() {
            return self.ministral3();
        }
        let read = |form: &Option<Config>| form.as_ref().map(|form| form.stretch(family, context)).transpose();
        let (parameters, scaling) = (read(&forms.parameters)?, read(&forms.scaling)?);
        let main = Rope {
            theta: self.theta(&forms, Defaults::of(family).rope_theta)?,
            scaling: agreed(parameters, scaling)?.unwrap_or(RopeScaling::None),
        };
        let local = self.local_rope(family, &forms, &main, context)?;
        let partial_rotary_factor = self.partial_rotary_factor(family, &forms)?;
        let llama_4_scaling_beta = match family {
            Family::Ministral3 => forms.inner("llama_4_scaling_beta")?.unwrap_or(0.0),
            _ => 0.0,
        };
        Ok(Ropes { local: local.filter(|_| has_window), partial_rotary_factor, llama_4_scaling_beta, main })
    }

    /// What transformers assumes where nothing is said.
    fn ministral3(&self) -> Result<Ropes, SpecError> {
        let scaling = RopeScaling::Yarn {
            factor: 16.0,
            original_max_position_embeddings: 16_384,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale: 1.0,
            mscale_all_dim: 1.0,
            attention_factor: None,
            truncate: true,
        };
        let theta = Defaults::of(Family::Ministral3).rope_theta;
        match self.number_or("rope_theta", theta)? == theta {
            true => Ok(Ropes {
                main: Rope { theta, scaling },
                local: None,
                partial_rotary_factor: 1.0,
                llama_4_scaling_beta: 0.1,
            }),
            false => Err(SpecError::Missing { key: "rope_parameters".to_string() }),
        }
    }

    fn rope_forms(&self, family: Family) -> Result<Forms<'_>, SpecError> {
        let scaling = self.object("rope_scaling")?;
        let Some(parameters) = self.object("rope_parameters")? else {
            return Ok(Forms { parameters: None, scaling, local: None });
        };
        if !family.has_local_rope() {
            return Ok(Forms { parameters: Some(parameters), scaling, local: None });
        }
        let (full, local) = (parameters.object("full_attention")?, parameters.object("sliding_attention")?);
        parameters.only(&[], family)?;
        Ok(Forms { parameters: full, scaling, local })
    }

    fn theta(&self, forms: &Forms, default: f64) -> Result<f64, SpecError> {
        const KEY: &str = "rope_theta";
        let own = self.value(KEY).map(|_| self.number(KEY)).transpose()?;
        Ok(one_of(KEY, [forms.inner(KEY)?, own])?.unwrap_or(default))
    }

    /// The table of windowed layers, of a family that has one.
    fn local_rope(
        &self,
        family: Family,
        forms: &Forms,
        main: &Rope,
        context: usize,
    ) -> Result<Option<Rope>, SpecError> {
        let default = match family {
            Family::Gemma3 => 1e4,
            Family::Olmo3 => Defaults::of(family).rope_theta,
            _ => return Ok(None),
        };
        let own = match family {
            Family::Gemma3 => self.value("rope_local_base_freq").map(|_| self.number("rope_local_base_freq")),
            _ => None,
        };
        let own = own.transpose()?;
        let Some(form) = &forms.local else {
            // Transformers 5 gives OLMo 3's windows the default whatever rope_theta is, 4 gives them rope_theta.
            if family == Family::Olmo3 && main.theta != default {
                let what = format!("rope_theta = {} without rope_parameters", main.theta);
                let hint = "write rope_parameters for full_attention and sliding_attention";
                return Err(SpecError::clash(what, &format!("{default}"), hint));
            }
            return Ok(Some(Rope { theta: own.unwrap_or(default), scaling: RopeScaling::None }));
        };
        let inner = form.value("rope_theta").map(|_| form.number("rope_theta")).transpose()?;
        let theta = one_of("rope_theta of sliding_attention, or rope_local_base_freq,", [inner, own])?;
        Ok(Some(Rope { theta: theta.unwrap_or(default), scaling: form.stretch(family, context)? }))
    }

    fn partial_rotary_factor(&self, family: Family, forms: &Forms) -> Result<f64, SpecError> {
        const KEY: &str = "partial_rotary_factor";
        let local = forms.local.as_ref().filter(|form| form.value(KEY).is_some()).map(|form| form.number(KEY));
        let inner = one_of(KEY, [forms.inner(KEY)?, local.transpose()?])?;
        if family == Family::Glm4Moe {
            let own = self.value(KEY).map(|_| self.number(KEY)).transpose()?;
            return Ok(one_of(KEY, [inner, own])?.unwrap_or(0.5));
        }
        match inner {
            None | Some(1.0) => Ok(1.0),
            Some(factor) => {
                let hint = "heads rotated in part are known of glm4_moe";
                Err(SpecError::clash(format!("{KEY} = {factor}"), "1", hint))
            }
        }
    }

    /// How frequencies are stretched, by the keys of one form. Of what its kind does not read it takes what other kinds do, without effect
    /// as in transformers, but no key that no kind knows.
    fn stretch(&self, family: Family, context: usize) -> Result<RopeScaling, SpecError> {
        let kind = self.rope_kind()?;
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: self.number("factor")? },
            "dynamic" => RopeScaling::Dynamic { factor: self.number("factor")? },
            "yarn" => self.yarn(family, context)?,
            "llama3" => RopeScaling::Llama3 {
                factor: self.number("factor")?,
                low_freq_factor: self.number("low_freq_factor")?,
                high_freq_factor: self.number("high_freq_factor")?,
                original_max_position_embeddings: self.size_or("original_max_position_embeddings", context)?,
            },
            other => {
                let what = format!("{} = {}", self.name("rope_type"), other.chars().take(60).collect::<String>());
                let hint = "other stretchings of the rotary table are not known";
                return Err(SpecError::clash(what, "default, linear, dynamic, yarn or llama3", hint));
            }
        };
        const OUTER: [&str; 2] = ["rope_theta", "partial_rotary_factor"];
        let known: &[&str] = match kind {
            // A stretched table's length is its own business, of which these have none.
            "default" | "linear" | "dynamic" => &["original_max_position_embeddings"],
            _ => &[],
        };
        let ministral: &[&str] = match family {
            // The length of the stretched context stands outside too.
            Family::Ministral3 => &["llama_4_scaling_beta", "max_position_embeddings"],
            _ => &[],
        };
        self.only(&[OUTER.as_slice(), known, ministral].concat(), family)?;
        Ok(scaling)
    }

    fn rope_kind(&self) -> Result<&str, SpecError> {
        match (self.text("rope_type")?, self.text("type")?) {
            (Some(new), Some(old)) if new != old => {
                let what = format!("{} = {new}", self.name("rope_type"));
                Err(SpecError::clash(what, &format!("what its type = {old} says"), "they are names of one thing"))
            }
            (new, old) => Ok(new.or(old).unwrap_or("default")),
        }
    }

    fn yarn(&self, family: Family, context: usize) -> Result<RopeScaling, SpecError> {
        let truncate = self.flag_or("truncate", true)?;
        if !truncate && family.has_local_rope() {
            let hint =
                "transformers looks for it beside the tables of this family's layers, and for nothing else there";
            return Err(SpecError::clash(format!("{} = false", self.name("truncate")), "true", hint));
        }
        let original = self.size_or("original_max_position_embeddings", context)?;
        let factor = match (self.has_key("factor"), self.value("factor")) {
            (true, None) => context as f64 / original as f64,
            _ => self.number("factor")?,
        };
        // Each counts only beside the other.
        let (m, all) = (self.number_or("mscale", 0.0)?, self.number_or("mscale_all_dim", 0.0)?);
        let given = self.value("attention_factor").map(|_| self.number("attention_factor")).transpose()?;
        let (mscale, attention_factor) = match (m != 0.0, all != 0.0) {
            (true, true) => (m, given),
            (_, false) => (1.0, given),
            (false, true) => (1.0, given.or(Some(yarn_mscale(factor, 1.0)))),
        };
        let plain = |n: f64, default: f64| if n == 0.0 { default } else { n };
        Ok(RopeScaling::Yarn {
            factor,
            original_max_position_embeddings: original,
            beta_fast: plain(self.number_or("beta_fast", 32.0)?, 32.0),
            beta_slow: plain(self.number_or("beta_slow", 1.0)?, 1.0),
            mscale,
            mscale_all_dim: all,
            attention_factor,
            truncate,
        })
    }
}

/// The one number that stands in one of two places or in both.
fn one_of(key: &str, given: [Option<f64>; 2]) -> Result<Option<f64>, SpecError> {
    match given {
        [Some(one), Some(other)] if one != other => {
            let what = format!("{key} = {one} in one place of config.json and {other} in another");
            Err(SpecError::clash(what, "one number", "rope_parameters is transformers 5's place for it"))
        }
        [one, other] => Ok(one.or(other)),
    }
}

/// What two forms say, if they don't contradict each other.
fn agreed(parameters: Option<RopeScaling>, scaling: Option<RopeScaling>) -> Result<Option<RopeScaling>, SpecError> {
    match (parameters, scaling) {
        (Some(new), Some(old)) if new != old => {
            let what = format!("rope_parameters of {new:?}");
            let allowed = format!("what rope_scaling says, {old:?}");
            Err(SpecError::clash(what, &allowed, "transformers 5 obeys rope_scaling: leave one of the two out"))
        }
        (new, old) => Ok(new.or(old)),
    }
}
