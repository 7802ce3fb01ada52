# Each target is a script of the same name.
.PHONY: install demo lint test format docs clean
install demo lint test format docs clean:
	@scripts/$@
