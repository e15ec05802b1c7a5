"""A file describes a blend: the same in three formats, on every face, and checked to the line."""

from __future__ import annotations

import gc
import json
import os
import tomllib
import weakref
from pathlib import Path

import pytest

from blender_core import Blender, GatherPolicy, MemberPrior, Price
from blender_core.config import (
    BlendConfig,
    BreakerConfig,
    BudgetConfig,
    MemberConfig,
    PriceConfig,
    connect_members,
)
from blender_core.errors import ConfigurationError
from blender_core.testing import ScriptedServer

TOML = """
name = "pair"
ranker = "longest"
fuser = "none"
timeout = {timeout}
budget = {{ max_tokens = 5000 }}

[[members]]
name = "a"
model = "one"
base_url = "{url}"
price = {{ input = 1.0, output = 2.0 }}
strength = 0.8

[[members]]
model = "two"
base_url = "{url}"
api_key_env = "KEY_OF_TWO"
temperature = 0.5
options = {{ seed = 7 }}
strength = 0.6
"""


@pytest.fixture
def server():
    with ScriptedServer({"one": ["Short."] * 4, "two": ["A longer answer."] * 4}) as running:
        yield running


@pytest.fixture
def file(tmp_path, server, monkeypatch):
    monkeypatch.setenv("KEY_OF_TWO", "secret-of-two")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def write(name="blend.toml", timeout="20"):
        text = TOML.format(url=server.base_url, timeout=timeout)
        path = tmp_path / name
        if path.suffix != ".toml":
            import yaml

            values = tomllib.loads(text)
            text = json.dumps(values) if path.suffix == ".json" else yaml.safe_dump(values)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def langchain(config, **settings):
    blended = pytest.importorskip("langchain_blender").BlendedLLM.from_config(config, **settings)
    return blended.invoke("Capital?").text, blended


def llamaindex(config, **settings):
    blended = pytest.importorskip("llamaindex_blender").BlendedLLM.from_config(config, **settings)
    return blended.complete("Capital?").text, blended


def engine(config, **settings):
    blender = Blender.from_config(config, **settings)
    return blender.blend("Capital?").text, blender


@pytest.mark.parametrize("name", ["blend.toml", "blend.yaml", "blend.json"])
@pytest.mark.parametrize("face", [engine, langchain, llamaindex])
def test_every_face_and_format_makes_the_same_blend(file, server, face, name):
    # the strengths would pick the first
    text, blended = face(file(name), member_prior=MemberPrior())
    assert text == "A longer answer."
    assert [name for name, _ in blended.members] == ["a", "two"]
    requests = {request["model"]: request for request in server.requests}
    assert (requests["two"]["temperature"], requests["two"]["seed"]) == (0.5, 7)
    assert "temperature" not in requests["one"]
    if face is not engine:
        assert "pair" in (getattr(blended, "model_name", None), getattr(blended, "model", None))


def test_the_settings_reach_the_blend(file):
    blender = Blender.from_config(file(timeout='"none"'))
    result = blender.blend("Capital?")
    assert blender.policy.timeout is None
    assert blender.policy.budget is not None
    assert blender.policy.budget.max_tokens == 5000
    assert blender.fuser is None
    assert result.cost is not None
    # two different answers tie, so strength decides; and what the caller says wins
    assert Blender.from_config(file(), ranker="consensus").blend("Capital?").winner == "a"
    changed = Blender.from_config(file(), timeout=3.0).policy
    assert (changed.timeout, changed.budget) == (3.0, blender.policy.budget)
    assert Blender.from_config(file(), policy=GatherPolicy(quorum=2)).policy == GatherPolicy(quorum=2)
    with pytest.raises(ConfigurationError, match="cannot both be given"):
        Blender.from_config(file(), policy=GatherPolicy(), timeout=3.0)


RESERVE = """
[breaker]
failures = 1

[[reserves]]
name = "spare"
model = "{model}"
base_url = "{url}"
strength = 0.7
"""


@pytest.fixture
def file_with_reserve(file, server):
    def write(model="two"):
        path = file()
        text = path.read_text().replace('model = "one"', 'model = "gone"')
        path.write_text(text + RESERVE.format(url=server.base_url, model=model))
        return path

    return write


@pytest.mark.parametrize("face", [engine, langchain, llamaindex])
def test_every_face_takes_reserves_and_the_breaker_of_the_file(file_with_reserve, face):
    text, blended = face(file_with_reserve(), member_prior=MemberPrior())
    assert text == "A longer answer."
    assert [name for name, _ in blended.members] == ["a", "two", "spare"]
    blender = blended if face is engine else blended._blender()
    (first, _, last) = blender.blend("Capital?").candidates
    # the first call failed, and the breaker of the file opens after one
    assert (first.model, str(first.status)) == ("a", "skipped")
    assert (last.model, last.outcome.instead_of) == ("spare", "a")
    # what is given wins, and nobody of the file is connected for it
    _, blended = face(file_with_reserve(), member_prior=MemberPrior(), reserves=[], breaker=None)
    assert [name for name, _ in blended.members] == ["a", "two"]


