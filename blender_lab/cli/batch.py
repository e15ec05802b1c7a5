"""`blended-llm batch`: blend, gather or rank the rows of a large file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blender_core.cli.described import (
    BlendPrior,
    ConfigFile,
    FuserName,
    FuseWhen,
    Quorum,
    Temperature,
    Timeout,
    TopK,
    described,
)
from blender_core.cli.output import (
    Endpoints,
    ExitCode,
    LocalModels,
    RankerName,
    console,
    reported,
    write_json,
)
from blender_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from blender_lab.batch.answering import Mode, Work
    from blender_lab.batch.job import Ended

__all__ = ["batch"]


def batch(
    context: typer.Context,
    rows: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="JSONL (plain or .gz) or Parquet, or a folder of them: instruction, perhaps id, input, candidates.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Target file: .jsonl, .jsonl.gz or .parquet; OUT.journal is next to it.")],
    rank_only: Annotated[bool, typer.Option("--rank-only", help="Rank the candidates that the rows have.")] = False,
    gather_only: Annotated[bool, typer.Option("--gather-only", help="Only ask the members.")] = False,
    model: LocalModels = None,
    endpoint: Endpoints = None,
    config: ConfigFile = None,
    system: Annotated[str, typer.Option(help="A system message.", show_default=False)] = "",
    ranker: RankerName = "embedded",
    prior: BlendPrior = None,
    fuser: FuserName = "llm",
    fuse_when: FuseWhen = "auto",
    top_k: TopK = 3,
    timeout: Timeout = 120.0,
    deadline: Annotated[float | None, typer.Option(help="Seconds for a whole row.", show_default="none")] = None,
    quorum: Quorum = 1,
    max_tokens: Annotated[
        int | None,
        typer.Option(help="Longest answer in tokens.", show_default="512 for local models, else the member's"),
    ] = None,
    temperature: Temperature = None,
    max_concurrency: Annotated[
        int | None, typer.Option(help="Calls of members at the same time, over all workers.", show_default="no limit")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(help="Rows at the same time, over all workers.", show_default="16; to rank, one a worker"),
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="Most cost of the whole job; then it stops.", show_default="no limit")
    ] = None,
    max_tokens_total: Annotated[
        int | None, typer.Option(help="Most tokens of the whole job; then it stops.", show_default="no limit")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first rows.", show_default="all")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Work again on rows that failed.")] = False,
    give_up_after: Annotated[int, typer.Option(help="Rows that fail one after the other before the job stops.")] = 50,
    local: Annotated[bool, typer.Option("--local", help="Work in this process; needs no Ray.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Ray's actors.", show_default="one; to rank, the CPUs; with --gpus-per-worker, as many as fit"
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster, such as auto.", show_default="one on this machine")
    ] = None,
    gpus_per_worker: Annotated[float, typer.Option(help="GPUs of each worker; may be a share.")] = 0.0,
    progress: Annotated[
        str, typer.Option(help="auto: a bar or lines; json: an object a second; none. On standard error.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Write the summary as JSON.")] = False,
) -> None:
    """Blend, gather or rank every row of a file, on Ray or with --local in this process.

    A row that is finished is on the disk, in OUT.journal. After a kill, the same command goes on; only rows in flight
    are asked again. OUT has each row once, in the order of IN. Rows that failed are in OUT.failed.jsonl.
    """
    with reported():
        from blender_lab.batch.job import BatchJob
        from blender_lab.batch.ledger import JobLimits
        from blender_lab.batch.progress import shown, summary

        if progress not in ("auto", "json", "none"):
            raise ConfigurationError(f"--progress is {progress!r}; use auto, json or none")
        if rank_only and gather_only:
            raise ConfigurationError("--rank-only and --gather-only exclude each other; leave one of them out")
        if local and (workers is not None or address is not None or gpus_per_worker):
            raise ConfigurationError("--local takes no --workers, --address and --gpus-per-worker; those are Ray's")
        mode: Mode = "rank" if rank_only else "gather" if gather_only else "blend"
        work = _work(mode, context)
        job = BatchJob(
            rows,
            out,
            work,
            JobLimits(max_cost, max_tokens_total, give_up_after),
            concurrency=concurrency if concurrency is not None else 1 if rank_only else 16,
            retry_failed=retry_failed,
            limit=limit,
            local=local,
            workers=workers,
            address=address,
            gpus_per_worker=gpus_per_worker,
        )
        err = console(stderr=True)
        with shown(progress, err) as watch:  # type: ignore[arg-type]
            ended = job.run(watch)
        if as_json:
            write_json(ended.to_dict())
        summary(ended, err)
        _leave(ended, job.out, err)


def _work(mode: Mode, context: typer.Context) -> Work:
    from blender_lab.batch.answering import Work

    params = context.params
    if mode == "rank":
        if params["model"] or params["endpoint"] or params["system"]:
            raise ConfigurationError("--rank-only asks nobody; leave --model, --endpoint and --system out")
        if params["config"] is None:
            return Work(mode, ranker=params["ranker"], prior=params["prior"])
    return Work(mode, described(context), system=params["system"])


def _leave(ended: Ended, out: Path, err: Console) -> None:
    from blender_core.view.wording import one_line
    from blender_lab.batch.output import failed_file

    again = "the same command goes on"
    failed = ended.written.failed if ended.written is not None else 0
    if failed:
        first = ended.written.first_failure if ended.written is not None else ""
        them, see = ("1 row", "it") if failed == 1 else (f"{failed:,} rows", "them")
        err.print(
            f"{them} failed, the first: {one_line(first, 300)}; all are in {failed_file(out)}; "
            f"--retry-failed works on {see} again",
            soft_wrap=True,
            markup=False,
        )
    if ended.undone:
        if ended.stopped.startswith("budget"):
            again = "the same command with a higher limit goes on"
        unwritten = "" if ended.written is not None else f"; {out} is written when all rows have ended"
        err.print(f"stopped: {ended.stopped}; {again}{unwritten}", soft_wrap=True, markup=False)
    if ended.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if failed or ended.undone:
        raise typer.Exit(ExitCode.FAILED)
