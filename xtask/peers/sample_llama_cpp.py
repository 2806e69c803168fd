"""llama.cpp through the xllamacpp wheel: sequences sampled at once in as many slots, tokens per second, as one line of JSON."""
import argparse, json, statistics, time
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
    out = server.handle_completions(
        {"prompt": a.prompt, "max_tokens": a.new, "temperature": 1.0, "seed": seed, "ignore_eos": True, "cache_prompt": False})
    out = out if isinstance(out, dict) else json.loads(out)
    assert out["usage"]["completion_tokens"] == a.new, out
    return out["usage"]["prompt_tokens"]


seconds = []
for run in range(a.runs + 1):
    start = time.perf_counter()
    with ThreadPoolExecutor(a.slots) as pool:
        prompts = list(pool.map(complete, range(a.slots)))
    if run:
        seconds.append(time.perf_counter() - start)
d = statistics.median(seconds)
print(json.dumps(dict(peer="llama.cpp", slots=a.slots, threads=a.threads, prompt=prompts[0], new=a.new, tokens_per_s=round(a.slots * a.new / d, 1))))
