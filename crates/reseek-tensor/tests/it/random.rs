//! Random streams: golden values, independence of names, statistics.

use reseek_tensor::random::Stream;

const N: usize = 100_000;

fn stream() -> Stream {
    Stream::new(7, "init", 3, 11)
}

/// Runs must stay reproducible for ever: these values may never change.
#[test]
fn golden_values() {
    let mut s = stream();
    assert_eq!(
        [s.next_u64(), s.next_u64(), s.next_u64()],
        [0x6c7e_c3ea_4766_2afc, 0x7290_c4af_64df_88a7, 0xdbc8_3cc1_299d_0806]
    );
    let mut s = Stream::new(0, "", 0, 0);
    assert_eq!([s.next_u64(), s.next_u64()], [0x12ea_6867_b29d_78ad, 0xc7b7_d866_0be5_daff]);
    let mut s = stream();
    assert_eq!([s.uniform(), s.uniform()], [0.423_809_284_874_913_87, 0.447_521_488_972_482_23]);
    let mut s = stream();
    assert_eq!([0; 4].map(|_| s.normal().to_bits()), [0xc008_ed3c, 0xbfbc_9fd1, 0x3f39_e953, 0x3ede_d19f]);
    let mut s = stream();
    assert_eq!([0; 12].map(|_| s.below(10)), [4, 4, 8, 7, 5, 1, 9, 5, 5, 8, 9, 9]);
    let mut order: [u8; 10] = std::array::from_fn(|i| i as u8);
    stream().shuffle(&mut order);
    assert_eq!(order, [8, 2, 1, 7, 0, 3, 5, 6, 9, 4]);
}

#[test]
fn every_part_of_the_name_counts() {
    let names = [
        (7, "init", 3, 11),
        (8, "init", 3, 11),
        (7, "inis", 3, 11),
        (7, "init", 4, 11),
        (7, "init", 3, 12),
        (7, "init", 11, 3),
    ];
    let mut firsts = names.map(|(seed, purpose, step, index)| Stream::new(seed, purpose, step, index).next_u64());
    firsts.sort_unstable();
    assert!(firsts.windows(2).all(|pair| pair[0] != pair[1]), "{firsts:x?}");
}

#[test]
fn uniform_values() {
    let mut s = stream();
    let values: Vec<f64> = (0..N).map(|_| s.uniform()).collect();
    assert!(values.iter().all(|x| (0.0..1.0).contains(x)));
    let mean = values.iter().sum::<f64>() / N as f64;
    assert!((mean - 0.5).abs() < 0.004, "mean {mean}");
}

#[test]
fn below_is_uniform_and_in_range() {
    let mut s = stream();
    let mut counts = [0_u32; 7];
    (0..N).for_each(|_| counts[s.below(7)] += 1);
    let expected = N as f64 / 7.0;
    let chi_square: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
    assert!(chi_square < 22.5, "6 degrees of freedom, 0.1 %: {chi_square} from {counts:?}");
    assert!((0..100).all(|_| s.below(1) == 0));
    // Nearly half of all draws fall among those that must be drawn again.
    let large = (1_usize << 63) + 1;
    let mean = (0..N).map(|_| s.below(large) as f64).sum::<f64>() / N as f64 / large as f64;
    assert!((mean - 0.5).abs() < 0.004, "mean {mean}");
}

#[test]
fn normal_values_have_their_moments() {
    let mut s = stream();
    let values: Vec<f64> = (0..N).map(|_| f64::from(s.normal())).collect();
    let moment = |power| values.iter().map(|x| x.powi(power)).sum::<f64>() / N as f64;
    for (power, want, tolerance) in [(1, 0.0, 0.015), (2, 1.0, 0.02), (3, 0.0, 0.05), (4, 3.0, 0.15)] {
        assert!((moment(power) - want).abs() < tolerance, "moment {power} is {}", moment(power));
    }
    let pairs = values.chunks_exact(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / (N / 2) as f64;
    assert!(pairs.abs() < 0.02, "the two values of a pair correlate: {pairs}");
}

#[test]
fn shuffles_reach_every_order() {
    let mut s = stream();
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..24_000 {
        let mut items = [0, 1, 2, 3];
        s.shuffle(&mut items);
        *counts.entry(items).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 24);
    assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    s.shuffle::<u8>(&mut []);
}

#[test]
#[should_panic(expected = "below(0)")]
fn nothing_is_below_zero() {
    stream().below(0);
}

#[test]
fn filling_draws_in_order() {
    let mut values = [f32::NAN; 5];
    stream().fill_normal(&mut values, 0.25);
    let mut again = stream();
    assert_eq!(values, [0; 5].map(|_| 0.25 * again.normal()));
}
