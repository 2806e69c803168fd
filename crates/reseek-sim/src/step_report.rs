//! What a step's simulation answers.

use serde::Serialize;

use crate::memory::Memory;
use crate::ops::Kind;

/// Seconds of a chunk's passes for one micro-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ChunkTime {
    /// Computation alone, on the multiprocessors that communication leaves.
    pub forward_compute_s: f64,
    /// Of the gradients of inputs, and of what is computed again before them.
    pub backward_input_compute_s: f64,
    /// Of the gradients of weights.
    pub backward_weight_s: f64,
    /// All-to-alls.
    pub forward_all_to_all_s: f64,
    /// Of gradients to the experts and back.
    pub backward_all_to_all_s: f64,
    /// Collectives of tensor and context parallelism, hidden or not.
    pub forward_collectives_s: f64,
    /// The same of the backward pass.
    pub backward_collectives_s: f64,
    /// Of the forward pass' collectives, what nothing hides.
    pub forward_exposed_s: f64,
    /// The same of the backward pass.
    pub backward_exposed_s: f64,
    /// The longest single all-to-all: what a pair of chunks has nothing to hide behind.
    pub piece_s: f64,
}

/// Where a step's time goes on the mean rank, in s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Parts {
    /// Forward passes alone (Insights, table 4: 1F).
    pub forward_s: f64,
    /// Backward passes alone, with their weight gradients (1B).
    pub backward_s: f64,
    /// Weight gradients apart (1W).
    pub weight_s: f64,
    /// Overlapped forward and backward chunks (1F1B).
    pub forward_backward_s: f64,
    /// Waiting, for other stages and for stragglers.
    pub bubble_s: f64,
    /// Gradients' last reduction, the optimizer, weights' gathering.
    pub optimizer_s: f64,
}

impl Parts {
    /// Forward and backward passes, alone and in pairs, in s.
    pub fn passes_s(&self) -> f64 {
        self.forward_s + self.backward_s + self.weight_s + self.forward_backward_s
    }

    pub(crate) fn times(self, factor: f64) -> Self {
        Self {
            forward_s: factor * self.forward_s,
            backward_s: factor * self.backward_s,
            weight_s: factor * self.weight_s,
            forward_backward_s: factor * self.forward_backward_s,
            bubble_s: factor * self.bubble_s,
            optimizer_s: factor * self.optimizer_s,
        }
    }
}

/// A step's answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// From the first pass to the next step's.
    pub step_s: f64,
    /// The same, by what is done.
    pub parts: Parts,
    /// Waiting, as in the parts.
    pub bubble_s: f64,
    /// Communication of the passes (all-to-alls, tensor and context parallelism) that no computation hides, on the mean rank.
    pub exposed_comm_s: f64,
    /// The same communication in all, hidden or not. The optimizer's is a part of [`Parts::optimizer_s`].
    pub comm_s: f64,
    /// Of all ranks.
    pub tokens_per_step: f64,
    /// Tokens a second and GPU.
    pub tokens_per_s_per_gpu: f64,
    /// The model's operations with causal attention, a GPU; the MTP module is left out, as in the reports.
    pub tflops_per_gpu: f64,
    /// The same with whole squares of attention.
    pub tflops_per_gpu_noncausal: f64,
    /// Share of the bf16 peak, from 0 to 1, with causal attention.
    pub mfu_causal: f64,
    /// The same with whole squares of attention.
    pub mfu_noncausal: f64,
    /// GPU-hours for 10¹² tokens, without failures.
    pub gpu_hours_per_t_tokens: f64,
    /// Bytes on the fullest rank.
    pub memory: Memory,
    /// Its sum.
    pub memory_peak_bytes: f64,
    /// Seconds a step by kind of operator, on the mean rank.
    pub kinds_s: Vec<(Kind, f64)>,
    /// The same of one overlapped pair (or a forward and a backward) of the chunk in the middle.
    pub pair: PairReport,
}

/// One overlapped pair of the chunk in the middle of the model, in s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PairReport {
    /// From its beginning to its end.
    pub pair_s: f64,
    /// Computation as if it were alone.
    pub compute_s: f64,
    /// All-to-alls as if they were alone.
    pub communication_s: f64,
    /// Communication that no computation hides.
    pub exposed_s: f64,
}
