//! Products with quantised weights against what the blocks stand for.

use std::convert::Infallible;

use half::f16;
use reseek_tensor::dispatch::{SimdLevel, with_level};
use reseek_tensor::embedding::{Table, embedding_forward};
use reseek_tensor::linear::Linear;
use reseek_tensor::pool::map_lanes;
use reseek_tensor::quantised::{BLOCK, Bits, Block, Form, PanelMut, Quantised, Scales, quantised_matmul};
use reseek_tensor::random::Stream;

/// Values under one scale where these are whole numbers.
const SUPER: usize = 256;

/// Forms of all widths, groups and scales, among them those of ggml's kinds.
fn forms() -> Vec<Form> {
    let form = |bits, group, scales, has_least, zero| Form { bits, group, scales, has_least, zero, table: None };
    let table = Some([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]);
    let with_table = |scales| Form { table, ..form(Bits::Four, 32, scales, false, 0) };
    vec![
        form(Bits::Four, 32, Scales::Halves, false, 8),
        form(Bits::Four, 32, Scales::Halves, true, 0),
        form(Bits::Five, 32, Scales::Halves, false, 16),
        form(Bits::Five, 32, Scales::Halves, true, 0),
        form(Bits::Eight, 32, Scales::Halves, false, 128),
        form(Bits::Two, 16, Scales::Nibbles, true, 0),
        form(Bits::Three, 16, Scales::Bytes, false, 4),
        form(Bits::Four, 32, Scales::Bytes, true, 0),
        form(Bits::Five, 32, Scales::Bytes, true, 0),
        form(Bits::Six, 16, Scales::Bytes, false, 32),
        with_table(Scales::Halves),
        with_table(Scales::Bytes),
        form(Bits::Six, 32, Scales::Bytes, true, 7),
        form(Bits::Two, 32, Scales::Nibbles, false, 1),
    ]
}

fn unit(form: &Form) -> usize {
    if form.scales == Scales::Halves { BLOCK } else { SUPER }
}

fn random_block(form: &Form, index: usize, large: &mut (f16, f16), stream: &mut Stream) -> Block {
    let halves = form.scales == Scales::Halves;
    if (index * BLOCK).is_multiple_of(unit(form)) {
        let size = if halves { 1.0 } else { 0.05 };
        *large = (f16::from_f32(0.02 * size * stream.normal()), f16::from_f32(0.2 * size * stream.normal()));
    }
    let mut whole = || match form.scales {
        Scales::Halves => 1,
        Scales::Bytes => stream.below(256) as u8 as i8,
        Scales::Nibbles => stream.below(16) as i8,
    };
    let (scales, leasts) = ([whole(), whole()], [whole(), whole()]);
    let codes = std::array::from_fn(|_| stream.below(1 << form.bits.count()) as u8);
    Block { codes, scale: large.0, least: large.1, scales, leasts }
}

/// What a block stands for, in f64.
fn values(form: &Form, block: &Block) -> Vec<f64> {
    let value = |i: usize| {
        let group = i / form.group;
        let code = block.codes[i];
        let whole = form.table.map_or(i32::from(code) - i32::from(form.zero), |table| table[usize::from(code)].into());
        let least = if form.has_least { block.least.to_f64() * f64::from(block.leasts[group]) } else { 0.0 };
        block.scale.to_f64() * f64::from(block.scales[group]) * f64::from(whole) + least
    };
    (0..BLOCK).map(value).collect()
}

fn pack(form: &Form, n: usize, k: usize, blocks: &[Block]) -> Quantised {
    let per_row = k / BLOCK;
    let fill = |panel: &mut PanelMut| {
        panel.rows().for_each(|row| panel.set_row(row, blocks[row * per_row..(row + 1) * per_row].iter().copied()));
        Ok::<(), Infallible>(())
    };
    let Ok(packed) = Quantised::pack(form.clone(), n, k, fill);
    packed
}

