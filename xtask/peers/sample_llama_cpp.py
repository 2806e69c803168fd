"""llama.cpp through the xllamacpp wheel: sequences sampled at once in as many slots, new tokens over the seconds from the first request to the
last answer, as one line of JSON. Each has a prompt of its own, by the rule of `reseek bench decode --batch`, and passes it itself."""
import argparse, json, statistics, time
from concurrent.futures import ThreadPoolExecutor

import xllamacpp as xl

a = argparse.ArgumentParser()
a.add_argument("gguf")
a.add_argument("--slots", type=int, default=32)
a.add_argument("--threads", type=int, default=2)
a.add_argument("--prompt", type=int, default=32, help="tokens of each prompt")
a.add_argument("--new", type=int, default=64)
a.add_argument("--runs", type=int, default=5)
a = a.parse_args()
p = xl.CommonParams()
p.model.path = a.gguf
p.n_parallel = a.slots
p.n_ctx = 256 * a.slots
p.cpuparams.n_threads = a.threads
p.cpuparams_batch.n_threads = a.threads
server = xl.Server(p)


def complete(i):
    prompt = [3 + (131 * i + 17 * j) % 4000 for j in range(a.prompt)]
    out = server.handle_completions(
        {"prompt": prompt, "max_tokens": a.new, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": i, "ignore_eos": True, "cache_prompt": False})
    out = out if isinstance(out, dict) else json.loads(out)
    assert out["timings"]["predicted_n"] == a.new and out["timings"]["prompt_n"] == a.prompt, out


rates = []
with ThreadPoolExecutor(a.slots) as pool:
    for run in range(a.runs + 1):
        start = time.perf_counter()
        list(pool.map(complete, range(a.slots)))
        if run:
            rates.append(a.slots * a.new / (time.perf_counter() - start))
print(json.dumps(dict(peer="llama.cpp", slots=a.slots, threads=a.threads, prompt=a.prompt, new=a.new, tokens_per_s=round(statistics.median(rates), 1))))
