"""``pdscale``: help, typos, and the way to the other programs."""

from pathlib import Path

import pytest

from pdscale import cli

ROOT = Path(__file__).parents[2]


def test_the_crd_is_the_committed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["crd"]) == 0
    assert capsys.readouterr().out == (ROOT / "crds" / "pdscale.io_servingdeployments.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["oprator"], "did you mean operator?", id="typo"),
        pytest.param([], "required: COMMAND", id="nothing"),
        pytest.param(["operator", "--namespce", "x"], "--namespce", id="unknown option"),
    ],
)
def test_a_mistake_is_answered_with_what_would_be_right(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert says in told
    assert "--help" in told


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert all(command in told for command in ("operator", "router", "emulator", "crd"))


@pytest.mark.parametrize(("command", "says"), [("router", "--placement"), ("emulator", "--profile")])
def test_other_programs_parse_their_own_arguments(
    command: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["pdscale"])
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert says in capsys.readouterr().out


def test_a_wrong_variable_ends_the_operator_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PDSCALE_ADMIN_PORT", "many")
    assert cli.main(["operator"]) == 1
    assert capsys.readouterr().err == "pdscale: PDSCALE_ADMIN_PORT must be a whole number, got 'many'\n"


def test_an_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_own", interrupted)
    assert cli.main(["operator"]) == 130