/// A matrix of random blocks, and the values that they stand for.
fn random(form: &Form, n: usize, k: usize, stream: &mut Stream) -> (Quantised, Vec<f64>) {
    let mut large = (f16::ZERO, f16::ZERO);
    let blocks: Vec<Block> =
        (0..n * k / BLOCK).map(|i| random_block(form, i % (k / BLOCK), &mut large, stream)).collect();
    (pack(form, n, k, &blocks), blocks.iter().flat_map(|block| values(form, block)).collect())
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

fn normal(len: usize, stream: &mut Stream) -> Vec<f32> {
    (0..len).map(|_| stream.normal()).collect()
}

#[test]
fn the_product_is_that_of_the_rounded_values_at_every_level() {
    let mut stream = Stream::new(1, "quantised", 0, 0);
    for form in forms() {
        let unit = unit(&form);
        let random_sizes: Vec<(usize, usize, usize)> =
            (0..5).map(|_| (stream.below(30), 1 + stream.below(60), unit * (1 + stream.below(1024 / unit)))).collect();
        let sizes = [(1, 1, 1), (2, 16, 2), (3, 17, 3), (4, 40, 2), (9, 33, 5), (20, 7, 6)];
        for (m, n, k) in sizes.map(|(m, n, units)| (m, n, units * unit)).into_iter().chain(random_sizes) {
            let (w, values) = random(&form, n, k, &mut stream);
            let mut x = normal(m * k, &mut stream);
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
                        // A least value and the whole numbers over it may each be far greater than their sum.
                        let allowed = if form.has_least { 2e-4 } else { 1e-5 };
                        assert!(
                            (got - want).abs() <= allowed * size + 1e-30,
                            "{form:?} {m}x{n}x{k} {level}: {got} for {want}"
                        );
                    }
                }
                let bits_of: Vec<u32> = y.iter().map(|y| y.to_bits()).collect();
                if level.is_fused() {
                    assert_eq!(
                        of_best.get_or_insert_with(|| bits_of.clone()),
                        &bits_of,
                        "{form:?} {level}: other bits"
                    );
                }
            }
        }
    }
}

/// Few rows are taken apart in registers and many are not; a long k is done in groups of rows.
#[test]
fn a_row_has_the_same_bits_alone_in_any_batch_and_on_many_threads() {
    let mut stream = Stream::new(2, "quantised", 0, 0);
    for form in forms() {
        for (m, n, k) in [(11, 300, 1024), (37, 40, 9 * 1024)] {
            let (w, _) = random(&form, n, k, &mut stream);
            let x = normal(m * k, &mut stream);
            let together = product(&x, &w);
            for rows in [1, 2, 3, 5, 8] {
                let parts: Vec<f32> = x.chunks(rows * k).flat_map(|rows| product(rows, &w)).collect();
                assert!(together == parts, "{form:?}: {rows} rows of {m} have other bits");
            }
            let shared = map_lanes(0..1_usize, |_| product(&x, &w)).remove(0);
            assert!(together == shared, "{form:?}: parts on other threads change bits");
        }
    }
}

#[test]
fn rows_are_what_their_blocks_stand_for() {
    let mut stream = Stream::new(5, "quantised", 0, 0);
    for form in forms() {
        let (n, k) = (37, 768);
        let (w, values) = random(&form, n, k, &mut stream);
        let mut row = vec![f32::NAN; k];
        for (i, want) in values.chunks(k).enumerate() {
            w.row(i, &mut row);
            // f64 holds d·(q − z) + m exactly, so rounding it once is what f32 must give.
            assert!(row.iter().zip(want).all(|(&got, &want)| got == want as f32), "{form:?}, row {i}");
        }
        let tokens = [36, 0, 15, 16, 36];
        let mut y = vec![f32::NAN; tokens.len() * k];
        embedding_forward(&mut y, Table::Rows(&Linear::quantised(w.clone())), &tokens, k);
        for (y, token) in y.chunks(k).zip(tokens) {
            w.row(token as usize, &mut row);
            assert_eq!(y, row);
        }
    }
}

