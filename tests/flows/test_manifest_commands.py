import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from databourse.errors import IntegrityError, ManifestError
from databourse.manifests.seals import seal, unseal
from flows.manifest_commands import manifest_app

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "manifest_v1"
MANIFEST_ID = "c6c8e1f68e687fdc8a3bfac847dcf06b2f2b005e492b9c1f72acc8c6a2326381"


@pytest.fixture
def pool(tmp_path):
    return shutil.copytree(GOLDEN, tmp_path / "manifests" / "gazette")


def run(*arguments):
    return CliRunner().invoke(manifest_app, [str(argument) for argument in arguments])


def test_verify_of_a_good_manifest_says_so_on_stdout_and_exits_0(pool):
    result = run("verify", pool)

    assert result.exit_code == 0
    assert result.stdout == (
        f"ok: gazette version 1, 5 documents, 55 tokens, manifest id {MANIFEST_ID}\n"
    )
    assert result.stderr == ""


def test_verify_names_each_bad_file_on_its_own_line_and_exits_1(pool):
    (pool / "v000001" / "report.html").unlink()
    (pool / "v000001" / "documents-00001.parquet").write_bytes(b"")

    result = run("verify", pool, "--version", 1)

    assert result.exit_code == 1
    bad = [line.split(":")[0] for line in result.stdout.splitlines()]
    assert bad == ["documents-00001.parquet", "report.html"]
    assert "is damaged" in result.stderr


def test_verify_prints_one_json_object_good_or_bad(pool):
    good = json.loads(run("verify", pool, "--json").stdout)
    (pool / "latest.json").write_bytes(b"{}")
    result = run("verify", pool, "--json")
    bad = json.loads(result.stdout)

    assert good == {
        "ok": True,
        "path": str(pool / "v000001"),
        "manifest_id": MANIFEST_ID,
        "version": 1,
        "problems": [],
        "signature": None,
        "withdrawn": None,
    }
    assert result.exit_code == 1
    assert not bad["ok"]
    assert bad["problems"] == [
        {"file": "latest.json", "what": "does not begin with its own sha256"}
    ]


def test_show_says_what_was_bought_how_and_at_which_price(pool):
    result = run("show", pool)

    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for line in (
        "manifest gazette version 1",
        f"manifest id {MANIFEST_ID}",
        "created 2026-11-25 12:00:00 UTC by run run-1",
        "parent none",
        "for sale 7 documents, 90 tokens",
        "bought 5 documents, 55 tokens",
        "budget spent 55 of 60 tokens",
        "marginal price -4.7500 (log, per token)",
        "decontamination not run",
        "planted leaks none planted",
        "1 3 4 33 50 0.5000 0.5 1.2 -4.5000",
        "2 0 1 0 18 0.2000 0.5 1.2 none",
        "gazette 3 4 32 50",
        "rarity pool 1 0.7500 1.5 2.5 0.0 0",
        "manifest_documents 1.0.0 passed 9 1",
        "exact duplicate 2",
    ):
        assert line in lines


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def test_show_prints_the_content_of_manifest_json(pool):
    shown = json.loads(run("show", pool, "--json").stdout)
    written = json.loads((pool / "v000001" / "manifest.json").read_text())

    del written["self_sha256"]
    assert without_nulls(shown) == without_nulls(written)  # what came later is null in old ones
    assert set(written) <= set(shown)


def test_list_shows_pools_and_versions(pool):
    (pool / "v000002").mkdir()

    result = run("list", pool.parent)

    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "gazette 1 latest 5 55 c6c8e1f68e68 2026-11-25 12:00" in lines
    assert "gazette 2 damaged" in lines
    assert "v000002/manifest.json is missing" in result.stderr


def test_list_prints_one_json_object(pool):
    (record,) = json.loads(run("list", pool.parent, "--json").stdout)["pools"]

    assert (record["pool"], record["latest"], record["problem"]) == ("gazette", 1, None)
    (version,) = record["versions"]
    assert version == {
        "version": 1,
        "path": str(pool / "v000001"),
        "state": "latest",
        "problem": None,
        "withdrawn": None,
        "manifest_id": MANIFEST_ID,
        "documents": 5,
        "tokens": 55,
        "created_at": "2026-11-25T12:00:00Z",
    }


def test_names_with_markup_are_printed_as_they_are(pool):
    odd = pool.rename(pool.parent / "[red]gazette[")

    assert "[red]gazette[" in run("list", odd).stdout


def test_what_cannot_be_opened_is_an_error_of_one_line(pool, tmp_path):
    (pool / "v000001" / "manifest.json").write_bytes(b"{}")
    for arguments, kind in (
        (("show", pool), IntegrityError),
        (("show", tmp_path / "nowhere"), ManifestError),
        (("verify", pool, "--version", 7), ManifestError),
        (("list", tmp_path / "nowhere"), ManifestError),
    ):
        error = run(*arguments).exception
        assert isinstance(error, kind)
        assert "\n" not in str(error)
        assert error.exit_code == 1


