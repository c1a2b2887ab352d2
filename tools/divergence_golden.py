"""KL of next-token distributions of a coarsened stories260K against the model as it is, by transformers in
float32 with softmax in float64: tests/evaluators/golden/divergence.json.

    python tools/divergence_golden.py SHARED/data/stories260K tests/evaluators/golden/divergence.json
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, out = sys.argv[1:]
text = ("Once upon a time there was a little girl called Lily. She had a red ball and a small brown dog. One day "
        "the dog ran into the park with the ball. Lily ran after him. She was sad, but her mom said: do not be "
        "sad, we will find him. They saw a big tree. The dog sat under the tree and was very happy.")
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = tokenizer(text, add_special_tokens=False)["input_ids"]
window = 40
windows = [ids[i:i + window] for i in range(0, len(ids) - window + 1, window)]


def logits(model, row):
    with torch.no_grad():
        return model(torch.tensor([row])).logits[0, :-1].float()


full = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
coarse = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
for layer in coarse.model.layers:  # what the test puts into an overlay
    layer.mlp.down_proj.weight.data = torch.round(layer.mlp.down_proj.weight.data * 8) / 8
rows = []
for row in windows:
    a, b = logits(full, row), logits(coarse, row)
    p, q = torch.log_softmax(a.double(), -1), torch.log_softmax(b.double(), -1)
    rows.append({
        "ids": row,
        "divergence": (p.exp() * (p - q)).sum().item(),
        "agreements": int((a.argmax(-1) == b.argmax(-1)).sum()),
        "log_likelihood": q.gather(1, torch.tensor(row[1:]).unsqueeze(1)).sum().item(),
    })
json.dump(rows, open(out, "w"), indent=1)
print(len(rows), [(r["divergence"], r["agreements"]) for r in rows])
