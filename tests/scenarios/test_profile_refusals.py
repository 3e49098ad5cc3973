"""What ``pdscale profile`` refuses, in one line each and without writing anything."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from fakes.threaded import in_a_thread
from pdscale import cli

QUICK: Final = (
    *("--batches", "1,2,3,4", "--contexts", "32,64", "--repeats", "1", "--steps", "4"),
    *("--prompts", "32,33,34,35,36,37,38,39"),
)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def endpoint(completion: Handler, models: tuple[str, ...] = ("tiny",)) -> AsyncIterator[str]:
    """A server with a catalogue whose completions are whatever a test wants."""
    app = web.Application()
    cards = {"data": [{"id": name, "max_model_len": 1024} for name in models]}

    async def catalogue(_: web.Request) -> web.Response:
        return web.json_response(cards)

    app.router.add_get("/v1/models", catalogue)
    app.router.add_post("/v1/completions", completion)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def never(_: web.Request) -> web.StreamResponse:
    raise AssertionError("no completion should be asked for")


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main(["profile", *map(str, arguments)]) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.count("\n") == 1
    return captured.err


TOLD: Final = ("--bandwidth", "1GB/s", "--kv-tokens", "4096", "--kv-bytes-per-token", "1000")


def test_no_server_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with in_a_thread(endpoint(never)) as url:
        pass
    said = complaint(capsys, "--url", url, *TOLD, "--out", tmp_path / "p.json")
    assert f"{url}: no engine answers there" in said


def test_an_unknown_model_is_one_line_that_names_the_known(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with in_a_thread(endpoint(never)) as url:
        said = complaint(capsys, "--url", url, "--model", "huge", *TOLD, "--out", tmp_path / "p.json")
    assert f"--model: must be one of those that {url} serves (tiny), got huge" in said


def test_several_models_have_to_be_chosen_from(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with in_a_thread(endpoint(never, ("one", "two"))) as url:
        said = complaint(capsys, "--url", url, *TOLD, "--out", tmp_path / "p.json")
    assert "(one, two), got None" in said


async def guarded(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Authorization") != "Bearer open-sesame":
        return web.json_response({"error": {"message": "Unauthorized"}}, status=401)
    return web.json_response({"error": {"message": "known, but not served"}}, status=503)


def test_a_token_that_is_missing_is_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with in_a_thread(endpoint(guarded)) as url:
        said = complaint(capsys, "--url", url, *TOLD, "--out", tmp_path / "p.json")
    assert "answered 401; --bearer-file names a file with the engine's token" in said


def test_a_token_is_sent(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("open-sesame\n")
    with in_a_thread(endpoint(guarded)) as url:
        flags = ("--bearer-file", token, *TOLD, "--out", tmp_path / "p.json")
        said = complaint(capsys, "--url", url, *flags)
    assert "answered 503" in said
    assert "known, but not served" in said


class Dying:
    """Counts every prompt's words as tokens, and breaks the connection off at the nth request."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self._left -= 1
        body = await request.json()
        assert request.transport is not None
        if self._left <= 0:
            request.transport.abort()
        usage = {"prompt_tokens": len(body["prompt"].split()), "completion_tokens": 1}
        if not body.get("stream"):
            return web.json_response({"choices": [{"text": "a"}], "usage": usage})
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(min(10, body["max_tokens"])):
            await response.write(b'data: {"choices": [{"text": "a"}]}\n\n')
        return response


def test_an_engine_that_dies_midway_is_one_line_with_how_far_it_came(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with in_a_thread(endpoint(Dying(12).answer)) as url:
        said = complaint(
            capsys,
            "--url",
            url,
            *TOLD,
            *QUICK,
            "--out",
            tmp_path / "p.json",
        )
    assert "no engine answers there" in said
    assert "of 16 passes)" in said
    assert not (tmp_path / "p.json").exists()


async def silent(request: web.Request) -> web.StreamResponse:
    return web.json_response({"choices": [{"text": "a"}]})


def test_an_endpoint_that_counts_no_tokens_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with in_a_thread(endpoint(silent)) as url:
        said = complaint(capsys, "--url", url, *TOLD, "--out", tmp_path / "p.json")
    assert "usage.prompt_tokens" in said


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param((), "--url: is needed", id="no url"),
        pytest.param(("--url", "localhost:8000"), "--url: must look like http://host:port", id="url"),
        pytest.param(("--url", "http://h", "--budget", "0"), "--budget: must be above 0s", id="budget"),
        pytest.param(("--url", "http://h", "--out", "p.yaml"), "--out: must end in .json", id="out"),
        pytest.param(
            ("--url", "http://h", "--out", "nowhere/p.json"), "--out: nowhere must be a folder", id="folder"
        ),
        pytest.param(("--url", "http://h", "--engine", "x"), "--engine: must be one of", id="engine"),
        pytest.param(
            ("--url", "http://h", "--batches", "1,1"), "--batches: must name nothing twice", id="twice"
        ),
        pytest.param(
            ("--url", "http://h", "--prefill-url", "http://p", "--bandwidth", "1GB/s"),
            "--prefill-url and --bandwidth",
            id="timed and told",
        ),
        pytest.param(
            ("--url", "http://h", "--bearer-file", "/nowhere"), "--bearer-file /nowhere", id="token"
        ),
    ],
)
def test_a_flag_that_cannot_be_used_is_named(
    flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(capsys, *flags)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("--kv-tokens", "how much KV it holds"),
        ("--kv-bytes-per-token", "131072 for Llama-3.1-8B"),
        ("--bandwidth", "--prefill-url names a second engine"),
    ],
)
def test_what_an_engine_does_not_tell_has_to_be_said(
    missing: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = dict(zip(TOLD[::2], TOLD[1::2], strict=True))
    del told[missing]
    with in_a_thread(endpoint(never)) as url:
        words = [word for pair in told.items() for word in pair]
        complained = complaint(capsys, "--url", url, *words, "--out", tmp_path / "p.json")
    assert f"{missing}: is needed" in complained
    assert said in complained
