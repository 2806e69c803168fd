"""llama.cpp through the xllamacpp wheel: sequences sampled at once in as many slots, tokens per second after the prompts, as one line of
JSON."""
import argparse, json, statistics
from concurrent.futures import ThreadPoolExecutor

import xllamacpp as xl

a = argparse.ArgumentParser()
a.add_argument("gguf")
a.add_argument("--slots", type=int, default=32)
a.add_argument("--threads", type=int, default=2)
a.add_argument("--prompt", default="Once upon a time there was a fox who " * 4, help="of about 32 tokens")
a.add_argument("--new", type=int, default=64)
a.add_argument("--runs", type=int, default=3)
a = a.parse_args()
p = xl.CommonParams()
p.model.path = a.gguf
p.n_parallel = a.slots
p.n_ctx = 256 * a.slots
p.cpuparams.n_threads = a.threads
p.cpuparams_batch.n_threads = a.threads
server = xl.Server(p)


def complete(seed):
    """Milliseconds that the sequence's new tokens took, beside those of the other slots."""
    out = server.handle_completions(
        {"prompt": a.prompt, "max_tokens": a.new, "temperature": 1.0, "seed": seed, "ignore_eos": True, "cache_prompt": False})
    out = out if isinstance(out, dict) else json.loads(out)
    assert out["timings"]["predicted_n"] == a.new, out
    return out["timings"]["predicted_ms"]


rates = []
for run in range(a.runs + 1):
    with ThreadPoolExecutor(a.slots) as pool:
        slowest = max(pool.map(complete, range(a.slots)))
    if run:
        rates.append(1e3 * a.slots * a.new / slowest)
print(json.dumps(dict(peer="llama.cpp", slots=a.slots, threads=a.threads, new=a.new, tokens_per_s=round(statistics.median(rates), 1))))
