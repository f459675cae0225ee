"""How fast, how small, how early: each question one file `bench_<question>.py`, each peer one file `peers/<peer>.py`.

`python -m benchmarks --help` says what can be asked; `README.md` says how it is measured and how to add a file.
"""
