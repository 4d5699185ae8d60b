"""The command line, run within the tests."""

from typer.testing import CliRunner

from onephonon.cli import app


def run_command(*arguments: object, **env: str) -> str:
    """Output of a command that must succeed; what it raises is raised."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], env=env or None)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output
