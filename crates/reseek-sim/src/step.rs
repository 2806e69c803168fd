//! One training step: operators and communication of every chunk, the pipeline's timeline, gradients and optimizer.

use reseek_spec::schedule::{Action, PipelineSchedule, ScheduleKind};
use reseek_spec::{ClusterSpec, ModelSpec};

use crate::SimError;
use crate::comm::{Fabric, reach, row_bytes};
use crate::layout::{Layout, units};
use crate::memory::{memory, unit_params};
use crate::ops::{Kind, Op, Unit, unit_ops};
use crate::plan::{Plan, Precision, Recompute};
use crate::rates::Rates;
use crate::timeline::{ChunkCosts, Timeline, play};

pub use crate::step_report::{ChunkTime, PairReport, Parts, StepReport};

/// Everything of a step that pictures need.
pub struct Simulated {
    /// Time, memory and rates.
    pub report: StepReport,
    /// Which units lie on which rank.
    pub layout: Layout,
    /// Each rank's order of passes.
    pub schedule: PipelineSchedule,
    /// When each pass begins and ends.
    pub timeline: Timeline,
}

/// Simulates one step of `model` by `plan` on `cluster` at `rates`.
///
/// # Errors
/// A plan that does not fit model, cluster or schedule. Memory is reported, not refused: see [`StepReport::memory_peak_bytes`].
pub fn step(model: &ModelSpec, cluster: &ClusterSpec, plan: &Plan, rates: &Rates) -> Result<Simulated, SimError> {
    let prepared = Prepared::new(model, cluster, plan, rates)?;
    let Prepared { coster, schedule, layout } = prepared;
    let chunks: Vec<(ChunkTime, Vec<(Kind, f64)>)> = layout.chunks.iter().map(|units| coster.chunk(units)).collect();
    let is_paired = matches!(plan.schedule, ScheduleKind::DualPipe | ScheduleKind::DualPipeV);
    let costs: Vec<ChunkCosts> = chunks.iter().map(|(time, _)| alone(time, is_paired, rates)).collect();
    let pair = |forward: usize, backward: usize| pair_s(&chunks[forward].0, &chunks[backward].0).pair_s;
    let hidden = plan.tokens() * model.hidden_size as f64 * 2.0 / plan.tp as f64;
    let stride = plan.tp * plan.cp * plan.dp;
    let p2p_s = if plan.pp > 1 { coster.fabric.message_s(hidden, stride) } else { 0.0 };
    let timeline = play(&schedule, &costs, &pair, p2p_s)?;
    let optimizer_s = coster.optimizer_s(&schedule, &layout, timeline.makespan_s);
    let report = coster.report(&schedule, &layout, &timeline, &chunks, &costs, optimizer_s);
    Ok(Simulated { report, layout, schedule, timeline })
}

/// Bytes on the fullest rank, without a timeline.
///
/// # Errors
/// As [`step`].
pub fn peak_memory(model: &ModelSpec, cluster: &ClusterSpec, plan: &Plan, rates: &Rates) -> Result<f64, SimError> {
    let prepared = Prepared::new(model, cluster, plan, rates)?;
    Ok(memory(model, plan, &prepared.layout).total_bytes())
}

/// A plan that holds, its order of passes and its cut of the model.
struct Prepared<'a> {
    coster: Coster<'a>,
    schedule: PipelineSchedule,
    layout: Layout,
}

impl<'a> Prepared<'a> {
    fn new(model: &'a ModelSpec, cluster: &'a ClusterSpec, plan: &'a Plan, rates: &'a Rates) -> Result<Self, SimError> {
        plan.validate(model, cluster)?;
        let schedule = PipelineSchedule::new(plan.schedule, plan.pp, plan.micro_batches())?;
        let fabric = Fabric { gpu: &cluster.gpu, rates };
        let mut coster = Coster { model, plan, cluster, rates, fabric, known: Vec::new() };
        // A model repeats a few kinds of units.
        for unit in units(model) {
            if coster.known.iter().all(|(known, _)| *known != unit) {
                let costs = coster.unit(unit);
                coster.known.push((unit, costs));
            }
        }
        let cost = |unit| {
            let time = coster.unit(unit).0;
            time.forward_compute_s + time.backward_input_compute_s + time.backward_weight_s
        };
        let layout = Layout::new(model, plan, &schedule, &cost);
        Ok(Self { coster, schedule, layout })
    }
}

/// A chunk's passes when no other chunk hides their communication. Schedules without pairs hide a share behind computation of their own.
fn alone(time: &ChunkTime, is_paired: bool, rates: &Rates) -> ChunkCosts {
    let exposed = if is_paired { 1.0 } else { rates.ep_exposed };
    ChunkCosts {
        forward_s: time.forward_compute_s + exposed * time.forward_all_to_all_s + time.forward_exposed_s,
        backward_input_s: time.backward_input_compute_s
            + exposed * time.backward_all_to_all_s
            + time.backward_exposed_s,
        backward_weight_s: time.backward_weight_s,
    }
}

