//! Buffers that come back as they were: no result depends on what is in them, and no step allocates once their sizes are known.

use reseek_model::{Model, OutputGradients, Rows};
use reseek_tensor::buffer::{Buffer, allocated, with_poison};
use reseek_tensor::compute::Compute;

use crate::decode::same_bits;
use crate::fixture::{CASES, Fixture};

/// Hidden rows, those of the MTP module and gradients of the sum of all of them.
fn pass(model: &Model, tokens: &[u32], segments: &[usize]) -> Vec<f32> {
    let next = model.has_mtp().then(|| tokens.to_vec());
    let pass = model.forward(Rows::new(tokens, segments), next);
    let ones = |rows: &[f32]| Buffer::of(&vec![1.0; rows.len()]);
    let outputs =
        OutputGradients { hidden: ones(pass.hidden()), mtp_hidden: pass.mtp_hidden().map(ones), balance: 1e-3 };
    let mut grads = vec![0.0; model.parameters()];
    model.backward(&pass, outputs, &mut grads);
    [pass.hidden(), pass.mtp_hidden().unwrap_or_default(), &grads].concat()
}

#[test]
fn what_is_in_a_new_buffer_reaches_no_result() {
    for case in CASES {
        let fixture = Fixture::load(case);
        for compute in [Compute::F32, Compute::Bf16, Compute::Fp8] {
            let model = Model::new(&fixture.weights.clone().computing_in(compute));
            let run = || pass(&model, &fixture.tokens(), &fixture.segments());
            let clean = run();
            assert!(clean.iter().all(|x| x.is_finite()));
            assert!(same_bits(&with_poison(run), &clean), "{case} in {compute}: a value is used before it is written");
        }
    }
}

#[test]
fn no_step_allocates_after_the_first() {
    for case in CASES {
        let fixture = Fixture::load(case);
        let model = Model::new(&fixture.weights);
        let before = allocated();
        pass(&model, &fixture.tokens(), &fixture.segments());
        let after_first = allocated();
        assert!(after_first > before || case != CASES[0], "the first step takes what it needs");
        for _ in 0..3 {
            pass(&model, &fixture.tokens(), &fixture.segments());
        }
        assert_eq!(allocated(), after_first, "{case}: a later step allocates");
    }
}
