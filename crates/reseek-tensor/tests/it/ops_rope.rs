//! Rotary position embedding.

use reseek_tensor::heads::Heads;
use reseek_tensor::numeric::{assert_close, assert_same_bits};
use reseek_tensor::rope::{RopeDirection, RopeStyle, RopeTable, rope};

use crate::ops_support::{gradient, inner, narrow, normal, widen};

const STYLES: [RopeStyle; 2] = [RopeStyle::Interleaved, RopeStyle::HalfSplit];

/// Two heads of 4 + rope_dim + 1 values a row.
struct Layout {
    rope_dim: usize,
    style: RopeStyle,
    mscale: f32,
}

impl Layout {
    fn heads(&self) -> Heads {
        Heads::whole(2, self.rope_dim + 5).part(4, self.rope_dim)
    }

    fn row_stride(&self) -> usize {
        self.heads().row()
    }

    fn inv_freq(&self) -> Vec<f64> {
        (0..self.rope_dim / 2).map(|i| 10_000_f64.powf(-2.0 * i as f64 / self.rope_dim as f64)).collect()
    }

    fn apply(&self, x: &mut [f32], positions: &[u32], direction: RopeDirection) {
        let table = RopeTable::new(&self.inv_freq(), 4096, self.mscale);
        assert_eq!((table.rope_dim(), table.max_positions()), (self.rope_dim, 4096));
        rope(x, positions, &table, self.heads(), self.style, direction);
    }

    fn reference(&self, x: &[f64], positions: &[u32]) -> Vec<f64> {
        let mut y = x.to_vec();
        for (row, &position) in positions.iter().enumerate() {
            for head in 0..2 {
                let start = row * self.row_stride() + head * (self.rope_dim + 5) + 4;
                for (i, frequency) in self.inv_freq().iter().enumerate() {
                    let (a, b) = match self.style {
                        RopeStyle::Interleaved => (start + 2 * i, start + 2 * i + 1),
                        RopeStyle::HalfSplit => (start + i, start + i + self.rope_dim / 2),
                    };
                    let (sin, cos) = (f64::from(position) * frequency).sin_cos();
                    y[a] = f64::from(self.mscale) * (x[a] * cos - x[b] * sin);
                    y[b] = f64::from(self.mscale) * (x[b] * cos + x[a] * sin);
                }
            }
        }
        y
    }
}

#[test]
fn agrees_with_the_reference_and_its_differences() {
    let positions = [0, 1, 7, 4095];
    for style in STYLES {
        for (rope_dim, mscale) in [(2, 1.0), (6, 1.25), (16, 1.0), (64, 0.8)] {
            let layout = Layout { rope_dim, style, mscale };
            let shape = [positions.len(), layout.row_stride()];
            let len = shape[0] * shape[1];
            let (x, dy) = (normal(len, "x"), normal(len, "dy"));
            let mut y = x.clone();
            layout.apply(&mut y, &positions, RopeDirection::Forward);
            let reference = |x: &[f64]| layout.reference(x, &positions);
            assert_close("y", &y, &narrow(&reference(&widen(&x))), &shape, 3e-7);

            let mut dx = dy.clone();
            layout.apply(&mut dx, &positions, RopeDirection::Inverse);
            assert_close("dx", &dx, &gradient(&x, |x| inner(&reference(x), &dy)), &shape, 3e-7);
        }
    }
}

/// As GLM-4.5 turns the first half of each head (`partial_rotary_factor`).
#[test]
fn the_leading_part_of_a_head_is_turned_and_the_rest_stays() {
    for style in STYLES {
        for (head, part) in [(8, 2), (64, 32), (48, 48)] {
            let layout = Layout { rope_dim: part, style, mscale: 1.0 };
            let table = RopeTable::new(&layout.inv_freq(), 100, 1.0);
            let x = normal(2 * 3 * head, "x");
            let mut y = x.clone();
            rope(&mut y, &[7, 99], &table, Heads::whole(3, head).part(0, part), style, RopeDirection::Forward);
            for (i, (x, y)) in x.chunks_exact(head).zip(y.chunks_exact(head)).enumerate() {
                let mut alone = x[..part].to_vec();
                rope(&mut alone, &[[7, 99][i / 3]], &table, Heads::whole(1, part), style, RopeDirection::Forward);
                assert_same_bits("what is turned", &y[..part], &alone, &[part]);
                assert_same_bits("the rest", &y[part..], &x[part..], &[head - part]);
            }
        }
    }
}

