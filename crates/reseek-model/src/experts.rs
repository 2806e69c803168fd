//! The matrices of a mixture's routed experts.
//!
//! Shapes: s slots (a token at one of its experts), sorted by expert.

use std::ops::Range;

use reseek_tensor::buffer::Buffer;
use reseek_tensor::compute::Compute;
use reseek_tensor::dtype::Dtype;
use reseek_tensor::linear::{Linear, grouped_linear_forward};
use reseek_tensor::matmul::{Accumulate, Packed, grouped_matmul};
use reseek_tensor::operand::Operand;

use crate::ModelError;
use crate::dispatch::ByExpert;
use crate::part::{Matrices, Place, joined, quantised_pair};
use crate::pending::{Backward, WeightGradient};
use crate::source::{Source, Use};

/// A projection of all experts, or gate and up as one.
#[derive(Debug)]
pub(crate) struct Group {
    form: Form,
    pub place: Place,
}

#[derive(Debug)]
enum Form {
    Packed {
        forward: Vec<Packed>,
        /// None where there is no backward pass.
        dgrad: Vec<Packed>,
    },
    /// For sampling: an expert's matrices, of which one is quantised at least. Their results lie side by side.
    Sampled(Vec<Vec<Linear>>),
}

/// Where the experts' tensors are: `{prefix}.experts.{j}.{part}.weight`.
#[derive(Clone, Copy)]
pub(crate) struct Experts<'a> {
    pub source: Source<'a>,
    pub prefix: &'a str,
    pub count: usize,
}

impl Experts<'_> {
    /// The gate and up projections and the down projections.
    pub fn groups(self) -> Result<(Group, Group), ModelError> {
        // A file that has one of the three quantised has its experts to sample from: all three then take f32.
        let sampled = self.parts().into_iter().map(|part| self.source.quantised(&self.name(0, part)));
        let sampled = sampled.collect::<Result<Vec<_>, _>>()?.iter().any(Option::is_some);
        Ok((self.gate_up(sampled)?, self.down(sampled)?))
    }

    fn gate_up(self, sampled: bool) -> Result<Group, ModelError> {
        let [gate, up, _] = self.parts();
        let names = |j| [gate, up].map(|part| self.name(j, part));
        let place = self.place(Matrices::GateUp([gate, up].map(|part| self.range(part))), gate);
        match sampled {
            true => self.sampled(place, |j| self.linears(&names(j))),
            false => self.packed(place, |j| joined(self.source, &names(j))),
        }
    }

    fn down(self, sampled: bool) -> Result<Group, ModelError> {
        let [_, _, down] = self.parts();
        let name = |j| self.name(j, down);
        let place = self.place(Matrices::One(self.range(down)), down);
        match sampled {
            true => self.sampled(place, |j| Ok(vec![self.source.linear(&name(j), Compute::F32)?])),
            false => self.packed(place, |j| Ok(Buffer::of(&self.source.get(&name(j))?))),
        }
    }

    fn linears(self, names: &[String; 2]) -> Result<Vec<Linear>, ModelError> {
        match quantised_pair(self.source, names)? {
            Some(both) => Ok(both.into()),
            None => names.iter().map(|name| self.source.dense(name, Compute::F32)).collect(),
        }
    }

    fn sampled(
        self,
        place: Place,
        linears: impl Fn(usize) -> Result<Vec<Linear>, ModelError>,
    ) -> Result<Group, ModelError> {
        let experts = (0..self.count).map(linears).collect::<Result<_, _>>()?;
        Ok(Group { form: Form::Sampled(experts), place: Place { compute: Compute::F32, ..place } })
    }

    /// Packs `weight(j)`, [width, in].
    fn packed(self, place: Place, weight: impl Fn(usize) -> Result<Buffer, ModelError>) -> Result<Group, ModelError> {
        let (width, in_, compute) = (place.width(), place.in_, place.compute);
        let (mut forward, mut dgrad) = (Vec::with_capacity(self.count), Vec::new());
        for w in (0..self.count).map(weight) {
            let w = w?;
            forward.push(Packed::from_transposed(w.host(), width, in_, compute));
            if self.source.how == Use::Trained {
                dgrad.push(Packed::from_rows(w.host(), width, in_, compute));
            }
        }
        Ok(Group { form: Form::Packed { forward, dgrad }, place })
    }

    fn place(self, matrices: Matrices, part: &str) -> Place {
        let (out, in_) = self.source.matrix(&self.name(0, part));
        Place { matrices, out, in_, compute: self.source.compute }
    }

    /// Where the matrices of all experts lie, side by side.
    fn range(self, part: &str) -> Range<usize> {
        let place = |j: usize| self.source.layout.range(&self.name(j, part));
        let range = place(0).start..place(self.count - 1).end;
        assert_eq!(range.len(), self.count * place(0).len(), "the experts' {part} do not lie side by side");
        range
    }

    fn parts(self) -> [&'static str; 3] {
        self.source.spec.family.expert_parts()
    }

    fn name(self, j: usize, part: &str) -> String {
        format!("{}.experts.{j}.{part}.weight", self.prefix)
    }
}

impl Group {
    pub fn repack(&mut self, data: &[f32]) {
        let Form::Packed { forward, dgrad } = &mut self.form else { panic!("quantised experts are not trained") };
        for (j, forward) in (0..).zip(forward) {
            let w = self.place.weight(data, j);
            forward.repack_transposed(w.host());
            if let Some(dgrad) = dgrad.get_mut(j) {
                dgrad.repack_rows(w.host());
            }
        }
    }

    /// The format in which the experts take their input and their output's gradient.
    pub fn dtype(&self) -> Dtype {
        self.place.compute.operand_dtype()
    }

    /// y [s, width] from x [s, in].
    pub fn forward(&self, x: &ByExpert) -> Buffer {
        let mut y = Buffer::uncleared(x.len() * self.place.width());
        match &self.form {
            Form::Packed { forward, .. } => grouped_matmul(&mut y, &x.rows, forward, x.offsets, Accumulate::Set),
            Form::Sampled(experts) => grouped_linear_forward(&mut y, &x.rows, experts, x.offsets),
        }
        y
    }

    /// The gradient of the input, [s, in].
    pub fn dgrad(&self, dy: &ByExpert) -> Buffer {
        let Form::Packed { dgrad, .. } = &self.form else { panic!("quantised experts have no gradient") };
        let mut dx = Buffer::uncleared(dy.len() * self.place.in_);
        grouped_matmul(&mut dx, &dy.rows, dgrad, dy.offsets, Accumulate::Set);
        dx
    }

    /// Leaves the gradients of all experts' weights; x are the rows that dy is the gradient for.
    pub fn wgrad<'a>(&'a self, dy: ByExpert<'a>, x: Operand<'a>, back: &mut Backward<'a, '_>) {
        let ByExpert { rows: dy, offsets } = dy;
        back.leave(WeightGradient::Product { place: &self.place, dy, x, experts: Some(offsets) });
    }
}
