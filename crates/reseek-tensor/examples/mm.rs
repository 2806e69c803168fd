use reseek_tensor::{dtype::Dtype, matmul::*, peak::fma_peak_gflops, pool};
use std::time::Instant;
fn best(mut f: impl FnMut()) -> f64 {
    f();
    (0..40)
        .map(|_| {
            let t = Instant::now();
            f();
            t.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}
fn main() {
    let d = Dtype::Bf16;
    let threads: usize = std::env::args().nth(1).map_or(1, |x| x.parse().unwrap());
    pool::set_threads(threads);
    println!("peak {:.0}", fma_peak_gflops(200, d));
    let shapes = [
        (1024, 256, 1024),
        (1024, 1024, 256),
        (1024, 256, 256),
        (1024, 256, 96),
        (1024, 96, 192),
        (1024, 64, 256),
        (1024, 128, 256),
        (256, 256, 128),
        (256, 128, 256),
        (256, 256, 4096),
        (2048, 2048, 2048),
    ];
    for (m, k, n) in shapes {
        let out = pool::map_lanes(0..threads, |_| {
            let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32 - 2.0).collect();
            let bp = Packed::from_rows(&b, k, n, d);
            // several results in turn, as activations are
            let copies = (4_000_000 / (m * n)).clamp(1, 8);
            let mut cs = vec![vec![0.0f32; m * n]; copies];
            let mut i = 0;
            let f = 2.0 * (m * k * n) as f64 / 1e9;
            let set = best(|| {
                matmul(&mut cs[i % copies], &a, &bp, Accumulate::Set);
                i += 1;
            });
            let add = best(|| {
                matmul(&mut cs[i % copies], &a, &bp, Accumulate::Add);
                i += 1;
            });
            // weight gradient: dw[n, k] += dy[m, n]^T x[m, k]
            let copies = (8_000_000 / (k * n)).clamp(1, 32);
            let mut w = vec![vec![0.0f32; k * n]; copies];
            let tn = best(|| {
                matmul_tn(&mut w[i % copies], &cs[0], &a, n, k, d);
                i += 1;
            });
            (f / set, f / add, f / tn)
        });
        println!("{m}x{k}x{n}: set {:.0} add {:.0} tn {:.0}", out[0].0, out[0].1, out[0].2);
    }
}