def test_wrong_usage_exits_2(pool):
    assert run("verify").exit_code == 2
    assert run("verify", pool, "--version", 0).exit_code == 2
    assert run("shwo", pool).exit_code == 2


@pytest.mark.parametrize("command", ["list", "show", "verify"])
def test_help_carries_an_example(command):
    assert f"Example: databourse manifest {command} " in run(command, "--help").stdout


def test_help_is_answered_without_loading_pyarrow():
    code = "import sys; from flows.manifest_commands import manifest_app as app\n"
    code += "try: app(['--help'])\nexcept SystemExit: pass\n"
    code += "assert 'pyarrow' not in sys.modules and 'pydantic' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "verify" in done.stdout


def test_a_withdrawn_version_is_refused_everywhere_and_says_why(pool):
    done = run("withdraw", pool, "--version", 1, "--reason", "roses were eaten")

    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1] == "latest names no version"
    with pytest.raises(ManifestError, match="every version of it was withdrawn"):
        raise run("show", pool).exception
    with pytest.raises(ManifestError, match="roses were eaten"):
        raise run("show", pool, "--version", 1).exception
    shown = run("show", pool, "--version", 1, "--allow-withdrawn")
    assert (shown.exit_code, "roses were eaten" in shown.stderr) == (0, True)
    verified = run("verify", pool, "--version", 1)
    assert (verified.exit_code, "roses were eaten" in verified.stderr) == (1, True)
    assert run("verify", pool, "--version", 1, "--allow-withdrawn").exit_code == 0
    record = json.loads(run("verify", pool, "--version", 1, "--json").stdout)
    assert record["ok"] is True
    assert record["withdrawn"]["reason"] == "roses were eaten"
    listed = run("list", pool)
    assert "withdrawn" in listed.stdout
    assert "roses were eaten" in listed.stderr


def test_diff_prints_text_json_and_a_page(pool, tmp_path):
    page = tmp_path / "diff.html"

    text = run("diff", pool, pool, "--html", page)
    record = json.loads(run("diff", pool, pool, "--json").stdout)

    assert text.exit_code == 0
    assert "kept            5 documents, 55 tokens" in text.stdout
    assert record["same_content"] is True
    assert record["kept"] == {"documents": 5, "tokens": 55}
    assert "<h2>Tokens by topic</h2>" in page.read_text()
    with pytest.raises(ManifestError, match="exists already; nothing was overwritten"):
        raise run("diff", pool, pool, "--html", page).exception


def test_export_writes_a_folder_once(pool, tmp_path):
    command = ("export", pool, "--format", "jsonl", "--to", tmp_path / "out")

    record = json.loads(run(*command, "--json").stdout)

    assert (record["documents"], record["files"]) == (5, ["documents-00000.jsonl"])
    with pytest.raises(ManifestError, match="exists already; nothing was overwritten"):
        raise run(*command).exception
    assert run(*command[:3], "nonsense", *command[4:]).exit_code == 2


def test_signing_and_requiring_a_signature(pool, tmp_path):
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "key.pem"], check=True
    )
    subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "key.pem", "-pubout", "-out", tmp_path / "key.pub"],
        check=True,
    )
    required = ("verify", pool, "--require-signature", "--public-key", tmp_path / "key.pub")
    unsigned = run(*required)

    done = json.loads(run("sign", pool, "--key", tmp_path / "key.pem", "--json").stdout)

    assert (unsigned.exit_code, "is not signed" in unsigned.stdout) == (1, True)
    assert done["path"] == str(pool / "v000001.provenance.dsse.json")
    signed = run(*required)
    assert (signed.exit_code, signed.stdout.endswith(", signed\n")) == (0, True)
    for command in (("verify", pool, "--require-signature"), ("sign", pool)):
        refusal = run(*command).exception
        assert refusal.exit_code == 2
        assert "needs --" in str(refusal)


def test_show_tells_what_the_pool_was_kept_apart_from_and_what_signals_cost(pool):
    path = pool / "v000001" / "manifest.json"
    exam = {
        "name": "exam",
        "digest": "0" * 64,
        "examples": 60,
        "examples_found": 3,
        "ngrams": 900,
        "documents_dropped": 2,
    }
    proof = {
        "rule_revision": 2,
        "parameters": {"ngram": 8},
        "documents": 1_000,
        "dropped": 2,
        "dropped_by_reason": {"ngram_overlap": 2},
        "sets": [exam],
        "self_test": {
            "examples": 50,
            "kinds": [{"kind": "half_a_question", "leaks": 50, "found": 48, "recall": 0.96}],
        },
    }
    path.write_bytes(seal(unseal(path.read_bytes()) | {"decontamination": proof}))

    lines = [" ".join(line.split()) for line in run("show", pool).stdout.splitlines()]

    for line in (
        "decontamination 2 of 1,000 documents dropped against exam",
        "planted leaks found: half a question 48 of 50",
        "exam 60 3 2",
        "parameters, ngram: 8",
        "dropped by reason, ngram overlap: 2",
        "together 3.0 5.0 0.0 0",
        "signed not when it was published",
    ):
        assert line in lines
