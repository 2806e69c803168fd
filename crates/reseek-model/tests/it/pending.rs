//! Gradients of weights that wait have the bits of those that are added at once.

use reseek_model::{Activations, Model, OutputGradients, Rows};
use reseek_tensor::buffer::{Buffer, with_poison};
use reseek_tensor::compute::Compute;
use reseek_tensor::random::Stream;

use crate::decode::same_bits;
use crate::fixture::{CASES, Fixture};

/// The same random gradients every time.
fn outputs(pass: &Activations) -> OutputGradients {
    let mut stream = Stream::new(1, "pending test", 0, 0);
    let mut random = |rows: &[f32]| {
        let mut values = vec![0.0; rows.len()];
        stream.fill_normal(&mut values, 1.0);
        Buffer::of(&values)
    };
    let hidden = random(pass.hidden());
    OutputGradients { hidden, mtp_hidden: pass.mtp_hidden().map(random), balance: 1e-3 }
}

#[test]
fn gradients_may_wait_until_other_passes_are_done() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let (tokens, segments) = (fixture.tokens(), fixture.segments());
        for compute in [Compute::F32, Compute::Bf16, Compute::Fp8] {
            let model = Model::new(&fixture.weights.clone().computing_in(compute));
            let next = model.has_mtp().then(|| tokens.clone());
            let pass = model.forward(Rows::new(&tokens, &segments), next);
            // What was there stays: sums go on from it.
            let mut at_once = vec![0.25; model.parameters()];
            model.backward(&pass, outputs(&pass), &mut at_once);

            let mut waited = vec![0.25; model.parameters()];
            let pending = model.backward_input(&pass, outputs(&pass));
            assert!(waited.iter().all(|&x| x == 0.25));
            // Another pass takes and fills every buffer that this one gave back: what waits must own what it reads.
            with_poison(|| model.backward(&pass, outputs(&pass), &mut vec![0.0; model.parameters()]));
            pending.add_to(&mut waited);
            assert!(same_bits(&waited, &at_once), "{case} in {compute}");
            assert!(at_once.iter().any(|&x| x != 0.25));
        }
    }
}
