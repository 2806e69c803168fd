//! The smallest parts of a model: packed matrices and the embedding, each with its place in the flat gradient buffer.

use std::borrow::Cow;
use std::ops::Range;

use reseek_tensor::buffer::Buffer;
use reseek_tensor::compute::Compute;
use reseek_tensor::dtype::{Dtype, bf16};
use reseek_tensor::elementwise::{add_bias, scale};
use reseek_tensor::embedding::{Table, embedding_forward};
use reseek_tensor::linear::{Linear, linear_dgrad, linear_forward};
use reseek_tensor::matmul::{Accumulate, grouped_matmul_tn_parts};
use reseek_tensor::operand::Operand;
use reseek_tensor::permute::join_rows;
use reseek_tensor::quantised::Quantised;

use crate::ModelError;
use crate::pending::{Backward, WeightGradient};
use crate::source::Source;

/// Where the matrices of one product lie in the flat buffers: [out, in] each, or of experts [e, out, in].
#[derive(Debug)]
pub(crate) struct Place {
    pub matrices: Matrices,
    pub out: usize,
    pub in_: usize,
    pub compute: Compute,
}

/// One matrix, or the two before SwiGLU, whose outputs lie side by side.
#[derive(Debug)]
pub(crate) enum Matrices {
    One(Range<usize>),
    GateUp([Range<usize>; 2]),
}

impl Place {
    /// Columns of the product's result.
    pub fn width(&self) -> usize {
        match self.matrices {
            Matrices::One(_) => self.out,
            Matrices::GateUp(_) => 2 * self.out,
        }
    }

    /// The weight [width, in] of the product, that of expert j where there are several.
    pub fn weight(&self, data: &[f32], j: usize) -> Buffer {
        let size = self.out * self.in_;
        let of = |range: &Range<usize>| &data[range.start + j * size..][..size];
        match &self.matrices {
            Matrices::One(range) => Buffer::of(of(range)),
            Matrices::GateUp(ranges) => Buffer::joined(ranges.each_ref().map(|range| of(range).into())),
        }
    }

    /// dW += dyᵀ·x; of experts, whose rows begin at `experts`, each its own.
    pub fn add_gradient(&self, grads: &mut [f32], dy: &Operand, x: &Operand, experts: Option<&[usize]>) {
        let &Self { out, in_, compute, .. } = self;
        let all = [0, dy.rows()];
        let offsets = experts.unwrap_or(&all);
        match &self.matrices {
            Matrices::One(range) => {
                grouped_matmul_tn_parts([&mut grads[range.clone()]], dy, x, out, in_, offsets, compute);
            }
            Matrices::GateUp(ranges) => {
                let both = grads.get_disjoint_mut(ranges.clone()).expect("tensors do not overlap");
                grouped_matmul_tn_parts(both, dy, x, out, in_, offsets, compute);
            }
        }
    }
}

/// The weight of the part `name`.
fn key(name: &str) -> String {
    format!("{name}.weight")
}

/// A linear map y = W·x (+ b) with its weight packed for both directions.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub linear: Linear,
    pub out: usize,
    range: Range<usize>,
    place: Place,
    bias: Option<Bias>,
}

#[derive(Debug)]
struct Bias {
    values: Vec<f32>,
    range: Range<usize>,
}

impl Bias {
    /// The biases `names`, which lie side by side, where the specification lists them.
    fn new(source: Source, names: &[&str]) -> Result<Option<Self>, ModelError> {
        if names.iter().any(|name| source.layout.shape(name).is_none()) {
            return Ok(None);
        }
        let ranges: Vec<Range<usize>> = names.iter().map(|name| source.layout.range(name)).collect();
        let range = ranges[0].start..ranges[ranges.len() - 1].end;
        let values = names.iter().map(|name| source.get(name)).collect::<Result<Vec<_>, _>>()?.concat();
        assert_eq!(range.len(), values.len(), "{names:?} do not lie side by side");
        Ok(Some(Self { values, range }))
    }

    fn repack(&mut self, data: &[f32]) {
        self.values.copy_from_slice(&data[self.range.clone()]);
    }

    /// Leaves its gradient.
    fn backward<'a>(&'a self, dy: Buffer, back: &mut Backward<'a, '_>) {
        back.leave(WeightGradient::Bias { range: &self.range, dy });
    }
}

impl Matrix {
    /// `name` without its `.weight`; a bias is taken along where the specification lists one.
    pub fn new(source: Source, name: &str) -> Result<Self, ModelError> {
        Self::of(source, name, source.linear(&key(name), source.compute)?, source.compute)
    }

    /// [`Matrix::new`] that multiplies in `compute` whatever the model does, and with its values where they are quantised.
    pub fn in_format(source: Source, name: &str, compute: impl Into<Compute>) -> Result<Self, ModelError> {
        let compute = compute.into();
        Self::of(source, name, source.dense(&key(name), compute)?, compute)
    }

