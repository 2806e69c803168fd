#!/usr/bin/env python3
"""Makes chat.json: conversations and what Jinja makes of V3's template and of ours, set up as transformers 4.57 and 5 set it up.

  pip install jinja2==3.1.6
  python3 make_chat.py
"""

import json
import pathlib

from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
TEMPLATES = HERE.parent.parent / "templates"
BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def system(content):
    return {"role": "system", "content": content}


CONVERSATIONS = [
    [user("What is 1 + 1?")],
    [user("1+1?"), assistant("<think>1 and 1 is 2.</think>\n\n2"), user("And 2+2?")],
    [system("Be brief."), user("你好"), assistant("你好！"), user("再见")],
    [system("A"), user("x"), system("B"), assistant("y")],
    [user("a"), assistant("<think>one</think> two </think> three"), user("b"), assistant("<think>four</think> five")],
    [user("  spaces \n kept\n"), assistant("\n")],
    [user("{{ bos_token }} {% if %} \\n </think>")],
    [],
]


def main():
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    rows = []
    for folder, name in [(HERE, "deepseek_v3"), (TEMPLATES, "deepseek_r1")]:
        template = environment.from_string((folder / f"{name}.jinja").read_text(encoding="utf-8"))
        for messages in CONVERSATIONS:
            for add_generation_prompt, prefill_think in [(False, False), (True, False), (True, True)]:
                text = template.render(
                    messages=messages, bos_token=BOS, eos_token=EOS,
                    add_generation_prompt=add_generation_prompt, prefill_think=prefill_think,
                )
                rows.append({
                    "template": name, "messages": messages, "add_generation_prompt": add_generation_prompt,
                    "prefill_think": prefill_think, "text": text,
                })
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (HERE / "chat.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
