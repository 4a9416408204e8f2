# Everything runs in the project's own .venv; any Python 3.11 to 3.13 will do: make train PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

VERSION := -c 'import sys; print(*sys.version_info[:2], sep=".")'
ifneq ($(origin PYTHON), file)
ifneq ($(wildcard $(VENV)/created),)
ifneq ($(shell $(PYTHON) $(VERSION)), $(shell $(RUN) $(VERSION)))
$(error $(VENV) is of Python $(shell $(RUN) $(VERSION)), not of $(PYTHON): remove it first (rm -rf $(VENV)))
endif
endif
endif

.PHONY: train test scaling gpu readme gallery lint clean

train: $(VENV)/installed
	$(RUN) -m rnn.train

# two files of tests at a time, whatever the cores: many wait, and some start processes of their own
test: $(VENV)/installed-test
	$(RUN) -m pytest --numprocesses 2 --dist loadfile

scaling: $(VENV)/installed
	$(RUN) -m experiments.matmul_scaling

# Everything that only a GPU can prove; says so and exits 3 where there is none.
gpu: $(VENV)/installed
	@extra=$$($(RUN) -m kernels.cuda.requirements) && \
		{ [ -z "$$extra" ] || $(RUN) -m pip install --quiet --editable ".[test,$$extra]"; }
	@$(RUN) -m experiments.gpu

readme: $(VENV)/installed
	$(RUN) -m experiments.readme

gallery: $(VENV)/installed
	$(RUN) -m experiments.gallery

lint: $(VENV)/installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: Python 3.11 to 3.13 is needed, $(PYTHON) is another; name one: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "error: $(PYTHON) cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv"; exit 2; }
	@touch $@

$(VENV)/installed: $(VENV)/created setup.cfg pyproject.toml
	$(RUN) -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/created setup.cfg pyproject.toml
	$(RUN) -m pip install --quiet --editable ".[test]"
	@touch $@ $(VENV)/installed

$(VENV)/installed-dev: $(VENV)/created setup.cfg pyproject.toml
	$(RUN) -m pip install --quiet --editable ".[dev]"
	@touch $@ $(VENV)/installed $(VENV)/installed-test