def test_reserves_have_a_strength_and_count_as_members(file_with_reserve):
    config = BlendConfig.load(file_with_reserve())
    assert config.names == ("a", "two", "spare")
    prior = config.settings()["member_prior"]
    assert prior.strongest_first(["two", "spare", "a"]) == ("a", "spare", "two")
    assert not any(member.strength for member in config.with_settings({"prior": "none"}).all_members)
    assert not BlendConfig.parse({"members": [{"local": "smollm2-135m"}], "reserves": [{"model": "x"}]}).is_local


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("failures = 1", "failures = 0", 24, "breaker.failures is 0; it must be at least 1"),
        ("failures = 1", "rest_s = -1.0", 24, "breaker.rest_s is -1.0; it must be above 0"),
        ("failures = 1", "rest = 1", 24, "there is no 'breaker.rest' here"),
        ('name = "spare"', 'name = "a"', 27, "two members are named 'a'"),
        ('name = "spare"', 'local = "smollm2-135m"', 26, "give either model"),
        ("strength = 0.7", "strength = 2.0", 30, "reserves[0].strength is 2.0"),
    ],
)
def test_a_wrong_reserve_or_breaker_names_its_line(file_with_reserve, old, new, line, said):
    path = file_with_reserve()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigurationError) as raised:
        BlendConfig.load(path)
    assert said in str(raised.value)
    assert f"{path}, line {line}: " in str(raised.value)


def test_a_fuser_is_a_member_of_the_file(file):
    config = BlendConfig.load(file()).with_settings({"fuser": "two"})
    fuser = Blender.from_config(config).fuser
    assert fuser is not None
    assert fuser.name == "llm:two"


def test_a_prior_that_is_given_takes_the_place_of_the_strengths(tmp_path, file):
    MemberPrior.declared({"a": 0.2, "two": 0.9}).save(tmp_path / "prior.json")
    config = BlendConfig.load(file()).with_settings({"prior": str(tmp_path / "prior.json"), "ranker": "consensus"})
    assert [member.strength for member in config.members] == [None, None]
    assert Blender.from_config(config).blend("Capital?").winner == "two"


def test_the_sdk_s_own_address_needs_no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    member = MemberConfig(model="one")
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        member.api_key({})
    assert member.api_key({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"})


def test_paths_are_relative_to_the_file(tmp_path, file):
    MemberPrior.declared(["two", "a"]).save(tmp_path / "prior.json")
    path = file()
    lines = [line for line in path.read_text().splitlines() if not line.startswith("strength")]
    path.write_text('prior = "prior.json"\n' + "\n".join(lines))
    assert Blender.from_config(path, ranker="consensus").blend("Capital?").winner == "two"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("ranker", "rankr", 3, "there is no 'rankr' here"),
        ('model = "one"', "model = 1", 10, "members[0].model is 1"),
        ('model = "one"', "", 8, "give either model"),
        ("timeout = 20", "timeout = nan", 5, "timeout is nan; it must be seconds above 0"),
        ("timeout = 20", 'timeout = "20"', 5, "timeout is '20'; it must be seconds above 0"),
        ("timeout = 20", "quorum = 3", 5, "the quorum is 3 but there are 2 members"),
        ("timeout = 20", "top_k = 2.5", 5, "top_k is 2.5"),
        ("input = 1.0", "input = -1.0", 12, "members[0].price.input is -1.0"),
        ("strength = 0.6", "strength = 1.5", 21, "members[1].strength is 1.5"),
        ("strength = 0.6", "", 13, "only 'a' has a strength"),
        ("strength = 0.6", 'name = "a"', 21, "two members are named 'a'"),
        ("strength = 0.6", 'local = "smollm2-135m"', 15, "give either model"),
        ("max_tokens = 5000", "max_tokens = 0", 6, "budget.max_tokens is 0"),
    ],
)
@pytest.mark.parametrize("format", ["toml", "yaml"])
def test_a_wrong_value_names_its_line(tmp_path, file, old, new, line, said, format):
    path = file()
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1) if new != 'name = "a"' else text.replace(old, new))
    if format == "yaml":
        yaml = pytest.importorskip("yaml")
        path = tmp_path / "blend.yml"
        path.write_text(yaml.safe_dump(tomllib.loads((tmp_path / "blend.toml").read_text()), sort_keys=False))
    with pytest.raises(ConfigurationError) as raised:
        BlendConfig.load(path)
    assert said in str(raised.value)
    if format == "toml":
        assert f"{path}, line {line}: " in str(raised.value)
    else:
        assert f"{path}, line " in str(raised.value)


