# Three commands: make book, make test, make lab. Each makes the environment first if needed.
# Another Python: make book PYTHON=python3.12   Arguments for pytest: make test ARGS="-k explorer"

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
.DEFAULT_GOAL := help
.PHONY: help env book test lab notebooks clean distclean

help:  ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

env: $(STAMP)  ## create .venv and install the course with its tested versions

# Holding pip to constraints.txt keeps the versions those that the tests ran with.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which one: make PYTHON=python3.12"; exit 1; }
	@test -x $(PY) || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV) || \
	  { echo "no virtual environment could be made; on Debian or Ubuntu: apt install python3-venv"; \
	    rm -rf $(VENV); exit 1; }; }
	@echo "installing the course into $(VENV) (a minute or a few the first time)"
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[book,test]'
	@touch $@

book: $(STAMP)  ## execute every page, build the website and the slides
	@$(PY) -m tools.build_book

test: $(STAMP)  ## run all tests (builds the book first if it is not current)
	@$(PY) -m tools.run_tests $(ARGS)

lab: $(STAMP)  ## open JupyterLab on the notebooks
	@$(VENV)/bin/jupyter lab --notebook-dir=notebooks

notebooks: $(STAMP)  ## write the learners' notebooks again from book/
	@$(VENV)/bin/medxfer notebooks

clean:  ## remove what builds made (keeps the environment)
	@rm -rf _build book/_assets/vendor .pytest_cache .ruff_cache .hypothesis

distclean: clean  ## remove the environment as well
	@rm -rf $(VENV) medxfer_lab.egg-info
