"""What tests of the interpreter look for in an execution."""


def ok(execution):
    """One that went well."""
    assert execution.error is None, execution.error.traceback
    return execution


def out(execution):
    """What it printed."""
    return "".join(execution.logs.stdout)