/// Positions in any order, from several threads, at the ends of blocks and in a table of as many as a config may claim.
#[test]
fn a_position_has_the_same_bits_whenever_it_is_first_asked_for() {
    let layout = Layout { rope_dim: 16, style: RopeStyle::HalfSplit, mscale: 1.25 };
    let table = RopeTable::new(&layout.inv_freq(), usize::MAX, layout.mscale);
    let heads = Heads::whole(1, 16);
    let turned = |table: &RopeTable, position: u32| {
        let mut x = normal(16, "x");
        rope(&mut x, &[position], table, heads, layout.style, RopeDirection::Forward);
        x
    };
    let positions = [131_071, 0, 1023, 1024, u32::MAX, 2047, 5, 2048, 131_072];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for position in positions {
                    // x·cos and x·sin with the library's, rounded as they stand in the table.
                    let x = normal(16, "x");
                    let got = turned(&table, position);
                    for (i, frequency) in layout.inv_freq().iter().enumerate() {
                        let (sin, cos) = (f64::from(position) * frequency).sin_cos();
                        let [sin, cos] = [sin, cos].map(|x| (x * f64::from(layout.mscale)) as f32);
                        assert_eq!(got[i], x[i] * cos - x[i + 8] * sin, "position {position}");
                        assert_eq!(got[i + 8], x[i + 8] * cos + x[i] * sin, "position {position}");
                    }
                }
            });
        }
    });
    let fresh = RopeTable::new(&layout.inv_freq(), 2048, layout.mscale);
    assert_same_bits("the last of a table", &turned(&fresh, 2047), &turned(&table, 2047), &[16]);
}

#[test]
fn turning_back_gives_the_input() {
    for style in STYLES {
        let layout = Layout { rope_dim: 32, style, mscale: 1.0 };
        let x = normal(3 * layout.row_stride(), "x");
        let mut y = x.clone();
        layout.apply(&mut y, &[5, 600, 3000], RopeDirection::Forward);
        layout.apply(&mut y, &[5, 600, 3000], RopeDirection::Inverse);
        assert_close("x", &y, &x, &[3, layout.row_stride()], 3e-7);
    }
}

#[test]
fn scores_depend_on_the_distance_alone() {
    let layout = Layout { rope_dim: 16, style: RopeStyle::Interleaved, mscale: 1.0 };
    let (q, k) = (normal(layout.row_stride(), "q"), normal(layout.row_stride(), "k"));
    let score = |at: u32, distance: u32| {
        let (mut q, mut k) = (q.clone(), k.clone());
        layout.apply(&mut q, &[at + distance], RopeDirection::Forward);
        layout.apply(&mut k, &[at], RopeDirection::Forward);
        inner(&widen(&q), &k)
    };
    for distance in [0, 1, 50] {
        assert!((score(0, distance) - score(1000, distance)).abs() < 1e-4);
    }
}

#[test]
fn a_row_alone_has_the_same_bits() {
    for style in STYLES {
        let layout = Layout { rope_dim: 10, style, mscale: 1.0 };
        let x = normal(4 * layout.row_stride(), "x");
        let mut all = x.clone();
        layout.apply(&mut all, &[3, 4, 5, 6], RopeDirection::Forward);
        let at = 2 * layout.row_stride()..3 * layout.row_stride();
        let mut alone = x[at.clone()].to_vec();
        layout.apply(&mut alone, &[5], RopeDirection::Forward);
        assert_same_bits("row 2", &alone, &all[at], &[alone.len()]);
    }
}

#[test]
#[should_panic(expected = "position 4096 is outside the RoPE table of 4096 positions")]
fn names_a_position_past_the_table() {
    let layout = Layout { rope_dim: 2, style: RopeStyle::HalfSplit, mscale: 1.0 };
    layout.apply(&mut vec![0.0; layout.row_stride()], &[4096], RopeDirection::Forward);
}