    fn of(source: Source, name: &str, linear: Linear, compute: Compute) -> Result<Self, ModelError> {
        let bias = Bias::new(source, &[&format!("{name}.bias")])?;
        let (out, in_, range) = (linear.out_features(), linear.in_features(), source.layout.range(&key(name)));
        let place = Place { matrices: Matrices::One(range.clone()), out, in_, compute };
        Ok(Self { linear, out, range, place, bias })
    }

    pub fn repack(&mut self, data: &[f32]) {
        self.linear.repack(&data[self.range.clone()]);
        if let Some(bias) = &mut self.bias {
            bias.repack(data);
        }
    }

    /// The format in which the map takes its input.
    pub fn dtype(&self) -> Dtype {
        self.linear.input_dtype()
    }

    /// y [n, out] from x [n, in].
    pub fn forward(&self, x: &Operand, n: usize) -> Buffer {
        let mut y = Buffer::uncleared(n * self.out);
        linear_forward(&mut y, x, &self.linear);
        if let Some(bias) = &self.bias {
            add_bias(&mut y, &bias.values);
        }
        y
    }

    /// The gradient of the input, dx (= or +=) dy·W; those of weight and bias are left to `back`.
    pub fn backward<'a>(
        &'a self,
        dx: &mut Buffer,
        acc: Accumulate,
        dy: Cow<Buffer>,
        x: &Operand<'a>,
        back: &mut Backward<'a, '_>,
    ) {
        self.bias_gradient(&dy, back);
        let dy = match dy {
            Cow::Owned(dy) => Operand::owned(dy, self.out, self.dtype()),
            Cow::Borrowed(dy) => Operand::of(dy, self.out, self.dtype()).into_owned(),
        };
        self.dgrad(dx, &dy, acc);
        self.wgrad(dy, x, back);
    }

    /// Whether there is a bias.
    pub fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// Leaves the gradient of the bias, where there is one.
    pub fn bias_gradient<'a>(&'a self, dy: &Buffer, back: &mut Backward<'a, '_>) {
        if let Some(bias) = &self.bias {
            bias.backward(dy.clone(), back);
        }
    }

    /// dx (= or +=) dy·W.
    pub fn dgrad(&self, dx: &mut Buffer, dy: &Operand, acc: Accumulate) {
        linear_dgrad(dx, dy, &self.linear, acc);
    }

    /// Leaves the gradient of the weight alone.
    pub fn wgrad<'a>(&'a self, dy: Operand<'a>, x: &Operand<'a>, back: &mut Backward<'a, '_>) {
        back.leave(WeightGradient::Product { place: &self.place, dy, x: x.clone(), experts: None });
    }
}

/// The two maps before SwiGLU as one product: y [n, 2·out] holds the gate and then the up of each row.
#[derive(Debug)]
pub(crate) struct GateUp {
    form: GateUpForm,
    place: Place,
    /// Of gate and then up.
    bias: Option<Bias>,
    pub out: usize,
}

#[derive(Debug)]
enum GateUpForm {
    Joined(Linear),
    /// Quantised matrices may differ in their blocks.
    Sampled([Linear; 2]),
}

impl GateUp {
    pub fn new(source: Source, prefix: &str) -> Result<Self, ModelError> {
        let names = ["gate_proj", "up_proj"].map(|part| format!("{prefix}.{part}.weight"));
        let ranges = names.each_ref().map(|name| source.layout.range(name));
        let (out, in_) = source.matrix(&names[0]);
        let place = Place { matrices: Matrices::GateUp(ranges), out, in_, compute: source.compute };
        let form = match quantised_pair(source, &names)? {
            Some(both) => GateUpForm::Sampled(both),
            None => {
                let both = joined(source, &names)?;
                GateUpForm::Joined(source.pack(both.host(), 2 * out, in_, source.compute))
            }
        };
        let [gate, up] = ["gate_proj", "up_proj"].map(|part| format!("{prefix}.{part}.bias"));
        Ok(Self { form, place, bias: Bias::new(source, &[&gate, &up])?, out })
    }

    /// Whether there are biases, whose gradients want that of the output as f32.
    pub fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    pub fn repack(&mut self, data: &[f32]) {
        if let Some(bias) = &mut self.bias {
            bias.repack(data);
        }
        if let GateUpForm::Joined(linear) = &mut self.form {
            linear.repack(self.place.weight(data, 0).host());
        }
    }

    pub fn dtype(&self) -> Dtype {
        match &self.form {
            GateUpForm::Joined(linear) => linear.input_dtype(),
            GateUpForm::Sampled(_) => Dtype::F32,
        }
    }

