"""PyTorch's matrix products at the shapes of `reseek bench matmul`, in GFLOP/s, as one line of JSON."""
import argparse, json, statistics, time

import torch

a = argparse.ArgumentParser()
a.add_argument("shapes", nargs="+", help="rows x k x columns, such as 2048x256x1024")
a.add_argument("--dtype", choices=["f32", "bf16"], default="bf16")
a.add_argument("--runs", type=int, default=5)
a = a.parse_args()
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[a.dtype]
torch.manual_seed(0)
out = dict(peer="torch", dtype=a.dtype, threads=torch.get_num_threads())
for shape in a.shapes:
    m, k, n = map(int, shape.split("x"))
    x, w = torch.randn(m, k, dtype=dtype), torch.randn(n, k, dtype=dtype)
    repeat = max(1, min(2000, 200_000_000 // (m * k * n)))
    seconds = []
    with torch.no_grad():
        for run in range(a.runs + 1):
            start = time.perf_counter()
            for _ in range(repeat):
                torch.nn.functional.linear(x, w)
            if run:
                seconds.append((time.perf_counter() - start) / repeat)
    out[f"{shape}_gflops"] = round(2e-9 * m * k * n / statistics.median(seconds), 1)
print(json.dumps(out))
