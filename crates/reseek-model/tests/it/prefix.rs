//! Sequences that share the rows of their beginning: the bits of each one alone, and the gradients of all.

use reseek_model::{Model, OutputGradients, Rows, Weights};
use reseek_spec::{ModelSpec, Scale};
use reseek_tensor::buffer::{Buffer, with_poison};
use reseek_tensor::dtype::Dtype;

use crate::decode::{hidden, same_bits};
use crate::families::odd;
use crate::fixture::{CASES, Fixture, errors};

/// Tokens of a prefix and of what continues it.
struct Group {
    prefix: Vec<u32>,
    ends: Vec<Vec<u32>>,
}

impl Group {
    /// Beginnings and ends that fall inside and outside of blocks of 8 rows and tiles of 64 keys.
    fn of(prefix: usize, ends: &[usize], vocab: usize) -> Self {
        let tokens =
            |len: usize, seed: usize| (0..len).map(|i| ((i * i * 31 + i * 7 + seed * 53) % vocab) as u32).collect();
        let ends = ends.iter().enumerate().map(|(i, &len)| tokens(len, i + 1)).collect();
        Self { prefix: tokens(prefix, 0), ends }
    }

    /// The prefix once, with another sequence between it and its ends.
    fn shared(&self) -> Rows {
        let mut rows = Rows::new(&self.prefix, &[self.prefix.len()]);
        rows.push(&self.ends[0]);
        self.ends.iter().for_each(|end| rows.push_after(0, end));
        rows
    }

    /// Whole sequences; the first stands for the prefix's own rows and the one between.
    fn alone(&self) -> Vec<Vec<u32>> {
        let whole = self.ends.iter().map(|end| [&self.prefix[..], end].concat());
        [self.prefix.clone(), self.ends[0].clone()].into_iter().chain(whole).collect()
    }
}

/// Those that the model has room for.
fn groups(spec: &ModelSpec) -> impl Iterator<Item = Group> {
    let lens: [(usize, &[usize]); 5] =
        [(1, &[1, 2, 9]), (13, &[5, 1, 20, 3]), (41, &[20, 7, 23]), (70, &[64, 3]), (66, &[180, 3, 70])];
    let (vocab, context) = (spec.vocab_size, spec.max_position_embeddings);
    let room = move |(prefix, ends): &(usize, &[usize])| ends.iter().all(|end| prefix + end <= context);
    lens.into_iter().filter(room).map(move |(prefix, ends)| Group::of(prefix, ends, vocab))
}

/// Models of every family with room for the longest group.
fn models() -> Vec<(String, Weights)> {
    let fixtures = CASES.into_iter().map(|case| (case.to_string(), Fixture::load(case).weights));
    let smoke = [ModelSpec::ladder(Scale::Smoke, 512), ModelSpec::student(Scale::Smoke, 512)];
    let smoke =
        smoke.into_iter().map(|spec| ("smoke".to_string(), Weights::init(spec, 5).expect("the smallest model")));
    let odd = odd().into_iter().map(|weights| (format!("odd {:?}", weights.spec.family), weights));
    let in_f32: Vec<(String, Weights)> = fixtures.chain(smoke).chain(odd).collect();
    let in_bf16 = in_f32
        .clone()
        .into_iter()
        .map(|(name, weights)| (format!("{name} in bf16"), weights.computing_in(Dtype::Bf16)));
    in_f32.iter().cloned().chain(in_bf16).collect()
}

#[test]
fn a_row_behind_a_shared_prefix_has_the_bits_of_its_sequence_alone() {
    for (name, weights) in models() {
        let model = Model::new(&weights);
        let d = model.spec().hidden_size;
        for group in groups(model.spec()) {
            let shared = with_poison(|| model.forward(group.shared(), None).hidden().to_vec());
            let mut rest = &shared[..];
            for (i, sequence) in group.alone().iter().enumerate() {
                let first = if i < 2 { 0 } else { group.prefix.len() };
                let (own, after) = rest.split_at((sequence.len() - first) * d);
                let alone = hidden(&model, &[sequence]);
                assert!(
                    same_bits(own, &alone[first * d..]),
                    "{name}: sequence {i} behind {} tokens",
                    group.prefix.len()
                );
                rest = after;
            }
            assert!(rest.is_empty());
        }
    }
}

#[test]
fn gradients_are_those_of_whole_sequences() {
    for (name, weights) in models() {
        let bf16 = weights.compute.dtype() == Dtype::Bf16;
        let model = Model::new(&weights);
        let d = model.spec().hidden_size;
        for group in groups(model.spec()) {
            let shared = group.shared();
            // Some gradient for each row, none for those of a prefix in the copies.
            let of_rows: Vec<f32> = (0..shared.len() * d).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
            let mut of_copies = Vec::new();
            let mut rest = &of_rows[..];
            for (i, sequence) in group.alone().iter().enumerate() {
                let first = if i < 2 { 0 } else { group.prefix.len() };
                let (own, after) = rest.split_at((sequence.len() - first) * d);
                of_copies.resize(of_copies.len() + first * d, 0.0);
                of_copies.extend_from_slice(own);
                rest = after;
            }
            let mut copies = Rows::new(&[], &[]);
            group.alone().iter().for_each(|sequence| copies.push(sequence));
            let (got, want) = (gradients(&model, shared, &of_rows), gradients(&model, copies, &of_copies));
            let (l2, worst) = errors(&got, &want);
            println!("{name}: {} tokens shared: gradients {l2:.1e}, worst element {worst:.1e}", group.prefix.len());
            // bf16 rounds the summed gradient of a shared row once, that of each copy by itself.
            let bound = if bf16 { 2e-2 } else { 1e-5 };
            assert!(l2 < bound && worst < bound, "{name}: gradients are off by {l2:e}, one by {worst:e}");
        }
    }
}

#[test]
#[should_panic(expected = "segment 1 is no whole beginning")]
fn a_prefix_continues_nothing_itself() {
    let mut rows = Rows::new(&[1, 2], &[2]);
    rows.push_after(0, &[3]);
    rows.push_after(1, &[4]);
}

fn gradients(model: &Model, rows: Rows, of_hidden: &[f32]) -> Vec<f32> {
    with_poison(|| {
        let pass = model.forward(rows, None);
        let mut grads = vec![0.0; model.parameters()];
        let outputs = OutputGradients { hidden: Buffer::of(of_hidden), mtp_hidden: None, balance: 0.0 };
        model.backward(&pass, outputs, &mut grads);
        grads
    })
}
