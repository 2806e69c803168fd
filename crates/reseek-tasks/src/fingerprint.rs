//! What the generators make of a mixture, as a hash: a run that was made with other generators must not pass for one of today's.

use sha2::{Digest, Sha256};

use crate::generate::{TaskMix, sample};
use crate::problem::Split;
use crate::render::{FormMix, document};
use crate::{general, preference_pair};

/// Problems that stand for all: some of every family, level and language of a run's mixture.
const PROBLEMS: u64 = 512;

/// The first 12 hexadecimal digits of the hash of some problems of `mix`, of what pre-training reads of them, and of general exchanges and
/// pairs.
pub fn fingerprint(mix: &TaskMix) -> String {
    let forms = FormMix { conversation_share: 0.5, mixed_language_share: 0.5, direct_share: 0.5 };
    let mut hash = Sha256::new();
    for i in 0..PROBLEMS {
        let problem = sample(0, "fingerprint", i, Split::Train, mix);
        hash.update(document(&problem, 0, i, &forms));
        hash.update(format!("{problem:?}"));
    }
    for i in 0..32 {
        hash.update(format!("{:?}{:?}", general(0, "fingerprint", i), preference_pair(0, i)));
    }
    hash.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family;

    #[test]
    fn other_problems_have_another_fingerprint() {
        let mix = TaskMix::default();
        assert_eq!(fingerprint(&mix), fingerprint(&mix));
        let fewer = TaskMix { families: vec![Family::Addition, Family::Extreme], ..TaskMix::default() };
        let easier = TaskMix { levels: [1.0, 0.0, 0.0], ..fewer.clone() };
        let all = [&mix, &fewer, &easier].map(fingerprint);
        assert!(all[0] != all[1] && all[1] != all[2], "{all:?}");
        assert!(all.iter().all(|hash| hash.len() == 12));
    }
}