#[test]
fn panels_take_about_the_bits_of_their_form() {
    let mut stream = Stream::new(6, "quantised", 0, 0);
    let bits = [4.5, 5.0, 5.5, 6.0, 8.5, 2.625, 3.625, 4.625, 5.625, 6.625, 4.5, 4.375];
    for (form, bits) in forms().iter().zip(bits) {
        let (w, _) = random(form, 32, 2048, &mut stream);
        assert_eq!(w.bytes() as f64 * 8.0 / (32.0 * 2048.0), bits, "{form:?}");
    }
}

#[test]
fn what_is_not_finite_is_not_rounded_away() {
    let mut stream = Stream::new(3, "quantised", 0, 0);
    for form in forms() {
        let (w, _) = random(&form, 5, 256, &mut stream);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1.0; 256];
            x[40] = bad;
            assert!(product(&x, &w).iter().all(|y| y.is_nan()), "{form:?}: {bad}");
        }
        for bad in [f16::NAN, f16::INFINITY, f16::NEG_INFINITY] {
            let codes = [0; BLOCK];
            let block = Block { codes, scale: bad, least: f16::ZERO, scales: [1; 2], leasts: [1; 2] };
            let w = pack(&form, 1, 256, &[block; 8]);
            let mut row = [0.0; 256];
            w.row(0, &mut row);
            assert!(row.iter().chain(&product(&[1.0; 256], &w)).all(|y| !y.is_finite()), "{form:?}: {bad}");
        }
    }
}

/// Blocks of next to nothing count as 0: their scale's inverse is beyond f32.
#[test]
fn tiny_and_huge_values_keep_their_size() {
    let mut stream = Stream::new(4, "quantised", 0, 0);
    for form in forms() {
        let (w, values) = random(&form, 19, 256, &mut stream);
        for size in [1e-45, 1e-40, 1e-38, 9e-35, 2e-34, 1e-30, 1e30, 1e36] {
            let x: Vec<f32> = (0..256).map(|_| size * (2.0 * stream.uniform() as f32 - 1.0)).collect();
            let y = product(&x, &w);
            for (j, column) in values.chunks(256).enumerate() {
                let exact: f64 = x.iter().zip(column).map(|(&x, w)| f64::from(x) * w).sum();
                let of_size: f64 = column.iter().map(|w| f64::from(size) * w.abs()).sum();
                let allowed = if size < 1e-34 { of_size } else { 2e-4 * of_size };
                assert!((f64::from(y[j]) - exact).abs() <= allowed, "{form:?}, {size:e}: {} for {exact:e}", y[j]);
                assert!(size >= 9e-35 || y[j] == 0.0, "{form:?}, {size:e}: {}", y[j]);
            }
        }
    }
}

#[test]
fn an_error_of_a_panel_ends_the_packing() {
    let form = forms().remove(0);
    let packed =
        Quantised::pack(form, 100, 64, |panel| if panel.rows().start >= 32 { Err(panel.rows()) } else { Ok(()) });
    assert_eq!(packed.unwrap_err(), 32..48);
}

fn zeros() -> Block {
    Block { codes: [0; BLOCK], scale: f16::ZERO, least: f16::ZERO, scales: [1; 2], leasts: [1; 2] }
}

#[test]
#[should_panic(expected = "not whole blocks of 32")]
fn an_uneven_width_is_refused() {
    pack(&forms()[0], 1, 40, &[zeros(); 2]);
}

#[test]
#[should_panic(expected = "not whole blocks of 256")]
fn an_uneven_width_under_wide_scales_is_refused() {
    pack(&forms()[5], 1, 128, &[zeros(); 4]);
}

#[test]
#[should_panic(expected = "a code of 5 bits is above 31")]
fn a_code_that_does_not_fit_is_refused() {
    let mut block = zeros();
    block.codes[17] = 32;
    pack(&forms()[2], 1, 32, &[block]);
}
