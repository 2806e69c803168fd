//! A coin: the control beside which a reward must do better. A policy that gains as much from it has learnt nothing from the other (Shao et
//! al. 2025, "Spurious Rewards", arXiv 2506.10947).

use super::{Answer, Grade, Graded, Reward};

pub(super) const REWARD: Reward = Reward {
    name: "random",
    about: "1 or 0 by a coin of its own for each answer, whatever it says: a control",
    range: (0.0, 1.0),
    learned: false,
    grade: Grade::Each(|answer: &Answer| Graded::Earned(f64::from(u8::from(answer.lot < 0.5)))),
};
