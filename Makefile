# Hundreds of processes import the same modules, so what is made of them is kept.
unexport PYTHONDONTWRITEBYTECODE

# Each target is a script of the same name.
.PHONY: install demo serve lint check test coverage format pages docs clean
install demo serve lint check test coverage format pages docs clean:
	@scripts/$@