/// DualPipe's pair: communication of each runs under computation of the other, save the first piece.
fn pair_s(forward: &ChunkTime, backward: &ChunkTime) -> PairReport {
    let compute_s = forward.forward_compute_s + backward.backward_input_compute_s + backward.backward_weight_s;
    let communication_s = forward.forward_all_to_all_s + backward.backward_all_to_all_s;
    let exposed = forward.forward_exposed_s + backward.backward_exposed_s;
    let piece_s = forward.piece_s.max(backward.piece_s);
    let pair_s = (compute_s + piece_s).max(communication_s) + exposed;
    PairReport { pair_s, compute_s, communication_s, exposed_s: pair_s - compute_s }
}

struct Coster<'a> {
    model: &'a ModelSpec,
    plan: &'a Plan,
    cluster: &'a ClusterSpec,
    rates: &'a Rates,
    fabric: Fabric<'a>,
    /// Costs of units that were worked out before.
    known: Vec<(Unit, UnitCosts)>,
}

/// A unit's time and its seconds by kind of operator.
type UnitCosts = (ChunkTime, [(Kind, f64); 5]);

impl Coster<'_> {
    /// The fullest rank's routed rows over the mean: the largest of `ep` means of evenly noisy experts.
    fn load_max(&self) -> f64 {
        let Some(moe) = &self.model.moe else { return 1.0 };
        let ranks = self.plan.ep as f64;
        if ranks <= 1.0 {
            return 1.0;
        }
        let experts_each = moe.n_routed_experts as f64 / ranks;
        1.0 + self.rates.expert_load_cv / experts_each.sqrt() * (2.0 * ranks.ln()).sqrt()
    }

    fn seconds(&self, ops: &[Op], sms: f64, kinds: &mut [(Kind, f64)]) -> f64 {
        let mut sum = 0.0;
        for op in ops {
            let seconds = op.seconds(&self.cluster.gpu, self.rates, sms);
            if let Some(kind) = kinds.iter_mut().find(|(kind, _)| *kind == op.kind) {
                kind.1 += seconds;
            }
            sum += seconds;
        }
        sum
    }

    fn unit(&self, unit: Unit) -> UnitCosts {
        if let Some((_, costs)) = self.known.iter().find(|(known, _)| *known == unit) {
            return *costs;
        }
        let mut kinds =
            [Kind::Gemm, Kind::GroupedGemm, Kind::Attention, Kind::Cast, Kind::Elementwise].map(|k| (k, 0.0));
        let sms = f64::from(self.cluster.gpu.sms - self.plan.comm_sms);
        let ops = unit_ops(self.model, self.plan, unit, self.load_max());
        let mut time = ChunkTime {
            forward_compute_s: self.seconds(&ops.forward, sms, &mut kinds),
            backward_input_compute_s: self.seconds(&ops.backward_input, sms, &mut kinds),
            backward_weight_s: self.seconds(&ops.backward_weight, sms, &mut kinds),
            ..ChunkTime::default()
        };
        let is_layer = matches!(unit, Unit::Layer { .. } | Unit::Mtp);
        let is_moe = matches!(unit, Unit::Layer { is_moe: true }) || (unit == Unit::Mtp && self.model.moe.is_some());
        let forwards = if self.plan.recompute == Recompute::Full { 2.0 } else { 1.0 };
        if is_moe && self.plan.ep > 1 {
            let (dispatch, combine) = row_bytes(self.model, self.plan);
            let rows = self.plan.tokens() / self.plan.tp as f64;
            let reach = reach(self.model, self.plan, &self.cluster.gpu);
            let one = |bytes| self.fabric.all_to_all_s(rows, bytes, reach, self.plan.comm_sms);
            let forward = one(dispatch) + one(combine);
            // Backward, gradients of the combine are dispatched and those of the dispatch combined, both in bf16.
            let backward = 2.0 * one(combine);
            time.forward_all_to_all_s = forward;
            time.backward_all_to_all_s = backward + (forwards - 1.0) * forward;
            time.piece_s = one(combine);
        }
        if is_layer {
            let collectives = self.tensor_parallel_s() + self.context_parallel_s();
            time.forward_collectives_s = collectives;
            time.backward_collectives_s = collectives * forwards;
            time.forward_exposed_s = collectives * self.rates.tp_exposed;
            time.backward_exposed_s = collectives * self.rates.tp_exposed * forwards;
        }
        (time, kinds)
    }

    /// A layer's two gathers and two scatters of activations (Korthikanti and others, 2022).
    fn tensor_parallel_s(&self) -> f64 {
        let bytes = self.plan.tokens() * self.model.hidden_size as f64 * 2.0;
        // With expert parallelism only attention and the shared expert are divided by tensor parallelism.
        4.0 * self.fabric.gather_s(bytes, self.plan.tp, 1)
    }

    /// Keys and values of a layer gathered among context-parallel ranks.
    fn context_parallel_s(&self) -> f64 {
        if self.plan.cp <= 1 {
            return 0.0;
        }
        let width = match &self.model.mla {
            Some(mla) => mla.kv_lora_rank + mla.qk_rope_head_dim,
            None => {
                2 * self.model.num_key_value_heads * self.model.head_dim
                    / self.plan.tp.min(self.model.num_key_value_heads)
            }
        };
        let bytes = (self.plan.micro_batch * self.plan.seq * width * 2) as f64;
        self.fabric.gather_s(bytes, self.plan.cp, self.plan.tp)
    }

    fn chunk(&self, units: &[Unit]) -> (ChunkTime, Vec<(Kind, f64)>) {
        let mut sum = ChunkTime::default();
        let mut kinds: Vec<(Kind, f64)> = Vec::new();
        for &unit in units {
            let (time, of_unit) = self.unit(unit);
            sum.forward_compute_s += time.forward_compute_s;
            sum.backward_input_compute_s += time.backward_input_compute_s;
            sum.backward_weight_s += time.backward_weight_s;
            sum.forward_all_to_all_s += time.forward_all_to_all_s;
            sum.backward_all_to_all_s += time.backward_all_to_all_s;
            sum.forward_collectives_s += time.forward_collectives_s;
            sum.backward_collectives_s += time.backward_collectives_s;
            sum.forward_exposed_s += time.forward_exposed_s;
            sum.backward_exposed_s += time.backward_exposed_s;
            sum.piece_s = sum.piece_s.max(time.piece_s);
            match kinds.is_empty() {
                true => kinds = of_unit.to_vec(),
                false => kinds.iter_mut().zip(of_unit).for_each(|(all, one)| all.1 += one.1),
            }
        }
        (sum, kinds)
    }

    /// What follows the passes: the gradients' reduction, the optimizer's pass over its state, the gathering of weights. With ZeRO-3 both
    /// run under the passes of every micro-batch, so only a share shows, or what the passes are too short to hide.
    fn optimizer_s(&self, schedule: &PipelineSchedule, layout: &Layout, passes_s: f64) -> f64 {
        let plan = self.plan;
        // DualPipe's two directions hold the same weights on two ranks.
        let replicas = plan.dp * plan.cp * schedule.directions();
        let expert_replicas = (replicas * plan.tp / plan.ep).max(1);
        let slowest = (0..plan.pp).map(|rank| {
            let units = layout.chunks_of_rank[rank].iter().flat_map(|&chunk| &layout.chunks[chunk]);
            let (mut shared, mut routed) = (0.0, 0.0);
            for &unit in units {
                let params = unit_params(self.model, plan, unit);
                shared += params.shared;
                routed += params.routed;
            }
            let gather = |bytes: f64| {
                self.fabric.gather_s(bytes * shared, replicas, plan.tp)
                    + self.fabric.gather_s(bytes * routed, expert_replicas, plan.ep)
            };
            let own = match plan.zero >= 1 {
                true => shared / replicas as f64 + routed / expert_replicas as f64,
                false => shared + routed,
            };
            // Gradient, master, two moments: read; weight, master, moments: written.
            let bytes = if plan.precision == Precision::Bf16 { 30.0 } else { 22.0 };
            // Of all gradients: read for the norm, set to zero; of all weights: read and quantised.
            let touched = own * bytes + (shared + routed) * if plan.precision == Precision::Bf16 { 8.0 } else { 12.0 };
            let update = touched / (self.cluster.gpu.hbm_bytes_per_s * self.rates.elementwise);
            if plan.zero >= 3 {
                // Weights for the forward and the backward pass and gradients in bf16, for each micro-batch.
                let communication = 3.0 * gather(2.0) * plan.micro_batches() as f64;
                return update + (self.rates.dp_exposed * communication).max(communication - passes_s);
            }
            // Gradients in f32 (V3 report, 3.3.3), weights in bf16; without ZeRO the reduction's second half gathers gradients instead.
            let weights = if plan.zero >= 1 { gather(2.0) } else { gather(4.0) };
            gather(4.0) + weights + update
        });
        slowest.fold(0.0, f64::max)
    }

    fn report(
        &self,
        schedule: &PipelineSchedule,
        layout: &Layout,
        timeline: &Timeline,
        chunks: &[(ChunkTime, Vec<(Kind, f64)>)],
        costs: &[ChunkCosts],
        optimizer_s: f64,
    ) -> StepReport {
        let (model, plan) = (self.model, self.plan);
        let Passes { mut parts, comm_s, exposed_s } = passes(timeline, chunks, costs);
        parts.bubble_s = timeline.bubble_s();
        let mut kinds_s: Vec<(Kind, f64)> = chunks[0].1.iter().map(|(kind, _)| (*kind, 0.0)).collect();
        let each = plan.micro_batches() as f64 / plan.pp as f64 / schedule.directions() as f64;
        for rank in layout.chunks_of_rank.iter() {
            for &chunk in rank {
                for (all, one) in kinds_s.iter_mut().zip(&chunks[chunk].1) {
                    all.1 += one.1 * each;
                }
            }
        }
        // Whoever is not the straggler waits, in the pipeline and in the last collectives.
        parts.optimizer_s = optimizer_s * self.rates.jitter;
        parts.bubble_s += timeline.makespan_s * (self.rates.jitter - 1.0);
        let parts = parts.times(self.rates.left_out);
        let step_s = (timeline.makespan_s + optimizer_s) * self.rates.jitter * self.rates.left_out;
        let tokens = plan.global_batch as f64 * plan.seq as f64;
        let gpus = self.cluster.gpus as f64;
        let flops = model.train_flops_per_token(plan.seq);
        let memory = memory(model, plan, layout);
        let middle = layout.chunks.len() / 2;
        let rate = tokens / step_s / gpus;
        StepReport {
            step_s,
            parts,
            bubble_s: parts.bubble_s,
            exposed_comm_s: exposed_s,
            comm_s,
            tokens_per_step: tokens,
            tokens_per_s_per_gpu: rate,
            tflops_per_gpu: rate * flops.causal / 1e12,
            tflops_per_gpu_noncausal: rate * flops.noncausal / 1e12,
            mfu_causal: self.cluster.mfu(flops.causal, tokens, step_s),
            mfu_noncausal: self.cluster.mfu(flops.noncausal, tokens, step_s),
            gpu_hours_per_t_tokens: 1e12 / rate / 3600.0,
            memory,
            memory_peak_bytes: memory.total_bytes(),
            kinds_s,
            pair: pair_s(&chunks[middle].0, &chunks[middle].0),
        }
    }
}