    pub fn forward(&self, x: &Operand, n: usize) -> Buffer {
        let mut y = Buffer::uncleared(2 * n * self.out);
        match &self.form {
            GateUpForm::Joined(linear) => linear_forward(&mut y, x, linear),
            GateUpForm::Sampled(both) => {
                let [gate, up] = both.each_ref().map(|linear| {
                    let mut y = Buffer::uncleared(n * self.out);
                    linear_forward(&mut y, x, linear);
                    y
                });
                join_rows(&mut y, &gate, self.out, &up, self.out);
            }
        }
        if let Some(bias) = &self.bias {
            add_bias(&mut y, &bias.values);
        }
        y
    }

    /// dx += dy·W; the gradients of both weights and biases are left to `back`. With biases dy is f32.
    ///
    /// # Panics
    /// If the maps are quantised.
    pub fn backward<'a>(&'a self, dx: &mut Buffer, dy: Operand<'a>, x: &Operand<'a>, back: &mut Backward<'a, '_>) {
        let GateUpForm::Joined(linear) = &self.form else { panic!("a quantised gate has no gradient") };
        let dy = match &self.bias {
            Some(bias) => {
                bias.backward(Buffer::of(dy.host()), back);
                dy.rounded(self.dtype())
            }
            None => dy,
        };
        linear_dgrad(dx, &dy, linear, Accumulate::Add);
        back.leave(WeightGradient::Product { place: &self.place, dy, x: x.clone(), experts: None });
    }
}

/// The matrices `names` one below the other.
pub(crate) fn joined(source: Source, names: &[String; 2]) -> Result<Buffer, ModelError> {
    let [gate, up] = [source.get(&names[0])?, source.get(&names[1])?];
    Ok(Buffer::joined([(&*gate).into(), (&*up).into()]))
}

/// The matrices `names` where one of them is quantised: of files that mix formats the other may be not.
pub(crate) fn quantised_pair(source: Source, names: &[String; 2]) -> Result<Option<[Linear; 2]>, ModelError> {
    let [first, second] = [source.quantised(&names[0])?, source.quantised(&names[1])?];
    if first.is_none() && second.is_none() {
        return Ok(None);
    }
    let linear = |quantised: Option<Quantised>, name: &str| match quantised {
        Some(quantised) => Ok(Linear::quantised(quantised)),
        None => source.dense(name, Dtype::F32.into()),
    };
    Ok(Some([linear(first, &names[0])?, linear(second, &names[1])?]))
}

/// The table of the tokens' rows, [vocab, d].
#[derive(Debug)]
pub(crate) struct Embedding {
    table: Rows,
    /// Of the rows.
    scale: f32,
    d: usize,
    range: Range<usize>,
}

#[derive(Debug)]
enum Rows {
    Values(Vec<f32>),
    /// Those of the matrix that products multiply with: the head's memory where the table is the head too.
    Matrix(Linear),
}

impl Embedding {
    pub const NAME: &str = "model.embed_tokens.weight";

    pub fn new(source: Source) -> Result<Self, ModelError> {
        let table = match source.shared(Self::NAME)? {
            Some(matrix) => Rows::Matrix(matrix),
            None => Rows::Values(source.get(Self::NAME)?.into_owned()),
        };
        let (scale, d) = (source.spec.embedding_scale(), source.spec.hidden_size);
        // Transformers has the factor in the format in which the model computes.
        let scale = if source.compute.dtype() == Dtype::Bf16 { bf16::from_f32(scale).to_f32() } else { scale };
        Ok(Self { table, scale, d, range: source.layout.range(Self::NAME) })
    }

    pub fn repack(&mut self, data: &[f32]) {
        match &mut self.table {
            Rows::Values(table) => table.copy_from_slice(&data[self.range.clone()]),
            Rows::Matrix(_) => panic!("a table that is shared does not change"),
        }
    }

    /// The head of a model whose head is its embedding, where both are the same memory.
    pub fn as_head(&self) -> Option<Linear> {
        match &self.table {
            Rows::Matrix(matrix) => Some(matrix.clone()),
            Rows::Values(_) => None,
        }
    }

    /// Rows [n, d] of the tokens.
    pub fn forward(&self, tokens: &[u32]) -> Buffer {
        let mut x = Buffer::uncleared(tokens.len() * self.d);
        match &self.table {
            Rows::Values(table) => embedding_forward(&mut x, table, tokens, self.d),
            Rows::Matrix(matrix) => embedding_forward(&mut x, Table::Rows(matrix), tokens, self.d),
        }
        self.scaled(x)
    }

    /// Rows, or their gradients, times the embedding's factor.
    fn scaled(&self, mut x: Buffer) -> Buffer {
        if self.scale != 1.0 {
            scale(&mut x, self.scale);
        }
        x
    }

    /// Leaves the gradient of the table.
    pub fn backward<'a>(&'a self, dy: Buffer, tokens: &'a [u32], back: &mut Backward<'a, '_>) {
        let dy = self.scaled(dy);
        back.leave(WeightGradient::Embedding { range: &self.range, dy, tokens, d: self.d });
    }
}
