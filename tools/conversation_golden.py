#!/usr/bin/env python3
"""Golden of calibration conversations: what transformers' apply_chat_template writes of whole ones, in both forms that data sets have.

  tools/conversation_golden.py CHAT_TEMPLATES

CHAT_TEMPLATES: folder of NAME.jinja, the template's text as the checkpoint brings it, for each name that the harness builds in
(as tools/task_golden.py --chat-templates). Writes tests/evaluators/golden/conversations.json: templates, documents (one row of
a data set each) and texts[template][document], null where the template refuses. Needs transformers 5.23.
"""
import json, os, sys

from transformers import AutoTokenizer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "system": "system"}

def share_gpt(*turns): return {"id": "x", "conversations": [{"from": role, "value": text} for role, text in turns]}
def messages(*turns): return {"messages": [{"role": role, "content": text} for role, text in turns]}

DOCUMENTS = [
    share_gpt(("human", "What is 2 + 2?"), ("gpt", "4.")),
    share_gpt(("human", " Spaces around \n"), ("gpt", "\tkept or cut? ")),
    share_gpt(("system", "Be brief."), ("human", "Hi"), ("gpt", "Hello!"), ("human", "Où ça ? 今日は 🙂"), ("chatgpt", "<b>Là</b> {{ x }}")),
    share_gpt(("gpt", "I begin."), ("human", "Then I.")),
    share_gpt(("human", "One"), ("human", "two questions")),
    share_gpt(("human", "A question without an answer")),
    messages(("user", "What is 2 + 2?"), ("assistant", "4.")),
    messages(("system", "You are terse."), ("user", "a\n\nb"), ("assistant", "c"), ("user", "d"), ("assistant", "e")),
]

def as_messages(document):
    if "messages" in document: return document["messages"]
    return [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in document["conversations"]]

def main():
    folder = sys.argv[1]
    tokenizer = AutoTokenizer.from_pretrained(ROOT + "/tests/evaluators/golden/tokenizer")
    texts = {}
    for file in sorted(os.listdir(folder)):
        name, kind = os.path.splitext(file)
        if kind != ".jinja": continue
        with open(f"{folder}/{file}", encoding="utf-8", newline="") as f: template = f.read()
        texts[name] = []
        for document in DOCUMENTS:
            try: text = tokenizer.apply_chat_template(as_messages(document), chat_template=template, tokenize=False, add_generation_prompt=False)
            except Exception: text = None  # the template's raise_exception
            texts[name].append(text)
    with open(ROOT + "/tests/evaluators/golden/conversations.json", "w", encoding="utf-8") as f:
        json.dump({"documents": DOCUMENTS, "texts": texts}, f, ensure_ascii=False, indent=1)
        f.write("\n")

if __name__ == "__main__": main()
