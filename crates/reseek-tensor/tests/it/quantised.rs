//! Products with quantised weights against what the blocks stand for.

use half::f16;
use reseek_tensor::dispatch::{SimdLevel, with_level};
use reseek_tensor::pool::map_lanes;
use reseek_tensor::quantised::{BLOCK, Bits, Block, Quantised, quantised_matmul};
use reseek_tensor::random::Stream;

/// A matrix of random blocks, and the values that they stand for.
fn random(bits: Bits, n: usize, k: usize, stream: &mut Stream) -> (Quantised, Vec<f64>) {
    let blocks: Vec<Block> = (0..n * k / BLOCK)
        .map(|_| {
            let scale = f16::from_f32(0.02 * stream.normal());
            let least = match bits {
                Bits::Four => f16::from_f32(0.2 * stream.normal()),
                Bits::Eight => f16::from_f32(-128.0 * scale.to_f32()),
            };
            let limit = if bits == Bits::Four { 16 } else { 256 };
            Block { scale, least, q: std::array::from_fn(|_| stream.below(limit) as u8) }
        })
        .collect();
    let values = blocks.iter().flat_map(|block| {
        block.q.map(|q| f64::from(block.scale.to_f32()) * f64::from(q) + f64::from(block.least.to_f32()))
    });
    let per_row = k / BLOCK;
    (Quantised::pack(bits, n, k, |row, index| blocks[row * per_row + index]), values.collect())
}

/// x rounded to 16 bits a block.
fn rounded(x: &[f32]) -> Vec<f64> {
    let block = |x: &[f32]| {
        let greatest = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        let inverse = if greatest > 0.0 { 32512.0 / greatest } else { 0.0 };
        let scale = f64::from(greatest) / 32512.0;
        x.iter().map(|x| f64::from((x * inverse).round_ties_even()) * scale).collect::<Vec<f64>>()
    };
    x.chunks(BLOCK).flat_map(block).collect()
}

fn product(x: &[f32], w: &Quantised) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / w.in_features() * w.out_features()];
    quantised_matmul(&mut y, x, w);
    y
}

#[test]
fn the_product_is_that_of_the_rounded_values_at_every_level() {
    let mut stream = Stream::new(1, "quantised", 0, 0);
    for bits in [Bits::Four, Bits::Eight] {
        let random_sizes: Vec<(usize, usize, usize)> =
            (0..12).map(|_| (stream.below(30), 1 + stream.below(90), BLOCK * (1 + stream.below(9)))).collect();
        let sizes = [(1, 1, 32), (1, 16, 64), (3, 17, 96), (8, 40, 64), (9, 33, 320), (20, 7, 1536)];
        for (m, n, k) in sizes.into_iter().chain(random_sizes) {
            let (w, values) = random(bits, n, k, &mut stream);
            let mut x: Vec<f32> = (0..m * k).map(|_| stream.normal()).collect();
            x.iter_mut().take(BLOCK).for_each(|x| *x = 0.0);
            let near = rounded(&x);
            let mut of_best: Option<Vec<u32>> = None;
            for level in SimdLevel::ALL.into_iter().rev().filter(|level| level.is_supported()) {
                let y = with_level(level, || product(&x, &w));
                for (i, row) in near.chunks(k).enumerate() {
                    for (j, column) in values.chunks(k).enumerate() {
                        let want: f64 = row.iter().zip(column).map(|(x, w)| x * w).sum();
                        let size: f64 = row.iter().zip(column).map(|(x, w)| (x * w).abs()).sum();
                        let got = f64::from(y[i * n + j]);
                        assert!((got - want).abs() <= 1e-5 * size, "{bits:?} {m}x{n}x{k} {level}: {got} for {want}");
                    }
                }
                let bits_of: Vec<u32> = y.iter().map(|y| y.to_bits()).collect();
                if level.is_fused() {
                    assert_eq!(of_best.get_or_insert_with(|| bits_of.clone()), &bits_of, "{level} has other bits");
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_on_many_threads() {
    let mut stream = Stream::new(2, "quantised", 0, 0);
    let (m, n, k) = (11, 4096, 64);
    let (w, _) = random(Bits::Four, n, k, &mut stream);
    let x: Vec<f32> = (0..m * k).map(|_| stream.normal()).collect();
    let together = product(&x, &w);
    let alone: Vec<f32> = x.chunks(k).flat_map(|row| product(row, &w)).collect();
    assert!(together == alone);
    let shared = map_lanes(0..1_usize, |_| product(&x, &w)).remove(0);
    assert!(together == shared, "parts on other threads change bits");
}

#[test]
fn what_is_not_finite_is_not_rounded_away() {
    let mut stream = Stream::new(3, "quantised", 0, 0);
    let (w, _) = random(Bits::Eight, 5, 64, &mut stream);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = vec![1.0; 64];
        x[40] = bad;
        assert!(product(&x, &w).iter().all(|y| y.is_nan()), "{bad}");
    }
}

/// Blocks of next to nothing count as 0: their scale's inverse is beyond f32.
#[test]
fn tiny_and_huge_values_keep_their_size() {
    let mut stream = Stream::new(4, "quantised", 0, 0);
    for bits in [Bits::Four, Bits::Eight] {
        let (w, values) = random(bits, 19, 96, &mut stream);
        for size in [1e-45, 1e-40, 1e-38, 9e-35, 2e-34, 1e-30, 1e30, 1e36] {
            let x: Vec<f32> = (0..96).map(|_| size * (2.0 * stream.uniform() as f32 - 1.0)).collect();
            let y = product(&x, &w);
            for (j, column) in values.chunks(96).enumerate() {
                let exact: f64 = x.iter().zip(column).map(|(&x, w)| f64::from(x) * w).sum();
                let of_size: f64 = column.iter().map(|w| f64::from(size) * w.abs()).sum();
                let allowed = if size < 1e-34 { of_size } else { 2e-4 * of_size };
                assert!((f64::from(y[j]) - exact).abs() <= allowed, "{bits:?}, {size:e}: {} for {exact:e}", y[j]);
                assert!(size >= 9e-35 || y[j] == 0.0, "{bits:?}, {size:e}: {}", y[j]);
            }
        }
    }
}

#[test]
#[should_panic(expected = "not whole blocks of 32")]
fn an_uneven_width_is_refused() {
    let zero = Block { scale: f16::ZERO, least: f16::ZERO, q: [0; BLOCK] };
    Quantised::pack(Bits::Four, 1, 40, |_, _| zero);
}
