# Two commands do everything on a fresh machine with Python 3.11+: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEV := $(VENV)/.dev-installed
APP := $(VENV)/.app-installed
INPUTS := pyproject.toml constraints.txt

.PHONY: demo test viewer-test faults fuzz lint mutants clean

demo: $(APP)
	$(BIN)/tumorline demo $(if $(KEEP),--keep)

test: $(DEV) lint
	# Two workers with a thread each: two with two would fight over two cores.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup $(PYTEST)

# Every kind of result in the real OHIF; what is missing for it is said, and .ci/run installs it.
viewer-test: $(DEV)
	TUMORLINE_OHIF=all OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/viewer $(PYTEST)

# Services killed, disks filled, clocks set back: all of it, with real processes.
faults: $(DEV)
	TUMORLINE_FAULTS=all OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults $(PYTEST)

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Mutated objects through all reading, in child processes: no crash, no hang, no file outside the store.
fuzz: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/fuzzing.py $(FUZZ)

# By hand, and long: which small faults of the stages and the domain would no test notice?
mutants: $(DEV)
	OMP_NUM_THREADS=1 nice -n 15 $(BIN)/python tests/mutants.py $(MUTANTS)

# torch is installed on its own first: pip then takes a CPU build where one is at hand, and nothing
# that is installed later can ask for another.
$(APP): $(INPUTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(DEV): $(APP)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .cache demo-output build dist *.egg-info
