"""lm-eval 0.4.13's bootstrapped standard errors, for tests/evaluators/statistics_test.cpp: run and compare.

    python tools/bootstrap_golden.py
"""
import os

os.environ["DISABLE_MULTIPROC"] = "1"
from lm_eval.api.metrics import bootstrap_stderr, mean, perplexity  # noqa: E402

values = [-(i * 37 % 101) / 25 for i in range(200)]
right = [float(i * i % 3 == 0) for i in range(200)]
print("perplexity", perplexity(values), bootstrap_stderr(perplexity, values, 100000))
print("mean", mean(right), bootstrap_stderr(mean, right, 100000))
