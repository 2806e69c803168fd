//! V3 in f64, one sequence at a time, in the words of the report: no packing, no batching, no cache, no backward pass.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use reseek_model::Weights;
use reseek_spec::{MlaSpec, ModelSpec, MoeSpec};

/// Rows of a sequence.
type Rows = Vec<Vec<f64>>;

/// A model's tensors by name.
pub struct Reference {
    pub spec: Arc<ModelSpec>,
    pub tensors: HashMap<String, Vec<f64>>,
    /// The closest choice between experts so far.
    pub margin: Cell<f64>,
}

/// What one sequence gives.
pub struct Outputs {
    /// Rows after the last norm.
    pub hidden: Rows,
    /// Rows of the MTP module.
    pub mtp_hidden: Rows,
    /// Σ f·P summed over mixtures.
    pub balance: f64,
}

impl Reference {
    pub fn new(weights: &Weights) -> Self {
        let wide = |values: &[f32]| values.iter().map(|&v| v as f64).collect();
        let tensors = weights.entries().map(|(tensor, values)| (tensor.name.clone(), wide(values))).collect();
        Self { spec: weights.spec.clone(), tensors, margin: Cell::new(f64::INFINITY) }
    }

    /// `next` is the token after each.
    pub fn run(&self, tokens: &[u32], next: &[u32]) -> Outputs {
        let layers = self.spec.num_hidden_layers;
        let mut balance = 0.0;
        let mut x = self.embed(tokens);
        for layer in 0..layers {
            x = self.block(layer, x, &mut balance);
        }
        let hidden = self.norm("model.norm", &x);
        let prefix = format!("model.layers.{layers}");
        let e = self.norm(&format!("{prefix}.enorm"), &self.embed(next));
        let h = self.norm(&format!("{prefix}.hnorm"), &hidden);
        let joined: Rows = e.iter().zip(&h).map(|(e, h)| [&e[..], &h[..]].concat()).collect();
        let x = self.block(layers, self.linear(&format!("{prefix}.eh_proj"), &joined), &mut balance);
        let mtp_hidden = self.norm(&format!("{prefix}.shared_head.norm"), &x);
        Outputs { hidden, mtp_hidden, balance }
    }

    pub fn logits(&self, hidden: &Rows) -> Rows {
        self.linear("lm_head", hidden)
    }

    fn embed(&self, tokens: &[u32]) -> Rows {
        let (table, d) = (&self.tensors["model.embed_tokens.weight"], self.spec.hidden_size);
        tokens.iter().map(|&t| table[t as usize * d..][..d].to_vec()).collect()
    }

    fn linear(&self, name: &str, x: &Rows) -> Rows {
        let w = &self.tensors[&format!("{name}.weight")];
        x.iter().map(|x| w.chunks_exact(x.len()).map(|w| dot(w, x)).collect()).collect()
    }

    fn norm(&self, name: &str, x: &Rows) -> Rows {
        let gain = &self.tensors[&format!("{name}.weight")];
        let of = |x: &Vec<f64>| -> Vec<f64> {
            let rms = (dot(x, x) / x.len() as f64 + self.spec.rms_norm_eps).sqrt();
            x.iter().zip(gain).map(|(x, g)| x / rms * g).collect()
        };
        x.iter().map(of).collect()
    }

    fn block(&self, layer: usize, x: Rows, balance: &mut f64) -> Rows {
        let prefix = format!("model.layers.{layer}");
        let h = self.norm(&format!("{prefix}.input_layernorm"), &x);
        let x = sum(&x, &self.attention(&format!("{prefix}.self_attn"), &h));
        let h = self.norm(&format!("{prefix}.post_attention_layernorm"), &x);
        let mlp = format!("{prefix}.mlp");
        match &self.spec.moe {
            Some(moe) if layer >= moe.first_k_dense_replace => sum(&x, &self.mixture(&mlp, moe, &h, balance)),
            _ => sum(&x, &self.swiglu(&mlp, &h)),
        }
    }

