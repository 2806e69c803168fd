//! The way of tokens to their experts and back: the one place where a mixture's rows change hands. Here every expert is at hand and a row
//! is read where it lies; ranks that hold some experts each would exchange rows here, and nothing else of the mixture would change.
//!
//! Shapes: n tokens, k experts a token, s = n·k slots, sorted by expert.

use reseek_tensor::buffer::{Buffer, View};
use reseek_tensor::operand::Operand;
use reseek_tensor::permute::gather_add_rows;
use reseek_tensor::routing::{Gate, Routing};
use reseek_tensor::slots::Slots;

/// Which token has which rows at which expert; kept for the backward pass, whose rows go the same ways.
#[derive(Debug)]
pub(crate) struct Dispatcher(Slots);

/// Rows [s, width] in the order of the experts.
pub(crate) struct ByExpert<'a> {
    pub rows: Operand<'a>,
    /// Rows of expert j: offsets[j]..offsets[j + 1].
    pub offsets: &'a [usize],
}

impl Dispatcher {
    /// Gives each choice of each token its slot.
    pub fn new(routing: &Routing, gate: Gate) -> Self {
        Self(Slots::by_expert(&routing.experts, gate.experts_per_token, gate.experts))
    }

    /// Each token's row at each of its experts. No row moves: the experts' product gathers them as it packs.
    pub fn dispatch<'a>(&'a self, x: &Operand<'a>) -> ByExpert<'a> {
        self.at_experts(x.gathered(self.0.tokens()))
    }

    /// Rows that the experts computed, one a slot.
    pub fn at_experts<'a>(&'a self, rows: Operand<'a>) -> ByExpert<'a> {
        ByExpert { rows, offsets: self.0.offsets() }
    }

    /// y[t] += Σ over t's choices of (weight ·) slots[choice], in order of preference: a row's bits depend on its token alone.
    pub fn combine(&self, y: &mut Buffer, slots: &Buffer, weights: Option<&Buffer>, d: usize) {
        gather_add_rows(y, slots, self.0.of_choice(), weights.map(View::from), d);
    }

    /// The tokens' weights [n, k] at their experts, [s].
    pub fn weights(&self, of_choices: &Buffer) -> Buffer {
        let mut of_slots = Buffer::uncleared(self.0.len());
        self.0.by_slot(&mut of_slots, of_choices);
        of_slots
    }

    /// Values of slots [s] back at the tokens, [n, k].
    pub fn combine_weights(&self, of_slots: &Buffer) -> Buffer {
        let mut of_choices = Buffer::uncleared(self.0.len());
        self.0.by_choice(&mut of_choices, of_slots);
        of_choices
    }
}

impl ByExpert<'_> {
    /// Rows in all, s.
    pub fn len(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }
}
