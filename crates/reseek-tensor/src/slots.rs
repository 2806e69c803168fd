//! The order in which experts compute: a token takes one slot at each of its experts, and slots are sorted by expert, so that each
//! expert's rows are adjacent and one grouped product serves all.
//!
//! Shapes: n tokens, k experts a token, s = n·k slots.

use crate::buffer::{View, ViewMut};
use crate::routing::expert_counts;

/// A permutation of choices, [n, k], to slots, [s]; within an expert in the order of the tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    offsets: Vec<usize>,
    tokens: Vec<u32>,
    of_choice: Vec<u32>,
}

impl Slots {
    /// Sorts the chosen `experts: [n, k]`, of which there are `n_experts`.
    ///
    /// # Panics
    /// If an expert is not below `n_experts`, or the choices are not k a token.
    pub fn by_expert(experts: &[u32], experts_per_token: usize, n_experts: usize) -> Self {
        assert!(
            experts_per_token > 0 && experts.len().is_multiple_of(experts_per_token),
            "{} choices are not {experts_per_token} a token",
            experts.len()
        );
        let mut offsets = vec![0];
        for count in expert_counts(experts, n_experts) {
            offsets.push(offsets[offsets.len() - 1] + count as usize);
        }
        let mut next = offsets.clone();
        let (mut tokens, mut of_choice) = (vec![0; experts.len()], vec![0; experts.len()]);
        for (choice, &expert) in experts.iter().enumerate() {
            let slot = next[expert as usize];
            next[expert as usize] += 1;
            tokens[slot] = (choice / experts_per_token) as u32;
            of_choice[choice] = slot as u32;
        }
        Self { offsets, tokens, of_choice }
    }

    /// Slots of expert j: `offsets[j]..offsets[j + 1]`.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Token of each slot, [s].
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Slot of each choice of each token, [n, k].
    pub fn of_choice(&self) -> &[u32] {
        &self.of_choice
    }

    /// Slots in all, s.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether no token chose.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Puts values of choices, [n, k], into the order of the slots.
    ///
    /// # Panics
    /// If either side is not one value a slot.
    pub fn by_slot<'m, 'v>(&self, of_slots: impl Into<ViewMut<'m>>, of_choices: impl Into<View<'v>>) {
        let (of_slots, of_choices) = (of_slots.into().0, of_choices.into().0);
        self.check(of_slots.len(), of_choices.len());
        self.of_choice.iter().zip(of_choices).for_each(|(&slot, &value)| of_slots[slot as usize] = value);
    }

    /// The reverse of [`Slots::by_slot`].
    ///
    /// # Panics
    /// As [`Slots::by_slot`].
    pub fn by_choice<'m, 'v>(&self, of_choices: impl Into<ViewMut<'m>>, of_slots: impl Into<View<'v>>) {
        let (of_choices, of_slots) = (of_choices.into().0, of_slots.into().0);
        self.check(of_slots.len(), of_choices.len());
        self.of_choice.iter().zip(of_choices).for_each(|(&slot, value)| *value = of_slots[slot as usize]);
    }

    #[track_caller]
    fn check(&self, slots: usize, choices: usize) {
        let s = self.len();
        assert!(slots == s && choices == s, "{slots} values of slots and {choices} of choices, there are {s}");
    }
}
