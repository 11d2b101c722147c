# The project's own images. Included by the Makefile at the top.

.PHONY: images push build image-names images-lock

images: ## Bring up the cluster, and load the operator, scoring and MLflow images into it
	@python3 -m images.build

export REGISTRY PYTHON_VERSIONS IMAGES TAG BASE_IMAGE PLATFORMS ATTEST

push: ## Build and push the images (REGISTRY=registry.example.com/team, PYTHON_VERSIONS="3.11 3.12", PLATFORMS=…)
	@python3 -m images.push push

build: ## Build the same images without pushing them, for kind, k3d and minikube
	@python3 -m images.push build

image-names: ## Print the names of these images
	@python3 -m images.push names

# Never with the address of an index: the lock files hold names, versions and hashes only.
COMPILE = uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header \
	--no-annotate --no-emit-index-url
# What the tests run with is what the images have.
COMPILE_IMAGE = $(COMPILE) --constraints requirements.lock
# For each Python that scoring images have: BASE_IMAGE decides which one it is.
COMPILE_ANY = $(subst 3.11,3.10,$(COMPILE)) --universal --constraints .venv/constraints.txt

images-lock: $(VENV) ## Lock the Python packages of the images and of the development environment
	@$(COMPILE) --universal --all-extras -o requirements.lock pyproject.toml
	@$(COMPILE_IMAGE) -o images/operator.lock pyproject.toml
	@python images/constraints.py requirements.lock > .venv/constraints.txt
	@$(COMPILE_ANY) --extra image -o images/scoring.lock scoring/pyproject.toml
	@$(COMPILE_IMAGE) -o images/mlflow.lock images/mlflow.in
	@$(COMPILE_ANY) -o images/build.lock images/build.in
	@$(COMPILE_IMAGE) -o tests/parity/deep.lock tests/parity/deep.in
	@# MLServer needs older packages than the others.
	@$(COMPILE) --universal -o benchmarks/scoring/mlserver.lock benchmarks/scoring/mlserver.in
	@$(COMPILE) --constraints benchmarks/scoring/mlserver.lock \
		-o benchmarks/scoring/mlserver-torch.lock benchmarks/scoring/mlserver-torch.in
	@for each in fastapi bentoml litserve ray triton; do \
		$(COMPILE) -o benchmarks/scoring/peers/$$each.lock benchmarks/scoring/peers/$$each.in; done
	@for each in mlserver reflection; do \
		$(COMPILE) --universal -o tests/clients/programs/$$each.lock tests/clients/programs/$$each.in; done
	@# What was to be had when these versions of MLflow were new.
	@for each in "2.0.0 2023-06-15" "2.22.5 2026-11-28" "3.0.0 2025-07-15"; do set -- $$each; \
		$(COMPILE) --exclude-newer $$2 -o tests/mlflow_versions/mlflow-$$1.lock \
		tests/mlflow_versions/mlflow-$$1.in; done