/// What the passes of a step take, in s on the mean rank.
struct Passes {
    /// Of the passes alone: nothing waits here, and no optimizer runs.
    parts: Parts,
    /// All-to-alls and collectives, hidden or not.
    comm_s: f64,
    /// Of these, what no computation hides.
    exposed_s: f64,
}

fn passes(timeline: &Timeline, chunks: &[(ChunkTime, Vec<(Kind, f64)>)], costs: &[ChunkCosts]) -> Passes {
    let mut parts = Parts::default();
    let (mut comm_s, mut exposed_s) = (0.0, 0.0);
    let ranks = timeline.spans.len() as f64;
    for span in timeline.spans.iter().flatten() {
        let seconds = (span.end_s - span.start_s) / ranks;
        let of = |c: usize| &chunks[c].0;
        let forward_comm = |c: usize| of(c).forward_all_to_all_s + of(c).forward_collectives_s;
        let backward_comm = |c: usize| of(c).backward_all_to_all_s + of(c).backward_collectives_s;
        let (whole, shown) = match span.action {
            Action::Forward { chunk, .. } => {
                parts.forward_s += seconds;
                (forward_comm(chunk), costs[chunk].forward_s - of(chunk).forward_compute_s)
            }
            Action::Backward { chunk, .. } | Action::BackwardInput { chunk, .. } => {
                parts.backward_s += seconds;
                (backward_comm(chunk), costs[chunk].backward_input_s - of(chunk).backward_input_compute_s)
            }
            Action::BackwardWeight { .. } => {
                parts.weight_s += seconds;
                (0.0, 0.0)
            }
            Action::Overlapped { forward: (f, _), backward: (b, _) } => {
                parts.forward_backward_s += seconds;
                (forward_comm(f) + backward_comm(b), pair_s(of(f), of(b)).exposed_s)
            }
        };
        comm_s += whole / ranks;
        exposed_s += shown / ranks;
    }
    Passes { parts, comm_s, exposed_s }
}

/// The overlapped pair of `layers` layers with routed experts, as the public training trace has it.
pub fn pair(
    model: &ModelSpec,
    cluster: &ClusterSpec,
    plan: &Plan,
    rates: &Rates,
    layers: usize,
) -> (PairReport, Vec<(Kind, f64)>) {
    let coster = Coster { model, plan, cluster, rates, fabric: Fabric { gpu: &cluster.gpu, rates }, known: Vec::new() };
    let (time, kinds) = coster.chunk(&vec![Unit::Layer { is_moe: true }; layers]);
    (pair_s(&time, &time), kinds)
}