    fn attention(&self, prefix: &str, x: &Rows) -> Rows {
        let MlaSpec { kv_lora_rank, qk_nope_head_dim: nope, qk_rope_head_dim: p, v_head_dim: v, .. } =
            *self.spec.mla.as_ref().expect("multi-head latent attention");
        let part = |name: &str, x: &Rows| self.linear(&format!("{prefix}.{name}"), x);
        let q_latent = self.norm(&format!("{prefix}.q_a_layernorm"), &part("q_a_proj", x));
        let q = part("q_b_proj", &q_latent);
        let kv_a = part("kv_a_proj_with_mqa", x);
        let latent: Rows = kv_a.iter().map(|row| row[..kv_lora_rank].to_vec()).collect();
        let kv = part("kv_b_proj", &self.norm(&format!("{prefix}.kv_a_layernorm"), &latent));
        let mut o: Rows = vec![Vec::new(); x.len()];
        for head in 0..self.spec.num_attention_heads {
            let query = |t: usize| {
                let q = &q[t][head * (nope + p)..][..nope + p];
                [q[..nope].to_vec(), self.rotate(&q[nope..], t)].concat()
            };
            let key = |t: usize| {
                let k = &kv[t][head * (nope + v)..][..nope];
                [k.to_vec(), self.rotate(&kv_a[t][kv_lora_rank..], t)].concat()
            };
            let value = |t: usize| &kv[t][head * (nope + v) + nope..][..v];
            for (t, o) in o.iter_mut().enumerate() {
                let scale = ((nope + p) as f64).powf(-0.5);
                let weights: Vec<f64> = (0..=t).map(|s| (dot(&query(t), &key(s)) * scale).exp()).collect();
                let total: f64 = weights.iter().sum();
                let of = |i: usize| (0..=t).map(|s| weights[s] / total * value(s)[i]).sum::<f64>();
                o.extend((0..v).map(of));
            }
        }
        part("o_proj", &o)
    }

    fn rotate(&self, x: &[f64], position: usize) -> Vec<f64> {
        let turn = |(pair, x): (usize, &[f64])| {
            let angle = position as f64 * self.spec.rope_theta.powf(-2.0 * pair as f64 / self.spec.rope_dim() as f64);
            let (sin, cos) = angle.sin_cos();
            [x[0] * cos - x[1] * sin, x[0] * sin + x[1] * cos]
        };
        x.chunks_exact(2).enumerate().flat_map(turn).collect()
    }

    fn swiglu(&self, prefix: &str, x: &Rows) -> Rows {
        let part = |name: &str, x: &Rows| self.linear(&format!("{prefix}.{name}_proj"), x);
        let silu = |g: f64| g * sigmoid(g);
        let gate = part("gate", x);
        let act = gate.iter().zip(part("up", x)).map(|(g, u)| g.iter().zip(u).map(|(&g, u)| silu(g) * u).collect());
        part("down", &act.collect())
    }

    /// Adds Σ f·P of the sequence to `balance`.
    fn mixture(&self, prefix: &str, moe: &MoeSpec, x: &Rows, balance: &mut f64) -> Rows {
        let bias = &self.tensors[&format!("{prefix}.gate.e_score_correction_bias")];
        let (e, k) = (moe.n_routed_experts, moe.num_experts_per_tok);
        let (mut f, mut p) = (vec![0.0; e], vec![0.0; e]);
        let mut y = self.swiglu(&format!("{prefix}.shared_experts"), x);
        for ((x, z), y) in x.iter().zip(self.linear(&format!("{prefix}.gate"), x)).zip(&mut y) {
            let scores: Vec<f64> = z.iter().map(|&z| sigmoid(z)).collect();
            let choice: Vec<f64> = scores.iter().zip(bias).map(|(s, b)| s + b).collect();
            let group_score = |group: &[f64]| self.best(group, 2, false).iter().map(|&i| group[i]).sum();
            let groups: Vec<f64> = choice.chunks_exact(e / moe.n_group).map(group_score).collect();
            let kept = self.best(&groups, moe.topk_group, true);
            let masked = |(i, &c): (usize, &f64)| if kept.contains(&(i * moe.n_group / e)) { c } else { f64::MIN };
            let chosen = self.best(&choice.iter().enumerate().map(masked).collect::<Vec<_>>(), k, true);
            let total: f64 = chosen.iter().map(|&i| scores[i]).sum();
            for i in chosen {
                f[i] += e as f64 / k as f64;
                let weight = scores[i] / total * moe.routed_scaling_factor;
                let out = &self.swiglu(&format!("{prefix}.experts.{i}"), &vec![x.clone()])[0];
                y.iter_mut().zip(out).for_each(|(y, o)| *y += weight * o);
            }
            let total: f64 = scores.iter().sum();
            p.iter_mut().zip(&scores).for_each(|(p, s)| *p += s / total);
        }
        *balance += dot(&f, &p) / (x.len() * x.len()) as f64;
        y
    }

    /// The places of the `n` largest values; `watch` notes how close the choice was.
    fn best(&self, values: &[f64], n: usize, watch: bool) -> Vec<usize> {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        if watch && n < values.len() {
            self.margin.set(self.margin.get().min(values[order[n - 1]] - values[order[n]]));
        }
        order.truncate(n);
        order
    }
}

/// log softmax of a row at `target`.
pub fn logprob(logits: &[f64], target: u32) -> f64 {
    logits[target as usize] - logits.iter().map(|z| z.exp()).sum::<f64>().ln()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sum(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}
