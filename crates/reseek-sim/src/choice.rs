//! Settings with a closed set of values: the name and the meaning of each value stand once, for options, their help, messages and JSON.

/// A setting with a closed set of values.
pub trait Choice: Copy + PartialEq + Send + Sync + 'static {
    /// Every value with its name and what it means, in the order in which help shows them.
    const VALUES: &'static [(Self, &'static str, &'static str)];

    /// The value's name.
    fn name(self) -> &'static str {
        Self::VALUES.iter().find(|(value, ..)| *value == self).map_or("", |(_, name, _)| name)
    }

    /// The value of this name.
    fn named(name: &str) -> Option<Self> {
        Self::VALUES.iter().find(|(_, known, _)| *known == name).map(|(value, ..)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;
    use crate::{Kernels, Precision, Recompute};

    #[test]
    fn every_value_has_a_name_of_its_own() {
        fn check<T: Choice + std::fmt::Debug>(count: usize) {
            // A value that the table lacks would have no name.
            assert_eq!(T::VALUES.len(), count);
            for (value, name, meaning) in T::VALUES {
                assert_eq!((value.name(), T::named(name)), (*name, Some(*value)));
                assert!(!meaning.is_empty() && !meaning.ends_with('.'), "{name}: {meaning}");
            }
            assert_eq!(T::named("none of them"), None);
        }
        check::<Recipe>(Recipe::Pretrain as usize + 1);
        check::<Recompute>(Recompute::Full as usize + 1);
        check::<Precision>(Precision::Mxfp8 as usize + 1);
        check::<Kernels>(Kernels::Megatron2021 as usize + 1);
    }
}
