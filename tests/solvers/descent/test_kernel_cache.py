"""Kernels on disk: none may be mistaken for another."""

from itertools import product

from dotbias.solvers.descent.batch_kernels import batch_kernel
from dotbias.solvers.descent.kernels import RuleForm, walk_kernel
from dotbias.solvers.descent.losses import LOSSES
from dotbias.solvers.descent.rules import RULES, Rule


def _names(rule: type[Rule]) -> list[str]:
    form, n = RuleForm.of(rule), 1
    every = list(product((False, True), LOSSES.values()))
    kernels = [walk_kernel(form, n, noisy, loss) for noisy, loss in every]
    kernels += [
        batch_kernel(form, n, noisy, shared, loss)
        for noisy, loss in every
        for shared in (False, True)
    ]
    return [kernel.py_func.__qualname__ for kernel in kernels]


def test_every_kernel_has_a_file_of_its_own():
    """Processes that compiled at the same time wrote into one file, and ran each other's rules."""
    # AdamW shares Adam's update, and so its kernels.
    rules = {RuleForm.of(rule): rule for rule in RULES.values()}.values()
    names = [name for rule in rules for name in _names(rule)]
    assert len(set(names)) == len(names)


def test_an_edited_rule_has_another_name_than_before():
    def plain(g, state, lr, c):  # noqa: ARG001
        return lr * g, state

    def edited(g, state, lr, c):  # noqa: ARG001
        return lr * g + g, state

    edited.__qualname__ = plain.__qualname__
    sgd = RuleForm.of(RULES["sgd"])
    kernels = [walk_kernel(sgd._replace(update=update), 0, False) for update in (plain, edited)]
    names = [kernel.py_func.__qualname__ for kernel in kernels]
    assert names[0] != names[1]