def test_a_key_is_never_shown_and_never_in_the_file(file, monkeypatch):
    path = file()
    text = path.read_text()
    for wrong in ('api_key = "sk-very-secret"', 'api_key_env = "sk-very-secret"', 'base_url = "sk-very-secret"'):
        path.write_text(text.replace('model = "one"\nbase_url', f'model = "one"\n{wrong}\n#').replace("#", "# "))
        with pytest.raises(ConfigurationError) as raised:
            BlendConfig.load(path)
        assert "very-secret" not in str(raised.value)
        assert "line 11" in str(raised.value)
    monkeypatch.delenv("KEY_OF_TWO")
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="'two' is not there: set the environment variable KEY_OF_TWO"):
        Blender.from_config(path)


def test_a_broken_line_is_not_quoted_and_a_repr_holds_no_secret(tmp_path):
    path = tmp_path / "blend.yaml"
    for broken in ('options: {headers: {X-Team: "otter-42', "otter-42: @x", "name: *otter-42"):
        path.write_text(f"members:\n- model: m\n  {broken}\n")
        with pytest.raises(ConfigurationError, match=r"no YAML.*line") as raised:
            BlendConfig.load(path)
        assert "otter" not in str(raised.value)
    options = {"extra_headers": {"X-Team": "otter-42"}, "seed": 7}
    member = {"model": "m", "base_url": "https://team:otter-42@example.org/v1", "options": options}
    shown = repr(BlendConfig.parse({"members": [member]}))
    assert "otter" not in shown
    assert "'seed': 7" in shown


@pytest.mark.parametrize("name", ["blend.toml", "blend.yaml", "blend.json"])
def test_a_file_without_an_end_is_not_read(tmp_path, name):
    path = tmp_path / name
    path.symlink_to("/dev/zero")
    with pytest.raises(ConfigurationError, match="no regular file"):
        BlendConfig.load(path)
    with pytest.raises(ConfigurationError, match="no regular file"):
        MemberPrior.load(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match="no regular file"):
        BlendConfig.load(path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("line", ["[" + " " * 200_000 + "x", " " * 400_000 + "x", "a" * 400_000, '"' * 400_000])
def test_a_long_line_of_a_text_takes_linear_time(tmp_path, line):
    path = tmp_path / "blend.toml"
    path.write_text(f"name = '''\n{line}\n'''\ntop_k = 0\n[[members]]\nmodel = 'm'\n")
    with pytest.raises(ConfigurationError, match="line 4: top_k is 0"):
        BlendConfig.load(path)


BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("blend.toml", "a = 1\nmembers = ]", "line 2"),
        ("blend.yaml", "members: [a", "line 1"),
        ("blend.json", '{"timeout": NaN}', "NaN is no number"),
        ("blend.json", "[" * 100_000, "nested too deeply"),
        ("blend.yaml", "&a [*a]", "its aliases stand for over 1,000,000 values"),
        ("blend.yaml", BOMB, "its aliases stand for over 1,000,000 values"),
        ("blend.yaml", "[" * 100_000, "nested too deeply"),
        ("blend.yaml", "", "holds no keys"),
        ("blend.toml", "", "members is missing"),
        ("blend.toml", "members = []", "members"),
        ("blend.ini", "", "not a .toml, .yaml or .json"),
        ("blend.toml", "#" * 2_000_000, "over 1,000,000 bytes"),
        ("blend.toml", b"\xff\xfe\x00", "UTF-8"),
        ("blend.yaml", "a: !!python/object:os.system {}", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_none_is_one_clear_error(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError, match=said):
        BlendConfig.load(path)


def test_a_local_server_runs_as_long_as_its_member(monkeypatch):
    class Server:
        base_url, model, api_key, kind, context = "http://127.0.0.1:1/v1", "smollm2-135m", "key", "chat", 4096

        class entry:
            calls_tools = True

    servers = [Server()] * 2
    monkeypatch.setattr("blender_core.config.members.local_ensemble", lambda *_, **__: list(servers))
    config = BlendConfig.parse({"members": [{"local": "smollm2-135m"}, {"local": "smollm2-135m"}], "temperature": 0.2})
    members = connect_members(config)
    assert [member.name for member in members] == ["smollm2-135m", "smollm2-135m#2"]
    assert [member.context_window for member in members] == [4096, 4096]
    # nobody is paid for a model of this machine
    assert [member.price for member in members] == [Price(0.0, 0.0)] * 2
    alive = weakref.ref(servers[0])
    servers.clear()
    del members[0]
    gc.collect()
    assert alive() is not None
    members.clear()
    gc.collect()
    assert alive() is None


def test_the_page_names_every_key():
    page = (Path(__file__).parents[3] / "docs" / "config.md").read_text(encoding="utf-8")
    for name in (*BlendConfig.model_fields, *MemberConfig.model_fields):
        assert f"`{name}`" in page
    for name in (*BreakerConfig.model_fields, *BudgetConfig.model_fields, *PriceConfig.model_fields):
        assert f"{name} = " in page
    (block,) = [part.split("```")[0] for part in page.split("```toml\n")[1:]]
    assert BlendConfig.parse(tomllib.loads(block)).names == ("a", "qwen2.5-coder-0.5b")
