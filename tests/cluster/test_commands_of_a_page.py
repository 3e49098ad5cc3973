"""Commands in fenced blocks are found, and run in one shell."""

import os
from pathlib import Path

import pytest

from pdscale_e2e.page import Block, CommandFailed, Shell, blocks
from pdscale_e2e.waiting import eventually

PAGE = """# Title

```sh
export A=1
```

<!-- run-by: provider -->
```sh
make-cluster
```

```yaml
a: 1
```

```console
$ echo one \\
>   two
one two
$ true
```
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(cwd=tmp_path, environ=dict(os.environ))


def test_blocks_are_found_with_their_lines_and_who_runs_them() -> None:
    assert list(blocks(PAGE)) == [
        Block(4, "export A=1\n"),
        Block(9, "make-cluster\n", "provider"),
        Block(17, "echo one \\\n  two\ntrue\n"),
    ]


def test_variables_and_background_programs_last_from_block_to_block(shell: Shell) -> None:
    with shell:
        shell.run(Block(1, "A=hello\nsleep 60 &\nSLEEPS=$!\n"), within=10)
        assert "hello there" in shell.run(Block(2, 'echo "$A there"\nkill -0 "$SLEEPS"\n'), within=10)


def test_what_runs_in_the_background_ends_with_the_shell(shell: Shell) -> None:
    with shell:
        printed = shell.run(Block(1, "sleep 60 &\necho pid=$!=\n"), within=10)
    pid = int(printed.split("pid=")[-1].split("=")[0])
    state = Path(f"/proc/{pid}/stat")

    def over() -> bool:
        try:
            return state.read_text().split()[2] == "Z"
        except OSError:
            return True

    eventually(over, within=5, what=f"process {pid} has ended")


@pytest.mark.parametrize("script", ["false\n", "false | cat\n", "nonsense-command\n"])
def test_a_command_that_fails_is_shown_with_its_line(shell: Shell, script: str) -> None:
    with shell, pytest.raises(CommandFailed, match=rf"line 7 ended with code \d+:(?s:.*){script.split()[0]}"):
        shell.run(Block(7, f"echo before\n{script}echo after\n"), within=10)


def test_nothing_runs_after_a_failure(shell: Shell) -> None:
    with shell:
        with pytest.raises(CommandFailed):
            shell.run(Block(1, "false\n"), within=10)
        with pytest.raises(CommandFailed, match="line 2 ended"):
            shell.run(Block(2, "true\n"), within=10)


def test_a_command_that_takes_too_long_is_said(shell: Shell) -> None:
    with shell, pytest.raises(CommandFailed, match=r"(?s)line 3 had not ended after 0.3 s:.*sleep 60"):
        shell.run(Block(3, "sleep 60\n"), within=0.3)


def test_a_command_that_reads_its_input_does_not_eat_the_commands_after_it(shell: Shell) -> None:
    with shell:
        assert "+ echo after" in shell.run(Block(1, "cat\necho after\n"), within=10)
